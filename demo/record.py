"""``run.json``: what a demo run was and what came of it. Documented in docs/reference/run.md.

Fields are added, never renamed or removed, while ``version`` is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from client.audit.card import ModelCard
from trainer.report.ledger import Account, Link, Share
from trainer.report.quality import Quality
from trainer.report.resources import Resources


class Network(BaseModel):
    """``kind``: fabric or devnet. ``version``: of the peer binary, empty on the devnet."""

    kind: str
    version: str
    hospitals: list[str]


class Data(BaseModel):
    """What was trained on. ``simulated`` data is never real patients'. ``drift``: where the plan
    says what records should look like, what each hospital's report says of each column."""

    name: str
    application: str
    simulated: bool
    partition: str
    train_records: dict[str, int]
    validation_records: dict[str, int]
    test_records: int
    drift: dict[str, dict[str, str]] = {}


class Stage(BaseModel):
    """One kind of duty in one round, over all hospitals: the slowest, and the bytes of all."""

    task: str
    seconds: float
    bytes: int


class NodeRecord(Resources):
    """What taking part took of one node."""

    hospital: str


class RoundRecord(BaseModel):
    """``accuracy``: of the model that is in force after the round, on the held-out test records.
    ``fedavg_accuracy``: of the unprotected baseline after as many rounds. ``epsilon``: spent by
    each hospital's dataset so far."""

    number: int
    status: str
    reason: str
    accuracy: float
    train_accuracy: float
    fedavg_accuracy: float
    validation_correct: int
    validation_total: int
    contributors: int
    missing: list[str]
    epsilon: dict[str, float]
    update_bytes: int
    ledger_bytes: int
    seconds: float
    stages: list[Stage]


class Baselines(BaseModel):
    """Trained in the same run on the same split, without protection."""

    centralised_accuracy: float
    fedavg_accuracy: float


class Audit(BaseModel):
    verdict: Literal["proven", "refuted"]
    blocks: int
    transactions: int
    seconds: float
    findings: list[str]


class Timing(BaseModel):
    stage: str
    seconds: float


class RunRecord(BaseModel):
    """The whole run. ``quality``: of the last model in force on the held-out test records.
    ``fairness``: how each hospital judged it. ``accounts``: as they stand at the end. ``lineage``:
    how the models came to be. ``card``: None where the ledger was not proven."""

    version: Literal[1] = 1
    started: str
    seconds: float
    peak_memory_mb: float
    network: Network
    store: str
    data: Data
    plan_id: str
    epsilon_limit: float
    delta: float
    rounds: list[RoundRecord]
    nodes: list[NodeRecord]
    baselines: Baselines
    final_accuracy: float
    final_train_accuracy: float
    quality: Quality
    fairness: list[Share]
    accounts: list[Account]
    lineage: list[Link]
    card: ModelCard | None
    model_address: str
    model_cid: str
    identical_models: bool = Field(description="all hospitals hold the same bytes")
    audit: Audit
    timings: list[Timing]

    def write(self, folder: Path) -> Path:
        """Write ``run.json`` into ``folder``."""
        path = folder / "run.json"
        path.write_text(self.model_dump_json(indent=1) + "\n")
        return path
