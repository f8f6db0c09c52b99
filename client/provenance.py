"""The provenance graph around an element, and its export as PROV-JSON (W3C member submission).

Where the graph comes from is a :class:`Source`: the ledger by queries, or an auditor's proven
replay. Both give the same.
"""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from chaincode.schema import keys
from chaincode.schema.provenance import (
    Act,
    Ancestors,
    CoreType,
    Descendants,
    Edge,
    Element,
    Relation,
    TraceArgs,
    key_of,
    name_of,
)
from client.consortium import Consortium

Page = TypeVar("Page", Ancestors, Descendants)

NAMESPACE = "urn:medfabric:"

_ENDS: dict[Relation, tuple[str, str]] = {
    Relation.USED: ("activity", "entity"),
    Relation.GENERATED_BY: ("entity", "activity"),
    Relation.DERIVED_FROM: ("generatedEntity", "usedEntity"),
    Relation.ATTRIBUTED_TO: ("entity", "agent"),
    Relation.ASSOCIATED_WITH: ("activity", "agent"),
    Relation.ACTED_FOR: ("delegate", "responsible"),
    Relation.INFORMED_BY: ("informed", "informant"),
    Relation.INFLUENCED_BY: ("influencee", "influencer"),
}
"""What PROV-JSON calls a relation's source and target."""


@dataclass(frozen=True)
class Told:
    """An element, what it came from, and every transaction that wrote it."""

    element: Element
    edges: tuple[Edge, ...]
    acts: tuple[Act, ...]


class Source(Protocol):
    """Where a graph comes from."""

    def ancestors(self, name: str) -> Told:
        """One element and what it came from.

        Raises:
            MedFabricError: ``NOT_FOUND``; ``ACCESS_REQUIRED`` from a ledger.
        """

    def descendants(self, name: str) -> tuple[Edge, ...]:
        """What came of an element; errors as of :meth:`ancestors`."""


class LedgerSource:
    """The ledger, asked through one hospital's peer.

    Args:
        access: a recorded access to other hospitals' lineage, where it is needed.
    """

    def __init__(self, consortium: Consortium, access: str | None = None) -> None:
        self._consortium = consortium
        self._access = access

    def ancestors(self, name: str) -> Told:
        pages = list(self._pages(self._consortium.provenance.ancestors, name))
        acts = tuple(act for page in pages for act in page.acts)
        return Told(pages[0].element, pages[0].edges, acts)

    def descendants(self, name: str) -> tuple[Edge, ...]:
        pages = self._pages(self._consortium.provenance.descendants, name)
        return tuple(edge for page in pages for edge in page.edges)

    def _pages(self, query: Callable[[TraceArgs], Page], name: str) -> Iterator[Page]:
        bookmark = ""
        while True:
            args = TraceArgs(name=name, access=self._access, page_size=200, bookmark=bookmark)
            page = query(args)
            yield page
            if not (bookmark := page.bookmark):
                return


@dataclass
class Graph:
    """Elements by name, the relations among them, and the transactions that wrote them, by id."""

    elements: dict[str, Element] = field(default_factory=dict)
    edges: set[Edge] = field(default_factory=set)
    acts: dict[str, Act] = field(default_factory=dict)

    def of_kind(self, kind: str) -> list[str]:
        """Names of the elements of one kind, sorted."""
        return sorted(name for name in self.elements if name.startswith(f"{kind}/"))


def walk(source: Source, start: str, *, ancestors: bool = True, descendants: bool = False) -> Graph:
    """Everything that ``start`` came from, and that came of it, with what is said of each.

    Applications' own records about any of it belong to it, with the schemas that judged them.

    Raises:
        MedFabricError: as the source's methods.
    """
    graph = Graph()
    up = _closure(start, lambda name: _targets(source, name)) if ancestors else {start}
    down = _closure(start, lambda name: _sources(source, name)) if descendants else set()
    found: set[Edge] = set()
    for name in sorted(_with_records(source, up | down)):
        told = source.ancestors(name)
        graph.elements[name] = told.element
        graph.acts |= {act.tx_id: act for act in told.acts}
        found |= set(told.edges)
    graph.edges = {e for e in found if {e.source, e.target} <= graph.elements.keys()}
    return graph


