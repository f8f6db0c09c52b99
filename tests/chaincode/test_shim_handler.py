"""The shim's state machine, without a network."""

import logging
import sys
import threading
from collections.abc import Callable

import pytest
from fabric_protos.peer import chaincode_shim_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_peer import WAIT_SECONDS, FakePeer, Message, Type
from support.shim import Scripted, done, run, serving

from chaincode.shim import PeerError, Response, Stub
from chaincode.shim.handler import Handler, Limits
from chaincode.shim.metrics import StreamState

# registration


def test_registers_under_its_package_id_and_becomes_ready() -> None:
    peer = FakePeer()

    with serving(peer, done=done) as handler:
        assert peer.transact("t", b"done").payload == b"done"

        assert peer.registered_as == "medfabric:hash"
        assert handler.state is StreamState.READY


def test_keepalive_is_echoed_in_every_state() -> None:
    peer = FakePeer()
    peer.tell(Type.KEEPALIVE)

    with serving(peer, done=done):
        peer.transact("t", b"done")
        peer.tell(Type.KEEPALIVE)

        peer.await_sent(Type.KEEPALIVE, 2)


@pytest.mark.parametrize(
    "kinds",
    [
        [Type.READY],
        [Type.TRANSACTION],
        [Type.ERROR],
        [Type.REGISTERED, Type.REGISTERED],
        [Type.REGISTERED, Type.RESPONSE],
    ],
)
def test_gives_the_stream_up_when_registration_goes_wrong(kinds: list[int]) -> None:
    peer = FakePeer()
    for kind in kinds:
        peer.tell(kind)

    run(Handler(Scripted(), "p", peer), peer)

    assert peer.types() == [Type.REGISTER]


def test_unreadable_parameters_end_the_stream() -> None:
    peer = FakePeer()
    peer.tell(Type.REGISTERED)
    peer.tell(Type.READY, b"\xff\xff")

    run(Handler(Scripted(), "p", peer), peer)

    assert peer.types() == [Type.REGISTER]


def test_a_transaction_sees_the_clients_signature_and_the_peers_decorations() -> None:
    peer = FakePeer()

    def tell(stub: Stub) -> Response:
        return Response.success(stub.signature + stub.decorations["by"])

    with serving(peer, tell=tell):
        peer.begin("t", b"tell", decorations={"by": b"peer"})
        assert peer.outcome("t").payload == b"speer"


# answers


def test_writes_go_out_before_the_answer_and_events_with_it() -> None:
    peer = FakePeer(batch=100)

    def put(stub: Stub) -> Response:
        stub.put_state("k", b"v")
        stub.set_event("put", b"k")
        return Response.success()

    with serving(peer, put=put):
        outcome = peer.transact("t", b"put")

    assert (outcome.status, outcome.event) == (200, ("put", b"k"))
    assert peer.types() == [Type.REGISTER, Type.WRITE_BATCH_STATE, Type.COMPLETED]
    assert peer.state == {"k": b"v"}


def test_a_refusal_writes_nothing_and_has_no_event() -> None:
    peer = FakePeer(batch=100)

    def refuse(stub: Stub) -> Response:
        stub.put_state("k", b"v")
        stub.set_event("put", b"k")
        return Response.refusal("MF-1002: no")

    with serving(peer, refuse=refuse):
        outcome = peer.transact("t", b"refuse")

    assert (outcome.status, outcome.message) == (400, "MF-1002: no")
    assert outcome.event is None
    assert peer.types() == [Type.REGISTER, Type.COMPLETED]


def test_an_exception_is_status_500_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    peer = FakePeer()

    def fail(stub: Stub) -> Response:
        stub.put_state("k", b"v")
        raise ValueError(f"secret {stub.args[1].decode()}")

    with serving(peer, fail=fail), caplog.at_level(logging.DEBUG):
        outcome = peer.transact("0123456789abcdef", b"fail", b"patient 17")

    assert outcome.status == 500
    assert outcome.message.startswith("MF-1099")
    assert peer.state == {}
    assert "patient" not in outcome.message
    assert "patient" not in caplog.text
    assert "secret" not in caplog.text
    assert "tx=01234567 the chaincode failed: ValueError at" in caplog.text
    assert "89abcdef" not in caplog.text


def test_even_an_exit_is_answered() -> None:
    peer = FakePeer()

    with serving(peer, leave=lambda stub: sys.exit(1), done=done):
        assert peer.transact("t", b"leave").status == 500
        assert peer.transact("u", b"done").status == 200


def test_what_is_no_response_is_answered_with_an_error() -> None:
    peer = FakePeer()

    with serving(peer, nothing=lambda stub: None, done=done):  # type: ignore[arg-type,return-value]
        assert peer.transact("t", b"nothing").error == "internal error of the shim"
        assert peer.transact("u", b"done").status == 200


