"""A node's part in the storage layer: answering for what its hospital keeps, checking others.

Only a hospital's validator does so: a hospital speaks once. An answer is computed when the
challenge stands, from the store's copy as it is then.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from chaincode.schema.base import Role
from chaincode.schema.storage import (
    AnswerArgs,
    Challenge,
    ChallengeRefArgs,
    ChallengeStatus,
    Check,
    PendingChallenge,
)
from client.consortium import Consortium, every
from client.content.store import ContentStore
from client.possession import digest_of
from trainer.node.agent import Due
from trainer.node.duties import Duty, Me, Task


class Storekeeper:
    """Finds and carries out the duties of storage.

    Args:
        store: where this hospital's copies are.
    """

    def __init__(self, me: Me, consortium: Consortium, store: ContentStore) -> None:
        self._me = me
        self._consortium = consortium
        self._store = store

    def due(self) -> Iterator[Due]:
        """What this node's hospital owes to challenges, as committed."""
        if Role.VALIDATOR not in self._me.roles:
            return
        for page in every(self._consortium.storage.pending):
            for pending in page.pending:
                duty = owed(self._me, pending)
                if duty is not None:
                    yield duty, partial(self.carry_out, duty, pending)

    def carry_out(self, duty: Duty, pending: PendingChallenge) -> dict[str, int | str]:
        """Answer, check or conclude.

        Raises:
            MedFabricError: ``CONTENT_MISSING`` or ``CONTENT_TAMPERED`` where the store has no good
                copy; the challenge then stays open and is missed at its deadline.
        """
        challenge = pending.challenge
        if duty.task is Task.CONCLUDE_CHALLENGE:
            which = ChallengeRefArgs(challenge=challenge.challenge)
            done = self._consortium.submit("storage:Conclude", which, Challenge)
            return {"challenge": challenge.challenge, "status": done.status.value}
        digest = digest_of(self._store, challenge)
        args = AnswerArgs(challenge=challenge.challenge, answer_sha256=digest)
        if duty.task is Task.ANSWER_CHALLENGE:
            self._consortium.submit("storage:Answer", args, Challenge)
        else:
            self._consortium.submit("storage:Check", args, Check)
        return {"challenge": challenge.challenge, "bytes": challenge.content.size_bytes}


def owed(me: Me, pending: PendingChallenge) -> Duty | None:
    """What a hospital's validator owes to one challenge: its answer; a check, where the hospital
    keeps the content too; the conclusion, where it asked."""
    challenge = pending.challenge
    unanswered = challenge.status is ChallengeStatus.OPEN
    checked = any(check.msp_id == me.msp_id for check in pending.checks)
    if challenge.holder == me.msp_id:
        task = Task.ANSWER_CHALLENGE if unanswered else None
    elif pending.conclusion is not None and challenge.asked_by == me.msp_id:
        task = Task.CONCLUDE_CHALLENGE
    elif me.msp_id in pending.holders and not unanswered and not checked:
        task = Task.CHECK_ANSWER
    else:
        task = None
    return None if task is None else Duty(task, subject=challenge.challenge)
