"""The admins' part of the demonstration, each hospital acting for itself: found the consortium,
register nodes and datasets, agree the plan."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chaincode.schema import consortium as o
from chaincode.schema import datasets as d
from chaincode.schema import hospitals as b
from chaincode.schema import plans as p
from chaincode.schema.base import Empty, Language, Role
from chaincode.schema.errors import Code, MedFabricError
from client.consortium import Consortium
from client.identity import Identity

Result = TypeVar("Result", bound=Language)

# What a peer says of what another hospital has just committed and it has not received yet.
_NOT_THERE_YET = frozenset({Code.NOT_YET, Code.NOT_FOUND, Code.NOT_FOUNDED})
_PATIENCE = 20.0


@dataclass(frozen=True)
class Hospital:
    """One hospital of the demonstration, seen from its admin's desk."""

    slug: str
    msp_id: str
    folder: Path
    admin: Consortium

    def user(self, name: str) -> Path:
        """Folder of an identity of this hospital."""
        return self.folder / "users" / name

    def submit(self, name: str, args: Language, result: type[Result]) -> Result:
        """Submit as this hospital's admin, once its peer has what the others committed."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self.admin.submit(name, args, result)
            except MedFabricError as error:
                if error.code not in _NOT_THERE_YET or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


def found(hospitals: list[Hospital], name: str) -> o.ConsortiumView:
    """Propose the charter, have every founder vote for it, carry it out."""
    founders = tuple(o.Founder(msp_id=h.msp_id, name=h.slug) for h in hospitals)
    first, *others = hospitals
    args = o.FoundArgs(name=name, hospitals=founders)
    charter = first.submit("consortium:Found", args, o.Consortium)
    for hospital in others:
        vote(hospital, o.Subject.CHARTER, name, charter.charter_sha256)
    subject = o.SubjectArgs(subject=o.Subject.CHARTER, subject_id=name)
    first.submit("consortium:Advance", subject, o.Ballot)
    return first.admin.evaluate("consortium:Get", Empty(), o.ConsortiumView)


def vote(hospital: Hospital, subject: o.Subject, subject_id: str, sha256: str) -> None:
    """One hospital's vote in favour."""
    args = o.VoteArgs(subject=subject, subject_id=subject_id, subject_sha256=sha256, approve=True)
    hospital.submit("consortium:Vote", args, o.Vote)


def register_node(hospital: Hospital, node_id: str, device: str) -> None:
    """Register a node of the hospital with the key in its certificate."""
    identity = Identity.load(hospital.user(node_id))
    args = o.RegisterNodeArgs(
        node_id=node_id,
        roles=tuple(Role(role) for role in sorted(identity.roles)),
        public_key_sha256=identity.public_key_sha256,
        device=device,
    )
    hospital.submit("node:Register", args, o.Node)


def register_dataset(hospital: Hospital, args: d.RegisterDatasetArgs) -> None:
    """Register the hospital's dataset and its budget."""
    hospital.submit("dataset:Register", args, d.DatasetView)


def agree_plan(hospitals: list[Hospital], terms: p.PlanTerms, datasets: Mapping[str, str]) -> None:
    """Propose the plan, consent to it and approve it, hospital by hospital.

    Args:
        datasets: dataset id by hospital slug; whoever has none votes, and takes no part.
    """
    first, *others = hospitals
    first.submit("plan:Propose", terms, p.PlanState)
    hidden = terms.privacy.hospital
    for hospital in hospitals:
        if hospital.slug not in datasets:
            continue
        if hidden is not None:
            budget = b.HospitalBudgetArgs(
                budget_epsilon_micro=hidden.epsilon_micro, delta_nano=hidden.delta_nano
            )
            hospital.submit("hospital:SetBudget", budget, b.HospitalAccount)
        consent = d.ConsentArgs(
            dataset_id=datasets[hospital.slug], plan_id=terms.plan_id, terms_sha256=terms.sha256
        )
        hospital.submit("dataset:Consent", consent, d.Consent)
    for hospital in (first, *others):
        vote(hospital, o.Subject.PLAN, terms.plan_id, terms.sha256)
    try:
        first.submit("plan:Advance", p.PlanArgs(plan_id=terms.plan_id), p.PlanState)
    except MedFabricError as error:
        if error.code != Code.ALREADY:
            raise
