"""Signature policies and how they are composed in a channel's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.msp import identities_pb2, msp_principal_pb2

from client.audit.msp import Identity

_Classification = msp_principal_pb2.MSPPrincipal.Classification
_Role = msp_principal_pb2.MSPRole.MSPRoleType
_Type = policies_pb2.Policy.PolicyType
_Rule = policies_pb2.ImplicitMetaPolicy.Rule


class UnsupportedPolicyError(Exception):
    """A policy of a kind that is not understood; never taken for satisfied."""


def satisfied(envelope: bytes, signers: Sequence[Identity]) -> bool:
    """Whether these distinct signers satisfy a ``SignaturePolicyEnvelope``.

    A signature counts once: a rule that used it leaves it used for the rules beside it, as in
    Fabric.
    """
    message = policies_pb2.SignaturePolicyEnvelope.FromString(envelope)
    unique = list({signer.raw: signer for signer in signers}.values())
    return _holds(message.rule, message.identities, unique, [False] * len(unique))


def reaches(root: configtx_pb2.ConfigGroup, path: str, signers: Sequence[Identity]) -> bool:
    """Whether the signers satisfy a policy by its path, such as /Channel/Application/Endorsement.

    Raises:
        UnsupportedPolicyError: there is no such policy, or it is of another kind.
    """
    parts = path.strip("/").split("/")
    if parts[0] != "Channel":
        raise UnsupportedPolicyError(f"{path} is not a path in the channel's configuration")
    group = root
    for name in parts[1:-1]:
        if name not in group.groups:
            raise UnsupportedPolicyError(f"{path} leads nowhere")
        group = group.groups[name]
    return _in_group(group, parts[-1], signers)


def _in_group(group: Any, name: str, signers: Sequence[Identity]) -> bool:
    if name not in group.policies:
        raise UnsupportedPolicyError(f"there is no policy {name}")
    policy = group.policies[name].policy
    if policy.type == _Type.SIGNATURE:
        return satisfied(policy.value, signers)
    if policy.type != _Type.IMPLICIT_META:
        raise UnsupportedPolicyError(f"policy {name} is of an unknown kind")
    meta = policies_pb2.ImplicitMetaPolicy.FromString(policy.value)
    children = list(group.groups.values())
    if not children:
        # Fabric takes it for satisfied by nobody; such a group decides nothing here.
        raise UnsupportedPolicyError(f"policy {name} is over no groups")
    # A group without such a policy counts, as one that never agrees.
    held = sum(
        _in_group(child, meta.sub_policy, signers)
        for child in children
        if meta.sub_policy in child.policies
    )
    needed = {
        _Rule.ANY: 1,
        _Rule.ALL: len(children),
        _Rule.MAJORITY: len(children) // 2 + 1,
    }[meta.rule]
    return held >= needed


def _holds(rule: Any, principals: Any, signers: Sequence[Identity], used: list[bool]) -> bool:
    if rule.WhichOneof("Type") == "signed_by":
        for index, signer in enumerate(signers):
            if not used[index] and _is(signer, principals[rule.signed_by]):
                used[index] = True
                return True
        return False
    held = 0
    for inner in rule.n_out_of.rules:
        trial = list(used)
        if _holds(inner, principals, signers, trial):
            held += 1
            used[:] = trial
    return bool(held >= rule.n_out_of.n)


def _is(signer: Identity, principal: Any) -> bool:
    if principal.principal_classification == _Classification.IDENTITY:
        wanted = identities_pb2.SerializedIdentity.FromString(principal.principal)
        mine = identities_pb2.SerializedIdentity.FromString(signer.raw)
        return bool(wanted.mspid == mine.mspid and wanted.id_bytes == mine.id_bytes)
    if principal.principal_classification != _Classification.ROLE:
        raise UnsupportedPolicyError("a principal is neither a role nor an identity")
    role = msp_principal_pb2.MSPRole.FromString(principal.principal)
    if role.msp_identifier != signer.msp_id:
        return False
    return bool(role.role == _Role.MEMBER or _Role.Name(role.role).lower() == signer.kind)
