"""The chaincode's end of the stream to a peer, as a state machine over a two-method transport.

``CREATED -> ESTABLISHED -> READY``. One thread reads; each transaction runs in a thread of its own
with one outstanding request at a time, so that none waits for another.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from enum import Enum
from typing import Any

from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    chaincode_shim_pb2,
    proposal_response_pb2,
)
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code
from chaincode.shim.chaincode import FAILED, REFUSED, Chaincode, Response
from chaincode.shim.conversation import Conversation, Message, Negotiated, Transport
from chaincode.shim.stub import PeerError, Proposal, Stub

log = logging.getLogger("medfabric.shim")

MESSAGE_LIMIT = 100 * 1024 * 1024
"""Bytes; the peer's own limit for a message of the chaincode stream."""

Type = chaincode_shim_pb2.ChaincodeMessage.Type


class State(Enum):
    """How far the registration with the peer has come."""

    CREATED = "created"
    ESTABLISHED = "established"
    READY = "ready"


class Handler:
    """Serves one peer over one stream until it ends.

    Args:
        chaincode: called for every transaction.
        package_id: what the peer knows this chaincode by.
        transport: the stream.
        message_limit: bytes of the largest message that is sent.
    """

    def __init__(
        self,
        chaincode: Chaincode,
        package_id: str,
        transport: Transport,
        message_limit: int = MESSAGE_LIMIT,
    ) -> None:
        self._chaincode = chaincode
        self._package_id = package_id
        self._transport = transport
        self._message_limit = message_limit
        self._negotiated = Negotiated()
        self._open: dict[tuple[str, str], Conversation] = {}
        self._idle = threading.Condition()
        self._draining = False
        self.state = State.CREATED

    def run(self) -> None:
        """Register, then serve messages until the stream ends or the peer breaks the protocol
        before it is READY. Transactions still running then get :class:`PeerError` at their next
        request."""
        name = chaincode_pb2.ChaincodeID(name=self._package_id)
        self._transport.send(Message(type=Type.REGISTER, payload=name.SerializeToString()))
        try:
            while (message := self._transport.receive()) is not None:
                self._handle(message)
        except PeerError as error:
            log.warning("state=%s the stream is given up: %s", self.state.value, error)
        finally:
            with self._idle:
                conversations = list(self._open.values())
            for conversation in conversations:
                conversation.end()

    def drain(self) -> None:
        """Begin no transaction any more; those running go on."""
        self._draining = True

    def wait_idle(self, seconds: float) -> bool:
        """Wait until no transaction runs. Returns whether that came about in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._open, seconds)

    def _handle(self, message: Any) -> None:
        if message.type == Type.KEEPALIVE:
            self._transport.send(message)
        elif self.state is State.READY:
            self._handle_ready(message)
        elif self.state is State.CREATED and message.type == Type.REGISTERED:
            self.state = State.ESTABLISHED
        elif self.state is State.ESTABLISHED and message.type == Type.READY:
            self._negotiated = Negotiated.parse(message.payload)
            self.state = State.READY
        else:
            raise PeerError(f"message type {message.type} is out of place")

    def _handle_ready(self, message: Any) -> None:
        key = (message.channel_id, message.txid)
        if message.type in (Type.TRANSACTION, Type.INIT):
            self._start(key, message)
        elif message.type in (Type.RESPONSE, Type.ERROR):
            with self._idle:
                conversation = self._open.get(key)
            if conversation is None or not conversation.answer(message):
                log.info("tx=%s answer to no question", _short(message))
        else:
            # Not answered: to the peer an ERROR frame would end the transaction it names.
            log.warning("tx=%s message type %d is out of place", _short(message), message.type)

    def _start(self, key: tuple[str, str], message: Any) -> None:
        conversation = Conversation(
            self._transport, *key, self._negotiated, message_limit=self._message_limit
        )
        worker = threading.Thread(
            target=self._execute,
            args=(key, message, conversation),
            name=f"tx-{_short(message)}",
            daemon=True,
        )
        with self._idle:
            refusal = self._no_start(key)
            if refusal is None:
                self._open[key] = conversation
        if refusal is None:
            try:
                worker.start()
                return
            except RuntimeError:  # the system gives no more threads
                self._close(key, None)
                refusal = "the chaincode service is overloaded"
        log.warning("tx=%s not begun: %s", _short(message), refusal)
        self._transport.send(_answer_to(message, Type.ERROR, refusal.encode()))

    def _no_start(self, key: tuple[str, str]) -> str | None:
        if self._draining:
            return "the chaincode service is stopping"
        return "this transaction is already running" if key in self._open else None

    def _execute(self, key: tuple[str, str], message: Any, conversation: Conversation) -> None:
        try:
            answer = self._answer(message, conversation)
        except BaseException as error:  # whatever it was, the peer waits for an answer
            log.error("tx=%s the shim failed: %s", _short(message), _where(error))
            answer = _answer_to(message, Type.ERROR, b"internal error of the shim")
        # Ended already means that the stream has ended. If not, a stub that the chaincode kept
        # cannot ask any more once the peer has the answer.
        self._close(key, answer if conversation.end() else None)

    def _close(self, key: tuple[str, str], answer: Any | None) -> None:
        # In one step: with the answer the peer may send the same transaction again, and when
        # nothing is open the stream may be closed.
        with self._idle:
            del self._open[key]
            if answer is not None:
                self._transport.send(answer)
            self._idle.notify_all()

    def _answer(self, message: Any, conversation: Conversation) -> Any:
        try:
            stub = _stub(message, conversation)
        except ValueError as error:
            log.warning("tx=%s not begun: %s", _short(message), error)
            return _answer_to(message, Type.ERROR, str(error).encode())
        began = time.monotonic()
        response = self._invoke(stub)
        if response.status < REFUSED:
            response = _written(stub, conversation, response)
        answer = _completed(message, stub, response)
        if answer.ByteSize() > self._message_limit:
            response = Response(FAILED, f"{Code.INTERNAL}: the answer is larger than a peer takes")
            answer = _completed(message, stub, response)
        milliseconds = (time.monotonic() - began) * 1000
        log.info("tx=%s status=%d ms=%.1f", _short(message), response.status, milliseconds)
        return answer

    def _invoke(self, stub: Stub) -> Response:
        try:
            return self._chaincode.invoke(stub)
        except PeerError as error:
            log.warning("tx=%s the peer refused a request: %s", stub.tx_id[:8], error)
            return Response(FAILED, f"{Code.PEER_REFUSED}: the peer refused a request: {error}")
        except BaseException as error:  # sys.exit() in a contract must not leave the peer waiting
            log.error("tx=%s the chaincode failed: %s", stub.tx_id[:8], _where(error))
            return Response(FAILED, f"{Code.INTERNAL}: the chaincode failed; its log says where")


def _written(stub: Stub, conversation: Conversation, response: Response) -> Response:
    try:
        conversation.write(stub.writes)
    except PeerError as error:
        log.warning("tx=%s the peer refused the writes: %s", stub.tx_id[:8], error)
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


def _short(message: Any) -> str:
    return str(message.txid[:8])


def _where(error: BaseException) -> str:
    """Kind and place of an error. Its text is left out: it may hold what the caller sent."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = (f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {' < '.join(reversed(list(places)))}"
