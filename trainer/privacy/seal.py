"""The few things that TenSEAL's SEAL does for us: parameters, and encryption under a public key.

Only bytes built here reach SEAL's loaders, never a peer's: those crash on hostile input.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues

# SEAL's serialisation header: magic, its own size, version 4.x, no compression, reserved, length.
_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC = 0xA15E


class Seal:
    """SEAL at one set of parameters.

    Args:
        degree: N.
        modulus_bits: sizes of the primes, the special prime last.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` below 128 bits of security, by the table of the
            homomorphic encryption standard (Albrecht et al. 2018).
    """

    def __init__(self, degree: int, modulus_bits: tuple[int, ...]) -> None:
        import tenseal.sealapi as sealapi

        self._api = sealapi
        self._degree = degree
        try:
            parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
            parameters.set_poly_modulus_degree(degree)
            parameters.set_coeff_modulus(sealapi.CoeffModulus.Create(degree, list(modulus_bits)))
            self._context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
        except (ValueError, RuntimeError) as error:
            raise _refused(str(error)) from None
        if not self._context.parameters_set():
            raise _refused(self._context.parameters_error_message())
        self.primes = tuple(int(modulus.value()) for modulus in parameters.coeff_modulus())
        self._version = self._find_version(parameters)

    def encryptor(self, public_key: Residues) -> Encryptor:
        """An encryptor under a public key, ``uint64[2, all primes, N]``, in transformed form."""
        content = self._public_key_bytes(public_key)
        key = self._api.PublicKey()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "public-key"
            path.write_bytes(content)
            key.load(self._context, str(path))
        return Encryptor(self._api, self._context, key, len(self.primes) - 1, self._degree)

    def _public_key_bytes(self, public_key: Residues) -> bytes:
        data = np.ascontiguousarray(public_key, dtype="<u8")
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

    def __init__(self, api: Any, context: Any, key: Any, primes: int, degree: int) -> None:
        self._api = api
        self._context = context
        self._encryptor = api.Encryptor(context, key)
        self._shape = (2, primes, degree)

    def zero(self) -> Residues:
        """A fresh encryption of zero: ``uint64[2, primes without the special one, N]``."""
        ciphertext = self._api.Ciphertext()
        self._encryptor.encrypt_zero(self._context.first_parms_id(), ciphertext)
        data = ciphertext.dyn_array()
        size = data.size()
        values = np.fromiter(map(data.at, range(size)), dtype=np.uint64, count=size)
        return values.reshape(self._shape)


def _refused(why: str) -> MedFabricError:
    return MedFabricError(
        Code.PARAMETERS_REFUSED, f"the encryption terms do not do: {why}; choose a larger degree"
    )
