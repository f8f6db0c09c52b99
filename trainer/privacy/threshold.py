"""CKKS whose secret key is the sum of the hospitals' secrets, so that nobody holds it.

Multiparty scheme of Mouchet et al. 2021 ("Multiparty Homomorphic Encryption from
Ring-Learning-with-Errors"), its key shared on to any t hospitals by Shamir's scheme (Mouchet et al.
2023, "An Efficient Threshold Access-Structure for RLWE-Based Multiparty Homomorphic Encryption").
Common reference polynomial a from SHAKE-256 of the plan; the collective key is (sum b_j, a).

What it encrypts are not an update's values but the key of the mask that hides them
(:mod:`trainer.privacy.kahe`), in the polynomial's coefficients: an update is one ciphertext, the
proof that it was made by the rules (:mod:`trainer.privacy.wellformed`), and masked values. Public
integer weights multiply ciphertexts and masked values alike, and twice the sum of ciphertexts is
decrypted, for that is what the proofs are about. Hospital i shares in it by d_i = c1 k_i + flooding
noise, k_i being its secret, or Lagrange's factor of those who share times the sum of what was dealt
to it; c0 + sum d_i is the weighted sum of masks' keys.

Content goes in and out chunk by chunk: memory does not grow with the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical, encryption
from chaincode.schema.encryption import EncryptionTerms, Workload
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.sums import scheme_context
from chaincode.schema.tied import primes_of
from trainer.privacy import kahe, sampling
from trainer.privacy.commitments import SHORTS, Commitments, digest
from trainer.privacy.dealing import Dealing, KeyDealing, KeySecret
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.handover import Handing, Held
from trainer.privacy.kahe import Masks, TiedMasks
from trainer.privacy.quantised import check_sums
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.seal import Seal
from trainer.privacy.shareproof import Part, Shared, ShareProof, Shorts
from trainer.privacy.tied import PublicKey, Tied
from trainer.privacy.updates import SumForm, TiedForm, UpdateForm
from trainer.privacy.wellformed import Short, WellFormed
from trainer.privacy.wire import Form, Kind


@dataclass(frozen=True)
class CollectiveKey:
    """The sum of all public shares: ``int64[P, N]``, transformed."""

    residues: Residues
    content: bytes

    @cached_property
    def sha256(self) -> str:
        """What hospitals confirm on the ledger."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class ShareKey:
    """What hospital ``point`` decrypts with: ``int64[P, N]``. Never leaves its node.

    ``held``: the same as it was dealt, with what is needed to deal it on; None where it is the
    hospital's own secret.
    """

    point: int
    residues: Residues
    held: Held | None = None

    def __repr__(self) -> str:
        return f"ShareKey({self.point}, ...)"


