"""The chaincode's end of the stream to a peer, as a state machine over a two-method transport.

``CREATED -> ESTABLISHED -> READY``. One thread reads; each transaction runs in a thread of its own
with one outstanding request at a time, so that none waits for another.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    chaincode_shim_pb2,
    proposal_pb2,
    proposal_response_pb2,
)

from chaincode.shim.chaincode import FAILED, REFUSED, Chaincode, Response
from chaincode.shim.stub import (
    VALIDATION_PARAMETER,
    KeyModification,
    KeyValue,
    Page,
    PeerError,
    Proposal,
    Stub,
    Write,
)

log = logging.getLogger("medfabric.shim")

Message = chaincode_shim_pb2.ChaincodeMessage
Type = chaincode_shim_pb2.ChaincodeMessage.Type


class Transport(Protocol):
    """The stream: :meth:`receive` gives None at its end, :meth:`send` may be called anywhere."""

    def send(self, message: Any) -> None: ...

    def receive(self) -> Any | None: ...


class State(Enum):
    CREATED = "created"
    ESTABLISHED = "established"
    READY = "ready"


@dataclass(frozen=True)
class _Negotiated:
    """What the peer can do; a limit of 0 means one at a time."""

    write_batch: int = 0
    multi_get: int = 0


class Handler:
    """Serves one peer over one stream until it ends.

    Args:
        chaincode: called for every transaction.
        package_id: what the peer knows this chaincode by.
        transport: the stream.
    """

    def __init__(self, chaincode: Chaincode, package_id: str, transport: Transport) -> None:
        self._chaincode = chaincode
        self._package_id = package_id
        self._transport = transport
        self._negotiated = _Negotiated()
        self._open: dict[tuple[str, str], _Conversation] = {}
        self._lock = threading.Lock()
        self.state = State.CREATED

    def run(self) -> None:
        """Register, then serve messages until the stream ends. Transactions still running then
        get :class:`PeerError` at their next request."""
        name = chaincode_pb2.ChaincodeID(name=self._package_id)
        self._transport.send(Message(type=Type.REGISTER, payload=name.SerializeToString()))
        try:
            while (message := self._transport.receive()) is not None:
                self._handle(message)
        finally:
            with self._lock:
                conversations = list(self._open.values())
            for conversation in conversations:
                conversation.end()

    def _handle(self, message: Any) -> None:
        if message.type == Type.KEEPALIVE:
            self._transport.send(message)
        elif self.state is State.CREATED and message.type == Type.REGISTERED:
            self.state = State.ESTABLISHED
        elif self.state is State.ESTABLISHED and message.type == Type.READY:
            self._negotiated = _negotiate(message.payload)
            self.state = State.READY
        elif self.state is State.READY:
            self._handle_ready(message)
        else:
            self._refuse(message, f"unexpected message in state {self.state.value}")

    def _handle_ready(self, message: Any) -> None:
        key = (message.channel_id, message.txid)
        if message.type in (Type.TRANSACTION, Type.INIT):
            self._start(key, message)
        elif message.type in (Type.RESPONSE, Type.ERROR):
            with self._lock:
                conversation = self._open.get(key)
            if conversation is None:
                log.info("%s: answer to no question", message.txid[:8])
            else:
                conversation.answer(message)
        else:
            self._refuse(message, "unexpected message in state ready")

    def _start(self, key: tuple[str, str], message: Any) -> None:
        conversation = _Conversation(self._transport, *key, self._negotiated)
        with self._lock:
            if key in self._open:
                self._refuse(message, "this transaction is already running")
                return
            self._open[key] = conversation
        name = f"tx-{message.txid[:8]}"
        threading.Thread(
            target=self._execute, args=(key, message, conversation), name=name, daemon=True
        ).start()

    def _execute(self, key: tuple[str, str], message: Any, conversation: _Conversation) -> None:
        try:
            answer = self._answer(message, conversation)
        except Exception:
            log.exception("%s: the shim failed", message.txid[:8])
            answer = _answer_to(message, Type.ERROR, b"internal error of the shim")
        finally:
            with self._lock:
                self._open.pop(key, None)
        if not conversation.ended:
            self._transport.send(answer)

    def _answer(self, message: Any, conversation: _Conversation) -> Any:
        try:
            stub = _stub(message, conversation)
        except ValueError as error:
            return _answer_to(message, Type.ERROR, str(error).encode())
        response = self._invoke(stub)
        if response.status < REFUSED:
            try:
                conversation.write(stub.writes)
            except PeerError as error:
                log.warning("%s: the peer refused the writes: %s", stub.tx_id[:8], error)
                response = Response(FAILED, f"the peer refused the writes: {error}")
        return _completed(message, stub, response)

    def _invoke(self, stub: Stub) -> Response:
        try:
            return self._chaincode.invoke(stub)
        except PeerError as error:
            return Response(FAILED, f"the peer answered: {error}")
        except Exception:
            # The exception's text may hold what the caller sent: it goes to the log's owner
            # as a traceback of code, never into the response.
            log.exception("%s: the chaincode failed", stub.tx_id[:8])
            return Response(FAILED, "the chaincode failed; its log says where")

    def _refuse(self, message: Any, why: str) -> None:
        log.warning("%s: %s (type %d)", message.txid[:8], why, message.type)
        self._transport.send(_answer_to(message, Type.ERROR, why.encode()))


class _Conversation:
    """One transaction's requests to the peer; the stub's :class:`~chaincode.shim.stub.Ledger`."""

    def __init__(
        self, transport: Transport, channel_id: str, tx_id: str, negotiated: _Negotiated
    ) -> None:
        self._transport = transport
        self._channel_id = channel_id
        self._tx_id = tx_id
        self._negotiated = negotiated
        self._answers: queue.SimpleQueue[Any | None] = queue.SimpleQueue()
        self.ended = False

    def answer(self, message: Any) -> None:
        """Deliver the peer's answer to the question in hand."""
        self._answers.put(message)

    def end(self) -> None:
        """The stream is gone: whoever waits, and whoever asks later, gets an error."""
        self.ended = True
        self._answers.put(None)

    def get_states(self, keys: Sequence[str]) -> list[bytes | None]:
        limit = self._negotiated.multi_get
        if len(keys) == 1 or limit == 0:
            return [self._get(key) for key in keys]
        values: list[bytes | None] = []
        for first in range(0, len(keys), limit):
            some = keys[first : first + limit]
            request = chaincode_shim_pb2.GetStateMultiple(keys=some)
            raw = self._ask(Type.GET_STATE_MULTIPLE, request)
            result = _parse(chaincode_shim_pb2.GetStateMultipleResult, raw)
            if len(result.values) != len(some):
                raise PeerError("the peer answered with another number of values than keys")
            values += [bytes(value) or None for value in result.values]
        return values

    def range(self, start: str, end: str) -> Iterator[KeyValue]:
        request = chaincode_shim_pb2.GetStateByRange(startKey=start, endKey=end)
        for raw in self._query(Type.GET_STATE_BY_RANGE, request):
            yield _key_value(raw)

    def range_page(self, start: str, end: str, page_size: int, bookmark: str) -> Page:
        metadata = chaincode_shim_pb2.QueryMetadata(pageSize=page_size, bookmark=bookmark)
        request = chaincode_shim_pb2.GetStateByRange(
            startKey=start, endKey=end, metadata=metadata.SerializeToString()
        )
        raw = self._ask(Type.GET_STATE_BY_RANGE, request)
        response = _parse(chaincode_shim_pb2.QueryResponse, raw)
        results = [_key_value(item.resultBytes) for item in self._drain(response)]
        found = _parse(chaincode_shim_pb2.QueryResponseMetadata, response.metadata)
        return Page(tuple(results), str(found.bookmark))

    def history(self, key: str) -> Iterator[KeyModification]:
        request = chaincode_shim_pb2.GetHistoryForKey(key=key)
        for raw in self._query(Type.GET_HISTORY_FOR_KEY, request):
            entry = _parse(kv_query_result_pb2.KeyModification, raw)
            yield KeyModification(
                entry.tx_id, bytes(entry.value), int(entry.timestamp.seconds), entry.is_delete
            )

    def metadata(self, key: str) -> Mapping[str, bytes]:
        raw = self._ask(Type.GET_STATE_METADATA, chaincode_shim_pb2.GetStateMetadata(key=key))
        result = _parse(chaincode_shim_pb2.StateMetadataResult, raw)
        return {entry.metakey: bytes(entry.value) for entry in result.entries}

    def write(self, writes: Sequence[Write]) -> None:
        """Send the writes, in batches where the peer takes them."""
        limit = self._negotiated.write_batch
        if limit == 0:
            for write in writes:
                self._ask(*_single(write))
            return
        for first in range(0, len(writes), limit):
            records = [_record(write) for write in writes[first : first + limit]]
            batch = chaincode_shim_pb2.WriteBatchState(rec=records)
            self._ask(Type.WRITE_BATCH_STATE, batch)

    def _get(self, key: str) -> bytes | None:
        return self._ask(Type.GET_STATE, chaincode_shim_pb2.GetState(key=key)) or None

    def _query(self, kind: int, request: Any) -> Iterator[bytes]:
        response = _parse(chaincode_shim_pb2.QueryResponse, self._ask(kind, request))
        for item in self._drain(response):
            yield bytes(item.resultBytes)

    def _drain(self, response: Any) -> Iterator[Any]:
        query_id = response.id
        try:
            while True:
                yield from response.results
                if not response.has_more:
                    return
                more = chaincode_shim_pb2.QueryStateNext(id=query_id)
                raw = self._ask(Type.QUERY_STATE_NEXT, more)
                response = _parse(chaincode_shim_pb2.QueryResponse, raw)
        finally:
            # Also when the contract stopped reading early: the peer holds the iterator open.
            if not self.ended:
                close = chaincode_shim_pb2.QueryStateClose(id=query_id)
                self._ask(Type.QUERY_STATE_CLOSE, close)

    def _ask(self, kind: int, request: Any) -> bytes:
        if self.ended:
            raise PeerError("the stream to the peer has ended")
        self._transport.send(
            Message(
                type=kind,
                payload=request.SerializeToString(),
                txid=self._tx_id,
                channel_id=self._channel_id,
            )
        )
        answer = self._answers.get()
        if answer is None:
            raise PeerError("the stream to the peer has ended")
        if answer.type == Type.ERROR:
            raise PeerError(answer.payload.decode("utf-8", "replace"))
        return bytes(answer.payload)


