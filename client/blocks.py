"""Blocks of a channel: fetched from a peer, kept as files, read back with their lengths checked.

A folder of blocks holds one file per block, ``000000.block`` and on: ``common.Block`` bytes as a
peer gave them, without the peer's own bookkeeping. Nothing is believed because of where it lies;
``client.audit`` proves.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code, MedFabricError
from client.connection import Connection, open_channel
from client.files import write_whole
from client.identity import Identity

MAX_BLOCK_BYTES = 128 * 1024 * 1024
"""Larger files are not read: no orderer of this channel cuts such a block."""

_FILE = re.compile(r"([0-9]{6,})\.block")
_DELIVER = "/protos.Deliver/Deliver"


def file_name(number: int) -> str:
    """``000042.block`` for block 42."""
    return f"{number:06d}.block"


def numbers(folder: Path | str) -> list[int]:
    """Numbers of the blocks in a folder, ascending.

    Raises:
        MedFabricError: ``BLOCKS_MISSING`` where the folder cannot be read.
    """
    folder = Path(folder)
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise MedFabricError(
            Code.BLOCKS_MISSING,
            f"cannot read {folder}: {error.strerror}; name a folder that 'audit fetch' filled",
        ) from None
    found = [_FILE.fullmatch(name) for name in names]
    return sorted(
        int(match[1]) for match in found if match and match[0] == file_name(int(match[1]))
    )


def read(folder: Path | str, number: int) -> bytes:
    """The bytes of one block's file, unverified.

    Raises:
        MedFabricError: ``BLOCKS_MISSING`` where it is not there, ``BLOCK_MALFORMED`` where it is
            too long for a block.
    """
    path = Path(folder) / file_name(number)
    try:
        if path.stat().st_size > MAX_BLOCK_BYTES:
            raise MedFabricError(
                Code.BLOCK_MALFORMED, f"{path} is longer than a block can be; fetch it again"
            )
        return path.read_bytes()
    except OSError as error:
        raise MedFabricError(
            Code.BLOCKS_MISSING, f"cannot read {path}: {error.strerror}; fetch the blocks again"
        ) from None


def parse(raw: bytes) -> common_pb2.Block:
    """A block in the one encoding that peers write.

    Fields that are unknown, repeated or out of order are no part of what was signed, so an
    encoding that holds them is refused.

    Raises:
        MedFabricError: ``BLOCK_MALFORMED``.
    """
    block = common_pb2.Block()
    try:
        block.ParseFromString(raw)
    except DecodeError:
        raise _malformed("it is not a block") from None
    block.DiscardUnknownFields()
    if not (block.HasField("header") and block.HasField("data") and block.HasField("metadata")):
        raise _malformed("header, data or metadata is missing")
    if block.SerializeToString(deterministic=True) != raw:
        raise _malformed("it holds bytes that belong to no field of a block")
    return block


def fetch(connection: Connection, identity: Identity, folder: Path | str) -> int:
    """Bring the blocks that the folder lacks, up to the newest; returns how many there are then.

    Raises:
        MedFabricError: ``UNREACHABLE`` where the peer does not answer, ``IDENTITY_REFUSED`` where
            the identity may not read, ``FILE_UNUSABLE`` where the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot make {folder}: {error.strerror}; choose another folder"
        ) from None
    have = numbers(folder)
    start = next((n for n, found in enumerate(have) if n != found), len(have))
    for raw_number, raw in deliver(connection, identity, start):
        kept = proven_form(parse(raw)).SerializeToString(deterministic=True)
        write_whole(folder / file_name(raw_number), kept)
        start = raw_number + 1
    return start


def proven_form(block: common_pb2.Block) -> common_pb2.Block:
    """The block without what only its peer says: a peer's own bookkeeping in the metadata.

    What stays is signed by the orderers, or follows from what is: the flags of transactions and
    the commit hash.
    """
    kept = common_pb2.Block(header=block.header, data=block.data)
    slots = [b""] * max(5, len(block.metadata.metadata))
    if block.header.number:
        for slot in (
            common_pb2.BlockMetadataIndex.SIGNATURES,
            common_pb2.BlockMetadataIndex.TRANSACTIONS_FILTER,
            common_pb2.BlockMetadataIndex.COMMIT_HASH,
        ):
            if slot < len(block.metadata.metadata):
                slots[slot] = block.metadata.metadata[slot]
    kept.metadata.metadata.extend(slots)
    return kept


