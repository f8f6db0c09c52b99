"""What a dishonest member tries by hand, on a running network: each refused with its own code, or
recorded where it belongs; nothing is lost."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2
from support.networks import KINDS
from support.scenario import TRANSPORT_KEY

from chaincode.schema import canonical
from chaincode.schema.base import ContentRef, Empty, Role
from chaincode.schema.ceremonies import CeremonyStatus, commitment
from chaincode.schema.consortium import Subject
from chaincode.schema.errors import MedFabricError
from chaincode.schema.reputation import Evidence
from chaincode.schema.rounds import RoundStatus, RoundView, SubmitUpdateArgs
from client import blocks
from client.audit.transactions import header
from client.connection import Connection
from client.consortium import Consortium
from client.identity import Identity
from demo import run as demo
from demo.run import PLAN_ID, Options, Run

_Flag = transaction_pb2.TxValidationCode
GOOD, WRONG = "ab" * 32, "cd" * 32


@dataclass
class Members:
    """The hospitals' nodes, acting by hand; no agent runs."""

    run: Run
    nodes: list[Consortium]
    replayed: str = ""

    @property
    def first(self) -> Consortium:
        return self.nodes[0]

    def all(self, group: str, name: str, **fields: Any) -> None:
        """Every hospital's node submits, each once it has the others' blocks."""
        for node in self.nodes:
            self.catch_up(node)
            getattr(getattr(node, group), name)(**fields)

    def catch_up(self, node: Consortium) -> None:
        for other in self.nodes:
            node.catch_up(other)

    def advance(self, group: str, **fields: Any) -> None:
        self.catch_up(self.first)
        getattr(self.first, group).advance(**fields)

    def view(self) -> RoundView:
        self.catch_up(self.first)
        return self.first.rounds.get(plan_id=PLAN_ID, number=1)

    def update(self, number: int) -> SubmitUpdateArgs:
        terms = self.run.terms
        assert terms is not None
        participant = terms.participation.participants[number]
        dataset = self.first.datasets.get(dataset_id=participant.dataset_id).dataset
        return SubmitUpdateArgs(
            plan_id=PLAN_ID,
            round=1,
            dataset_id=participant.dataset_id,
            base_sha256=terms.model.base.sha256,
            update=_ref(f"{number:02x}" * 32),
            samples=dataset.train_samples,
            steps=terms.training.steps,
            batch_size=terms.training.batch_size,
            noise_multiplier_micro=terms.privacy.noise_multiplier_micro,
        )


@pytest.fixture(scope="module", params=KINDS)
def members(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Members]:
    options = Options(tmp_path_factory.mktemp("attacks") / "run", request.param, rounds=2)
    with demo.prepared(options, lambda _: None) as run:
        nodes = [_node(run, hospital.slug, "node1") for hospital in run.hospitals]
        yield Members(run, nodes)
        for node in nodes:
            node.close()


def _node(run: Run, slug: str, name: str) -> Consortium:
    layout = run.network.layout
    return Consortium.connect(layout.connection(slug), layout.user(slug, name))


def _ref(sha256: str) -> ContentRef:
    return ContentRef(cid="bafkreiattack", sha256=sha256, size_bytes=100)


def test_a_life_under_attack(members: Members) -> None:
    _votes_and_plans(members)
    _ceremony(members)
    _strangers(members)
    members.first.rounds.open(plan_id=PLAN_ID, number=1)
    _updates(members)
    _attestations(members)
    _shares(members)
    _evaluations(members)


def _votes_and_plans(members: Members) -> None:
    run = members.run
    assert run.terms is not None
    with pytest.raises(MedFabricError, match="MF-2002"):
        run.hospitals[1].admin.charter.vote(
            subject=Subject.PLAN,
            subject_id=PLAN_ID,
            subject_sha256=run.terms.sha256,
            approve=False,
        )
    with pytest.raises(MedFabricError, match="MF-4001"):
        members.first.rounds.open(plan_id=PLAN_ID, number=1)


