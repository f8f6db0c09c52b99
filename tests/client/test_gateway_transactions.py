"""What every stage of a transaction does when its peer does not do as hoped."""

from __future__ import annotations

import hashlib

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, transaction_pb2
from support.pki import make_authority
from support.scripted_gateway import fail, hang, prepare

from chaincode.schema.errors import Code, MedFabricError
from client.cli.output import Exit, exit_code
from client.connection import Connection
from client.consortium import Consortium
from client.gateway import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    GatewayError,
    Policy,
    SubmitError,
)
from client.gateway.proposal import Proposal
from client.identity import Identity

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
STATUS = grpc.StatusCode
OWN = ("peer1:7051", "Hospital1MSP")
OTHER = ("peer2:7051", "Hospital2MSP")


def check_signature(identity: Identity, signature: bytes, message: bytes) -> None:
    assert decode_dss_signature(signature)[1] <= ORDER // 2
    key = x509.load_pem_x509_certificate(identity.certificate_pem).public_key()
    key.verify(signature, message, ec.ECDSA(hashes.SHA256()))


def transaction_ids(peer) -> list[str]:
    return [request.transaction_id for request in peer.service.asked["Endorse"]]


def test_proposal_is_signed_and_named_as_fabric_demands(peer, consortium, identity):
    consortium.gateway.evaluate([b"plan:Get", b"{}"])

    request = peer.service.asked["Evaluate"][0]
    signed = request.proposed_transaction
    check_signature(identity, signed.signature, signed.proposal_bytes)
    proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
    header = common_pb2.Header.FromString(proposal.header)
    signature_header = common_pb2.SignatureHeader.FromString(header.signature_header)
    channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
    digest = hashlib.sha256(signature_header.nonce + signature_header.creator).hexdigest()
    assert channel_header.tx_id == request.transaction_id == digest
    assert channel_header.type == common_pb2.ENDORSER_TRANSACTION
    assert channel_header.channel_id == "medfabric"
    creator = identities_pb2.SerializedIdentity.FromString(signature_header.creator)
    assert (creator.mspid, creator.id_bytes) == ("Hospital1MSP", identity.certificate_pem)
    payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input).chaincode_spec
    assert spec.chaincode_id.name == "medfabric"
    assert list(spec.input.args) == [b"plan:Get", b"{}"]


def test_submit_goes_through_all_stages_and_gives_the_result(peer, consortium, identity):
    committed = consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert committed.result == peer.service.answer
    assert committed.block_number == 7
    submitted = peer.service.asked["Submit"][0]
    assert submitted.transaction_id == committed.transaction_id
    envelope = submitted.prepared_transaction
    check_signature(identity, envelope.signature, envelope.payload)
    asked = peer.service.asked["CommitStatus"][0]
    check_signature(identity, asked.signature, asked.request)
    request = gateway_pb2.CommitStatusRequest.FromString(asked.request)
    assert request.transaction_id == committed.transaction_id


def test_evaluate_error_carries_the_contracts_code(peer, consortium):
    text = "evaluate call to endorser returned error: chaincode response 400, MF-1009: no plan x"
    refusal = "chaincode response 400, MF-1009: no plan x"
    peer.service.script("Evaluate", fail(STATUS.UNKNOWN, text, (*OWN, refusal)))

    with pytest.raises(EvaluateError) as caught:
        consortium.gateway.evaluate([b"plan:Get", b"{}"])

    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, "no plan x")
    assert caught.value.details[0].msp_id == "Hospital1MSP"


def test_evaluate_error_without_a_code_has_that_of_its_stage(peer, consortium):
    peer.service.script("Evaluate", fail(STATUS.NOT_FOUND, "channel gone"))

    with pytest.raises(EvaluateError, match="NOT_FOUND: channel gone") as caught:
        consortium.gateway.evaluate([b"plan:Get", b"{}"])

    assert caught.value.code == Code.EVALUATE_FAILED
    assert caught.value.transaction_id == peer.service.asked["Evaluate"][0].transaction_id


