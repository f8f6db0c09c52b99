"""Changes of a channel's configuration: prepared by one, signed by many, submitted by any of them.

A prepared change is an ``Envelope`` of type CONFIG_UPDATE as Fabric's own tools write and sign it;
it travels between hospitals as a file, and no machine needs more than one hospital's key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2
from fabric_protos.msp import identities_pb2, msp_config_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client.audit import configtx
from client.audit.blocks import last_config
from client.audit.channel import config_of
from client.connection import Connection
from client.files import write_whole
from client.identity import Identity

MAX_BYTES = 8 * 1024 * 1024
"""Longer files are not read: no orderer takes such a change."""

_BROADCAST = "/orderer.AtomicBroadcast/Broadcast"
_SECONDS = 60.0


def fetch(connection: Connection, identity: Identity) -> common_pb2.Block:
    """The config block in force, from the hospital's peer.

    Raises:
        MedFabricError: ``UNREACHABLE``, or ``CONFIG_UNSUPPORTED`` where it is not one.
    """
    newest = blocks.fetch_one(connection, identity, None)
    number = last_config(newest)
    if number == newest.header.number:
        return newest
    return blocks.fetch_one(connection, identity, number)


def prepare(current: configtx_pb2.Config, wanted: configtx_pb2.Config, channel: str) -> Any:
    """An envelope of the change from one configuration to another, signed by nobody yet.

    Raises:
        MedFabricError: ``CONFIG_REFUSED`` where there is no difference.
    """
    try:
        update = configtx.compute(current, wanted, channel)
    except configtx.UpdateRefusedError as error:
        raise _refused(str(error)) from None
    header = common_pb2.ChannelHeader(type=common_pb2.HeaderType.CONFIG_UPDATE, channel_id=channel)
    header.timestamp.FromNanoseconds(time.time_ns())
    content = configtx_pb2.ConfigUpdateEnvelope(
        config_update=update.SerializeToString(deterministic=True)
    )
    return _envelope(header, content)


def sign(envelope: Any, identity: Identity) -> Any:
    """The envelope with this identity's agreement added, or put in place of its earlier one."""
    header, content = _open(envelope)
    about = _signature_header(identity)
    kept = [signature for signature in content.signatures if _creator(signature) != about.creator]
    raw = about.SerializeToString()
    signature = identity.sign(configtx.signed_content(content.config_update, raw))
    del content.signatures[:]
    content.signatures.extend(
        [*kept, configtx_pb2.ConfigSignature(signature_header=raw, signature=signature)]
    )
    return _envelope(header, content)


def submit(envelope: Any, connection: Connection, identity: Identity) -> common_pb2.Block:
    """Have the change ordered, and wait until the hospital's peer has it; returns its config block.

    Raises:
        MedFabricError: ``CONFIG_REFUSED`` with the orderer's words, ``UNREACHABLE`` where no
            orderer answers or the change does not come about in time.
    """
    before = fetch(connection, identity)
    header, content = _open(envelope)
    about = _signature_header(identity)
    payload = _payload(header, content, about).SerializeToString()
    signed = common_pb2.Envelope(payload=payload, signature=identity.sign(payload))
    _broadcast(signed, config_of(before), identity)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        block = fetch(connection, identity)
        if block.header.number > before.header.number:
            return block
        time.sleep(0.1)
    raise MedFabricError(
        Code.UNREACHABLE,
        f"the change was taken by an orderer, but not in force after {_SECONDS:.0f} s; look at the "
        "orderers' logs",
    )


def write(envelope: Any, path: Path) -> None:
    """Write a prepared change.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    try:
        write_whole(path, envelope.SerializeToString(deterministic=True))
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot write {path}: {error.strerror}; name another file"
        ) from None


def read(path: Path) -> Any:
    """A prepared change from its file.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise MedFabricError(
                Code.FILE_UNUSABLE, f"{path} is longer than a change can be; name another file"
            )
        envelope = common_pb2.Envelope.FromString(path.read_bytes())
        _open(envelope)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot read {path}: {error.strerror}; name a prepared change"
        ) from None
    except DecodeError:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"{path} is no change of a configuration; have it prepared again"
        ) from None
    return envelope


