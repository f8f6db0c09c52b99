"""The administrator's command line over the real contracts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.ledger_gateway import LedgerGateway
from support.pki import make_identity
from support.scripted_gateway import serve

from chaincode.schema import canonical
from chaincode.schema.accounting import epsilon_micro, rdp_pico
from chaincode.schema.base import ContentRef, Role
from chaincode.schema.conduct import book, unknown
from chaincode.schema.encryption import EncryptionTerms, Workload, refusal
from chaincode.schema.errors import Code
from chaincode.schema.plans import SizeTerms
from chaincode.schema.reputation import Evidence, Rated, Rating, Tally
from chaincode.schema.rounds import Model, ModelStatus
from chaincode.schema.studies import Study, StudyResult, StudyStatus, StudyTerms, spending_of
from client.cli.main import cli
from client.cli.output import Exit, show
from client.consortium import Consortium, every
from client.content import DirectoryStore

HASH = "ab" * 32


@dataclass
class Desk:
    """One hospital's administrator at the command line."""

    connection: Path
    identity: Path

    def run(self, *words: str) -> tuple[int, Any, str]:
        """Exit code, what was printed as JSON, and the standard error."""
        options = ["--identity", str(self.identity), "--connection", str(self.connection), "--json"]
        result = CliRunner().invoke(cli, ["admin", *words, *options])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        shown = json.loads(result.stdout) if result.stdout else None
        return result.exit_code, shown, result.stderr

    def do(self, *words: str) -> Any:
        code, shown, error = self.run(*words)
        assert (code, error) == (0, "")
        return shown

    def refused(self, *words: str) -> tuple[int, str]:
        """Exit code and error code."""
        code, shown, error = self.run(*words)
        assert shown is None
        return code, json.loads(error)["error"]


@dataclass
class Hospitals:
    service: LedgerGateway
    folder: Path
    one: Desk
    two: Desk


@pytest.fixture
def hospitals(authority, tmp_path) -> Iterator[Hospitals]:
    service = LedgerGateway()
    with serve(service, authority, tmp_path) as (connection, _):
        desks = []
        for number in (1, 2):
            folder = tmp_path / f"hospital{number}" / "users"
            msp_id = f"Hospital{number}MSP"
            make_identity(authority, "admin", msp_id=msp_id, roles=(Role.ADMIN,)).save(
                folder / "admin"
            )
            make_identity(authority, "node1", msp_id=msp_id).save(folder / "node1")
            desks.append(Desk(connection, folder / "admin"))
        yield Hospitals(service, tmp_path, *desks)


@pytest.fixture
def founded(hospitals) -> Hospitals:
    founders = ("--hospital", "Hospital1MSP=North", "--hospital", "Hospital2MSP=South")
    hospitals.one.do("consortium", "found", "Trial", *founders)
    hospitals.two.do("consortium", "vote", "charter", "Trial", "--approve")
    hospitals.one.do("consortium", "advance", "charter", "Trial")
    return hospitals


@pytest.fixture
def three(founded, authority) -> tuple[Desk, Desk, Desk]:
    """A third hospital has been admitted."""
    folder = founded.folder / "hospital3" / "users"
    admin = make_identity(authority, "admin", msp_id="Hospital3MSP", roles=(Role.ADMIN,))
    admin.save(folder / "admin")
    founded.one.do("consortium", "propose-hospital", "Hospital3MSP", "East")
    for desk in (founded.one, founded.two):
        desk.do("consortium", "vote", "hospital", "Hospital3MSP", "--approve")
    founded.one.do("consortium", "advance", "hospital", "Hospital3MSP")
    return founded.one, founded.two, Desk(founded.one.connection, folder / "admin")


@pytest.fixture
def planned(founded) -> Hospitals:
    """A plan is proposed, with its nodes and datasets registered."""
    for number, desk in enumerate((founded.one, founded.two), 1):
        desk.do("node", "register", str(desk.identity.parent / "node1"))
        description = {
            "dataset_id": f"wards{number}",
            "name": "Wards",
            "application": "tumours",
            "simulated": True,
            "commitment_sha256": HASH,
            "split_sha256": HASH,
            "descriptor_sha256": HASH,
            "train_samples": 100,
            "validation_samples": 20,
            "budget_epsilon_micro": 3_000_000,
            "delta_nano": 10_000,
        }
        file = founded.folder / f"dataset{number}.json"
        file.write_text(json.dumps(description))
        desk.do("dataset", "register", str(file))
    (founded.folder / "plan.json").write_text(json.dumps(terms()))
    founded.one.do("plan", "propose", str(founded.folder / "plan.json"))
    return founded


def terms() -> dict[str, Any]:
    return {
        "plan_id": "tumours",
        "title": "Tumours",
        "data": {
            "application": "tumours",
            "features": [{"name": "size", "low_micro": 0, "high_micro": 10_000_000}],
            "label": "malignant",
            "classes": ["no", "yes"],
        },
        "model": {
            "architecture": "logistic",
            "config": {},
            "architecture_sha256": HASH,
            "parameters": 2,
            "base": {"cid": "bafy", "sha256": HASH, "size_bytes": 16},
        },
        "training": {
            "strategy": "fedavg",
            "rounds": 5,
            "steps": 10,
            "batch_size": 20,
            "learning_rate_micro": 3_000_000,
        },
        "privacy": {
            "epsilon_micro": 3_000_000,
            "delta_nano": 10_000,
            "noise_multiplier_micro": 2_410_000,
            "sample_clip_micro": 500_000,
        },
        "encryption": {},
        "participation": {
            "participants": [
                {"msp_id": f"Hospital{n}MSP", "node_id": "node1", "dataset_id": f"wards{n}"}
                for n in (1, 2)
            ],
            "quorum": 2,
            "agreement": 2,
        },
        "acceptance": {},
    }


