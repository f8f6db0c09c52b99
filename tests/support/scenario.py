"""A consortium of four hospitals on an in-memory ledger, taken to any point of a plan's life.

Every step runs the real transactions. A stage's ledger is made once and copied for each test.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from chaincode.contracts import chaincode
from chaincode.schema import canonical, keys
from chaincode.schema.accounting import calibrate
from chaincode.schema.base import ContentRef, Language
from chaincode.schema.ceremonies import commitment
from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import MedFabricError, parse
from chaincode.schema.grouptests import commitment as commitment_to_draw
from chaincode.schema.masking import Masking
from chaincode.schema.plans import (
    AcceptanceTerms,
    ModelTerms,
    Participant,
    ParticipationTerms,
    PlanTerms,
    PrivacyTerms,
    TrainingTerms,
)
from chaincode.schema.rounds import Cohort, Contributions, Round, Update, WholeRound
from chaincode.schema.stored import whole
from chaincode.schema.strategies import Strategy
from chaincode.schema.transactions import TRANSACTIONS
from chaincode.shim.chaincode import Response
from chaincode.shim.identity import ClientIdentity
from chaincode.shim.stub import composite_key, split_composite_key
from support.memory_stub import MemoryLedger, creator

HOSPITALS = tuple(f"Hospital{number}MSP" for number in range(1, 5))
ROLES = {"admin": "admin", "node1": "trainer,validator", "auditor": "auditor"}
PLAN = "plan-1"
SAMPLES, BATCH, STEPS, ROUNDS = 100, 20, 10, 2
GOOD, BAD = 0, 1
"""Where a tally has its events ever."""
EPSILON = 3_000_000
DELTA = 10_000
# The base point of P-256 (SP 800-186, 3.2.1.3).
TRANSPORT_KEY = (
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)

Certificates = Mapping[tuple[str, str], bytes]


def sha(text: str) -> str:
    """Hex SHA-256, to make up a hash by name."""
    return hashlib.sha256(text.encode()).hexdigest()


def ref(text: str) -> dict[str, Any]:
    """A content reference, as an argument."""
    return {"cid": "Qm" + sha(text)[:20], "sha256": sha(text), "size_bytes": 1000}


def content(text: str) -> ContentRef:
    """The same as a model."""
    return ContentRef(**ref(text))


def dataset_of(msp_id: str) -> str:
    """Name of the hospital's dataset."""
    return f"{msp_id.lower()}-data"


def certificates() -> dict[tuple[str, str], bytes]:
    """A creator for every user of every hospital."""
    return {(h, user): creator(h, user, roles) for h in HOSPITALS for user, roles in ROLES.items()}


@lru_cache(maxsize=8)
def _noise(rounds: int) -> int:
    return calibrate(BATCH, SAMPLES, STEPS * rounds, EPSILON, DELTA)


def terms(plan_id: str = PLAN, *, rounds: int = ROUNDS, **participation: Any) -> PlanTerms:
    """A plan of all four hospitals; ``participation`` replaces fields of its terms."""
    who = {
        "participants": tuple(
            Participant(msp_id=h, node_id="node1", dataset_id=dataset_of(h)) for h in HOSPITALS
        ),
        "quorum": 3,
        "agreement": 3,
        "ceremony_seconds": 100,
        "update_seconds": 100,
        "stage_seconds": 100,
    }
    return PlanTerms(
        plan_id=plan_id,
        title="Trial",
        data=DataTerms(
            application="wdbc",
            features=(Feature(name="radius", low_micro=0, high_micro=30_000_000),),
            label="malignant",
            classes=("no", "yes"),
        ),
        model=ModelTerms(
            architecture="logistic",
            config={"inputs": 1, "classes": 2},
            architecture_sha256=sha("architecture"),
            parameters=4,
            base=content("base"),
        ),
        training=TrainingTerms(
            strategy=Strategy.FEDAVG,
            rounds=rounds,
            steps=STEPS,
            batch_size=BATCH,
            learning_rate_micro=100_000,
        ),
        privacy=PrivacyTerms(
            epsilon_micro=EPSILON,
            delta_nano=DELTA,
            noise_multiplier_micro=_noise(rounds),
            sample_clip_micro=1_000_000,
        ),
        encryption=EncryptionTerms(),
        participation=ParticipationTerms(**{**who, **participation}),
        acceptance=AcceptanceTerms(),
    )


_PARTS_OF_A_ROUND = {"cohort": Cohort, "contributions": Contributions, "update": Update}


