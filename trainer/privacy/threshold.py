"""CKKS whose secret key is the sum of the hospitals' secrets, so that nobody holds it.

Multiparty scheme of Mouchet et al. 2021 ("Multiparty Homomorphic Encryption from
Ring-Learning-with-Errors"), n of n. Common reference polynomial a from SHAKE-256 of the plan;
hospital i publishes b_i = -(a s_i + e_i); the collective key is (sum b_i, a). Values stand in the
polynomial's coefficients; public integer weights multiply ciphertexts without rescaling. Hospital i
shares in a decryption by d_i = c1 s_i + flooding noise; c0 + sum d_i is the weighted sum of values.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import EncryptionTerms
from chaincode.schema.rounds import Round
from trainer.privacy import ring, wire
from trainer.privacy.ring import Residues
from trainer.privacy.seal import Encryptor, Seal
from trainer.privacy.wire import Kind

FRACTION_BITS = 40
"""Values are rounded to multiples of 2^-40 before they are scaled."""
_SECRET_MAGIC = b"MFS1"


@dataclass(frozen=True)
class SecretShare:
    """One hospital's part of the secret key: ``int8[N]`` of -1, 0, 1. Never leaves its node."""

    coefficients: NDArray[np.int8]

    def to_bytes(self) -> bytes:
        """For the node's own folder, mode 0600."""
        return _SECRET_MAGIC + self.coefficients.tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> SecretShare:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``.
        """
        coefficients = np.frombuffer(raw[4:], dtype=np.int8)
        if raw[:4] != _SECRET_MAGIC or not np.isin(coefficients, (-1, 0, 1)).all():
            raise MedFabricError(
                Code.WIRE_MALFORMED, "the key secret is damaged; restore the node's folder"
            )
        return cls(coefficients)

    def __repr__(self) -> str:
        return "SecretShare(...)"


@dataclass(frozen=True)
class CollectiveKey:
    """The sum of all public shares: ``uint64[all primes, N]``, transformed."""

    residues: Residues
    content: bytes

    @cached_property
    def sha256(self) -> str:
        """What hospitals confirm on the ledger."""
        return hashlib.sha256(self.content).hexdigest()


class Scheme:
    """Threshold CKKS under one plan's terms.

    Args:
        terms: the plan's encryption terms.
        seed: the plan's hash; fixes the common reference polynomial.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED``.
    """

    def __init__(self, terms: EncryptionTerms, seed: bytes) -> None:
        self._terms = terms
        self._degree = terms.poly_modulus_degree
        self._seal = Seal(self._degree, terms.modulus_bits)
        self.primes = self._seal.primes
        self._data_primes = self.primes[:-1]
        self._modulus = int(np.prod([int(q) for q in self._data_primes], dtype=object))
        self.context = hashlib.sha256(b"MFR1 context" + canonical.dumps(terms) + seed).digest()
        self._check_range()
        self._reference = np.stack([_uniform(seed, i, q, self._degree) for i, q in self._all()])
        self._encryptors: dict[str, Encryptor] = {}

    # the key

    def generate_secret(self) -> SecretShare:
        """A fresh secret: uniform in {-1, 0, 1}, from the operating system's randomness."""
        return SecretShare(_ternary(self._degree))

    def public_share(self, secret: SecretShare) -> bytes:
        """b_i = -(a s_i + e_i). Random: make it once per plan and keep it."""
        error = _error(self._degree)
        residues = np.empty((1, 1, len(self.primes), self._degree), dtype=np.uint64)
        for index, q in self._all():
            product = ring.multiply(self._reference[index], self._lifted(secret, q), q)
            noisy = ring.add(product, self._forward(error, q), q)
            residues[0, 0, index] = ring.negate(noisy, q)
        return wire.encode(Kind.KEY, self.context, self.primes, residues)

    def collective_key(self, shares: Sequence[bytes]) -> CollectiveKey:
        """The sum of the public shares, the same in any order.

        Raises:
            MedFabricError: a share is malformed, or there are fewer than two.
        """
        if len(shares) < 2:
            raise MedFabricError(Code.SHARES_INCOMPLETE, "one hospital's key is no collective key")
        total = np.zeros((len(self.primes), self._degree), dtype=np.uint64)
        for share in shares:
            residues = wire.decode(share, Kind.KEY, self.context, self.primes, self._degree, 1)
            for index, q in self._all():
                total[index] = ring.add(total[index], residues[0, 0, index], q)
        content = wire.encode(Kind.KEY, self.context, self.primes, total[None, None])
        return CollectiveKey(total, content)

    # the sum

    def encrypt(self, values: NDArray[np.float64], key: CollectiveKey) -> bytes:
        """Encrypt values, clipped to the terms' range, N to a ciphertext.

        Args:
            values: ``float64[n]``, n at least 1.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``.
        """
        fixed = self._fixed_point(values)
        encryptor = self._encryptor(key)
        chunks = self._chunks(fixed.size)
        residues = np.empty((chunks, 2, len(self._data_primes), self._degree), dtype=np.uint64)
        shift = self._terms.scale_bits - FRACTION_BITS
        for number in range(chunks):
            part = np.zeros(self._degree, dtype=np.int64)
            some = fixed[number * self._degree : (number + 1) * self._degree]
            part[: some.size] = some
            zero = encryptor.zero()
            for index, q in self._data():
                scale = np.uint64(pow(2, shift, q))
                message = ring.multiply(ring.lift(part, q), scale, q)
                transformed = ring.transform(self._degree, q).forward(message)
                zero[0, index] = ring.add(zero[0, index], transformed, q)
            residues[number] = zero
        return wire.encode(Kind.CIPHERTEXT, self.context, self._data_primes, residues)

    def weighted_sum(self, updates: Sequence[tuple[bytes, int]], length: int) -> bytes:
        """The sum of ciphertexts times public integer weights: the same bytes everywhere.

        Args:
            updates: content and weight of each.
            length: number of values in each.

        Raises:
            MedFabricError: content is malformed, or the weights exceed the terms' resolution.
        """
        if not 0 < sum(weight for _, weight in updates) <= 1 << self._terms.weight_bits:
            raise MedFabricError(
                Code.PARAMETERS_REFUSED, "the weights exceed the resolution that the plan names"
            )
        shape = (self._chunks(length), 2, len(self._data_primes), self._degree)
        total = np.zeros(shape, dtype=np.uint64)
        for content, weight in updates:
            residues = self._read(content, Kind.CIPHERTEXT, length)
            for index, q in self._data():
                weighted = ring.multiply(residues[:, :, index], np.uint64(weight), q)
                total[:, :, index] = ring.add(total[:, :, index], weighted, q)
        return wire.encode(Kind.CIPHERTEXT, self.context, self._data_primes, total)

    def aggregate(
        self, key: CollectiveKey, round_: Round, contents: Sequence[bytes], length: int
    ) -> tuple[bytes, str]:
        """A round's encrypted sum and the hash that hospitals attest.

        The hash binds the sum to the round, the key and the list of contributions.
        """
        weights = [contribution.weight for contribution in round_.contributions]
        content = self.weighted_sum(list(zip(contents, weights, strict=True)), length)
        inputs = [c.model_dump(mode="json") for c in round_.contributions]
        digest = canonical.sha256(
            {
                "context": self.context.hex(),
                "key": key.sha256,
                "plan": round_.plan_id,
                "round": round_.number,
                "length": length,
                "inputs": inputs,
                "sum": hashlib.sha256(content).hexdigest(),
            }
        )
        return content, digest

    # the decryption

    def decryption_share(self, secret: SecretShare, aggregate: bytes, length: int) -> bytes:
        """d_i = c1 s_i + flooding noise. Make it once per aggregate, and keep it: two shares of
        the same aggregate average the noise away."""
        residues = self._read(aggregate, Kind.CIPHERTEXT, length)
        shape = (residues.shape[0], 1, *residues.shape[2:])
        share = np.empty(shape, dtype=np.uint64)
        lifted = [self._lifted(secret, q) for _, q in self._data()]
        for chunk in range(residues.shape[0]):
            noise = _flood(self._degree, self._terms.flood_bits)
            for index, q in self._data():
                product = ring.multiply(residues[chunk, 1, index], lifted[index], q)
                share[chunk, 0, index] = ring.add(product, self._forward(noise, q), q)
        return wire.encode(Kind.SHARE, self.context, self._data_primes, share)

    def decode_mean(
        self, aggregate: bytes, shares: Sequence[bytes], length: int, total_weight: int
    ) -> NDArray[np.float64]:
        """The weighted mean of the values: ``float64[length]``, the same bytes everywhere.

        Raises:
            MedFabricError: a share is malformed, or ``DECODE_RANGE``: the shares are not all
                there or not of this aggregate, for the sum is not where an honest one is.
        """
        residues = self._read(aggregate, Kind.CIPHERTEXT, length)[:, 0]
        for content in shares:
            share = self._read(content, Kind.SHARE, length)[:, 0]
            for index, q in self._data():
                residues[:, index] = ring.add(residues[:, index], share[:, index], q)
        sums = np.concatenate([self._integers(chunk) for chunk in residues])
        self._check_sums(sums, length, total_weight, len(shares))
        shift = self._terms.scale_bits - FRACTION_BITS
        half = 1 << (shift - 1)
        denominator = total_weight << FRACTION_BITS
        # Integer division of integers into the nearest float: exact rounding, on any machine.
        return np.array(
            [((int(value) + half) >> shift) / denominator for value in sums[:length]],
            dtype=np.float64,
        )

    def _integers(self, chunk: Residues) -> NDArray[np.object_]:
        """Signed coefficients of one polynomial, by the Chinese remainder theorem."""
        total = np.zeros(self._degree, dtype=object)
        for index, q in self._data():
            coefficients = ring.transform(self._degree, q).inverse(chunk[index])
            others = self._modulus // q
            factor = others * pow(others, -1, q)
            total += coefficients.astype(object) * factor
        total %= self._modulus
        return np.where(total > self._modulus // 2, total - self._modulus, total)

    def _check_sums(
        self, sums: NDArray[np.object_], length: int, total_weight: int, shares: int
    ) -> None:
        noise = (shares + 1) << (self._terms.flood_bits + 1)
        largest = (total_weight * self._terms.clip_micro << self._terms.scale_bits) // 10**6
        values, unused = np.abs(sums[:length]), np.abs(sums[length:])
        if values.max() > largest + noise or (unused.size and unused.max() > noise):
            raise MedFabricError(
                Code.DECODE_RANGE,
                "the shares do not decrypt this aggregate: one is missing, or not what it claims",
            )

    # helpers

    def _check_range(self) -> None:
        terms = self._terms
        largest = (terms.clip_micro << (terms.weight_bits + terms.scale_bits)) // 10**6
        if largest > self._modulus // 4:
            raise MedFabricError(
                Code.PARAMETERS_REFUSED,
                "weights, clip and scale do not fit the modulus: lower scale_bits or clip_micro",
            )

    def _fixed_point(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        if values.size == 0 or not np.isfinite(values).all():
            raise MedFabricError(
                Code.VALUE_NOT_FINITE,
                "the update holds no values, or not only finite ones; lower the learning rate",
            )
        clip = self._terms.clip_micro / 1e6
        return np.rint(np.clip(values, -clip, clip) * 2.0**FRACTION_BITS).astype(np.int64)

    def _encryptor(self, key: CollectiveKey) -> Encryptor:
        if key.sha256 not in self._encryptors:
            public_key = np.stack([key.residues, self._reference])
            self._encryptors[key.sha256] = self._seal.encryptor(public_key)
        return self._encryptors[key.sha256]

    def _read(self, content: bytes, kind: Kind, length: int) -> Residues:
        chunks = self._chunks(length)
        return wire.decode(content, kind, self.context, self._data_primes, self._degree, chunks)

    def _chunks(self, length: int) -> int:
        return -(-length // self._degree)

    def _all(self) -> list[tuple[int, int]]:
        return list(enumerate(self.primes))

    def _data(self) -> list[tuple[int, int]]:
        return list(enumerate(self._data_primes))

    def _lifted(self, secret: SecretShare, q: int) -> Residues:
        return self._forward(secret.coefficients.astype(np.int64), q)

    def _forward(self, values: NDArray[np.int64], q: int) -> Residues:
        return ring.transform(self._degree, q).forward(ring.lift(values, q))


def _uniform(seed: bytes, index: int, prime: int, degree: int) -> Residues:
    """Uniform residues from SHAKE-256, by rejection: the same for everyone who knows the seed."""
    bits = prime.bit_length()
    stream = hashlib.shake_256(b"MFR1 reference" + index.to_bytes(4, "little") + seed)
    words = degree * 2
    while True:
        drawn = np.frombuffer(stream.digest(words * 8), dtype="<u8") >> np.uint64(64 - bits)
        kept = drawn[drawn < prime]
        if kept.size >= degree:
            return kept[:degree].astype(np.uint64)
        words *= 2


def _ternary(degree: int) -> NDArray[np.int8]:
    kept = np.empty(0, dtype=np.uint8)
    while kept.size < degree:
        drawn = np.frombuffer(os.urandom(2 * degree), dtype=np.uint8)
        # 255 is the largest multiple of 3 in a byte: above it the rest would be biased.
        kept = np.concatenate([kept, drawn[drawn < 255]])
    return (kept[:degree] % 3).astype(np.int8) - np.int8(1)


def _error(degree: int) -> NDArray[np.int64]:
    """Centred binomial of 42 bits (deviation 3.24), from the operating system's randomness."""
    drawn = np.frombuffer(os.urandom(6 * degree), dtype=np.uint8).reshape(degree, 6)
    bits = np.unpackbits(drawn, axis=1)[:, :42].astype(np.int64)
    return np.asarray(bits[:, :21].sum(axis=1) - bits[:, 21:].sum(axis=1))


def _flood(degree: int, bits: int) -> NDArray[np.int64]:
    """Uniform in [-2^bits, 2^bits), from the operating system's randomness."""
    drawn = np.frombuffer(os.urandom(8 * degree), dtype="<u8") >> np.uint64(63 - bits)
    return drawn.astype(np.int64) - np.int64(1 << bits)