def test_hospitals_found_a_consortium(founded):
    view = founded.two.do("consortium", "show")

    assert view["consortium"]["status"] == "ACTIVE"
    assert [h["name"] for h in view["hospitals"]] == ["North", "South"]


def test_a_second_vote_is_refused_with_its_code(hospitals):
    hospitals.one.do(
        "consortium", "found", "Trial", "--hospital", "Hospital1MSP", "--hospital", "Hospital2MSP"
    )
    vote = ("consortium", "vote", "charter", "Trial")
    hospitals.two.do(*vote, "--reject", "--reason", "not yet")

    assert hospitals.two.refused(*vote, "--approve") == (Exit.REFUSED, Code.SECOND_VOTE)
    ballot = hospitals.one.do("consortium", "ballot", "charter", "Trial")
    assert [v["approve"] for v in ballot["votes"]] == [True, False]


@pytest.mark.parametrize("what", ["consortium vote charter Trial", "plan vote p", "study vote s"])
def test_a_vote_for_nothing_is_asked_what_it_is_for(hospitals, what):
    code, _, error = hospitals.two.run(*what.split())

    assert code == Exit.USAGE
    assert "say --approve or --reject" in error


def test_a_further_hospital_is_proposed_and_voted_in(founded):
    founded.one.do("consortium", "propose-hospital", "Hospital3MSP", "East")
    for desk in (founded.one, founded.two):
        desk.do("consortium", "vote", "hospital", "Hospital3MSP", "--approve")

    founded.two.do("consortium", "advance", "hospital", "Hospital3MSP")

    members = founded.one.do("consortium", "show")["consortium"]["hospitals"]
    assert members == ["Hospital1MSP", "Hospital2MSP", "Hospital3MSP"]
    refused = founded.one.refused("consortium", "vote", "hospital", "Nobody", "--approve")
    assert refused == (Exit.REFUSED, Code.NOT_FOUND)


def test_nodes_are_registered_suspended_and_revoked(planned):
    planned.one.do("node", "suspend", "node1", "--reason", "maintenance")
    planned.one.do("node", "resume", "node1")
    planned.one.do("node", "revoke", "node1", "--reason", "stolen")

    rows = {row["hospital"]: row for row in planned.two.do("node", "list")}
    assert (rows["Hospital1MSP"]["status"], rows["Hospital1MSP"]["reason"]) == ("REVOKED", "stolen")
    assert rows["Hospital2MSP"]["status"] == "ACTIVE"


def test_nodes_that_are_suspended_by_vote_are_told(planned):
    held = {"msp_id": "Hospital2MSP", "node_id": "node1", "complaint_id": "leak", "until": 2**40}
    before = planned.one.do("node", "list")
    key = "\x00suspension\x00Hospital2MSP\x00node1\x00"
    planned.service.ledger.state[key] = canonical.dumps(held)

    rows = {row["hospital"]: row for row in planned.one.do("node", "list")}

    assert all("suspended by" not in row for row in before)
    assert (rows["Hospital2MSP"]["suspended by"], rows["Hospital2MSP"]["until"]) == ("leak", 2**40)
    assert rows["Hospital1MSP"]["suspended by"] is None


def test_a_hospital_is_expelled_by_the_others(three):
    one, two, three_ = three
    terms = one.do("consortium", "propose-expulsion", "Hospital3MSP", "--reason", "forged")
    vote = ("consortium", "vote", "expulsion", "Hospital3MSP", "--approve")
    wrong = two.refused(*vote, "--terms", "00" * 32)
    for desk in (one, two):
        desk.do(*vote, "--terms", terms["terms_sha256"])

    one.do("consortium", "advance", "expulsion", "Hospital3MSP")

    assert wrong == (Exit.REFUSED, Code.TERMS_MISMATCH)
    view = one.do("consortium", "show")
    assert view["consortium"]["hospitals"] == ["Hospital1MSP", "Hospital2MSP"]
    assert three_.refused("plan", "list") == (Exit.REFUSED, Code.NOT_ADMITTED)
    assert one.do("consortium", "motion", "expulsion", "Hospital3MSP")["status"] == "CARRIED"
    rows = two.do("consortium", "motions")
    assert {(row["subject"], row["of"]) for row in rows} == {
        ("hospital", "Hospital3MSP"),
        ("expulsion", "Hospital3MSP"),
    }


def test_a_hospital_leaves(three):
    three[2].do("consortium", "leave", "--reason", "merged")
    assert three[0].do("consortium", "renew-policies") == {"renewed": 0, "lost": []}

    hospitals = {h["msp_id"]: h for h in three[0].do("consortium", "show")["hospitals"]}
    assert (hospitals["Hospital3MSP"]["status"], hospitals["Hospital3MSP"]["reason"]) == (
        "LEFT",
        "merged",
    )


