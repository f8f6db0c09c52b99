"""How to reach a hospital's peer: ``connection.json`` and the TLS channel made from it."""

from __future__ import annotations

from pathlib import Path

import grpc
from pydantic import BaseModel, ConfigDict, ValidationError

from chaincode.schema.base import Id, MspId
from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity

MESSAGE_LIMIT = 100 * 1024 * 1024
"""Bytes; gRPC's own 4 MiB is less than a block may hold."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    # A peer that restarts is found again in seconds, a silent one noticed. Peers refuse pings
    # more often than once a minute.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_http_proxy", 0),
)


class Endpoint(BaseModel):
    """One server: ``address`` is HOST:PORT, ``server_name`` what its certificate must name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    address: str
    server_name: str
    tls_ca_file: Path


class Connection(BaseModel):
    """What a client of one hospital needs to know. Paths are absolute once loaded.

    ``gateway`` is the hospital's own peer; ``peers`` are those of the others, which are asked for
    what can be checked, where the own one fails.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    channel: str
    chaincode: str
    msp_id: MspId
    hospital: Id
    gateway: Endpoint
    orderers: tuple[Endpoint, ...] = ()
    peers: tuple[Endpoint, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> Connection:
        """Read a ``connection.json``.

        Raises:
            MedFabricError: ``BAD_CONNECTION``, naming the file and the field.
        """
        path = Path(path)
        try:
            connection = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise MedFabricError(
                Code.BAD_CONNECTION,
                f"cannot read {path}: {error.strerror}; name a hospital's connection.json",
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise MedFabricError(
                Code.BAD_CONNECTION, f"{path}: {field}: {first['msg']}; correct it and try again"
            ) from None
        return connection._absolute(path.resolve().parent)

    def _absolute(self, base: Path) -> Connection:
        def absolute(endpoint: Endpoint) -> Endpoint:
            return endpoint.model_copy(update={"tls_ca_file": base / endpoint.tls_ca_file})

        found = {
            "gateway": absolute(self.gateway),
            "orderers": tuple(map(absolute, self.orderers)),
            "peers": tuple(map(absolute, self.peers)),
        }
        return self.model_copy(update=found)


def open_channel(endpoint: Endpoint, identity: Identity) -> grpc.Channel:
    """A channel with mutual TLS; it connects at the first call.

    Raises:
        MedFabricError: ``BAD_CONNECTION`` where the server's CA cannot be read.
    """
    try:
        authority = endpoint.tls_ca_file.read_bytes()
    except OSError as error:
        raise MedFabricError(
            Code.BAD_CONNECTION,
            f"cannot read {endpoint.tls_ca_file}: {error.strerror}; it is the TLS CA of "
            f"{endpoint.address}",
        ) from None
    credentials = grpc.ssl_channel_credentials(
        root_certificates=authority,
        private_key=identity.tls_private_key_pem,
        certificate_chain=identity.tls_certificate_pem,
    )
    name = ("grpc.ssl_target_name_override", endpoint.server_name)
    return grpc.secure_channel(endpoint.address, credentials, (*_OPTIONS, name))
