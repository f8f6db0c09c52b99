"""Feature: Discovery, which is the gateway's task."""

from __future__ import annotations

import pytest
from support.feature_network import ERRORS, FeatureNetwork, words

from client.gateway import EndorseError

scenario = pytest.mark.scenario


@scenario("Submit fails with insufficient endorsers")
def test_submit_fails_with_insufficient_endorsers(network: FeatureNetwork) -> None:
    proposal = network.gateway(1, ERRORS).proposal(words("echo", "conga"))

    with network.without(3), pytest.raises(EndorseError):
        proposal.endorse()


@scenario("Submit succeeds with sufficient endorsers")
def test_submit_succeeds_with_sufficient_endorsers(network: FeatureNetwork) -> None:
    committed = network.gateway(1, ERRORS).submit(words("echo", "conga"))

    assert committed.result == b"conga"