def test_evaluate_ends_at_its_deadline(peer, identity):
    connection = Connection.load(peer.connection_file)
    policy = Policy(evaluate_seconds=0.2)
    peer.service.script("Evaluate", hang)

    with (
        Consortium.connect(connection, identity, policy=policy) as consortium,
        pytest.raises(EvaluateError, match="DEADLINE_EXCEEDED"),
    ):
        consortium.gateway.evaluate([b"plan:Get", b"{}"])


def test_a_peer_that_is_down_is_unreachable(peer, consortium):
    peer.server.stop(None).wait()

    with pytest.raises(MedFabricError) as caught:
        consortium.gateway.evaluate([b"plan:Get", b"{}"])

    assert caught.value.code == Code.UNREACHABLE


def test_a_server_of_another_authority_is_not_spoken_to(peer, identity):
    peer.connection_file.with_name("ca.pem").write_bytes(make_authority().pem)

    with (
        Consortium.connect(peer.connection_file, identity) as consortium,
        pytest.raises(MedFabricError) as caught,
    ):
        consortium.gateway.evaluate([b"plan:Get", b"{}"])

    assert caught.value.code == Code.UNREACHABLE
    assert not peer.service.asked


def test_a_refusal_at_endorsement_submits_nothing_and_is_not_tried_again(peer, consortium):
    refusal = "chaincode response 400, MF-2002: Hospital1MSP has voted already"
    peer.service.script("Endorse", fail(STATUS.ABORTED, "failed to endorse", (*OWN, refusal)))

    with pytest.raises(EndorseError) as caught:
        consortium.gateway.submit([b"consortium:Vote", b"{}"])

    assert caught.value.code == Code.SECOND_VOTE
    assert len(peer.service.asked["Endorse"]) == 1
    assert "Submit" not in peer.service.asked


def test_peers_at_different_blocks_are_asked_again_with_a_new_proposal(peer, consortium):
    refusal = "chaincode response 400, MF-1009: no round"
    peer.service.script(
        "Endorse",
        fail(STATUS.ABORTED, "failed to collect enough endorsements", (*OTHER, refusal)),
        fail(STATUS.ABORTED, "failed to assemble: ProposalResponsePayloads do not match"),
    )

    consortium.gateway.submit([b"round:Advance", b"{}"])

    assert len(set(transaction_ids(peer))) == 3
    assert len(peer.service.asked["Submit"]) == 1


NO_COMBINATION = "no combination of peers can be derived which satisfy the endorsement policy: "


@pytest.mark.parametrize(
    "why",
    [
        "no peer combination can satisfy the endorsement policy",
        "required chaincodes are not installed on sufficient peers",
    ],
)
def test_peers_that_are_not_seen_for_a_moment_are_proposed_to_anew(peer, consortium, why):
    peer.service.script("Endorse", *[fail(STATUS.FAILED_PRECONDITION, NO_COMBINATION + why)] * 2)

    consortium.gateway.submit([b"round:Advance", b"{}"])

    assert len(set(transaction_ids(peer))) == 3
    assert len(peer.service.asked["Submit"]) == 1


def test_peers_that_stay_unseen_end_the_transaction_with_nothing_submitted(peer, consortium):
    why = NO_COMBINATION + "no peer combination can satisfy the endorsement policy"
    tries = consortium.gateway.policy.proposals
    peer.service.script("Endorse", *[fail(STATUS.FAILED_PRECONDITION, why)] * (tries + 1))

    with pytest.raises(EndorseError, match="MF-7011"):
        consortium.gateway.submit([b"round:Advance", b"{}"])

    assert len(transaction_ids(peer)) == tries
    assert "Submit" not in peer.service.asked


