"""What the shim asks of a peer, by what the peer negotiated."""

import hashlib
import threading
from collections.abc import Callable

import pytest
from fabric_protos.peer import proposal_response_pb2
from support.fake_peer import WAIT_SECONDS, FakePeer, Message, Type
from support.shim import run

from chaincode.shim import PeerError, Response, Stub, composite_key
from chaincode.shim.handler import Handler
from chaincode.shim.stub import KeyModification, KeyValue, Page


class Calling:
    def __init__(self, function: Callable[[Stub], object]) -> None:
        self._function = function
        self.result: object = None

    def invoke(self, stub: Stub) -> Response:
        self.result = self._function(stub)
        return Response.success()


def call(peer: FakePeer, function: Callable[[Stub], object]) -> object:
    """Run one transaction; what the function returned, if the peer let it succeed."""
    chaincode = Calling(function)
    reader = threading.Thread(target=run, args=(Handler(chaincode, "p", peer), peer), daemon=True)
    reader.start()
    outcome = peer.transact("t", b"call")
    peer.hang_up()
    reader.join(WAIT_SECONDS)
    assert outcome.status == 200, outcome
    return chaincode.result


def requests(peer: FakePeer) -> list[int]:
    return peer.types()[1:-1]


KEYS = [f"k{number}" for number in range(7)]
STATE = {key: key.encode() for key in KEYS}


# reading


def test_an_absent_key_is_none() -> None:
    assert call(FakePeer(state={"a": b"1"}), lambda s: [s.get_state("a"), s.get_state("b")]) == [
        b"1",
        None,
    ]


@pytest.mark.parametrize(
    ("limit", "kinds"),
    [
        (0, [Type.GET_STATE] * 8),
        (3, [Type.GET_STATE_MULTIPLE] * 3),
        (8, [Type.GET_STATE_MULTIPLE]),
    ],
)
def test_several_keys_are_read_in_as_few_messages_as_negotiated(
    limit: int, kinds: list[int]
) -> None:
    peer = FakePeer(state=dict(STATE), keys=limit)

    values = call(peer, lambda stub: stub.get_states([*KEYS, "absent"]))

    assert values == [*(key.encode() for key in KEYS), None]
    assert requests(peer) == kinds


def test_no_keys_are_no_message() -> None:
    peer = FakePeer(keys=3)
    assert call(peer, lambda stub: stub.get_states([])) == []
    assert requests(peer) == []


def test_a_range_is_read_on_to_its_end() -> None:
    peer = FakePeer(state=dict(STATE), results_per_message=3)

    found = call(peer, lambda stub: list(stub.get_state_by_range("k1", "k6")))

    assert found == [KeyValue(key, key.encode()) for key in KEYS[1:6]]
    assert requests(peer) == [Type.GET_STATE_BY_RANGE, Type.QUERY_STATE_NEXT]


def test_an_open_range_leaves_composite_keys_out() -> None:
    peer = FakePeer(state={"\x00kind\x00a\x00": b"c", **STATE})
    found = call(peer, lambda stub: [entry.key for entry in stub.get_state_by_range("", "")])
    assert found == KEYS


def test_a_range_may_be_left_early_and_another_read_meanwhile() -> None:
    peer = FakePeer(state=dict(STATE))

    def first_two(stub: Stub) -> list[str]:
        outer = stub.get_state_by_range("", "")
        inner = stub.get_state_by_range("k3", "")
        return [next(outer).key, next(inner).key]

    assert call(peer, first_two) == ["k0", "k3"]


def test_pages_follow_their_bookmarks() -> None:
    peer = FakePeer(state=dict(STATE))

    def pages(stub: Stub) -> list[Page]:
        found = [stub.get_state_by_range_page("", "", 3, "")]
        while found[-1].bookmark:
            found.append(stub.get_state_by_range_page("", "", 3, found[-1].bookmark))
        return found

    found = call(peer, pages)

    assert isinstance(found, list)
    assert [[entry.key for entry in page.results] for page in found] == [
        ["k0", "k1", "k2"],
        ["k3", "k4", "k5"],
        ["k6"],
    ]


def test_composite_keys_are_found_by_their_first_parts() -> None:
    state: dict[str, bytes] = {"plain": b"0"}
    for key in (
        "\x00vote\x00p1\x00h1\x00",
        "\x00vote\x00p1\x00h2\x00",
        "\x00vote\x00p10\x00h1\x00",
    ):
        state[key] = b"1"
    peer = FakePeer(state=state)

    def read(stub: Stub) -> object:
        every = [e.key for e in stub.get_state_by_partial_composite_key("vote", ["p1"])]
        page = stub.get_state_by_partial_composite_key_page("vote", ["p1"], 1, "")
        return every, [entry.key for entry in page.results], page.bookmark

    assert call(peer, read) == (
        ["\x00vote\x00p1\x00h1\x00", "\x00vote\x00p1\x00h2\x00"],
        ["\x00vote\x00p1\x00h1\x00"],
        "\x00vote\x00p1\x00h2\x00",
    )


