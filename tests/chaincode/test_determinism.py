"""The scripted life of a plan leaves the same bytes in every interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.scenario import certificates

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