class Scenario:
    """The ledger, its users and the time of the next transaction."""

    def __init__(self, users: Certificates | None = None) -> None:
        self.ledger = MemoryLedger()
        self.users = dict(certificates() if users is None else users)
        self.now = 1_800_000_000
        self.responses: list[Response] = []
        self.carried_out: set[str] = set()
        self.chaincode = chaincode()

    # calls

    def invoke(
        self,
        who: bytes,
        name: str,
        args: Language | Mapping[str, Any],
        transient: Mapping[str, bytes] | None = None,
    ) -> Response:
        """One transaction one second later, committed if it succeeded."""
        return self._send(who, name, canonical.dumps(args), transient)

    def raw(self, msp_id: str, name: str, argument: bytes | None) -> Response:
        """A transaction whose argument is any bytes, or none."""
        return self._send(self.users[msp_id, usual(name)], name, argument)

    def _send(
        self,
        who: bytes,
        name: str,
        argument: bytes | None,
        transient: Mapping[str, bytes] | None = None,
    ) -> Response:
        self.now += 1
        response = self.ledger.invoke(
            self.chaincode, who, name, argument, self.now, transient=transient
        )
        self.responses.append(response)
        if row := TRANSACTIONS.get(name):
            _no_ranges(self.ledger, writes=row.writes)
        return response

    def do(
        self,
        msp_id: str,
        name: str,
        args: Language | Mapping[str, Any] | None = None,
        user: str | None = None,
        transient: Mapping[str, bytes] | None = None,
    ) -> dict[str, Any]:
        """A transaction that must succeed; its result, with what it has by default."""
        who = self.users[msp_id, user or usual(name)]
        response = self.invoke(who, name, args or {}, transient)
        assert response.status == 200, response.message
        self.carried_out.add(name)
        kind = TRANSACTIONS[name].result
        result: dict[str, Any] = kind.model_validate_json(response.payload).model_dump(mode="json")
        return result

    def refused(
        self,
        who: str | bytes,
        name: str,
        args: Language | Mapping[str, Any] | None = None,
        user: str | None = None,
        transient: Mapping[str, bytes] | None = None,
    ) -> MedFabricError:
        """A transaction that must be refused and leave nothing behind; why it was refused.

        ``who`` is a hospital, or a creator of the test's own.
        """
        identity = who if isinstance(who, bytes) else self.users[who, user or usual(name)]
        before = copy.deepcopy(_kept(self.ledger))
        response = self.invoke(identity, name, args or {}, transient)
        after = _kept(self.ledger)
        assert 400 <= response.status < 500, (response.status, response.payload)
        assert after == before, "a refused transaction has written"
        error = parse(response.message)
        assert error is not None, response.message
        return error

    def refused_bytes(self, msp_id: str, name: str, argument: bytes) -> MedFabricError:
        """Why an argument of any bytes is refused."""
        response = self.raw(msp_id, name, argument)
        assert 400 <= response.status < 500, (response.status, response.payload)
        error = parse(response.message)
        assert error is not None, response.message
        return error

    def identity(self, msp_id: str, user: str, *roles: str) -> None:
        """A further user of a hospital."""
        self.users[msp_id, user] = creator(msp_id, user, ",".join(roles))

    def round_state(self, plan: PlanTerms, number: int = 1) -> dict[str, Any]:
        """The round as committed, with its nodes."""
        kind, below = keys.round_(plan.plan_id, number)
        (round_,) = self._below(Round, kind, below)
        bits = plan.encryption.weight_bits
        parts = (self._below(model, kind, below) for kind, model in _PARTS_OF_A_ROUND.items())
        masking = next(iter(self._below(Masking, "masking", below)), None)
        made = WholeRound.of(round_, *parts, bits, masking, alike=plan.hides_hospitals)
        return made.model_dump(mode="json")

    def _below(self, model: type[Any], kind: str, prefix: tuple[str, ...]) -> list[Any]:
        start = composite_key(kind, prefix)
        found = sorted(key for key in self.ledger.state if key.startswith(start))
        states = ((split_composite_key(key), self.ledger.state[key]) for key in found)
        return [model.model_validate_json(whole(key, value)) for key, value in states]

    def asset(self, key: keys.Key) -> dict[str, Any]:
        """The committed asset at a key."""
        found: dict[str, Any] = json.loads(whole(key, self.ledger.state[composite_key(*key)]))
        return found

    # the consortium

    def found(self) -> None:
        """All four hospitals found the consortium."""
        founders = [{"msp_id": h, "name": f"The {h}"} for h in HOSPITALS]
        charter = self.do(
            HOSPITALS[0], "consortium:Found", {"name": "Trial", "hospitals": founders}
        )
        for hospital in HOSPITALS[1:]:
            self.vote(hospital, "charter", "Trial", charter["charter_sha256"])
        self.do(HOSPITALS[0], "consortium:Advance", {"subject": "charter", "subject_id": "Trial"})

    def vote(self, msp_id: str, subject: str, subject_id: str, digest: str, approve: bool = True):
        """One hospital's vote."""
        args = {"subject": subject, "subject_id": subject_id, "subject_sha256": digest}
        return self.do(msp_id, "consortium:Vote", {**args, "approve": approve})

    def enrol(self) -> None:
        """Every hospital registers a node and a dataset."""
        for hospital in HOSPITALS:
            self.do(hospital, "node:Register", self.node_args(hospital))
            self.do(hospital, "dataset:Register", dataset_args(dataset_of(hospital)))

    def node_args(self, msp_id: str, user: str = "node1") -> dict[str, Any]:
        """What registers a hospital's node with its own key."""
        identity = ClientIdentity.parse(self.users[msp_id, user])
        return {
            "node_id": user,
            "roles": ["trainer", "validator"],
            "public_key_sha256": identity.public_key_sha256,
            "device": "cpu",
        }

    # a plan

    def propose(self, plan: PlanTerms) -> None:
        """Proposed by the first hospital."""
        self.do(HOSPITALS[0], "plan:Propose", plan)

    def consent(self, plan: PlanTerms) -> None:
        """Every owner consents."""
        for p in plan.participation.participants:
            args = {"dataset_id": p.dataset_id, "plan_id": plan.plan_id}
            self.do(p.msp_id, "dataset:Consent", {**args, "terms_sha256": plan.sha256})

    def approve(self, plan: PlanTerms) -> None:
        """A majority approves; the ceremony opens."""
        for hospital in HOSPITALS[:3]:
            self.vote(hospital, "plan", plan.plan_id, plan.sha256)
        self.do(HOSPITALS[0], "plan:Advance", {"plan_id": plan.plan_id})

    def ceremony(self, plan: PlanTerms) -> None:
        """From COMMIT to DONE."""
        self.post_all(plan, "ceremony:Commit", commit_args)
        self.advance_ceremony(plan)
        self.post_all(plan, "ceremony:Reveal", reveal_args)
        self.advance_ceremony(plan)
        self.post_all(plan, "ceremony:Confirm", confirm_args)
        self.advance_ceremony(plan)

    def hand_on(self, plan: PlanTerms) -> None:
        """The ceremony of a plan that takes a key over, to its end."""
        self.prepare_handing(plan)
        self.deal_on(plan)
        self.post_all(plan, "ceremony:Confirm", confirm_args)
        self.advance_ceremony(plan)

    def prepare_handing(self, plan: PlanTerms) -> None:
        """The first stage of that."""
        dealers = self._dealers(plan)
        for hospital in dict.fromkeys((*plan.hospitals, *dealers)):
            self.do(hospital, "ceremony:Commit", commit_args(plan, hospital, len(dealers)))
        self.advance_ceremony(plan)

    def deal_on(self, plan: PlanTerms) -> None:
        """The second."""
        self.post_all(plan, "ceremony:Reveal", reveal_args, self._dealers(plan))
        self.advance_ceremony(plan)

    def _dealers(self, plan: PlanTerms) -> tuple[str, ...]:
        view = self.do(HOSPITALS[1], "ceremony:Get", {"plan_id": plan.plan_id})
        return tuple(view["ceremony"]["dealers"])

    def advance_ceremony(self, plan: PlanTerms) -> dict[str, Any]:
        return self.do(HOSPITALS[1], "ceremony:Advance", {"plan_id": plan.plan_id})

    def post_all(
        self,
        plan: PlanTerms,
        name: str,
        args_of: Callable[[PlanTerms, str], dict[str, Any]],
        who: tuple[str, ...] = (),
    ) -> None:
        """These hospitals post; else every one of the plan."""
        for hospital in who or plan.hospitals:
            self.do(hospital, name, args_of(plan, hospital))

    # a round

    def open(self, plan: PlanTerms, number: int = 1) -> None:
        self.do(HOSPITALS[0], "round:Open", {"plan_id": plan.plan_id, "number": number})

    def advance(self, plan: PlanTerms, number: int = 1, who: str = HOSPITALS[0]) -> dict[str, Any]:
        """Move the round on; the round as it then is."""
        self.do(who, "round:Advance", {"plan_id": plan.plan_id, "number": number})
        return self.round_state(plan, number)

    def base_of(self, plan: PlanTerms, number: int) -> str:
        """The address of the model that a round trains."""
        return str(self.asset(keys.round_(plan.plan_id, number))["base_sha256"])

    def update_args(self, plan: PlanTerms, msp_id: str, number: int = 1) -> dict[str, Any]:
        """What an honest node submits."""
        return {
            "plan_id": plan.plan_id,
            "round": number,
            "dataset_id": dataset_of(msp_id),
            "base_sha256": self.base_of(plan, number),
            "update": ref(f"update {plan.plan_id} {number} {msp_id}"),
            "samples": SAMPLES,
            "steps": STEPS,
            "batch_size": BATCH,
            "noise_multiplier_micro": plan.privacy.noise_multiplier_micro,
        }

    def submit(self, plan: PlanTerms, number: int = 1, who: tuple[str, ...] = HOSPITALS) -> None:
        """These hospitals' nodes submit their updates."""
        for hospital in who:
            self.do(hospital, "round:SubmitUpdate", self.update_args(plan, hospital, number))

    def attest(self, plan: PlanTerms, number: int = 1, who: tuple[str, ...] = HOSPITALS) -> None:
        dropped = len(self.round_state(plan, number)["dropped"])
        for hospital in who:
            drawn = {"draw_sha256": commitment_to_draw(sha("draw " + hospital))}
            args = attest_args(plan, number, dropped=dropped)
            self.do(hospital, "round:Attest", {**args, **drawn})

    def object(
        self,
        plan: PlanTerms,
        about: str,
        number: int = 1,
        who: tuple[str, ...] = HOSPITALS[:3],
        code: str = "MF-6011",
    ) -> None:
        """These hospitals object to the update of one."""
        update = ref(f"update {plan.plan_id} {number} {about}")
        args = {"plan_id": plan.plan_id, "round": number, "subject_sha256": update["sha256"]}
        for hospital in who:
            self.do(hospital, "round:Object", {**args, "code": code})

    def share(self, plan: PlanTerms, number: int = 1, who: tuple[str, ...] = HOSPITALS) -> None:
        for hospital in who:
            self.do(hospital, "round:SubmitShare", share_args(plan, hospital, number))

    def evaluate(self, plan: PlanTerms, number: int = 1, who: tuple[str, ...] = HOSPITALS) -> None:
        for hospital in who:
            self.do(hospital, "round:Evaluate", evaluate_args(plan, number))

    def round(self, plan: PlanTerms, number: int = 1) -> dict[str, Any]:
        """A whole round, to PUBLISHED."""
        self.open(plan, number)
        for step in (self.submit, self.attest, self.share, self.evaluate):
            step(plan, number)
            result = self.advance(plan, number)
        return result

    def group_test(self, plan: PlanTerms, number: int, harmed: tuple[str, ...] = ()) -> None:
        """A round's whole group test; groups with these hospitals in them lose accuracy."""
        which = {"plan_id": plan.plan_id, "round": number}
        sums = {**which, "sums_sha256": sha(f"sums {number}")}
        test = self.do(HOSPITALS[0], "grouptest:Get", which)["test"]
        for hospital in plan.hospitals:
            self.do(hospital, "grouptest:Attest", sums)
        self.do(HOSPITALS[0], "grouptest:Advance", which)
        shares = [ref(f"group {place}") for place in range(len(test["groups"]))]
        for hospital in test["key_holders"]:
            self.do(hospital, "grouptest:SubmitShares", {**sums, "shares": shares})
        self.do(HOSPITALS[0], "grouptest:Advance", which)
        groups = [set(group["members"]) for group in test["groups"]]
        correct = [10 if group & set(harmed) else 19 for group in groups]
        score = {**which, "correct": correct, "base_correct": 18, "total": 20}
        for hospital in plan.hospitals:
            self.do(hospital, "grouptest:Score", score)
        self.do(HOSPITALS[0], "grouptest:Advance", which)

    def wait(self, seconds: int = 1000) -> None:
        """Let a deadline pass."""
        self.now += seconds


