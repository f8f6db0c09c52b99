"""A peer's end of the chaincode stream, over a dict, as strict as Fabric's.

It is the shim's transport itself: what the shim sends is answered at once, in the sender's thread.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    chaincode_shim_pb2,
    proposal_pb2,
    proposal_response_pb2,
)

from support.memory_stub import creator, proposal_bytes

Message = chaincode_shim_pb2.ChaincodeMessage
Type = chaincode_shim_pb2.ChaincodeMessage.Type
RecordType = chaincode_shim_pb2.WriteRecord.Type

WAIT_SECONDS = 10


@dataclass
class Outcome:
    """A transaction's end: COMPLETED with a response, or ERROR with ``error``."""

    status: int
    message: str
    payload: bytes
    error: str
    event: tuple[str, bytes] | None


@dataclass
class FakePeer:
    """A peer with some state. ``private`` is by collection; a private policy's key is
    COLLECTION/KEY.

    ``batch`` and ``keys`` are the negotiated sizes, 0 for a peer that negotiates nothing;
    ``results_per_message`` makes iterators go in steps; ``refused`` are types of requests answered
    by an ERROR frame; ``unanswered`` are types never answered; ``scripted`` are payloads that
    answer the first requests, whatever they ask, before ERROR frames answer the rest; ``others``
    are what other chaincodes answer, by ``NAME`` or ``NAME/CHANNEL``; ``rich`` is whether the state
    database takes queries, here an object whose fields a value must have.
    """

    state: dict[str, bytes] = field(default_factory=dict)
    policies: dict[str, bytes] = field(default_factory=dict)
    private: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    purged: list[tuple[str, str]] = field(default_factory=list)
    past: dict[str, list[bytes]] = field(default_factory=dict)
    batch: int = 0
    keys: int = 0
    results_per_message: int = 2
    refused: set[int] = field(default_factory=set)
    unanswered: set[int] = field(default_factory=set)
    scripted: list[bytes] | None = None
    others: dict[str, Any] = field(default_factory=dict)
    rich: bool = False
    registered_as: str = ""
    sent: list[Any] = field(default_factory=list)
    incoming: queue.SimpleQueue[Any | None] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self._outcomes: dict[str, queue.SimpleQueue[Outcome]] = defaultdict(queue.SimpleQueue)
        self._iterators: dict[str, list[bytes]] = {}
        self._lock = threading.Lock()
        self.changed = threading.Condition()

    # the transport

    def send(self, message: Any) -> None:
        with self._lock:
            self.sent.append(message)
            self._receive(message)
        with self.changed:
            self.changed.notify_all()

    def receive(self) -> Any | None:
        return self.incoming.get()

    # what a test does

    def tell(self, kind: int, payload: bytes = b"", txid: str = "", channel: str = "") -> None:
        """Send any message to the shim."""
        message = Message(type=kind, payload=payload, txid=txid, channel_id=channel)
        self.incoming.put(message)

    def begin(
        self,
        txid: str,
        *args: bytes,
        seconds: int = 1_700_000_000,
        decorations: Mapping[str, bytes] | None = None,
    ) -> None:
        """Start a transaction once the shim has registered."""
        self.await_sent(Type.REGISTER)
        proposal = proposal_bytes(creator("Hospital1MSP", "node1", "trainer"), seconds, txid)
        self.incoming.put(
            Message(
                type=Type.TRANSACTION,
                txid=txid,
                channel_id="medfabric",
                payload=chaincode_pb2.ChaincodeInput(
                    args=args, decorations=dict(decorations or {})
                ).SerializeToString(),
                proposal=proposal_pb2.SignedProposal(proposal_bytes=proposal, signature=b"s"),
            )
        )

    def outcome(self, txid: str) -> Outcome:
        """Wait for a transaction's end."""
        return self._outcomes[txid].get(timeout=WAIT_SECONDS)

    def transact(self, txid: str, *args: bytes) -> Outcome:
        self.begin(txid, *args)
        return self.outcome(txid)

    def hang_up(self) -> None:
        self.incoming.put(None)

    def types(self) -> list[int]:
        """Types of the messages that the shim sent."""
        with self._lock:
            return [message.type for message in self.sent]

    def await_sent(self, kind: int, count: int = 1) -> None:
        """Wait until the shim has sent ``count`` messages of a type."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.types().count(kind) >= count, WAIT_SECONDS)

    # a peer's answers

    def _receive(self, message: Any) -> None:
        if message.type == Type.REGISTER:
            self._register(message)
        elif message.type in (Type.COMPLETED, Type.ERROR):
            self._outcomes[message.txid].put(_outcome(message))
        elif self.scripted:
            self._answer(message, Type.RESPONSE, self.scripted.pop(0))
        elif self.scripted is not None or message.type in self.refused:
            self._answer(message, Type.ERROR, f"{message.type} refused".encode())
        elif message.type not in self.unanswered and message.type != Type.KEEPALIVE:
            try:
                payload = self._answers()[message.type](message.payload)
            except LookupError as error:
                self._answer(message, Type.ERROR, str(error).encode())
            else:
                self._answer(message, Type.RESPONSE, payload)

    def _register(self, message: Any) -> None:
        self.registered_as = chaincode_pb2.ChaincodeID.FromString(message.payload).name
        params = chaincode_pb2.ChaincodeAdditionalParams(
            use_write_batch=self.batch > 0,
            max_size_write_batch=self.batch,
            use_get_multiple_keys=self.keys > 0,
            max_size_get_multiple_keys=self.keys,
        )
        self.tell(Type.REGISTERED)
        self.tell(Type.READY, params.SerializeToString())

    def _answer(self, message: Any, kind: int, payload: bytes) -> None:
        self.tell(kind, payload, message.txid, message.channel_id)

    def _answers(self) -> dict[int, Callable[[bytes], bytes]]:
        return {
            Type.GET_STATE: self._get,
            Type.GET_STATE_MULTIPLE: self._get_multiple,
            Type.GET_PRIVATE_DATA_HASH: self._get_hash,
            Type.GET_STATE_BY_RANGE: self._range,
            Type.GET_HISTORY_FOR_KEY: self._history,
            Type.QUERY_STATE_NEXT: self._next,
            Type.GET_STATE_METADATA: self._get_metadata,
            Type.PUT_STATE: self._put,
            Type.DEL_STATE: self._delete,
            Type.PURGE_PRIVATE_DATA: self._purge,
            Type.PUT_STATE_METADATA: self._put_metadata,
            Type.WRITE_BATCH_STATE: self._write_batch,
            Type.GET_QUERY_RESULT: self._rich_query,
            Type.INVOKE_CHAINCODE: self._invoke_chaincode,
        }

    def _get(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.GetState.FromString(raw)
        return self._of(request).get(request.key, b"")

    def _get_hash(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.GetState.FromString(raw)
        value = self.private[request.collection].get(request.key)
        return hashlib.sha256(value).digest() if value else b""

    def _of(self, request: Any) -> dict[str, bytes]:
        return self.private[request.collection] if request.collection else self.state

    def _get_multiple(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.GetStateMultiple.FromString(raw)
        assert 0 < len(request.keys) <= self.keys
        values = [self._of(request).get(key, b"") for key in request.keys]
        return chaincode_shim_pb2.GetStateMultipleResult(values=values).SerializeToString()

    def _range(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.GetStateByRange.FromString(raw)
        page = chaincode_shim_pb2.QueryMetadata.FromString(request.metadata)
        start = page.bookmark or request.startKey
        found = [
            (key, value)
            for key, value in sorted(self._of(request).items())
            if start <= key and (not request.endKey or key < request.endKey)
        ]
        if not page.pageSize:
            return self._iterate(_entries(found))
        rest = found[page.pageSize :]
        metadata = chaincode_shim_pb2.QueryResponseMetadata(
            fetched_records_count=min(len(found), page.pageSize),
            bookmark=rest[0][0] if rest else "",
        )
        some = _entries(found[: page.pageSize])
        return _results(some, False, "page", metadata.SerializeToString())

    def _rich_query(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.GetQueryResult.FromString(raw)
        if not self.rich:
            raise LookupError("ExecuteQuery not supported for leveldb")
        wanted = json.loads(request.query).items()
        every = sorted(self._of(request).items())
        found = [entry for entry in every if wanted <= json.loads(entry[1]).items()]
        page = chaincode_shim_pb2.QueryMetadata.FromString(request.metadata)
        if not page.pageSize:
            return self._iterate(_entries(found))
        begin = int(page.bookmark or 0)
        some = _entries(found[begin : begin + page.pageSize])
        metadata = chaincode_shim_pb2.QueryResponseMetadata(
            fetched_records_count=len(some), bookmark=str(begin + len(some))
        )
        return _results(some, False, "page", metadata.SerializeToString())

    def _invoke_chaincode(self, raw: bytes) -> bytes:
        spec = chaincode_pb2.ChaincodeSpec.FromString(raw)
        name = spec.chaincode_id.name
        if name not in self.others:
            raise LookupError(f"execute failed: no chaincode {name}")
        answer = self.others[name](list(spec.input.args))
        return bytes(answer.SerializeToString())

    def _history(self, raw: bytes) -> bytes:
        key = chaincode_shim_pb2.GetHistoryForKey.FromString(raw).key
        entries = []
        for number, value in reversed(list(enumerate(self.past.get(key, [])))):
            entry = kv_query_result_pb2.KeyModification(
                tx_id=f"tx{number}", value=value, is_delete=not value
            )
            entry.timestamp.seconds = number
            entry.timestamp.nanos = number
            entries.append(entry.SerializeToString())
        return self._iterate(entries)

    def _iterate(self, entries: list[bytes]) -> bytes:
        name = f"iterator{len(self._iterators)}"
        self._iterators[name] = entries
        return self._step(name)

    def _next(self, raw: bytes) -> bytes:
        return self._step(chaincode_shim_pb2.QueryStateNext.FromString(raw).id)

    def _step(self, name: str) -> bytes:
        entries = self._iterators[name]
        now, self._iterators[name] = (
            entries[: self.results_per_message],
            entries[self.results_per_message :],
        )
        return _results(now, bool(self._iterators[name]), name)

    def _get_metadata(self, raw: bytes) -> bytes:
        key = _policy_key(chaincode_shim_pb2.GetStateMetadata.FromString(raw))
        result = chaincode_shim_pb2.StateMetadataResult()
        if key in self.policies:
            result.entries.add(metakey="VALIDATION_PARAMETER", value=self.policies[key])
        return result.SerializeToString()

    def _put(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.PutState.FromString(raw)
        self._of(request)[request.key] = request.value
        return b""

    def _delete(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.DelState.FromString(raw)
        self._of(request).pop(request.key, None)
        return b""

    def _purge(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.PurgePrivateState.FromString(raw)
        self.purged.append((request.collection, request.key))
        return self._delete(raw)

    def _put_metadata(self, raw: bytes) -> bytes:
        request = chaincode_shim_pb2.PutStateMetadata.FromString(raw)
        assert request.metadata.metakey == "VALIDATION_PARAMETER"
        self.policies[_policy_key(request)] = request.metadata.value
        return b""

    def _write_batch(self, raw: bytes) -> bytes:
        records = chaincode_shim_pb2.WriteBatchState.FromString(raw).rec
        assert 0 < len(records) <= self.batch
        for record in records:
            if record.type == RecordType.PUT_STATE:
                self._of(record)[record.key] = record.value
            elif record.type == RecordType.DEL_STATE:
                self._of(record).pop(record.key, None)
            elif record.type == RecordType.PURGE_PRIVATE_DATA:
                self.purged.append((record.collection, record.key))
                self._of(record).pop(record.key, None)
            else:
                assert record.type == RecordType.PUT_STATE_METADATA
                assert record.metadata.metakey == "VALIDATION_PARAMETER"
                self.policies[_policy_key(record)] = record.metadata.value
        return b""


def _entries(found: Sequence[tuple[str, bytes]]) -> list[bytes]:
    return [
        kv_query_result_pb2.KV(namespace="medfabric", key=key, value=value).SerializeToString()
        for key, value in found
    ]


def _policy_key(request: Any) -> str:
    return f"{request.collection}/{request.key}" if request.collection else str(request.key)


def _results(entries: Sequence[bytes], more: bool, name: str, metadata: bytes = b"") -> bytes:
    results = [chaincode_shim_pb2.QueryResultBytes(resultBytes=entry) for entry in entries]
    response = chaincode_shim_pb2.QueryResponse(
        results=results, has_more=more, id=name, metadata=metadata
    )
    return bytes(response.SerializeToString())


def _outcome(message: Any) -> Outcome:
    if message.type == Type.ERROR:
        return Outcome(0, "", b"", message.payload.decode(), None)
    response = proposal_response_pb2.Response.FromString(message.payload)
    event = None
    if message.HasField("chaincode_event"):
        assert message.chaincode_event.tx_id == message.txid
        event = (message.chaincode_event.event_name, message.chaincode_event.payload)
    return Outcome(response.status, response.message, response.payload, "", event)
