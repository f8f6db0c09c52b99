"""State machines, each a table: from which state to which others."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from chaincode.schema.ceremonies import CeremonyStatus
from chaincode.schema.classifiers import ClassifierStatus
from chaincode.schema.consortium import ConsortiumStatus, HospitalStatus, NodeStatus
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import GroupTestStatus
from chaincode.schema.motions import MotionStatus
from chaincode.schema.plans import PlanStatus
from chaincode.schema.reputation import ComplaintStatus
from chaincode.schema.rounds import ModelStatus, RoundStatus
from chaincode.schema.sharing import GrantStatus
from chaincode.schema.storage import ChallengeStatus
from chaincode.schema.studies import StudyStatus


def _table(**moves: tuple[StrEnum, ...]) -> dict[str, frozenset[StrEnum]]:
    return {state: frozenset(targets) for state, targets in moves.items()}


CONSORTIUM = _table(FOUNDING=(ConsortiumStatus.ACTIVE,), ACTIVE=())
MOTION = _table(
    OPEN=(MotionStatus.CARRIED, MotionStatus.DEFEATED, MotionStatus.LAPSED),
    CARRIED=(),
    DEFEATED=(),
    LAPSED=(),
)
HOSPITAL = _table(
    PROPOSED=(HospitalStatus.ADMITTED, HospitalStatus.REJECTED),
    ADMITTED=(HospitalStatus.LEFT, HospitalStatus.EXPELLED),
    REJECTED=(HospitalStatus.PROPOSED,),
    LEFT=(HospitalStatus.PROPOSED,),
    EXPELLED=(HospitalStatus.PROPOSED,),
)
NODE = _table(
    ACTIVE=(NodeStatus.RESTING, NodeStatus.SUSPENDED, NodeStatus.LEFT, NodeStatus.REVOKED),
    RESTING=(NodeStatus.ACTIVE, NodeStatus.SUSPENDED, NodeStatus.LEFT, NodeStatus.REVOKED),
    SUSPENDED=(NodeStatus.ACTIVE, NodeStatus.LEFT, NodeStatus.REVOKED),
    LEFT=(NodeStatus.ACTIVE, NodeStatus.REVOKED),
    REVOKED=(),
)
_STOPPED = (PlanStatus.FAILED, PlanStatus.ABORTED)
PLAN = _table(
    PROPOSED=(PlanStatus.APPROVED, PlanStatus.REJECTED, PlanStatus.ABORTED),
    APPROVED=(PlanStatus.ACTIVE, *_STOPPED),
    ACTIVE=(PlanStatus.PAUSED, PlanStatus.COMPLETED, *_STOPPED),
    PAUSED=(PlanStatus.ACTIVE, PlanStatus.COMPLETED, *_STOPPED),
    COMPLETED=(),
    REJECTED=(),
    FAILED=(),
    ABORTED=(),
)
CEREMONY = _table(
    COMMIT=(CeremonyStatus.REVEAL, CeremonyStatus.DONE, CeremonyStatus.FAILED),
    REVEAL=(CeremonyStatus.CONFIRM, CeremonyStatus.FAILED),
    CONFIRM=(CeremonyStatus.DONE, CeremonyStatus.JUDGE, CeremonyStatus.FAILED),
    JUDGE=(CeremonyStatus.FAILED,),
    DONE=(),
    FAILED=(),
)
ROUND = _table(
    ENLISTING=(RoundStatus.OPEN, RoundStatus.FAILED),
    OPEN=(RoundStatus.SEALED, RoundStatus.FAILED),
    KEYING=(RoundStatus.OPEN, RoundStatus.FAILED),
    SEALED=(RoundStatus.SEALED, RoundStatus.AGGREGATED, RoundStatus.FAILED),
    AGGREGATED=(RoundStatus.AGGREGATED, RoundStatus.DECRYPTED, RoundStatus.FAILED),
    DECRYPTED=(
        RoundStatus.AGGREGATED,
        RoundStatus.DISPUTED,
        RoundStatus.PUBLISHED,
        RoundStatus.FAILED,
    ),
    DISPUTED=(RoundStatus.JUDGING, RoundStatus.FAILED),
    JUDGING=(RoundStatus.FAILED,),
    PUBLISHED=(),
    FAILED=(),
)
GROUP_TEST = _table(
    DRAWN=(GroupTestStatus.SUMMED, GroupTestStatus.FAILED),
    SUMMED=(GroupTestStatus.DECRYPTED, GroupTestStatus.FAILED),
    DECRYPTED=(GroupTestStatus.SCORED, GroupTestStatus.FAILED),
    SCORED=(),
    FAILED=(),
)
MODEL = _table(
    CURRENT=(ModelStatus.DEPRECATED, ModelStatus.RECALLED),
    DEPRECATED=(ModelStatus.RECALLED,),
    RECALLED=(),
)
GRANT = _table(GRANTED=(GrantStatus.REVOKED,), REVOKED=(GrantStatus.GRANTED,))
CHALLENGE = _table(
    OPEN=(ChallengeStatus.ANSWERED, ChallengeStatus.MISSED, ChallengeStatus.LATE),
    ANSWERED=(ChallengeStatus.PROVEN, ChallengeStatus.REFUTED),
    MISSED=(ChallengeStatus.LATE,),
    LATE=(),
    PROVEN=(),
    REFUTED=(),
)
COMPLAINT = _table(
    OPEN=(ComplaintStatus.UPHELD, ComplaintStatus.DISMISSED), UPHELD=(), DISMISSED=()
)
CLASSIFIER = _table(
    PROPOSED=(ClassifierStatus.ADOPTED, ClassifierStatus.REJECTED),
    ADOPTED=(ClassifierStatus.RETIRED,),
    REJECTED=(),
    RETIRED=(),
)
STUDY = _table(
    PROPOSED=(StudyStatus.COLLECTING, StudyStatus.REJECTED),
    COLLECTING=(StudyStatus.HELD, StudyStatus.FAILED),
    HELD=(StudyStatus.SUMMED, StudyStatus.FAILED),
    SUMMED=(StudyStatus.AGREED, StudyStatus.FAILED),
    AGREED=(StudyStatus.AGREED, StudyStatus.DECRYPTED, StudyStatus.FAILED),
    DECRYPTED=(StudyStatus.PUBLISHED, StudyStatus.DISPUTED, StudyStatus.FAILED),
    DISPUTED=(StudyStatus.JUDGING, StudyStatus.FAILED),
    JUDGING=(StudyStatus.FAILED,),
    PUBLISHED=(),
    REJECTED=(),
    FAILED=(),
)


def check(table: Mapping[str, frozenset[StrEnum]], now: StrEnum, to: StrEnum) -> None:
    """Refuse a move that the table does not have.

    Raises:
        MedFabricError: ``BAD_STATE``.
    """
    if to not in table[now.value]:
        raise MedFabricError(Code.BAD_STATE, f"cannot go from {now} to {to}; read the state again")


def first(table: Mapping[str, frozenset[StrEnum]]) -> tuple[str, ...]:
    """The states in which a life by the table begins. A round of one page is OPEN or
    KEYING at once."""
    others = (RoundStatus.OPEN, RoundStatus.KEYING) if table is ROUND else ()
    return (*list(table)[:1], *others)


def is_final(table: Mapping[str, frozenset[StrEnum]], state: StrEnum) -> bool:
    """Whether no move leads out of this state."""
    return not table[state.value]
