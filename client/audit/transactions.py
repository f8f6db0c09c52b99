"""Transactions as they lie in blocks, parsed with every binding between their parts checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from client.audit.channel import Channel
from client.audit.definitions import collection_namespace
from client.audit.msp import Identity, IdentityRefusedError
from client.audit.ranges import Summary
from client.audit.state import Change, Version

Code = transaction_pb2.TxValidationCode


class InvalidTransactionError(Exception):
    """A transaction that every peer marks invalid, with the code that it gives."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True)
class RangeRead:
    """A range query's result as simulated: keys and versions, or their summary."""

    namespace: str
    start: str
    end: str
    exhausted: bool
    reads: tuple[tuple[str, Version | None], ...]
    summary: Summary | None = None


@dataclass(frozen=True)
class PrivateSet:
    """That a transaction writes private data, and SHA-256 of the set that members are to keep."""

    chaincode: str
    collection: str
    sha256: bytes


@dataclass(frozen=True)
class Transaction:
    """An endorsed transaction whose signatures hold. Policies and conflicts are not judged yet."""

    tx_id: str
    seconds: int
    creator: Identity
    chaincode: str
    function: str
    endorsers: tuple[Identity, ...]
    reads: tuple[tuple[str, str, Version | None], ...]
    ranges: tuple[RangeRead, ...]
    changes: tuple[Change, ...]
    namespaces: tuple[str, ...]
    """Of chaincodes and of collections, in the order in which peers look for conflicts."""
    chaincodes: tuple[str, ...]
    """Whose public or private state is touched, as the transaction names them."""
    private: tuple[PrivateSet, ...]
    event: chaincode_event_pb2.ChaincodeEvent | None


def header(envelope: bytes) -> tuple[common_pb2.Payload, common_pb2.ChannelHeader]:
    """Payload and channel header of an envelope.

    Raises:
        InvalidTransactionError: it cannot be read.
    """
    try:
        raw = common_pb2.Envelope.FromString(envelope).payload
    except Exception as error:
        raise InvalidTransactionError(Code.BAD_PAYLOAD, "the envelope cannot be read") from error
    return _payload(raw)


def sets_config(block: common_pb2.Block) -> bool:
    """Whether a block is a config block: one transaction, of type CONFIG."""
    if len(block.data.data) != 1:
        return False
    try:
        _, channel_header = header(block.data.data[0])
    except InvalidTransactionError:
        return False
    return bool(channel_header.type == common_pb2.HeaderType.CONFIG)


def signed_payload(envelope: bytes, channel: Channel) -> common_pb2.Payload:
    """The payload of an envelope that one of the channel's members signed.

    Raises:
        InvalidTransactionError: with the code that Fabric gives.
    """
    payload, _ = header(envelope)
    message = common_pb2.Envelope.FromString(envelope)
    try:
        about = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError as error:
        raise InvalidTransactionError(
            Code.BAD_COMMON_HEADER, "the signature header cannot be read"
        ) from error
    if not _creator(channel, about.creator).verify(message.payload, message.signature):
        raise InvalidTransactionError(Code.BAD_CREATOR_SIGNATURE, "the creator did not sign this")
    return payload


def parse(envelope: bytes, channel: Channel, channel_id: str) -> Transaction:
    """An endorser transaction from its envelope, all signatures verified.

    Raises:
        InvalidTransactionError: with the code that Fabric gives.
    """
    message = common_pb2.Envelope.FromString(envelope)
    transaction = parse_prepared(message.payload, channel, channel_id)
    if not transaction.creator.verify(message.payload, message.signature):
        raise InvalidTransactionError(Code.BAD_CREATOR_SIGNATURE, "the creator did not sign this")
    return transaction


