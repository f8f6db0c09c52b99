"""Who may ask the devnet what: identities, signatures and policies at the time of asking."""

from __future__ import annotations

import datetime

from client.audit.channel import Channel
from client.audit.msp import Identity, IdentityRefusedError

WRITERS = "/Channel/Application/Writers"
READERS = "/Channel/Application/Readers"
SUBMITTERS = "/Channel/Writers"


class AccessDeniedError(Exception):
    """A request that is not answered; the text says why."""


def admit(
    channel: Channel, creator: bytes, message: bytes, signature: bytes, policy: str
) -> Identity:
    """The identity that signed a request, where the channel's policy lets it ask.

    The certificate must be valid now: a request's own timestamp is its sender's word.

    Args:
        creator: ``SerializedIdentity`` bytes.
        policy: path of a policy in the channel's configuration.

    Raises:
        AccessDeniedError: with the reason.
    """
    try:
        identity = channel.members.identity(creator)
    except IdentityRefusedError as error:
        raise AccessDeniedError(f"access denied: {error}") from None
    certificate, now = identity.certificate, datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise AccessDeniedError(f"access denied: a certificate of {identity.msp_id} has expired")
    if not identity.verify(message, signature):
        raise AccessDeniedError("access denied: the signature is false")
    if not channel.satisfies(policy, [identity]):
        raise AccessDeniedError(f"access denied: {identity.common_name} is not among {policy}")
    return identity
