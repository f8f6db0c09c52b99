"""Requests that their creator signs: at once where its identity signs here, else elsewhere.

Off-line signing goes through the same stages: ``to_bytes`` and ``digest`` of a request go to where
the key is, and ``Gateway.signed_…(bytes, signature)`` goes on from there, in this process or in
another.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code, MedFabricError
from client import signing
from client.gateway.errors import GatewayError

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway


class Signable(ABC):
    """A request with its signature, or without one yet."""

    _gateway: Gateway
    _message: bytes
    _signature: bytes

    def _sign(self, gateway: Gateway, message: bytes, signature: bytes | None) -> None:
        """Take the request in, with a signature that came from elsewhere or the identity's own."""
        self._gateway = gateway
        self._message = message
        if signature is not None:
            self._signature = _checked(signature)
        else:
            self._signature = gateway.identity.sign(message) if gateway.identity.can_sign else b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is to be signed: what an HSM takes."""
        return hashlib.sha256(self._message).digest()

    @abstractmethod
    def to_bytes(self) -> bytes:
        """All that there is to the request, for going on elsewhere."""

    def _require_signature(self, stage: type[GatewayError], transaction_id: str = "") -> None:
        if not self._signature:
            raise stage(
                Code.UNSIGNED,
                "the request is not signed, and nothing was sent; sign its digest where the key "
                "is, and go on with the signature",
                transaction_id=transaction_id,
            )


def parse(kind: Any, content: bytes) -> Any:
    """A request's bytes as the message that they are.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where they are not.
    """
    try:
        return kind.FromString(content)
    except DecodeError:
        raise MedFabricError(
            Code.BAD_ARGUMENT,
            "these are not the bytes of such a request; give what its to_bytes gave",
        ) from None


def _checked(signature: bytes) -> bytes:
    try:
        return signing.low_s(signature)
    except ValueError:
        raise MedFabricError(
            Code.BAD_ARGUMENT,
            "the signature is not ECDSA in DER; have the digest signed by the identity's key",
        ) from None
