"""Blocks: their hashes and the orderers' signatures on them."""

from __future__ import annotations

import hashlib

from fabric_protos.common import common_pb2

from client.audit.channel import Channel
from client.audit.msp import Identity

SIGNATURES = common_pb2.BlockMetadataIndex.SIGNATURES
LAST_CONFIG = common_pb2.BlockMetadataIndex.LAST_CONFIG
FILTER = common_pb2.BlockMetadataIndex.TRANSACTIONS_FILTER


def header_bytes(header: common_pb2.BlockHeader) -> bytes:
    """The ASN.1 form of a header that is hashed and signed."""
    number = _der(0x02, _unsigned(header.number))
    previous, data = _der(0x04, header.previous_hash), _der(0x04, header.data_hash)
    return _der(0x30, number + previous + data)


def header_hash(header: common_pb2.BlockHeader) -> bytes:
    """What the next block names as its predecessor."""
    return hashlib.sha256(header_bytes(header)).digest()


def data_hash(block: common_pb2.Block) -> bytes:
    """SHA-256 over all envelopes, one after the other."""
    digest = hashlib.sha256()
    for envelope in block.data.data:
        digest.update(envelope)
    return digest.digest()


def signed_bytes(value: bytes, identifier: bytes, header: common_pb2.BlockHeader) -> bytes:
    """What an orderer signs: metadata value, its own identifier header, the block's header."""
    return value + identifier + header_bytes(header)


def last_config(block: common_pb2.Block) -> int:
    """The block that the orderers name as the one with the configuration in force.

    Raises:
        DecodeError: the metadata cannot be read.
    """
    metadata = common_pb2.Metadata.FromString(block.metadata.metadata[SIGNATURES])
    return int(common_pb2.OrdererBlockMetadata.FromString(metadata.value).last_config.index)


def signers(block: common_pb2.Block, channel: Channel) -> list[Identity]:
    """The orderers whose signatures are on the block.

    Raises:
        ValueError: a signature is false, twice by the same orderer, or by none of the channel's.
    """
    metadata = common_pb2.Metadata.FromString(block.metadata.metadata[SIGNATURES])
    found: dict[int, Identity] = {}
    for signature in metadata.signatures:
        identifier = common_pb2.IdentifierHeader.FromString(signature.identifier_header)
        orderer = channel.consenter(identifier.identifier)
        if orderer is None or signature.signature_header:
            raise ValueError("a signature is not by an orderer of the channel")
        signed = signed_bytes(metadata.value, signature.identifier_header, block.header)
        if identifier.identifier in found or not orderer.verify(signed, signature.signature):
            raise ValueError(f"the signature of orderer {identifier.identifier} is false")
        found[identifier.identifier] = orderer
    return list(found.values())


def _unsigned(number: int) -> bytes:
    # DER integers are signed: a leading bit that is set needs a zero byte before it.
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _der(tag: int, content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