def _ceremony(members: Members) -> None:
    nonce = secrets.token_hex(32)
    digest = commitment(nonce, GOOD)
    keys = {"commitment_sha256": digest, "transport_key": TRANSPORT_KEY}
    members.all("ceremonies", "commit", plan_id=PLAN_ID, **keys)
    members.advance("ceremonies", plan_id=PLAN_ID)
    members.catch_up(members.nodes[1])
    bound = (GOOD,) * len(members.nodes)
    opening: dict[str, Any] = {"nonce": nonce, "dealing": _ref(GOOD), "bound": bound}
    with pytest.raises(MedFabricError, match="MF-4004"):
        members.nodes[1].ceremonies.reveal(plan_id=PLAN_ID, share=_ref(WRONG), **opening)
    members.all("ceremonies", "reveal", plan_id=PLAN_ID, share=_ref(GOOD), **opening)
    members.advance("ceremonies", plan_id=PLAN_ID)
    members.all("ceremonies", "confirm", plan_id=PLAN_ID, collective_key_sha256=GOOD)
    members.advance("ceremonies", plan_id=PLAN_ID)
    members.catch_up(members.first)
    status = members.first.ceremonies.get(plan_id=PLAN_ID).ceremony.status
    assert status is CeremonyStatus.DONE


def _strangers(members: Members) -> None:
    run = members.run
    hospital, layout = run.network.topology.hospitals[0], run.network.layout
    run.network.enroll(hospital.slug, "intruder", ("trainer", "validator"))
    admin = run.hospitals[0].admin
    with _node(run, hospital.slug, "intruder") as intruder:
        with pytest.raises(MedFabricError, match="MF-1005"):
            intruder.rounds.open(plan_id=PLAN_ID, number=1)
        key = Identity.load(layout.user(hospital.slug, "intruder")).public_key_sha256
        admin.nodes.register(
            node_id="intruder", roles=(Role.VALIDATOR,), public_key_sha256=key, device="laptop"
        )
        admin.nodes.revoke(node_id="intruder", reason="lost")
        with pytest.raises(MedFabricError, match="MF-1006"):
            intruder.rounds.open(plan_id=PLAN_ID, number=1)


def _updates(members: Members) -> None:
    first = members.update(0)
    admin = members.run.hospitals[0].admin
    admin.catch_up(members.first)
    admin.datasets.set_budget(dataset_id=first.dataset_id, budget_epsilon_micro=1)
    with pytest.raises(MedFabricError, match="MF-3002"):
        members.first.rounds.submit_update(first)
    admin.datasets.set_budget(dataset_id=first.dataset_id, budget_epsilon_micro=3_000_000)

    arguments = [b"round:SubmitUpdate", canonical.dumps(first)]
    transaction = members.first.gateway.proposal(arguments).endorse()
    transaction.submit().status().check()
    account = members.first.datasets.get(dataset_id=first.dataset_id).account
    # The very same envelope again: its id is taken, and the account is charged once.
    transaction.submit()
    members.replayed = transaction.transaction_id
    with pytest.raises(MedFabricError, match="MF-5001"):
        members.first.rounds.submit_update(first)

    for number in (1, 2, 3):
        members.catch_up(members.nodes[number])
        members.nodes[number].rounds.submit_update(members.update(number))
    assert members.first.datasets.get(dataset_id=first.dataset_id).account == account
    members.advance("rounds", plan_id=PLAN_ID, number=1)
    assert members.view().round.status is RoundStatus.SEALED


def _attestations(members: Members) -> None:
    liar = members.nodes[3]
    members.catch_up(liar)
    which = {"plan_id": PLAN_ID, "round": 1, "dropped": 0}
    liar.rounds.attest(**which, aggregate_sha256=WRONG, aggregate=_ref(WRONG))
    for node in members.nodes[:3]:
        members.catch_up(node)
        node.rounds.attest(**which, aggregate_sha256=GOOD, aggregate=_ref(GOOD))
    members.advance("rounds", plan_id=PLAN_ID, number=1)

    view = members.view()
    assert view.round.aggregate_sha256 == GOOD
    assert view.round.disagreed == ("Hospital4MSP",)
    assert {a.msp_id: a.aggregate_sha256 for a in view.attestations}["Hospital4MSP"] == WRONG


