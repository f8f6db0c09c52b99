"""The peer's end of the chaincode stream: dials a hospital's chaincode service, serves its reads.

Message by message as Fabric's peer handles them; the shim at the other end cannot tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    chaincode_shim_pb2,
    chaincode_shim_pb2_grpc,
    proposal_pb2,
    proposal_response_pb2,
)

from network.devnet.queries import Queries
from network.devnet.simulator import Simulator

Invoke = Callable[[str, list[bytes]], Any]
"""Runs another chaincode in the same transaction; its COMPLETED or ERROR message."""

log = logging.getLogger("medfabric.devnet")

Message = chaincode_shim_pb2.ChaincodeMessage
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
    invoke: Invoke
    queries: Queries = field(default_factory=Queries)
    outcome: queue.SimpleQueue[Any | None] = field(default_factory=queue.SimpleQueue)


@dataclass(frozen=True)
class Executed:
    """What the chaincode returned."""

    response: proposal_response_pb2.Response
    event: chaincode_event_pb2.ChaincodeEvent | None


class Loop:
    """The thread that serves the streams to all hospitals' chaincode services: a thread for each
    would spend its time in waiting for the others."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="streams", daemon=True)
        self._thread.start()

    def call(self, act: Callable[..., object], *args: Any) -> None:
        """Have the loop call this; from any thread."""
        if threading.get_ident() == self._thread.ident:
            act(*args)
        else:
            self._loop.call_soon_threadsafe(act, *args)

    def run(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Have the loop do this; from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End what still runs, then the thread."""
        if self._loop.is_closed():
            return
        self.run(self._end_all()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end_all(self) -> None:
        # A loop that is closed before gRPC's last events have come to it fails those of others.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class ChaincodeStream:
    """A lasting connection to one hospital's chaincode service, dialled again when it breaks.

    Args:
        dial: opens a channel to the service; called by the loop.
        package_id: gives what the service must register as; another one is not talked to. Asked
            at every connection: an upgrade changes it.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        dial: Callable[[], grpc.aio.Channel],
        package_id: Callable[[], str],
    ) -> None:
        self._name = name
        self._loop = loop
        self._dial = dial
        self._package_id = package_id
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._running: dict[tuple[str, str], _Running] = {}
        self._lock = threading.Lock()
        self.ready = threading.Event()
        self._connection = loop.run(self._keep_connected())

    def close(self) -> None:
        """End the connection."""
        self._connection.cancel()

    def execute(
        self,
        channel_id: str,
        tx_id: str,
        args: list[bytes],
        signed: proposal_pb2.SignedProposal,
        simulator: Simulator,
        invoke: Invoke,
    ) -> Any:
        """Run one transaction; its COMPLETED or ERROR message.

        Args:
            invoke: called for the chaincodes that this one calls.

        Raises:
            ChaincodeUnavailableError: no outcome came.
        """
        if not self.ready.wait(2 * _REDIAL_SECONDS):
            raise ChaincodeUnavailableError(f"the chaincode of {self._name} is not connected")
        running = _Running(simulator, invoke)
        key = (channel_id, tx_id)
        message = Message(
            type=Message.TRANSACTION,
            txid=tx_id,
            channel_id=channel_id,
            payload=chaincode_pb2.ChaincodeInput(args=args).SerializeToString(),
            proposal=signed,
        )
        # Under one lock with the stream's end, so that no transaction is sent into a broken stream
        # or to a service that has not registered yet.
        with self._lock:
            if not self.ready.is_set():
                raise ChaincodeUnavailableError(f"the chaincode of {self._name} is not connected")
            if key in self._running:
                raise ChaincodeUnavailableError("the transaction is running already")
            self._running[key] = running
            self._send(message)
        try:
            answer = running.outcome.get(timeout=EXECUTE_SECONDS)
        except queue.Empty:
            raise ChaincodeUnavailableError(
                f"timeout expired while executing transaction at {self._name}"
            ) from None
        finally:
            with self._lock:
                self._running.pop(key, None)
        if answer is None:
            raise ChaincodeUnavailableError(f"chaincode stream terminated at {self._name}")
        return answer

    async def _keep_connected(self) -> None:
        try:
            while True:
                try:
                    async with self._dial() as channel:
                        await self._serve(channel)
                except grpc.RpcError as error:
                    status: Any = error
                    log.debug("chaincode of %s: %s", self._name, status.code())
                self._fail_all()
                await asyncio.sleep(_REDIAL_SECONDS)
        finally:
            self._fail_all()

    async def _serve(self, channel: grpc.aio.Channel) -> None:
        outgoing = self._outgoing = asyncio.Queue()
        stub: Any = chaincode_shim_pb2_grpc.ChaincodeStub(channel)
        call = stub.Connect()
        writer = asyncio.ensure_future(_forward(call, outgoing))
        try:
            async for message in call:
                if not self._handle(message):
                    return
        finally:
            call.cancel()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _handle(self, message: Any) -> bool:
        """Serve one message; False ends the stream."""
        if message.type == Message.KEEPALIVE:
            return True
        if not self.ready.is_set():
            return self._register(message)
        self._handle_transaction(message)
        return True

    def _register(self, message: Any) -> bool:
        name = chaincode_pb2.ChaincodeID.FromString(message.payload).name
        if message.type != Message.REGISTER or name != self._package_id():
            log.warning("chaincode of %s: it is not the one that was installed", self._name)
            return False
        self._send(Message(type=Message.REGISTERED))
        parameters = chaincode_pb2.ChaincodeAdditionalParams(
            use_write_batch=True,
            max_size_write_batch=_BATCH,
            use_get_multiple_keys=True,
            max_size_get_multiple_keys=_BATCH,
        )
        self._send(Message(type=Message.READY, payload=parameters.SerializeToString()))
        self.ready.set()
        return True

    def _handle_transaction(self, message: Any) -> None:
        with self._lock:
            running = self._running.get((message.channel_id, message.txid))
        if message.type in (Message.COMPLETED, Message.ERROR):
            if running is not None:
                running.outcome.put(message)
            return
        if message.type == Message.INVOKE_CHAINCODE and running is not None:
            # The other chaincode's own requests may come over this very stream meanwhile.
            answer = threading.Thread(target=self._answer, args=(message, running), daemon=True)
            answer.start()
        else:
            self._answer(message, running)

    def _answer(self, message: Any, running: _Running | None) -> None:
        try:
            if running is None:
                raise ValueError("no ledger context")
            kind, payload = Message.RESPONSE, _answer(message, running)
        except Exception as error:
            kind, payload = Message.ERROR, str(error).encode()
        self._send(
            Message(type=kind, payload=payload, txid=message.txid, channel_id=message.channel_id)
        )

    def _send(self, message: Any) -> None:
        self._loop.call(self._outgoing.put_nowait, message)

    def _fail_all(self) -> None:
        with self._lock:
            self.ready.clear()
            running = list(self._running.values())
        for one in running:
            one.outcome.put(None)


