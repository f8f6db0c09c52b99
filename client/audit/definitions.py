"""Chaincodes as their definitions on the ledger have them: endorsement policies and collections.

A collection is either in the definition, or one of the implicit ones, one per member of the
channel, which every chaincode has (Fabric docs: "Private data", "Implicit private data
collections").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from client.audit import policy
from client.audit.channel import Channel
from client.audit.msp import Identity
from client.audit.state import State

LIFECYCLE = "_lifecycle"
IMPLICIT = "_implicit_org_"
FIELDS = ("Sequence", "EndorsementInfo", "ValidationInfo", "Collections")
"""What a definition consists of on the ledger, in the order of its metadata."""

Collection: TypeAlias = collection_pb2.StaticCollectionConfig


def metadata_key(chaincode: str) -> str:
    """Where the lifecycle's namespace says that a chaincode is defined."""
    return f"namespaces/metadata/{chaincode}"


def field_key(chaincode: str, field: str) -> str:
    """Where the lifecycle's namespace holds a field of a chaincode's definition."""
    return f"namespaces/fields/{chaincode}/{field}"


def collection_namespace(chaincode: str, collection: str) -> str:
    """The name under which states keep a collection's keys. No chaincode's name holds ``$``."""
    return f"{chaincode}$${collection}"


def is_defined(state: State, chaincode: str) -> bool:
    """Whether the chaincode's definition is committed."""
    return state.get(LIFECYCLE, field_key(chaincode, "Sequence")) is not None


def version(state: State, chaincode: str) -> str:
    """The version of the chaincode as defined; empty where it is not."""
    entry = state.get(LIFECYCLE, field_key(chaincode, "EndorsementInfo"))
    if entry is None:
        return ""
    data = db_pb2.StateData.FromString(entry.value)
    info = chaincode_definition_pb2.ChaincodeEndorsementInfo.FromString(data.Bytes)
    return str(info.version)


def endorsement(state: State, chaincode: str) -> policy_pb2.ApplicationPolicy | None:
    """The chaincode's endorsement policy; None where it is not defined.

    Raises:
        DecodeError: the definition cannot be read.
    """
    entry = state.get(LIFECYCLE, field_key(chaincode, "ValidationInfo"))
    if entry is None:
        return None
    data = db_pb2.StateData.FromString(entry.value)
    info = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(data.Bytes)
    return policy_pb2.ApplicationPolicy.FromString(info.validation_parameter)


def collection(state: State, channel: Channel, chaincode: str, name: str) -> Collection | None:
    """A collection of a chaincode, explicit or implicit; None where there is none of this name.

    Raises:
        DecodeError: the definition cannot be read.
    """
    # The lifecycle, which no definition names, has the implicit ones.
    if chaincode != LIFECYCLE and not is_defined(state, chaincode):
        return None
    prefix, found, msp_id = name.partition(IMPLICIT)
    if found and not prefix:
        return _implicit(msp_id) if msp_id in channel.hospitals else None
    entry = state.get(LIFECYCLE, field_key(chaincode, "Collections"))
    if entry is None:
        return None
    data = db_pb2.StateData.FromString(entry.value)
    package = collection_pb2.CollectionConfigPackage.FromString(data.Bytes)
    for config in package.config:
        if config.static_collection_config.name == name:
            return config.static_collection_config
    return None


def member_hospitals(collection: Collection) -> frozenset[str]:
    """MSP ids of those whose peers keep the collection's data.

    Raises:
        DecodeError: a member is not named by a role.
    """
    identities = collection.member_orgs_policy.signature_policy.identities
    return frozenset(
        msp_principal_pb2.MSPRole.FromString(identity.principal).msp_identifier
        for identity in identities
    )


def is_member(collection: Collection, identity: Identity) -> bool:
    """Whether an identity alone satisfies the collection's policy of members."""
    members = collection.member_orgs_policy.signature_policy.SerializeToString()
    return policy.satisfied(members, [identity])


def any_member(msp_ids: Sequence[str]) -> policies_pb2.SignaturePolicyEnvelope:
    """A policy that any one member of any of these hospitals satisfies."""
    roles = msp_principal_pb2.MSPRole.MSPRoleType
    principals = [
        msp_principal_pb2.MSPPrincipal(
            principal_classification=msp_principal_pb2.MSPPrincipal.Classification.ROLE,
            principal=msp_principal_pb2.MSPRole(
                msp_identifier=msp_id, role=roles.MEMBER
            ).SerializeToString(deterministic=True),
        )
        for msp_id in msp_ids
    ]
    rules = [policies_pb2.SignaturePolicy(signed_by=index) for index in range(len(principals))]
    one = policies_pb2.SignaturePolicy.NOutOf(n=1, rules=rules)
    return policies_pb2.SignaturePolicyEnvelope(
        rule=policies_pb2.SignaturePolicy(n_out_of=one), identities=principals
    )


def _implicit(msp_id: str) -> Collection:
    members = collection_pb2.CollectionPolicyConfig(signature_policy=any_member([msp_id]))
    return Collection(name=f"{IMPLICIT}{msp_id}", member_orgs_policy=members)