def parse_prepared(raw: bytes, channel: Channel, channel_id: str) -> Transaction:
    """A transaction's ``Payload`` that its creator has yet to sign.

    Raises:
        InvalidTransactionError: with the code that Fabric gives.
    """
    payload, channel_header = _payload(raw)
    if channel_header.channel_id != channel_id:
        raise InvalidTransactionError(Code.TARGET_CHAIN_NOT_FOUND, "for another channel")
    try:
        signature_header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except Exception as error:
        raise InvalidTransactionError(
            Code.BAD_COMMON_HEADER, "the signature header cannot be read"
        ) from error
    seconds = int(channel_header.timestamp.seconds)
    creator = _creator(channel, signature_header.creator)
    expected = hashlib.sha256(signature_header.nonce + signature_header.creator).hexdigest()
    if channel_header.tx_id != expected:
        raise InvalidTransactionError(
            Code.BAD_PROPOSAL_TXID, "the transaction id is not that of nonce and creator"
        )
    try:
        return _action(payload, channel_header, creator, channel, seconds)
    except InvalidTransactionError:
        raise
    except Exception as error:
        raise InvalidTransactionError(
            Code.INVALID_ENDORSER_TRANSACTION, "its parts cannot be read"
        ) from error


def _payload(raw: bytes) -> tuple[common_pb2.Payload, common_pb2.ChannelHeader]:
    try:
        payload = common_pb2.Payload.FromString(raw)
        channel = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    except Exception as error:
        raise InvalidTransactionError(Code.BAD_PAYLOAD, "the envelope cannot be read") from error
    return payload, channel


def chaincode_action(payload: common_pb2.Payload) -> proposal_pb2.ChaincodeAction | None:
    """What a committed endorser transaction did, or None where it is something else."""
    try:
        actions = transaction_pb2.Transaction.FromString(payload.data).actions
        content = transaction_pb2.ChaincodeActionPayload.FromString(actions[0].payload)
        endorsed = content.action.proposal_response_payload
        response = proposal_response_pb2.ProposalResponsePayload.FromString(endorsed)
        return proposal_pb2.ChaincodeAction.FromString(response.extension)
    except (DecodeError, IndexError):
        return None


def _creator(channel: Channel, raw: bytes) -> Identity:
    try:
        return channel.members.identity(raw)
    except IdentityRefusedError as error:
        raise InvalidTransactionError(Code.BAD_CREATOR_SIGNATURE, str(error)) from None


def _action(
    payload: common_pb2.Payload,
    channel_header: common_pb2.ChannelHeader,
    creator: Identity,
    channel: Channel,
    seconds: int,
) -> Transaction:
    actions = transaction_pb2.Transaction.FromString(payload.data).actions
    if len(actions) != 1:
        raise InvalidTransactionError(Code.INVALID_ENDORSER_TRANSACTION, "not exactly one action")
    if actions[0].header != payload.header.signature_header:
        raise InvalidTransactionError(
            Code.INVALID_ENDORSER_TRANSACTION, "the action is another creator's"
        )
    content = transaction_pb2.ChaincodeActionPayload.FromString(actions[0].payload)
    endorsed = content.action.proposal_response_payload
    response = proposal_response_pb2.ProposalResponsePayload.FromString(endorsed)
    bound = hashlib.sha256(
        payload.header.channel_header
        + payload.header.signature_header
        + content.chaincode_proposal_payload
    ).digest()
    if bound != response.proposal_hash:
        raise InvalidTransactionError(
            Code.INVALID_ENDORSER_TRANSACTION, "endorsed for another proposal"
        )
    action = proposal_pb2.ChaincodeAction.FromString(response.extension)
    rwset = rwset_pb2.TxReadWriteSet.FromString(action.results)
    sets = _Sets(rwset)
    event = chaincode_event_pb2.ChaincodeEvent.FromString(action.events) if action.events else None
    return Transaction(
        tx_id=channel_header.tx_id,
        seconds=seconds,
        creator=creator,
        chaincode=action.chaincode_id.name,
        function=_function(content.chaincode_proposal_payload),
        endorsers=_endorsers(channel, endorsed, content.action.endorsements),
        reads=tuple(sets.reads),
        ranges=tuple(sets.ranges),
        changes=tuple(sets.changes),
        namespaces=tuple(sets.namespaces),
        chaincodes=tuple(part.namespace for part in rwset.ns_rwset),
        private=tuple(sets.private),
        event=event,
    )


