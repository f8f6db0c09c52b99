"""Broken frames, vanishing peers, many transactions at once: no stall, no leak, no mixing up."""

from __future__ import annotations

import gc
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.peer import proposal_response_pb2
from support.fake_peer import WAIT_SECONDS, FakePeer, Message, Type
from support.pki import Authority
from support.service import credentials_of, dialled
from support.shim import Scripted, done, serving

from chaincode.shim import Response, Stub, workers
from chaincode.shim.handler import Limits
from chaincode.shim.server import Server, ServerConfig

CONNECT = "/protos.Chaincode/Connect"


def eventually(check: Callable[[], bool], what: str) -> None:
    """Wait for what other threads bring about."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_IDLE_SECONDS", 0.1)


def everything(stub: Stub) -> Response:
    """Asks every kind of question and writes."""
    stub.get_state("k1")
    stub.get_states([f"k{number}" for number in range(5)])
    list(stub.get_state_by_range("", ""))
    stub.get_state_by_range_page("", "", 2, "")
    list(stub.get_history_for_key("k1"))
    stub.get_state_validation_parameter("k1")
    list(stub.get_query_result("{}"))
    stub.get_query_result_page("{}", 2, "")
    stub.invoke_chaincode("other", [b"f"])
    for number in range(4):
        stub.put_state(f"k{number}", b"{}")
    stub.set_event("done", b"")
    return Response.success(b"whole")


def _other(_: list[bytes]) -> Any:
    response = proposal_response_pb2.Response(status=200)
    return Message(type=Type.COMPLETED, payload=response.SerializeToString())


@dataclass
class VanishingPeer(FakePeer):
    """Hangs up instead of taking the shim's message number ``after``."""

    after: int = 10**6
    vanish: Callable[[], None] | None = None
    taken: int = 0

    def send(self, message: Any) -> None:
        if self.taken == self.after:
            (self.vanish or self.hang_up)()
            return
        self.taken += 1
        super().send(message)


def peer_with_everything(after: int = 10**6) -> VanishingPeer:
    state = {f"k{number}": b"{}" for number in range(5)}
    return VanishingPeer(
        state=state, batch=2, keys=3, rich=True, others={"other": _other}, after=after
    )


def messages_of_everything() -> int:
    peer = peer_with_everything()
    with serving(peer, everything=everything):
        assert peer.transact("t", b"everything").payload == b"whole"
    return peer.taken


@pytest.mark.parametrize("after", range(messages_of_everything()))
def test_a_peer_that_vanishes_at_any_message_leaves_nothing_behind(after: int) -> None:
    threads = threading.active_count()
    peer = peer_with_everything(after)
    left = threading.Event()

    def run(stub: Stub) -> Response:
        try:
            return everything(stub)
        finally:
            left.set()

    with serving(peer, everything=run) as handler:
        if after:
            peer.begin("t", b"everything")
            assert left.wait(WAIT_SECONDS)
        assert handler.wait_idle(WAIT_SECONDS)

    assert Type.COMPLETED not in peer.types()
    eventually(lambda: threading.active_count() <= threads, "threads are left over")


@contextmanager
def running(config: ServerConfig, **functions: Callable[[Stub], Response]) -> Iterator[Server]:
    server = Server(Scripted(**functions), config)
    yield server
    server.stop(0)


def test_streams_that_break_at_any_message_leave_the_service_whole(
    config: ServerConfig, authority: Authority
) -> None:
    total = messages_of_everything()

    with running(config, everything=everything, done=done) as server:
        threads = threading.active_count()
        for after in range(1, total):
            peer = peer_with_everything(after)
            broken = threading.Event()
            with dialled(server.port, authority, peer) as stream:
                peer.vanish = lambda cancel=stream.cancel, told=broken: (cancel(), told.set())
                peer.begin("t", b"everything")
                assert broken.wait(WAIT_SECONDS)
        whole = peer_with_everything()
        with dialled(server.port, authority, whole):
            assert whole.transact("t", b"everything").payload == b"whole"
        eventually(lambda: threading.active_count() <= threads + 2, "threads are left over")


# frames


@dataclass
class ShufflingPeer(FakePeer):
    """Answers in an order of its own, whatever was asked first."""

    seed: int = 0
    held: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._random = random.Random(self.seed)
        self.open = threading.Event()
        threading.Thread(target=self._release, daemon=True).start()

    def _answer(self, message: Any, kind: int, payload: bytes) -> None:
        self.held.append(
            Message(type=kind, payload=payload, txid=message.txid, channel_id=message.channel_id)
        )

    def _release(self) -> None:
        while not self.open.wait(0.002):
            with self._lock:
                self._random.shuffle(self.held)
                ready, self.held = self.held, []
            for message in ready:
                self.incoming.put(message)