def test_an_error_frame_is_raised_and_becomes_status_500() -> None:
    peer = FakePeer(refused={Type.GET_STATE})
    raised: list[str] = []

    def get(stub: Stub) -> Response:
        try:
            stub.get_state("k")
        except PeerError as error:
            raised.append(str(error))
            raise
        return Response.success()

    with serving(peer, get=get, done=done):
        outcome = peer.transact("t", b"get")
        assert peer.transact("u", b"done").status == 200

    assert raised == [f"{Type.GET_STATE} refused"]
    assert outcome.status == 500
    assert outcome.message.startswith("MF-1502")


def test_refused_writes_turn_success_into_status_500() -> None:
    peer = FakePeer(refused={Type.WRITE_BATCH_STATE}, batch=10)

    def put(stub: Stub) -> Response:
        stub.put_state("k", b"v")
        stub.set_event("put", b"k")
        return Response.success()

    with serving(peer, put=put):
        outcome = peer.transact("t", b"put")

    assert outcome.status == 500
    assert outcome.event is None


def test_a_message_over_the_limit_fails_its_transaction_alone() -> None:
    peer = FakePeer(batch=10)

    def answer(stub: Stub) -> Response:
        return Response.success(bytes(2000))

    def write(stub: Stub) -> Response:
        stub.put_state("k", bytes(2000))
        return Response.success()

    with serving(peer, Limits(message_bytes=1000), answer=answer, write=write, done=done):
        assert peer.transact("t", b"answer").status == 500
        assert peer.transact("u", b"write").status == 500
        assert peer.transact("v", b"done").status == 200
    assert peer.state == {}


def test_a_transaction_without_a_proposal_or_input_is_refused() -> None:
    peer = FakePeer()
    with serving(peer, done=done):
        peer.transact("t", b"done")

        peer.tell(Type.TRANSACTION, b"\xff", "unreadable", "medfabric")
        assert "cannot be read" in peer.outcome("unreadable").error
        proposal = chaincode_shim_pb2.ChaincodeMessage(
            type=Type.TRANSACTION, txid="garbled", channel_id="medfabric"
        )
        proposal.proposal.proposal_bytes = b"\xff"
        peer.incoming.put(proposal)
        assert "cannot be read" in peer.outcome("garbled").error

        assert peer.transact("u", b"done").status == 200


# many at once


def test_transactions_do_not_wait_for_one_another() -> None:
    peer = FakePeer(state={"k": b"v"}, unanswered={Type.GET_HISTORY_FOR_KEY})

    def stuck(stub: Stub) -> Response:
        return Response.success(str(list(stub.get_history_for_key("k"))).encode())

    with serving(peer, stuck=stuck, done=done, get=lambda s: Response.success(s.get_state("k"))):
        peer.begin("stuck", b"stuck")
        peer.await_sent(Type.GET_HISTORY_FOR_KEY)
        for number in range(20):
            assert peer.transact(f"t{number}", b"get").payload == b"v"

        peer.tell(Type.ERROR, b"given up", "stuck", "medfabric")
        assert peer.outcome("stuck").status == 500


def test_answers_reach_their_own_transaction() -> None:
    peer = FakePeer(state={f"k{number}": f"v{number}".encode() for number in range(40)})
    together = threading.Barrier(40)

    def get(stub: Stub) -> Response:
        together.wait(WAIT_SECONDS)
        key = stub.args[1].decode()
        values = {stub.get_state(key) for _ in range(20)}
        return Response.success(b",".join(value or b"" for value in values))

    with serving(peer, get=get):
        for number in range(40):
            peer.begin(f"t{number}", b"get", f"k{number}".encode())
        for number in range(40):
            assert peer.outcome(f"t{number}").payload == f"v{number}".encode()


def test_the_same_transaction_runs_once_at_a_time_and_may_come_again() -> None:
    peer = FakePeer()
    go = threading.Event()

    def wait(stub: Stub) -> Response:
        go.wait(WAIT_SECONDS)
        return Response.success()

    with serving(peer, wait=wait):
        peer.begin("t", b"wait")
        peer.begin("t", b"wait")
        assert "already running" in peer.outcome("t").error
        go.set()
        assert peer.outcome("t").status == 200
        assert peer.transact("t", b"wait").status == 200


def test_an_unasked_answer_is_not_taken_for_the_next_one() -> None:
    peer = FakePeer(state={"k": b"right"})
    go = threading.Event()

    def get(stub: Stub) -> Response:
        go.wait(WAIT_SECONDS)
        return Response.success(stub.get_state("k") or b"")

    with serving(peer, get=get):
        peer.begin("t", b"get")
        peer.tell(Type.RESPONSE, b"wrong", "t", "medfabric")
        peer.tell(Type.RESPONSE, b"wrong", "unknown", "medfabric")
        peer.tell(Type.KEEPALIVE)
        peer.await_sent(Type.KEEPALIVE)
        go.set()
        assert peer.outcome("t").payload == b"right"


