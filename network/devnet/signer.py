"""The keys of a hospital's peer and orderer, as their MSP folders hold them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fabric_protos.msp import identities_pb2

from client import signing


class Signer:
    """Signs as one peer or orderer."""

    def __init__(self, msp_id: str, folder: Path) -> None:
        certificate = (folder / "signcerts" / "cert.pem").read_bytes()
        key = load_pem_private_key((folder / "keystore" / "key.pem").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a member's key is an elliptic-curve key")
        self._key = key
        identity = identities_pb2.SerializedIdentity(mspid=msp_id, id_bytes=certificate)
        self.msp_id = msp_id
        self.identity = bytes(identity.SerializeToString())

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, s in its lower half."""
        return signing.sign(self._key, message)
