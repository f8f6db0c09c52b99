"""Nodes that join a plan by its rule, and what each transaction costs in a large consortium."""

from __future__ import annotations

import pytest
from support.memory_stub import creator
from support.scenario import (
    BATCH,
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
    ref,
    reveal_args,
    sha,
    share_args,
    terms,
)

from chaincode.schema.base import Role
from chaincode.schema.encryption import choose
from chaincode.schema.errors import Code
from chaincode.schema.plans import DynamicTerms, ParticipationTerms

ONE, TWO, THREE, FOUR = HOSPITALS
FIRST = {"plan_id": PLAN, "number": 1}
DYNAMIC = DynamicTerms(hospitals=HOSPITALS, slots=2, least_samples=SAMPLES, devices=("jetson",))


def dynamic_terms(rule=DYNAMIC, **participation):
    return terms(**{"dynamic": rule, "quorum": 2, **participation})


def enrolled(plan=None):
    """The plan is active; node1 of each hospital is named in it."""
    scenario = at("enrolled")
    plan = plan or dynamic_terms()
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    return scenario


def add_node(scenario, name, msp_id=ONE, *, consent=True, plan=None, **changes):
    """A dynamic node with a dataset of its own."""
    scenario.users[msp_id, name] = creator(msp_id, name, "trainer")
    args = scenario.node_args(msp_id, name)
    device = {"dynamic": True, "device": "jetson", "roles": ["trainer"], "node_id": name}
    scenario.do(msp_id, "node:Register", {**args, **device, **changes})
    scenario.do(msp_id, "dataset:Register", dataset_args(f"{msp_id.lower()}-{name}"))
    if consent:
        digest = (plan or dynamic_terms()).sha256
        given = {"plan_id": PLAN, "dataset_id": f"{msp_id.lower()}-{name}", "terms_sha256": digest}
        scenario.do(msp_id, "dataset:Consent", given)


def join_args(name, msp_id=ONE, slot=0, **changes):
    return {"plan_id": PLAN, "dataset_id": f"{msp_id.lower()}-{name}", "slot": slot, **changes}


def join(scenario, name, msp_id=ONE, slot=0):
    return scenario.do(msp_id, "plan:Join", join_args(name, msp_id, slot), name)


def part(scenario, number=1):
    round_ = scenario.round_state(dynamic_terms(), number)
    return [(p["msp_id"], p["node_id"]) for p in round_["participants"]]


def submit(scenario, name, msp_id=ONE, number=1):
    args = scenario.update_args(dynamic_terms(), msp_id, number)
    args |= {"dataset_id": f"{msp_id.lower()}-{name}", "update": ref(f"{name} {number}")}
    scenario.do(msp_id, "round:SubmitUpdate", args, name)


# joining and leaving


def test_a_node_joins_trains_and_leaves_between_rounds():
    scenario = enrolled()
    add_node(scenario, "edge")
    join(scenario, "edge")
    scenario.open(dynamic_terms())
    submit(scenario, "edge")
    scenario.submit(dynamic_terms())
    scenario.do(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "edge"}, "edge")

    sealed = scenario.advance(dynamic_terms())
    for step in (scenario.attest, scenario.share, scenario.evaluate):
        step(dynamic_terms())
        scenario.advance(dynamic_terms())
    scenario.open(dynamic_terms(), 2)

    named = [(h, "node1") for h in HOSPITALS]
    assert part(scenario) == [(ONE, "edge"), *named]
    assert [(c["msp_id"], c["node_id"]) for c in sealed["contributions"]] == part(scenario)
    assert part(scenario, 2) == named


def test_a_node_that_joins_while_a_round_is_open_takes_part_from_the_next():
    scenario = enrolled()
    add_node(scenario, "edge")
    scenario.open(dynamic_terms())
    join(scenario, "edge")

    args = scenario.update_args(dynamic_terms(), ONE) | {"dataset_id": f"{ONE.lower()}-edge"}
    early = scenario.refused(ONE, "round:SubmitUpdate", args, "edge")
    for step in (scenario.submit, scenario.attest, scenario.share, scenario.evaluate):
        step(dynamic_terms())
        scenario.advance(dynamic_terms())
    scenario.open(dynamic_terms(), 2)

    assert early.code == Code.NOT_A_PARTICIPANT
    assert (ONE, "edge") in part(scenario, 2)


def test_a_node_that_left_is_still_counted_on_in_the_open_round():
    scenario = enrolled()
    add_node(scenario, "edge")
    join(scenario, "edge")
    scenario.open(dynamic_terms())
    scenario.do(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "edge"})
    scenario.submit(dynamic_terms())
    waiting = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.wait()

    sealed = scenario.advance(dynamic_terms())

    assert waiting.code == Code.NOT_YET
    assert sealed["missing"] == [{"msp_id": ONE, "node_id": "edge"}]


