"""Masked rounds of whole nodes on the real contracts: honest ones, nodes that drop out, and nodes
that deal wrongly."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ceremony import Facade
from support.hiding import hiding, set_budgets
from support.masking import masked_terms
from support.replayed import proven
from support.scenario import HOSPITALS, PLAN, SAMPLES, STEPS, at, dataset_of

from chaincode.schema.ceremonies import CeremonyView
from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import Plan, PlanArgs
from chaincode.schema.rounds import RoundPage, RoundPageArgs, RoundView
from client.audit import rounds as audit
from client.content.directory import DirectoryStore
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.courses import Courses
from trainer.node.duties import Duty, Snapshot, Task
from trainer.node.home import Home
from trainer.node.masks import MaskKeeper
from trainer.node.rounds import Rounds
from trainer.privacy.discrete_gaussian import clipped, sample
from trainer.privacy.masking import MaskSecrets
from trainer.privacy.sampling import Stream
from trainer.randomness import Secrets
from trainer.training import Trained

ONE, TWO, THREE, FOUR = HOSPITALS
TERMS = masked_terms(PLAN)
LEVELS, CLIP = 32_767, 8.0


class _Learner:
    """Learns a fixed update; a model is the mean that it came from."""

    records_sha256 = "ab" * 32
    training = TERMS.training
    privacy = TERMS.privacy

    def __init__(self, msp_id: str) -> None:
        self.dataset_id = dataset_of(msp_id)
        seed = HOSPITALS.index(msp_id)
        self.delta = np.random.default_rng(seed).normal(0, 1, TERMS.model.parameters)

    def train(self, *_: object) -> Trained:
        return Trained(self.delta, SAMPLES, STEPS, 0.1)

    def apply(self, _: bytes, mean: np.ndarray) -> bytes:
        return bytes(mean.tobytes())

    def evaluate(self, _: bytes) -> tuple[int, int]:
        return 19, 20


class Nodes:
    """A node of each hospital, on a plan whose key ceremony is over."""

    def __init__(self, folder: Path) -> None:
        self.scenario = at("enrolled")
        if TERMS.hides_hospitals:
            set_budgets(self.scenario)
        for step in (self.scenario.propose, self.scenario.consent, self.scenario.approve):
            step(TERMS)
        store = DirectoryStore(folder / "store")
        self.homes = {h: Home(folder / h) for h in HOSPITALS}
        self.masks: dict[str, MaskKeeper] = {}
        self.keys: dict[str, KeyKeeper] = {}
        self.rounds: dict[str, Rounds] = {}
        for hospital, home in self.homes.items():
            facade: Any = Facade(self.scenario, hospital)
            exchange, made = Exchange(store, home, facade), Secrets()
            keys = KeyKeeper(hospital, facade, home, exchange, made)
            place = (hospital, "node1")
            masks = MaskKeeper(place, facade, home, exchange, keys, made)
            learner: Any = _Learner(hospital)
            courses = Courses(home, made)
            rounds = Rounds(
                place, facade, home, exchange, keys, masks, courses, lambda _, one=learner: one
            )
            rounds.base_model = lambda _: b"base"  # type: ignore[method-assign]
            self.keys[hospital], self.masks[hospital] = keys, masks
            self.rounds[hospital] = rounds
        for keys in self.keys.values():
            keys.commit(Duty(Task.COMMIT_KEY, PLAN), self.now())
        self.scenario.advance_ceremony(TERMS)
        self.scenario.open(TERMS)

    def now(self) -> Snapshot:
        args = PlanArgs(plan_id=PLAN)
        plan = self.scenario.do(ONE, "plan:Get", args)["plan"]
        ceremony = self.scenario.do(ONE, "ceremony:Get", args)
        view = None
        if plan["rounds_opened"]:
            got = self.scenario.do(ONE, "round:Get", RoundPageArgs(plan_id=PLAN, number=1))
            view = RoundView.of([RoundPage.model_validate_json(json.dumps(got))])
        return Snapshot(
            Plan.model_validate_json(json.dumps(plan)),
            CeremonyView.model_validate_json(json.dumps(ceremony)),
            view,
            HOSPITALS,
        )

    def key(self, *who: str) -> None:
        for hospital in who:
            self.masks[hospital].post_keys(Duty(Task.POST_MASK_KEYS, PLAN, 1), self.now())
        self.scenario.advance(TERMS)

    def do(self, step: str, *who: str) -> None:
        for hospital in who:
            getattr(self.rounds[hospital], step)(Duty(Task.ATTEST, PLAN, 1), self.now())

    def to_sum(self, *present: str) -> None:
        self.do("submit_update", *present)
        if len(present) < 4:
            self.scenario.wait()
        self.scenario.advance(TERMS)
        self.do("attest", ONE, TWO, THREE)
        self.scenario.advance(TERMS)

    def end(self, *who: str) -> dict[str, Any]:
        self.do("unmask", *who)
        self.scenario.advance(TERMS)
        self.do("evaluate", *HOSPITALS)
        return self.scenario.advance(TERMS)

    def model(self) -> np.ndarray:
        (posted,) = {e.candidate.sha256 for e in self.now().round.evaluations if e.candidate}  # type: ignore[union-attr]
        content = self.homes[ONE].content(posted)
        assert content is not None
        return np.frombuffer(content.read_bytes())


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    return Nodes(tmp_path)


def _mean(*present: str) -> np.ndarray:
    """Of quantised updates of equal weight."""
    whole = [np.rint(_Learner(h).delta * (LEVELS / CLIP)) for h in present]
    return np.asarray(sum(whole) / (LEVELS * len(present)) * CLIP)


def test_the_model_is_the_mean_of_all_updates(nodes: Nodes) -> None:
    nodes.key(*HOSPITALS)
    nodes.to_sum(*HOSPITALS)

    assert nodes.end(TWO, THREE, FOUR)["status"] == "PUBLISHED"
    assert nodes.model() == pytest.approx(_mean(*HOSPITALS), abs=1e-12)


@pytest.mark.parametrize("present", [HOSPITALS, (ONE, TWO, THREE)])
def test_the_decrypted_sum_is_that_of_clipped_updates_and_everybody_s_discrete_noise(
    present: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "TERMS", hiding(TERMS))
    streams = iter([Stream(bytes([number]) * 32) for number in range(4)])
    drawn = [sample(1500, 4, Stream(bytes([number]) * 32)) for number in range(4)]
    monkeypatch.setattr("trainer.node.rounds.fresh", lambda: next(streams))
    nodes = Nodes(tmp_path)
    nodes.key(*HOSPITALS)
    nodes.to_sum(*present)

    assert nodes.end(ONE, TWO, THREE)["status"] == "PUBLISHED"
    summed = nodes.model() * len(present) * LEVELS / CLIP
    wanted = sum(
        clipped(_Learner(h).delta * (LEVELS / CLIP), 4000) + noise
        for h, noise in zip(present, drawn, strict=False)
    )
    assert summed == pytest.approx(wanted, abs=1e-6)
    told = nodes.scenario.do(ONE, "hospital:Privacy")["accounts"]
    sums = {account["msp_id"]: [plan["sums"] for plan in account["plans"]] for account in told}
    assert sums == {h: [1] if h in present else [] for h in HOSPITALS}


def test_a_node_that_drops_out_leaves_no_mask_in_the_model(nodes: Nodes) -> None:
    nodes.key(*HOSPITALS)
    nodes.to_sum(ONE, TWO, THREE)

    assert nodes.end(ONE, TWO, THREE)["status"] == "PUBLISHED"
    assert nodes.model() == pytest.approx(_mean(ONE, TWO, THREE), abs=1e-12)


def test_an_update_that_is_none_is_dropped_and_leaves_no_mask_in_the_model(nodes: Nodes) -> None:
    nodes.masks[FOUR].masked = lambda *_: iter([b"rubbish"])  # type: ignore[method-assign]
    nodes.key(*HOSPITALS)
    nodes.do("submit_update", *HOSPITALS)
    nodes.scenario.advance(TERMS)
    for hospital in (ONE, TWO, THREE):
        with pytest.raises(MedFabricError, match="MF-6001"):
            nodes.do("attest", hospital)
    (dropped,) = nodes.scenario.advance(TERMS)["dropped"]
    nodes.do("attest", ONE, TWO, THREE)
    nodes.scenario.advance(TERMS)

    assert (dropped["msp_id"], dropped["code"]) == (FOUR, "MF-6001")
    assert nodes.end(ONE, TWO, THREE)["status"] == "PUBLISHED"
    assert nodes.model() == pytest.approx(_mean(ONE, TWO, THREE), abs=1e-12)
    assert list(audit.check(proven(nodes.scenario.ledger))) == []


def test_a_node_whose_dealing_one_hospital_cannot_open_costs_nothing(nodes: Nodes) -> None:
    dealing = nodes.masks[FOUR]._dealing
    # For the first hospital another share than the one that is bound: it is left empty.
    nodes.masks[FOUR]._dealing = lambda now, s, shares: dealing(now, s, [(1, 1), *shares[1:]])  # type: ignore[method-assign]
    nodes.key(*HOSPITALS)
    nodes.to_sum(*HOSPITALS)
    nodes.do("unmask", *HOSPITALS)
    shares = [u.shares for u in nodes.now().round.unmaskings]  # type: ignore[union-attr]
    nodes.scenario.advance(TERMS)
    nodes.do("evaluate", *HOSPITALS)

    assert [bool(share) for share in shares[0]] == [True, True, True, False]
    assert all(all(row) for row in shares[1:])
    assert nodes.scenario.advance(TERMS)["status"] == "PUBLISHED"
    assert nodes.model() == pytest.approx(_mean(*HOSPITALS), abs=1e-12)


def test_a_node_that_binds_what_is_not_its_secret_fails_the_round(nodes: Nodes) -> None:
    honest = nodes.masks[FOUR]._secrets

    def wrong(now: Snapshot) -> MaskSecrets:
        secrets = honest(now)
        dealt = MaskSecrets(b"x" * 32, b"another")
        secrets.shares = dealt.shares  # type: ignore[method-assign]
        return secrets

    nodes.masks[FOUR]._secrets = wrong  # type: ignore[method-assign]
    nodes.key(*HOSPITALS)
    nodes.to_sum(*HOSPITALS)

    failed = nodes.end(ONE, TWO, THREE)

    assert failed["status"] == "FAILED"
    assert "MF-5019" in failed["reason"]


def test_a_round_s_secret_is_its_owner_s_and_gone_when_the_next_begins(nodes: Nodes) -> None:
    home = nodes.homes[ONE]
    home.secret(PLAN, lambda: b"of the round before", "mask-0")
    nodes.key(*HOSPITALS)

    (left,) = (home.folder / "plans" / PLAN).glob("mask-*")
    assert left.name == "mask-1"
    assert left.stat().st_mode & 0o777 == 0o600
    assert len(left.read_bytes()) == 32


def test_a_hospital_unmasks_no_sum_but_its_own(nodes: Nodes) -> None:
    nodes.key(*HOSPITALS)
    nodes.to_sum(*HOSPITALS)
    now = nodes.now()
    assert now.round is not None
    forged = now.round.round.model_copy(update={"aggregate_sha256": "ab" * 32})
    lied = Snapshot(
        now.plan, now.ceremony, now.round.model_copy(update={"round": forged}), HOSPITALS
    )

    with pytest.raises(MedFabricError, match="MF-9106"):
        nodes.rounds[ONE].unmask(Duty(Task.UNMASK, PLAN, 1), lied)


def test_the_ceremony_of_a_masked_plan_is_one_post_of_each_hospital(nodes: Nodes) -> None:
    view = nodes.now().ceremony

    assert view is not None
    assert view.ceremony.status == "DONE"
    assert len({c.transport_key for c in view.commitments}) == 4