@pytest.mark.parametrize(
    ("method", "failure"),
    [
        ("Evaluate", fail(STATUS.FAILED_PRECONDITION, "access denied: channel [medfabric]")),
        (
            "Endorse",
            fail(STATUS.ABORTED, "failed to endorse", (*OWN, "access denied: revoked")),
        ),
        ("Submit", fail(STATUS.ABORTED, "unsuccessful response from orderer: status=FORBIDDEN")),
    ],
)
def test_an_identity_that_the_channel_does_not_take_is_refused(peer, consortium, method, failure):
    peer.service.script(method, failure, failure)
    gateway = consortium.gateway
    ask = gateway.evaluate if method == "Evaluate" else gateway.submit

    with pytest.raises(GatewayError, match="have the hospital enrol") as caught:
        ask([b"plan:Advance", b"{}"])

    assert caught.value.code == Code.IDENTITY_REFUSED
    assert exit_code(caught.value) == Exit.REFUSED
    assert len(peer.service.asked[method]) == 1


def test_a_chaincode_that_nobody_defined_is_not_proposed_to_again(peer, consortium):
    why = NO_COMBINATION + "No metadata was found for chaincode other in channel medfabric"
    peer.service.script("Endorse", fail(STATUS.FAILED_PRECONDITION, why))

    with pytest.raises(EndorseError, match="No metadata"):
        consortium.gateway.submit([b"round:Advance", b"{}"])

    assert len(transaction_ids(peer)) == 1


def test_a_prepared_transaction_that_was_not_proposed_is_not_signed(peer, consortium):
    def swap(request, _):
        other = Proposal(consortium.gateway, [b"plan:Abort", b"{}"])
        header = proposal_pb2.Proposal.FromString(
            request.proposed_transaction.proposal_bytes
        ).header
        proposal = proposal_pb2.Proposal.FromString(other.signed.proposal_bytes)
        proposal.header = header
        forged = proposal_pb2.SignedProposal(proposal_bytes=proposal.SerializeToString())
        return gateway_pb2.EndorseResponse(prepared_transaction=prepare(forged, b"{}"))

    peer.service.script("Endorse", swap)

    with pytest.raises(EndorseError, match="not the transaction that was proposed") as caught:
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert caught.value.code == Code.BAD_RESPONSE
    assert "Submit" not in peer.service.asked


@pytest.mark.parametrize("garbage", [b"", b"\xff" * 40, b"\x0a\x05abc"])
def test_a_garbled_prepared_transaction_is_an_endorse_error(peer, consortium, garbage):
    envelope = common_pb2.Envelope(payload=garbage)
    peer.service.script(
        "Endorse", lambda *_: gateway_pb2.EndorseResponse(prepared_transaction=envelope)
    )

    with pytest.raises(EndorseError) as caught:
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert caught.value.code == Code.BAD_RESPONSE


def test_an_ordering_service_that_refuses_is_a_submit_error(peer, consortium):
    peer.service.script("Submit", fail(STATUS.ABORTED, "unsuccessful response: BAD_REQUEST"))

    with pytest.raises(SubmitError, match="BAD_REQUEST") as caught:
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert caught.value.code == Code.SUBMIT_FAILED
    assert len(peer.service.asked["Submit"]) == 1
    assert "CommitStatus" not in peer.service.asked


@pytest.mark.parametrize("first", [hang, fail(STATUS.UNAVAILABLE, "connection reset")])
def test_an_unclear_submit_sends_the_same_bytes_again(peer, consortium, first):
    peer.service.script("Submit", first)

    committed = consortium.gateway.submit([b"plan:Advance", b"{}"])

    one, two = (request.SerializeToString() for request in peer.service.asked["Submit"])
    assert one == two
    assert len(peer.service.asked["Endorse"]) == 1
    assert committed.block_number == 7


def test_a_copy_that_is_refused_after_an_unclear_submit_may_have_committed(peer, consortium):
    peer.service.script("Submit", hang, fail(STATUS.ABORTED, "request already exists"))

    committed = consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert committed.transaction_id == transaction_ids(peer)[0]


