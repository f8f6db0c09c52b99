"""Endorsement policies by Fabric's rules: a signature counts once, the unknown never counts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2

from chaincode.shim.endorsement import owner_and_majority
from client.audit import policy
from client.audit.msp import Identity

HOSPITALS = tuple(f"Hospital{number}MSP" for number in range(1, 5))


def _peer(msp_id: str, kind: str = "peer") -> Identity:
    unused: Any = None
    return Identity(f"{msp_id} {kind}".encode(), msp_id, kind, unused)


@pytest.mark.parametrize("owner", HOSPITALS)
def test_hospital_s_key_needs_its_peer_and_a_majority(owner: str) -> None:
    envelope = owner_and_majority(owner, HOSPITALS)

    for size in range(5):
        for signers in itertools.combinations(HOSPITALS, size):
            wanted = owner in signers and size >= 3
            assert policy.satisfied(envelope, [_peer(s) for s in signers]) is wanted


def test_a_signature_counts_once_and_only_of_the_right_kind() -> None:
    envelope = owner_and_majority(HOSPITALS[0], HOSPITALS)
    twice = [_peer(HOSPITALS[0])] * 3 + [_peer(HOSPITALS[1])]
    clients = [_peer(h, "client") for h in HOSPITALS]

    assert not policy.satisfied(envelope, twice)
    assert not policy.satisfied(envelope, clients)


def test_policy_of_an_unknown_kind_is_never_taken_for_satisfied() -> None:
    everyone = [_peer(h) for h in HOSPITALS]
    principal = msp_principal_pb2.MSPPrincipal(
        principal_classification=msp_principal_pb2.MSPPrincipal.Classification.ANONYMITY
    )
    envelope = policies_pb2.SignaturePolicyEnvelope(
        rule=policies_pb2.SignaturePolicy(signed_by=0), identities=[principal]
    )
    root = configtx_pb2.ConfigGroup()
    root.policies["Odd"].policy.type = 99

    with pytest.raises(policy.UnsupportedPolicyError):
        policy.satisfied(envelope.SerializeToString(), everyone)
    for path in ("/Channel/Odd", "/Channel/Absent", "/Channel/No/Group", "/Elsewhere/Odd"):
        with pytest.raises(policy.UnsupportedPolicyError):
            policy.at(root, path)


def test_a_rule_of_a_principal_that_is_not_there_is_not_read() -> None:
    for index in (-1, 1):
        envelope = policies_pb2.SignaturePolicyEnvelope.FromString(
            owner_and_majority(HOSPITALS[0], HOSPITALS[:1])
        )
        envelope.rule.n_out_of.rules[0].signed_by = index

        with pytest.raises(IndexError):
            policy.satisfied(envelope.SerializeToString(), [_peer(HOSPITALS[0])])


def test_what_a_rule_used_that_does_not_hold_is_free_again() -> None:
    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(
        owner_and_majority(HOSPITALS[0], HOSPITALS)
    )
    first = envelope.rule.n_out_of.rules[0]
    # Of two signatures the first rule would use one, and asks for two of the same hospital.
    pair = policies_pb2.SignaturePolicy(
        n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=2, rules=[first, first])
    )
    either = policies_pb2.SignaturePolicy(
        n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=1, rules=[pair, first])
    )
    envelope.rule.CopyFrom(either)

    assert policy.satisfied(envelope.SerializeToString(), [_peer(HOSPITALS[0])])
