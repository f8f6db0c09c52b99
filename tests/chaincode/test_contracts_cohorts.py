"""A round takes its nodes page by page, and comes to what it would come to with one page."""

import json
from collections import Counter

import pytest
from support.scenario import BAD, HOSPITALS, at, ref, terms

from chaincode.contracts import cohort
from chaincode.schema import keys
from chaincode.schema.errors import Code
from chaincode.schema.rounds import RoundPage, RoundView

PLAN = terms().plan_id
ONE, TWO, THREE, FOUR = HOSPITALS
PLACE = {"plan_id": PLAN, "number": 1}


@pytest.fixture(params=[1, 2, 3])
def paged(monkeypatch, request):
    """How many of the four nodes go on a page."""
    monkeypatch.setattr(cohort, "PAGE", request.param)
    return request.param


def pages(size):
    return range(-(-len(HOSPITALS) // size))


def advance(scenario, page, who=ONE):
    scenario.do(who, "round:Advance", {**PLACE, "page": page})
    return scenario.round_state(terms())


def opened(size):
    scenario = at("active")
    scenario.open(terms())
    for page in pages(size)[1:]:
        state = advance(scenario, page)
    return scenario, state


def published(size, who=HOSPITALS):
    scenario, _ = opened(size)
    scenario.submit(terms(), who=who)
    if who != HOSPITALS:
        scenario.wait()
    for page in pages(size):
        advance(scenario, page)
    for step in (scenario.attest, scenario.share, scenario.evaluate):
        step(terms())
        advance(scenario, 0)
    for page in pages(size)[1:]:
        state = advance(scenario, page)
    return scenario, state


def reputations(scenario):
    found = {}
    for key, value in scenario.ledger.state.items():
        if keys.parted(key)[0] == "reputation":
            known = json.loads(value)
            del known["changed_at"]
            found[keys.parted(key)] = known
    return found


def test_a_round_of_pages_enlists_all_before_it_takes_updates(paged):
    scenario = at("active")
    scenario.open(terms())

    enlisting = scenario.round_state(terms())
    early = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE))
    scenario.wait(10)
    for page in pages(paged)[1:]:
        state = advance(scenario, page, TWO)

    assert (enlisting["status"], enlisting["pages"]) == ("ENLISTING", len(pages(paged)))
    assert len(enlisting["participants"]) == paged
    assert early.code == Code.BAD_STATE
    assert state["status"] == "OPEN"
    assert [p["msp_id"] for p in state["participants"]] == [*HOSPITALS]
    assert state["deadline"] == scenario.now + terms().participation.update_seconds


@pytest.mark.parametrize("who", [HOSPITALS, (ONE, TWO, THREE)], ids=["all", "one missing"])
def test_pages_come_to_the_same_as_one_page(paged, monkeypatch, who):
    scenario, state = published(paged, who)
    monkeypatch.undo()
    whole = at("open")
    whole.submit(terms(), who=who)
    whole.wait(0 if who == HOSPITALS else 1000)
    for step in (lambda _: None, whole.attest, whole.share, whole.evaluate):
        step(terms())
        wanted = whole.advance(terms())

    assert state["status"] == "PUBLISHED"
    for name in ("participants", "contributions", "total_weight", "missing", "model_sha256"):
        assert state[name] == wanted[name]
    assert reputations(scenario) == reputations(whole)
    assert scenario.asset(keys.plan(PLAN))["model_sha256"] == state["model_sha256"]


def test_a_page_is_sealed_when_its_own_nodes_have_submitted_and_nobody_is_kept_from_submitting(
    monkeypatch,
):
    monkeypatch.setattr(cohort, "PAGE", 2)
    scenario, _ = opened(2)
    scenario.submit(terms(), who=(ONE, TWO))
    advance(scenario, 0)
    early = scenario.refused(ONE, "round:Advance", {**PLACE, "page": 1})
    before = scenario.asset(keys.round_(PLAN, 1))
    scenario.submit(terms(), who=(THREE, FOUR))
    sealed = advance(scenario, 1)

    assert early.code == Code.NOT_YET
    assert before["status"] == "OPEN"
    assert sealed["status"] == "SEALED"
    assert [c["msp_id"] for c in sealed["contributions"]] == [*HOSPITALS]


