"""What TenSEAL's SEAL does for us: parameters, and encryption under a public key.

Only bytes built here reach SEAL's loaders, never a peer's: those crash on hostile input. SEAL works
at its key level, with every prime carrying the ciphertext: nothing is ever key-switched here.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues

# SEAL's serialisation header: magic, its own size, version 4.x, compression, reserved, length.
_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E
_METADATA = 1024
"""Bytes that a saved ciphertext has at most beside its residues."""
_NO_MEMORY = "failed_creating_rns_tool"
"""SEAL catches whatever fails there. With distinct primes made for the degree, as ours are, nothing
does but memory."""
_MEMORY = Path("/dev/shm")  # noqa: S108
"""Where files are memory, on Linux; elsewhere the temporary folder does."""


class Seal:
    """SEAL at one plan's parameters.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` where SEAL itself, by the table of the homomorphic
            encryption standard, refuses them; ``MEMORY_EXHAUSTED``, as of every method.
    """

    def __init__(self, terms: EncryptionTerms) -> None:
        import tenseal.sealapi as sealapi

        self._api = sealapi
        self._degree = terms.poly_modulus_degree
        level = getattr(sealapi.SEC_LEVEL_TYPE, f"TC{terms.security_bits}")
        _check_room(terms)
        try:
            parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
            parameters.set_poly_modulus_degree(self._degree)
            primes = sealapi.CoeffModulus.Create(self._degree, list(terms.modulus_bits))
            parameters.set_coeff_modulus(primes)
            self._context = sealapi.SEALContext(parameters, True, level)
        except (ValueError, RuntimeError) as error:
            raise _refused(str(error)) from None
        except MemoryError:
            raise _exhausted() from None
        if self._context.parameters_error_name() == _NO_MEMORY:
            raise _exhausted()
        if not self._context.parameters_set():
            raise _refused(self._context.parameters_error_message())
        self.primes = tuple(int(modulus.value()) for modulus in parameters.coeff_modulus())
        self._version = self._find_version(parameters)

    def mask_primes(self, bits: tuple[int, ...]) -> tuple[int, ...]:
        """The largest primes of so many bits, each another, that are congruent to 1 modulo 2N."""
        primes = self._api.CoeffModulus.Create(self._degree, list(bits))
        return tuple(int(prime.value()) for prime in primes)

    def encryptor(self, public_key: Residues) -> Encryptor:
        """An encryptor under a public key, ``int64[2, P, N]``, transformed."""
        content = self._public_key_bytes(public_key)
        try:
            key = self._api.PublicKey()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "public-key"
                path.write_bytes(content)
                key.load(self._context, str(path))
            return Encryptor(self._api, self._context, key, (2, len(self.primes), self._degree))
        except MemoryError:
            raise _exhausted() from None

    def _public_key_bytes(self, public_key: Residues) -> bytes:
        data = np.ascontiguousarray(public_key, dtype="<i8")
        inner = struct.pack("<4Q", *self._context.key_parms_id()) + b"\x01"
        inner += struct.pack("<3QdQ", 2, self._degree, len(self.primes), 1.0, 1)
        values = struct.pack("<Q", data.size) + data.tobytes()
        return self._framed(inner + self._framed(values))

    def _framed(self, content: bytes) -> bytes:
        size = _HEADER.size + len(content)
        header = _HEADER.pack(_MAGIC, _HEADER.size, *self._version, 0, 0, size)
        return header + content

    def _find_version(self, parameters: Any) -> tuple[int, int]:
        # The loader wants its own version; it is what this SEAL writes into any file.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "modulus"
            parameters.coeff_modulus()[0].save(str(path))
            _, _, major, minor, *_ = _HEADER.unpack_from(path.read_bytes())
        return major, minor


class Encryptor:
    """Encrypts zero under one public key, with SEAL's randomness."""

    def __init__(self, api: Any, context: Any, key: Any, shape: tuple[int, int, int]) -> None:
        self._ciphertext = api.Ciphertext()
        self._level = context.key_parms_id()
        self._encryptor = api.Encryptor(context, key)
        self._shape = shape
        self._values = 8 * shape[0] * shape[1] * shape[2]
        self._decompressor = zstandard.ZstdDecompressor()
        folder = _MEMORY if _MEMORY.is_dir() else None
        self._file = tempfile.NamedTemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def zero(self) -> Residues:
        """A fresh encryption of zero: ``int64[2, P, N]``, transformed."""
        try:
            self._encryptor.encrypt_zero(self._level, self._ciphertext)
            content = self._saved()
        except MemoryError:
            raise _exhausted() from None
        # Residues come last, after the ciphertext's metadata and their own header.
        values = np.frombuffer(content, dtype="<i8", offset=len(content) - self._values)
        return values.reshape(self._shape)

    def _saved(self) -> bytes:
        """What SEAL writes of the ciphertext: the one way to all residues at once."""
        self._ciphertext.save(self._file.name)
        self._file.seek(0)
        packed = memoryview(self._file.read())[_HEADER.size :]
        room = self._values + _METADATA
        return self._decompressor.decompress(packed, max_output_size=room)


def _check_room(terms: EncryptionTerms) -> None:
    """Refuse to begin where there is no room for SEAL's tables: it can hang for ever half-way.

    They hold 32 bytes for each coefficient of each prime, and of two more than as many auxiliary
    ones, at each level.
    """
    primes = range(1, len(terms.modulus_bits) + 1)
    tables = 32 * terms.poly_modulus_degree * sum(2 * number + 2 for number in primes)
    try:
        bytearray(2 * tables)
    except MemoryError:
        raise _exhausted() from None


def _exhausted() -> MedFabricError:
    return MedFabricError(
        Code.MEMORY_EXHAUSTED,
        "there is no memory left to encrypt in; give the process more, or run fewer beside it",
    )


def _refused(why: str) -> MedFabricError:
    return MedFabricError(
        Code.PARAMETERS_REFUSED, f"the encryption terms do not do: {why}; choose a larger degree"
    )
