"""Holdings, challenges, answers and checks, computed from real copies in real stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.ledger_gateway import LedgerGateway
from support.pki import make_identity
from support.scenario import HOSPITALS, Scenario, at, ref, sha
from support.scripted_gateway import serve

from chaincode.schema import keys
from chaincode.schema.base import ContentRef, Role
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.storage import possession
from client import possession as possessions
from client.cli.main import cli
from client.connection import Connection
from client.consortium import Consortium
from client.content import DirectoryStore

ONE, TWO, THREE, FOUR = HOSPITALS
CONTENT = b"a model's bytes" * 50


@dataclass
class House:
    """One hospital's admin and its own store."""

    consortium: Consortium
    store: DirectoryStore
    folder: Path


@pytest.fixture
def houses(authority, tmp_path) -> Iterator[dict[str, House]]:
    service = LedgerGateway()
    service.ledger = at("founded").ledger
    with ExitStack() as stack:
        file, _ = stack.enter_context(serve(service, authority, tmp_path))
        made = {}
        for msp_id in HOSPITALS:
            identity = make_identity(authority, "admin", msp_id=msp_id, roles=(Role.ADMIN,))
            consortium = stack.enter_context(Consortium.connect(Connection.load(file), identity))
            folder = tmp_path / msp_id
            made[msp_id] = House(consortium, DirectoryStore(folder), folder)
        yield made


def held(houses: dict[str, House]) -> ContentRef:
    """Everybody has a copy; the first hospital says that it keeps it."""
    refs = {house.store.put(CONTENT) for house in houses.values()}
    (content,) = refs
    houses[ONE].consortium.storage.hold(content=content, until=4_000_000_000)
    return content


def asked(houses: dict[str, House]) -> str:
    content = held(houses)
    args = {"holder": ONE, "sha256": content.sha256, "answer_seconds": 3600}
    return houses[TWO].consortium.storage.challenge(**args).challenge


def test_a_holder_proves_that_it_has_the_content_to_those_who_have_it(houses):
    challenge = asked(houses)

    possessions.answer(houses[ONE].consortium, houses[ONE].store, challenge)
    for msp_id in (TWO, THREE):
        possessions.check(houses[msp_id].consortium, houses[msp_id].store, challenge)
    done = houses[FOUR].consortium.storage.conclude(challenge=challenge)

    assert done.status == "PROVEN"
    view = houses[FOUR].consortium.storage.get(challenge=challenge)
    assert [check.msp_id for check in view.checks] == [TWO, THREE]


def test_a_damaged_copy_cannot_answer(houses):
    challenge = asked(houses)
    (file,) = houses[ONE].folder.iterdir()
    file.write_bytes(b"x" * len(CONTENT))

    with pytest.raises(MedFabricError, match=Code.CONTENT_TAMPERED):
        possessions.answer(houses[ONE].consortium, houses[ONE].store, challenge)


def test_a_made_up_answer_is_refuted_by_those_who_have_the_content(houses):
    challenge = asked(houses)

    houses[ONE].consortium.storage.answer(challenge=challenge, answer_sha256=sha("made up"))
    for msp_id in (TWO, THREE):
        possessions.check(houses[msp_id].consortium, houses[msp_id].store, challenge)

    done = houses[ONE].consortium.storage.conclude(challenge=challenge)
    assert done.status == "REFUTED"


def test_no_check_gives_the_answer_away_before_it_stands(houses):
    challenge = asked(houses)

    with pytest.raises(MedFabricError, match=Code.NOT_YET):
        possessions.check(houses[TWO].consortium, houses[TWO].store, challenge)


# Time and rules, on the contracts alone.


def challenged() -> tuple[Scenario, str]:
    made = at("founded")
    made.do(ONE, "storage:Hold", {"content": ref("x"), "until": made.now + 10_000}, "admin")
    args = {"holder": ONE, "sha256": sha("x"), "answer_seconds": 100}
    return made, made.do(TWO, "storage:Challenge", args, "admin")["challenge"]


def test_an_answer_that_is_missed_or_late_is_recorded_so():
    made, challenge = challenged()
    which = {"challenge": challenge}
    answer = {**which, "answer_sha256": sha("y")}
    assert made.refused(TWO, "storage:Conclude", which, "admin").code == Code.NOT_YET
    made.wait(200)

    assert made.do(TWO, "storage:Conclude", which, "admin")["status"] == "MISSED"
    assert made.do(ONE, "storage:Answer", answer, "admin")["status"] == "LATE"
    assert made.refused(ONE, "storage:Answer", answer, "admin").code == Code.BAD_STATE
    assert made.refused(TWO, "storage:Conclude", which, "admin").code == Code.ALREADY