async def _forward(call: Any, outgoing: asyncio.Queue[Any]) -> None:
    # Where the stream breaks its reader learns why.
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        while True:
            await call.write(await outgoing.get())


def executed(answer: Any) -> Executed:
    """What a chaincode's last message of a transaction says.

    Raises:
        ChaincodeUnavailableError: that it failed.
    """
    if answer.type == Message.ERROR:
        raise ChaincodeUnavailableError(answer.payload.decode("utf-8", "replace"))
    event = answer.chaincode_event if answer.HasField("chaincode_event") else None
    return Executed(proposal_response_pb2.Response.FromString(answer.payload), event)


def _answer(message: Any, running: _Running) -> bytes:
    """The payload of the RESPONSE to one request."""
    if message.type not in _REQUESTS:
        raise ValueError(f"the devnet does not serve message type {message.type}")
    kind, serve = _REQUESTS[message.type]
    return serve(kind.FromString(message.payload), running)


def _get(request: Any, running: _Running) -> bytes:
    if request.collection:
        return running.simulator.get_private(request.collection, request.key)
    return running.simulator.get(request.key)


def _get_multiple(request: Any, running: _Running) -> bytes:
    simulator = running.simulator
    if request.collection:
        values = simulator.get_privates(request.collection, request.keys)
    else:
        values = [simulator.get(key) for key in request.keys]
    return bytes(chaincode_shim_pb2.GetStateMultipleResult(values=values).SerializeToString())


def _get_hash(request: Any, running: _Running) -> bytes:
    return running.simulator.get_private_hash(request.collection, request.key)


def _get_metadata(request: Any, running: _Running) -> bytes:
    simulator = running.simulator
    if request.collection:
        found = simulator.private_metadata(request.collection, request.key)
    else:
        found = simulator.metadata(request.key)
    entries = [
        chaincode_shim_pb2.StateMetadata(metakey=name, value=value) for name, value in found.items()
    ]
    return bytes(chaincode_shim_pb2.StateMetadataResult(entries=entries).SerializeToString())


def _put(request: Any, running: _Running) -> bytes:
    return _write(request, running, request.value)


def _delete(request: Any, running: _Running) -> bytes:
    return _write(request, running, None)