def _shares(members: Members) -> None:
    share: dict[str, Any] = {"plan_id": PLAN_ID, "round": 1, "attempt": 1, "share": _ref(GOOD)}
    with pytest.raises(MedFabricError, match="MF-5005"):
        members.first.rounds.submit_share(aggregate_sha256=WRONG, **share)
    # The key holders were fixed before: those who attested what was accepted.
    with pytest.raises(MedFabricError, match="MF-1013"):
        members.nodes[3].rounds.submit_share(aggregate_sha256=GOOD, **share)
    for node in members.nodes[:3]:
        members.catch_up(node)
        node.rounds.submit_share(aggregate_sha256=GOOD, **share)
    members.advance("rounds", plan_id=PLAN_ID, number=1)
    assert members.view().round.status is RoundStatus.DECRYPTED


def _evaluations(members: Members) -> None:
    # The shares were of the right form and decrypt nothing: the hospitals say so.
    verdict = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 5}
    members.all("rounds", "evaluate", plan_id=PLAN_ID, round=1, total=10, **verdict)
    members.advance("rounds", plan_id=PLAN_ID, number=1)

    view = members.view()
    assert view.round.status is RoundStatus.FAILED
    assert view.round.failure == "MF-5010"
    assert "MF-6008" in view.round.reason
    reputations = members.first.charter.get(Empty()).reputations
    known = {r.subject_id: r for r in reputations}
    assert known["Hospital4MSP"].tallies[Evidence.AGREEMENT].bad == 1
    assert known["Hospital1MSP"].tallies[Evidence.AGREEMENT].bad == 0
    assert known["Hospital4MSP"].score_milli < known["Hospital1MSP"].score_milli
    plan = members.first.plans.get(plan_id=PLAN_ID).plan
    assert plan.model_sha256 == plan.terms.model.base.sha256


def test_replayed_envelope_stays_without_effect(members: Members) -> None:
    admin = members.run.hospitals[2].admin
    arguments = [
        b"node:Suspend",
        canonical.dumps({"node_id": "node1", "reason": "away"}),
    ]
    transaction = admin.gateway.proposal(arguments).endorse()
    transaction.submit().status().check()
    admin.nodes.resume(node_id="node1")

    transaction.submit()
    _restart_orderers(members.run)
    transaction.submit()
    # Ordered after the replay: once this is committed, so is that.
    admin.nodes.suspend(node_id="node1", reason="again")
    admin.nodes.resume(node_id="node1")

    node = admin.nodes.get(msp_id="Hospital3MSP", node_id="node1")
    assert node.status.value == "ACTIVE"
    flags = _flags(members.run, transaction.transaction_id)
    assert flags[0] == _Flag.VALID
    assert set(flags[1:]) == {_Flag.DUPLICATE_TXID}
    assert _flags(members.run, members.replayed)[0] == _Flag.VALID
    assert set(_flags(members.run, members.replayed)[1:]) <= {_Flag.DUPLICATE_TXID}


def _restart_orderers(run: Run) -> None:
    # SmartBFT's orderers pass over what they have ordered, silently, as long as they remember it.
    names = [name for name in run.network.names() if name.endswith(".orderer")]
    for name in names:
        run.network.kill(name)
    for name in names:
        run.network.restart(name)


def _flags(run: Run, transaction_id: str) -> list[int]:
    """The verdict that the ledger holds on every envelope with this id, in order."""
    layout, hospital = run.network.layout, run.network.topology.hospitals[2]
    identity = Identity.load(layout.user(hospital.slug, "auditor"))
    found = []
    for _, raw in blocks.deliver(Connection.load(layout.connection(hospital.slug)), identity):
        block = blocks.parse(raw)
        flags = block.metadata.metadata[common_pb2.BlockMetadataIndex.TRANSACTIONS_FILTER]
        for flag, envelope in zip(flags, block.data.data, strict=False):
            if header(envelope)[1].tx_id == transaction_id:
                found.append(flag)
    return found
