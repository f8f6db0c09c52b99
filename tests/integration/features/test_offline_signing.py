"""Feature: Off-line signing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from support.feature_network import FeatureNetwork, words
from support.signing_process import SigningProcess

from chaincode.schema.errors import Code
from client.gateway import EndorseError, EvaluateError, Form, Gateway
from client.identity import Identity

scenario = pytest.mark.scenario


@pytest.fixture
def gateway(network: FeatureNetwork) -> Iterator[Gateway]:
    """A gateway without a signer."""
    folder = network.network.layout.user("hospital1", "admin")
    with network.connect(Identity.load(folder, offline=True)) as opened:
        yield opened


@pytest.fixture
def signer(network: FeatureNetwork) -> Iterator[SigningProcess]:
    """Where the key is: another process."""
    with SigningProcess(network.network.layout.user("hospital1", "admin")) as running:
        yield running


@scenario("Evaluate fails without signing")
def test_evaluate_fails_without_signing(gateway: Gateway) -> None:
    with pytest.raises(EvaluateError) as caught:
        gateway.proposal(words("echo", "conga")).evaluate()

    assert caught.value.code == Code.UNSIGNED


@scenario("Evaluate succeeds with off-line signing")
def test_evaluate_succeeds_with_off_line_signing(gateway: Gateway, signer: SigningProcess) -> None:
    proposal = gateway.proposal(words("echo", "conga"))

    signed = gateway.signed_proposal(proposal.to_bytes(), signer.sign(proposal.digest))

    assert signed.evaluate() == b"conga"


@scenario("Submit fails without signing")
def test_submit_fails_without_signing(gateway: Gateway) -> None:
    with pytest.raises(EndorseError) as caught:
        gateway.submit(words("echo", "conga"))

    assert caught.value.code == Code.UNSIGNED


@scenario("Submit succeeds with off-line signing")
def test_submit_succeeds_with_off_line_signing(gateway: Gateway, signer: SigningProcess) -> None:
    proposal = gateway.proposal(words("echo", "conga"))
    proposal = gateway.signed_proposal(proposal.to_bytes(), signer.sign(proposal.digest))
    transaction = proposal.endorse()
    transaction = gateway.signed_transaction(
        transaction.to_bytes(), signer.sign(transaction.digest)
    )
    commit = transaction.submit()
    commit = gateway.signed_commit(commit.to_bytes(), signer.sign(commit.digest))

    assert commit.status().successful
    assert transaction.result == b"conga"


def test_events_are_listened_to_with_off_line_signing(
    network: FeatureNetwork, gateway: Gateway, signer: SigningProcess
) -> None:
    start = network.gateway().height()
    committed = network.gateway().submit(words("event", "offline", "signed"))
    request = gateway.events_request(start_block=start)

    signed = gateway.signed_events_request(request.to_bytes(), signer.sign(request.digest))
    with signed.open() as events:
        event = next(events)

    assert (event.transaction_id, event.payload) == (committed.transaction_id, b"signed")


@pytest.mark.parametrize("form", list(Form))
def test_blocks_are_listened_to_with_off_line_signing(
    gateway: Gateway, signer: SigningProcess, form: Form
) -> None:
    request = gateway.block_events_request(form=form, start_block=0)

    signed = gateway.signed_block_events_request(
        request.to_bytes(), signer.sign(request.digest), form=form
    )
    with signed.open() as events:
        assert len(list(islice(events, 2))) == 2