class Scheme:
    """Threshold CKKS under one plan's terms, for models of ``work.parameters`` values.

    Args:
        seed: the plan's hash.
        origin: the hash of the plan that the key was made for, where that is another; it fixes the
            common reference polynomial.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED``.
    """

    def __init__(
        self, terms: EncryptionTerms, work: Workload, seed: bytes, origin: bytes | None = None
    ) -> None:
        if refused := encryption.refusal(terms, work):
            raise MedFabricError(Code.PARAMETERS_REFUSED, f"{refused}; change the plan's terms")
        self._terms = terms
        self._work = work
        self._seal = Seal(terms)
        self._rns = Rns(terms.poly_modulus_degree, self._seal.primes)
        self.context = scheme_context(terms, work, seed)
        self._origin = origin or seed
        self._reference = np.stack(
            [_uniform(self._origin, i, q, self._rns.degree) for i, q in enumerate(self._rns.primes)]
        )
        self.threshold = terms.threshold or work.hospitals
        self._inherited = origin is not None
        self.dealt = self.threshold < work.hospitals or self._inherited
        self.dealing = KeyDealing(
            self._rns, self._reference, self.context, work.hospitals, self.threshold
        )
        self._scale = self._rns.residues(1 << terms.scale_bits)
        self._masks = self._made_masks()
        self._proven: set[bytes] = set()

    def form(self, kind: Kind) -> Form:
        """The one form that a plan's key, ciphertexts, shares, subshares or masked values have."""
        degree, primes, chunks = self._rns.degree, self._rns.primes, 1
        if kind is Kind.MASKED:
            primes, chunks = self._masks.primes, self._terms.chunks(self._work.parameters)
        polynomials = 2 if kind is Kind.CIPHERTEXT else 1
        return Form(kind, self.context, primes, degree, chunks, polynomials)

    @property
    def sum_form(self) -> SumForm:
        """The form of an encrypted sum."""
        return SumForm(self.form(Kind.CIPHERTEXT), self.form(Kind.MASKED))

    def update_form(self, sender: bytes, key: CollectiveKey) -> UpdateForm | TiedForm:
        """The form of an update.

        Args:
            sender: who sends it in which round: what is copied from another is refused.
            key: what its mask's key is encrypted under.
        """
        if self._terms.tied:
            return TiedForm(self.sum_form, self._tied(sender, key), self._proven)
        return UpdateForm(self.sum_form, self.proof(self.context + sender), self._proven)

    @property
    def update_length(self) -> int:
        """Bytes of an update."""
        return self.update_form(b"", CollectiveKey(self._reference, b"")).length

    # the key

    def collective_key(self, shares: Sequence[bytes]) -> CollectiveKey:
        """The sum of all hospitals' public parts, in the plan's order, each checked.

        Raises:
            MedFabricError: a part is malformed or unsound, or one is missing.
        """
        if len(shares) != self._work.hospitals:
            raise MedFabricError(Code.SHARES_INCOMPLETE, "a hospital's key share is missing")
        total = np.zeros_like(self._reference)
        for dealer, document in enumerate(shares, 1):
            total = self._rns.add(total, self.dealing.check(document, dealer))
        return CollectiveKey(total, self.form(Kind.KEY).encode(total[None, None]))

    def known_key(self, content: bytes) -> CollectiveKey:
        """The key from its content, whose hash the caller knows; whichever plan it was made for.

        Raises:
            MedFabricError: the wire format's codes.
        """
        form = replace(self.form(Kind.KEY), context=Form.context_of(content))
        return CollectiveKey(form.decode(content)[0, 0], content)

    def own_share_key(self, secret: KeySecret, point: int) -> ShareKey:
        """What hospital ``point`` decrypts with where nothing is dealt: its own secret."""
        return ShareKey(point, self._rns.small(self.dealing.secret_polynomial(secret)))

    def share_key(self, point: int, dealt: Mapping[int, Residues]) -> ShareKey:
        """What hospital ``point`` decrypts with.

        Args:
            dealt: what was dealt to it, by dealer; of every one.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``.
        """
        if not dealt or (not self._inherited and len(dealt) != self._work.hospitals):
            raise MedFabricError(Code.SHARES_INCOMPLETE, "a hospital has dealt nothing")
        value, committed = np.zeros_like(self._reference), []
        opening = np.zeros((SHORTS, self._rns.degree), dtype=np.int64)
        for dealer in sorted(dealt):
            own, commitment = self.committed(dealer, point, dealt[dealer])
            value = self._rns.add(value, dealt[dealer])
            opening = opening + own
            committed.append(commitment)
        return ShareKey(point, value, Held(value, opening, np.stack(committed)))

    def committed(self, dealer: int, recipient: int, subshare: Residues) -> tuple[Short, Residues]:
        """The opening and the commitment of what is dealt: ``int64[3, N]``, ``int64[2, P, N]``."""
        opening = self._commitments.opening(self.context, dealer, recipient, subshare)
        return opening, self._commitments.commit(subshare, opening)

    def handing(
        self,
        former: Scheme,
        point: int,
        points: Sequence[int],
        bound: Sequence[str],
        held: Held | None = None,
    ) -> Dealing:
        """How the hospital at ``point`` of the plan that hands the key on deals its part on.

        Args:
            former: that plan's scheme.
            points: of all who hand on: as many as decrypt under that plan.
            bound: see :class:`Handing`; empty where the part is the hospital's own secret.
            held: that part, to deal it on, or None to check.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``.
        """
        ring, to = (self._rns, self.context), (self._work.hospitals, self.threshold)
        if not former.dealt:
            return KeyDealing(ring[0], self._reference, ring[1], *to, of=former.context)
        factor = former.lagrange(point, points)
        named = (self._commitments, self.context, former.context)
        return Handing(self._rns, *named, *to, factor, bound, held)

    def kept(self, key: ShareKey) -> tuple[bytes, bytes]:
        """A dealt share key as its node keeps it: what it decrypts with, and what only handing it
        on needs."""
        assert key.held is not None
        commitments = self._committed(len(key.held.commitments)).encode(key.held.commitments)
        opening = key.held.opening.astype("<i2").tobytes()
        return self.form(Kind.SUBSHARE).encode(key.residues[None, None]), commitments + opening

    def found(self, raw: bytes, point: int) -> ShareKey:
        """A dealt share key, from what its node kept.

        Raises:
            MedFabricError: the wire format's codes.
        """
        return ShareKey(point, self.form(Kind.SUBSHARE).decode(raw)[0, 0])

    def held(self, key: ShareKey, raw: bytes, dealers: int) -> Held:
        """A dealt share key, to be handed on, from what its node kept for that.

        Raises:
            MedFabricError: the wire format's codes.
        """
        form = self._committed(dealers)
        opening = np.frombuffer(raw[form.length :], dtype="<i2").astype(np.int64)
        return Held(key.residues, opening.reshape(SHORTS, -1), form.decode(raw[: form.length]))

    def _committed(self, dealers: int) -> Form:
        return Form(Kind.COMMITMENT, self.context, self._rns.primes, self._rns.degree, dealers, 2)

    @cached_property
    def _commitments(self) -> Commitments:
        return Commitments(self._rns, self._origin)

    # the sum

    def encrypt(
        self,
        values: NDArray[np.floating],
        key: CollectiveKey,
        sender: bytes,
        test_stream: sampling.Stream | None = None,
    ) -> Iterator[bytes]:
        """An update: values, clipped to the terms' range, under a mask whose key is encrypted.

        Args:
            values: ``float[parameters]``; read chunk by chunk, so it may be a mapped file.
            sender: see :meth:`update_form`.
            test_stream: in test mode, what all randomness is drawn from; else from nothing
                repeatable.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``, or ``WRONG_SIZE``.
        """
        if values.shape != (self._work.parameters,):
            raise MedFabricError(
                Code.WRONG_SIZE, f"{values.shape} values instead of {self._work.parameters}"
            )
        stream = test_stream or sampling.fresh()
        mask_key = self._masks.key(stream)
        ciphertext, opening = Encryptor(self._rns, self.public_key(key)).zero(stream)
        scaled = self._rns.multiply(self._rns.small(mask_key), self._scale)
        ciphertext[0] = self._rns.add(ciphertext[0], scaled)
        yield self.form(Kind.CIPHERTEXT).encode(ciphertext[None])
        if not self._terms.tied:
            proof = self.proof(self.context + sender)
            yield proof.prove([ciphertext], [opening], stream)
        # Noise that is drawn chunk by chunk can be drawn again, for the proof.
        noise, masked = stream.bytes(32), hashlib.sha256()
        for part in self._masked(values, self._masks.transformed(mask_key), noise):
            yield part
            masked.update(part)
        if self._terms.tied:
            messages = (self._masks.message(*some) for some in self._pieces(values, noise))
            secrets = (opening.once, mask_key)
            tied = self._tied(sender, key)
            yield tied.prove(ciphertext, masked.digest(), secrets, messages, stream)

    def _masked(self, values: NDArray[np.floating], key: Residues, noise: bytes) -> Iterator[bytes]:
        form = self.form(Kind.MASKED)
        yield form.header()
        for chunk, (some, stream) in enumerate(self._pieces(values, noise)):
            yield form.pack(self._masks.mask(some, key, chunk, stream)[None])

    def _pieces(
        self, values: NDArray[np.floating], noise: bytes
    ) -> Iterator[tuple[NDArray[np.floating], sampling.Stream]]:
        """Each chunk's values, and what its noise is drawn from."""
        degree = self._rns.degree
        for chunk in range(self._terms.chunks(self._work.parameters)):
            stream = sampling.derived(noise, b"noise" + chunk.to_bytes(8, "little"))
            yield values[chunk * degree : (chunk + 1) * degree], stream

    def weighted_sum(
        self, updates: Sequence[tuple[BinaryIO, bytes, int]], key: CollectiveKey
    ) -> Iterator[bytes]:
        """The sum of updates times public integer weights: the same bytes everywhere.

        Args:
            updates: content, sender, weight.
            key: what their masks' keys are encrypted under.

        Raises:
            MedFabricError: an update is malformed or not proven sound, or ``PARAMETERS_REFUSED``
                for weights beyond the terms' resolution.
        """
        weights = [weight for *_, weight in updates]
        if not weights or min(weights) < 1 or sum(weights) > 1 << self._terms.weight_bits:
            raise MedFabricError(
                Code.PARAMETERS_REFUSED, "weights beyond the plan's resolution; audit the ledger"
            )
        readers = [self.update_form(sender, key).read(source) for source, sender, _ in updates]
        form = self.sum_form
        ciphertexts = [next(reader) for reader in readers]
        total = kahe.weighted_sum(ciphertexts, weights, self._rns.column)
        yield form.ciphertext.encode(self._rns.add(total, total)[None])
        yield form.masked.header()
        for chunks in zip(*readers, strict=True):
            yield form.masked.pack(self._masks.add(list(chunks), weights))

    # the decryption

    def decryption_share(
        self,
        key: ShareKey,
        aggregate: BinaryIO,
        holders: Sequence[int],
        test_stream: sampling.Stream | None = None,
    ) -> bytes:
        """d_i = c1 k_i + flooding noise. Make it once per aggregate and set of holders, and keep
        it: shares of the same aggregate average the noise away.

        Args:
            holders: the points of the hospitals that share in this decryption, this one among them.
            test_stream: in test mode, what the noise is drawn from; else from nothing repeatable.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE`` where they are not exactly as many as needed.
        """
        scaled = self.scaled(key, holders)
        noise = self._rns.forward(self._flood(test_stream or sampling.fresh()))
        ciphertext = next(self.sum_form.read(aggregate))
        share = self._rns.add(self._rns.multiply(ciphertext[1], scaled), noise)
        return self.form(Kind.SHARE).encode(share[None, None])

    def own_part(self, document: bytes, point: int) -> Part:
        """What the public part of the hospital at ``point`` tells of its part of the key, where
        nothing is dealt.

        Raises:
            MedFabricError: ``KEY_SHARE_INVALID``, or the wire format's codes.
        """
        return self.dealing.part(self.dealing.check(document, point))

    def dealt_part(self, document: bytes, bound: Sequence[str]) -> tuple[Part, bytes]:
        """What is known of a dealt part of the key, from the commitments that a document begins
        with; and the rest of it.

        Args:
            bound: hashes of these commitments, one of each dealer.

        Raises:
            MedFabricError: ``SHARE_UNPROVEN``, or the wire format's codes.
        """
        form = self._committed(len(bound))
        found = form.decode(document[: form.length])
        if [digest(commitment) for commitment in found] != list(bound):
            raise MedFabricError(
                Code.SHARE_UNPROVEN, "these are not commitments to what was dealt to this hospital"
            )
        total = np.zeros_like(found[0])
        for commitment in found:
            total = self._rns.add(total, commitment)
        return self._commitments.part(total, len(found)), document[form.length :]

    def dealt_opening(self, raw: bytes, dealers: int) -> tuple[bytes, Shorts]:
        """The commitments to a dealt part, as a document begins with them, and what opens their
        sum, from what its node kept.

        Raises:
            MedFabricError: the wire format's codes.
        """
        length = self._committed(dealers).length
        opening = np.frombuffer(raw[length:], dtype="<i2").astype(np.int64)
        first, second, third = opening.reshape(SHORTS, -1)
        return raw[:length], np.stack([second, third, first])

    def share_proof(
        self,
        part: Part,
        aggregate: BinaryIO,
        share: bytes,
        place: tuple[int, Sequence[int]],
        sender: bytes,
    ) -> ShareProof:
        """Proofs that a share in a decryption is right.

        Args:
            part: what is known of the part of the key that it is to be made of.
            place: the point of the hospital that shares, and those of all who do.
            sender: who shares in which round: what is copied from another is refused.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``, or the wire format's codes.
        """
        factor = self._rns.residues(self.lagrange(*place))
        times = self._rns.multiply(next(self.sum_form.read(aggregate))[1], factor)
        posted = self.form(Kind.SHARE).decode(share)[0, 0]
        shared = Shared(self._rns.inverse(posted), times)
        return ShareProof(self._rns, part, shared, self.context + sender, self._terms.flood_bits)

    def decode_mean(
        self, aggregate: BinaryIO, shares: Sequence[bytes], total_weight: int
    ) -> Iterator[NDArray[np.float64]]:
        """The weighted mean of the values, chunk by chunk, the same bytes everywhere.

        Raises:
            MedFabricError: a share is malformed, or ``DECODE_RANGE``: the shares are not all
                there or not of this aggregate, for the sum is not where an honest one is.
        """
        chunks = self.sum_form.read(aggregate)
        keys = self._masks.transformed(self._opened(next(chunks), shares))
        left, degree = self._work.parameters, self._rns.degree
        for number, chunk in enumerate(chunks):
            size = min(left, degree)
            left -= size
            yield self._masks.open(chunk[0], keys, number, size, total_weight)

    def _opened(self, ciphertext: Residues, shares: Sequence[bytes]) -> NDArray[np.int64]:
        """The weighted sum of masks' keys, or where updates are tied twice that: ``int64[N]``."""
        total, form = ciphertext[0], self.form(Kind.SHARE)
        for share in shares:
            total = self._rns.add(total, form.decode(share)[0, 0])
        largest = encryption.largest_key(self._terms)
        shift = self._terms.scale_bits + (not self._terms.tied)
        keys = self._rns.rounded(total, shift, shift + (largest - 1).bit_length())
        check_sums(keys, largest)
        return keys

    # what other ciphertexts under the same key need

    @property
    def rns(self) -> Rns:
        """The ring of the key."""
        return self._rns

    def public_key(self, key: CollectiveKey) -> Residues:
        """(b, a): ``int64[2, P, N]``, transformed."""
        return np.stack([key.residues, self._reference])

    def proof(self, context: bytes, number: int = 1) -> WellFormed:
        """Proofs about ``number`` ciphertexts under the key."""
        return WellFormed(self._rns, self._reference, context, number)

    def _tied(self, sender: bytes, key: CollectiveKey) -> Tied:
        assert isinstance(self._masks, TiedMasks)
        public = PublicKey(self.public_key(key), self._scale)
        return Tied(self._rns, public, self._masks, self.context + sender)

    def _made_masks(self) -> Masks:
        terms = self._terms
        primes = self._seal.mask_primes(primes_of(terms.mask_bits))
        if terms.tied:
            return TiedMasks(terms, primes, self.context, terms.tie(self._work.parameters))
        return Masks(terms, primes, self.context)

    def scaled(self, key: ShareKey, holders: Sequence[int]) -> Residues:
        """What c1 is multiplied by in a share: ``int64[P, N]``, transformed. Never leaves the node.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``.
        """
        return self._rns.multiply(
            key.residues, self._rns.residues(self.lagrange(key.point, holders))
        )

    def lagrange(self, point: int, holders: Sequence[int]) -> int:
        """The factor of f(point) in f(0), from the values at the holders' points.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``.
        """
        if len(set(holders)) != self.threshold or point not in holders:
            raise MedFabricError(
                Code.SHARES_INCOMPLETE,
                f"{len(set(holders))} hospitals to share where the plan has {self.threshold}",
            )
        if not self.dealt:
            return 1
        modulus, factor = self._rns.modulus, 1
        for other in set(holders) - {point}:
            factor = factor * other * pow(other - point, -1, modulus) % modulus
        return factor

    # helpers

    def _flood(self, stream: sampling.Stream) -> Residues:
        digits = stream.flood(self._rns.degree, self._terms.flood_bits)
        return self._rns.joined(digits, sampling.LIMB_BITS)


def update_sender(plan_id: str, number: int, place: tuple[str, str]) -> bytes:
    """What the proof in an update of round ``number`` is bound to.

    Args:
        place: the hospital and the node.
    """
    return canonical.dumps({"plan": plan_id, "round": number, "sender": place})


def share_sender(plan_id: str, number: int, msp_id: str) -> bytes:
    """What the proof of a hospital's share in round ``number`` is bound to."""
    return canonical.dumps({"plan": plan_id, "round": number, "share": msp_id})


def _uniform(seed: bytes, index: int, prime: int, degree: int) -> Residues:
    """Uniform residues from SHAKE-256, by rejection: the same for everyone who knows the seed."""
    bits = prime.bit_length()
    stream = hashlib.shake_256(b"MFR2 reference" + index.to_bytes(4, "little") + seed)
    words = degree * 2
    while True:
        drawn = np.frombuffer(stream.digest(words * 8), dtype="<u8") >> np.uint64(64 - bits)
        kept = drawn[drawn < prime]
        if kept.size >= degree:
            return kept[:degree].astype(np.int64)
        words *= 2