def test_a_lost_commit_status_is_asked_again_and_never_resubmitted(peer, consortium):
    peer.service.script("CommitStatus", hang, fail(STATUS.UNAVAILABLE, "peer restarts"))

    committed = consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert committed.block_number == 7
    assert len(peer.service.asked["CommitStatus"]) == 3
    assert len(peer.service.asked["Submit"]) == 1


def test_an_unknown_outcome_says_so_and_nothing_is_submitted_again(peer, consortium):
    peer.service.script("CommitStatus", hang, hang, hang)

    with pytest.raises(CommitStatusError, match="may or may not have committed") as caught:
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert caught.value.code == Code.STATUS_UNKNOWN
    assert caught.value.transaction_id == transaction_ids(peer)[0]
    assert len(peer.service.asked["Submit"]) == 1


def test_a_refused_commit_status_is_not_asked_again(peer, consortium):
    peer.service.script("CommitStatus", fail(STATUS.PERMISSION_DENIED, "no reader"))

    with pytest.raises(CommitStatusError, match="no reader"):
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert len(peer.service.asked["CommitStatus"]) == 1


@pytest.mark.parametrize(
    "conflict",
    [
        transaction_pb2.MVCC_READ_CONFLICT,
        transaction_pb2.PHANTOM_READ_CONFLICT,
        transaction_pb2.ENDORSEMENT_POLICY_FAILURE,
    ],
)
def test_a_conflict_is_proposed_anew_under_a_new_transaction_id(peer, consortium, conflict):
    peer.service.validation = [conflict, transaction_pb2.VALID]

    committed = consortium.gateway.submit([b"plan:Advance", b"{}"])

    first, second = transaction_ids(peer)
    assert first != second == committed.transaction_id


def test_conflicts_without_end_are_a_commit_error(peer, consortium):
    peer.service.validation = [transaction_pb2.MVCC_READ_CONFLICT]

    with pytest.raises(CommitError, match="MVCC_READ_CONFLICT") as caught:
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert caught.value.code == Code.NOT_COMMITTED
    assert len(peer.service.asked["Endorse"]) == 3


def test_another_invalidity_is_final(peer, consortium):
    peer.service.validation = [transaction_pb2.BAD_CREATOR_SIGNATURE]

    with pytest.raises(CommitError) as caught:
        consortium.gateway.submit([b"plan:Advance", b"{}"])

    assert caught.value.validation == "BAD_CREATOR_SIGNATURE"
    assert len(peer.service.asked["Endorse"]) == 1


def test_answers_beyond_four_mebibytes_arrive(peer, consortium):
    peer.service.answer = b"x" * (6 * 1024 * 1024)

    assert consortium.gateway.evaluate([b"round:Get", b"{}"]) == peer.service.answer


def test_peers_words_reach_no_terminal_as_control_characters(peer, consortium):
    peer.service.script("Evaluate", fail(STATUS.UNKNOWN, "MF-1009: \x1b[2Jgone"))

    with pytest.raises(EvaluateError) as caught:
        consortium.gateway.evaluate([b"plan:Get", b"{}"])

    assert "\x1b" not in str(caught.value)


def test_errors_survive_a_process_boundary():
    import pickle

    error = EndorseError(Code.EXISTS, "there is one", transaction_id="ab", status="ABORTED")

    assert str(pickle.loads(pickle.dumps(error))) == "MF-1010: there is one"


@pytest.mark.parametrize("garbage", [b"", b"\xff\xff", b"\x1a\x7f", b"\x08\x02\x1a\x02\x0a\xff"])
def test_details_that_cannot_be_read_do_not_hide_the_error(peer, consortium, garbage):
    def step(_, context):
        context.set_trailing_metadata((("grpc-status-details-bin", garbage),))
        context.abort(STATUS.ABORTED, "chaincode response 400, MF-1010: it exists")

    peer.service.script("Evaluate", step)

    with pytest.raises(EvaluateError) as caught:
        consortium.gateway.evaluate([b"plan:Get", b"{}"])

    assert caught.value.code == Code.EXISTS
    assert caught.value.details == ()