def dataset_args(dataset_id: str, **changes: Any) -> dict[str, Any]:
    """What registers a dataset."""
    return {
        "dataset_id": dataset_id,
        "name": "Breast masses",
        "application": "wdbc",
        "simulated": False,
        "commitment_sha256": sha("records " + dataset_id),
        "split_sha256": sha("split " + dataset_id),
        "descriptor_sha256": sha("descriptor"),
        "train_samples": SAMPLES,
        "validation_samples": 20,
        "budget_epsilon_micro": 10_000_000,
        "delta_nano": DELTA,
        **changes,
    }


def attest_args(
    plan: PlanTerms, number: int = 1, aggregate: str = "", dropped: int = 0
) -> dict[str, Any]:
    name = aggregate or f"aggregate {number}"
    args = {"plan_id": plan.plan_id, "round": number, "aggregate_sha256": sha(name)}
    return {**args, "aggregate": ref(name), "dropped": dropped}


def share_args(plan: PlanTerms, msp_id: str, number: int = 1, attempt: int = 1) -> dict[str, Any]:
    args = {"plan_id": plan.plan_id, "round": number, "share": ref(f"share {number} {msp_id}")}
    drawn = {"draw": sha("draw " + msp_id)} if plan.acceptance.group_tests else {}
    return {**args, "attempt": attempt, "aggregate_sha256": sha(f"aggregate {number}"), **drawn}