def test_the_nonce_is_the_transaction_that_asked():
    made, challenge = challenged()

    assert made.asset(keys.challenge(challenge))["challenge"] == challenge
    asked_in = made.ledger.past[keys.composite(keys.challenge(challenge))][-1]
    assert asked_in.tx_id == challenge


def test_few_checks_decide_only_once_all_had_their_time():
    made, challenge = challenged()
    which = {"challenge": challenge}
    answer = {**which, "answer_sha256": sha("y")}
    made.do(ONE, "storage:Answer", answer, "admin")
    assert made.refused(ONE, "storage:Check", answer, "admin").code == Code.BAD_ARGUMENT
    made.do(TWO, "storage:Check", answer, "admin")
    refused = made.refused(TWO, "storage:Check", answer, "admin")
    assert refused.code == Code.DUPLICATE_CONTRIBUTION
    assert made.refused(TWO, "storage:Conclude", which, "admin").code == Code.NOT_YET

    made.wait(200)

    assert made.do(TWO, "storage:Conclude", which, "admin")["status"] == "PROVEN"


def test_holdings_are_extended_and_never_shortened():
    made = at("founded")
    until = made.now + 1000
    hold = {"content": ref("x"), "until": until}
    made.do(ONE, "storage:Hold", hold, "admin")

    made.do(ONE, "storage:Hold", {**hold, "until": until + 1}, "admin")
    assert made.refused(ONE, "storage:Hold", hold, "admin").code == Code.BAD_STATE
    past = {**hold, "until": made.now - 1}
    assert made.refused(TWO, "storage:Hold", past, "admin").code == Code.BAD_ARGUMENT
    made.do(TWO, "storage:Hold", hold, "admin")
    found = made.do(THREE, "storage:Holders", {"sha256": sha("x")}, "auditor")["holdings"]
    assert [(one["msp_id"], one["until"]) for one in found] == [(ONE, until + 1), (TWO, until)]
    made.wait(5000)
    args = {"holder": ONE, "sha256": sha("x"), "answer_seconds": 100}
    assert made.refused(TWO, "storage:Challenge", args, "admin").code == Code.BAD_STATE
    args = {**args, "holder": TWO}
    assert made.refused(TWO, "storage:Challenge", args, "admin").code == Code.BAD_ARGUMENT


def test_only_the_challenged_hospital_answers():
    made, challenge = challenged()
    args = {"challenge": challenge, "answer_sha256": sha("y")}

    assert made.refused(TWO, "storage:Answer", args, "admin").code == Code.NOT_OWNER


@given(st.binary(max_size=50), st.binary(max_size=50), st.text("ab", min_size=1, max_size=3))
def test_no_two_different_questions_have_the_same_answer(content, other, holder):
    answer = possession(sha("n"), holder, [content])

    assert (answer == possession(sha("n"), holder, [other])) is (content == other)
    assert answer != possession(sha("m"), holder, [content])
    assert answer != possession(sha("n"), holder + "a", [content])
    # The holder's name does not run into the content.
    assert answer != possession(sha("n"), holder[:-1] or "c", [holder[-1:].encode() + content])


def test_a_challenge_is_carried_out_at_the_command_line(houses, authority, tmp_path):
    for msp_id in (ONE, TWO, THREE):
        make_identity(authority, "boss", msp_id=msp_id, roles=(Role.ADMIN,)).save(
            tmp_path / "users" / msp_id
        )

    def run(msp_id: str, *words: str) -> Any:
        options = ["--identity", str(tmp_path / "users" / msp_id), "--json"]
        connection = ["--connection", str(tmp_path / "connection.json")]
        result = CliRunner().invoke(cli, ["admin", "storage", *words, *options, *connection])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    (tmp_path / "file").write_bytes(CONTENT)
    store = ("--store", str(tmp_path / "shared"))
    content = run(ONE, "hold", str(tmp_path / "file"), "--days", "30", *store)["content"]["sha256"]
    challenge = run(TWO, "challenge", ONE, content)["challenge"]
    run(ONE, "answer", challenge, *store)
    for msp_id in (TWO, THREE):
        run(msp_id, "check", challenge, *store)

    assert run(TWO, "conclude", challenge)["status"] == "PROVEN"
    assert [row["status"] for row in run(TWO, "challenges")] == ["PROVEN"]
    assert [row["hospital"] for row in run(TWO, "holders", content)] == [ONE]