def describe(envelope: Any) -> dict[str, Any]:
    """What a prepared change would modify, and whose agreement it carries (unverified)."""
    _, content = _open(envelope)
    update = configtx_pb2.ConfigUpdate.FromString(content.config_update)
    read_set = configtx.elements(update.read_set)
    write_set = configtx.elements(update.write_set)
    changes = {
        "/".join(path): "added" if (kind, path) not in read_set and not one.version else "modified"
        for (kind, path), one in write_set.items()
        if (kind, path) not in read_set or read_set[kind, path].version != one.version
    }
    signers = [
        identities_pb2.SerializedIdentity.FromString(_creator(signature)).mspid
        for signature in content.signatures
    ]
    return {"channel": update.channel_id, "changes": changes, "signed_by": sorted(signers)}


def _broadcast(envelope: Any, config: Any, identity: Identity) -> None:
    """Hand it to the first orderer that answers."""
    unreachable = []
    for address, authorities in _orderers(config):
        credentials = grpc.ssl_channel_credentials(
            authorities, identity.tls_private_key_pem, identity.tls_certificate_pem
        )
        with grpc.secure_channel(address, credentials) as channel:
            call: Any = channel.stream_stream(
                _BROADCAST,
                request_serializer=common_pb2.Envelope.SerializeToString,
                response_deserializer=ab_pb2.BroadcastResponse.FromString,
            )
            try:
                answer = next(iter(call(iter([envelope]), timeout=30.0)))
            except (grpc.RpcError, StopIteration):
                unreachable.append(address)
                continue
        if answer.status == common_pb2.Status.SUCCESS:
            return
        if answer.status != common_pb2.Status.SERVICE_UNAVAILABLE:
            raise _refused(f"{common_pb2.Status.Name(answer.status)}: {answer.info}")
        unreachable.append(address)
    raise MedFabricError(
        Code.UNREACHABLE, f"no orderer answers ({', '.join(unreachable)}); check that they run"
    )


def _orderers(config: Any) -> Iterator[tuple[str, bytes]]:
    """Address and TLS authorities of every hospital's orderer, from the configuration itself."""
    for _, group in sorted(config.channel_group.groups["Orderer"].groups.items()):
        msp = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
        about = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
        authorities = b"".join((*about.tls_root_certs, *about.tls_intermediate_certs))
        raw = group.values["Endpoints"].value
        for address in configuration_pb2.OrdererAddresses.FromString(raw).addresses:
            yield address, authorities


def _open(envelope: Any) -> tuple[Any, Any]:
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    if header.type != common_pb2.HeaderType.CONFIG_UPDATE:
        raise DecodeError("not a change of a configuration")
    content = configtx_pb2.ConfigUpdateEnvelope.FromString(payload.data)
    configtx_pb2.ConfigUpdate.FromString(content.config_update)
    return header, content


def _envelope(header: Any, content: Any) -> Any:
    payload = _payload(header, content, common_pb2.SignatureHeader())
    return common_pb2.Envelope(payload=payload.SerializeToString())


def _payload(header: Any, content: Any, about: Any) -> Any:
    return common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=about.SerializeToString(),
        ),
        data=content.SerializeToString(),
    )


def _signature_header(identity: Identity) -> Any:
    return common_pb2.SignatureHeader(creator=identity.serialize(), nonce=os.urandom(24))


def _creator(signature: Any) -> bytes:
    return bytes(common_pb2.SignatureHeader.FromString(signature.signature_header).creator)


def _refused(why: str) -> MedFabricError:
    return MedFabricError(
        Code.CONFIG_REFUSED,
        f"the channel's configuration is not changed: {why}; get the missing signatures, or have "
        "the change prepared anew from the present configuration",
    )
