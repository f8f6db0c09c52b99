"""The peer's end of the chaincode stream: dials a hospital's chaincode service, serves its reads.

Message by message as Fabric's peer handles them; the shim at the other end cannot tell.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    chaincode_shim_pb2,
    chaincode_shim_pb2_grpc,
    proposal_pb2,
    proposal_response_pb2,
)

from network.devnet.simulator import Simulator

log = logging.getLogger("medfabric.devnet")

Message = chaincode_shim_pb2.ChaincodeMessage
Type = chaincode_shim_pb2.ChaincodeMessage.Type
MESSAGE_LIMIT = 100 * 1024 * 1024
EXECUTE_SECONDS = 30.0
_BATCH = 1000
_REDIAL_SECONDS = 0.2


class ChaincodeUnavailableError(Exception):
    """The service is not connected, broke off, or took too long."""


@dataclass
class _Running:
    """A transaction at the chaincode: its simulator and where its outcome goes."""

    simulator: Simulator
    outcome: queue.SimpleQueue[Any | None] = field(default_factory=queue.SimpleQueue)


@dataclass(frozen=True)
class Executed:
    """What the chaincode returned."""

    response: proposal_response_pb2.Response
    event: chaincode_event_pb2.ChaincodeEvent | None


class ChaincodeStream:
    """A lasting connection to one hospital's chaincode service, dialled again when it breaks.

    Args:
        dial: opens a channel to the service.
    """

    def __init__(self, name: str, dial: Callable[[], grpc.Channel]) -> None:
        self._name = name
        self._dial = dial
        self._outgoing: queue.SimpleQueue[Any | None] = queue.SimpleQueue()
        self._running: dict[tuple[str, str], _Running] = {}
        self._lock = threading.Lock()
        self.ready = threading.Event()
        self._closing = threading.Event()
        self._channel: grpc.Channel | None = None
        threading.Thread(target=self._keep_connected, name=f"cc-{name}", daemon=True).start()

    def close(self) -> None:
        """End the connection."""
        self._closing.set()
        self._outgoing.put(None)
        if self._channel is not None:
            self._channel.close()

    def execute(
        self,
        channel_id: str,
        tx_id: str,
        args: list[bytes],
        signed: proposal_pb2.SignedProposal,
        simulator: Simulator,
    ) -> Executed:
        """Run one transaction.

        Raises:
            ChaincodeUnavailableError: no outcome came.
        """
        if not self.ready.wait(2 * _REDIAL_SECONDS):
            raise ChaincodeUnavailableError(f"the chaincode of {self._name} is not connected")
        running = _Running(simulator)
        key = (channel_id, tx_id)
        with self._lock:
            if key in self._running:
                raise ChaincodeUnavailableError("the transaction is running already")
            self._running[key] = running
        message = Message(
            type=Type.TRANSACTION,
            txid=tx_id,
            channel_id=channel_id,
            payload=chaincode_pb2.ChaincodeInput(args=args).SerializeToString(),
            proposal=signed,
        )
        self._outgoing.put(message)
        try:
            answer = running.outcome.get(timeout=EXECUTE_SECONDS)
        except queue.Empty:
            answer = None
        finally:
            with self._lock:
                self._running.pop(key, None)
        return _executed(answer, self._name)

    def _keep_connected(self) -> None:
        while not self._closing.is_set():
            try:
                with self._dial() as channel:
                    self._channel = channel
                    self._serve(channel)
            except grpc.RpcError as error:
                status: Any = error
                log.debug("chaincode of %s: %s", self._name, status.code())
            self.ready.clear()
            self._fail_all()
            self._closing.wait(_REDIAL_SECONDS)

    def _serve(self, channel: grpc.Channel) -> None:
        self._outgoing = queue.SimpleQueue()
        outgoing = self._outgoing
        stub: Any = chaincode_shim_pb2_grpc.ChaincodeStub(channel)
        try:
            for message in stub.Connect(iter(outgoing.get, None)):
                self._handle(message)
        finally:
            outgoing.put(None)

    def _handle(self, message: Any) -> None:
        if message.type == Type.REGISTER:
            self._outgoing.put(Message(type=Type.REGISTERED))
            parameters = chaincode_pb2.ChaincodeAdditionalParams(
                use_write_batch=True,
                max_size_write_batch=_BATCH,
                use_get_multiple_keys=True,
                max_size_get_multiple_keys=_BATCH,
            )
            ready = Message(type=Type.READY, payload=parameters.SerializeToString())
            self._outgoing.put(ready)
            self.ready.set()
        elif message.type != Type.KEEPALIVE:
            self._handle_transaction(message)

    def _handle_transaction(self, message: Any) -> None:
        with self._lock:
            running = self._running.get((message.channel_id, message.txid))
        if running is None:
            return
        if message.type in (Type.COMPLETED, Type.ERROR):
            running.outcome.put(message)
            return
        try:
            kind, payload = Type.RESPONSE, _answer(message, running.simulator)
        except Exception as error:
            kind, payload = Type.ERROR, str(error).encode()
        self._outgoing.put(
            Message(type=kind, payload=payload, txid=message.txid, channel_id=message.channel_id)
        )

    def _fail_all(self) -> None:
        with self._lock:
            running = list(self._running.values())
        for one in running:
            one.outcome.put(None)


def _executed(answer: Any | None, name: str) -> Executed:
    if answer is None:
        raise ChaincodeUnavailableError(f"the chaincode of {name} broke off or took too long")
    if answer.type == Type.ERROR:
        raise ChaincodeUnavailableError(answer.payload.decode("utf-8", "replace"))
    event = answer.chaincode_event if answer.HasField("chaincode_event") else None
    return Executed(proposal_response_pb2.Response.FromString(answer.payload), event)


def _answer(message: Any, simulator: Simulator) -> bytes:
    """The payload of the RESPONSE to one request."""
    shim, raw = chaincode_shim_pb2, message.payload
    if message.type == Type.GET_STATE:
        return simulator.get(shim.GetState.FromString(raw).key)
    if message.type == Type.GET_STATE_MULTIPLE:
        values = [simulator.get(key) for key in shim.GetStateMultiple.FromString(raw).keys]
        return bytes(shim.GetStateMultipleResult(values=values).SerializeToString())
    if message.type == Type.GET_STATE_METADATA:
        metadata = simulator.metadata(shim.GetStateMetadata.FromString(raw).key)
        entries = [shim.StateMetadata(metakey=k, value=v) for k, v in metadata.items()]
        return bytes(shim.StateMetadataResult(entries=entries).SerializeToString())
    if message.type == Type.GET_STATE_BY_RANGE:
        return _range(shim.GetStateByRange.FromString(raw), simulator)
    if message.type == Type.GET_HISTORY_FOR_KEY:
        return _history(shim.GetHistoryForKey.FromString(raw).key, simulator)
    if message.type == Type.QUERY_STATE_CLOSE:
        # Results are always sent whole, so nothing is held open.
        return bytes(shim.QueryResponse(has_more=False).SerializeToString())
    _write(message.type, raw, simulator)
    return b""


def _write(kind: int, raw: bytes, simulator: Simulator) -> None:
    shim = chaincode_shim_pb2
    if kind == Type.PUT_STATE:
        put = shim.PutState.FromString(raw)
        simulator.put(put.key, put.value)
    elif kind == Type.DEL_STATE:
        simulator.delete(shim.DelState.FromString(raw).key)
    elif kind == Type.PUT_STATE_METADATA:
        one = shim.PutStateMetadata.FromString(raw)
        simulator.put_metadata(one.key, one.metadata.metakey, one.metadata.value)
    elif kind == Type.WRITE_BATCH_STATE:
        for record in shim.WriteBatchState.FromString(raw).rec:
            _write_record(record, simulator)
    else:
        raise ValueError(f"the devnet does not serve {Type.Name(kind)}")


def _write_record(record: Any, simulator: Simulator) -> None:
    kinds = chaincode_shim_pb2.WriteRecord.Type
    if record.collection:
        raise ValueError("the devnet has no private data collections")
    if record.type == kinds.PUT_STATE:
        simulator.put(record.key, record.value)
    elif record.type == kinds.DEL_STATE:
        simulator.delete(record.key)
    elif record.type == kinds.PUT_STATE_METADATA:
        simulator.put_metadata(record.key, record.metadata.metakey, record.metadata.value)
    else:
        raise ValueError("the devnet does not serve this kind of write")


def _range(request: Any, simulator: Simulator) -> bytes:
    if request.collection:
        raise ValueError("the devnet has no private data collections")
    start, end = request.startKey, request.endKey
    if not request.metadata:
        return _results(_key_values(simulator.range(start, end)))
    asked = chaincode_shim_pb2.QueryMetadata.FromString(request.metadata)
    found, bookmark = simulator.page(start, end, asked.pageSize, asked.bookmark)
    metadata = chaincode_shim_pb2.QueryResponseMetadata(
        fetched_records_count=len(found), bookmark=bookmark
    )
    return _results(_key_values(found), metadata.SerializeToString())


def _key_values(found: list[tuple[str, bytes]]) -> Iterator[bytes]:
    for key, value in found:
        entry = kv_query_result_pb2.KV(namespace="", key=key, value=value)
        yield bytes(entry.SerializeToString())


def _history(key: str, simulator: Simulator) -> bytes:
    def entries() -> Iterator[bytes]:
        for past in simulator.history(key):
            entry = kv_query_result_pb2.KeyModification(
                tx_id=past.tx_id, value=past.value or b"", is_delete=past.value is None
            )
            entry.timestamp.seconds = past.seconds
            yield bytes(entry.SerializeToString())

    return _results(entries())


def _results(items: Iterator[bytes], metadata: bytes = b"") -> bytes:
    results = [chaincode_shim_pb2.QueryResultBytes(resultBytes=item) for item in items]
    response = chaincode_shim_pb2.QueryResponse(
        results=results, has_more=False, id="all", metadata=metadata
    )
    return bytes(response.SerializeToString())
