"""A masked plan on a scenario's ledger: what nodes and hospitals post, as honest ones do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaincode.schema.masking import MaskingTerms, bound_sha256
from chaincode.schema.plans import PlanTerms
from support.scenario import (
    HOSPITALS,
    TRANSPORT_KEY,
    Scenario,
    attest_args,
    ref,
    sha,
    terms,
)

_PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
CHANNEL_KEY = TRANSPORT_KEY[:66] + f"{_PRIME - int(TRANSPORT_KEY[66:], 16):064x}"
"""The other point with the same x."""


def masked_terms(plan_id: str, **participation: Any) -> PlanTerms:
    """A plan of four hospitals, any three of which unmask."""
    hidden = MaskingTerms(threshold=3, levels=32_767)
    return terms(plan_id, **participation).model_copy(update={"encryption": hidden})


def transport_args(plan: PlanTerms, _: str) -> dict[str, Any]:
    return {"plan_id": plan.plan_id, "transport_key": TRANSPORT_KEY}


def dealt(dealer: str, hospital: str, kind: str) -> str:
    """The share of a secret of ``dealer`` that ``hospital`` got."""
    return sha(f"share {dealer} {hospital} {kind}")


def keys_args(plan: PlanTerms, msp_id: str, number: int = 1) -> dict[str, Any]:
    """What an honest node of a hospital posts."""

    def bound(hospital: str, kind: str) -> str:
        place = (msp_id, "node1", hospital)
        return bound_sha256(plan.plan_id, number, place, kind, dealt(msp_id, hospital, kind))

    return {
        "plan_id": plan.plan_id,
        "round": number,
        "mask_key": TRANSPORT_KEY,
        "channel_key": CHANNEL_KEY,
        "dealing": ref(f"dealing {number} {msp_id}"),
        "own_sha256": sha(f"own {msp_id}"),
        "bound": [
            {"pairwise_sha256": bound(h, "pairwise"), "own_sha256": bound(h, "own")}
            for h in plan.hospitals
        ],
    }


def unmask_args(
    plan: PlanTerms, hospital: str, dropped: tuple[str, ...] = (), number: int = 1
) -> dict[str, Any]:
    """What an honest hospital posts when the updates of some are not in the sum."""
    shares = [
        dealt(dealer, hospital, "pairwise" if dealer in dropped else "own") for dealer in HOSPITALS
    ]
    aggregate = attest_args(plan, number)["aggregate_sha256"]
    return {
        "plan_id": plan.plan_id,
        "round": number,
        "aggregate_sha256": aggregate,
        "shares": shares,
    }


STAGES = ("approved", "active", "keying", "open", "sealed", "aggregated", "decrypted", "published")


def bring(scenario: Scenario, plan: PlanTerms, stage: str) -> Scenario:
    """From enrolled nodes to a stage of the masked plan."""
    steps: dict[str, tuple[Callable[..., Any], ...]] = {
        "approved": (scenario.propose, scenario.consent, scenario.approve),
        "active": (lambda p: commit(scenario, p),),
        "keying": (scenario.open,),
        "open": (lambda p: key(scenario, p), scenario.advance),
        "sealed": (scenario.submit, scenario.advance),
        "aggregated": (scenario.attest, scenario.advance),
        "decrypted": (lambda p: unmask(scenario, p), scenario.advance),
        "published": (scenario.evaluate, scenario.advance),
    }
    for reached in STAGES[: STAGES.index(stage) + 1]:
        for step in steps[reached]:
            step(plan)
    return scenario


def commit(scenario: Scenario, plan: PlanTerms) -> None:
    """Every hospital posts its transport key."""
    scenario.post_all(plan, "ceremony:Commit", transport_args)
    scenario.advance_ceremony(plan)


def key(scenario: Scenario, plan: PlanTerms, who: tuple[str, ...] = HOSPITALS) -> None:
    """These hospitals' nodes post their keys."""
    for hospital in who:
        scenario.do(hospital, "masking:PostKeys", keys_args(plan, hospital), "node1")


def unmask(
    scenario: Scenario,
    plan: PlanTerms,
    who: tuple[str, ...] = HOSPITALS,
    dropped: tuple[str, ...] = (),
) -> None:
    """These hospitals post their shares."""
    for hospital in who:
        scenario.do(hospital, "masking:Unmask", unmask_args(plan, hospital, dropped))
