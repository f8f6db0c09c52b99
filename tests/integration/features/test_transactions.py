"""Feature: Transaction invocation."""

from __future__ import annotations

import json

import pytest
from support.feature_network import ONE, FeatureNetwork, words

from client.gateway import EndorseError, EvaluateError

scenario = pytest.mark.scenario
ERROR = "ALL_YOUR_ERROR_ARE_BELONG_TO_US"


@scenario("Evaluate with result")
def test_evaluate_with_result(network: FeatureNetwork) -> None:
    assert network.gateway().evaluate(words("echo", "conga")) == b"conga"


@scenario("Submit with result")
def test_submit_with_result(network: FeatureNetwork) -> None:
    assert network.gateway().submit(words("echo", "conga")).result == b"conga"


@scenario("Update ledger")
def test_update_ledger(network: FeatureNetwork) -> None:
    gateway = network.gateway()

    gateway.submit(words("put", "update", "ledger"))

    assert gateway.evaluate(words("get", "update")) == b"ledger"


@scenario("Transient data")
def test_transient_data(network: FeatureNetwork) -> None:
    transient = {"key1": b"value1", "key2": b"value2"}

    answer = network.gateway().evaluate(words("echo_transient"), transient=transient)

    assert json.loads(answer) == {"key1": "value1", "key2": "value2"}


@scenario("Evaluate with error response")
def test_evaluate_with_error_response(network: FeatureNetwork) -> None:
    with pytest.raises(EvaluateError, match=ERROR) as caught:
        network.gateway().evaluate(words("error_message", ERROR))

    assert caught.value.status == "UNKNOWN"


@scenario("Submit with error response")
def test_submit_with_error_response(network: FeatureNetwork) -> None:
    with pytest.raises(EndorseError, match="failed to endorse transaction") as caught:
        network.gateway().submit(words("error_message", ERROR))

    assert caught.value.status == "ABORTED"
    (detail,) = caught.value.details
    assert (detail.address, detail.msp_id) == (network.address(1), ONE)
    assert ERROR in detail.message
