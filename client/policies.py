"""A hospital renews the endorsement policies of what it owns, as members come and go."""

from __future__ import annotations

from chaincode.schema.policies import AT_ONCE, OldPolicy, Owned
from client.consortium import Consortium, every


def due(consortium: Consortium) -> bool:
    """Whether the caller's hospital has yet to say that it has renewed since members changed."""
    standing = consortium.policies.get(msp_id=consortium.identity.msp_id)
    return standing.renewal.membership < standing.membership


def renew(consortium: Consortium) -> tuple[list[OldPolicy], list[OldPolicy]]:
    """Renew whatever the caller's hospital owns, and say so.

    Returns:
        What was renewed, and what nobody can write any more.

    Raises:
        MedFabricError: as :meth:`Consortium.submit`; to be called again, it goes on.
    """
    old = [
        policy
        for kind in Owned
        for page in every(consortium.policies.page, msp_id=consortium.identity.msp_id, kind=kind)
        for policy in page.old
    ]
    renewed = [policy for policy in old if not policy.lost]
    keys = tuple(policy.key for policy in renewed)
    for start in range(0, len(keys), AT_ONCE):
        consortium.policies.renew(keys=keys[start : start + AT_ONCE])
    if due(consortium):
        consortium.policies.renew(complete=True)
    return renewed, [policy for policy in old if policy.lost]