def test_rules_are_changed_by_vote(founded):
    file = founded.folder / "rules.json"
    file.write_text(json.dumps({"plan": {"fraction_micro": 750_000, "open_seconds": 3600}}))
    founded.one.do("consortium", "propose-rules", str(file), "--reason", "more care")
    for desk in (founded.one, founded.two):
        desk.do("consortium", "vote", "rules", "rules", "--approve")

    founded.two.do("consortium", "advance", "rules", "rules")

    rules = founded.one.do("consortium", "show")["rulebook"]["rules"]
    assert (rules["plan"]["fraction_micro"], rules["plan"]["open_seconds"]) == (750_000, 3600)


def test_a_node_is_renewed_rests_and_leaves(planned, authority):
    fresh = make_identity(authority, "node1", msp_id="Hospital1MSP")
    fresh.save(planned.folder / "fresh")
    planned.one.do("node", "renew", str(planned.folder / "fresh"), "--reason", "expires")
    planned.one.do("node", "rest", "node1", "--reason", "night")
    planned.one.do("node", "wake", "node1")
    planned.one.do("node", "leave", "node1", "--reason", "sold")

    history = planned.two.do("node", "history", "Hospital1MSP", "node1")
    assert [row["status"] for row in history] == ["ACTIVE", "ACTIVE", "RESTING", "ACTIVE", "LEFT"]
    assert {row["key"] for row in history[1:]} == {fresh.public_key_sha256}
    rows = planned.two.do("node", "list", "--hospital", "Hospital2MSP")
    assert [row["hospital"] for row in rows] == ["Hospital2MSP"]


def test_a_plan_is_amended_paused_and_resumed(planned):
    before = planned.two.do("plan", "list")[0]["terms"]
    amended = planned.folder / "amended.json"
    amended.write_text(json.dumps({**terms(), "version": 2, "title": "Smaller tumours"}))
    planned.one.do("plan", "amend", str(amended))

    row = planned.two.do("plan", "list")[0]
    shown = planned.two.do("plan", "show", "tumours")["plan"]["terms"]
    assert (row["status"], row["rounds"]) == ("PROPOSED", 0)
    assert (shown["title"], shown["version"]) == ("Smaller tumours", 2)
    versions = planned.two.do("plan", "versions", "tumours")
    assert [v["terms_sha256"] for v in versions] == [before]
    vote = ("plan", "vote", "tumours", "--approve", "--terms")
    assert planned.two.refused(*vote, before) == (Exit.REFUSED, Code.TERMS_MISMATCH)
    for name in ("pause", "resume"):
        refused = planned.one.refused("plan", name, "tumours", "--reason", "too early")
        assert refused == (Exit.REFUSED, Code.BAD_STATE)


def test_places_are_listed_and_given_back(planned):
    assert planned.one.do("plan", "places", "tumours") == []
    refused = planned.one.refused("plan", "remove-node", "tumours", "node1")
    assert refused == (Exit.REFUSED, Code.NOT_FOUND)


def test_a_plan_is_voted_on_and_consented_to(planned):
    sha256 = planned.two.do("plan", "list")[0]["terms"]
    for number, desk in enumerate((planned.one, planned.two), 1):
        desk.do("dataset", "consent", f"wards{number}", "tumours", "--terms", sha256)
        desk.do("plan", "vote", "tumours", "--approve", "--terms", sha256)

    planned.one.do("plan", "advance", "tumours")

    shown = planned.two.do("plan", "show", "tumours")
    assert shown["plan"]["status"] == "APPROVED"
    assert shown["ceremony"]["status"] == "COMMIT"
    planned.two.do("dataset", "withdraw", "wards2", "tumours", "--reason", "patients object")
    planned.one.do("plan", "abort", "tumours", "--reason", "not needed")
    assert planned.two.do("plan", "list")[0]["status"] == "ABORTED"


def test_a_vote_binds_to_the_terms_that_were_read(planned):
    vote = ("plan", "vote", "tumours", "--approve", "--terms", "00" * 32)

    assert planned.two.refused(*vote) == (Exit.REFUSED, Code.TERMS_MISMATCH)
    assert planned.one.do("plan", "show", "tumours")["votes"] == []


def test_a_complaint_is_voted_on_and_its_subject_shown(planned):
    about = {
        "complaint_id": "leak",
        "subject": "node",
        "subject_id": "Hospital2MSP/node1",
        "reason": "sends what it should not",
        "evidence_sha256": HASH,
        "suspend_seconds": 3600,
    }
    file = planned.folder / "complaint.json"
    file.write_text(json.dumps(about))
    opened = planned.one.do("complaint", "open", str(file))
    vote = ("complaint", "vote", "leak", "--uphold")

    wrong = planned.one.refused(*vote, "--terms", "00" * 32)
    planned.one.do(*vote, "--terms", opened["terms_sha256"], "--reason", "seen it")
    accused = planned.two.refused(*vote)
    decided = planned.two.do("complaint", "advance", "leak")

    assert wrong == (Exit.REFUSED, Code.TERMS_MISMATCH)
    assert accused == (Exit.REFUSED, Code.NOT_A_VOTER)
    assert decided["status"] == "DISMISSED"  # one of two hospitals is no majority
    assert planned.two.do("complaint", "show", "leak")["votes"][0]["reason"] == "seen it"
    assert planned.two.do("complaint", "list")[0]["about"] == "node Hospital2MSP/node1"
    shown = planned.two.do("reputation", "show", "node", "Hospital2MSP/node1")
    assert (shown["score_milli"], shown["tallies"]) == (500, [])
    tally = Tally(good=3, bad=1, recent_good_milli=2812, recent_bad_milli=968)
    booked = {name: shown[name] for name in Rating.model_fields}
    booked["tallies"] = {Evidence.DUTY: tally}
    key = "\x00reputation\x00node\x00Hospital2MSP\x00node1\x00"
    planned.service.ledger.state[key] = canonical.dumps(booked)
    (row,) = planned.two.do("reputation", "show", "node", "Hospital2MSP/node1")["tallies"]
    assert row == {"of": "duty", **tally._asdict()}


