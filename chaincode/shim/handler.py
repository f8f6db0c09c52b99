"""The chaincode's end of the stream to a peer, as a state machine without a network.

``CREATED -> ESTABLISHED -> READY``. One thread takes messages; each transaction runs in a thread of
its own with one outstanding request at a time, so that none waits for another.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_response_pb2,
)
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code
from chaincode.shim import logs
from chaincode.shim.chaincode import FAILED, REFUSED, Chaincode, Response
from chaincode.shim.conversation import Conversation, Message, Negotiated, Outgoing
from chaincode.shim.metrics import Metrics, Outcome, StreamState
from chaincode.shim.stub import PeerError, Proposal, Stub
from chaincode.shim.workers import Workers

log = logging.getLogger("medfabric.shim")

MESSAGE_LIMIT = 100 * 1024 * 1024
"""Bytes; the peer's own limit for a message of the chaincode stream."""


@dataclass(frozen=True)
class Limits:
    """What a service takes upon itself.

    Args:
        message_bytes: the largest message of the stream, at most the peer's.
        transactions: how many run at once, over all peers.
        seconds: how long one may run: less than the peer waits, so that the caller learns why.
    """

    message_bytes: int = MESSAGE_LIMIT
    transactions: int = 200
    seconds: float = 25.0


@dataclass
class _Running:
    """A transaction without an answer yet."""

    conversation: Conversation
    message: Any
    began: float


