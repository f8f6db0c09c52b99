"""Whatever peers and orderers do, one submission commits at most once, and the client never says
anything else about it than what is on the ledger."""

from __future__ import annotations

import threading

import grpc
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.scripted_gateway import ScriptedGateway, fail, hang, serve

from chaincode.schema.errors import MedFabricError
from client.consortium import Consortium
from client.gateway import CommitStatusError, Policy

HASTY = Policy(submit_seconds=0.1, commit_seconds=0.1, proposals=3, sends=2, asks=2)
STATUS = grpc.StatusCode
LAG = fail(STATUS.ABORTED, "failed to assemble transaction")
GONE = fail(STATUS.UNAVAILABLE, "connection reset")


class FaultyPeer(ScriptedGateway):
    """Orders what arrives, except where told to lose it; ``chain`` is what was ordered."""

    def begin(self, endorse: list[str], submit: list[str], status: list[str], verdicts: list[int]):
        self.endorse, self.submit, self.status = endorse, submit, status
        self.verdicts = verdicts
        self.chain: dict[str, int] = {}
        self.lock = threading.Lock()

    def Endorse(self, request, context):
        fault = self.endorse.pop() if self.endorse else "good"
        if fault != "good":
            return {"lag": LAG, "gone": GONE}[fault](request, context)
        return super().Endorse(request, context)

    def Submit(self, request, context):
        fault = self.submit.pop() if self.submit else "good"
        with self.lock:
            known = request.transaction_id in self.chain
            if fault in ("good", "ordered, answer lost", "ordered, then gone") and not known:
                verdict = self.verdicts.pop() if self.verdicts else transaction_pb2.VALID
                self.chain[request.transaction_id] = verdict
        if fault == "good" and known:
            return fail(STATUS.ABORTED, "request already exists")(request, context)
        if fault in ("lost", "ordered, answer lost"):
            return hang(request, context)
        if fault in ("gone", "ordered, then gone"):
            return GONE(request, context)
        return gateway_pb2.SubmitResponse()

    def CommitStatus(self, request, context):
        fault = self.status.pop() if self.status else "good"
        asked = gateway_pb2.CommitStatusRequest.FromString(request.request)
        with self.lock:
            verdict = self.chain.get(asked.transaction_id)
        if fault == "gone":
            return GONE(request, context)
        if fault == "lost" or verdict is None:
            return hang(request, context)
        return gateway_pb2.CommitStatusResponse(result=verdict, block_number=7)


faults = st.fixed_dictionaries(
    {
        "endorse": st.lists(st.sampled_from(["good", "lag", "gone"]), max_size=3),
        "submit": st.lists(
            st.sampled_from(["good", "lost", "gone", "ordered, answer lost", "ordered, then gone"]),
            max_size=4,
        ),
        "status": st.lists(st.sampled_from(["good", "lost", "gone"]), max_size=4),
        "verdicts": st.lists(
            st.sampled_from(
                [
                    transaction_pb2.VALID,
                    transaction_pb2.MVCC_READ_CONFLICT,
                    transaction_pb2.BAD_CREATOR_SIGNATURE,
                ]
            ),
            max_size=3,
        ),
    }
)


def test_a_submission_commits_at_most_once(authority, identity, tmp_path):
    service = FaultyPeer()
    with (
        serve(service, authority, tmp_path) as (connection, _),
        Consortium.connect(connection, identity, policy=HASTY) as consortium,
    ):

        @settings(
            max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(faults)
        def check(script):
            service.begin(**{name: list(steps) for name, steps in script.items()})
            outcome: object
            try:
                outcome = consortium.gateway.submit([b"round:Advance", b"{}"]).transaction_id
            except MedFabricError as error:
                outcome = error

            valid = [tx for tx, verdict in service.chain.items() if verdict == 0]
            if isinstance(outcome, str):
                assert valid == [outcome]
            elif isinstance(outcome, CommitStatusError):
                assert valid in ([], [outcome.transaction_id])
            else:
                assert valid == []

        check()