def test_history_is_given_newest_first() -> None:
    peer = FakePeer(past={"k": [b"one", b"two", b""]})
    found = call(peer, lambda stub: list(stub.get_history_for_key("k")))
    assert found == [
        KeyModification("tx2", b"", 2, True, 2),
        KeyModification("tx1", b"two", 1, False, 1),
        KeyModification("tx0", b"one", 0, False),
    ]


def test_all_composite_keys_are_read_by_pages() -> None:
    keys = ["\x00a\x001\x00", "\x00b\x002\x00", "\x00c\x003\x00"]
    peer = FakePeer(state={"plain": b"0", **dict.fromkeys(keys, b"1")})

    def read(stub: Stub) -> list[str]:
        first = stub.get_all_composite_keys_page(2, "")
        second = stub.get_all_composite_keys_page(2, first.bookmark)
        assert second.bookmark == ""
        return [entry.key for entry in (*first.results, *second.results)]

    assert call(peer, read) == keys


RECORDS = {f"r{n}": b'{"ward":"%s","n":%d}' % (b"ab"[n % 2 : n % 2 + 1], n) for n in range(7)}


def test_a_rich_query_is_read_to_its_end() -> None:
    peer = FakePeer(state=dict(RECORDS), rich=True)

    found = call(peer, lambda stub: [e.key for e in stub.get_query_result('{"ward":"a"}')])

    assert found == ["r0", "r2", "r4", "r6"]
    assert requests(peer) == [Type.GET_QUERY_RESULT, Type.QUERY_STATE_NEXT]


def test_pages_of_a_rich_query_end_with_an_empty_one() -> None:
    peer = FakePeer(state=dict(RECORDS), rich=True)

    def pages(stub: Stub) -> list[list[str]]:
        found, bookmark = [], ""
        while True:
            page = stub.get_query_result_page('{"ward":"a"}', 3, bookmark)
            found.append([entry.key for entry in page.results])
            if not page.results:
                return found
            bookmark = page.bookmark

    assert call(peer, pages) == [["r0", "r2", "r4"], ["r6"], []]


def test_a_peer_without_rich_queries_raises() -> None:
    def read(stub: Stub) -> None:
        for query in (
            lambda: list(stub.get_query_result("{}")),
            lambda: stub.get_query_result_page("{}", 1, ""),
        ):
            with pytest.raises(PeerError, match="not supported for leveldb"):
                query()
        with pytest.raises(ValueError, match="not empty"):
            stub.get_query_result("")

    call(FakePeer(), read)


# other chaincodes


def answering(status: int, message: str = "") -> Callable[[list[bytes]], Message]:
    """Another chaincode, which gives its arguments back."""

    def answer(args: list[bytes]) -> Message:
        response = proposal_response_pb2.Response(
            status=status, message=message, payload=b",".join(args)
        )
        return Message(type=Type.COMPLETED, payload=response.SerializeToString())

    return answer


def test_another_chaincode_is_called_here_and_on_another_channel() -> None:
    peer = FakePeer(others={"cc": answering(200), "cc/other": answering(404, "none")})

    def invoke(stub: Stub) -> list[Response]:
        return [
            stub.invoke_chaincode("cc", [b"f", b"1"]),
            stub.invoke_chaincode("cc", [b"g"], "other"),
        ]

    assert call(peer, invoke) == [Response(200, "", b"f,1"), Response(404, "none", b"g")]


def test_a_call_that_the_peer_refuses_or_garbles_raises() -> None:
    broken = Message(type=Type.ERROR, payload=b"it broke")
    garbled = Message(type=Type.COMPLETED, payload=b"\xff")
    peer = FakePeer(others={"broken": lambda _: broken, "garbled": lambda _: garbled})

    def invoke(stub: Stub) -> None:
        for name, words in (
            ("absent", "no chaincode absent"),
            ("broken", "it broke"),
            ("garbled", "cannot be read"),
        ):
            with pytest.raises(PeerError, match=words):
                stub.invoke_chaincode(name, [])
        with pytest.raises(ValueError, match="name"):
            stub.invoke_chaincode("", [])

    call(peer, invoke)


def test_a_keys_policy_is_read() -> None:
    peer = FakePeer(policies={"k": b"policy"})
    found = call(
        peer,
        lambda s: [s.get_state_validation_parameter("k"), s.get_state_validation_parameter("j")],
    )
    assert found == [b"policy", None]


# writing


def write_all(stub: Stub) -> None:
    stub.put_state("b", b"2")
    stub.put_state("a", b"0")
    stub.put_state("a", b"1")
    stub.del_state("gone")
    stub.set_state_validation_parameter("a", b"policy")


