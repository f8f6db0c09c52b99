"""Answering for stored content, and checking others' answers, from one's own copy."""

from __future__ import annotations

from chaincode.schema.storage import Challenge, Check, possession
from client.consortium import Consortium
from client.content import ContentStore


def answer(consortium: Consortium, store: ContentStore, challenge: str) -> Challenge:
    """Answer a challenge to one's own hospital.

    Raises:
        MedFabricError: ``CONTENT_MISSING`` or ``CONTENT_TAMPERED`` where the store has no good
            copy; the challenge then stays open, and is missed at its deadline.
    """
    asked = consortium.storage.get(challenge=challenge).challenge
    digest = digest_of(store, asked)
    return consortium.storage.answer(challenge=challenge, answer_sha256=digest)


def check(consortium: Consortium, store: ContentStore, challenge: str) -> Check:
    """Check the answer of another hospital; errors as of :func:`answer`."""
    asked = consortium.storage.get(challenge=challenge).challenge
    digest = digest_of(store, asked)
    return consortium.storage.check(challenge=challenge, answer_sha256=digest)


def digest_of(store: ContentStore, asked: Challenge) -> str:
    """What a challenge's answer should be, by this store's copy.

    Raises:
        MedFabricError: as :func:`answer`.
    """
    return possession(asked.challenge, asked.holder, store.get_stream(asked.content))