def test_out_of_place_messages_do_not_touch_a_running_transaction() -> None:
    peer = FakePeer()
    go = threading.Event()

    def wait(stub: Stub) -> Response:
        go.wait(WAIT_SECONDS)
        return Response.success()

    with serving(peer, wait=wait):
        peer.begin("t", b"wait")
        for kind in (Type.REGISTERED, Type.READY, Type.PUT_STATE, 99):
            peer.tell(kind, b"x", "t", "medfabric")
        peer.tell(Type.KEEPALIVE)
        peer.await_sent(Type.KEEPALIVE)
        go.set()
        assert peer.outcome("t").status == 200
    assert peer.types() == [Type.REGISTER, Type.KEEPALIVE, Type.COMPLETED]


def test_the_streams_end_raises_in_whoever_waits_or_asks_later() -> None:
    peer = FakePeer(unanswered={Type.GET_STATE})
    errors: list[str] = []
    ended = threading.Event()

    def get(stub: Stub) -> Response:
        for _ in range(2):
            try:
                stub.get_state("k")
            except PeerError as error:
                errors.append(str(error))
        ended.set()
        return Response.success()

    with serving(peer, get=get):
        peer.begin("t", b"get")
        peer.await_sent(Type.GET_STATE)
    assert ended.wait(WAIT_SECONDS)

    assert len(errors) == 2
    assert Type.COMPLETED not in peer.types()


def test_a_stub_is_dead_after_its_transaction_and_belongs_to_one_thread() -> None:
    peer = FakePeer(unanswered={Type.GET_STATE})
    kept: list[Stub] = []
    raised: list[type[BaseException]] = []

    def keep(stub: Stub) -> Response:
        kept.append(stub)
        return Response.success()

    def two(stub: Stub) -> Response:
        def ask() -> None:
            with pytest.raises(PeerError):
                stub.get_state("a")

        other = threading.Thread(target=ask)
        other.start()
        peer.await_sent(Type.GET_STATE)
        try:
            stub.get_state("b")
        except RuntimeError as error:
            raised.append(type(error))
        return Response.success()

    with serving(peer, keep=keep, two=two):
        peer.transact("t", b"keep")
        with pytest.raises(PeerError, match="ended"):
            kept[0].get_state("k")

        assert peer.transact("u", b"two").status == 200
        assert raised == [RuntimeError]


def test_draining_finishes_what_runs_and_begins_nothing() -> None:
    peer = FakePeer()
    go = threading.Event()

    def wait(stub: Stub) -> Response:
        go.wait(WAIT_SECONDS)
        return Response.success()

    with serving(peer, wait=wait, done=done) as handler:
        peer.begin("t", b"wait")
        peer.tell(Type.KEEPALIVE)
        peer.await_sent(Type.KEEPALIVE)
        handler.drain()
        assert "stopping" in peer.transact("u", b"done").error
        assert not handler.wait_idle(0.01)

        go.set()
        assert handler.wait_idle(WAIT_SECONDS)
        assert peer.outcome("t").status == 200


# garbage

MESSAGES = st.builds(
    Message,
    type=st.integers(0, 30),
    payload=st.binary(max_size=60),
    txid=st.sampled_from(["", "t", "u"]),
    channel_id=st.sampled_from(["", "medfabric"]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES, max_size=12), st.booleans())
def test_garbage_never_raises_and_never_stalls(messages: list[Message], ready: bool) -> None:
    peer = FakePeer()
    if not ready:
        for message in messages:
            peer.incoming.put(message)

    handler = Handler(Scripted(done=done), "p", peer)
    reader = threading.Thread(target=run, args=(handler, peer), daemon=True)
    reader.start()
    if ready:
        assert peer.transact("before", b"done").status == 200
        for message in messages:
            peer.incoming.put(message)
        assert peer.transact("after", b"done").status == 200
    peer.hang_up()
    reader.join(WAIT_SECONDS)

    assert not reader.is_alive()
    assert handler.wait_idle(WAIT_SECONDS)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=4), st.integers(0, 4))
def test_garbage_answers_end_in_a_response(answers: list[bytes], which: int) -> None:
    reads: list[Callable[[Stub], object]] = [
        lambda stub: stub.get_states(["a", "b"]),
        lambda stub: list(stub.get_state_by_range("", "")),
        lambda stub: stub.get_state_by_range_page("", "", 3, ""),
        lambda stub: list(stub.get_history_for_key("a")),
        lambda stub: stub.get_state_validation_parameter("a"),
    ]
    peer = FakePeer(keys=10, scripted=answers)

    def read(stub: Stub) -> Response:
        reads[which](stub)
        return Response.success()

    with serving(peer, read=read):
        outcome = peer.transact("t", b"read")

    assert outcome.status == 200 or outcome.message.startswith("MF-1502")