def study_of(planned) -> dict[str, Any]:
    asked = {
        "study_id": "sizes",
        "title": "Sizes",
        "plan_id": "tumours",
        "data": terms()["data"],
        "levels": 100,
        "datasets": [{"msp_id": "Hospital1MSP", "dataset_id": "wards1"}],
        "holder": "Hospital2MSP",
        "statistics": ["mean"],
        "least_records": 10,
        "most_records": 1000,
        "flooding": {"scale_bits": 10, "flood_bits": 10},
    }
    (planned.folder / "study.json").write_text(json.dumps(asked))
    return asked


def test_a_study_is_fitted_to_its_plans_key_and_refused_before_that_is_confirmed(planned):
    study_of(planned)
    file = str(planned.folder / "study.json")

    fitted = planned.one.do("study", "fit", file)

    assert fitted["flooding"]["statistical_bits"] >= 40
    assert fitted["flooding"]["flood_bits"] < fitted["flooding"]["scale_bits"]
    assert planned.one.refused("study", "propose", file) == (Exit.REFUSED, Code.STUDY_INVALID)


def test_a_study_gets_the_least_noise_that_an_epsilon_allows(planned):
    asked = study_of(planned)
    file = planned.folder / "study.json"
    fit = ("study", "fit", str(file), "--epsilon", "2")
    without = planned.one.refused(*fit)
    file.write_text(
        json.dumps(asked | {"privacy": {"noise_milli": 1, "quorum": 1, "colluding": 0}})
    )

    fitted = StudyTerms.model_validate_json(json.dumps(planned.one.do(*fit)))

    assert without == (Exit.REFUSED, Code.STUDY_INVALID)
    assert 1_990_000 < spending_of(fitted, 10_000).epsilon_micro <= 2_000_000


def test_exact_studies_of_a_dataset_are_limited_by_its_owner(planned):
    limited = ("study", "limit", "wards1", "--most", "2", "--apart", "20")

    foreign = planned.two.refused(*limited)
    limit = planned.one.do(*limited)

    assert foreign == (Exit.REFUSED, Code.NOT_OWNER)
    assert (limit["most_studies"], limit["least_apart"]) == (2, 20)
    assert planned.two.do("study", "uses", "wards1") == {"dataset_id": "wards1", "uses": []}


def test_a_study_is_voted_on_consented_to_and_its_findings_read(planned):
    wanted = StudyTerms.model_validate_json(json.dumps(study_of(planned)))
    study = Study(
        study_id="sizes",
        terms=wanted,
        terms_sha256=wanted.sha256,
        status=StudyStatus.PROPOSED,
        proposed_by="Hospital1MSP",
        proposed_at=2_000_000_000,
        changed_at=1,
        deadline=1,
    )
    state = planned.service.ledger.state
    state["\x00study\x00sizes\x00"] = canonical.dumps(study)
    vote = ("study", "vote", "sizes", "--approve")

    early = planned.one.refused("study", "findings", "sizes")
    wrong = planned.one.refused(*vote, "--terms", "00" * 32)
    for desk in (planned.one, planned.two):
        desk.do(*vote)
    foreign = planned.two.refused("study", "consent", "sizes", "wards1")
    planned.one.do("study", "consent", "sizes", "wards1", "--reason", "for the guideline")
    planned.one.do("study", "consent", "sizes", "wards1", "--withdraw")
    advanced = planned.one.do("study", "advance", "sizes")
    result = StudyResult(
        study_id="sizes",
        terms_sha256=wanted.sha256,
        dataset_ids=("wards1",),
        records=20,
        sums=(20, -1000),
        sums_sha256=canonical.sha256([20, -1000]),
        published_at=1,
    )
    state["\x00study-result\x00sizes\x00"] = canonical.dumps(result)

    assert early == (Exit.REFUSED, Code.NOT_YET)
    assert wrong == (Exit.REFUSED, Code.TERMS_MISMATCH)
    assert foreign == (Exit.REFUSED, Code.NOT_OWNER)
    assert advanced["status"] == "COLLECTING"
    assert planned.two.do("study", "list")[0]["holder"] == "Hospital2MSP"
    assert planned.two.do("study", "show", "sizes")["consents"][0]["given"] is False
    found = planned.two.do("study", "findings", "sizes")
    told = {"mean_micro": 2_500_000, "variance_micro": None, "mean_noise_micro": 0}
    assert found["columns"] == [{"name": "size", **told}]


