"""The typed facade covers the whole table and keeps its promises."""

from __future__ import annotations

import grpc
import pytest
from support.scripted_gateway import fail

from chaincode.schema.base import PageArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanArgs, PlanPage, PlanState, PlanView
from chaincode.schema.transactions import TRANSACTIONS
from client import consortium as facade
from client.consortium import Call, Consortium


def test_every_transaction_of_the_table_has_a_typed_name():
    groups = facade.Group.__subclasses__()

    named = {v.name for group in groups for v in vars(group).values() if isinstance(v, Call)}

    assert named == set(TRANSACTIONS)


def test_a_call_with_types_that_the_table_does_not_declare_cannot_be_written():
    with pytest.raises(TypeError):
        Call("plan:Get", PageArgs, PlanView)


def test_arguments_are_checked_before_anything_is_sent(peer, consortium):
    with pytest.raises(MedFabricError, match="number") as caught:
        consortium.rounds.get(plan_id="wdbc", number=0)

    assert caught.value.code == Code.BAD_ARGUMENT
    with pytest.raises(TypeError):
        consortium.evaluate("plan:Get", PlanArgs(plan_id="wdbc"), PlanPage)
    with pytest.raises(TypeError):
        consortium.submit("plan:Get", PlanArgs(plan_id="wdbc"), PlanView)
    with pytest.raises(MedFabricError, match="no transaction"):
        consortium.evaluate("plan:Steal", PlanArgs(plan_id="wdbc"), PlanView)
    assert not peer.service.asked


def test_an_answer_in_another_language_is_refused(peer, consortium):
    peer.service.answer = b'{"plans":[{"weights":[0.5]}],"bookmark":""}'

    with pytest.raises(MedFabricError, match=r"plans\.0") as caught:
        consortium.plans.page()

    assert caught.value.code == Code.BAD_RESPONSE


def test_what_is_done_already_is_no_error_when_asked_once(peer, consortium: Consortium):
    refusal = ("peer:7051", "Hospital1MSP", "chaincode response 400, MF-1011: it is APPROVED")
    args = PlanArgs(plan_id="wdbc")
    peer.service.script("Endorse", *[fail(grpc.StatusCode.ABORTED, "refused", refusal)] * 2)

    assert consortium.submit_once("plan:Advance", args, PlanState) is None
    with pytest.raises(MedFabricError, match="MF-1011"):
        consortium.plans.advance(args)
