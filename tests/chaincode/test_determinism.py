"""Contracts give every peer the same: two interpreters agree, and a lint finds what might differ.

``pytest --twice tests/chaincode`` runs every transaction of every contract test in two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import nondeterministic
from support.memory_stub import MemoryLedger, creator
from support.nondeterministic import CONTRACTS
from support.scenario import STAGES, Scenario, certificates, live, terms
from support.twin import DivergenceError, Twin

from chaincode.framework import determinism
from chaincode.framework.determinism import Allowance, Finding, check, judge

TESTS = Path(__file__).parents[1]

LIFE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from support.scenario import HOSPITALS, STAGES, Scenario, attest_args, evaluate_args, live, terms

with open(sys.argv[2], encoding="utf-8") as file:
    users = {tuple(name.split("/")): bytes.fromhex(raw) for name, raw in json.load(file).items()}
life = Scenario(users)
plan = terms(rounds=3)
for stage in STAGES:
    live(life, stage, plan)

# A round with a missing node, a wrong attestation, a refused update and a rejected candidate.
life.open(plan, 2)
life.submit(plan, 2, HOSPITALS[:3])
life.refused(HOSPITALS[0], "round:SubmitUpdate", life.update_args(plan, HOSPITALS[0], 2))
life.refused(HOSPITALS[0], "round:Advance", {"plan_id": plan.plan_id, "number": 2})
life.wait()
life.advance(plan, 2)
life.attest(plan, 2, HOSPITALS[:3])
life.do(HOSPITALS[3], "round:Attest", attest_args(plan, 2, "forged"))
life.advance(plan, 2)
life.share(plan, 2)
life.advance(plan, 2)
for hospital in HOSPITALS:
    life.do(hospital, "round:Evaluate", evaluate_args(plan, 2, correct=0))
life.advance(plan, 2)
life.do(HOSPITALS[0], "node:Suspend", {"node_id": "node1", "reason": "Größe Ж 漢"})
complaint = life.do(HOSPITALS[1], "complaint:Open", {
    "complaint_id": "c", "subject": "node", "subject_id": HOSPITALS[3] + "/node1",
    "reason": "Lüge", "evidence_sha256": "00" * 32, "suspend_seconds": 60,
})
for hospital in HOSPITALS[:3]:
    life.vote(hospital, "complaint", "c", complaint["terms_sha256"])
life.do(HOSPITALS[0], "complaint:Advance", {"complaint_id": "c"})
life.do(HOSPITALS[0], "reputation:List", {"subject": "node"}, "auditor")
lists = ("complaint:List", "node:List", "dataset:List", "plan:List", "model:List")
for name in ("consortium:Get", *lists):
    life.do(HOSPITALS[0], name, {}, "auditor")

def text(raw):
    return raw.hex() if isinstance(raw, bytes) else raw

ledger = life.ledger
print(json.dumps({
    "state": [(key, text(value)) for key, value in ledger.state.items()],
    "policies": [(key, text(value)) for key, value in ledger.policies.items()],
    "events": [(name, text(payload)) for name, payload in ledger.events],
    "responses": [(r.status, r.message, text(r.payload)) for r in life.responses],
}))
"""

