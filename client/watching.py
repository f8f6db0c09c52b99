"""Where a plan stands and whom it waits for, followed as the ledger moves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaincode.schema import states
from chaincode.schema.ceremonies import CeremonyStatus, CeremonyView
from chaincode.schema.consortium import Subject
from chaincode.schema.plans import Plan, PlanStatus
from chaincode.schema.rounds import RoundStatus, RoundView

if TYPE_CHECKING:
    from client.consortium import Consortium

_IN_CEREMONY = {
    CeremonyStatus.COMMIT: "commitments",
    CeremonyStatus.REVEAL: "key shares",
    CeremonyStatus.CONFIRM: "confirmations",
    CeremonyStatus.JUDGE: "verdicts",
}
_OF_HOSPITALS = {
    RoundStatus.SEALED: "attestations",
    RoundStatus.DECRYPTED: "evaluations",
    RoundStatus.DISPUTED: "proofs of decryption shares",
    RoundStatus.JUDGING: "verdicts",
}
_NAMED = 8
"""Of those waited for, in words."""


@dataclass(frozen=True)
class Standing:
    """Of a plan, as one peer shows it.

    ``stage``: of the vote, the key ceremony or the round. ``awaited``: hospitals (MSP ids) or nodes
    (MSP id/node) that have not given their ``what``, of which ``given`` are there; all are waited
    for, but for the ``deadline``, in seconds of the epoch. ``note`` says how the stage ended, or
    what went wrong.
    """

    plan: str
    status: str
    round: int | None = None
    stage: str = ""
    what: str = ""
    given: int = 0
    awaited: tuple[str, ...] = ()
    deadline: int | None = None
    note: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return states.is_final(states.PLAN, PlanStatus(self.status))

    def __str__(self) -> str:
        where = f"round {self.round} {self.stage}" if self.round else self.stage or self.status
        parts = [where]
        if self.what:
            parts.append(f"{self.given} of {self.given + len(self.awaited)} {self.what}")
        if self.awaited:
            more = len(self.awaited) - _NAMED
            named = [*self.awaited[:_NAMED], *([f"{more} more"] if more > 0 else [])]
            parts.append(f"waiting for {', '.join(named)}")
        if self.note:
            parts.append(self.note)
        return "; ".join(parts)


def watch(consortium: Consortium, plan_id: str) -> Iterator[Standing]:
    """How the plan stands now, and again whenever that has changed, until it is over.

    Raises:
        MedFabricError: there is no such plan, or the peer does not answer (any more).
    """
    height = consortium.gateway.height()
    now = standing(consortium, plan_id)
    yield now
    if now.over:
        return
    with consortium.events(start_block=height) as events:
        for event in events:
            about = plan_id in (event.body.plan_id, event.body.subject)
            # What a reading has shown already is not read again: many nodes, many events.
            if not about or event.block_number < height:
                continue
            height = consortium.gateway.height()
            before, now = now, standing(consortium, plan_id)
            yield from _ended(consortium, before, now)
            if now != before:
                yield now
            if now.over:
                return


def _ended(consortium: Consortium, before: Standing, now: Standing) -> Iterator[Standing]:
    """How rounds ended that another has followed since the reading before."""
    followed = range(before.round or 1, now.round or 1)
    if not followed:
        return
    plan = consortium.plans.get(plan_id=now.plan).plan
    for number in followed:
        ended = of_round(plan, consortium.rounds.get(plan_id=now.plan, number=number))
        if ended != before:
            yield ended


def standing(consortium: Consortium, plan_id: str) -> Standing:
    """How a plan stands.

    Raises:
        MedFabricError: as :meth:`Consortium.evaluate`.
    """
    plan = consortium.plans.get(plan_id=plan_id).plan
    if plan.status is PlanStatus.PROPOSED:
        return _voted(consortium, plan)
    if plan.status is PlanStatus.APPROVED:
        return _of_ceremony(plan, consortium.ceremonies.get(plan_id=plan_id))
    if not plan.rounds_opened:
        return Standing(plan_id, plan.status, note=plan.reason)
    return of_round(plan, consortium.rounds.get(plan_id=plan_id, number=plan.rounds_opened))


def _voted(consortium: Consortium, plan: Plan) -> Standing:
    ballot = consortium.charter.ballot(subject=Subject.PLAN, subject_id=plan.plan_id)
    members = consortium.charter.members().hospitals
    given = [vote.msp_id for vote in ballot.votes]
    note = f"{ballot.needed} approvals carry it"
    if ballot.decided is not None:
        note = "decided; `admin plan advance` carries it out"
    return Standing(
        plan=plan.plan_id,
        status=plan.status,
        stage="vote",
        what="votes",
        given=len(given),
        awaited=_without(members, given),
        deadline=ballot.expires_at or None,
        note=note,
    )


def _of_ceremony(plan: Plan, view: CeremonyView) -> Standing:
    ceremony = view.ceremony
    return Standing(
        plan=plan.plan_id,
        status=plan.status,
        stage=f"key ceremony {ceremony.status}",
        what=_IN_CEREMONY.get(ceremony.status, ""),
        given=len(view.given),
        awaited=view.missing,
        deadline=ceremony.deadline,
        note=ceremony.reason,
    )


def of_round(plan: Plan, view: RoundView) -> Standing:
    """How a plan stands whose newest round is this one."""
    round_ = view.round
    what, owing, given = _posts(plan, view)
    return Standing(
        plan=plan.plan_id,
        status=plan.status,
        round=round_.number,
        stage=round_.status,
        what=what,
        given=len(given),
        awaited=_without(owing, given),
        deadline=None if states.is_final(states.ROUND, round_.status) else round_.deadline,
        note=_note(plan, view),
    )


def _posts(plan: Plan, view: RoundView) -> tuple[str, Sequence[str], list[str]]:
    """What the stage asks for, of whom, and who has given it."""
    nodes = _nodes(view.masking.nodes if view.masking else view.round.participants)
    declined = _nodes(view.declines)
    match view.round.status:
        case RoundStatus.KEYING:
            asked = _without(_nodes(view.round.participants), declined)
            return "mask keys", asked, _nodes(view.mask_keys)
        case RoundStatus.OPEN:
            return "updates", _without(nodes, declined), _nodes(view.updates)
    what = "shares of masks" if view.masking else "decryption shares"
    if view.round.status is not RoundStatus.AGGREGATED:
        what = _OF_HOSPITALS.get(view.round.status, "")
    return what, view.owing(plan.terms.hospitals), list(view.given)


def _note(plan: Plan, view: RoundView) -> str:
    round_ = view.round
    said = [f"without {d.msp_id}/{d.node_id} ({d.code})" for d in round_.dropped]
    said += [f"declined by {d.msp_id}/{d.node_id} ({d.code})" for d in view.declines]
    if round_.status is RoundStatus.PUBLISHED:
        votes = [e for e in view.evaluations if e.candidate]
        correct, total = sum(e.correct for e in votes), sum(e.total for e in votes)
        said.append(f"{correct} of {total} right on validation records")
        said.append(f"model {round_.model_sha256}")
    if round_.failure:
        said.append(f"{round_.failure} {round_.reason}")
    if plan.status is PlanStatus.PAUSED or states.is_final(states.PLAN, plan.status):
        said.append(f"the plan is {plan.status}" + (f": {plan.reason}" if plan.reason else ""))
    return "; ".join(said)


def _nodes(posted: Iterable[object]) -> list[str]:
    return [f"{getattr(post, 'msp_id', '')}/{getattr(post, 'node_id', '')}" for post in posted]


def _without(owing: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    there = set(given)
    return tuple(one for one in owing if one not in there)
