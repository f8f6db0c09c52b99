"""The agent: one process per node, driven by the ledger's committed state, woken by its events.

It reads, finds its duties, does the first that is due, and reads again. An event never carries
instructions, it only ends a wait; a lost event costs at most :data:`LONGEST_WAIT` seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from chaincode.schema import states
from chaincode.schema.base import Empty, Role
from chaincode.schema.ceremonies import CeremonyView
from chaincode.schema.consortium import Consortium as Members
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import GroupTestArgs, GroupTestView
from chaincode.schema.places import Place
from chaincode.schema.plans import Plan, PlanArgs
from client.consortium import Consortium
from client.places import taken
from client.waking import Waking
from trainer.node.duties import Duty, Me, Snapshot, duties
from trainer.node.home import Home
from trainer.node.reading import PlanReader, RoundReader

log = logging.getLogger("medfabric.node")

PATIENCE = 0.75
"""Seconds that a hospital leaves the one before it in the queue for a shared transaction."""
LONGEST_WAIT = 30.0
_FIRST_RETRY, _LAST_RETRY = 0.5, 20.0
_LAST_READ = 4.0
"""Seconds at most until a ledger that could not be read is asked again."""

# Somebody else was faster, or the state moved on between reading and submitting: read again.
_OVERTAKEN = frozenset(
    {
        Code.ALREADY,
        Code.NOT_YET,
        Code.BAD_STATE,
        Code.EXISTS,
        Code.DUPLICATE_UPDATE,
        Code.DUPLICATE_CONTRIBUTION,
        Code.PLACE_TAKEN,
    }
)

Facts = Mapping[str, int | str] | None
Work = Callable[[Duty, Snapshot], Facts]
"""Carries out one duty; returns what the journal should hold beside its duration."""
Due = tuple[Duty, Callable[[], Facts]]
"""A duty and what carries it out, ending in a committed transaction."""


@dataclass
class _Retry:
    after: float
    delay: float
    error: MedFabricError

    @classmethod
    def of(cls, error: MedFabricError, last: _Retry | None, longest: float) -> _Retry:
        delay = min(longest, last.delay * 2) if last else _FIRST_RETRY
        return cls(time.monotonic() + delay, delay, error)


class Agent:
    """Runs one node until stopped.

    Args:
        me: the node's identity and roles.
        consortium: the facade over this hospital's own peer.
        home: the node's folder.
        work: carries out a duty, ending in a committed transaction.
        tend: called with every snapshot before its duties; repairs what this node owes to others.
        forget: called for every plan whose key has gone on for good.
        others: duties that belong to no plan, read from the ledger anew at each call.
    """

    def __init__(
        self,
        me: Me,
        consortium: Consortium,
        home: Home,
        work: Work,
        tend: Callable[[Snapshot], None],
        forget: Callable[[str], None],
        others: Callable[[], Iterable[Due]] = tuple,
    ) -> None:
        self._me = me
        self._consortium = consortium
        self._home = home
        self._work = work
        self._tend = tend
        self._forget = forget
        self._others = others
        self._plans = PlanReader(consortium, me)
        self._rounds = RoundReader(consortium, me)
        self._waking = Waking(consortium.events)
        self._stopping = threading.Event()
        self._first_seen: dict[Duty, float] = {}
        self._retries: dict[Duty, _Retry] = {}
        self._unread: _Retry | None = None
        self._ceremonies: dict[str, CeremonyView] = {}
        self._patience = PATIENCE

    def stop(self) -> None:
        """End :meth:`run` after the duty in hand."""
        self._stopping.set()
        self._waking.close()

    def run(self, *, once: bool = False) -> None:
        """Do duties until stopped; with ``once``, those that can be done now.

        Raises:
            MedFabricError: with ``once``, what kept a duty from being done.
        """
        if once:
            self._run_once()
            return
        self._waking.listen()
        while not self._stopping.is_set():
            try:
                wait = self._pass()
                self._unread = None
            except MedFabricError as error:
                wait = self._cannot_read(error)
            if wait is not None:
                self._waking.wait(wait)

    def _run_once(self) -> None:
        # Whoever runs one node by hand does not wait for the others' turns.
        self._patience = 0.0
        while not self._stopping.is_set() and self._pass() is None:
            pass
        for retry in self._retries.values():
            if retry.error.code not in _OVERTAKEN:
                raise retry.error

    def _pass(self) -> float | None:
        """Do the first duty that is due. None if one was done, else seconds until the next."""
        open_now: set[Duty] = set()
        wait = LONGEST_WAIT
        for duty, carry_out in self._open():
            open_now.add(duty)
            due = self._due_in(duty)
            if due <= 0 and self._do(duty, carry_out):
                return None
            wait = min(wait, max(due, _FIRST_RETRY if due <= 0 else due))
        self._forget_all_but(open_now)
        return wait

    def _open(self) -> Iterator[Due]:
        """Open duties, the one to do first in front."""
        for snapshot in self._snapshots():
            self._tend(snapshot)
            for duty in duties(self._me, snapshot):
                yield duty, partial(self._work, duty, snapshot)
        yield from self._others()

    def _snapshots(self) -> list[Snapshot]:
        plans = self._plans.concerning()
        for plan_id in self._plans.handed_on:
            self._forget(plan_id)
        if not plans:
            return []
        members = self._consortium.evaluate("consortium:Members", Empty(), Members)
        return [self._snapshot(plan, members.hospitals) for plan in plans]

    def _snapshot(self, plan: Plan, members: tuple[str, ...]) -> Snapshot:
        view = self._rounds.newest(plan)
        places: tuple[Place, ...] = ()
        if plan.terms.participation.dynamic is not None and self._me.joins:
            places = taken(self._consortium, plan.terms.plan_id)
        test = None
        if plan.terms.acceptance.group_tests and view and Role.VALIDATOR in self._me.roles:
            which = GroupTestArgs(plan_id=plan.terms.plan_id, round=plan.rounds_opened)
            test = self._consortium.evaluate("grouptest:Get", which, GroupTestView)
        return Snapshot(plan, self._ceremony(plan.terms.plan_id), view, members, places, test)

    def _ceremony(self, plan_id: str) -> CeremonyView:
        view = self._ceremonies.get(plan_id)
        if view is None:
            args = PlanArgs(plan_id=plan_id)
            view = self._consortium.evaluate("ceremony:Get", args, CeremonyView)
            if states.is_final(states.CEREMONY, view.ceremony.status):
                self._ceremonies[plan_id] = view
        return view

    def _due_in(self, duty: Duty) -> float:
        first_seen = self._first_seen.setdefault(duty, time.monotonic())
        turn = duty.turn * self._patience
        queued = first_seen + turn - time.monotonic()
        opens = duty.not_before + turn - time.time() if duty.not_before else 0.0
        retry = self._retries.get(duty)
        again = retry.after - time.monotonic() if retry else 0.0
        return max(queued, opens, again)

    def _do(self, duty: Duty, carry_out: Callable[[], Facts]) -> bool:
        started = time.monotonic()
        try:
            facts = carry_out()
        except MedFabricError as error:
            self._failed(duty, error)
            return error.code in _OVERTAKEN
        except MemoryError:
            why = "there is no memory left; give the process more, or run fewer beside it"
            self._failed(duty, MedFabricError(Code.MEMORY_EXHAUSTED, why))
            return False
        seconds = time.monotonic() - started
        self._retries.pop(duty, None)
        entry = {"task": duty.task.value, "plan_id": duty.plan_id, "round": duty.round}
        self._home.journal({**entry, "seconds": round(seconds, 4), **(facts or {})})
        log.info("%s done in %.2f s", duty, seconds)
        return True

    def _failed(self, duty: Duty, error: MedFabricError) -> None:
        last = self._retries.get(duty)
        self._retries[duty] = _Retry.of(error, last, _LAST_RETRY)
        told = _told(last, error) or error.code in _OVERTAKEN
        log.log(logging.DEBUG if told else logging.WARNING, "%s: %s", duty, error)

    def _cannot_read(self, error: MedFabricError) -> float:
        """Say so, once; seconds until the next try."""
        last, self._unread = self._unread, _Retry.of(error, self._unread, _LAST_READ)
        level = logging.DEBUG if _told(last, error) else logging.WARNING
        log.log(level, "cannot read the ledger: %s", error)
        return self._unread.delay

    def _forget_all_but(self, open_now: set[Duty]) -> None:
        self._first_seen = {d: t for d, t in self._first_seen.items() if d in open_now}
        self._retries = {d: r for d, r in self._retries.items() if d in open_now}


def _told(last: _Retry | None, error: MedFabricError) -> bool:
    return last is not None and str(last.error) == str(error)
