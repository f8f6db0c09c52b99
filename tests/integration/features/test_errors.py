"""Feature: Errors. The chaincode has words of its own; those of the gateway are Fabric's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.feature_network import ERRORS, MSPS, ONE, THREE, TWO, FeatureNetwork, words

from client.gateway import EndorseError, EvaluateError, GatewayError

scenario = pytest.mark.scenario
NOT_ENOUGH = "failed to collect enough transaction endorsements"


def refused(kind: type[GatewayError], action: Callable[[], object]) -> GatewayError:
    with pytest.raises(kind) as caught:
        action()
    return caught.value


@scenario("Evaluate fails with incorrect arguments")
def test_evaluate_fails_with_incorrect_arguments(network: FeatureNetwork) -> None:
    gateway = network.gateway(1, ERRORS)

    error = refused(EvaluateError, lambda: gateway.evaluate(words("exists")))

    assert error.status == "UNKNOWN"
    assert (
        "evaluate call to endorser returned error: chaincode response 500, "
        "Expected 1 parameters, but 0 have been supplied"
    ) in error.message


@scenario("Submit fails with incorrect chaincode name")
def test_submit_fails_with_incorrect_chaincode_name(network: FeatureNetwork) -> None:
    proposal = network.gateway().proposal(words("exists", "1"), chaincode="nonexistent")

    error = refused(EndorseError, proposal.endorse)

    assert error.status == "FAILED_PRECONDITION"
    assert (
        "no combination of peers can be derived which satisfy the endorsement policy: "
        "No metadata was found for chaincode nonexistent in channel medfabric"
    ) in error.message


@scenario("Submit fails with incorrect transaction name")
def test_submit_fails_with_incorrect_transaction_name(network: FeatureNetwork) -> None:
    gateway = network.gateway(1, ERRORS)

    error = refused(EndorseError, lambda: gateway.submit(words("nonexistent")))

    assert error.status == "ABORTED"
    assert "failed to endorse transaction, see attached details for more info" in error.message
    (detail,) = error.details
    assert (detail.address, detail.msp_id) == (network.address(1), ONE)
    assert "chaincode response 500, there is no transaction nonexistent" in detail.message


@scenario("Evaluate crash chaincode")
def test_evaluate_crash_chaincode(network: FeatureNetwork) -> None:
    gateway = network.gateway(1, ERRORS)

    try:
        error = refused(EvaluateError, lambda: gateway.evaluate(words("crash")))
    finally:
        network.revive()

    assert error.status == "ABORTED"
    assert "failed to evaluate transaction, see attached details for more info" in error.message
    assert {detail.msp_id for detail in error.details} >= set(MSPS)
    assert all("chaincode stream terminated" in detail.message for detail in error.details)


@scenario("Evaluate with signer from unauthorized MSP")
def test_evaluate_with_signer_from_unauthorized_msp(network: FeatureNetwork) -> None:
    gateway = network.gateway(1, ERRORS)
    proposal = network.gateway(1, ERRORS).proposal(words("exists", "123"))
    foreign = network.identity(3).sign(_message(proposal.signed))

    signed = gateway.signed_proposal(proposal.to_bytes(), foreign)
    error = refused(EvaluateError, signed.evaluate)

    assert error.status == "FAILED_PRECONDITION"
    assert "access denied" in error.message
    assert all(detail.msp_id == ONE for detail in error.details)


def _message(signed: object) -> bytes:
    return bytes(signed.proposal_bytes)  # type: ignore[attr-defined]


@scenario("Org3 fails to evaluate")
def test_org3_fails_to_evaluate(network: FeatureNetwork) -> None:
    gateway = network.gateway(1, ERRORS)

    error = refused(EvaluateError, lambda: gateway.evaluate(words("orgs_fail", f'["{ONE}"]')))

    assert error.status == "UNKNOWN"
    assert f"chaincode response 500, {ONE} refuses to endorse this" in error.message


@pytest.mark.parametrize(
    "refusing",
    [
        pytest.param([THREE], marks=scenario("Org3 fails to endorse")),
        pytest.param([TWO, THREE], marks=scenario("Org2 and Org3 fail to endorse")),
    ],
)
def test_orgs_that_fail_to_endorse_are_named(network: FeatureNetwork, refusing: list[str]) -> None:
    names = "[" + ",".join(f'"{msp_id}"' for msp_id in refusing) + "]"
    proposal = network.gateway(1, ERRORS).proposal(words("orgs_fail", names))

    error = refused(EndorseError, proposal.endorse)

    assert error.status == "ABORTED"
    assert NOT_ENOUGH in error.message
    assert {detail.msp_id for detail in error.details} == set(refusing)
    for detail in error.details:
        assert f"{detail.msp_id} refuses to endorse this" in detail.message


@scenario("Submit non-deterministic transaction")
def test_submit_non_deterministic_transaction(network: FeatureNetwork) -> None:
    error = refused(EndorseError, network.gateway(1, ERRORS).proposal(words("nondet")).endorse)

    assert error.status == "ABORTED"
    assert NOT_ENOUGH in error.message
    assert {detail.msp_id for detail in error.details} <= {TWO, THREE}
    assert all("do not match" in detail.message for detail in error.details)