def _endorsers(channel: Channel, endorsed: bytes, endorsements: Any) -> tuple[Identity, ...]:
    """Those whose endorsement holds; a false one is passed over, as Fabric does."""
    found = []
    for endorsement in endorsements:
        try:
            endorser = channel.members.identity(endorsement.endorser)
        except IdentityRefusedError:
            continue
        if endorser.verify(endorsed + endorsement.endorser, endorsement.signature):
            found.append(endorser)
    return tuple(found)


def _function(proposal_payload: bytes) -> str:
    payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal_payload)
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input)
    args = spec.chaincode_spec.input.args
    return args[0].decode("utf-8", "replace") if args else ""


class _Sets:
    """What a transaction read and writes, public parts and hashes of private ones.

    Raises:
        DecodeError: a part cannot be read.
    """

    def __init__(self, rwset: rwset_pb2.TxReadWriteSet) -> None:
        self.reads: list[tuple[str, str, Version | None]] = []
        self.ranges: list[RangeRead] = []
        self.changes: list[Change] = []
        self.namespaces: list[str] = []
        self.private: list[PrivateSet] = []
        for part in rwset.ns_rwset:
            self._public(part.namespace, kv_rwset_pb2.KVRWSet.FromString(part.rwset))
            for collection in part.collection_hashed_rwset:
                self._hashed(part.namespace, collection)

    def _public(self, namespace: str, sets: kv_rwset_pb2.KVRWSet) -> None:
        self.namespaces.append(namespace)
        self.reads += [(namespace, read.key, _version(read)) for read in sets.reads]
        self.ranges += [_range(namespace, info) for info in sets.range_queries_info]
        writes = [Change(namespace, w.key, True, _value(w, w.value)) for w in sets.writes]
        metadata = {write.key: _entries(write) for write in sets.metadata_writes}
        self.changes += _merged(namespace, writes, metadata)

    def _hashed(self, chaincode: str, part: rwset_pb2.CollectionHashedReadWriteSet) -> None:
        sets = kv_rwset_pb2.HashedRWSet.FromString(part.hashed_rwset)
        namespace = collection_namespace(chaincode, part.collection_name)
        self.namespaces.append(namespace)
        self.reads += [(namespace, r.key_hash.hex(), _version(r)) for r in sets.hashed_reads]
        writes = [
            Change(
                namespace, w.key_hash.hex(), True, _value(w, w.value_hash), purge=bool(w.is_purge)
            )
            for w in sets.hashed_writes
        ]
        metadata = {write.key_hash.hex(): _entries(write) for write in sets.metadata_writes}
        self.changes += _merged(namespace, writes, metadata)
        if part.pvt_rwset_hash:
            private = PrivateSet(chaincode, part.collection_name, bytes(part.pvt_rwset_hash))
            self.private.append(private)


def _value(write: Any, value: bytes) -> bytes | None:
    """The value written; None deletes, and to Fabric an empty value is none."""
    return None if write.is_delete or not value else bytes(value)


def _entries(write: Any) -> Mapping[str, bytes]:
    return {entry.name: bytes(entry.value) for entry in write.entries}


def _merged(
    namespace: str, writes: list[Change], metadata: Mapping[str, Mapping[str, bytes]]
) -> list[Change]:
    """Values and metadata of the same keys together, then metadata alone."""
    written = {change.key for change in writes}
    both = [replace(change, metadata=metadata.get(change.key)) for change in writes]
    alone = [Change(namespace, k, False, None, m) for k, m in metadata.items() if k not in written]
    return both + alone


def _range(namespace: str, info: kv_rwset_pb2.RangeQueryInfo) -> RangeRead:
    summary = None
    if info.WhichOneof("reads_info") == "reads_merkle_hashes":
        hashes = info.reads_merkle_hashes
        summary = Summary(hashes.max_degree, hashes.max_level, tuple(hashes.max_level_hashes))
        if summary.degree < 2:
            raise InvalidTransactionError(
                Code.BAD_RWSET, "a range is summarised by a tree that cannot be"
            )
    reads = tuple((read.key, _version(read)) for read in info.raw_reads.kv_reads)
    return RangeRead(namespace, info.start_key, info.end_key, info.itr_exhausted, reads, summary)


def _version(read: Any) -> Version | None:
    if not read.HasField("version"):
        return None
    return int(read.version.block_num), int(read.version.tx_num)