def test_reputations_are_listed_by_kind_and_page(planned):
    for number in range(3):
        known = book(
            unknown(Rated.NODE, f"Hospital1MSP/node{number}"), {Evidence.DUTY: (2, 1)}, now=1
        )
        key = f"\x00reputation\x00node\x00Hospital1MSP\x00node{number}\x00"
        flagged = known.model_copy(update={"flagged": number == 1, "discount_milli": 750})
        planned.service.ledger.state[key] = canonical.dumps(flagged.rating)

    rows = planned.two.do("reputation", "list", "node")
    flagged = planned.two.do("reputation", "list", "node", "--flagged")
    with Consortium.connect(planned.one.connection, planned.one.identity) as consortium:
        pages = list(every(consortium.reputations.page, size=2, subject=Rated.NODE))

    assert [row["name"] for row in rows] == [f"Hospital1MSP/node{n}" for n in range(3)]
    assert (rows[0]["score"], rows[0]["good"], rows[0]["bad"]) == (0.6, 2, 1)
    assert [row["name"] for row in flagged] == ["Hospital1MSP/node1"]
    assert [len(page.reputations) for page in pages] == [2, 1]


def test_a_classifier_is_adopted_and_explains_a_node(planned):
    made = {
        "classifier_id": "first",
        "bias_micro": -1_000_000,
        "curves": [{"trait": "agreement-ever", "cuts": [1], "values_micro": [0, 4_000_000]}],
        "flag_micro": 1_500_000,
        "trained_on": "simulated consortia",
        "simulated": True,
        "recipe_sha256": HASH,
    }
    file = planned.folder / "classifier.json"
    file.write_text(json.dumps(made))
    node = book(unknown(Rated.NODE, "Hospital2MSP/node1"), {Evidence.AGREEMENT: (1, 1)}, now=1)
    key = "\x00reputation\x00node\x00Hospital2MSP\x00node1\x00"
    planned.service.ledger.state[key] = canonical.dumps(node.rating)

    proposed = planned.one.do("classifier", "propose", str(file))
    early = planned.one.refused("classifier", "assess", "Hospital2MSP/node1")
    for desk in (planned.one, planned.two):
        desk.do("classifier", "vote", "first", "--approve", "--terms", proposed["terms"])
    adopted = planned.two.do("classifier", "advance", "first")
    assessed = planned.two.do("classifier", "assess", "Hospital2MSP/node1")

    assert early == (Exit.REFUSED, Code.NOT_FOUND)
    assert adopted["status"] == planned.one.do("classifier", "list")[0]["status"] == "ADOPTED"
    assert planned.one.do("classifier", "show", "first")["terms"]["curves"] == made["curves"]
    assert assessed["suspicion_micro"] == 3_000_000
    part = {"trait": "agreement-ever", "value": 250, "contribution_micro": 4_000_000}
    assert assessed["parts"] == [part]
    assert (assessed["flagged"], assessed["factor_milli"]) == (True, 438)


def test_budgets_are_set_and_reported(planned):
    planned.one.do("dataset", "budget", "wards1", "4.5")
    planned.one.do("privacy", "budget", "10")

    report = planned.two.do("privacy", "report")

    assert report["largest_epsilon"] == 0
    assert [a["budget"] for a in report["accounts"]] == [4.5, 3.0]
    whole = {"hospital": "Hospital1MSP", "epsilon": 0, "budget": 10, "delta": 1e-5}
    assert report["hospitals"] == [{**whole, "sums": 0, "plans": ""}]
    assert planned.two.do("dataset", "list")[0]["name"] == "Wards (simulated)"
    assert planned.two.do("dataset", "show", "wards2")["dataset"]["train_samples"] == 100
    assert planned.one.refused("dataset", "budget", "wards2", "9") == (Exit.REFUSED, Code.NOT_OWNER)


def test_the_report_says_what_a_dataset_was_charged_for_beside_plans(planned):
    dataset = planned.two.do("dataset", "show", "wards1")["dataset"]
    table = {name: dataset[name] for name in ("dataset_id", "descriptor_sha256")}
    table |= {"release_id": "one", "mechanism": "class-marginals-v1", "tables": 3, "noise": 20}
    table |= {"records": dataset["train_samples"], "sha256": "ab" * 32, "size_bytes": 9}
    (planned.folder / "table.json").write_text(json.dumps(table))

    planned.one.do("dataset", "release", str(planned.folder / "table.json"))

    report = planned.two.do("privacy", "report")
    assert [account["others"] for account in report["accounts"]] == ["table one", ""]


def test_a_round_before_the_first_is_not_found(planned):
    assert planned.one.refused("round", "show", "tumours") == (Exit.REFUSED, Code.NOT_FOUND)


def test_a_model_is_downloaded_by_its_address_and_verified(planned):
    store = DirectoryStore(planned.folder / "store")
    content = b"weights of a model"
    publish(planned.service, store.put(content))
    address, out = hashlib.sha256(content).hexdigest(), planned.folder / "model.bin"
    words = ("model", "get", address, "--store", str(planned.folder / "store"), "--out", str(out))

    planned.two.do(*words)
    assert out.read_bytes() == content
    assert planned.one.do("model", "list")[0]["address"] == address
    assert planned.one.do("model", "show", address)["plan_id"] == "tumours"

    place = next(key for key in planned.service.ledger.state if key.startswith("\0model\0"))
    record = Model.model_validate_json(planned.service.ledger.state[place])
    recalled = record.model_copy(update={"status": ModelStatus.RECALLED, "reason": "bad labels"})
    planned.service.ledger.state[place] = canonical.dumps(recalled)
    _, shown, warning = planned.one.run("model", "show", address)
    assert shown["status"] == "RECALLED"
    assert "RECALLED: bad labels" in warning

    out.unlink()
    next((planned.folder / "store").iterdir()).write_bytes(b"another model     ")
    assert planned.two.refused(*words) == (Exit.UNVERIFIED, Code.CONTENT_TAMPERED)
    assert not out.exists()


