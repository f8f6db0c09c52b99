"""One transaction's requests to the peer, one at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import chaincode_pb2, chaincode_shim_pb2, proposal_response_pb2
from google.protobuf.message import DecodeError

from chaincode.shim.response import Response
from chaincode.shim.stub import (
    VALIDATION_PARAMETER,
    KeyModification,
    KeyValue,
    Page,
    PeerError,
    Write,
)

# A kind is Message.GET_STATE, not Message.Type.GET_STATE: that one is looked up in Python, slowly.
Message = chaincode_shim_pb2.ChaincodeMessage
_Record = chaincode_shim_pb2.WriteRecord


class Outgoing(Protocol):
    """The way to a peer. Any thread may send."""

    def send(self, message: Any) -> None:
        """Hand over a ``ChaincodeMessage``; once the stream has ended it goes nowhere."""
        ...


@dataclass(frozen=True)
class Negotiated:
    """Keys and writes that the peer takes in one message; 0 where it takes no such message."""

    write_batch: int = 0
    multi_get: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> Negotiated:
        """Read the payload of READY, which an older peer leaves empty.

        Raises:
            PeerError: not ``ChaincodeAdditionalParams``.
        """
        params = parse(chaincode_pb2.ChaincodeAdditionalParams, payload)
        return cls(
            write_batch=params.max_size_write_batch if params.use_write_batch else 0,
            multi_get=params.max_size_get_multiple_keys if params.use_get_multiple_keys else 0,
        )


class Conversation:
    """The stub's :class:`~chaincode.shim.stub.Ledger` over a peer's stream.

    The transaction's thread asks and waits; the stream's reader answers. A peer drops a second
    request of a transaction that has one pending, so a second thread may not ask.

    Every reading method raises :class:`PeerError` when the peer answers with an ERROR frame, when
    its answer cannot be read, and when the stream or the transaction has ended.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        channel_id: str,
        tx_id: str,
        negotiated: Negotiated,
        message_limit: int,
    ) -> None:
        self._outgoing = outgoing
        self._channel_id = channel_id
        self._tx_id = tx_id
        self._negotiated = negotiated
        self._message_limit = message_limit
        self._answers: queue.SimpleQueue[Any | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = False
        self._ended = False

    def answer(self, message: Any) -> bool:
        """Deliver the peer's answer; False where nothing was asked."""
        with self._lock:
            asked, self._waiting = self._waiting, False
            if asked:
                self._answers.put(message)
        return asked

    def end(self) -> bool:
        """No more requests: who waits now or asks later gets :class:`PeerError`.

        Returns:
            Whether this call ended it.
        """
        with self._lock:
            first, self._ended = not self._ended, True
            waiting, self._waiting = self._waiting, False
            if waiting:
                self._answers.put(None)
        return first

    def get_states(self, keys: Sequence[str], collection: str = "") -> list[bytes | None]:
        limit = self._negotiated.multi_get
        if len(keys) == 1 or limit == 0:
            return [self._get(Message.GET_STATE, key, collection) for key in keys]
        values: list[bytes | None] = []
        for first in range(0, len(keys), limit):
            some = keys[first : first + limit]
            request = chaincode_shim_pb2.GetStateMultiple(keys=some, collection=collection)
            raw = self._ask(Message.GET_STATE_MULTIPLE, request)
            found = parse(chaincode_shim_pb2.GetStateMultipleResult, raw).values
            if len(found) != len(some):
                raise PeerError("the peer answered with another number of values than keys")
            values += [bytes(value) or None for value in found]
        return values

    def private_hash(self, collection: str, key: str) -> bytes | None:
        return self._get(Message.GET_PRIVATE_DATA_HASH, key, collection)

    def range(self, start: str, end: str, collection: str = "") -> Iterator[KeyValue]:
        request = chaincode_shim_pb2.GetStateByRange(
            startKey=start, endKey=end, collection=collection
        )
        for raw in self._query(Message.GET_STATE_BY_RANGE, request):
            yield _key_value(raw)

    def range_page(self, start: str, end: str, page_size: int, bookmark: str) -> Page:
        metadata = chaincode_shim_pb2.QueryMetadata(pageSize=page_size, bookmark=bookmark)
        request = chaincode_shim_pb2.GetStateByRange(
            startKey=start, endKey=end, metadata=metadata.SerializeToString()
        )
        return _page(self._ask(Message.GET_STATE_BY_RANGE, request))

    def query(self, query: str, collection: str = "") -> Iterator[KeyValue]:
        request = chaincode_shim_pb2.GetQueryResult(query=query, collection=collection)
        for raw in self._query(Message.GET_QUERY_RESULT, request):
            yield _key_value(raw)

    def query_page(self, query: str, page_size: int, bookmark: str) -> Page:
        metadata = chaincode_shim_pb2.QueryMetadata(pageSize=page_size, bookmark=bookmark)
        request = chaincode_shim_pb2.GetQueryResult(
            query=query, metadata=metadata.SerializeToString()
        )
        return _page(self._ask(Message.GET_QUERY_RESULT, request))

    def history(self, key: str) -> Iterator[KeyModification]:
        request = chaincode_shim_pb2.GetHistoryForKey(key=key)
        for raw in self._query(Message.GET_HISTORY_FOR_KEY, request):
            entry = parse(kv_query_result_pb2.KeyModification, raw)
            yield KeyModification(
                entry.tx_id,
                bytes(entry.value),
                int(entry.timestamp.seconds),
                entry.is_delete,
                int(entry.timestamp.nanos),
            )

    def metadata(self, key: str, collection: str = "") -> Mapping[str, bytes]:
        request = chaincode_shim_pb2.GetStateMetadata(key=key, collection=collection)
        raw = self._ask(Message.GET_STATE_METADATA, request)
        result = parse(chaincode_shim_pb2.StateMetadataResult, raw)
        return {entry.metakey: bytes(entry.value) for entry in result.entries}

    def invoke_chaincode(self, name: str, args: Sequence[bytes]) -> Response:
        request = chaincode_pb2.ChaincodeSpec(
            chaincode_id=chaincode_pb2.ChaincodeID(name=name),
            input=chaincode_pb2.ChaincodeInput(args=args),
        )
        # The other chaincode's own answer to its peer, as it came.
        answer = parse(Message, self._ask(Message.INVOKE_CHAINCODE, request))
        if answer.type != Message.COMPLETED:
            raise PeerError(answer.payload.decode("utf-8", "replace"))
        response = parse(proposal_response_pb2.Response, answer.payload)
        return Response(int(response.status), str(response.message), bytes(response.payload))

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
            self._ask(Message.WRITE_BATCH_STATE, batch)

    def _get(self, kind: int, key: str, collection: str) -> bytes | None:
        return self._ask(kind, chaincode_shim_pb2.GetState(key=key, collection=collection)) or None

    def _query(self, kind: int, request: Any) -> Iterator[bytes]:
        # No QUERY_STATE_CLOSE: the peer closes what was read to its end at once, and what was not
        # when the transaction completes. Closing from a generator's end would ask from wherever
        # the garbage collector happens to run, the reader's thread included.
        response = parse(chaincode_shim_pb2.QueryResponse, self._ask(kind, request))
        while True:
            for item in response.results:
                yield bytes(item.resultBytes)
            if not response.has_more:
                return
            more = chaincode_shim_pb2.QueryStateNext(id=response.id)
            raw = self._ask(Message.QUERY_STATE_NEXT, more)
            response = parse(chaincode_shim_pb2.QueryResponse, raw)

    def _ask(self, kind: int, request: Any) -> bytes:
        message = Message(
            type=kind,
            payload=request.SerializeToString(),
            txid=self._tx_id,
            channel_id=self._channel_id,
        )
        if message.ByteSize() > self._message_limit:
            raise PeerError("the request is larger than a peer takes")
        with self._lock:
            if self._ended:
                raise PeerError("the transaction or the stream to the peer has ended")
            if self._waiting:
                raise RuntimeError("a stub belongs to one thread: a request is pending")
            self._waiting = True
        self._outgoing.send(message)
        answer = self._answers.get()
        if answer is None:
            raise PeerError("the stream to the peer has ended")
        if answer.type == Message.ERROR:
            raise PeerError(answer.payload.decode("utf-8", "replace"))
        return bytes(answer.payload)


def parse(kind: Any, raw: bytes) -> Any:
    """A protobuf message of ``kind``.

    Raises:
        PeerError: ``raw`` is none.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise PeerError(f"the peer's {kind.DESCRIPTOR.name} cannot be read") from error


def _single(write: Write) -> tuple[int, Any]:
    place = {"key": write.key, "collection": write.collection}
    if write.policy is not None:
        metadata = _policy_metadata(write.policy)
        request = chaincode_shim_pb2.PutStateMetadata(metadata=metadata, **place)
        return Message.PUT_STATE_METADATA, request
    if write.purge:
        return Message.PURGE_PRIVATE_DATA, chaincode_shim_pb2.PurgePrivateState(**place)
    if write.value is None:
        return Message.DEL_STATE, chaincode_shim_pb2.DelState(**place)
    return Message.PUT_STATE, chaincode_shim_pb2.PutState(value=write.value, **place)


def _record(write: Write) -> Any:
    record = _Record(key=write.key, collection=write.collection)
    if write.policy is not None:
        record.type = _Record.PUT_STATE_METADATA
        record.metadata.CopyFrom(_policy_metadata(write.policy))
    elif write.purge:
        record.type = _Record.PURGE_PRIVATE_DATA
    elif write.value is None:
        record.type = _Record.DEL_STATE
    else:
        record.type = _Record.PUT_STATE
        record.value = write.value
    return record


def _policy_metadata(policy: bytes) -> Any:
    return chaincode_shim_pb2.StateMetadata(metakey=VALIDATION_PARAMETER, value=policy)


def _page(raw: bytes) -> Page:
    response = parse(chaincode_shim_pb2.QueryResponse, raw)
    results = tuple(_key_value(item.resultBytes) for item in response.results)
    found = parse(chaincode_shim_pb2.QueryResponseMetadata, response.metadata)
    return Page(results, str(found.bookmark))


def _key_value(raw: bytes) -> KeyValue:
    entry = parse(kv_query_result_pb2.KV, raw)
    return KeyValue(entry.key, bytes(entry.value))
