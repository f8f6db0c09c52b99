"""The provenance graph as it follows from a proven ledger, whatever the ledger's own records say.

Built from the writings of every asset by the table of meanings; an auditor compares it with the
graph that the contracts kept, and exports it without any peer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from chaincode.schema import canonical, keys, meanings, stored
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.provenance import Act, Edge, StoredAct, key_of, name_of
from client.audit.proof import NAMESPACE, Finding, Ledger, Writing
from client.provenance import Told

_KEPT = ("act", "edge", "written")


@dataclass(frozen=True)
class _Write:
    name: str
    writing: Writing
    first: bool


class Replay:
    """A :class:`~client.provenance.Source` over a proven ledger.

    Raises:
        MedFabricError: ``FORM_OTHER`` where its contracts were of another form.
    """

    def __init__(self, ledger: Ledger) -> None:
        ledger.check_form()
        self._ledger = ledger

    def ancestors(self, name: str) -> Told:
        composite = keys.composite(key_of(name))
        entry = self._ledger.state.get(NAMESPACE, composite)
        if entry is None or not meanings.MEANINGS.get(key_of(name)[0]):
            raise MedFabricError(Code.NOT_FOUND, f"no element {name} on this ledger; name another")
        asset = json.loads(stored.whole(key_of(name), entry.value))
        acts = {self.acts[writing.tx_id] for writing in self._ledger.writings[composite]}
        in_order = sorted(acts, key=lambda act: (act.at, keys.short_id(act.tx_id)))
        return Told(meanings.element(name, asset), meanings.edges(name, asset), tuple(in_order))

    def descendants(self, name: str) -> tuple[Edge, ...]:
        return self._by_target.get(name, ())

    @cached_property
    def edges(self) -> frozenset[Edge]:
        """Every relation that a ledger keeps."""
        values = ((w.name, w.writing.value) for w in self._writes if w.writing.value is not None)
        assets = ((name, json.loads(stored.whole(key_of(name), value))) for name, value in values)
        return frozenset(edge for name, asset in assets for edge in meanings.forward(name, asset))

    @cached_property
    def _by_target(self) -> dict[str, tuple[Edge, ...]]:
        found: dict[str, tuple[Edge, ...]] = {}
        for edge in sorted(self.edges, key=lambda edge: (edge.relation, edge.source)):
            found[edge.target] = (*found.get(edge.target, ()), edge)
        return found

    @cached_property
    def acts(self) -> dict[str, Act]:
        """Every transaction that wrote, by its id."""
        by_tx: dict[str, list[_Write]] = {}
        for write in self._writes:
            by_tx.setdefault(write.writing.tx_id, []).append(write)
        return {tx_id: _act(writes) for tx_id, writes in by_tx.items()}

    @cached_property
    def _writes(self) -> tuple[_Write, ...]:
        return tuple(
            _Write(name_of(keys.parted(composite)), writing, place == 0)
            for composite, writings in self._ledger.writings.items()
            if keys.parted(composite)[0] not in _KEPT
            for place, writing in enumerate(writings)
        )


def check(ledger: Ledger) -> Iterator[Finding]:
    """Compare the graph that the ledger keeps with the one that follows from it."""
    replay = Replay(ledger)
    wanted = dict(_kept(replay))
    for composite, writings in ledger.writings.items():
        if keys.parted(composite)[0] in _KEPT:
            value = wanted.pop(composite, None)
            if any(writing.value != value for writing in writings):
                yield _finding(f"{_shown(composite)} does not follow from the ledger", writings[-1])
    for composite in wanted:
        yield Finding(Code.PROVENANCE_WRONG, f"{_shown(composite)} is not kept")


def _kept(replay: Replay) -> Iterator[tuple[str, bytes]]:
    """Keys and values of the records that there must be."""
    for edge in replay.edges:
        yield keys.composite(keys.edge(edge.target, edge.relation, edge.source)), canonical.dumps(1)
    for act in replay.acts.values():
        kept = StoredAct(
            function=act.function,
            made=act.made,
            changed=tuple(name for name in act.wrote if name not in act.made),
        )
        key = keys.act(act.msp_id, act.node_id, act.at, act.tx_id)
        yield keys.composite(key), canonical.brief(kept)
        for name in act.wrote:
            if meanings.posted(name):
                continue
            by = canonical.dumps([act.msp_id, act.node_id])
            yield keys.composite(keys.written(name, act.at, act.tx_id)), by


def _act(writes: list[_Write]) -> Act:
    meant = [w for w in writes if meanings.MEANINGS.get(key_of(w.name)[0])]
    writing = writes[0].writing
    return Act(
        tx_id=writing.tx_id,
        function=writing.function,
        msp_id=writing.msp_id,
        node_id=writing.common_name,
        at=writing.seconds,
        wrote=tuple(sorted(w.name for w in meant)),
        made=tuple(sorted(w.name for w in meant if w.first)),
    )


def _shown(composite: str) -> str:
    kind, parts = keys.parted(composite)
    return f"the record {kind} {' '.join(parts)}"


def _finding(message: str, writing: Writing) -> Finding:
    return Finding(Code.PROVENANCE_WRONG, message, writing.block, writing.tx_id)