def publish(service: LedgerGateway, ref: ContentRef) -> None:
    """Put a model's record on the ledger without the rounds that lead to it."""
    model = Model(
        model=ref,
        plan_id="tumours",
        round=1,
        architecture_sha256=HASH,
        parents=(HASH,),
        aggregate_sha256=HASH,
        correct=9,
        total=10,
        published_at=1,
    )
    key = f"\x00model\x00{ref.sha256}\x00"
    service.ledger.state[key] = canonical.dumps(model)


def test_a_wrong_file_is_named_with_its_field(planned):
    file = planned.folder / "broken.json"
    file.write_text(json.dumps({**terms(), "plan_id": "With Spaces"}))

    code, _, error = planned.one.run("plan", "propose", str(file))

    assert (code, json.loads(error)["error"]) == (Exit.DATA, Code.FILE_UNUSABLE)
    assert "plan_id" in error
    missing = planned.one.refused("plan", "propose", str(planned.folder / "nowhere.json"))
    assert missing == (Exit.DATA, Code.FILE_UNUSABLE)


def test_votes_that_decide_nothing_are_told(founded):
    founded.one.do("consortium", "propose-hospital", "Hospital3MSP", "East")
    founded.two.do("consortium", "vote", "hospital", "Hospital3MSP", "--approve")

    code, _, error = founded.one.run("consortium", "advance", "hospital", "Hospital3MSP")

    assert (code, json.loads(error)["error"]) == (Exit.REFUSED, Code.NOT_YET)
    assert "1 of 1 approve, 2 approvals of 2 votes are needed" in error


def test_the_wrong_role_is_refused(planned):
    node = Desk(planned.one.connection, planned.one.identity.parent / "node1")

    refused = node.refused("plan", "abort", "tumours", "--reason", "no admin")

    assert refused == (Exit.REFUSED, Code.ROLE_REQUIRED)


def test_an_exposed_key_and_a_peer_that_is_down_have_their_exit_codes(hospitals, authority):
    connection = json.loads(hospitals.one.connection.read_text())
    connection["gateway"]["address"] = "127.0.0.1:1"
    down = hospitals.folder / "down.json"
    down.write_text(json.dumps(connection))
    unreachable = Desk(down, hospitals.one.identity)
    assert unreachable.refused("plan", "list") == (Exit.UNREACHABLE, Code.UNREACHABLE)

    (hospitals.one.identity / "private_key.pem").chmod(0o644)
    assert hospitals.one.refused("plan", "list") == (Exit.DATA, Code.KEY_EXPOSED)


def test_the_connection_is_found_beside_the_identity(founded):
    hospital = founded.one.identity.parent.parent
    (hospital / "connection.json").write_text(founded.one.connection.read_text())
    (hospital / "ca.pem").write_bytes((founded.folder / "ca.pem").read_bytes())

    words = ["admin", "consortium", "show", "--identity", str(founded.one.identity)]
    result = CliRunner().invoke(cli, words)

    assert result.exit_code == 0
    assert "status:" in result.stdout
    assert "North" in result.stdout


def test_lists_go_on_over_pages(planned):
    with Consortium.connect(planned.one.connection, planned.one.identity) as consortium:
        pages = list(every(consortium.datasets.page, size=1))

    assert [len(page.datasets) for page in pages] == [1, 1]


def test_private_record_is_kept_handed_on_verified_and_purged(planned):
    inventory = {
        "maker": "Acme",
        "model": "Box 9",
        "serial_number": "SN-0815",
        "location": "rack 3",
        "processors": 16,
        "memory_mib": 65536,
    }
    file, out = planned.folder / "inventory.json", planned.folder / "record.json"
    file.write_text(json.dumps(inventory))

    kept = planned.one.do("private", "keep", "inventory", "node1", str(file))
    again = planned.one.do("private", "keep", "inventory", "node1", str(file))
    planned.one.do("private", "export", "inventory", "node1", "--out", str(out))

    assert kept["sha256"] != again["sha256"]  # another salt
    assert out.stat().st_mode & 0o777 == 0o600
    assert hashlib.sha256(out.read_bytes()).hexdigest() == again["sha256"]
    shown = planned.one.do("private", "show", "inventory", "node1")
    assert shown["inventory"]["serial_number"] == "SN-0815"
    assert planned.one.do("private", "list", "inventory") == [
        {"subject": "node1", "sha256": again["sha256"]}
    ]
    assert planned.two.do("private", "verify", str(out)) == again
    out.write_text(out.read_text().replace("SN-0815", "SN-0816"))
    assert planned.two.refused("private", "verify", str(out)) == (
        Exit.UNVERIFIED,
        Code.PRIVATE_RECORD_MISMATCH,
    )
    planned.one.do("private", "purge", "inventory", "node1")
    assert planned.one.refused("private", "show", "inventory", "node1") == (
        Exit.REFUSED,
        Code.NOT_FOUND,
    )


def test_private_content_that_is_none_is_refused_before_anything_is_sent(planned):
    file = planned.folder / "statistics.json"
    file.write_text('{"samples": "many"}')

    refused = planned.one.refused("private", "keep", "statistics", "wards1", str(file))

    assert refused == (Exit.DATA, Code.FILE_UNUSABLE)
    assert not planned.service.ledger.private


