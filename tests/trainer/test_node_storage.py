"""Validators answer, check and conclude challenges by themselves, each from its own copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.ledger_gateway import LedgerGateway
from support.pki import make_authority, make_identity
from support.scenario import HOSPITALS, at, sha
from support.scripted_gateway import serve

from chaincode.schema.base import Role
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.storage import PendingChallenge
from client.connection import Connection
from client.consortium import Consortium
from client.content import DirectoryStore
from trainer.node.agent import Agent
from trainer.node.config import DirectoryStoreConfig, NodeConfig
from trainer.node.duties import Me, Task
from trainer.node.home import Home
from trainer.node.main import build
from trainer.node.storage import owed

ONE, TWO, THREE, FOUR = HOSPITALS
CONTENT = b"a model's bytes" * 50
DAY = 24 * 3600


@dataclass
class House:
    """One hospital's administrator, its validator's agent, its own store."""

    admin: Consortium
    agent: Agent
    store: DirectoryStore
    folder: Path
    home: Home


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[dict[str, House]]:
    service, authority = LedgerGateway(), make_authority()
    service.ledger = at("founded").ledger
    with ExitStack() as stack:
        file, _ = stack.enter_context(serve(service, authority, tmp_path))
        connection = Connection.load(file)

        def house(msp_id: str) -> House:
            boss = make_identity(authority, "boss", msp_id=msp_id, roles=(Role.ADMIN,))
            admin = stack.enter_context(Consortium.connect(connection, boss))
            keeper = make_identity(authority, "keeper", msp_id=msp_id, roles=(Role.VALIDATOR,))
            admin.nodes.register(
                node_id="keeper",
                roles=(Role.VALIDATOR,),
                public_key_sha256=keeper.public_key_sha256,
                device="server",
            )
            folder = tmp_path / msp_id / "store"
            home = Home(tmp_path / msp_id / "home")
            stack.callback(home.close)
            config = NodeConfig(
                connection=file,
                identity=tmp_path,
                home=home.folder,
                store=DirectoryStoreConfig(folder=folder),
            )
            ledger = stack.enter_context(Consortium.connect(connection, keeper))
            agent = build(config, keeper, ledger, home)
            return House(admin, agent, DirectoryStore(folder), folder, home)

        yield {msp_id: house(msp_id) for msp_id in HOSPITALS}


def asked(houses: dict[str, House], *keeping: str) -> str:
    """A challenge of the second hospital to the first, of content that some keep."""
    for msp_id in keeping:
        content = houses[msp_id].store.put(CONTENT)
        houses[msp_id].admin.storage.hold(content=content, until=4_000_000_000)
    challenge = houses[TWO].admin.storage.challenge(
        holder=ONE, sha256=content.sha256, answer_seconds=DAY
    )
    return challenge.challenge


def pending(houses: dict[str, House]) -> tuple[PendingChallenge, ...]:
    return houses[FOUR].admin.storage.pending().pending


def test_agents_prove_possession_without_anybody_at_the_keyboard(houses: dict[str, House]) -> None:
    challenge = asked(houses, ONE, TWO, THREE)

    for msp_id in (ONE, THREE, FOUR, TWO, TWO):
        houses[msp_id].agent.run(once=True)

    view = houses[FOUR].admin.storage.get(challenge=challenge)
    assert view.challenge.status == "PROVEN"
    # The fourth keeps no copy, and says nothing.
    assert [check.msp_id for check in view.checks] == [TWO, THREE]
    assert pending(houses) == ()


def test_an_agent_without_a_good_copy_leaves_the_challenge_unanswered(
    houses: dict[str, House],
) -> None:
    challenge = asked(houses, ONE, TWO, THREE)
    (file,) = houses[ONE].folder.iterdir()
    file.write_bytes(b"x" * len(CONTENT))

    with pytest.raises(MedFabricError, match=Code.CONTENT_TAMPERED):
        houses[ONE].agent.run(once=True)

    assert houses[FOUR].admin.storage.get(challenge=challenge).challenge.status == "OPEN"


def test_agents_refute_a_made_up_answer(houses: dict[str, House]) -> None:
    challenge = asked(houses, ONE, TWO, THREE)
    houses[ONE].admin.storage.answer(challenge=challenge, answer_sha256=sha("made up"))

    for msp_id in (ONE, THREE, TWO):
        houses[msp_id].agent.run(once=True)

    assert houses[FOUR].admin.storage.get(challenge=challenge).challenge.status == "REFUTED"


def test_only_who_is_asked_answers_and_nobody_checks_before(
    houses: dict[str, House],
) -> None:
    asked(houses, ONE, TWO)
    (challenge,) = pending(houses)
    validator = frozenset({Role.VALIDATOR})
    tasks = {h: owed(Me(h, "keeper", validator), challenge) for h in HOSPITALS}

    assert {h: duty and duty.task for h, duty in tasks.items()} == {
        ONE: Task.ANSWER_CHALLENGE,
        TWO: None,
        THREE: None,
        FOUR: None,
    }


def test_a_challenge_is_pending_until_it_is_concluded() -> None:
    made = at("founded")
    content = {"cid": "abc", "sha256": sha("x"), "size_bytes": 3}
    made.do(ONE, "storage:Hold", {"content": content, "until": made.now + 10_000}, "admin")
    args = {"holder": ONE, "sha256": sha("x"), "answer_seconds": 100}
    challenge = made.do(TWO, "storage:Challenge", args, "admin")["challenge"]

    (open_,) = made.do(THREE, "storage:Pending", {}, "auditor")["pending"]
    made.wait(200)
    (overdue,) = made.do(THREE, "storage:Pending", {}, "auditor")["pending"]
    made.do(TWO, "storage:Conclude", {"challenge": challenge}, "admin")

    assert (open_["conclusion"], overdue["conclusion"]) == (None, "MISSED")
    assert made.do(THREE, "storage:Pending", {}, "auditor")["pending"] == []