def test_places_are_numbered_taken_once_and_free_again():
    scenario = enrolled()
    for name in ("edge", "other", "third"):
        add_node(scenario, name)
    join(scenario, "edge")

    taken = scenario.refused(ONE, "plan:Join", join_args("other"), "other")
    beyond = scenario.refused(ONE, "plan:Join", join_args("other", slot=2), "other")
    again = scenario.refused(ONE, "plan:Join", join_args("edge", slot=1), "edge")
    join(scenario, "other", slot=1)
    scenario.do(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "edge"}, "edge")
    twice = scenario.refused(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "edge"}, "edge")
    never = scenario.refused(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "third"}, "third")
    join(scenario, "third")

    assert (never.code, "third of" in never.message) == (Code.NOT_FOUND, True)
    assert (taken.code, beyond.code) == (Code.PLACE_TAKEN, Code.NOT_ELIGIBLE)
    assert (again.code, twice.code) == (Code.ALREADY, Code.ALREADY)
    shown = scenario.do(TWO, "plan:Places", {"plan_id": PLAN, "msp_id": ONE}, "auditor")["places"]
    assert [(p["slot"], p["node_id"], p["left_at"]) for p in shown] == [
        (0, "third", None),
        (1, "other", None),
    ]


def test_one_dataset_is_trained_on_by_one_node():
    scenario = enrolled()
    for name in ("edge", "other"):
        add_node(scenario, name)
    join(scenario, "edge")
    edges = join_args("other", slot=1) | {"dataset_id": f"{ONE.lower()}-edge"}
    named = join_args("other", slot=1) | {"dataset_id": dataset_of(ONE)}

    refused = [scenario.refused(ONE, "plan:Join", args, "other").code for args in (edges, named)]

    assert refused == [Code.EXISTS, Code.EXISTS]


@pytest.mark.parametrize(
    ("rule", "changes", "code"),
    [
        ({}, {"device": "cpu"}, Code.NOT_ELIGIBLE),
        ({}, {"dynamic": False}, Code.NOT_ELIGIBLE),
        ({"roles": (Role.TRAINER, Role.AUDITOR)}, {}, Code.NOT_ELIGIBLE),
        ({"least_samples": SAMPLES + 1}, {}, Code.NOT_ELIGIBLE),
        ({"hospitals": (TWO, THREE)}, {}, Code.NOT_A_PARTICIPANT),
    ],
)
def test_the_plans_rule_decides_who_joins(rule, changes, code):
    plan = dynamic_terms(DYNAMIC.model_copy(update=rule))
    scenario = enrolled(plan)
    add_node(scenario, "edge", plan=plan, **changes)

    assert scenario.refused(ONE, "plan:Join", join_args("edge"), "edge").code == code


def uphold(scenario, kind, subject_id, **terms):
    """A complaint, upheld by the hospitals other than the first."""
    name = f"about-{kind}"
    args = {"complaint_id": name, "subject": kind, "subject_id": subject_id, "reason": "tampered"}
    opened = scenario.do(TWO, "complaint:Open", args | {"evidence_sha256": sha("log")} | terms)
    for hospital in (TWO, THREE, FOUR):
        scenario.vote(hospital, "complaint", name, opened["terms_sha256"])
    scenario.do(TWO, "complaint:Advance", {"complaint_id": name})


@pytest.mark.parametrize(("kind", "subject_id"), [("node", f"{ONE}/edge"), ("hospital", ONE)])
def test_a_reputation_below_the_plans_least_neither_joins_nor_goes_on(kind, subject_id):
    plan = dynamic_terms(DYNAMIC.model_copy(update={"least_reputation_milli": 400}))
    scenario = enrolled(plan)
    add_node(scenario, "edge", plan=plan)
    join(scenario, "edge")
    uphold(scenario, kind, subject_id)

    scenario.open(plan)
    scenario.do(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "edge"})
    again = scenario.refused(ONE, "plan:Join", join_args("edge"), "edge")

    excluded = scenario.round_state(dynamic_terms())["excluded"]
    assert [(e["node_id"], e["code"]) for e in excluded] == [("edge", Code.NOT_ELIGIBLE)]
    assert again.code == Code.NOT_ELIGIBLE


def test_a_node_that_is_suspended_by_vote_takes_no_part_in_rounds_that_open_meanwhile():
    scenario = enrolled()
    add_node(scenario, "edge")
    join(scenario, "edge")
    uphold(scenario, "node", f"{ONE}/edge", suspend_seconds=10_000)

    scenario.open(dynamic_terms())

    excluded = scenario.round_state(dynamic_terms())["excluded"]
    assert [(e["node_id"], e["code"]) for e in excluded] == [("edge", Code.NODE_NOT_ACTIVE)]