def evaluate_args(plan: PlanTerms, number: int = 1, **changes: Any) -> dict[str, Any]:
    args = {"plan_id": plan.plan_id, "round": number, "candidate": ref(f"model {number}")}
    return {**args, "correct": 19, "base_correct": 18, "total": 20, **changes}


def commit_args(plan: PlanTerms, msp_id: str, dealers: int = 0) -> dict[str, Any]:
    """``dealers``: who hand a key on, of a hospital that gets it."""
    digest = commitment(sha("nonce " + msp_id), sha("key share " + msp_id))
    return {
        "plan_id": plan.plan_id,
        "commitment_sha256": None if plan.key else digest,
        "transport_key": TRANSPORT_KEY if plan.encryption.threshold or plan.key else None,
        "receiving": [TRANSPORT_KEY] * dealers if msp_id in plan.hospitals else [],
    }


def reveal_args(plan: PlanTerms, msp_id: str) -> dict[str, Any]:
    args = {"plan_id": plan.plan_id, "share": ref("key share " + msp_id)}
    args |= {"key": ref("collective key")} if plan.key else {"nonce": sha("nonce " + msp_id)}
    if plan.encryption.threshold or plan.key:
        bound = [sha(f"part {msp_id} {hospital}") for hospital in plan.hospitals]
        args |= {"dealing": ref("dealing " + msp_id), "bound": bound}
    return args


