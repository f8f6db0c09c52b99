"""Endorsement policies for single keys."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2
from google.protobuf.message import DecodeError

_Roles = msp_principal_pb2.MSPRole.MSPRoleType
_BY_ROLE = msp_principal_pb2.MSPPrincipal.Classification.ROLE


class Endorser(StrEnum):
    """Who of an organisation must endorse: one of its peers, or any of its members."""

    PEER = "PEER"
    MEMBER = "MEMBER"


class KeyEndorsementPolicy:
    """A policy that every one of some organisations must endorse, as Fabric's helper makes it.

    Args:
        policy: ``SignaturePolicyEnvelope`` bytes, as :meth:`Stub.get_state_validation_parameter`
            gives them, or None to begin with no organisation.

    Raises:
        ValueError: not a policy of this form; one with another rule is not silently replaced.
    """

    def __init__(self, policy: bytes | None = None) -> None:
        self._endorsers: dict[str, Endorser] = {}
        try:
            parsed = policies_pb2.SignaturePolicyEnvelope.FromString(policy or b"")
            for identity in parsed.identities:
                if identity.principal_classification != _BY_ROLE:
                    raise ValueError("the policy names others than roles of organisations")
                role = msp_principal_pb2.MSPRole.FromString(identity.principal)
                self._endorsers[role.msp_identifier] = Endorser(_Roles.Name(role.role))
        except DecodeError as error:
            raise ValueError("not an endorsement policy") from error
        if policy is not None and parsed.rule != _all_of(len(parsed.identities)):
            raise ValueError("the policy's rule is another than that all must endorse")

    def add(self, *organizations: str, endorser: Endorser = Endorser.PEER) -> None:
        """Require these organisations too, by MSP id; one already there gets the new role."""
        self._endorsers.update(dict.fromkeys(organizations, endorser))

    def remove(self, *organizations: str) -> None:
        """Require these no more; those not there are passed over."""
        for organization in organizations:
            self._endorsers.pop(organization, None)

    @property
    def organizations(self) -> tuple[str, ...]:
        """MSP ids that must endorse, sorted."""
        return tuple(sorted(self._endorsers))

    def serialize(self) -> bytes:
        """``SignaturePolicyEnvelope`` bytes, the same whatever the order of calls before."""
        names = self.organizations
        envelope = policies_pb2.SignaturePolicyEnvelope(
            version=0,
            rule=_all_of(len(names)),
            identities=[_principal(name, self._endorsers[name]) for name in names],
        )
        return bytes(envelope.SerializeToString(deterministic=True))


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
        version=0, rule=rule, identities=[_principal(msp_id, Endorser.PEER) for msp_id in ordered]
    )
    return bytes(envelope.SerializeToString(deterministic=True))


def named(policy: bytes) -> tuple[str, ...]:
    """MSP ids of the organisations that a policy of roles names, as it has them.

    Args:
        policy: ``SignaturePolicyEnvelope`` bytes.
    """
    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(policy)
    roles = (msp_principal_pb2.MSPRole.FromString(p.principal) for p in envelope.identities)
    return tuple(role.msp_identifier for role in roles)


def reachable(owner: str, hospitals: Sequence[str], left: Sequence[str]) -> bool:
    """Whether those ``left`` can satisfy :func:`owner_and_majority` of ``hospitals``; what is not
    the owner's to satisfy, because it is none of the hospitals, is out of its reach."""
    others = set(hospitals) & set(left) - {owner}
    return owner in hospitals and len(others) >= len(hospitals) // 2


def _principal(msp_id: str, endorser: Endorser) -> msp_principal_pb2.MSPPrincipal:
    role = msp_principal_pb2.MSPRole(msp_identifier=msp_id, role=_Roles.Value(endorser))
    return msp_principal_pb2.MSPPrincipal(
        principal_classification=_BY_ROLE,
        principal=role.SerializeToString(deterministic=True),
    )


def _all_of(number: int) -> policies_pb2.SignaturePolicy:
    return _out_of(number, [_signed_by(index) for index in range(number)])


def _signed_by(index: int) -> policies_pb2.SignaturePolicy:
    return policies_pb2.SignaturePolicy(signed_by=index)


def _out_of(
    number: int, rules: Sequence[policies_pb2.SignaturePolicy]
) -> policies_pb2.SignaturePolicy:
    return policies_pb2.SignaturePolicy(
        n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=number, rules=rules)
    )
