"""A study of three hospitals' records, held by the fourth."""

from __future__ import annotations

from typing import Any

from chaincode.schema import studies
from chaincode.schema.data import Category, DataTerms, Feature
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.plans import PlanTerms
from chaincode.schema.studies import (
    Flooding,
    Histogram,
    Selection,
    Statistic,
    StudyDataset,
    StudyTerms,
)
from support.scenario import HOSPITALS, SAMPLES, Scenario, dataset_of, ref, sha

OWNERS, HOLDER = HOSPITALS[:3], HOSPITALS[3]
DATA = DataTerms(
    application="wdbc",
    features=(
        Feature(name="radius", low_micro=5_000_000, high_micro=30_000_000),
        Feature(name="texture", low_micro=9_000_000, high_micro=40_000_000),
        Category(name="ward", codes=("east", "west")),
    ),
    label="malignant",
    classes=("no", "yes"),
)
ALL = {
    "statistics": tuple(Statistic),
    "histograms": (
        Histogram(name="radius", bins=4),
        Histogram(name="ward"),
        Histogram(name="malignant"),
    ),
    "linear": ("radius",),
    "logistic": 1,
}


def study_terms(plan: PlanTerms, study_id: str = "study-1", **changes: Any) -> StudyTerms:
    """Everything that can be asked for, with as much flooding as the plan's key allows."""
    fields = {
        "study_id": study_id,
        "title": "Masses",
        "plan_id": plan.plan_id,
        "data": DATA,
        "levels": 100,
        "datasets": tuple(StudyDataset(msp_id=h, dataset_id=dataset_of(h)) for h in OWNERS),
        "holder": HOLDER,
        "least_records": 10,
        "most_records": 1000,
        "flooding": Flooding(scale_bits=10, flood_bits=10),
        "stage_seconds": 100,
        **ALL,
    }
    drawn = StudyTerms.model_validate({**fields, **changes})
    assert isinstance(plan.encryption, EncryptionTerms)
    fitted = studies.fitted(drawn, plan.encryption, len(plan.hospitals))
    assert fitted is not None
    return fitted


HELD = SAMPLES + 20
"""Records of each dataset of a scenario."""


def everything(terms: StudyTerms) -> list[dict[str, Any]]:
    """All records of a scenario's datasets, as a selection."""
    return [
        Selection(dataset_id=d.dataset_id, first=0, last=HELD).model_dump() for d in terms.datasets
    ]


def deposit_args(plan: PlanTerms, terms: StudyTerms, dataset_id: str) -> dict[str, Any]:
    """What hands a dataset over."""
    assert isinstance(plan.encryption, EncryptionTerms)
    size = {"size_bytes": studies.deposit_bytes(terms, plan.encryption, HELD)}
    content = {**ref(f"records of {dataset_id}"), **size}
    which = {"study_id": terms.study_id, "dataset_id": dataset_id}
    return {**which, "content": content, "records": HELD}


def sum_args(plan: PlanTerms, terms: StudyTerms) -> dict[str, Any]:
    """What the holder says of all records' sum."""
    assert isinstance(plan.encryption, EncryptionTerms)
    size = {"size_bytes": studies.ciphertext_bytes(plan.encryption)}
    total = {**ref(f"sum {terms.study_id}"), **size}
    return {"study_id": terms.study_id, "selection": everything(terms), "sum": total}


def share_args(plan: PlanTerms, terms: StudyTerms, msp_id: str, attempt: int = 1) -> dict[str, Any]:
    """A hospital's share."""
    assert isinstance(plan.encryption, EncryptionTerms)
    size = {"size_bytes": studies.share_bytes(terms, plan.encryption)}
    share = {**ref(f"share of {msp_id}"), **size}
    digest = sha(f"sum {terms.study_id}")
    which = {"study_id": terms.study_id, "attempt": attempt}
    return {**which, "sum_sha256": digest, "share": share}


def found_sums(terms: StudyTerms) -> list[int]:
    """Sums that honest records may give."""
    number = HELD * len(terms.datasets)
    return [number] + [1] * (len(studies.terms_of(terms)) - 1)


class Steps:
    """A study's life on a scenario, in which ``plan``'s key is confirmed."""

    def __init__(self, made: Scenario, plan: PlanTerms, terms: StudyTerms) -> None:
        self.made, self.plan, self.terms = made, plan, terms
        self.which = {"study_id": terms.study_id}

    def propose(self) -> None:
        self.made.do(HOSPITALS[0], "study:Propose", self.terms)

    def consent(self) -> None:
        for one in self.terms.datasets:
            args = {"dataset_id": one.dataset_id, "terms_sha256": self.terms.sha256}
            self.made.do(one.msp_id, "study:Consent", {**self.which, **args})

    def approve(self) -> None:
        for hospital in HOSPITALS[:3]:
            self.made.vote(hospital, "study", self.terms.study_id, self.terms.sha256)

    def deposit(self) -> None:
        for one in self.terms.datasets:
            args = deposit_args(self.plan, self.terms, one.dataset_id)
            self.made.do(one.msp_id, "study:Deposit", args)

    def sum(self) -> None:
        self.made.do(self.terms.holder, "study:Sum", sum_args(self.plan, self.terms))

    def attest(self) -> None:
        args = {**self.which, "sum_sha256": sha(f"sum {self.terms.study_id}")}
        for hospital in HOSPITALS:
            self.made.do(hospital, "study:Attest", args)

    def share(self) -> None:
        for hospital in self.study()["key_holders"]:
            self.made.do(hospital, "study:SubmitShare", share_args(self.plan, self.terms, hospital))

    def find(self) -> None:
        for hospital in HOSPITALS:
            self.made.do(hospital, "study:Find", {**self.which, "sums": found_sums(self.terms)})

    def prove(self, hospital: str) -> None:
        proof = {"proof": ref(f"proof {hospital}")}
        self.made.do(hospital, "study:Prove", {**self.which, **proof})

    def judge(self, verdicts: dict[str, list[str]]) -> None:
        for hospital, culprits in verdicts.items():
            self.made.do(hospital, "study:Judge", {**self.which, "culprits": culprits})

    def advance(self) -> dict[str, Any]:
        return self.made.do(HOSPITALS[1], "study:Advance", self.which)

    def study(self) -> dict[str, Any]:
        return dict(self.made.do(HOSPITALS[1], "study:Get", self.which)["study"])

    def to(self, status: str) -> Steps:
        """Until the study has this status."""
        self.propose()
        for before in ("consent", "approve"):
            getattr(self, before)()
        moves = [("advance",), ("deposit", "advance"), ("sum",), ("attest", "advance")]
        moves += [("share", "advance"), ("find", "advance")]
        for steps in moves:
            if self.study()["status"] == status:
                break
            for step in steps:
                getattr(self, step)()
        assert self.study()["status"] == status
        return self