def test_no_join_without_consent_nor_with_anothers_dataset():
    scenario = enrolled()
    add_node(scenario, "edge", consent=False)
    foreign = join_args("edge") | {"dataset_id": dataset_of(TWO)}

    assert scenario.refused(ONE, "plan:Join", join_args("edge"), "edge").code == (
        Code.CONSENT_MISSING
    )
    assert scenario.refused(ONE, "plan:Join", foreign, "edge").code == Code.NOT_OWNER


def test_no_join_where_the_plan_admits_nobody_or_does_not_run():
    static = at("active")
    add_node(static, "edge", consent=False)
    proposed = at("enrolled")
    proposed.propose(dynamic_terms())
    add_node(proposed, "edge")

    assert static.refused(ONE, "plan:Join", join_args("edge"), "edge").code == Code.NOT_ELIGIBLE
    refused = proposed.refused(ONE, "plan:Join", join_args("edge"), "edge")
    assert refused.code == Code.PLAN_NOT_APPROVED


def test_a_node_that_is_revoked_keeps_no_place_in_the_next_round():
    scenario = enrolled()
    add_node(scenario, "edge")
    join(scenario, "edge")
    scenario.do(ONE, "node:Revoke", {"node_id": "edge", "reason": "stolen"})

    scenario.open(dynamic_terms())

    assert (ONE, "edge") not in part(scenario)
    scenario.do(ONE, "plan:Leave", {"plan_id": PLAN, "node_id": "edge"})
    add_node(scenario, "fresh")
    join(scenario, "fresh")


def test_a_plan_of_dynamic_nodes_alone():
    plan = dynamic_terms(participants=())
    scenario = enrolled(plan)
    nobody = scenario.refused(ONE, "round:Open", FIRST)
    for hospital in (ONE, TWO):
        add_node(scenario, "edge", hospital, plan=plan)
        join(scenario, "edge", hospital)

    scenario.open(plan)

    assert nobody.code == Code.TOO_FEW_PARTICIPANTS
    assert part(scenario) == [(ONE, "edge"), (TWO, "edge")]


@pytest.mark.parametrize(
    ("rule", "participation"),
    [
        ({"hospitals": (ONE, ONE)}, {}),
        ({"hospitals": (ONE, "Hospital9MSP")}, {}),
        ({"roles": (Role.VALIDATOR,)}, {}),
        ({"least_samples": BATCH - 1}, {}),
        ({"least_samples": BATCH}, {}),  # all rounds would cost such a dataset too much
        ({"slots": 64}, {"quorum": 4 + 4 * 64 + 1}),
        ({"hospitals": (ONE,)}, {"participants": (), "agreement": 2}),
    ],
)
def test_a_rule_that_cannot_be_carried_out_is_refused(rule, participation):
    plan = dynamic_terms(DYNAMIC.model_copy(update=rule), **participation)

    assert at("enrolled").refused(ONE, "plan:Propose", plan).code == Code.PLAN_INVALID


# what it costs in a large consortium

TEN = tuple(f"Clinic{number:02d}MSP" for number in range(1, 11))