def _stub(message: Any, conversation: _Conversation) -> Stub:
    args = _parse_or_refuse(chaincode_pb2.ChaincodeInput, message.payload)
    if not message.HasField("proposal"):
        raise ValueError("the transaction carries no signed proposal")
    signed = message.proposal
    if not isinstance(signed, proposal_pb2.SignedProposal):
        raise ValueError("the transaction carries no signed proposal")
    proposal = Proposal(signed.proposal_bytes)
    return Stub(message.txid, message.channel_id, args.args, proposal, conversation)


def _completed(message: Any, stub: Stub, response: Response) -> Any:
    payload = proposal_response_pb2.Response(
        status=response.status, message=response.message, payload=response.payload
    )
    answer = _answer_to(message, Type.COMPLETED, payload.SerializeToString())
    if stub.event is not None and response.status < REFUSED:
        name, content = stub.event
        event = chaincode_event_pb2.ChaincodeEvent(
            tx_id=message.txid, event_name=name, payload=content
        )
        answer.chaincode_event.CopyFrom(event)
    return answer


def _answer_to(message: Any, kind: int, payload: bytes) -> Any:
    return Message(type=kind, payload=payload, txid=message.txid, channel_id=message.channel_id)


def _negotiate(payload: bytes) -> _Negotiated:
    params = _parse(chaincode_pb2.ChaincodeAdditionalParams, payload)
    return _Negotiated(
        write_batch=params.max_size_write_batch if params.use_write_batch else 0,
        multi_get=params.max_size_get_multiple_keys if params.use_get_multiple_keys else 0,
    )


