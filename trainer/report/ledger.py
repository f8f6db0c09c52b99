"""What the ledger says of a plan's course, as reports show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from chaincode.schema.datasets import DatasetView
from chaincode.schema.rounds import RoundView


class Link(BaseModel):
    """A round and the model that it gave, None where it failed, from a base and datasets."""

    round: int
    base: str
    model: str | None
    datasets: list[str]


class Share(BaseModel):
    """How a model did on one hospital's own validation records."""

    hospital: str
    correct: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """None where there is no record."""
        return self.correct / self.total if self.total else None


class Account(BaseModel):
    """A dataset's privacy account: epsilons at its delta."""

    hospital: str
    dataset_id: str
    spent: float
    budget: float
    delta: float

    @property
    def left(self) -> float:
        """What the hospital still allows."""
        return max(0.0, self.budget - self.spent)


def links(rounds: Iterable[RoundView]) -> list[Link]:
    """How models came from datasets, round by round."""
    return [_link(view) for view in rounds]


def shares(rounds: Sequence[RoundView]) -> list[Share]:
    """How each hospital judged the model of the last round that published one; else none."""
    published = [view for view in rounds if view.round.model_sha256 is not None]
    if not published:
        return []
    model = published[-1].round.model_sha256
    return [
        Share(hospital=e.msp_id, correct=e.correct, total=e.total)
        for e in published[-1].evaluations
        if e.candidate is not None and e.candidate.sha256 == model
    ]


def account(view: DatasetView) -> Account:
    """As committed."""
    found = view.account
    return Account(
        hospital=view.dataset.msp_id,
        dataset_id=found.dataset_id,
        spent=found.epsilon_micro / 1e6,
        budget=found.budget_epsilon_micro / 1e6,
        delta=found.delta_nano / 1e9,
    )


def _link(view: RoundView) -> Link:
    used = {(one.msp_id, one.node_id) for one in view.round.contributions}
    return Link(
        round=view.round.number,
        base=view.round.base_sha256,
        model=view.round.model_sha256,
        datasets=sorted(u.dataset_id for u in view.updates if (u.msp_id, u.node_id) in used),
    )
