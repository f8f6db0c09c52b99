"""Who must endorse: what a chaincode's or a collection's definition says."""

from __future__ import annotations

from fabric_protos.common import policies_pb2
from fabric_protos.peer import policy_pb2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from client.audit.definitions import any_member

POLICY = "/Channel/Application/Endorsement"
"""The channel's own policy: a majority of the hospitals."""


class Endorsers(BaseModel):
    """So many of these hospitals (MSP ids) must endorse."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    members: tuple[str, ...] = Field(min_length=1)
    needed: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _count(self) -> Endorsers:
        if self.needed > len(self.members):
            raise ValueError("needed is more than there are members")
        return self


def application_policy(endorsers: Endorsers | None) -> policy_pb2.ApplicationPolicy:
    """The policy as a definition carries it; without endorsers, the channel's."""
    if endorsers is None:
        return policy_pb2.ApplicationPolicy(channel_config_policy_reference=POLICY)
    envelope = any_member(endorsers.members)
    rules = envelope.rule.n_out_of.rules
    needed = policies_pb2.SignaturePolicy.NOutOf(n=endorsers.needed, rules=rules)
    return policy_pb2.ApplicationPolicy(
        signature_policy=policies_pb2.SignaturePolicyEnvelope(
            rule=policies_pb2.SignaturePolicy(n_out_of=needed), identities=envelope.identities
        )
    )
