"""A training under faults: killed processes come back and lose nothing; those that stay away, and
content that was tampered with, are named on the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.networks import FABRIC, KINDS
from support.training import (
    all_attest,
    begun,
    ended,
    everyone_decrypts,
    proven,
    soon_over,
    start_strange,
    strange_agent,
    tied,
    training,
    two_are_enough,
    until,
)

from chaincode.schema.reputation import Evidence, Rated
from chaincode.schema.rounds import RoundStatus, RoundView
from client.audit import graph, lineage, reputations, rounds
from demo import run as demo
from network.topology import Kind

_EXPLODING, _LYING, _SPOILING, _UNSOUND = (
    strange_agent(name) for name in ("exploding", "lying", "spoiling", "unsound")
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
def test_tampered_content_is_mended_by_its_owner_or_dropped(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon_over(monkeypatch)
    with training(tmp_path / "run", kind, rounds=2, stage_seconds=12) as run:
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
        until(run, 2, lambda view: view.round.dropped != ())
        run.agents.restart("hospital1")
        without = until(run, 2, ended)

    assert healed.round.status is RoundStatus.PUBLISHED, healed.round.reason
    assert healed.round.dropped == ()
    assert {o.subject_sha256 for o in healed.objections} == {first.updates[0].update.sha256}
    assert {o.code for o in healed.objections} == {"MF-7021"}
    lost = alone.updates[0]
    assert without.round.status is RoundStatus.PUBLISHED, without.round.reason
    (dropped,) = without.round.dropped
    assert (dropped.msp_id, dropped.update_sha256) == (lost.msp_id, lost.update.sha256)
    assert dropped.code == "MF-7021"
    assert len(without.round.contributions) == 3
    assert without.round.base_sha256 == healed.round.model_sha256


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_updates_that_cannot_be_summed_are_dropped_and_the_round_goes_on(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_are_enough(monkeypatch)
    tied(monkeypatch)
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=30, start=False) as run:
        start_strange(run, {"hospital3": _SPOILING, "hospital4": _UNSOUND})
        view = until(run, 1, ended)
        contents = {
            hospital.msp_id: run.ledger.reputations.get(
                subject=Rated.HOSPITAL, subject_id=hospital.msp_id
            ).tallies.get(Evidence.CONTENT)
            for hospital in run.hospitals
        }
        ledger = proven(run, tmp_path / "blocks")

    assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
    honest, spoiling, unsound = (
        [h.msp_id for h in some]
        for some in (run.hospitals[:2], run.hospitals[2:3], run.hospitals[3:])
    )
    assert {d.msp_id: d.code for d in view.round.dropped} == {
        spoiling[0]: "MF-7021",
        unsound[0]: "MF-6011",
    }
    assert [c.msp_id for c in view.round.contributions] == honest
    assert len({c.weight for c in view.round.contributions}) == 1
    # Had anybody waited for the stage's deadline, the round would have failed.
    assert view.round.absent == ()
    assert [tally.bad if tally else 0 for tally in contents.values()] == [0, 0, 1, 1]
    assert [*rounds.check(ledger), *reputations.check(ledger), *graph.check(ledger)] == []
    assert view.round.model_sha256 is not None
    (step, _) = lineage.of(ledger, view.round.model_sha256).steps
    assert len(step.updates) == 2
    assert {fact.says["code"] for fact in step.objections} == {"MF-7021", "MF-6011"}


def _tamper(store: Path, view: RoundView) -> None:
    """Change the content of the first update where everybody fetches it."""
    path = next(p for p in store.rglob("*") if p.name.startswith(view.updates[0].update.cid))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_a_wrong_share_is_named_where_everybody_is_needed(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone_decrypts(monkeypatch)
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=60, start=False) as run:
        start_strange(run, {"hospital4": _LYING})
        failed = until(run, 1, ended)
        address = demo.plan(run).model_sha256
        liar = run.hospitals[3].msp_id
        shares = {
            hospital.msp_id: run.ledger.reputations.get(
                subject=Rated.HOSPITAL, subject_id=hospital.msp_id
            ).tallies.get(Evidence.SHARE)
            for hospital in run.hospitals
        }
        ledger = proven(run, tmp_path / "blocks")

    assert failed.round.status is RoundStatus.FAILED
    assert failed.round.failure == "MF-5010"
    assert "MF-6008" in failed.round.reason
    assert f"not shown to be right: that of {liar}" in failed.round.reason
    assert {e.failure for e in failed.evaluations} == {"MF-6008"}
    # It posted a proof; the others found that it does not hold.
    assert failed.round.unproven == (liar,)
    assert len(failed.proofs) == len(failed.verdicts) == 4
    assert {v.culprits for v in failed.verdicts if v.msp_id != liar} == {(liar,)}
    assert failed.round.absent == ()
    assert {h for h, tally in shares.items() if tally} == {liar}
    assert [*rounds.check(ledger), *reputations.check(ledger), *graph.check(ledger)] == []
    assert address == failed.round.base_sha256


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_wrong_shares_is_found_where_others_can_decrypt(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_attest(monkeypatch)
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=60, start=False) as run:
        start_strange(run, {"hospital2": _LYING})
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


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_update_that_is_no_number_stays_home_and_the_round_goes_on(
    kind: Kind, tmp_path: Path
) -> None:
    with training(tmp_path / "run", kind, rounds=1, stage_seconds=100, start=False) as run:
        broken = run.hospitals[3]
        start_strange(run, {broken.slug: _EXPLODING})
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