def _write(request: Any, running: _Running, value: bytes | None) -> bytes:
    if request.collection:
        running.simulator.put_private(request.collection, request.key, value)
    else:
        running.simulator.put(request.key, value)
    return b""


def _purge(request: Any, running: _Running) -> bytes:
    if not request.collection:
        raise ValueError("only applicable for private data")
    running.simulator.put_private(request.collection, request.key, None, purge=True)
    return b""


def _put_metadata(request: Any, running: _Running) -> bytes:
    entry = request.metadata
    simulator = running.simulator
    if request.collection:
        simulator.put_private_metadata(request.collection, request.key, entry.metakey, entry.value)
    else:
        simulator.put_metadata(request.key, entry.metakey, entry.value)
    return b""


def _write_batch(request: Any, running: _Running) -> bytes:
    for record in request.rec:
        if record.type not in _WRITES:
            raise ValueError("unknown operation type")
        _WRITES[record.type](record, running)
    return b""


def _range(request: Any, running: _Running) -> bytes:
    simulator, start, end = running.simulator, request.startKey, request.endKey
    if request.collection:
        found = simulator.private_range(request.collection, start, end)
        return running.queries.start(_key_values(found))
    asked = chaincode_shim_pb2.QueryMetadata.FromString(request.metadata)
    if not asked.pageSize:
        return running.queries.start(_key_values(simulator.range(start, end)))
    page, bookmark = simulator.page(start, end, asked.pageSize, asked.bookmark)
    metadata = chaincode_shim_pb2.QueryResponseMetadata(
        fetched_records_count=len(page), bookmark=bookmark
    )
    response = chaincode_shim_pb2.QueryResponse(
        results=[chaincode_shim_pb2.QueryResultBytes(resultBytes=kv) for kv in _key_values(page)],
        metadata=metadata.SerializeToString(),
    )
    return bytes(response.SerializeToString())


def _invoke(request: Any, running: _Running) -> bytes:
    name = request.chaincode_id.name
    return bytes(running.invoke(name, list(request.input.args)).SerializeToString())


def _history(request: Any, running: _Running) -> bytes:
    def entries() -> Iterator[bytes]:
        for past in running.simulator.history(request.key):
            entry = kv_query_result_pb2.KeyModification(
                tx_id=past.tx_id, value=past.value or b"", is_delete=past.value is None
            )
            entry.timestamp.seconds = past.seconds
            yield bytes(entry.SerializeToString())

    return running.queries.start(entries())


def _query_next(request: Any, running: _Running) -> bytes:
    return running.queries.next(request.id)


def _query_close(request: Any, running: _Running) -> bytes:
    return running.queries.close(request.id)


def _key_values(found: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    for key, value in found:
        entry = kv_query_result_pb2.KV(namespace="", key=key, value=value)
        yield bytes(entry.SerializeToString())


_shim = chaincode_shim_pb2
_REQUESTS: Mapping[int, tuple[Any, Callable[[Any, _Running], bytes]]] = {
    Message.GET_STATE: (_shim.GetState, _get),
    Message.GET_STATE_MULTIPLE: (_shim.GetStateMultiple, _get_multiple),
    Message.GET_PRIVATE_DATA_HASH: (_shim.GetState, _get_hash),
    Message.GET_STATE_METADATA: (_shim.GetStateMetadata, _get_metadata),
    Message.GET_STATE_BY_RANGE: (_shim.GetStateByRange, _range),
    Message.GET_HISTORY_FOR_KEY: (_shim.GetHistoryForKey, _history),
    Message.QUERY_STATE_NEXT: (_shim.QueryStateNext, _query_next),
    Message.QUERY_STATE_CLOSE: (_shim.QueryStateClose, _query_close),
    Message.PUT_STATE: (_shim.PutState, _put),
    Message.DEL_STATE: (_shim.DelState, _delete),
    Message.PURGE_PRIVATE_DATA: (_shim.PurgePrivateState, _purge),
    Message.PUT_STATE_METADATA: (_shim.PutStateMetadata, _put_metadata),
    Message.INVOKE_CHAINCODE: (chaincode_pb2.ChaincodeSpec, _invoke),
    Message.WRITE_BATCH_STATE: (_shim.WriteBatchState, _write_batch),
}
_WRITES: Mapping[int, Callable[[Any, _Running], bytes]] = {
    _shim.WriteRecord.PUT_STATE: _put,
    _shim.WriteRecord.DEL_STATE: _delete,
    _shim.WriteRecord.PURGE_PRIVATE_DATA: _purge,
    _shim.WriteRecord.PUT_STATE_METADATA: _put_metadata,
}
