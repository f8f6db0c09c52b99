"""A training under faults: killed processes come back and lose nothing; those that stay away, and
content that was tampered with, are named on the ledger."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.networks import FABRIC, KINDS
from support.training import begun, ended, everyone_decrypts, soon_over, training, until

from chaincode.schema.reputation import Rated
from chaincode.schema.rounds import RoundStatus, RoundView
from demo import run as demo
from demo.run import Run
from network.processes import Spec
from network.topology import Kind

_EXPLODING, _LYING = (
    Path(__file__).parents[1] / "support" / f"{name}_agent.py" for name in ("exploding", "lying")
)
LEDGER = {Kind.DEVNET: ["devnet"], Kind.FABRIC: ["hospital4.peer", "hospital4.orderer"]}
"""Processes that keep the ledger."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_processes_come_back_and_every_round_is_published(
    kind: Kind, tmp_path: Path
) -> None:
    with training(tmp_path / "run", kind, rounds=3, stage_seconds=100) as run:
        until(run, 1, lambda view: view.round.status is RoundStatus.OPEN)
        run.agents.kill("hospital2")
        until(run, 1, lambda view: len(view.updates) >= 2)
        run.agents.restart("hospital2")
        first = until(run, 1, ended)

        until(run, 2, begun)
        run.network.kill("hospital3.chaincode")
        run.network.restart("hospital3.chaincode")
        second = until(run, 2, ended)

        until(run, 3, lambda view: view.round.status is RoundStatus.OPEN)
        for name in LEDGER[kind]:
            run.network.kill(name)
            run.network.restart(name)
        third = until(run, 3, ended)

    for view in (first, second, third):
        assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
        assert len(view.round.contributions) == 4
        assert view.round.missing == ()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", [FABRIC])
def test_rounds_end_while_an_orderer_is_down_and_wait_for_a_peer(
    kind: Kind, tmp_path: Path
) -> None:
    with training(tmp_path / "run", kind, rounds=3, stage_seconds=100) as run:
        until(run, 1, lambda view: view.round.status is RoundStatus.OPEN)
        # The first is the leader when the network is new.
        run.network.kill("hospital1.orderer")
        without = until(run, 1, ended)
        run.network.restart("hospital1.orderer")

        until(run, 2, lambda view: view.round.status is RoundStatus.OPEN)
        run.network.kill("hospital4.peer")
        waiting = until(run, 2, lambda view: len(view.updates) >= 3)
        run.network.restart("hospital4.peer")
        after = until(run, 2, ended)
        last = until(run, 3, ended)

    assert not ended(waiting)
    for view in (without, after, last):
        assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
        assert len(view.round.contributions) == 4


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_tampered_content_and_absent_hospitals_are_named(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon_over(monkeypatch)
    with training(tmp_path / "run", kind, rounds=3, stage_seconds=8) as run:
        store = tmp_path / "run" / "content"

        first = until(run, 1, begun)
        _tamper(store, first)
        healed = until(run, 1, ended)

        # One hospital submits alone and is gone; the others come when its content is tampered with.
        others = ["hospital2", "hospital3", "hospital4"]
        for slug in others:
            run.agents.kill(slug)
        alone = until(run, 2, begun)
        run.agents.kill("hospital1")
        _tamper(store, alone)
        for slug in others:
            run.agents.restart(slug)
        unusable = until(run, 2, ended)

        missing = until(run, 3, ended)

    assert healed.round.status is RoundStatus.PUBLISHED, healed.round.reason
    assert {o.subject_sha256 for o in healed.objections} == {first.updates[0].update.sha256}
    assert {o.code for o in healed.objections} == {"MF-7021"}
    lost = alone.updates[0]
    assert unusable.round.status is RoundStatus.FAILED
    assert unusable.round.failure == "MF-5012"
    assert f"{lost.node_id} of {lost.msp_id}" in unusable.round.reason
    assert [(n.msp_id, n.node_id) for n in missing.round.missing] == [(lost.msp_id, lost.node_id)]
    assert len(missing.round.contributions) == 3
    # Three of four decrypt: who stays away is named, and loses nobody the round.
    assert missing.round.status is RoundStatus.PUBLISHED, missing.round.reason
    assert missing.round.absent == (lost.msp_id,)
    assert lost.msp_id not in missing.round.key_holders
    assert missing.round.base_sha256 == healed.round.model_sha256


def _tamper(store: Path, view: RoundView) -> None:
    """Change the content of the first update where everybody fetches it."""
    path = next(p for p in store.rglob("*") if p.name.startswith(view.updates[0].update.cid))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_share_that_decrypts_nothing_fails_the_round_that_needs_everybody(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone_decrypts(monkeypatch)
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=60, start=False) as run:
        _start(run, "hospital4", _LYING)
        failed = until(run, 1, ended)
        address = demo.plan(run).model_sha256

    assert failed.round.status is RoundStatus.FAILED
    assert failed.round.failure == "MF-5010"
    assert "MF-6008" in failed.round.reason
    assert {e.failure for e in failed.evaluations} == {"MF-6008"}
    assert address == failed.round.base_sha256


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_wrong_shares_is_found_where_others_can_decrypt(
    kind: Kind, tmp_path: Path
) -> None:
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=60, start=False) as run:
        _start(run, "hospital2", _LYING)
        view = until(run, 1, ended)
        liar, honest = run.hospitals[1].msp_id, run.hospitals[0].msp_id
        known = {
            msp_id: run.ledger.reputations.get(subject=Rated.HOSPITAL, subject_id=msp_id)
            for msp_id in (liar, honest)
        }

    assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
    assert (view.round.left_out, view.round.attempt) == (liar, 3)
    assert len(view.round.contributions) == 4
    shares = {msp_id: found.tallies["share"] for msp_id, found in known.items()}
    assert (shares[liar].good, shares[liar].bad) == (0, 1)
    assert (shares[honest].good, shares[honest].bad) == (1, 0)


def _start(run: Run, slug: str, agent: Path) -> None:
    """All agents; of this hospital another one, in its place and stopped with the others."""
    spec = Spec(f"{slug}.agent", [sys.executable, str(agent)], {}, run.agents.home(slug))
    run.network.processes.start(spec)
    for hospital in run.hospitals:
        if hospital.slug != slug:
            run.agents.restart(hospital.slug)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_update_that_is_no_number_stays_home_and_the_round_goes_on(
    kind: Kind, tmp_path: Path
) -> None:
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=100, start=False) as run:
        broken = run.hospitals[3]
        _start(run, broken.slug, _EXPLODING)
        view = until(run, 1, ended)
        accounts = run.ledger.datasets.privacy().accounts

    assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
    assert [n.msp_id for n in view.round.missing] == [broken.msp_id]
    assert len(view.round.contributions) == 3
    # Nobody waited for the deadline.
    assert view.round.changed_at - view.round.opened_at < 60
    (declined,) = view.declines
    assert (declined.msp_id, declined.code) == (broken.msp_id, "MF-9013")
    # Who declined has spent as much as the others.
    assert [spent.updates for account in accounts for spent in account.plans] == [1] * 4
    log = run.network.processes.log(f"{broken.slug}.agent").read_text()
    assert "MF-9013" in log
    assert "not finite" in log