class Large(Scenario):
    """Ten hospitals with ``nodes`` registered nodes, and a plan that admits two of each."""

    def __init__(self, nodes: int) -> None:
        roles = {"admin": "admin", "node1": "trainer,validator", "edge": "trainer"}
        roles |= {"spare": "trainer", "auditor": "auditor"}
        super().__init__({(h, u): creator(h, u, r) for h in TEN for u, r in roles.items()})
        founders = [{"msp_id": h, "name": h} for h in TEN]
        charter = self.do(TEN[0], "consortium:Found", {"name": "Large", "hospitals": founders})
        for hospital in TEN[1:]:
            self.vote(hospital, "charter", "Large", charter["charter_sha256"])
        self.do(TEN[0], "consortium:Advance", {"subject": "charter", "subject_id": "Large"})
        for hospital in TEN:
            self.do(hospital, "node:Register", self.node_args(hospital))
            for number in range(nodes // len(TEN)):
                args = self.node_args(hospital) | {"node_id": f"crowd{number}", "dynamic": True}
                args["public_key_sha256"] = f"{number:064x}"
                self.do(hospital, "node:Register", args)
        rule = DynamicTerms(hospitals=TEN, slots=2, least_samples=SAMPLES)
        plan = terms()
        who = ParticipationTerms(participants=(), dynamic=rule, quorum=10, agreement=6)
        plan = plan.model_copy(update={"participation": who})
        hidden = choose(plan.workload, clip_micro=8_000_000, error_nano=10_000)
        self.plan = plan.model_copy(update={"encryption": hidden})
        self.cost: dict[str, tuple[int, int]] = {}

    def counted(self, msp_id, name, args, user=None, label=""):
        result = self.do(msp_id, name, args, user)
        self.cost[name + label] = (len(self.ledger.keys_read), len(self.ledger.keys_written))
        return result

    def life(self) -> dict[str, tuple[int, int]]:
        """Every kind of transaction once; keys read and written by each."""
        one, plan, first = TEN[0], self.plan, {"plan_id": PLAN, "number": 1}
        self.counted(one, "plan:Propose", plan)
        for hospital in TEN:
            for name in ("edge", "spare"):
                add_node(self, name, hospital, plan=plan)
            self.vote(hospital, "plan", PLAN, plan.sha256)
        self.counted(one, "plan:Advance", {"plan_id": PLAN})
        for name, args_of in (
            ("ceremony:Commit", commit_args),
            ("ceremony:Reveal", reveal_args),
            ("ceremony:Confirm", confirm_args),
        ):
            for hospital in TEN:
                self.counted(hospital, name, args_of(plan, hospital))
            self.counted(one, "ceremony:Advance", {"plan_id": PLAN}, label=name)
        for hospital in TEN:
            for slot, name in enumerate(("edge", "spare")):
                args = join_args(name, hospital, slot)
                self.counted(hospital, "plan:Join", args, name)
        self.counted(one, "round:Open", first)
        for hospital in TEN:
            for name in ("edge", "spare"):
                args = self.update_args(plan, hospital)
                args |= {"dataset_id": f"{hospital.lower()}-{name}"}
                args |= {"update": ref(f"update {hospital} {name}")}
                self.counted(hospital, "round:SubmitUpdate", args, name)
        for stage, name, args_of in (
            ("seal", "round:Attest", lambda _: attest_args(plan)),
            ("aggregate", "round:SubmitShare", lambda h: share_args(plan, h)),
            ("decrypt", "round:Evaluate", lambda _: evaluate_args(plan)),
        ):
            self.counted(one, "round:Advance", first, label=stage)
            for hospital in TEN:
                self.counted(hospital, name, args_of(hospital))
        self.counted(one, "round:Advance", first, label="publish")
        self.nodes()
        return self.cost

    def nodes(self) -> None:
        one = TEN[0]
        edge = {"node_id": "edge"}
        self.counted(one, "plan:Leave", {"plan_id": PLAN, **edge}, "edge")
        self.counted(one, "node:Rest", edge, "edge")
        self.counted(one, "node:Wake", edge, "edge")
        self.counted(one, "node:Renew", {**edge, "public_key_sha256": "f" * 64})
        self.counted(one, "node:Suspend", edge)
        self.counted(one, "node:Resume", edge)
        self.counted(one, "node:Revoke", edge)
        extra = self.node_args(one) | {"node_id": "extra", "public_key_sha256": "e" * 64}
        self.counted(one, "node:Register", extra)
        self.counted(one, "node:List", {"msp_id": one, "page_size": 2}, "auditor")
        self.counted(one, "node:List", {"page_size": 2}, "auditor", label="all")
        self.counted(one, "plan:Places", {"plan_id": PLAN, "page_size": 2}, "auditor")
        self.counted(one, "round:Get", {"plan_id": PLAN, "number": 1}, "auditor")
        accused = {"msp_id": TEN[9], "reason": "test"}
        digest = self.counted(one, "consortium:ProposeExpulsion", accused)["terms_sha256"]
        for hospital in TEN[:9]:
            self.vote(hospital, "expulsion", TEN[9], digest)
        subject = {"subject": "expulsion", "subject_id": TEN[9]}
        self.counted(one, "consortium:Advance", subject)
        self.counted(TEN[8], "consortium:Leave", {"reason": "test"})


def test_no_transaction_costs_more_with_a_thousand_nodes_than_with_ten():
    few, many = Large(10), Large(1000)

    assert few.life() == many.life()
    assert len(few.cost) > 25
    assert len([k for k in many.ledger.state if k.startswith("\x00node\x00")]) > 1000


def test_nodes_that_join_at_once_touch_none_of_each_others_keys():
    scenario = enrolled()
    reads, writes = [], []
    for name, slot in (("edge", 0), ("other", 1)):
        add_node(scenario, name)
        join(scenario, name, slot=slot)
        reads.append(set(scenario.ledger.keys_read))
        writes.append(set(scenario.ledger.keys_written))

    assert not writes[0] & writes[1]
    assert not writes[0] & reads[1]
    assert not writes[1] & reads[0]
