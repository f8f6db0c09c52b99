"""Features: Specify endorsing organizations, with keys here and with keys in an HSM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.feature_network import ONE, PRIVATE, THREE, TWO, FeatureNetwork, words
from support.signing_process import SigningProcess

from client.gateway import Gateway
from client.identity import Identity

scenario = pytest.mark.scenario


@pytest.fixture(params=["key", "hsm"])
def gateway(request: pytest.FixtureRequest, network: FeatureNetwork) -> Iterator[Gateway]:
    """Its identity's key is here, or where an HSM would be."""
    folder = network.network.layout.user("hospital1", "admin")
    if request.param == "key":
        yield network.gateway(1, PRIVATE)
        return
    with (
        SigningProcess(folder) as signer,
        network.connect(Identity.load(folder, signer=signer), 1, PRIVATE) as opened,
    ):
        yield opened


@pytest.mark.parametrize(
    "msp_id",
    [
        pytest.param(ONE, marks=scenario("Submit to org1")),
        pytest.param(TWO, marks=scenario("Submit to org2")),
        pytest.param(THREE, marks=scenario("Submit to org3")),
    ],
)
def test_submit_to_an_organization(gateway: Gateway, msp_id: str) -> None:
    committed = gateway.submit(words("peer_org"), organizations=[msp_id])

    assert committed.result == msp_id.encode()


@scenario("Submit to org1 and org3")
def test_submit_to_org1_and_org3(gateway: Gateway) -> None:
    committed = gateway.submit(
        words("check_endorsing_org"),
        organizations=[ONE, THREE],
        transient={ONE: b"value1", THREE: b"value2"},
    )

    assert committed.result == b"success"


@pytest.mark.parametrize(
    "msp_id",
    [
        pytest.param(ONE, marks=scenario("Evaluate on org1")),
        pytest.param(TWO, marks=scenario("Evaluate on org2")),
    ],
)
def test_evaluate_on_an_organization(gateway: Gateway, msp_id: str) -> None:
    assert gateway.evaluate(words("peer_org"), organizations=[msp_id]) == msp_id.encode()