def _single(write: Write) -> tuple[int, Any]:
    if write.policy is not None:
        metadata = _policy_metadata(write.policy)
        request = chaincode_shim_pb2.PutStateMetadata(key=write.key, metadata=metadata)
        return Type.PUT_STATE_METADATA, request
    if write.value is None:
        return Type.DEL_STATE, chaincode_shim_pb2.DelState(key=write.key)
    return Type.PUT_STATE, chaincode_shim_pb2.PutState(key=write.key, value=write.value)


def _record(write: Write) -> Any:
    kinds = chaincode_shim_pb2.WriteRecord.Type
    if write.policy is not None:
        return chaincode_shim_pb2.WriteRecord(
            key=write.key, type=kinds.PUT_STATE_METADATA, metadata=_policy_metadata(write.policy)
        )
    if write.value is None:
        return chaincode_shim_pb2.WriteRecord(key=write.key, type=kinds.DEL_STATE)
    return chaincode_shim_pb2.WriteRecord(key=write.key, value=write.value, type=kinds.PUT_STATE)


def _policy_metadata(policy: bytes) -> Any:
    return chaincode_shim_pb2.StateMetadata(metakey=VALIDATION_PARAMETER, value=policy)


def _key_value(raw: bytes) -> KeyValue:
    entry = _parse(kv_query_result_pb2.KV, raw)
    return KeyValue(entry.key, bytes(entry.value))


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except Exception as error:
        raise PeerError(f"the peer's {kind.DESCRIPTOR.name} cannot be read") from error


def _parse_or_refuse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except Exception as error:
        raise ValueError(f"the peer's {kind.DESCRIPTOR.name} cannot be read") from error
