"""A study's encryption: records in, sums out, and nothing but what the study asks for.

The terms of a record (:func:`chaincode.schema.studies.terms_of`) are whole numbers; those of N / L
records stand in the coefficients of one ciphertext under a plan's collective key, record r's from
coefficient r L on. Multiplied by X^(-r L), a ciphertext has record r's in front. So the product
with the sum of X^(-r L) over chosen r, a public polynomial of as many coefficients 1 or -1, has the
chosen records' sum in its first L coefficients; ciphertexts add up. Both are exact arithmetic on
residues: the same bytes everywhere.

Nothing is summed that its sender does not prove to be encrypted by the rules: see
:mod:`trainer.privacy.wellformed`. As there, twice the sum is what is decrypted.

The other coefficients of that product hold sums that nobody asked for. They are never decrypted: a
decryption share is c1 k_i plus flooding noise, coefficient by coefficient, and a hospital releases
the first L alone. Each coefficient has its own noise; without one's share its c1 k_i stays hidden
(Mouchet et al. 2021, "Multiparty Homomorphic Encryption from Ring-Learning-with-Errors").
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical, studies
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.studies import PROVEN_AT_ONCE, StudyTerms
from trainer.privacy import sampling
from trainer.privacy.discrete_gaussian import sample
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.ring import Residues
from trainer.privacy.shareproof import Part, Shared, ShareProof
from trainer.privacy.threshold import CollectiveKey, Scheme, ShareKey
from trainer.privacy.wellformed import WellFormed
from trainer.privacy.wire import Form, Kind

Ranges = Sequence[tuple[int, int]]
"""Places of records: from the first, and before the last of each."""


class Study:
    """The encryption of one study's records under its plan's key.

    Args:
        scheme: the plan's.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED``.
    """

    def __init__(self, terms: StudyTerms, plan: PlanTerms, scheme: Scheme) -> None:
        encryption = plan.encryption
        if not isinstance(encryption, EncryptionTerms):
            raise MedFabricError(Code.PARAMETERS_REFUSED, "the study's plan has no collective key")
        if refused := studies.refusal(terms, encryption, plan.key_parts):
            raise MedFabricError(Code.PARAMETERS_REFUSED, f"{refused}; propose another study")
        self._terms = terms
        self._scheme = scheme
        self._rns = scheme.rns
        self._length = len(studies.terms_of(terms))
        self._each = studies.records_each(terms, encryption)
        digest = hashlib.sha256(b"MFR2 study" + scheme.context + canonical.dumps(terms))
        self.context = digest.digest()
        self._proven: set[bytes] = set()

    def form(self, kind: Kind, number: int = 1) -> Form:
        """The one form of so many of the study's ciphertexts; of its sum; or of its shares."""
        primes, degree = self._rns.primes, self._rns.degree
        if kind is Kind.SHARE:
            return Form(kind, self.context, primes, self._length, 1)
        return Form(kind, self.context, primes, degree, number, 2)

    def encrypt(
        self,
        values: NDArray[np.int64],
        key: CollectiveKey,
        dataset_id: str,
        stream: sampling.Stream | None = None,
    ) -> Iterator[bytes]:
        """Encrypt a dataset's records, and this owner's noise if the study has any: ciphertexts and
        the proof of them, in turn.

        Args:
            values: ``int64[records, L]``, below 2^62 in size.
            stream: in test mode, what all randomness is drawn from; else from nothing repeatable.
        """
        encryptor = Encryptor(self._rns, self._scheme.public_key(key))
        stream = stream or sampling.fresh()
        records, values = len(values), self._with_noise(values, stream)
        for group, number in enumerate(self._groups(records)):
            made, openings = [], []
            for chunk in range(number):
                first = (group * PROVEN_AT_ONCE + chunk) * self._each
                zero, opening = encryptor.zero(stream)
                zero[0] = self._rns.add(zero[0], self._message(values[first : first + self._each]))
                made.append(zero)
                openings.append(opening)
            yield self.form(Kind.CIPHERTEXT, number).encode(np.stack(made))
            yield self._proof(dataset_id, group, number).prove(made, openings, stream)

    def check(self, source: BinaryIO, dataset_id: str, records: int) -> None:
        """Whether a dataset's ciphertexts are proven sound.

        Raises:
            MedFabricError: they are not, or are malformed.
        """
        for _ in self._read(source, dataset_id, records):
            pass

    def sum(self, deposits: Sequence[tuple[BinaryIO, str, int, Ranges]]) -> bytes:
        """The encrypted sum over chosen records: the same bytes everywhere.

        Args:
            deposits: ciphertexts, the dataset, how many records they are of, which of them.

        Raises:
            MedFabricError: ciphertexts are malformed, or not proven sound.
        """
        total = np.zeros((2, len(self._rns.primes), self._rns.degree), dtype=np.int64)
        for source, dataset_id, records, ranges in deposits:
            rows = studies.rows_of(self._terms, records)
            chosen = np.zeros(-(-rows // self._each) * self._each, dtype=bool)
            for first, last in ranges:
                chosen[first:last] = True
            chosen[records:rows] = True
            chunks = self._read(source, dataset_id, records)
            for chunk, places in zip(chunks, chosen.reshape(-1, self._each), strict=True):
                if places.any():
                    total = self._rns.add(total, self._rns.multiply(chunk, self._chooser(places)))
        return self.form(Kind.CIPHERTEXT).encode(self._rns.add(total, total)[None])

    def share(
        self,
        key: ShareKey,
        total: bytes,
        holders: Sequence[int],
        stream: sampling.Stream | None = None,
    ) -> bytes:
        """This hospital's part in the decryption of the sum: of what is asked for, and no more.

        Make it once for an attempt and keep it: shares of the same sum average the noise away. The
        study's flooding allows for as many attempts as key holders can drop out.

        Args:
            holders: the points of the hospitals that share in it, this one among them.
            stream: in test mode, what the noise is drawn from; else from nothing repeatable.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``, or the sum is malformed.
        """
        ((_, second),) = self.form(Kind.CIPHERTEXT).decode(total)
        product = self._rns.multiply(second, self._scheme.scaled(key, holders))
        digits = (stream or sampling.fresh()).flood(
            self._rns.degree, self._terms.flooding.flood_bits
        )
        noise = self._rns.joined(digits, sampling.LIMB_BITS)
        whole = self._rns.add(self._rns.inverse(product), noise)
        return self.form(Kind.SHARE).encode(whole[None, None, :, : self._length])

    def share_proof(
        self,
        part: Part,
        total: bytes,
        share: bytes,
        place: tuple[int, Sequence[int]],
        sender: bytes,
    ) -> ShareProof:
        """Proofs that a share in the decryption of the sum is right; of its coefficients alone.

        Args:
            part: what is known of the part of the key that it is to be made of.
            place: the point of the hospital that shares, and those of all who do.
            sender: who shares in which attempt: what is copied from another is refused.

        Raises:
            MedFabricError: ``SHARES_INCOMPLETE``, or the wire format's codes.
        """
        ((_, second),) = self.form(Kind.CIPHERTEXT).decode(total)
        factor = self._rns.residues(self._scheme.lagrange(*place))
        posted = self.form(Kind.SHARE).decode(share)[0, 0]
        shared = Shared(posted, self._rns.multiply(second, factor))
        flood_bits = self._terms.flooding.flood_bits
        return ShareProof(self._rns, part, shared, self.context + sender, flood_bits)

    def decode(self, total: bytes, shares: Sequence[bytes], records: int) -> tuple[int, ...]:
        """The sums that the shares give: exact, and the same everywhere.

        Raises:
            MedFabricError: a share is malformed, or ``DECODE_RANGE``: the shares are not all
                there or not of this sum, for it is not what honest records give.
        """
        ((first, _),) = self.form(Kind.CIPHERTEXT).decode(total)
        coefficients = self._rns.inverse(first)
        for share in shares:
            own = np.zeros_like(coefficients)
            own[:, : self._length] = self.form(Kind.SHARE).decode(share)[0, 0]
            coefficients = self._rns.add(coefficients, own)
        shift = self._terms.flooding.scale_bits + 1
        bits = shift + studies.largest_sum(self._terms).bit_length() + 1
        whole = self._rns.rounded(self._rns.forward(coefficients), shift, bits)
        sums = tuple(map(int, whole[: self._length]))
        if wrong := studies.sums_problem(self._terms, records, sums):
            raise MedFabricError(Code.DECODE_RANGE, f"{wrong}: the shares do not open this sum")
        return sums

    def _with_noise(self, values: NDArray[np.int64], stream: sampling.Stream) -> NDArray[np.int64]:
        if self._terms.privacy is None:
            return values
        drawn = [sample(d, 1, stream)[0] if d else 0 for d in studies.noises(self._terms)]
        return np.vstack([values, np.array(drawn, dtype=np.int64)])

    def _message(self, values: NDArray[np.int64]) -> Residues:
        coefficients = np.zeros(self._rns.degree, dtype=np.int64)
        coefficients[: values.size] = values.reshape(-1)
        scale = self._rns.residues(1 << self._terms.flooding.scale_bits)
        return self._rns.multiply(self._rns.small(coefficients), scale)

    def _read(self, source: BinaryIO, dataset_id: str, records: int) -> Iterator[Residues]:
        """Ciphertext by ciphertext, each proven sound."""
        groups = self._groups(records)
        forms = [self.form(Kind.CIPHERTEXT, number) for number in groups]
        proofs = [self._proof(dataset_id, *group) for group in enumerate(groups)]
        length = sum(form.length for form in forms) + sum(proof.length for proof in proofs)
        if source.seek(0, io.SEEK_END) != length:
            raise MedFabricError(
                Code.WIRE_MALFORMED, f"no {length} bytes, as {records} records are"
            )
        source.seek(0)
        for form, proof in zip(forms, proofs, strict=True):
            chunks = list(form.section(source))
            said = source.read(proof.length)
            digest = hashlib.sha256(proof.context + form.encode(np.stack(chunks)) + said).digest()
            if digest not in self._proven:
                proof.check(said, chunks)
                self._proven.add(digest)
            yield from chunks

    def _groups(self, records: int) -> list[int]:
        """How many ciphertexts each proof is about."""
        left = -(-studies.rows_of(self._terms, records) // self._each)
        return [min(PROVEN_AT_ONCE, left - first) for first in range(0, left, PROVEN_AT_ONCE)]

    def _proof(self, dataset_id: str, group: int, number: int) -> WellFormed:
        place = canonical.dumps({"dataset": dataset_id, "group": group})
        return self._scheme.proof(self.context + place, number)

    def _chooser(self, places: NDArray[np.bool_]) -> Residues:
        """The sum of X^(-r L) over chosen r; X^N is -1."""
        polynomial = np.zeros(self._rns.degree, dtype=np.int64)
        rows = np.flatnonzero(places)
        polynomial[(-rows * self._length) % self._rns.degree] = np.where(rows, -1, 1)
        return self._rns.small(polynomial)
