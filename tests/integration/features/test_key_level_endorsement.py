"""Feature: State-based endorsement."""

from __future__ import annotations

import itertools

import pytest
from support.feature_network import ONE, PRIVATE, THREE, TWO, FeatureNetwork, words

from client.gateway import CommitError, Gateway

scenario = pytest.mark.scenario
_KEYS = (f"key-{number}" for number in itertools.count())


@pytest.fixture
def gateway(network: FeatureNetwork) -> Gateway:
    return network.gateway(1, PRIVATE)


@pytest.fixture
def key(network: FeatureNetwork, gateway: Gateway) -> str:
    """A key that hospital 1 must endorse, everywhere in force."""
    name = next(_KEYS)
    committed = gateway.submit(words("set_state_with_endorser", name, "value-001", ONE))
    network.arrived(committed.block_number)
    return name


@scenario("State change must be endorsed by Org1 peer")
def test_state_change_must_be_endorsed_by_org1_peer(gateway: Gateway, key: str) -> None:
    gateway.submit(words("put", key, "value-Org1"), organizations=[ONE])

    assert gateway.evaluate(words("get", key)) == b"value-Org1"


@scenario("State change fails if endorsed only by Org2 peer")
def test_state_change_fails_if_endorsed_only_by_org2_peer(gateway: Gateway, key: str) -> None:
    transaction = gateway.proposal(words("put", key, "value-Org2"), organizations=[TWO]).endorse()

    with pytest.raises(CommitError) as caught:
        transaction.submit().status().check()

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"
    assert gateway.evaluate(words("get", key)) == b"value-001"


@pytest.mark.parametrize(
    "endorsers",
    [
        pytest.param(
            (ONE, THREE),
            marks=scenario(
                "Set SBE policy for Org1 AND Org3; state change successfully when not specifying "
                "endorsing orgs"
            ),
        ),
        pytest.param(
            (TWO, THREE),
            marks=scenario(
                "Set SBE policy for Org2 AND Org3 (no local org); state change successfully when "
                "not specifying endorsing orgs"
            ),
        ),
    ],
)
def test_gateway_finds_the_endorsers_of_a_key(
    network: FeatureNetwork, gateway: Gateway, key: str, endorsers: tuple[str, str]
) -> None:
    committed = gateway.submit(words("set_state_endorsers", key, *endorsers))
    network.arrived(committed.block_number)

    gateway.submit(words("put", key, "value-of-both"))

    assert gateway.evaluate(words("get", key)) == b"value-of-both"


@scenario(
    "Set SBE policy for Org1 AND Org3; state change fails when specifying incorrect endorsing orgs"
)
def test_state_change_fails_when_specifying_incorrect_endorsing_orgs(
    network: FeatureNetwork, gateway: Gateway, key: str
) -> None:
    committed = gateway.submit(words("set_state_endorsers", key, ONE, THREE))
    network.arrived(committed.block_number)
    proposal = gateway.proposal(words("put", key, "value-Org1-Org2"), organizations=[ONE, TWO])

    with pytest.raises(CommitError):
        proposal.endorse().submit().status().check()

    assert gateway.evaluate(words("get", key)) == b"value-001"
