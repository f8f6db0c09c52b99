"""A study in a running consortium: the agents sum, decrypt and record what three hospitals hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.networks import KINDS
from support.training import everyone_decrypts, proven, start_strange, strange_agent, training

from chaincode.schema import studies
from chaincode.schema.consortium import Subject
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.plans import PlanStatus, PlanTerms, ScheduleTerms
from chaincode.schema.studies import (
    Flooding,
    Histogram,
    Statistic,
    StudyDataset,
    StudyPrivacy,
    StudyStatus,
    StudyTerms,
    StudyView,
)
from client.audit import graph, reputations
from client.audit import studies as audited
from client.consortium import Consortium
from client.findings import Findings, findings
from demo import run as demo
from demo.run import PLAN_ID, Run
from network.topology import Kind
from trainer import presets

_plan = presets.plan


EPSILON_MICRO = 1_000_000


def _terms(run: Run, *, noised: bool) -> StudyTerms:
    """Two columns of the records of all hospitals but the last, which holds them."""
    plan = run.ledger.plans.get(plan_id=PLAN_ID).plan.terms
    *owners, holder = plan.participation.participants
    data = plan.data.model_copy(update={"features": plan.data.features[:2], "expected": None})
    drawn = StudyTerms(
        study_id="masses",
        title="Masses",
        plan_id=PLAN_ID,
        data=data,
        levels=100,
        datasets=tuple(StudyDataset(msp_id=o.msp_id, dataset_id=o.dataset_id) for o in owners),
        holder=holder.msp_id,
        statistics=tuple(Statistic),
        histograms=(Histogram(name=data.label),),
        least_records=10,
        most_records=1000,
        flooding=Flooding(scale_bits=10, flood_bits=10),
    )
    if noised:
        privacy = StudyPrivacy(noise_milli=1, quorum=len(owners))
        named = drawn.model_copy(update={"study_id": "noised", "privacy": privacy})
        drawn = studies.calibrated(named, EPSILON_MICRO, presets.DELTA_NANO)
    assert isinstance(plan.encryption, EncryptionTerms)
    fitted = studies.fitted(drawn, plan.encryption, len(plan.hospitals))
    assert fitted is not None
    return fitted


def _untrained(*given: Any, **named: Any) -> PlanTerms:
    """The demonstration's plan, whose rounds are never due: its key alone is wanted."""
    never = ScheduleTerms(first_round_at=2**40)
    return _plan(*given, **named).model_copy(update={"schedule": never})


def _until(seen: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "it does not get there"
        time.sleep(0.1)


def _agree(run: Run, admins: dict[str, Consortium], terms: StudyTerms) -> None:
    first, *others = list(admins.values())[:3]
    first.submit("study:Propose", terms, studies.Study)
    for one in terms.datasets:
        args = {"study_id": terms.study_id, "terms_sha256": terms.sha256}
        admins[one.msp_id].studies.consent(dataset_id=one.dataset_id, **args)
    for admin in (first, *others):
        admin.catch_up(first)
        admin.charter.vote(
            subject=Subject.STUDY,
            subject_id=terms.study_id,
            subject_sha256=terms.sha256,
            approve=True,
        )
        first.catch_up(admin)
    first.studies.advance(study_id=terms.study_id)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_a_running_consortium_studies_records_that_their_holder_cannot_read(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _untrained)
    with training(tmp_path, kind, rounds=1, stage_seconds=60) as run:
        _until(lambda: demo.plan(run).status is PlanStatus.ACTIVE)
        admins = {hospital.msp_id: hospital.admin for hospital in run.hospitals}
        exact, noised = (_terms(run, noised=noised) for noised in (False, True))
        for terms in (exact, noised):
            _agree(run, admins, terms)

        def view(terms: StudyTerms) -> StudyView:
            return run.ledger.studies.get(study_id=terms.study_id)

        over = (StudyStatus.PUBLISHED, StudyStatus.FAILED)
        _until(lambda: all(view(terms).study.status in over for terms in (exact, noised)))
        views, datasets = list(map(view, (exact, noised))), [d.dataset_id for d in exact.datasets]
        held = [run.ledger.datasets.get(dataset_id=name).dataset for name in datasets]
        accounts = run.ledger.datasets.privacy().accounts
        ledger = proven(run, tmp_path / "blocks")

    (found, sums), (about, noisy) = map(_found, views)
    records = sum(d.train_samples + d.validation_samples + d.test_samples for d in held)
    assert found.records == about.records == records
    assert sum(b.records for b in found.histograms[0].bins) == records
    assert found.pairs[0].correlation_micro is not None
    # Of the noise of three owners nothing is as wide as twelve deviations.
    reach = 12 * 3**0.5
    widths = [max(1, noise) * reach for noise in studies.noises(noised)]
    assert all(abs(a - b) <= width for a, b, width in zip(sums, noisy, widths, strict=True))
    assert sum(a != b for a, b in zip(sums, noisy, strict=True)) >= len(sums) - 3
    spent = {a.dataset_id: [one.epsilon_micro for one in a.studies] for a in accounts if a.studies}
    told = studies.spending_of(noised, presets.DELTA_NANO).epsilon_micro
    assert spent == {name: [told] for name in datasets}
    assert told <= EPSILON_MICRO
    assert list(reputations.check(ledger)) == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_a_wrong_share_of_a_study_is_named(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _untrained)
    everyone_decrypts(monkeypatch)
    with training(tmp_path, kind, rounds=1, stage_seconds=60, start=False) as run:
        start_strange(run, {"hospital2": strange_agent("lying")})
        _until(lambda: demo.plan(run).status is PlanStatus.ACTIVE)
        terms, liar = _terms(run, noised=False), run.hospitals[1].msp_id
        _agree(run, {hospital.msp_id: hospital.admin for hospital in run.hospitals}, terms)

        def view() -> StudyView:
            return run.ledger.studies.get(study_id=terms.study_id)

        _until(lambda: view().study.status in (StudyStatus.PUBLISHED, StudyStatus.FAILED))
        failed, ledger = view(), proven(run, tmp_path / "blocks")

    assert failed.study.status is StudyStatus.FAILED
    assert failed.study.failure == "MF-5010"
    assert failed.study.reason.endswith(f"not shown to be right: that of {liar}")
    # It posted a proof; the others found that it does not hold, and nobody waited for a deadline.
    assert (failed.study.unproven, failed.study.absent) == ((liar,), ())
    assert len(failed.proofs) == len(failed.verdicts) == 4
    assert {v.culprits for v in failed.verdicts if v.msp_id != liar} == {(liar,)}
    assert [*audited.check(ledger), *reputations.check(ledger), *graph.check(ledger)] == []


def _found(view: StudyView) -> tuple[Findings, tuple[int, ...]]:
    assert view.study.status is StudyStatus.PUBLISHED, view.study.reason
    assert view.result is not None
    return findings(view.study.terms, view.result.sums), view.result.sums