def _with_records(source: Source, names: set[str]) -> set[str]:
    records = {
        edge.source
        for name in names
        for edge in source.descendants(name)
        if key_of(edge.source)[0] == "record"
    }
    schemas = {target for name in records for target in _targets(source, name)}
    return names | records | {name for name in schemas if key_of(name)[0] == "application"}


def models_from(source: Source, dataset_id: str) -> list[str]:
    """Addresses of the models that learned from a dataset, through however many rounds."""
    start = name_of(keys.dataset(dataset_id))
    reached = _closure(start, lambda name: _sources(source, name))
    return sorted(name.partition("/")[2] for name in reached if name.startswith("model/"))


def prov_json(graph: Graph) -> dict[str, Any]:
    """The graph as a PROV-JSON document, the same one for the same graph."""
    document: dict[str, Any] = {"prefix": {"mf": NAMESPACE}}
    for name, element in sorted(graph.elements.items()):
        _record(document, element.type.value, name, _says(element))
    relations = sorted(graph.edges, key=lambda e: (e.relation, e.source, e.target))
    for edge in relations:
        _relate(document, edge.relation, edge.source, edge.target)
    for act in sorted(graph.acts.values(), key=lambda act: (act.at, act.tx_id)):
        _act(document, graph, act)
    return document


def _targets(source: Source, name: str) -> Iterator[str]:
    return (edge.target for edge in source.ancestors(name).edges)


def _sources(source: Source, name: str) -> Iterator[str]:
    return (edge.source for edge in source.descendants(name))


def _closure(start: str, step: Callable[[str], Iterable[str]]) -> set[str]:
    reached, todo = {start}, deque([start])
    while todo:
        for name in step(todo.popleft()):
            if name not in reached:
                reached.add(name)
                todo.append(name)
    return reached


def _says(element: Element) -> dict[str, Any]:
    kind = element.name.partition("/")[0]
    says: dict[str, Any] = {"prov:type": {"$": f"mf:{kind}", "type": "prov:QUALIFIED_NAME"}}
    says |= {f"mf:{name}": value for name, value in sorted(element.says.items())}
    if element.began_at is not None:
        says["prov:startTime"] = _instant(element.began_at)
    if element.ended_at is not None:
        says["prov:endTime"] = _instant(element.ended_at)
    return says


def _act(document: dict[str, Any], graph: Graph, act: Act) -> None:
    name, signer = f"tx/{act.tx_id}", name_of(keys.node(act.msp_id, act.node_id))
    at = _instant(act.at)
    says = {"prov:type": {"$": "mf:tx", "type": "prov:QUALIFIED_NAME"}, "mf:function": act.function}
    _record(document, "activity", name, {**says, "prov:startTime": at, "prov:endTime": at})
    if signer not in graph.elements:
        _record(document, "agent", signer, {"mf:hospital": act.msp_id})
    _relate(document, Relation.ASSOCIATED_WITH, name, signer)
    for written in act.wrote:
        if written in graph.elements:
            relation = _writing(graph.elements[written], made=written in act.made)
            _relate(document, relation, written, name)


def _writing(element: Element, *, made: bool) -> Relation:
    if element.type is CoreType.ACTIVITY:
        return Relation.INFORMED_BY
    if element.type is CoreType.ENTITY and made:
        return Relation.GENERATED_BY
    return Relation.INFLUENCED_BY


def _record(document: dict[str, Any], kind: str, name: str, says: dict[str, Any]) -> None:
    document.setdefault(kind, {})[f"mf:{name}"] = says


def _relate(document: dict[str, Any], relation: Relation, source: str, target: str) -> None:
    ends = zip(_ENDS[relation], (source, target), strict=True)
    all_of_it = document.setdefault(relation.value, {})
    identifier = f"_:{relation.value}{len(all_of_it) + 1}"
    all_of_it[identifier] = {f"prov:{end}": f"mf:{name}" for end, name in ends}


def _instant(seconds: int) -> str:
    instant = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return instant.isoformat().replace("+00:00", "Z")