class Handler:
    """Serves one peer over one stream: :meth:`begin`, :meth:`take` while it is True, :meth:`end`.

    Args:
        chaincode: called for every transaction.
        package_id: what the peer knows this chaincode by.
        outgoing: the way to the peer; what comes from it goes to :meth:`take`.
        limits: what is refused and cut off.
        workers: threads for the transactions, shared with other streams of the service.
        metrics: where they are counted.
    """

    def __init__(
        self,
        chaincode: Chaincode,
        package_id: str,
        outgoing: Outgoing,
        limits: Limits | None = None,
        workers: Workers | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._chaincode = chaincode
        self._package_id = package_id
        self._outgoing = outgoing
        self._limits = limits or Limits()
        self._workers = workers or Workers(self._limits.transactions)
        self._metrics = metrics or Metrics()
        self._negotiated = Negotiated()
        self._open: dict[tuple[str, str], _Running] = {}
        self._idle = threading.Condition()
        self._ended = threading.Event()
        self._draining = False
        self.state = StreamState.CREATED

    def begin(self) -> None:
        """Register; :meth:`end` follows."""
        name = chaincode_pb2.ChaincodeID(name=self._package_id)
        self._metrics.stream(None, self.state)
        threading.Thread(target=self._watch_time, name="watch", daemon=True).start()
        self._outgoing.send(Message(type=Message.REGISTER, payload=name.SerializeToString()))

    def take(self, message: Any) -> bool:
        """Serve one message of the peer, without waiting; False gives the stream up: the peer broke
        the protocol before it was READY."""
        try:
            self._handle(message)
        except PeerError as error:
            logs.event(log, logging.WARNING, f"the stream is given up: {error}", state=self.state)
            return False
        return True

    def end(self) -> None:
        """The stream has ended: transactions still running get :class:`PeerError` at their next
        request."""
        self._ended.set()
        self._metrics.stream(self.state, None)
        with self._idle:
            running = list(self._open.values())
        for one in running:
            one.conversation.end()

    def drain(self) -> None:
        """Begin no transaction any more; those running go on."""
        self._draining = True

    def wait_idle(self, seconds: float) -> bool:
        """Wait until no transaction runs. Returns whether that came about in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._open, seconds)

    def _handle(self, message: Any) -> None:
        if message.type == Message.KEEPALIVE:
            self._outgoing.send(message)
        elif self.state is StreamState.READY:
            self._handle_ready(message)
        elif self.state is StreamState.CREATED and message.type == Message.REGISTERED:
            self._enter(StreamState.ESTABLISHED)
        elif self.state is StreamState.ESTABLISHED and message.type == Message.READY:
            self._negotiated = Negotiated.parse(message.payload)
            self._enter(StreamState.READY)
        else:
            raise PeerError(f"message type {message.type} is out of place")

    def _enter(self, state: StreamState) -> None:
        self._metrics.stream(self.state, state)
        self.state = state

    def _handle_ready(self, message: Any) -> None:
        key = (message.channel_id, message.txid)
        if message.type in (Message.TRANSACTION, Message.INIT):
            self._start(key, message)
        elif message.type in (Message.RESPONSE, Message.ERROR):
            with self._idle:
                running = self._open.get(key)
            if running is None or not running.conversation.answer(message):
                logs.event(log, logging.INFO, "answer to no question", tx=_short(message))
        else:
            # Not answered: to the peer an ERROR frame would end the transaction it names.
            text = f"message type {message.type} is out of place"
            logs.event(log, logging.WARNING, text, tx=_short(message))

    def _start(self, key: tuple[str, str], message: Any) -> None:
        conversation = Conversation(
            self._outgoing, *key, self._negotiated, message_limit=self._limits.message_bytes
        )
        running = _Running(conversation, message, time.monotonic())
        with self._idle:
            refusal = self._no_start(key)
            if refusal is None:
                self._open[key] = running
        if refusal is None:
            self._metrics.begun()
            if self._workers.start(lambda: self._execute(key, running)):
                return
            self._close(key, running, Outcome.NOT_BEGUN, None)
            refusal = f"{Code.OVERLOADED}: the chaincode service is full; submit again later"
        else:
            self._metrics.not_begun()
        logs.event(log, logging.WARNING, f"not begun: {refusal}", tx=_short(message))
        self._outgoing.send(_answer_to(message, Message.ERROR, refusal.encode()))

    def _no_start(self, key: tuple[str, str]) -> str | None:
        if self._draining:
            return "the chaincode service is stopping"
        return "this transaction is already running" if key in self._open else None

    def _execute(self, key: tuple[str, str], running: _Running) -> Callable[[], None]:
        message, conversation = running.message, running.conversation
        try:
            outcome, answer = self._answer(message, conversation)
        except BaseException as error:  # whatever it was, the peer waits for an answer
            text = f"the shim failed: {_where(error)}"
            logs.event(log, logging.ERROR, text, tx=_short(message))
            outcome = Outcome.FAILED
            answer = _answer_to(message, Message.ERROR, b"internal error of the shim")
        # Ended already means that the stream has ended or the time was over. If not, a stub that
        # the chaincode kept cannot ask any more once the peer has the answer.
        last = answer if conversation.end() else None
        return lambda: self._close(key, running, outcome, last)

    def _close(
        self, key: tuple[str, str], running: _Running, outcome: Outcome, answer: Any | None
    ) -> None:
        # In one step: with the answer the peer may send the same transaction again, and when
        # nothing is open the stream may be closed.
        with self._idle:
            if self._open.get(key) is not running:
                return
            del self._open[key]
            if answer is not None:
                self._outgoing.send(answer)
            self._idle.notify_all()
        self._metrics.ended(outcome, time.monotonic() - running.began)

    def _watch_time(self) -> None:
        """Answer transactions that run longer than they may; what they do then goes nowhere."""
        allowed = self._limits.seconds
        while not self._ended.wait(min(1.0, allowed / 10)):
            latest = time.monotonic() - allowed
            with self._idle:
                overdue = [item for item in self._open.items() if item[1].began < latest]
            for key, running in overdue:
                if running.conversation.end():
                    logs.event(log, logging.ERROR, "overdue", tx=_short(running.message))
                    text = f"{Code.OVERDUE}: the transaction took longer than {allowed:g} s"
                    answer = _completed(running.message, None, Response(FAILED, text))
                    self._close(key, running, Outcome.TIMED_OUT, answer)

    def _answer(self, message: Any, conversation: Conversation) -> tuple[Outcome, Any]:
        try:
            stub = _stub(message, conversation)
        except ValueError as error:
            logs.event(log, logging.WARNING, f"not begun: {error}", tx=_short(message))
            return Outcome.NOT_BEGUN, _answer_to(message, Message.ERROR, str(error).encode())
        began = time.monotonic()
        response = self._invoke(stub)
        if response.status < REFUSED:
            response = _written(stub, conversation, response)
        answer = _completed(message, stub.event, response)
        if answer.ByteSize() > self._limits.message_bytes:
            response = Response(FAILED, f"{Code.INTERNAL}: the answer is larger than a peer takes")
            answer = _completed(message, None, response)
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        short, status = _short(message), response.status
        logs.event(log, logging.INFO, "done", tx=short, status=status, ms=milliseconds)
        return _outcome(response), answer

    def _invoke(self, stub: Stub) -> Response:
        try:
            return self._chaincode.invoke(stub)
        except PeerError as error:
            text = f"the peer refused a request: {error}"
            logs.event(log, logging.WARNING, text, tx=stub.tx_id[:8])
            return Response(FAILED, f"{Code.PEER_REFUSED}: the peer refused a request: {error}")
        except BaseException as error:  # sys.exit() in a contract must not leave the peer waiting
            text = f"the chaincode failed: {_where(error)}"
            logs.event(log, logging.ERROR, text, tx=stub.tx_id[:8])
            return Response(FAILED, f"{Code.INTERNAL}: the chaincode failed; its log says where")


def _written(stub: Stub, conversation: Conversation, response: Response) -> Response:
    try:
        conversation.write(stub.writes)
    except PeerError as error:
        text = f"the peer refused the writes: {error}"
        logs.event(log, logging.WARNING, text, tx=stub.tx_id[:8])
        return Response(FAILED, f"{Code.PEER_REFUSED}: the peer refused the writes: {error}")
    return response


def _stub(message: Any, conversation: Conversation) -> Stub:
    try:
        given = chaincode_pb2.ChaincodeInput.FromString(message.payload)
    except DecodeError as error:
        raise ValueError("the transaction's input cannot be read") from error
    proposal = Proposal(message.proposal.proposal_bytes)
    return Stub(
        message.txid,
        message.channel_id,
        given.args,
        proposal,
        conversation,
        signature=message.proposal.signature,
        decorations=dict(given.decorations),
    )


def _outcome(response: Response) -> Outcome:
    if response.status < REFUSED:
        return Outcome.SUCCEEDED
    return Outcome.REFUSED if response.status < FAILED else Outcome.FAILED


def _completed(message: Any, event: tuple[str, bytes] | None, response: Response) -> Any:
    payload = proposal_response_pb2.Response(
        status=response.status, message=response.message, payload=response.payload
    )
    answer = _answer_to(message, Message.COMPLETED, payload.SerializeToString())
    if event is not None and response.status < REFUSED:
        name, content = event
        answer.chaincode_event.CopyFrom(
            chaincode_event_pb2.ChaincodeEvent(tx_id=message.txid, event_name=name, payload=content)
        )
    return answer


def _answer_to(message: Any, kind: int, payload: bytes) -> Any:
    return Message(type=kind, payload=payload, txid=message.txid, channel_id=message.channel_id)


def _short(message: Any) -> str:
    return str(message.txid[:8])


def _where(error: BaseException) -> str:
    """Kind and place of an error. Its text is left out: it may hold what the caller sent."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = (f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {' < '.join(reversed(list(places)))}"