def test_help_and_usage_errors_do_not_touch_the_ledger():
    runner = CliRunner()

    assert runner.invoke(cli, ["admin", "plan", "vote", "--help"]).exit_code == 0
    assert runner.invoke(cli, ["admin", "plan", "vote", "x"]).exit_code == Exit.USAGE
    assert runner.invoke(cli, ["nothing"]).exit_code == Exit.USAGE


def test_words_on_the_ledger_write_no_control_sequences_on_the_terminal(planned):
    planned.one.do("node", "suspend", "node1", "--reason", "\x1b[2J\x9bfine")

    options = ["--identity", str(planned.two.identity), "--connection", str(planned.two.connection)]
    result = CliRunner().invoke(cli, ["admin", "node", "list", *options])

    assert "fine" in result.stdout
    assert all(c.isprintable() for line in result.stdout.splitlines() for c in line)


def test_applications_register_schemas_and_post_records(planned):
    schema = {
        "type": "object",
        "required": ["camera"],
        "properties": {"camera": {"type": "string"}},
    }
    description = {"application": "falls", "version": 1, "title": "Falls", "definition": schema}
    record = {"application": "falls", "version": 1, "record_id": "r1", "subject": "dataset/wards1"}
    file = planned.folder / "file.json"

    file.write_text(json.dumps(description))
    planned.one.do("application", "register", str(file))
    file.write_text(json.dumps({**record, "record": {}}))
    refused = planned.one.refused("application", "record", str(file))
    assert refused == (Exit.REFUSED, Code.RECORD_REFUSED)
    assert (
        'does not fit required [\\"camera\\"]'
        in planned.one.run("application", "record", str(file))[2]
    )
    file.write_text(json.dumps({**record, "record": {"camera": "ward 3"}}))
    planned.one.do("application", "record", str(file))

    assert planned.two.do("application", "show", "falls", "1")["definition"] == schema
    assert planned.two.do("application", "list")[0]["title"] == "Falls"
    (posted,) = planned.one.do("application", "records", "falls", "Hospital1MSP")
    assert posted["record"] == {"camera": "ward 3"}
    refused = planned.two.refused("application", "records", "falls", "Hospital1MSP")
    assert refused == (Exit.REFUSED, Code.ACCESS_REQUIRED)


def test_encryption_terms_are_chosen_or_refused_with_the_reason():
    chooser = ["admin", "privacy", "encryption", "--hospitals", "4", "--parameters", "62"]
    chooser += ["--rounds", "6", "--json"]

    chosen = CliRunner().invoke(cli, [*chooser, "--threshold", "3"])
    refused = CliRunner().invoke(cli, [*chooser, "--threshold", "2"])
    tied = CliRunner().invoke(cli, [*chooser, "--tied"])

    assert EncryptionTerms.model_validate_json(tied.stdout).tied
    terms = EncryptionTerms.model_validate_json(chosen.stdout)
    assert terms.threshold == 3
    assert refusal(terms, Workload(4, 4, 62, 6)) is None
    assert refused.exit_code != 0
    assert "more than half" in refused.output


def test_sizes_of_datasets_get_their_own_noise_or_the_reason_why_not():
    chooser = ["admin", "privacy", "sizes", "--batch-size", "32", "--steps", "4", "--json"]
    chooser += ["--rounds", "2", "--learning-rate", "0.5", "--sample-clip", "0.2"]
    chooser += ["--parameters", "62"]

    given = [*chooser, "--epsilon", "3", "--samples", "300", "--samples", "20", "--samples", "22"]
    chosen = json.loads(CliRunner().invoke(cli, given).stdout)
    refused = CliRunner().invoke(cli, [*chooser, "--epsilon", "0.000001", "--samples", "1"])

    (large,) = [SizeTerms(**size) for size in chosen["sizes"]]
    assert (chosen["batch_size"], large.least_samples, large.batch_size) == (10, 300, 32)
    assert large.noise_multiplier_micro < chosen["noise_multiplier_micro"]
    spent = rdp_pico(32, 300, large.noise_multiplier_micro, 8)
    assert 2_900_000 < epsilon_micro(spent, 10_000) <= 3_000_000
    assert chosen["clip_micro"] >= chosen["norm"]["noise_micro"]
    assert refused.exit_code != 0
    assert "leave small datasets out" in refused.output


def test_the_clip_follows_from_the_noise():
    chooser = ["admin", "privacy", "clip", "--learning-rate", "0.5", "--steps", "4", "--json"]
    chooser += ["--batch-size", "10", "--noise", "100", "--sample-clip", "0.2"]
    chooser += ["--parameters", "62"]

    chosen = CliRunner().invoke(cli, chooser)

    assert json.loads(chosen.stdout) == {
        "noise": 2.0,
        "clip_micro": 3_000_000,
        "norm": {"drift_micro": 100_000, "noise_micro": 2_000_000},
    }


def test_points_in_time_are_shown_as_dates_and_given_as_they_are(capsys):
    value = {"cast_at": 1_796_040_051, "until": 1_796_040_366, "expires_at": 0, "bytes": 10**9}

    show([value, value])
    shown = capsys.readouterr().out
    show(value, as_json=True)

    assert shown.count("2026-11-30T12:00:51Z  2026-11-30T12:06:06Z  0           1000000000") == 2
    assert json.loads(capsys.readouterr().out) == value


