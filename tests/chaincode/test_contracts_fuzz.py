"""Every argument of every transaction, at every stage of a plan's life, by whoever may call."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from support.fuzzing import Fuzzer, pool_of
from support.masking import bring, masked_terms
from support.memory_stub import creator
from support.scenario import HOSPITALS, PLAN, STAGES, Scenario, at, terms

from chaincode.schema.base import Role
from chaincode.schema.errors import Code, parse
from chaincode.schema.plans import PlanTerms
from chaincode.schema.transactions import TRANSACTIONS

CASES = 10_000
SEEDS = 4
ROLES = ",".join(Role)
SECONDS = 2.0  # of the processor, so that a busy machine is no hang


def prepared(stage: str) -> Scenario:
    """A ledger at a stage, with a registered node of every role at two hospitals."""
    scenario = at(stage)
    for hospital in HOSPITALS[:2]:
        scenario.users[hospital, "every"] = creator(hospital, "every", ROLES, "fuzz")
        if stage != "founded":
            scenario.do(hospital, "node:Register", scenario.node_args(hospital, "every"))
    return scenario


@pytest.fixture(scope="module")
def ledgers() -> list[Scenario]:
    masked = masked_terms("masked-plan")
    return [prepared(stage) for stage in STAGES] + [
        bring(prepared("enrolled"), masked, stage) for stage in ("keying", "aggregated")
    ]


@pytest.fixture(scope="module")
def pool(ledgers: list[Scenario]) -> dict[str, list[str | int]]:
    """What the ledgers hold, and names that arguments have for it."""
    found = pool_of(one.ledger.state for one in ledgers)
    return found | {
        "code": list(Code),
        "node_id": [*found["node_id"], "every"],
        "subject_id": [*found["plan_id"], *found["name"], *found["msp_id"]],
        "subject_sha256": [*found["sha256"], *found["terms_sha256"], *found["charter_sha256"]],
    }


@pytest.fixture(scope="module")
def answers() -> dict[str, Counter[str]]:
    """What every transaction was answered, over all seeds."""
    return {name: Counter() for name in TRANSACTIONS}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_the_argument_the_answer_has_a_code_and_a_refusal_no_write(
    seed: int,
    ledgers: list[Scenario],
    pool: dict[str, list[str | int]],
    answers: dict[str, Counter[str]],
) -> None:
    known = {PlanTerms: [json.loads(terms(name).model_dump_json()) for name in (PLAN, "plan-2")]}
    fuzz = Fuzzer(seed, pool, known)
    before = [(dict(one.ledger.state), len(one.ledger.events)) for one in ledgers]

    names = sorted(TRANSACTIONS)
    for number in range(CASES // SEEDS):
        name = names[number % len(names)]
        answers[name][_answer(fuzz, name, fuzz.pick(ledgers))] += 1

    after = [(dict(one.ledger.state), len(one.ledger.events)) for one in ledgers]
    assert after == before


def test_arguments_were_not_only_refused_for_their_form(answers: dict[str, Counter[str]]) -> None:
    if not any(answers.values()):
        pytest.skip("nothing was fuzzed in this run")
    shallow = {Code.BAD_ARGUMENT, Code.ROLE_REQUIRED, Code.NODE_UNREGISTERED}
    assert [name for name, seen in answers.items() if seen.keys() <= shallow] == []


def _answer(fuzz: Fuzzer, name: str, scenario: Scenario) -> str:
    row = TRANSACTIONS[name]
    argument = fuzz.argument(row.args)
    who = scenario.users[fuzz.pick(HOSPITALS[:2]), fuzz.pick(["every"] * 8 + ["admin", "node1"])]
    began = time.thread_time()
    response = scenario.ledger.invoke(
        scenario.chaincode,
        who,
        name,
        argument,
        scenario.now + fuzz.pick([1, 1, 1000]),
        commit=False,
    )
    assert time.thread_time() - began < SECONDS, (name, argument[:500])
    if response.status == 200:
        return "OK"
    error = parse(response.message)
    assert response.status == 400, (name, argument[:500], response)
    assert error is not None, (name, argument[:500], response)
    assert response.message.startswith("MF-"), (name, response)
    return error.code