def deliver(
    connection: Connection, identity: Identity, start: int = 0, timeout_s: float = 120.0
) -> Iterator[tuple[int, bytes]]:
    """Blocks from ``start`` to the newest, as (number, bytes), by a peer's Deliver service.

    Raises:
        MedFabricError: ``UNREACHABLE`` where the peer does not answer, ``IDENTITY_REFUSED`` where
            the identity may not read.
    """
    newest = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    found = list(_seek(connection, identity, newest, newest, timeout_s))
    if not found or found[-1][0] < start:
        return
    top, last = found[-1]
    first = ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=start))
    if top > start:
        stop = ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=top - 1))
        yield from _seek(connection, identity, first, stop, timeout_s)
    yield top, last


def fetch_one(connection: Connection, identity: Identity, number: int | None) -> common_pb2.Block:
    """One block as the peer has it; the newest where no number is given.

    Raises:
        MedFabricError: ``UNREACHABLE`` where the peer does not answer or lacks it,
            ``IDENTITY_REFUSED`` where the identity may not read.
    """
    place = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    if number is not None:
        place = ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))
    for _, raw in _seek(connection, identity, place, place, 30.0):
        return parse(raw)
    raise MedFabricError(
        Code.UNREACHABLE, f"the peer at {connection.gateway.address} has no such block; ask another"
    )


def _seek(
    connection: Connection, identity: Identity, start: Any, stop: Any, timeout_s: float
) -> Iterator[tuple[int, bytes]]:
    request = seek_request(connection.channel, identity, start, stop)
    with open_channel(connection.gateway, identity) as channel:
        call: Any = channel.stream_stream(
            _DELIVER,
            request_serializer=common_pb2.Envelope.SerializeToString,
            response_deserializer=events_pb2.DeliverResponse.FromString,
        )
        stream: Any = call(itertools.chain([request]), timeout=timeout_s)
        try:
            yield from _blocks(stream)
        except grpc.RpcError as error:
            raise MedFabricError(
                Code.UNREACHABLE,
                f"the peer at {connection.gateway.address} does not deliver blocks "
                f"({error.code().name}); check that it runs",
            ) from None
        finally:
            stream.cancel()


def _blocks(stream: Any) -> Iterator[tuple[int, bytes]]:
    for response in stream:
        if response.WhichOneof("Type") != "block":
            if response.status == common_pb2.Status.SUCCESS:
                return
            forbidden = response.status == common_pb2.Status.FORBIDDEN
            raise MedFabricError(
                Code.IDENTITY_REFUSED if forbidden else Code.UNREACHABLE,
                f"the peer refuses to deliver blocks ({common_pb2.Status.Name(response.status)}); "
                "use an identity that may read the channel: of this hospital, neither revoked nor "
                "expired",
            )
        yield response.block.header.number, response.block.SerializeToString(deterministic=True)


def seek_request(
    channel_name: str, identity: Identity, start: Any, stop: Any
) -> common_pb2.Envelope:
    """A signed request for blocks, as the Deliver service takes it."""
    seek = ab_pb2.SeekInfo(
        start=start, stop=stop, behavior=ab_pb2.SeekInfo.SeekBehavior.FAIL_IF_NOT_READY
    )
    payload = seek_payload(channel_name, identity, seek)
    return common_pb2.Envelope(payload=payload, signature=identity.sign(payload))


def seek_payload(channel_name: str, identity: Identity, seek: ab_pb2.SeekInfo) -> bytes:
    """What is to be signed of a request for blocks. It is good for some minutes, and for the
    connection of this identity's TLS certificate."""
    certificate = x509.load_pem_x509_certificate(identity.tls_certificate_pem)
    header = common_pb2.ChannelHeader(
        type=common_pb2.HeaderType.DELIVER_SEEK_INFO,
        channel_id=channel_name,
        tls_cert_hash=certificate.fingerprint(hashes.SHA256()),
    )
    header.timestamp.FromNanoseconds(time.time_ns())
    creator = identity.serialize()
    nonce = hashlib.sha256(creator + header.timestamp.SerializeToString()).digest()[:24]
    signature = common_pb2.SignatureHeader(creator=creator, nonce=nonce)
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=signature.SerializeToString(),
        ),
        data=seek.SerializeToString(),
    )
    return bytes(payload.SerializeToString())


def _malformed(why: str) -> MedFabricError:
    return MedFabricError(Code.BLOCK_MALFORMED, f"a block's file cannot be read: {why}")