def test_pages_come_in_order_and_each_once(paged):
    scenario, _ = opened(paged)
    last = len(pages(paged)) - 1
    scenario.submit(terms())

    ahead = scenario.refused(ONE, "round:Advance", {**PLACE, "page": last})
    advance(scenario, 0)
    again = scenario.refused(ONE, "round:Advance", {**PLACE, "page": 0})
    beyond = scenario.refused(ONE, "round:Advance", {**PLACE, "page": last + 1})

    assert (ahead.code, again.code) == (Code.BAD_STATE, Code.ALREADY)
    assert beyond.code == Code.BAD_STATE


def test_no_further_round_opens_before_everybody_is_booked(monkeypatch):
    monkeypatch.setattr(cohort, "PAGE", 3)
    scenario, _ = opened(3)
    scenario.submit(terms())
    for page in (0, 1):
        advance(scenario, page)
    for step in (scenario.attest, scenario.share, scenario.evaluate):
        step(terms())
        state = advance(scenario, 0)
    early = scenario.refused(ONE, "round:Open", {"plan_id": PLAN, "number": 2})
    twice = scenario.refused(ONE, "round:Advance", {**PLACE, "page": 0})
    booked = advance(scenario, 1)
    done = scenario.refused(ONE, "round:Advance", {**PLACE, "page": 1})

    assert (state["status"], state["booked"], booked["booked"]) == ("PUBLISHED", 1, 2)
    assert (early.code, twice.code, done.code) == (Code.NOT_YET, Code.ALREADY, Code.ALREADY)


def test_no_transaction_reads_or_writes_more_where_there_are_more_pages(monkeypatch):
    """What each transaction of a round writes, per page, does not grow with the pages."""
    sizes = {}
    for size in (1, 2):
        monkeypatch.setattr(cohort, "PAGE", size)
        scenario, _ = published(size)
        written = Counter(keys.parted(key)[0] for key in scenario.ledger.state)
        assert written["cohort"] == written["contributions"] == len(pages(size))
        sizes[size] = max(
            len(value)
            for key, value in scenario.ledger.state.items()
            if keys.parted(key)[0] == "round"
        )

    assert sizes[1] == sizes[2]


def test_objections_name_a_node_whichever_page_it_is_on(paged):
    scenario, _ = opened(paged)
    scenario.submit(terms())
    for page in pages(paged):
        advance(scenario, page)
    update = ref(f"update {PLAN} 1 {FOUR}")
    scenario.object(terms(), FOUR)
    dropped = advance(scenario, 0)["dropped"]
    for step in (scenario.attest, scenario.share, scenario.evaluate):
        step(terms())
        advance(scenario, 0)
    for page in pages(paged)[1:]:
        advance(scenario, page)

    assert [(d["msp_id"], d["node_id"]) for d in dropped] == [(FOUR, "node1")]
    assert dropped[0]["update_sha256"] == update["sha256"]
    for hospital, good in ((ONE, 1), (FOUR, 0)):
        known = scenario.asset(keys.reputation("hospital", hospital))["tallies"]
        assert known.get("outcome", [0])[0] == good
    node = scenario.asset(keys.reputation("node", f"{FOUR}/node1"))
    assert node["tallies"]["content"][BAD] == 1


def test_a_round_is_read_a_page_at_a_time(paged):
    scenario, _ = opened(paged)
    scenario.submit(terms(), who=(ONE, TWO, THREE))
    scenario.wait()
    halfway = read(scenario, 0)
    advance(scenario, 0)
    found = [read(scenario, page) for page in pages(paged)]
    for page in pages(paged)[1:]:
        advance(scenario, page)
    scenario.attest(terms())
    late = [read(scenario, page) for page in pages(paged)]

    beyond = scenario.refused(ONE, "round:Get", {**PLACE, "page": len(found)})
    assert beyond.code == Code.NOT_FOUND
    assert (halfway.sealed, found[0].sealed) == (0, 1)
    assert [len(page.cohort.participants) for page in late] == [
        len(HOSPITALS[start : start + paged]) for start in range(0, 4, paged)
    ]
    assert [u.msp_id for page in late for u in page.updates] == [ONE, TWO, THREE]
    assert [len(page.attestations) for page in late] == [4, *[0] * (len(late) - 1)]
    assert RoundView.of(late).round.model_dump(mode="json") == scenario.round_state(terms())


def read(scenario, page):
    got = scenario.do(TWO, "round:Get", {**PLACE, "page": page}, "auditor")
    return RoundPage.model_validate_json(json.dumps(got))