@pytest.mark.parametrize("seed", range(3))
def test_answers_in_any_order_reach_the_transaction_that_asked(seed: int) -> None:
    peer = ShufflingPeer(state={f"k{n}": f"v{n}".encode() for n in range(30)}, seed=seed, keys=7)

    def get(stub: Stub) -> Response:
        key = stub.args[1].decode()
        found = [stub.get_state(key), *stub.get_states([key, "none", key])]
        return Response.success(b",".join(value or b"-" for value in found))

    with serving(peer, get=get):
        for number in range(30):
            peer.begin(f"t{number}", b"get", f"k{number}".encode())
        for number in range(30):
            value = f"v{number}".encode()
            assert peer.outcome(f"t{number}").payload == b",".join([value, value, b"-", value])
        peer.open.set()


def frames() -> list[bytes]:
    """What a peer sends until a transaction runs."""
    peer = FakePeer(batch=10, keys=10)
    peer.send(Message(type=Type.REGISTER))
    peer.begin("t", b"done")
    return [peer.incoming.get_nowait().SerializeToString() for _ in range(3)]


def damaged_streams(count: int) -> Iterator[list[bytes]]:
    """The frames cut off, out of order, doubled, swapped, or with flipped bits."""
    chance = random.Random(7)
    good = frames()
    for _ in range(count):
        broken = list(good)
        place = chance.randrange(len(broken))
        raw = broken[place]
        how = chance.randrange(5)
        if how == 0:
            broken[place] = raw[: chance.randrange(max(1, len(raw)))]
        elif how == 1:
            chance.shuffle(broken)
        elif how == 2:
            broken.insert(place, raw)
        elif how == 3:
            flipped = bytearray(raw)
            for _ in range(3):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            broken[place] = bytes(flipped)
        else:
            broken[place] = chance.randbytes(chance.randrange(200))
        yield broken


def test_damaged_frames_break_at_most_their_own_stream(
    config: ServerConfig, authority: Authority
) -> None:
    whole = FakePeer()

    with running(config, done=done) as server, dialled(server.port, authority, whole):
        credentials = credentials_of(authority, authority)
        with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
            connect = channel.stream_stream(CONNECT, None, None)
            for number, sent in enumerate(damaged_streams(60)):
                try:
                    for _ in connect(iter(sent), timeout=WAIT_SECONDS):
                        pass
                except grpc.RpcError as error:
                    status: Any = error
                    assert status.code() != grpc.StatusCode.DEADLINE_EXCEEDED
                if number % 20 == 0:
                    assert whole.transact(f"t{number}", b"done").payload == b"done"
        assert whole.transact("last", b"done").payload == b"done"


def test_bytes_that_are_no_tls_are_hung_up_on(config: ServerConfig, authority: Authority) -> None:
    chance, peer = random.Random(1), FakePeer()

    with running(config, done=done) as server, dialled(server.port, authority, peer):
        for number in range(20):
            with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as raw:
                raw.sendall(chance.randbytes(1 + number * 50))
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(1000):
                    pass
        assert peer.transact("t", b"done").payload == b"done"


def test_a_frame_over_the_limit_ends_its_stream_alone(
    config: ServerConfig, authority: Authority
) -> None:
    small = Limits(message_bytes=10_000)
    one, other = FakePeer(), FakePeer()

    with (
        running(ServerConfig(*list(vars(config).values())[:5], small), done=done) as server,
        dialled(server.port, authority, other),
    ):
        assert other.transact("t", b"done").payload == b"done"
        with dialled(server.port, authority, one) as stream:
            one.begin("t", b"done", bytes(20_000))
            eventually(lambda: stream.code() is not None, "the stream goes on")
            assert stream.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert other.transact("u", b"done").payload == b"done"


# many at once

AT_ONCE, ROUNDS, WARM = 200, 5, 2


def test_two_hundred_at_once_of_which_some_raise_leak_nothing_and_finish(
    config: ServerConfig, authority: Authority
) -> None:
    def work(stub: Stub) -> Response:
        number = int(stub.args[1])
        if number % 10 == 0:
            raise RuntimeError("one in ten")
        stub.get_states([f"k{n}" for n in range(10)])
        stub.put_state(f"k{number}", b"v" * 1000)
        return Response.success(stub.args[1])

    memory = []
    with running(config, work=work) as server:
        peer = FakePeer(batch=100, keys=100)
        with dialled(server.port, authority, peer):
            assert peer.transact("first", b"work", b"1").status == 200
            eventually(lambda: _transaction_threads() == 0, "a thread is left over")
            for round_ in range(ROUNDS):
                for number in range(AT_ONCE):
                    peer.begin(f"{round_}-{number}", b"work", str(number).encode())
                statuses = [peer.outcome(f"{round_}-{n}").status for n in range(AT_ONCE)]
                assert statuses == [500 if n % 10 == 0 else 200 for n in range(AT_ONCE)]
                del peer.sent[1:]  # its REGISTER is asked for
                eventually(lambda: _transaction_threads() == 0, "threads are left over")
                gc.collect()
                memory.append(_resident_bytes())

    assert memory[-1] - memory[WARM] < 8 * 2**20, memory


def _transaction_threads() -> int:
    return sum(thread.name == "transaction" for thread in threading.enumerate())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