SURROUNDINGS = (
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC"},
    {"PYTHONHASHSEED": "4242", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"},
    {"PYTHONHASHSEED": "7", "LC_ALL": "POSIX", "TZ": "America/St_Johns", "PYTHONOPTIMIZE": "0"},
)


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """What each interpreter has printed."""
    folder = tmp_path_factory.mktemp("life")
    users = {"/".join(who): raw.hex() for who, raw in certificates().items()}
    (folder / "users.json").write_text(json.dumps(users))
    (folder / "life.py").write_text(LIFE, encoding="utf-8")
    command = [sys.executable, str(folder / "life.py"), str(TESTS), str(folder / "users.json")]
    running = [
        subprocess.Popen(command, env={**os.environ, **env}, stdout=-1, stderr=-1)
        for env in SURROUNDINGS
    ]
    outputs = []
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()[-2000:]
        outputs.append(out)
    return outputs


def test_state_policies_events_and_responses_are_the_same_bytes(lives):
    assert lives[0] == lives[1] == lives[2]


def test_the_life_went_through_success_refusal_and_failure(lives):
    life = json.loads(lives[0])

    events = {name for name, _ in life["events"]}
    assert {"round.published", "round.failed", "node.suspended"} <= events
    assert {status for status, _, _ in life["responses"]} == {200, 400}
    assert len(life["state"]) > 80


# every transaction in two interpreters


@pytest.fixture
def twin(request):
    """A second interpreter of one chaincode."""
    made = Twin(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("twin", ["chaincode.contracts:chaincode"], indirect=True)
def test_each_transaction_of_a_life_reads_and_writes_the_same_twice(twin, monkeypatch):
    monkeypatch.setattr(MemoryLedger, "twin", twin)
    life = Scenario()

    for stage in STAGES:
        live(life, stage, terms())

    assert twin.compared > 40


@pytest.fixture(scope="module")
def bad():
    made = Twin("support.nondeterministic:chaincode")
    yield made
    made.close()


SHOWN = [contract for contract in CONTRACTS if "lint only" not in (contract.__doc__ or "")]
if len(os.sched_getaffinity(0)) == 1:
    SHOWN.remove(nondeterministic.Processors)


@pytest.mark.parametrize("contract", SHOWN, ids=lambda contract: contract.__name__)
def test_a_second_execution_shows_what_depends_on_the_surroundings(contract, bad, monkeypatch):
    monkeypatch.setattr(MemoryLedger, "twin", bad)
    ledger, chaincode = MemoryLedger(), nondeterministic.chaincode()
    name = f"bad:{contract.__name__}"
    if contract is nondeterministic.Memory:  # another peer was not asked before
        monkeypatch.setattr(MemoryLedger, "twin", None)
        ledger.invoke(chaincode, creator("OneMSP", "a", ""), name, b"{}", 1_000)
        monkeypatch.setattr(MemoryLedger, "twin", bad)

    with pytest.raises(DivergenceError, match=name):
        ledger.invoke(chaincode, creator("OneMSP", "a", ""), name, b"{}", 1_000)


# the lint

ROOT = TESTS.parent
BAD = TESTS / "support" / "nondeterministic.py"


def linted(tmp_path, source):
    """Rules and lines that the lint finds in a source."""
    file = tmp_path / "contract.py"
    file.write_text(source)
    return [(finding.line, finding.rule) for finding in check([file], tmp_path)]


def test_the_lint_finds_every_rule_broken_at_its_line():
    lines = BAD.read_text().splitlines()
    wanted = {
        (number, line.partition("# rule: ")[2].split()[0])
        for number, line in enumerate(lines, 1)
        if "# rule: " in line
    }

    found = {(finding.line, finding.rule) for finding in check([BAD], ROOT)}

    assert found - {(line, rule) for line, rule in found if rule == "import"} == wanted
    assert {rule for _, rule in found} == set(determinism.RULES)


OUTSIDE = """time random secrets uuid os socket threading pathlib datetime locale sys subprocess
asyncio requests numpy multiprocessing tempfile urllib.request logging platform cryptography"""


@pytest.mark.parametrize("module", OUTSIDE.split())
def test_the_lint_refuses_modules_that_reach_out(module, tmp_path):
    assert linted(tmp_path, f"import {module}") == [(1, "import")]
    assert linted(tmp_path, f"from {module} import x") == [(1, "import")]


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("[x for x in {1, 2}]", "set"),
        ("tuple({1, 2})", "set"),
        ("first, second = {1, 2}", "set"),
        ("f(*{1, 2})", "set"),
        ("f'{ {1, 2} }'", "set"),
        ("dict.fromkeys(set(y))", "set"),
        ("enumerate(x for x in a | {1})", "set"),
        ("def f(a: frozenset[str]):\n    return list(a)", "set"),
        ("class A:\n    a: set[int]\ndef f(b: A):\n    return list(b.a)", "set"),
        ("def f() -> set[int]: ...\nlist(f())", "set"),
        ("for x in {1}.union(y): pass", "set"),
        ("if (a := {1, 2}): list(a)", "set"),
        ("list(sorted({1}) and {2} if a else {3})", "set"),
        ("1.0", "float"),
        ("1e3", "float"),
        ("2j", "float"),
        ("x /= 2", "float"),
        ("float(x)", "float"),
        ("from math import exp", "float"),
        ("import math\nmath.pi", "float"),
        ("eval('1')", "builtin"),
        ("print(1)", "builtin"),
        ("map(hash, x)", "builtin"),
        ("def f():\n    global x", "memory"),
        ("class A:\n    def f(self):\n        self.x = 1", "memory"),
        ("async def f(): ...", "import"),
    ],
)
def test_the_lint_knows_other_ways_to_break_a_rule(source, rule, tmp_path):
    assert [found for _, found in linted(tmp_path, source)] == [rule]


@pytest.mark.parametrize(
    "source",
    [
        "sorted({1, 2})",
        "len({1, 2}) + sum(x for x in {1, 2})",
        "any(x > 1 for x in {1, 2}) and 3 in {1, 2}",
        "{x + 1 for x in {1, 2}}",
        "frozenset({*{1, 2}, 3})",
        "sorted(x for x in {1, 2})",
        "for x in {1: 2}: pass",
        "names = {1}\nnames = sorted(names)\nlist(names)",
        "x // 2 + x % 2 + 10**6 + 10**-x",
        "from math import comb, isqrt\nimport math\nmath.gcd(4, 6)",
        "import json, hashlib, re\nfrom decimal import Decimal",
        "class A:\n    def __init__(self):\n        self.x = 1",
    ],
)
def test_the_lint_leaves_alone_what_is_the_same_everywhere(source, tmp_path):
    assert linted(tmp_path, source) == [(1, "float")] * ("**-x" in source)


def test_what_peers_run_breaks_no_rule_but_at_the_excused_places():
    makefile = (ROOT / "Makefile").read_text()
    paths = makefile.partition("DETERMINISTIC := ")[2].partition("\n")[0].split()

    found = check([ROOT / path for path in paths], ROOT)

    assert list(judge(found, determinism.load_allowances(ROOT / "pyproject.toml"))) == []
    assert "determinism $(DETERMINISTIC)" in makefile


def test_an_excuse_holds_for_its_place_and_rule_alone_and_must_be_needed():
    finding = Finding("a.py::f", 3, "float", "1.0")

    assert list(judge([finding], [Allowance("a.py::f", "float", "why")])) == []
    for place, rule in (("a.py::g", "float"), ("a.py::f", "set"), ("a.py", "float")):
        told = list(judge([finding], [Allowance(place, rule, "why")]))
        assert len(told) == 2
        assert "excused for nothing" in told[1]


def test_an_excuse_without_a_reason_is_none(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[[tool.medfabric.determinism.allow]]\nplace = "a"\nrule = "set"\nreason = ""\n'
    )
    with pytest.raises(ValueError, match="reason"):
        determinism.load_allowances(file)


def test_the_program_prints_findings_and_fails(tmp_path):
    (tmp_path / "contract.py").write_text("x = 1.5\n")
    command = [sys.executable, "-m", "chaincode.framework.determinism"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [*command, "."], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("contract.py:1: float: the literal 1.5")
