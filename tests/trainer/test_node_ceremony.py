"""Key ceremonies of whole nodes on the real contracts: an honest one, and dealers who cheat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scenario import HOSPITALS, Scenario, at, terms

from chaincode.schema.base import ContentRef, Language
from chaincode.schema.ceremonies import AccuseArgs, CeremonyView, KeyAccusation
from chaincode.schema.plans import Plan, PlanArgs
from trainer.node.ceremony import KeyKeeper
from trainer.node.duties import Duty, Snapshot, Task
from trainer.node.home import Home
from trainer.privacy import Scheme
from trainer.randomness import Secrets

ONE, TWO, THREE, FOUR = HOSPITALS


class _Facade:
    """A hospital's connection to the ledger."""

    def __init__(self, scenario: Scenario, msp_id: str) -> None:
        self._scenario, self._msp_id = scenario, msp_id

    def submit(self, name: str, args: Language, _: type[Language]) -> dict[str, Any]:
        return self._scenario.do(self._msp_id, name, args, "node1")


class _Exchange:
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
    """Four nodes and their plan, of which any three decrypt."""

    def __init__(self, folder: Path) -> None:
        plan = terms()
        encryption = plan.encryption.model_copy(update={"threshold": 3})
        self.terms = plan.model_copy(update={"encryption": encryption})
        self.scenario = at("enrolled")
        for step in (self.scenario.propose, self.scenario.consent, self.scenario.approve):
            step(self.terms)
        store: dict[str, bytes] = {}
        self.exchanges = {h: _Exchange(Home(folder / h), store) for h in HOSPITALS}
        self.keepers = {
            h: KeyKeeper(h, _Facade(self.scenario, h), exchange._home, exchange, Secrets())  # type: ignore[arg-type]
            for h, exchange in self.exchanges.items()
        }

    def now(self) -> Snapshot:
        args = PlanArgs(plan_id=self.terms.plan_id)
        plan = self.scenario.do(ONE, "plan:Get", args)["plan"]
        view = self.scenario.do(ONE, "ceremony:Get", args)
        return Snapshot(
            Plan.model_validate_json(_json(plan)),
            CeremonyView.model_validate_json(_json(view)),
            None,
            HOSPITALS,
        )

    def all(self, step: str) -> None:
        duty = Duty(Task.COMMIT_KEY, self.terms.plan_id)
        for hospital, keeper in self.keepers.items():
            if step != "confirm" or not any(
                a.msp_id == hospital
                for a in self.now().ceremony.accusations  # type: ignore[union-attr]
            ):
                getattr(keeper, step)(duty, self.now())

    def to_confirm(self) -> None:
        for step in ("commit", "reveal"):
            self.all(step)
            self.scenario.advance_ceremony(self.terms)

    def end(self) -> dict[str, Any]:
        return self.scenario.advance_ceremony(self.terms)


def _json(value: object) -> str:
    import json

    return json.dumps(value)


@pytest.fixture
def ceremony(tmp_path: Path) -> Ceremony:
    return Ceremony(tmp_path)


def test_an_honest_ceremony_ends_with_one_key_and_a_share_for_each(ceremony: Ceremony) -> None:
    ceremony.to_confirm()
    ceremony.all("confirm")
    ended = ceremony.end()

    now = ceremony.now()
    keys = {keeper.collective_key(now).sha256 for keeper in ceremony.keepers.values()}
    shares = [keeper.share_key(now) for keeper in ceremony.keepers.values()]

    assert ended["status"] == "DONE"
    assert keys == {ended["collective_key_sha256"]}
    assert [share.point for share in shares] == [1, 2, 3, 4]
    assert _on_one_polynomial(ceremony.keepers[ONE].scheme(now), [s.residues for s in shares])


def _on_one_polynomial(scheme: Scheme, values: list[Any]) -> bool:
    """Whether four values lie on a polynomial of degree two: their third difference is zero."""
    rns = scheme._rns
    signed = zip(values, (-1, 3, -3, 1), strict=True)
    products = [rns.multiply(value, rns.residues(factor)) for value, factor in signed]
    total = products[0]
    for product in products[1:]:
        total = rns.add(total, product)
    return not total.any()


def test_a_dealing_that_does_not_open_is_proven_to_everybody(ceremony: Ceremony) -> None:
    # Hospital 2's part of what hospital 3 deals is damaged before it is sealed on the ledger.
    ceremony.exchanges[THREE].spoil = _damage_part_of_two

    ceremony.to_confirm()
    ceremony.all("confirm")
    judging = ceremony.end()
    accusations = ceremony.now().ceremony.accusations  # type: ignore[union-attr]
    ceremony.all("judge")
    ended = ceremony.end()

    assert judging["status"] == "JUDGE"
    assert [(a.msp_id, a.dealer) for a in accusations] == [(TWO, THREE)]
    assert accusations[0].transport_secret is not None
    assert ended["culprits"] == [THREE]


def _damage_part_of_two(content: bytes) -> bytes:
    place = len(content) * 3 // 8
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("opens", [True, False])
def test_a_false_accusation_falls_on_the_accuser(ceremony: Ceremony, opens: bool) -> None:
    ceremony.to_confirm()
    now = ceremony.now()
    secret = ceremony.keepers[FOUR].transport(now).secret_hex if opens else None
    args = AccuseArgs(plan_id=ceremony.terms.plan_id, dealer=ONE, transport_secret=secret)
    _Facade(ceremony.scenario, FOUR).submit("ceremony:Accuse", args, KeyAccusation)

    ceremony.all("confirm")
    ceremony.end()
    ceremony.all("judge")

    assert ceremony.end()["culprits"] == [FOUR]


def test_an_accusation_with_another_s_secret_falls_on_the_accuser(ceremony: Ceremony) -> None:
    ceremony.to_confirm()
    args = AccuseArgs(plan_id=ceremony.terms.plan_id, dealer=ONE, transport_secret="11" * 32)
    _Facade(ceremony.scenario, FOUR).submit("ceremony:Accuse", args, KeyAccusation)
    ceremony.end()
    ceremony.all("judge")

    assert ceremony.end()["culprits"] == [FOUR]
