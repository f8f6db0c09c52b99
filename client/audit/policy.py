"""Signature policies and how they are composed in a channel's configuration.

A policy is read once and asked often: a channel of many hospitals asks hundreds of times for every
transaction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.msp import identities_pb2, msp_principal_pb2

from client.audit.msp import Identity

_Classification = msp_principal_pb2.MSPPrincipal.Classification
_Role = msp_principal_pb2.MSPRole.MSPRoleType
_Type = policies_pb2.Policy.PolicyType
_Rule = policies_pb2.ImplicitMetaPolicy.Rule
_REMEMBERED = 4096
_Signers = Mapping[str, Sequence[Identity]]
"""Distinct identities by MSP id."""


class UnsupportedPolicyError(Exception):
    """A policy of a kind that is not understood; never taken for satisfied."""


class Policy(ABC):
    """Who must have signed."""

    def satisfied(self, signers: Sequence[Identity]) -> bool:
        """Whether these signers satisfy it; one that is there twice counts once."""
        by_msp: dict[str, list[Identity]] = {}
        for signer in {signer.raw: signer for signer in signers}.values():
            by_msp.setdefault(signer.msp_id, []).append(signer)
        return self.agrees(by_msp)

    @abstractmethod
    def agrees(self, signers: _Signers) -> bool:
        """As :meth:`satisfied`, of distinct signers in order."""


def satisfied(envelope: bytes, signers: Sequence[Identity]) -> bool:
    """Whether these distinct signers satisfy a ``SignaturePolicyEnvelope``.

    A signature counts once: a rule that used it leaves it used for the rules beside it, as in
    Fabric.

    Raises:
        UnsupportedPolicyError: a principal is neither a role nor an identity.
        DecodeError, IndexError: the envelope cannot be read.
    """
    return _signature_policy(envelope).satisfied(signers)


def at(root: configtx_pb2.ConfigGroup, path: str) -> Policy:
    """A channel's policy by its path, such as /Channel/Application/Endorsement.

    Raises:
        UnsupportedPolicyError: there is no such policy, or it is of another kind.
        DecodeError, IndexError: it cannot be read.
    """
    parts = path.strip("/").split("/")
    if parts[0] != "Channel":
        raise UnsupportedPolicyError(f"{path} is not a path in the channel's configuration")
    group = root
    for name in parts[1:-1]:
        if name not in group.groups:
            raise UnsupportedPolicyError(f"{path} leads nowhere")
        group = group.groups[name]
    return _in_group(group, parts[-1])


@dataclass(frozen=True)
class _Principal:
    """Whom a signature is of: an MSP's member, of one kind unless None, or of one certificate."""

    msp_id: str
    kind: str | None = None
    certificate: bytes | None = None

    def names(self, signer: Identity) -> bool:
        if self.certificate is not None:
            return _certificate(signer.raw) == self.certificate
        return self.kind in (None, signer.kind)


@dataclass(frozen=True)
class _OutOf:
    needed: int
    rules: tuple[_OutOf | _Principal, ...]


@dataclass(frozen=True)
class _SignaturePolicy(Policy):
    rule: _OutOf | _Principal

    def agrees(self, signers: _Signers) -> bool:
        return _holds(self.rule, signers, set())


@dataclass(frozen=True)
class _MetaPolicy(Policy):
    """So many of the policies of the groups below."""

    needed: int
    below: tuple[Policy, ...]

    def agrees(self, signers: _Signers) -> bool:
        return sum(each.agrees(signers) for each in self.below) >= self.needed


def _in_group(group: Any, name: str) -> Policy:
    if name not in group.policies:
        raise UnsupportedPolicyError(f"there is no policy {name}")
    policy = group.policies[name].policy
    if policy.type == _Type.SIGNATURE:
        return _signature_policy(policy.value)
    if policy.type != _Type.IMPLICIT_META:
        raise UnsupportedPolicyError(f"policy {name} is of an unknown kind")
    meta = policies_pb2.ImplicitMetaPolicy.FromString(policy.value)
    children = list(group.groups.values())
    if not children:
        # Fabric takes it for satisfied by nobody; such a group decides nothing here.
        raise UnsupportedPolicyError(f"policy {name} is over no groups")
    needed = {
        _Rule.ANY: 1,
        _Rule.ALL: len(children),
        _Rule.MAJORITY: len(children) // 2 + 1,
    }[meta.rule]
    # A group without such a policy counts, as one that never agrees.
    below = [child for child in children if meta.sub_policy in child.policies]
    return _MetaPolicy(needed, tuple(_in_group(child, meta.sub_policy) for child in below))


@lru_cache(_REMEMBERED)
def _signature_policy(envelope: bytes) -> _SignaturePolicy:
    message = policies_pb2.SignaturePolicyEnvelope.FromString(envelope)
    return _SignaturePolicy(_rule(message.rule, [_principal(each) for each in message.identities]))


def _rule(rule: Any, principals: Sequence[_Principal]) -> _OutOf | _Principal:
    if rule.WhichOneof("Type") == "signed_by":
        index = int(rule.signed_by)
        if index < 0:
            raise IndexError("a rule names no principal")
        return principals[index]
    inner = tuple(_rule(each, principals) for each in rule.n_out_of.rules)
    return _OutOf(int(rule.n_out_of.n), inner)


def _principal(principal: Any) -> _Principal:
    if principal.principal_classification == _Classification.IDENTITY:
        wanted = identities_pb2.SerializedIdentity.FromString(principal.principal)
        return _Principal(wanted.mspid, certificate=wanted.id_bytes)
    if principal.principal_classification != _Classification.ROLE:
        raise UnsupportedPolicyError("a principal is neither a role nor an identity")
    role = msp_principal_pb2.MSPRole.FromString(principal.principal)
    if role.role not in _Role.values():
        raise UnsupportedPolicyError("a principal's role is not known")
    kind = None if role.role == _Role.MEMBER else _Role.Name(role.role).lower()
    return _Principal(role.msp_identifier, kind)


def _holds(rule: _OutOf | _Principal, signers: _Signers, used: set[bytes]) -> bool:
    if isinstance(rule, _Principal):
        for signer in signers.get(rule.msp_id, ()):
            if signer.raw not in used and rule.names(signer):
                used.add(signer.raw)
                return True
        return False
    held = 0
    for inner in rule.rules:
        # What a rule that does not hold has used is free again; a principal uses none then.
        trial = used if isinstance(inner, _Principal) else set(used)
        if _holds(inner, signers, trial):
            held += 1
            used |= trial
    return held >= rule.needed


@lru_cache(_REMEMBERED)
def _certificate(raw: bytes) -> bytes:
    return bytes(identities_pb2.SerializedIdentity.FromString(raw).id_bytes)
