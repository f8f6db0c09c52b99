"""A plan's key ceremony by whole nodes, on the contracts in memory and a store that they share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from chaincode.schema.base import ContentRef, Language
from chaincode.schema.ceremonies import CeremonyStatus, CeremonyView
from chaincode.schema.plans import Plan, PlanArgs, PlanTerms
from support.scenario import HOSPITALS, Scenario, at, terms
from trainer.node.ceremony import KeyKeeper
from trainer.node.duties import Duty, Snapshot, Task
from trainer.node.home import Home
from trainer.randomness import Secrets

ONE = HOSPITALS[0]
_STAGES = {
    "commit": CeremonyStatus.COMMIT,
    "reveal": CeremonyStatus.REVEAL,
    "confirm": CeremonyStatus.CONFIRM,
    "judge": CeremonyStatus.JUDGE,
}
Answer = TypeVar("Answer", bound=Language)


class Facade:
    """A hospital's connection to the ledger."""

    def __init__(self, scenario: Scenario, msp_id: str) -> None:
        self._scenario, self._msp_id = scenario, msp_id

    def submit(self, name: str, args: Language, _: type[Language]) -> dict[str, Any]:
        return self._scenario.do(self._msp_id, name, args, "node1")

    def evaluate(self, name: str, args: Language, model: type[Answer]) -> Answer:
        result = self._scenario.do(self._msp_id, name, args, "node1")
        return model.model_validate_json(json.dumps(result))


class Exchange:
    """A store that all nodes share, and a dealer's own hand on what it puts there."""

    def __init__(self, home: Home, store: dict[str, bytes]) -> None:
        self._home, self._store = home, store
        self.spoil: Callable[[bytes], bytes] = lambda content: content

    def release(self, content: bytes) -> ContentRef:
        content = self.spoil(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._store[sha256] = content
        return ContentRef(cid="abc", sha256=sha256, size_bytes=len(content))

    def release_kept(self, sha256: str) -> ContentRef:
        path = self._home.content(sha256)
        assert path is not None
        self._store[sha256] = path.read_bytes()
        return ContentRef(cid="abc", sha256=sha256, size_bytes=path.stat().st_size)

    def fetch(self, ref: ContentRef) -> bytes:
        return self._store[ref.sha256]


class Ceremony:
    """Four nodes and a plan; by default of all of them, of whom any three decrypt."""

    def __init__(self, folder: Path, plan: PlanTerms | None = None) -> None:
        self.terms = plan or _of_three()
        self.scenario = at("enrolled")
        for step in (self.scenario.propose, self.scenario.consent, self.scenario.approve):
            step(self.terms)
        store: dict[str, bytes] = {}
        self.exchanges = {h: Exchange(Home(folder / h), store) for h in HOSPITALS}
        self.keepers = {
            h: KeyKeeper(h, Facade(self.scenario, h), exchange._home, exchange, Secrets())  # type: ignore[arg-type]
            for h, exchange in self.exchanges.items()
        }

    def now(self) -> Snapshot:
        args = PlanArgs(plan_id=self.terms.plan_id)
        plan = self.scenario.do(ONE, "plan:Get", args)["plan"]
        view = self.scenario.do(ONE, "ceremony:Get", args)
        return Snapshot(
            Plan.model_validate_json(json.dumps(plan)),
            CeremonyView.model_validate_json(json.dumps(view)),
            None,
            HOSPITALS,
        )

    def all(self, step: str) -> None:
        duty = Duty(Task.COMMIT_KEY, self.terms.plan_id)
        ceremony = self.now().ceremony
        assert ceremony is not None
        for hospital in ceremony.ceremony.owing(_STAGES[step]):
            keeper = self.keepers[hospital]
            if step != "confirm" or not any(
                a.msp_id == hospital
                for a in self.now().ceremony.accusations  # type: ignore[union-attr]
            ):
                getattr(keeper, step)(duty, self.now())

    def succeed(self, plan: PlanTerms) -> None:
        """Go on with a plan that takes over the key of this one."""
        self.scenario.do(ONE, "plan:Pause", {"plan_id": self.terms.plan_id, "reason": "others"})
        self.terms = plan
        self.scenario.propose(plan)
        for hospital in HOSPITALS:
            self.scenario.vote(hospital, "plan", plan.plan_id, plan.sha256)
        self.scenario.do(ONE, "plan:Advance", {"plan_id": plan.plan_id})

    def whole(self) -> None:
        """To the end of an honest one."""
        self.to_confirm()
        self.all("confirm")
        assert self.end()["status"] == "DONE"

    def to_confirm(self) -> None:
        for step in ("commit", "reveal"):
            self.all(step)
            self.scenario.advance_ceremony(self.terms)

    def end(self) -> dict[str, Any]:
        return self.scenario.advance_ceremony(self.terms)


def _of_three() -> PlanTerms:
    plan = terms()
    encryption = plan.encryption.model_copy(update={"threshold": 3})
    return plan.model_copy(update={"encryption": encryption})
