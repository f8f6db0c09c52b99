"""Random walks over the consortium's life: whatever is asked in whatever order, what must always
hold holds after every transaction."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.memory_stub import creator
from support.replayed import proven
from support.scenario import (
    HOSPITALS,
    PLAN,
    SAMPLES,
    Scenario,
    at,
    attest_args,
    commit_args,
    confirm_args,
    dataset_args,
    dataset_of,
    evaluate_args,
    live,
    ref,
    reveal_args,
    sha,
    share_args,
    terms,
)
from support.whole_life import CLASSIFIERS

from chaincode.schema import keys, states
from chaincode.schema.errors import parse
from chaincode.schema.plans import DynamicTerms, PlanTerms
from chaincode.schema.provenance import key_of
from chaincode.schema.stored import whole
from chaincode.shim.endorsement import named, reachable
from chaincode.shim.identity import ClientIdentity
from chaincode.shim.stub import composite_key, split_composite_key
from client.audit import graph, reputations

FIFTH = "Hospital5MSP"
EVERYBODY = (*HOSPITALS, FIFTH)
RULE = DynamicTerms(hospitals=HOSPITALS, slots=2, least_samples=SAMPLES)
DYNAMIC = ("edge", "spare")
NODES = ("node1", *DYNAMIC)
TABLES = {
    "consortium": states.CONSORTIUM,
    "hospital": states.HOSPITAL,
    "motion": states.MOTION,
    "node": states.NODE,
    "plan": states.PLAN,
    "ceremony": states.CEREMONY,
    "round": states.ROUND,
    "complaint": states.COMPLAINT,
    "classifier": states.CLASSIFIER,
}
MOST_TIMES = 6
FIRST = {name: states.first(table) for name, table in TABLES.items()}
WRITTEN_ONCE = (
    "vote",
    "cohort",
    "contributions",
    "update",
    "decline",
    "attestation",
    "share",
    "evaluation",
    "share-proof",
    "share-verdict",
    "objection",
    "model",
    "node-change",
    "past-motion",
)

NODE_CHANGES = (*("Rest", "Suspend") * 2, "Leave", "Revoke", *("Wake", "Resume") * 2)
CASES = ("case-1", "case-2")
SCORES = ("score-1", "score-2")
HOLDS = (*("Pause", "Resume") * 4, "Abort")


@lru_cache(maxsize=4096)
def parsed(value: bytes) -> dict[str, Any]:
    """An asset; not to be changed."""
    found: dict[str, Any] = json.loads(value)
    return found


@lru_cache
def plan_terms(version: int = 1) -> PlanTerms:
    plan = terms(rounds=3, dynamic=RULE, quorum=2)
    return plan.model_copy(update={"version": version})


def by_kind(state: dict[str, bytes]) -> dict[str, list[str]]:
    """The sorted names of assets."""
    names: dict[str, list[str]] = {}
    for name in sorted(state):
        names.setdefault(split_composite_key(name)[0], []).append(name)
    return names


def edge_data(msp_id: str) -> str:
    return f"{msp_id.lower()}-edge"


@lru_cache(maxsize=8)
def begun(stage: str) -> Scenario:
    """The consortium at a stage of a plan that names nodes and admits others."""
    order = ("enrolled", "proposed", "approved", "active", "open", "sealed", "aggregated")
    if stage == order[0]:
        scenario = at(stage)
        for name, roles in (("admin", "admin"), ("node1", "trainer,validator")):
            scenario.users[FIFTH, name] = creator(FIFTH, name, roles)
        for hospital, node in product(EVERYBODY, DYNAMIC):
            scenario.users[hospital, node] = creator(hospital, node, "trainer")
        for hospital, node in product(HOSPITALS, DYNAMIC):
            args = scenario.node_args(hospital, node) | {"dynamic": True, "roles": ["trainer"]}
            scenario.do(hospital, "node:Register", args)
        for hospital in HOSPITALS:
            scenario.do(hospital, "dataset:Register", dataset_args(edge_data(hospital)))
        return scenario
    scenario = copy.deepcopy(begun(order[order.index(stage) - 1]))
    live(scenario, stage, plan_terms())
    if stage == "proposed":
        for hospital in HOSPITALS:
            given = {"dataset_id": edge_data(hospital), "plan_id": PLAN}
            digest = plan_terms().sha256
            scenario.do(hospital, "dataset:Consent", given | {"terms_sha256": digest})
    return scenario


class Life:
    """Transactions of anybody, in any order. ``reached`` are the kinds of assets and states."""

    def __init__(self, stage: str) -> None:
        self.scenario = copy.deepcopy(begun(stage))
        self.before = dict(self.scenario.ledger.state)
        self.names = by_kind(self.before)
        self.version = 1
        self.renewals = 0
        self.asked = self.taken = 0
        self.lost: set[str] = set()
        self.reached: set[tuple[str, str]] = set()

    def ask(self, msp_id: str, name: str, args: Any, user: str = "admin") -> None:
        ledger = self.scenario.ledger
        response = self.scenario.invoke(self.scenario.users[msp_id, user], name, args)
        self.asked += 1
        if response.status != 200:
            error = parse(response.message)
            assert response.status == 400, response.message
            assert error is not None
            assert error.code.startswith("MF-")
            return
        self.taken += 1
        self.names = by_kind(ledger.state)
        for key in sorted(set(ledger.keys_written)):
            self.check(key)
        self.check_whole()
        self.before = dict(ledger.state)

    def found(self, key: keys.Key) -> dict[str, Any] | None:
        value = self.scenario.ledger.state.get(composite_key(*key))
        return None if value is None else parsed(whole(key, value))

    def all(self, kind: str, *below: str) -> list[dict[str, Any]]:
        prefix = composite_key(kind, below)
        state = self.scenario.ledger.state
        found = [name for name in self.names.get(kind, ()) if name.startswith(prefix)]
        return [parsed(whole(split_composite_key(name), state[name])) for name in found]

    # what must hold of what was written

    def check(self, key: str) -> None:
        kind, parts = split_composite_key(key)
        old, new = self.before.get(key), whole((kind, parts), self.scenario.ledger.state[key])
        old = None if old is None else whole((kind, parts), old)
        if kind in WRITTEN_ONCE:
            assert old is None or old == new, f"{kind} was written again"
        if kind in TABLES:
            now = parsed(new)["status"]
            self.reached.add((kind, now))
            was = None if old is None else parsed(old)["status"]
            if old is None or (kind == "motion" and parsed(old)["terms"] != parsed(new)["terms"]):
                assert now in FIRST[kind], f"a {kind} began as {now}"
                assert was is None or not TABLES[kind][was], f"a {kind} was replaced while {was}"
            elif was != now:
                assert now in TABLES[kind][was], f"a {kind} went from {was} to {now}"
        if kind == "round" and old is not None:
            self.check_dropped(parsed(old), parsed(new))
        if kind == "account":
            account, earlier = parsed(new), parsed(old or b"{}")
            assert 0 <= account["epsilon_micro"] <= account["budget_epsilon_micro"]
            assert account["epsilon_micro"] >= earlier.get("epsilon_micro", 0)

    def check_dropped(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """An update is dropped before there is a sum that anything could be subtracted from, and
        because most hospitals object to it."""
        number, more = len(old.get("dropped", ())), new.get("dropped", [])
        assert more[:number] == old.get("dropped", [])
        if old["status"] != "SEALED":
            assert more == old.get("dropped", [])
        for update in more[number:]:
            place = (new["plan_id"], new["number"])
            posted = self.found(keys.update(*place, update["msp_id"], update["node_id"]))
            assert posted is not None
            assert posted["update"]["sha256"] == update["update_sha256"]
            assert len(set(update["objectors"])) == len(update["objectors"]) >= 3
            for objector in update["objectors"]:
                assert self.found(keys.objection(*place, objector, update["update_sha256"]))
        if more and new["status"] == "PUBLISHED":
            self.reached.add(("round", "PUBLISHED without an update"))

    # what must hold of the whole

    def check_whole(self) -> None:
        self.check_members()
        self.check_policies()
        self.check_nodes()
        self.check_plans()
        self.check_complaints()
        self.check_places()

    def check_members(self) -> None:
        consortium = self.found(keys.consortium())
        assert consortium is not None
        admitted = [h["msp_id"] for h in self.all("hospital") if h["status"] == "ADMITTED"]
        assert consortium["hospitals"] == sorted(admitted)
        assert len(admitted) >= 2
        for motion in self.all("motion"):
            self.check_motion(motion)

    def check_policies(self) -> None:
        """What a hospital owns it can write, unless it was lost while the hospital was away."""
        consortium = self.found(keys.consortium())
        assert consortium is not None
        members = consortium["hospitals"]
        for key, policy in self.scenario.ledger.policies.items():
            owner = parsed(self.scenario.ledger.state[key])["msp_id"]
            if owner in members and key not in self.lost:
                assert reachable(owner, named(policy), members), f"{key} cannot be written"
            elif not reachable(owner, named(policy), members):
                self.lost.add(key)

    def check_motion(self, motion: dict[str, Any]) -> None:
        place = (motion["terms"]["subject"], motion["terms"]["subject_id"])
        votes = self.all("vote", *place, motion["terms_sha256"])
        voters = [vote["msp_id"] for vote in votes]
        assert len(set(voters)) == len(voters)
        assert motion["terms"]["subject"] != "expulsion" or place[1] not in voters
        if motion["status"] == "CARRIED":
            assert sum(vote["approve"] for vote in votes) >= 2

    def check_nodes(self) -> None:
        for node in self.all("node"):
            history = self.all("node-change", node["msp_id"], node["node_id"])
            assert [change["number"] for change in history] == [*range(1, node["changes"] + 1)]
            for field in ("status", "public_key_sha256"):
                assert history[-1][field] == node[field]
            assert "REVOKED" not in [change["status"] for change in history[:-1]]

    def check_plans(self) -> None:
        for plan in self.all("plan"):
            plan_id = plan["plan_id"]
            terms = PlanTerms.model_validate_json(json.dumps(self.found(keys.plan_terms(plan_id))))
            assert plan["terms_sha256"] == terms.sha256
            found = self.all("round", plan_id)
            assert [r["number"] for r in found] == [*range(1, plan["rounds_opened"] + 1)]
            going = [r for r in found if r["status"] not in ("PUBLISHED", "FAILED")]
            assert len(going) <= (plan["status"] in ("ACTIVE", "PAUSED"))
            ceremony = self.found(keys.ceremony(plan_id))
            if plan["status"] in ("ACTIVE", "PAUSED", "COMPLETED"):
                assert ceremony is not None
                assert ceremony["status"] == "DONE"
            if plan["status"] in ("FAILED", "ABORTED") and ceremony is not None:
                assert ceremony["status"] in ("DONE", "FAILED")
            if found:
                assert self.found(keys.model(plan["model_sha256"])) is not None
            for round_ in found:
                self.check_round(round_)

    def check_round(self, round_: dict[str, Any]) -> None:
        (cohort,) = self.all("cohort", *keys.round_(round_["plan_id"], round_["number"])[1])
        nodes = [(p["msp_id"], p["node_id"]) for p in cohort["participants"]]
        assert nodes == sorted(set(nodes))
        datasets = [p["dataset_id"] for p in cohort["participants"]]
        assert len(set(datasets)) == len(datasets)
        sealed = self.found(keys.contributions(round_["plan_id"], round_["number"], 0))
        if sealed is not None:
            named = sealed["contributions"] + sealed["missing"]
            assert sorted((c["msp_id"], c["node_id"]) for c in named) == nodes
        assert ("failure" not in round_) == (round_["status"] != "FAILED")
        if round_["status"] == "PUBLISHED":
            model = self.found(keys.model(round_["model_sha256"]))
            assert model is not None
            assert self.found(keys.model(model["parents"][0])) is not None
            assert model["total"] > 0

    def check_complaints(self) -> None:
        """Nobody judges their own case; only what is upheld suspends; one classifier is adopted."""
        for complaint in self.all("complaint"):
            place = ("complaint", complaint["terms"]["complaint_id"], complaint["terms_sha256"])
            votes = self.all("vote", *place)
            assert complaint["accused"] not in [vote["msp_id"] for vote in votes]
            if complaint["status"] == "UPHELD":
                assert sum(vote["approve"] for vote in votes) >= 2
        for suspension in self.all("suspension"):
            (complaint,) = self.all("complaint", suspension["complaint_id"])
            assert complaint["status"] == "UPHELD"
            assert complaint["terms"]["suspend_seconds"] > 0
            if "lifted_by" in suspension:
                (motion,) = self.all("motion", "lifting", suspension["complaint_id"])
                assert motion["status"] == "CARRIED"
        adopted = [one for one in self.all("classifier") if one["status"] == "ADOPTED"]
        assert len(adopted) <= 1

    def check_places(self) -> None:
        taken = [place for place in self.all("place") if "left_at" not in place]
        nodes = [(p["plan_id"], p["msp_id"], p["node_id"]) for p in taken]
        datasets = [(p["plan_id"], p["dataset_id"]) for p in taken]
        assert len(set(nodes)) == len(nodes)
        assert len(set(datasets)) == len(datasets)

    def check_lineage(self) -> None:
        """Kept graph and reputations are those that follow; the graph leads nowhere that is not."""
        ledger = proven(self.scenario.ledger)
        assert list(graph.check(ledger)) == []
        assert list(reputations.check(ledger)) == []
        for edge in graph.Replay(ledger).edges:
            assert keys.composite(key_of(edge.target)) in self.scenario.ledger.state, edge

    # transactions, each with what it needs drawn from ``pick``

    def act(self, pick: Random) -> None:
        """One transaction, or a few that belong together."""
        acts = (
            *(self.propose, self.vote, self.decide, self.advance, self.part, self.follow),
            *(self.node, self.node, self.renew, self.register, self.consent, self.budget),
            *(self.plan, self.plan, self.hold, self.join, self.join, self.join, self.leave_plan),
            *(self.ceremony, self.ceremony, self.post, self.post, self.round, self.round),
            *(self.round, self.round, self.object, self.wait),
            *(self.complain, self.judge, self.judge, self.lift, self.score),
        )
        pick.choice(acts)(pick)

    def propose(self, pick: Random) -> None:
        who, about = pick.choice(EVERYBODY), pick.choice(EVERYBODY)
        rule = {"fraction_micro": pick.choice((500_000, 800_000)), "open_seconds": 500}
        name, args = pick.choice(
            (
                ("Hospital", {"msp_id": about, "name": about}),
                ("Hospital", {"msp_id": FIFTH, "name": FIFTH}),
                ("Expulsion", {"msp_id": about, "reason": "why not"}),
                ("Rules", {"rules": {"admission": rule, "plan": rule}}),
            )
        )
        self.ask(who, f"consortium:Propose{name}", args)

    def vote(self, pick: Random) -> None:
        args = self.subject(pick) | {"approve": pick.random() < 0.7}
        self.ask(pick.choice(EVERYBODY), "consortium:Vote", args)

    def decide(self, pick: Random) -> None:
        """Everybody votes the same, and somebody advances it."""
        subject = self.subject(pick)
        approve = pick.random() < 0.7
        for who in EVERYBODY:
            self.ask(who, "consortium:Vote", subject | {"approve": approve})
        del subject["subject_sha256"]
        self.ask(pick.choice(HOSPITALS), "consortium:Advance", subject)
        self.ask(pick.choice(HOSPITALS), "plan:Advance", {"plan_id": PLAN})

    def advance(self, pick: Random) -> None:
        subject = self.subject(pick)
        del subject["subject_sha256"]
        self.ask(pick.choice(EVERYBODY), "consortium:Advance", subject)

    def subject(self, pick: Random) -> dict[str, Any]:
        known = [
            (m["terms"]["subject"], m["terms"]["subject_id"], m["terms_sha256"])
            for m in self.all("motion")
        ]
        known += [("plan", PLAN, plan["terms_sha256"]) for plan in self.all("plan")]
        for kind in ("complaint", "classifier"):
            known += [
                (kind, one["terms"][f"{kind}_id"], one["terms_sha256"]) for one in self.all(kind)
            ]
        chosen = pick.choice([*known, ("plan", PLAN, sha("something else"))])
        return dict(zip(("subject", "subject_id", "subject_sha256"), chosen, strict=True))

    def complain(self, pick: Random) -> None:
        """Of a node, a dataset or the newest model; a node may be suspended for it."""
        about, node = pick.choice(EVERYBODY), pick.choice(NODES)
        subject, subject_id = pick.choice(
            (
                ("node", f"{about}/{node}"),
                ("node", f"{about}/{node}"),
                ("dataset", dataset_of(about)),
                ("model", sha("base")),
            )
        )
        args = {
            "complaint_id": pick.choice(CASES),
            "subject": subject,
            "subject_id": subject_id,
            "reason": "it lies",
            "evidence_sha256": sha("evidence"),
            "suspend_seconds": pick.choice((0, 50, 500)) if subject == "node" else 0,
        }
        self.ask(pick.choice(EVERYBODY), "complaint:Open", args)

    def judge(self, pick: Random) -> None:
        """Everybody votes the same on a complaint or a classifier, and somebody advances it."""
        approve = pick.random() < 0.7
        for kind, names in (("complaint", CASES), ("classifier", SCORES)):
            name = pick.choice(names)
            for one in self.all(kind, name):
                subject = {"subject": kind, "subject_id": name, "approve": approve}
                for who in EVERYBODY:
                    digest = {"subject_sha256": one["terms_sha256"]}
                    self.ask(who, "consortium:Vote", subject | digest)
            self.ask(pick.choice(HOSPITALS), f"{kind}:Advance", {f"{kind}_id": name})

    def lift(self, pick: Random) -> None:
        args = {"complaint_id": pick.choice(CASES), "reason": "it was a fault of ours"}
        self.ask(pick.choice(HOSPITALS), "complaint:ProposeLifting", args)

    def score(self, pick: Random) -> None:
        args = CLASSIFIERS[0] | {"classifier_id": pick.choice(SCORES)}
        self.ask(pick.choice(HOSPITALS), "classifier:Propose", args)

    def part(self, pick: Random) -> None:
        leaving = {0: [pick.choice(EVERYBODY)], 1: pick.sample(EVERYBODY, len(EVERYBODY))}
        for who in leaving.get(pick.randrange(6), ()):
            self.ask(who, "consortium:Leave", {"reason": "tired"})

    def follow(self, pick: Random) -> None:
        """Some hospitals renew what they own, and say so."""
        policies = self.scenario.ledger.policies
        for who in pick.sample(EVERYBODY, pick.randrange(2, 6)):
            owned = [split_composite_key(key) for key in sorted(policies) if key not in self.lost]
            mine = [
                {"kind": kind, "attributes": attributes}
                for kind, attributes in owned
                if parsed(self.scenario.ledger.state[composite_key(kind, attributes)])["msp_id"]
                == who
            ]
            self.ask(who, "policy:Renew", {"keys": mine, "complete": True})

    def node(self, pick: Random) -> None:
        who, node = pick.choice(EVERYBODY), pick.choice(NODES)
        for change in pick.choices(NODE_CHANGES, k=3):
            self.ask(who, f"node:{change}", {"node_id": node}, pick.choice(("admin", node)))

    def renew(self, pick: Random) -> None:
        who, node = pick.choice(EVERYBODY), pick.choice(NODES)
        self.renewals += pick.random() < 0.7
        roles = "trainer,validator" if node == "node1" else "trainer"
        renewed = creator(who, node, roles, f"renewal {self.renewals}")
        digest = ClientIdentity.parse(renewed).public_key_sha256
        self.ask(who, "node:Renew", {"node_id": node, "public_key_sha256": digest})
        known = self.found(keys.node(who, node))
        if known is not None and known["public_key_sha256"] == digest:
            self.scenario.users[who, node] = renewed

    def register(self, pick: Random) -> None:
        who, node = pick.choice(EVERYBODY), pick.choice(NODES)
        args = self.scenario.node_args(who, node) | {"dynamic": node in DYNAMIC}
        self.ask(who, "node:Register", args)

    def consent(self, pick: Random) -> None:
        who, edge = pick.choice(HOSPITALS), pick.random() < 0.5
        plan = self.found(keys.plan(PLAN))
        digest = plan["terms_sha256"] if plan else sha("no plan")
        args = {"dataset_id": edge_data(who) if edge else dataset_of(who), "plan_id": PLAN}
        name = pick.choice(("Consent", "Consent", "Consent", "Withdraw"))
        self.ask(who, f"dataset:{name}", args | {"terms_sha256": digest})

    def budget(self, pick: Random) -> None:
        who = pick.choice(HOSPITALS)
        epsilon = pick.choice((1, 1_500_000, 2_500_000, 4_000_000))
        args = {"dataset_id": dataset_of(who), "budget_epsilon_micro": epsilon}
        self.ask(who, "dataset:SetBudget", args)

    def plan(self, pick: Random) -> None:
        change = pick.choice(("Propose", "Propose", "Amend", "Advance"))
        self.version += change == "Amend"
        args = {"plan_id": PLAN} if change == "Advance" else plan_terms(1)
        if change == "Amend":
            args = plan_terms(self.version)
        self.ask(pick.choice(HOSPITALS), f"plan:{change}", args)

    def hold(self, pick: Random) -> None:
        plan = self.found(keys.plan(PLAN))
        who = plan["proposed_by"] if plan else HOSPITALS[0]
        args = {"plan_id": PLAN, "reason": "we say so"}
        self.ask(who, f"plan:{pick.choice(HOLDS)}", args)

    def join(self, pick: Random) -> None:
        who = pick.choice(HOSPITALS)
        data = edge_data(who) if pick.random() < 0.8 else dataset_of(who)
        args = {"plan_id": PLAN, "dataset_id": data, "slot": pick.choice((0, 0, 1, 2))}
        self.ask(who, "plan:Join", args, pick.choice(DYNAMIC))

    def leave_plan(self, pick: Random) -> None:
        node = pick.choice(DYNAMIC)
        args = {"plan_id": PLAN, "node_id": node}
        self.ask(pick.choice(HOSPITALS), "plan:Leave", args, pick.choice((node, "admin")))

    def ceremony(self, pick: Random) -> None:
        """A ceremony's next stages, perhaps without one hospital."""
        skip = pick.choice((None, None, None, *HOSPITALS))
        for name, args_of in (
            ("ceremony:Commit", commit_args),
            ("ceremony:Reveal", reveal_args),
            ("ceremony:Confirm", confirm_args),
        ):
            for who in HOSPITALS:
                if who != skip:
                    self.ask(who, name, args_of(plan_terms(), who), "node1")
            self.ask(HOSPITALS[1], "ceremony:Advance", {"plan_id": PLAN}, "node1")

    def round(self, pick: Random) -> None:
        """A round's next stages, perhaps without one hospital."""
        good, skip = pick.random() < 0.8, pick.choice((*(None,) * 8, *HOSPITALS))
        self.open_next(pick)
        self.stages(pick, pick.choice((1, 2, 4, 5)), good, skip)

    def stages(self, pick: Random, number: int, good: bool, skip: str | None) -> None:
        for _ in range(number):
            newest = max(1, self.newest())
            for who in HOSPITALS:
                if who != skip:
                    self.contribute(who, newest, good)
            args = {"plan_id": PLAN, "number": newest}
            self.ask(pick.choice(HOSPITALS), "round:Advance", args, "node1")

    def object(self, pick: Random) -> None:
        """Some hospitals object to an update, perhaps for different reasons; the next stages."""
        number = max(1, self.newest())
        self.stages(pick, 1, True, None)
        for update in self.all("update", *keys.round_(PLAN, number)[1])[:1]:
            args = {"plan_id": PLAN, "round": number, "subject_sha256": update["update"]["sha256"]}
            for who in pick.sample(HOSPITALS, pick.choice((2, 3, 4))):
                code = pick.choice(("MF-6011", "MF-6011", "MF-6011", "MF-7021"))
                self.ask(who, "round:Object", args | {"code": code}, "node1")
        args = {"plan_id": PLAN, "number": number}
        self.ask(pick.choice(HOSPITALS), "round:Advance", args, "node1")
        self.stages(pick, 3, True, None)

    def post(self, pick: Random) -> None:
        """One hospital alone, in a round that need not be the open one."""
        number = max(1, self.newest() + pick.choice((0, 0, 0, 1, -1)))
        self.contribute(pick.choice(EVERYBODY), number, pick.random() < 0.5)
        args = {"plan_id": PLAN, "number": number}
        self.ask(pick.choice(EVERYBODY), "round:Advance", args, "node1")

    def open_next(self, pick: Random) -> None:
        args = {"plan_id": PLAN, "number": self.newest() + 1}
        self.ask(pick.choice(EVERYBODY), "round:Open", args, "node1")

    def contribute(self, who: str, number: int, good: bool) -> None:
        plan = plan_terms()
        if self.found(keys.round_(PLAN, number)) is not None:
            for node, data in (("node1", dataset_of(who)), ("edge", edge_data(who))):
                args = self.scenario.update_args(plan, who, number) | {"dataset_id": data}
                args["update"] = ref(f"{who} {node} {number}")
                self.ask(who, "round:SubmitUpdate", args, node)
        round_ = self.found(keys.round_(PLAN, number))
        dropped = len(round_.get("dropped", ())) if round_ else 0
        attested = attest_args(plan, number, "" if good else f"own {who}", dropped)
        self.ask(who, "round:Attest", attested, "node1")
        self.ask(who, "round:SubmitShare", share_args(plan, who, number), "node1")
        verdict = evaluate_args(plan, number, correct=19 if good else 0)
        self.ask(who, "round:Evaluate", verdict, "node1")

    def newest(self) -> int:
        plan = self.found(keys.plan(PLAN))
        return plan["rounds_opened"] if plan else 0

    def wait(self, pick: Random) -> None:
        self.scenario.wait(pick.choice((1, 101, 101, 600)))


STAGES = ("enrolled", "proposed", "approved", "active", "open", "sealed", "aggregated")
MUST_REACH = {
    ("round", "PUBLISHED"),
    ("round", "PUBLISHED without an update"),
    ("round", "FAILED"),
    ("motion", "CARRIED"),
    ("complaint", "UPHELD"),
    ("classifier", "ADOPTED"),
}
STEPS = 60
# A walk is its seed: there is nothing to shrink.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def test_what_must_hold_holds_after_every_transaction():
    walked: list[Life] = []

    @settings(
        max_examples=30, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(STAGES), st.randoms(use_true_random=True))
    def walk(stage: str, pick: Random) -> None:
        walked.append(life := Life(stage))
        for _ in range(STEPS):
            life.act(pick)
        life.check_lineage()

    # What thirty walks reach is chance: where they miss something, more of them go there.
    for _ in range(MOST_TIMES):
        walk()
        reached = set().union(*(life.reached for life in walked))
        if reached >= MUST_REACH:
            break

    # A walk that is refused everything, or never gets far, would try nothing.
    assert sum(life.asked for life in walked) > 5000
    assert sum(life.taken for life in walked) > 300
    assert reached >= MUST_REACH
