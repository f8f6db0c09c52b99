"""Endorsement policies for single keys."""

from __future__ import annotations

from collections.abc import Sequence

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2


def owner_and_majority(owner: str, hospitals: Sequence[str]) -> bytes:
    """A policy that needs the owner's peer and a majority of all hospitals' peers.

    Args:
        owner: MSP id that must endorse.
        hospitals: all MSP ids, the owner among them.

    Returns:
        ``SignaturePolicyEnvelope`` bytes, the same for any order of ``hospitals``.
    """
    ordered = sorted(set(hospitals))
    if owner not in ordered:
        raise ValueError("the owner must be one of the hospitals")
    # A signature counts once in a policy: the owner's is used up, the rest must come from others.
    others = [_signed_by(index) for index, msp_id in enumerate(ordered) if msp_id != owner]
    rules = [_signed_by(ordered.index(owner))]
    if others:  # a peer's gateway finds no endorsers for "none out of none"
        rules.append(_out_of(len(ordered) // 2, others))
    rule = _out_of(len(rules), rules)
    envelope = policies_pb2.SignaturePolicyEnvelope(
        version=0, rule=rule, identities=[_peer_of(msp_id) for msp_id in ordered]
    )
    return bytes(envelope.SerializeToString(deterministic=True))


def _peer_of(msp_id: str) -> msp_principal_pb2.MSPPrincipal:
    role = msp_principal_pb2.MSPRole(
        msp_identifier=msp_id, role=msp_principal_pb2.MSPRole.MSPRoleType.PEER
    )
    return msp_principal_pb2.MSPPrincipal(
        principal_classification=msp_principal_pb2.MSPPrincipal.Classification.ROLE,
        principal=role.SerializeToString(deterministic=True),
    )


def _signed_by(index: int) -> policies_pb2.SignaturePolicy:
    return policies_pb2.SignaturePolicy(signed_by=index)


def _out_of(
    number: int, rules: Sequence[policies_pb2.SignaturePolicy]
) -> policies_pb2.SignaturePolicy:
    return policies_pb2.SignaturePolicy(
        n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=number, rules=rules)
    )