def draft(folder: Path, *more: str) -> list[str]:
    agreed = terms()
    for name in ("data", "model"):
        (folder / f"{name}.json").write_text(json.dumps(agreed[name]))
    wished = ["--title", "More", "--data", str(folder / "data.json"), "--rounds", "5"]
    wished += ["--steps", "10", "--batch-size", "20", "--learning-rate", "3"]
    wished += ["--train", "node1:wards1", "--train", "node1:wards2"]
    return ["plan", "draft", "more", *wished, *more]


def test_a_drafted_plan_is_taken_by_the_ledger_and_spends_its_epsilon(planned):
    model = ("--model", str(planned.folder / "model.json"), "--epsilon", "2")
    drafted = planned.one.do(*draft(planned.folder, *model))

    file = planned.folder / "drafted.json"
    file.write_text(json.dumps(drafted))
    planned.one.do("plan", "propose", str(file))

    spent = rdp_pico(20, 100, drafted["privacy"]["noise_multiplier_micro"], 50)
    assert 1_990_000 < epsilon_micro(spent, 10_000) <= 2_000_000
    assert [p["msp_id"] for p in drafted["participation"]["participants"]] == [
        "Hospital1MSP",
        "Hospital2MSP",
    ]


@pytest.mark.parametrize(
    ("aggregation", "hidden"),
    [("ckks-tied", {"tied": True}), ("secret-sharing", {"scheme": "secret-sharing-v1"})],
)
def test_a_draft_hides_updates_as_is_asked_for(planned, aggregation, hidden):
    model = ("--model", str(planned.folder / "model.json"), "--epsilon", "2")
    drafted = planned.one.do(*draft(planned.folder, *model, "--aggregation", aggregation))

    file = planned.folder / "drafted.json"
    file.write_text(json.dumps(drafted))
    planned.one.do("plan", "propose", str(file))

    agreed = planned.two.do("plan", "show", drafted["plan_id"])["plan"]["terms"]["encryption"]
    assert hidden.items() <= agreed.items()


def test_a_draft_goes_on_from_a_model_of_the_ledger(planned):
    ref = ContentRef(cid="bafy2", sha256="cd" * 32, size_bytes=16)
    publish(planned.service, ref)

    drafted = planned.two.do(*draft(planned.folder, "--base", "cd" * 32, "--epsilon", "2"))

    assert drafted["model"] == terms()["model"] | {"base": ref.model_dump()}


def test_a_draft_for_classes_of_devices_is_taken_by_the_ledger(planned):
    more = ("--model", str(planned.folder / "model.json"), "--epsilon", "2", "--device", "pi:40:5")
    file = planned.folder / "drafted.json"
    drafted = planned.one.do(*draft(planned.folder, *more))
    file.write_text(json.dumps(drafted))

    planned.one.do("plan", "propose", str(file))

    assert drafted["training"]["devices"] == [{"device": "pi", "steps": 40, "batch_size": 5}]


def test_a_draft_that_no_noise_keeps_within_epsilon_says_what_to_do(planned):
    model = ("--model", str(planned.folder / "model.json"), "--epsilon", "0.001")

    code, _, error = planned.one.run(*draft(planned.folder, *model))

    assert code == Exit.REFUSED
    assert "more epsilon" in error


def test_a_draft_of_what_the_language_has_no_room_for_names_the_field(planned):
    model = ("--model", str(planned.folder / "model.json"), "--epsilon", "2")

    code, _, error = planned.one.run(
        *draft(planned.folder, *model, "--train", "Hospital1MSP/node1:wards1")
    )

    assert code == Exit.REFUSED
    assert "MF-1002" in error
    assert "node_id" in error


def test_a_draft_of_a_strategy_without_its_settings_names_them(planned):
    model = ("--model", str(planned.folder / "model.json"), "--epsilon", "3")

    code, _, error = planned.one.run(
        *draft(planned.folder, *model, "--strategy", "fedavgm", "--set", "momentum=900000")
    )

    assert code == Exit.REFUSED
    assert "fedavgm needs the settings momentum, server_rate" in error
    assert "the plan has momentum; name them with --set" in error


def test_a_dataset_is_registered_from_what_the_node_says_and_the_admin_adds(founded):
    described = {
        "dataset_id": "wards",
        "application": "tumours",
        "commitment_sha256": HASH,
        "split_sha256": HASH,
        "descriptor_sha256": HASH,
        "train_samples": 100,
        "validation_samples": 20,
    }
    file = founded.folder / "wards.json"
    file.write_text(json.dumps(described))

    code, _, error = founded.one.run("dataset", "register", str(file), "--name", "Wards")
    made = founded.one.do(
        *("dataset", "register", str(file), "--name", "Wards", "--real"),
        *("--budget", "6", "--delta", "1e-5"),
    )

    assert code == Exit.DATA
    assert all(field in error for field in ("simulated", "budget_epsilon_micro", "delta_nano"))
    assert "--simulated or --real" in error
    assert made["account"]["budget_epsilon_micro"] == 6_000_000
    assert (made["dataset"]["name"], made["dataset"]["simulated"]) == ("Wards", False)


def test_pairs_are_shown_one_a_line(capsys):
    show({"bins": [["to 26.2", 2], ["above", 14]]})

    assert capsys.readouterr().out == "bins:\n  to 26.2  2\n  above    14\n"
