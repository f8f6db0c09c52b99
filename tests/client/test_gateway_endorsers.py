"""Whom a client asks to endorse where a consortium is too large for its peer to choose."""

from __future__ import annotations

import grpc
import pytest
from support.scripted_gateway import fail

from chaincode.schema.errors import Code
from client.gateway import CommitError, Detail, EndorseError, Endorsers
from client.gateway.endorsers import BY_THE_PEER

LARGE = tuple(f"H{number:02}MSP" for number in range(1, 18))
OWN = "H10MSP"
STATUS = grpc.StatusCode
POLICY = CommitError(Code.NOT_COMMITTED, "refused", validation="ENDORSEMENT_POLICY_FAILURE")


def large() -> Endorsers:
    return Endorsers(OWN, lambda _: LARGE)


def endorse_error(status: grpc.StatusCode, message: str = "", *who: str) -> EndorseError:
    details = [Detail("peer:7051", msp_id, "no answer") for msp_id in who]
    return EndorseError(Code.ENDORSE_FAILED, message, status=status.name, details=details)


@pytest.mark.parametrize("hospitals", [(), LARGE[:BY_THE_PEER], tuple(set(LARGE) - {OWN})])
def test_the_peer_chooses_in_a_small_consortium_and_for_a_stranger(hospitals):
    assert Endorsers(OWN, lambda _: hospitals).choose() == ()


def test_a_large_consortium_is_asked_for_its_barest_majority_the_own_hospital_first():
    named = large().choose()

    assert named == (OWN, *LARGE[10:], LARGE[0])
    assert 2 * len(named) == len(LARGE) + 1


def test_all_hospitals_endorse_equally_often():
    asked = [m for own in LARGE for m in Endorsers(own, lambda _: LARGE).choose()]

    assert {asked.count(hospital) for hospital in LARGE} == {9}


def test_whoever_fails_is_passed_over():
    endorsers = large()
    named = endorsers.choose()

    assert endorsers.learn(endorse_error(STATUS.ABORTED, "", "H11MSP", "H13MSP"), named)

    assert endorsers.choose() == (OWN, "H12MSP", *LARGE[13:], *LARGE[:3])


def test_hospitals_without_a_peer_in_sight_are_passed_over():
    endorsers = large()
    named = endorsers.choose()
    message = "failed to find any endorsing peers for org(s): H11MSP, H12MSP"

    assert endorsers.learn(endorse_error(STATUS.UNAVAILABLE, message), named)

    assert endorsers.choose() == (OWN, *LARGE[12:], *LARGE[:3])


def test_after_silence_others_are_asked():
    endorsers = large()
    named = endorsers.choose()

    assert endorsers.learn(endorse_error(STATUS.DEADLINE_EXCEEDED), named)

    assert set(LARGE) - set(named) < set(endorsers.choose())


def test_a_peer_that_is_behind_and_answers_first_is_passed_over():
    endorsers = large()
    named = endorsers.choose()
    mismatch = "ProposalResponsePayloads do not match"
    said = [Detail("peer:7051", m, mismatch) for m in named if m != "H12MSP"]
    error = EndorseError(Code.ENDORSE_FAILED, "", status=STATUS.ABORTED.name, details=said)

    assert error.disagreement(OWN)
    assert endorsers.learn(error, named)

    assert endorsers.choose() == (OWN, "H11MSP", *LARGE[12:], *LARGE[:2])


def test_the_own_peers_word_is_final():
    endorsers = large()
    named = endorsers.choose()

    assert not endorsers.learn(endorse_error(STATUS.ABORTED, "", OWN, "H11MSP"), named)

    assert endorsers.choose() == named


def test_nobody_is_asked_again_and_again():
    endorsers = large()
    everybody = endorse_error(STATUS.ABORTED, "", *set(LARGE) - {OWN})

    tries = 0
    while endorsers.learn(everybody, endorsers.choose()):
        tries += 1

    assert tries == 2
    assert len(endorsers.choose()) == 9


def test_where_a_majority_is_too_few_everybody_is_asked_who_answers():
    endorsers = large()
    named = endorsers.choose()
    endorsers.learn(endorse_error(STATUS.ABORTED, "", "H11MSP"), named)

    assert endorsers.learn(POLICY, endorsers.choose())

    assert set(endorsers.choose()) == set(LARGE) - {"H11MSP"}


def test_a_policy_refusal_shows_that_members_have_changed():
    members = [LARGE[:12]]
    endorsers = Endorsers(OWN, lambda _: members[0])
    named = endorsers.choose()
    members[0] = LARGE

    assert endorsers.learn(POLICY, named)

    assert (len(named), len(endorsers.choose())) == (7, 9)


def test_a_submitted_proposal_goes_to_others_after_a_failure(peer, consortium):
    down = fail(STATUS.ABORTED, "failed to collect", ("peer2:7051", "H11MSP", "no answer"))
    peer.service.script("Endorse", down)

    consortium.gateway.submit([b"plan:Advance", b"{}"], endorsers=large())

    first, second = (list(r.endorsing_organizations) for r in peer.service.asked["Endorse"])
    assert first == [OWN, *LARGE[10:], LARGE[0]]
    assert second == [OWN, *LARGE[11:], *LARGE[:2]]
