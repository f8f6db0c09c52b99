"""The policy of a hospital's own keys, judged as Fabric judges it."""

import itertools

import pytest
from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from chaincode.shim.endorsement import Endorser, KeyEndorsementPolicy, owner_and_majority


def satisfied(policy: bytes, endorsers: set[str]) -> bool:
    """Fabric's rule: a signature that a branch has used does not count again."""
    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(policy)
    roles = [
        msp_principal_pb2.MSPRole.FromString(identity.principal) for identity in envelope.identities
    ]
    assert all(role.role == msp_principal_pb2.MSPRole.PEER for role in roles)
    msp_ids = [role.msp_identifier for role in roles]

    def holds(rule: policies_pb2.SignaturePolicy, used: set[str]) -> bool:
        if rule.WhichOneof("Type") == "signed_by":
            signer = msp_ids[rule.signed_by]
            if signer not in endorsers or signer in used:
                return False
            used.add(signer)
            return True
        assert 0 < rule.n_out_of.n <= len(rule.n_out_of.rules)
        met = 0
        for part in rule.n_out_of.rules:
            tried = set(used)
            if holds(part, tried):
                met += 1
                used |= tried
        return met >= rule.n_out_of.n

    return holds(envelope.rule, set())


@pytest.mark.parametrize("number", range(1, 7))
def test_needs_the_owner_within_a_majority(number: int) -> None:
    hospitals = [f"Hospital{index}MSP" for index in range(1, number + 1)]
    policy = owner_and_majority(hospitals[0], hospitals)

    for size in range(number + 1):
        for endorsers in itertools.combinations(hospitals, size):
            wanted = hospitals[0] in endorsers and size >= number // 2 + 1
            assert satisfied(policy, set(endorsers)) == wanted


def test_bytes_do_not_depend_on_the_order() -> None:
    hospitals = [f"Hospital{index}MSP" for index in range(1, 6)]
    policies = {owner_and_majority("Hospital2MSP", order) for order in (hospitals, hospitals[::-1])}
    assert len(policies) == 1
    assert policies != {owner_and_majority("Hospital3MSP", hospitals)}


def test_the_owner_is_one_of_the_hospitals() -> None:
    with pytest.raises(ValueError, match="owner"):
        owner_and_majority("Hospital9MSP", ["Hospital1MSP"])


# the helper for single keys


def test_all_named_organisations_must_endorse() -> None:
    policy = KeyEndorsementPolicy()
    policy.add("B", "A", "C")
    policy.remove("C", "unknown")

    assert policy.organizations == ("A", "B")
    assert satisfied(policy.serialize(), {"A", "B"})
    assert not satisfied(policy.serialize(), {"A"})
    assert not satisfied(policy.serialize(), {"B", "C"})


def test_the_same_organisations_are_the_same_bytes_and_read_back() -> None:
    one, other = KeyEndorsementPolicy(), KeyEndorsementPolicy()
    one.add("A", "B")
    one.add("M", endorser=Endorser.MEMBER)
    other.add("M", "B", "A", endorser=Endorser.MEMBER)
    other.add("A", "B")

    read = KeyEndorsementPolicy(one.serialize())

    assert one.serialize() == other.serialize() == read.serialize()
    roles = policies_pb2.SignaturePolicyEnvelope.FromString(read.serialize()).identities
    member = msp_principal_pb2.MSPRole.FromString(roles[2].principal)
    assert (member.msp_identifier, member.role) == ("M", msp_principal_pb2.MSPRole.MEMBER)


def test_a_policy_with_another_rule_or_role_is_not_replaced() -> None:
    for raw in (owner_and_majority("A", ["A", "B", "C"]), b"\xff\xff", _of_admins()):
        with pytest.raises(ValueError, match=r".+"):
            KeyEndorsementPolicy(raw)


def _of_admins() -> bytes:
    policy = KeyEndorsementPolicy()
    policy.add("A")
    parsed = policies_pb2.SignaturePolicyEnvelope.FromString(policy.serialize())
    role = msp_principal_pb2.MSPRole(msp_identifier="A", role=msp_principal_pb2.MSPRole.ADMIN)
    parsed.identities[0].principal = role.SerializeToString()
    return bytes(parsed.SerializeToString())