@pytest.mark.parametrize(
    ("limit", "kinds"),
    [
        (0, [Type.PUT_STATE, Type.PUT_STATE, Type.DEL_STATE, Type.PUT_STATE_METADATA]),
        (3, [Type.WRITE_BATCH_STATE] * 2),
        (4, [Type.WRITE_BATCH_STATE]),
    ],
)
def test_writes_go_out_in_as_few_messages_as_negotiated(limit: int, kinds: list[int]) -> None:
    peer = FakePeer(state={"gone": b"x", "kept": b"y"}, batch=limit)

    call(peer, write_all)

    assert requests(peer) == kinds
    assert peer.state == {"a": b"1", "b": b"2", "kept": b"y"}
    assert peer.policies == {"a": b"policy"}


def test_reads_do_not_see_the_transactions_own_writes() -> None:
    peer = FakePeer(state={"k": b"old"}, batch=10)

    def read(stub: Stub) -> object:
        stub.put_state("k", b"new")
        stub.put_state("l", b"new")
        return stub.get_state("k"), [entry.key for entry in stub.get_state_by_range("", "")]

    assert call(peer, read) == (b"old", ["k"])
    assert peer.state == {"k": b"new", "l": b"new"}


def test_a_transaction_without_writes_sends_no_batch() -> None:
    peer = FakePeer(batch=10)
    call(peer, lambda stub: None)
    assert requests(peer) == []


# private data


def test_private_values_and_their_hashes_are_read_from_the_collection() -> None:
    peer = FakePeer(state={"k": b"public"}, private={"c": {"k": b"private"}, "d": {}})

    found = call(
        peer,
        lambda s: [
            s.get_private_data("c", "k"),
            s.get_private_data("d", "k"),
            s.get_private_data_hash("c", "k"),
            s.get_private_data_hash("d", "k"),
        ],
    )

    assert found == [b"private", None, hashlib.sha256(b"private").digest(), None]
    assert requests(peer) == [Type.GET_STATE] * 2 + [Type.GET_PRIVATE_DATA_HASH] * 2


@pytest.mark.parametrize(
    ("limit", "kinds"), [(0, [Type.GET_STATE] * 8), (3, [Type.GET_STATE_MULTIPLE] * 3)]
)
def test_several_private_keys_are_read_in_as_few_messages_as_negotiated(
    limit: int, kinds: list[int]
) -> None:
    peer = FakePeer(private={"c": dict(STATE)}, keys=limit)

    values = call(peer, lambda stub: stub.get_multiple_private_data("c", [*KEYS, "absent"]))

    assert values == [*(key.encode() for key in KEYS), None]
    assert requests(peer) == kinds


def test_a_private_range_is_read_on_to_its_end_without_composite_keys() -> None:
    composite = composite_key("kind", ["a"])
    peer = FakePeer(private={"c": {composite: b"v", **STATE}}, results_per_message=3)

    found = call(
        peer,
        lambda s: [
            [entry.key for entry in s.get_private_data_by_range("c", "", "")],
            [entry.key for entry in s.get_private_data_by_partial_composite_key("c", "kind", [])],
        ],
    )

    assert found == [KEYS, [composite]]


def write_private(stub: Stub) -> None:
    stub.purge_private_data("c", "purged")
    stub.del_private_data("c", "gone")
    stub.put_private_data("c", "a", b"1")
    stub.set_private_data_validation_parameter("c", "a", b"policy")
    stub.put_private_data("b", "a", b"2")
    stub.put_state("a", b"public")


@pytest.mark.parametrize(
    ("limit", "kinds"),
    [
        (
            0,
            [
                Type.PUT_STATE,
                Type.PUT_STATE,
                Type.PUT_STATE,
                Type.DEL_STATE,
                Type.PURGE_PRIVATE_DATA,
                Type.PUT_STATE_METADATA,
            ],
        ),
        (4, [Type.WRITE_BATCH_STATE] * 2),
    ],
)
def test_private_writes_go_out_with_the_public_ones(limit: int, kinds: list[int]) -> None:
    peer = FakePeer(private={"c": {"gone": b"x", "purged": b"y"}, "b": {}}, batch=limit)

    call(peer, write_private)

    assert requests(peer) == kinds
    assert peer.state == {"a": b"public"}
    assert peer.private == {"c": {"a": b"1"}, "b": {"a": b"2"}}
    assert peer.purged == [("c", "purged")]
    assert peer.policies == {"c/a": b"policy"}


def test_a_private_keys_policy_is_read() -> None:
    peer = FakePeer(policies={"c/k": b"policy", "j": b"public"})
    found = call(
        peer,
        lambda s: [
            s.get_private_data_validation_parameter("c", "k"),
            s.get_private_data_validation_parameter("c", "j"),
        ],
    )
    assert found == [b"policy", None]


def test_private_values_are_found_by_a_rich_query_of_the_collection() -> None:
    private = {"c": {"a": b'{"ward":"a"}', "b": b'{"ward":"b"}'}}
    peer = FakePeer(state={"d": b'{"ward":"a"}'}, private=private, rich=True)

    query = '{"ward":"a"}'
    found = call(peer, lambda s: [e.key for e in s.get_private_data_query_result("c", query)])

    assert found == ["a"]
