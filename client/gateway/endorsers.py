"""Which hospitals' peers a client asks to endorse.

A peer's gateway lays out every combination of endorsers that the policies allow. What that takes
grows beyond all bounds with the hospitals, and from some number on it forgets hospitals at random
(``docs/explanation/endorsement.md``). In a large consortium the client names them itself.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import grpc

from client.gateway.errors import CommitError, EndorseError
from client.gateway.scope import Scope

BY_THE_PEER = 10
"""Hospitals; up to so many the choice is left to the peer, which knows who is there."""
_KNOWN_S = 600.0
"""Seconds after which members are read anew, and who failed is asked again."""
_POLICY = "ENDORSEMENT_POLICY_FAILURE"
_ABSENT = "for org(s): "
"""What Fabric's gateway says before it lists organisations of which it sees no peer."""


@dataclass(frozen=True)
class _Known:
    """The consortium's members; those that failed, the latest last; whether a majority is too few,
    as where a key's policy is of members that have left since."""

    hospitals: tuple[str, ...]
    until: float
    failed: tuple[str, ...] = ()
    every: bool = False


class Endorsers:
    """Chooses the own hospital and as many others as make a majority with it: these satisfy the
    chaincode's policy and that of every key of the own hospital.

    Safe to share among threads.

    Args:
        own: MSP id.
        members: asks for the MSP ids of the consortium's hospitals; none where there are not any
            yet, or nobody answers.
    """

    def __init__(self, own: str, members: Callable[[Scope | None], Sequence[str]]) -> None:
        self._own = own
        self._members = members
        self._known = _Known((), 0.0)
        self._lock = threading.Lock()

    def choose(self, scope: Scope | None = None) -> tuple[str, ...]:
        """MSP ids to name, the own one first; none to leave the choice to the peer."""
        with self._lock:
            if time.monotonic() > self._known.until:
                self._known = self._read(scope)
            known = self._known
        hospitals, failed = known.hospitals, known.failed
        if len(hospitals) <= BY_THE_PEER or self._own not in hospitals:
            return ()
        # Every hospital's clients begin behind it, so that all hospitals endorse equally much.
        place = hospitals.index(self._own)
        others = [*hospitals[place + 1 :], *hospitals[:place]]
        others.sort(key=lambda other: failed.index(other) + 1 if other in failed else 0)
        wanted = len(hospitals) // 2
        if known.every:
            wanted = max(wanted, len(others) - len(failed))
        return (self._own, *others[:wanted])

    def learn(self, error: CommitError | EndorseError, named: Sequence[str]) -> bool:
        """Take note of how a proposal to those named failed; whether to ask others now."""
        if not named:
            return False
        if isinstance(error, CommitError):
            return error.validation == _POLICY and self._widen()
        failing = self._failing(error, named)
        if self._own in failing:
            return False
        with self._lock:
            known = self._known
            new = [m for m in named if m in failing and m not in known.failed]
            self._known = replace(known, failed=(*known.failed, *new))
        return bool(new)

    def _failing(self, error: EndorseError, named: Sequence[str]) -> set[str]:
        if error.status == grpc.StatusCode.DEADLINE_EXCEEDED.name:
            return set(named[1:])  # one of them kept silent, and nobody says which
        if self._own in error.mismatched:
            return set(named) - error.mismatched  # who was behind answered first
        return _absent(error.message) or {detail.msp_id for detail in error.details}

    def _widen(self) -> bool:
        with self._lock:
            now = self._read(None)
            if now.hospitals == self._known.hospitals:
                now = replace(self._known, every=True)
            self._known = now
        return True

    def _read(self, scope: Scope | None) -> _Known:
        hospitals = tuple(sorted(self._members(scope)))
        return _Known(hospitals, time.monotonic() + _KNOWN_S if hospitals else 0.0)


def _absent(message: str) -> set[str]:
    _, found, names = message.partition(_ABSENT)
    return set(re.findall(r"[\w.-]+", names)) if found else set()
