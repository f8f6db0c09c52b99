"""Private data collections that a consortium's chaincodes define, beside the implicit ones."""

from __future__ import annotations

from collections.abc import Sequence

from fabric_protos.peer import collection_pb2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from client.audit.definitions import any_member
from network.endorsement import Endorsers, application_policy


class Collection(BaseModel):
    """One collection of a chaincode's definition (Fabric docs: "Private data").

    ``members`` are MSP ids of the hospitals whose peers keep the data. A peer endorses only where
    it can hand the data to ``required_peers`` other members' peers, and hands them to at most
    ``maximum_peers``; the rest fetch them when their block comes, which data that live for fewer
    than ten blocks may not wait for. After ``block_to_live`` blocks data and hashes go; 0 keeps
    them. ``endorsers`` are MSP ids of hospitals of which ``endorsers_needed`` must endorse a
    write; without them the chaincode's policy applies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,62}$")
    members: tuple[str, ...] = Field(min_length=1)
    required_peers: int = Field(default=0, ge=0)
    maximum_peers: int = Field(default=0, ge=0)
    block_to_live: int = Field(default=0, ge=0)
    member_only_read: bool = True
    member_only_write: bool = True
    endorsers: tuple[str, ...] = ()
    endorsers_needed: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _counts(self) -> Collection:
        if self.required_peers > self.maximum_peers:
            raise ValueError("required_peers is more than maximum_peers")
        if self.endorsers and self.endorsers_needed > len(self.endorsers):
            raise ValueError("endorsers_needed is more than there are endorsers")
        return self


def package(collections: Sequence[Collection]) -> collection_pb2.CollectionConfigPackage | None:
    """The collections as a chaincode's definition carries them; None where there are none."""
    if not collections:
        return None
    configs = [
        collection_pb2.CollectionConfig(static_collection_config=_static(collection))
        for collection in collections
    ]
    return collection_pb2.CollectionConfigPackage(config=configs)


def _static(collection: Collection) -> collection_pb2.StaticCollectionConfig:
    members = collection_pb2.CollectionPolicyConfig(signature_policy=any_member(collection.members))
    config = collection_pb2.StaticCollectionConfig(
        name=collection.name,
        member_orgs_policy=members,
        required_peer_count=collection.required_peers,
        maximum_peer_count=collection.maximum_peers,
        block_to_live=collection.block_to_live,
        member_only_read=collection.member_only_read,
        member_only_write=collection.member_only_write,
    )
    if collection.endorsers:
        endorsers = Endorsers(members=collection.endorsers, needed=collection.endorsers_needed)
        config.endorsement_policy.CopyFrom(application_policy(endorsers))
    return config
