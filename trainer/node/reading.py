"""What a node reads of plans and rounds: a thousand nodes must not each read, at every event, what
all others posted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chaincode.schema.base import Role
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import Plan, PlanState, PlanStatus
from chaincode.schema.rounds import RoundPage, RoundPageArgs, RoundStatus, RoundView
from client.consortium import Consortium, every
from trainer.node.duties import CONCERNING, Me


class PlanReader:
    """Reads the plans that concern a node; the terms of each once."""

    def __init__(self, consortium: Consortium, me: Me) -> None:
        self._consortium = consortium
        self._me = me
        self._known: dict[str, Plan] = {}
        self.handed_on: tuple[str, ...] = ()
        """Plans whose key has gone on for good, as last read."""

    def concerning(self) -> list[Plan]:
        """Plans of the node's hospital that give it anything to do, and those to which it may
        hand a key on.

        Raises:
            MedFabricError: ``PLAN_TAMPERED``, or as :meth:`Consortium.evaluate`.
        """
        pages = every(self._consortium.plans.page)
        states = {state.plan_id: state for page in pages for state in page.plans}
        self.handed_on = tuple(_handed_on(states))
        self._known = {
            plan_id: self._whole(state)
            for plan_id, state in states.items()
            if state.status in CONCERNING
        }
        return [plan for plan in self._known.values() if self._concerns(plan)]

    def _concerns(self, plan: Plan) -> bool:
        # Who hands a key on is known of its ceremony.
        handing = plan.status is PlanStatus.APPROVED and plan.terms.key is not None
        return handing or self._me.msp_id in plan.terms.hospitals

    def _whole(self, state: PlanState) -> Plan:
        known = self._known.get(state.plan_id)
        if known is not None and known.terms_sha256 == state.terms_sha256:
            return Plan.joined(state, known.terms)
        plan = self._consortium.plans.get(plan_id=state.plan_id).plan
        if plan.terms.sha256 != plan.terms_sha256:
            raise MedFabricError(
                Code.PLAN_TAMPERED,
                f"plan {plan.plan_id} as this peer shows it is not the one voted on; "
                "audit the hospital's peer",
            )
        return plan


def _handed_on(states: Mapping[str, PlanState]) -> Iterator[str]:
    for state in states.values():
        after = states.get(state.successor or "")
        # Where the ceremony fails, the successor is taken back.
        if after is not None and after.status is not PlanStatus.APPROVED:
            yield state.plan_id


class RoundReader:
    """Reads a plan's newest round, of its nodes as many pages as the reader's duties are about.

    The first page is always read, for what hospitals posted. While updates come in, a trainer reads
    its own page, a validator the one that is sealed next. From sealing on a validator needs all,
    which do not change any more and are read once.
    """

    def __init__(self, consortium: Consortium, me: Me) -> None:
        self._consortium = consortium
        self._me = me
        self._own: dict[str, tuple[int, int]] = {}
        self._sealed: dict[str, tuple[int, tuple[RoundPage, ...]]] = {}

    def newest(self, plan: Plan) -> RoundView | None:
        """The round that the plan opened last, or None before its first.

        Raises:
            MedFabricError: as :meth:`Consortium.evaluate`.
        """
        if not plan.rounds_opened:
            return None
        first = self._page(plan, 0)
        return RoundView.of([first, *self._further(plan, first)])

    def _further(self, plan: Plan, first: RoundPage) -> tuple[RoundPage, ...]:
        if first.round.pages == 1:
            return ()
        if first.round.sealed_page is not None:
            return self._rest(plan, first) if Role.VALIDATOR in self._me.roles else ()
        if first.round.status is not RoundStatus.OPEN:
            return ()
        wanted = set()
        if Role.VALIDATOR in self._me.roles:
            wanted.add(first.sealed)
        if Role.TRAINER in self._me.roles:
            wanted.add(self._own_page(plan, first))
        return tuple(self._page(plan, number) for number in sorted(wanted - {0}))

    def _rest(self, plan: Plan, first: RoundPage) -> tuple[RoundPage, ...]:
        """All pages after the first, kept since their updates are sealed."""
        number, pages = self._sealed.get(plan.plan_id, (0, ()))
        if number != first.round.number:
            pages = tuple(self._page(plan, page) for page in range(1, first.round.pages))
            self._sealed[plan.plan_id] = (first.round.number, pages)
        return pages

    def _own_page(self, plan: Plan, first: RoundPage) -> int:
        """Which page this node is on; the first where it takes no part in the round."""
        number, own = self._own.get(plan.plan_id, (0, 0))
        if number != first.round.number:
            own = next((page.page for page in self._all(plan, first) if self._is_on(page)), 0)
            self._own[plan.plan_id] = (first.round.number, own)
        return own

    def _all(self, plan: Plan, first: RoundPage) -> Iterator[RoundPage]:
        yield first
        for page in range(1, first.round.pages):
            yield self._page(plan, page)

    def _is_on(self, page: RoundPage) -> bool:
        who = (self._me.msp_id, self._me.node_id)
        participants = page.cohort.participants if page.cohort else ()
        return any((p.msp_id, p.node_id) == who for p in participants)

    def _page(self, plan: Plan, page: int) -> RoundPage:
        args = RoundPageArgs(plan_id=plan.plan_id, number=plan.rounds_opened, page=page)
        return self._consortium.evaluate("round:Get", args, RoundPage)
