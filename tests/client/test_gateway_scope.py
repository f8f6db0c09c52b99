"""Deadlines and cancellation over all stages of a call, and what is known of it afterwards."""

from __future__ import annotations

import threading
import time

import grpc
import pytest
from fabric_protos.peer import transaction_pb2
from support.scripted_gateway import fail, hang

from chaincode.schema.plans import PlanArgs, PlanState
from client.gateway import (
    CommitStatusError,
    EndorseError,
    EvaluateError,
    Policy,
    Scope,
    SubmitError,
)

STATUS = grpc.StatusCode
ARGUMENTS = [b"plan:Advance", b"{}"]


@pytest.fixture
def gateway(consortium):
    # Times of the stages that would let a test hang.
    consortium.gateway.policy = Policy(submit_seconds=60, commit_seconds=60)
    return consortium.gateway


def cancelled_when(peer, method: str, scope: Scope) -> None:
    """Have the peer cancel the scope from its thread when the call arrives, and not answer."""

    def step(request, context):
        threading.Timer(0.05, scope.cancel).start()
        return hang(request, context)

    peer.service.script(method, step)


@pytest.mark.parametrize(
    ("method", "error"),
    [("Endorse", EndorseError), ("Submit", CommitStatusError), ("CommitStatus", CommitStatusError)],
)
def test_a_submission_is_cancelled_at_any_stage(peer, gateway, method, error):
    scope = Scope()
    cancelled_when(peer, method, scope)
    started = time.monotonic()

    with pytest.raises(error) as caught:
        gateway.submit(ARGUMENTS, scope=scope)

    assert time.monotonic() - started < 5
    assert caught.value.status == "CANCELLED"
    assert len(peer.service.asked[method]) == 1


def test_a_query_is_cancelled(peer, gateway):
    scope = Scope()
    cancelled_when(peer, "Evaluate", scope)

    with pytest.raises(EvaluateError) as caught:
        gateway.evaluate(ARGUMENTS, scope=scope)

    assert caught.value.status == "CANCELLED"


@pytest.mark.parametrize(
    ("method", "error"),
    [("Endorse", EndorseError), ("Submit", CommitStatusError), ("CommitStatus", CommitStatusError)],
)
def test_a_deadline_bounds_all_stages_and_tries_together(peer, gateway, method, error):
    peer.service.script(method, hang, hang, hang)
    started = time.monotonic()

    with pytest.raises(error) as caught:
        gateway.submit(ARGUMENTS, scope=Scope(seconds=0.3))

    assert 0.2 < time.monotonic() - started < 5
    assert caught.value.status == "DEADLINE_EXCEEDED"
    assert len(peer.service.asked[method]) == 1
    assert method == "Submit" or "nothing was sent" not in caught.value.message


def test_a_deadline_ends_the_proposals_after_conflicts(peer, gateway):
    peer.service.validation = [transaction_pb2.MVCC_READ_CONFLICT]
    gateway.policy = Policy(proposals=10_000)

    with pytest.raises(EndorseError, match="nothing was sent") as caught:
        gateway.submit(ARGUMENTS, scope=Scope(seconds=0.5))

    assert caught.value.status == "DEADLINE_EXCEEDED"


def test_a_submission_that_was_never_sent_has_failed_for_sure(peer, gateway):
    transaction = gateway.proposal(ARGUMENTS).endorse()
    over = Scope()
    over.cancel()

    with pytest.raises(SubmitError, match="nothing was sent"):
        transaction.submit(scope=over)

    assert "Submit" not in peer.service.asked


def test_a_submission_cancelled_after_an_unclear_one_may_have_committed(peer, gateway):
    scope = Scope()

    def lost(request, context):
        scope.cancel()
        return fail(STATUS.UNAVAILABLE, "connection reset")(request, context)

    peer.service.script("Submit", lost)

    with pytest.raises(CommitStatusError, match="may or may not have committed"):
        gateway.submit(ARGUMENTS, scope=scope)

    assert len(peer.service.asked["Submit"]) == 1


def test_a_scope_that_is_over_stays_over(peer, consortium):
    scope = Scope()
    scope.cancel()
    scope.cancel()

    with pytest.raises(EvaluateError):
        consortium.gateway.evaluate(ARGUMENTS, scope=scope)
    with pytest.raises(EndorseError):
        consortium.submit("plan:Advance", PlanArgs(plan_id="p"), PlanState, scope=scope)

    assert peer.service.asked == {}


def test_a_scope_bounds_only_its_own_calls(peer, gateway):
    scope = Scope()
    answers = []
    peer.service.script("Evaluate", hang)
    waiting = threading.Thread(
        target=lambda: answers.append(_status(lambda: gateway.evaluate(ARGUMENTS, scope=scope)))
    )
    waiting.start()
    while not peer.service.asked.get("Evaluate"):
        time.sleep(0.01)

    assert gateway.evaluate(ARGUMENTS, scope=Scope(seconds=5)) == peer.service.answer
    scope.cancel()
    waiting.join(5)

    assert answers == ["CANCELLED"]


def _status(action) -> str:
    with pytest.raises(EvaluateError) as caught:
        action()
    return caught.value.status


def test_a_query_goes_to_the_hospitals_that_are_named(peer, gateway):
    gateway.evaluate(ARGUMENTS, organizations=["Hospital3MSP"], transient={"secret": b"1"})

    (asked,) = peer.service.asked["Evaluate"]
    assert list(asked.target_organizations) == ["Hospital3MSP"]


def test_closing_does_not_wait_for_a_call_that_a_signal_interrupted(gateway, monkeypatch):
    stuck = threading.Event()
    monkeypatch.setattr(gateway.grpc_channel, "close", stuck.wait)
    begun = time.monotonic()

    gateway.close()

    assert time.monotonic() - begun < 10
    stuck.set()