def confirm_args(plan: PlanTerms, _: str) -> dict[str, Any]:
    return {"plan_id": plan.plan_id, "collective_key_sha256": sha("collective key")}


def usual(name: str) -> str:
    """Who makes this transaction: the admin where an admin may, else the node."""
    row = TRANSACTIONS.get(name)
    return "admin" if row is None or "admin" in row.roles else "node1"


def _kept(ledger: MemoryLedger) -> tuple[object, ...]:
    return ledger.state, ledger.policies, ledger.events, ledger.private, ledger.purged


def _no_ranges(ledger: MemoryLedger, *, writes: bool) -> None:
    assert not (writes and ledger.ranges_read), "a transaction that writes has read a range"
    ledger.ranges_read = 0


STAGES = (
    "founded",
    "enrolled",
    "proposed",
    "approved",
    "active",
    "open",
    "sealed",
    "aggregated",
    "decrypted",
    "published",
)


def at(stage: str) -> Scenario:
    """A scenario of its own at a named point of the life of ``terms()``."""
    return copy.deepcopy(_at(stage))


@lru_cache(maxsize=len(STAGES))
def _at(stage: str) -> Scenario:
    place = STAGES.index(stage)
    scenario = Scenario() if place == 0 else at(STAGES[place - 1])
    live(scenario, stage, terms())
    return scenario


def live(scenario: Scenario, stage: str, plan: PlanTerms) -> None:
    """Take the step that leads to a stage from the one before."""
    steps: dict[str, tuple[Callable[..., Any], ...]] = {
        "proposed": (scenario.propose, scenario.consent),
        "approved": (scenario.approve,),
        "active": (scenario.ceremony,),
        "open": (scenario.open,),
        "sealed": (scenario.submit, scenario.advance),
        "aggregated": (scenario.attest, scenario.advance),
        "decrypted": (scenario.share, scenario.advance),
        "published": (scenario.evaluate, scenario.advance),
    }
    if stage == "founded":
        scenario.found()
    elif stage == "enrolled":
        scenario.enrol()
    else:
        for step in steps[stage]:
            step(plan)
