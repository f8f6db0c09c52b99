"""CKKS whose secret key is the sum of the hospitals' secrets, so that nobody holds it.

Multiparty scheme of Mouchet et al. 2021 ("Multiparty Homomorphic Encryption from
Ring-Learning-with-Errors"), its key shared on to any t hospitals by Shamir's scheme (Mouchet et al.
2023, "An Efficient Threshold Access-Structure for RLWE-Based Multiparty Homomorphic Encryption").
Common reference polynomial a from SHAKE-256 of the plan; the collective key is (sum b_j, a). Values
stand in the polynomial's coefficients; public integer weights multiply ciphertexts without
rescaling. Hospital i shares in a decryption by d_i = c1 k_i + flooding noise, k_i being its secret,
or Lagrange's factor of those who share times the sum of what was dealt to it; c0 + sum d_i is the
weighted sum of values.

Content goes in and out chunk by chunk: memory does not grow with the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical, encryption
from chaincode.schema.encryption import EncryptionTerms, Workload
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.rounds import WholeRound
from trainer.privacy import ring, sampling
from trainer.privacy.dealing import KeyDealing, KeySecret
from trainer.privacy.packing import Packing
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.seal import Encryptor, Seal
from trainer.privacy.seeded import SeededEncryptor
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
    """What hospital ``point`` decrypts with: ``int64[P, N]``. Never leaves its node."""

    point: int
    residues: Residues

    def __repr__(self) -> str:
        return f"ShareKey({self.point}, ...)"


class Scheme:
    """Threshold CKKS under one plan's terms, for models of ``work.parameters`` values.

    Args:
        seed: the plan's hash; fixes the common reference polynomial.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED``.
    """

    def __init__(self, terms: EncryptionTerms, work: Workload, seed: bytes) -> None:
        if refused := encryption.refusal(terms, work):
            raise MedFabricError(Code.PARAMETERS_REFUSED, f"{refused}; change the plan's terms")
        self._terms = terms
        self._work = work
        self._seal = Seal(terms)
        self._rns = Rns(terms.poly_modulus_degree, self._seal.primes)
        self.context = _context(terms, work, seed)
        self._reference = np.stack(
            [_uniform(seed, i, q, self._rns.degree) for i, q in enumerate(self._rns.primes)]
        )
        self.threshold = terms.threshold or work.hospitals
        self.dealing = KeyDealing(
            self._rns, self._reference, self.context, work.hospitals, self.threshold
        )
        self._packing = Packing(terms, self._rns)
        self.chunks = terms.chunks(work.parameters)
        self._encryptors: dict[str, Encryptor] = {}

    def form(self, kind: Kind) -> Form:
        """The one form that a plan's key, ciphertexts, shares or subshares have."""
        chunks = 1 if kind in (Kind.KEY, Kind.SUBSHARE) else self.chunks
        polynomials = 2 if kind is Kind.CIPHERTEXT else 1
        primes, degree = self._rns.primes, self._rns.degree
        return Form(kind, self.context, primes, degree, chunks, polynomials)

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

    def share_key(self, secret: KeySecret, point: int, subshares: Sequence[Residues]) -> ShareKey:
        """What hospital ``point`` decrypts with.

        Args:
            subshares: what every hospital dealt to this one; empty where nothing is dealt.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``.
        """
        if not self.dealing.dealt:
            return ShareKey(point, self._rns.small(self.dealing.secret_polynomial(secret)))
        if len(subshares) != self._work.hospitals:
            raise MedFabricError(Code.SHARES_INCOMPLETE, "a hospital has dealt nothing")
        total = np.zeros_like(self._reference)
        for subshare in subshares:
            total = self._rns.add(total, subshare)
        return ShareKey(point, total)

    # the sum

    def encrypt(
        self,
        values: NDArray[np.floating],
        key: CollectiveKey,
        test_stream: sampling.Stream | None = None,
    ) -> Iterator[bytes]:
        """Encrypt values, clipped to the terms' range, a chunk to a ciphertext.

        Args:
            values: ``float[parameters]``; read chunk by chunk, so it may be a mapped file.
            test_stream: in test mode, what all randomness is drawn from; else SEAL's own is.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``, or ``WRONG_SIZE``.
        """
        if values.shape != (self._work.parameters,):
            raise MedFabricError(
                Code.WRONG_SIZE, f"{values.shape} values instead of {self._work.parameters}"
            )
        form, size = self.form(Kind.CIPHERTEXT), self._packing.values
        encryptor = self._encryptor(key, test_stream)
        yield form.header()
        for first in range(0, values.size, size):
            message = self._rns.forward(self._packing.encode(values[first : first + size]))
            zero = encryptor.zero()
            yield form.pack((self._rns.add(zero[0], message), zero[1]))

    def weighted_sum(self, updates: Sequence[tuple[BinaryIO, int]]) -> Iterator[bytes]:
        """The sum of ciphertexts times public integer weights: the same bytes everywhere.

        Raises:
            MedFabricError: an update is malformed, or ``PARAMETERS_REFUSED`` for weights beyond
                the terms' resolution.
        """
        weights = [weight for _, weight in updates]
        if not weights or min(weights) < 1 or sum(weights) > 1 << self._terms.weight_bits:
            raise MedFabricError(
                Code.PARAMETERS_REFUSED, "weights beyond the plan's resolution; audit the ledger"
            )
        form = self.form(Kind.CIPHERTEXT)
        readers = [form.read(source) for source, _ in updates]
        yield form.header()
        for chunks in zip(*readers, strict=True):
            yield form.pack(self.add(chunks, weights))

    def add(self, chunks: Sequence[Residues], weights: Sequence[int]) -> Residues:
        """The weighted sum of residues ``int64[2, P, N]``."""
        # Weights sum to at most 2^14 and residues are below 2^48: nothing overflows before the end.
        total = chunks[0] * weights[0]
        weighted = np.empty_like(total)
        for chunk, weight in zip(chunks[1:], weights[1:], strict=True):
            np.multiply(chunk, weight, out=weighted)
            total += weighted
        return ring.lift(total, self._rns.column)

    def aggregate_sha256(self, key: CollectiveKey, round_: WholeRound, sum_sha256: str) -> str:
        """What hospitals attest of a round's encrypted sum."""
        return aggregate_sha256(self.context, key.sha256, round_, sum_sha256)

    # the decryption

    def decryption_share(
        self,
        key: ShareKey,
        aggregate: BinaryIO,
        holders: Sequence[int],
        test_stream: sampling.Stream | None = None,
    ) -> Iterator[bytes]:
        """d_i = c1 k_i + flooding noise. Make it once per aggregate and set of holders, and keep
        it: shares of the same aggregate average the noise away.

        Args:
            holders: the points of the hospitals that share in this decryption, this one among them.
            test_stream: in test mode, what the noise is drawn from; else from nothing repeatable.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE`` where they are not exactly as many as needed.
        """
        scaled = self.scaled(key, holders)
        form, stream = self.form(Kind.SHARE), test_stream or sampling.fresh()
        chunks = self.form(Kind.CIPHERTEXT).read(aggregate)
        yield form.header()
        for chunk in chunks:
            noise = self._rns.forward(self._flood(stream))
            share = self._rns.add(self._rns.multiply(chunk[1], scaled), noise)
            yield form.pack(share[None])

    def decode_mean(
        self, aggregate: BinaryIO, shares: Sequence[BinaryIO], total_weight: int
    ) -> Iterator[NDArray[np.float64]]:
        """The weighted mean of the values, chunk by chunk, the same bytes everywhere.

        Raises:
            MedFabricError: a share is malformed, or ``DECODE_RANGE``: the shares are not all
                there or not of this aggregate, for the sum is not where an honest one is.
        """
        noise = encryption.largest_noise(self._terms, len(shares), self._work.hospitals)
        readers = [self.form(Kind.SHARE).read(share) for share in shares]
        left = self._work.parameters
        for chunks in zip(self.form(Kind.CIPHERTEXT).read(aggregate), *readers, strict=True):
            total = chunks[0][0].copy()
            for share in chunks[1:]:
                total += share[0]
            number = min(left, self._packing.values)
            left -= number
            residues = ring.lift(total, self._rns.column)
            yield self._packing.decode(residues, number, total_weight, noise)

    # what other ciphertexts under the same key need

    @property
    def rns(self) -> Rns:
        """The ring of the key."""
        return self._rns

    def public_key(self, key: CollectiveKey) -> Residues:
        """(b, a): ``int64[2, P, N]``, transformed."""
        return np.stack([key.residues, self._reference])

    def scaled(self, key: ShareKey, holders: Sequence[int]) -> Residues:
        """What c1 is multiplied by in a share: ``int64[P, N]``, transformed. Never leaves the node.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``.
        """
        return self._rns.multiply(
            key.residues, self._rns.residues(self._lagrange(key.point, holders))
        )

    # helpers

    def _lagrange(self, point: int, holders: Sequence[int]) -> int:
        """The factor of f(point) in f(0), from the values at the holders' points."""
        if len(set(holders)) != self.threshold or point not in holders:
            raise MedFabricError(
                Code.SHARES_INCOMPLETE,
                f"{len(set(holders))} hospitals to share where the plan has {self.threshold}",
            )
        if not self.dealing.dealt:
            return 1
        modulus, factor = self._rns.modulus, 1
        for other in set(holders) - {point}:
            factor = factor * other * pow(other - point, -1, modulus) % modulus
        return factor

    def _flood(self, stream: sampling.Stream) -> Residues:
        digits = stream.flood(self._rns.degree, self._terms.flood_bits)
        return self._rns.joined(digits, sampling.LIMB_BITS)

    def _encryptor(
        self, key: CollectiveKey, test_stream: sampling.Stream | None
    ) -> Encryptor | SeededEncryptor:
        if test_stream is not None:
            return SeededEncryptor(self._rns, self.public_key(key), test_stream)
        if key.sha256 not in self._encryptors:
            self._encryptors[key.sha256] = self._seal.encryptor(self.public_key(key))
        return self._encryptors[key.sha256]


def aggregate_sha256(
    context: bytes, key_sha256: str | None, round_: WholeRound, sum_sha256: str
) -> str:
    """What hospitals attest of a round's sum, encrypted or masked.

    It binds the sum to the round, the key if there is one, and the list of contributions.
    """
    return canonical.sha256(
        {
            "context": context.hex(),
            "key": key_sha256,
            "plan": round_.plan_id,
            "round": round_.number,
            "inputs": [c.model_dump(mode="json") for c in round_.contributions],
            "sum": sum_sha256,
        }
    )


def _context(terms: EncryptionTerms, work: Workload, seed: bytes) -> bytes:
    sizes = f"{work.hospitals} {work.updates} {work.parameters} {work.rounds}"
    return hashlib.sha256(
        b"MFR2 context" + canonical.dumps(terms) + sizes.encode("ascii") + seed
    ).digest()


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
