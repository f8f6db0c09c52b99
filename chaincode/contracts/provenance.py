"""Queries of the provenance graph, and the record of who reads whose lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, meanings
from chaincode.schema.base import PageArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.provenance import (
    ACCESS_SECONDS,
    Access,
    Accesses,
    AccessPage,
    AccessPageArgs,
    Act,
    ActPage,
    Ancestors,
    Descendants,
    Edge,
    OpenAccessArgs,
    Relation,
    SignedArgs,
    StoredAct,
    TraceArgs,
    key_of,
)
from chaincode.schema.stored import whole


class ProvenanceContract:
    """What a hospital owns is read by others only under an access that stands on the ledger.

    A query may not write, and a transaction that writes may not read pages: so the access is
    recorded first, for a time, and the queries find it.
    """

    @transaction("provenance:OpenAccess")
    def open_access(self, context: Context, args: OpenAccessArgs) -> Accesses:
        if unknown := sorted(set(args.hospitals) - set(context.consortium().hospitals)):
            raise MedFabricError(Code.NOT_FOUND, f"{', '.join(unknown)}: no admitted hospital")
        opened = []
        for hospital in sorted(set(args.hospitals)):
            access = Access(
                access=context.tx_id,
                hospital=hospital,
                msp_id=context.msp_id,
                node_id=context.node_id,
                purpose=args.purpose,
                opened_at=context.now,
                until=context.now + ACCESS_SECONDS,
            )
            context.put(keys.access(hospital, context.tx_id), access)
            opened.append(access)
        context.emit("provenance.access", msp_id=context.msp_id, subject=context.tx_id)
        return Accesses(access=context.tx_id, accesses=tuple(opened))

    @transaction("provenance:Ancestors")
    def ancestors(self, context: Context, args: TraceArgs) -> Ancestors:
        asset = _readable(context, args)
        posted = meanings.posted(args.name)
        acts, bookmark = _poster(context, args, asset) if posted else _writers(context, args)
        return Ancestors(
            element=meanings.element(args.name, asset),
            edges=meanings.edges(args.name, asset),
            acts=acts,
            bookmark=bookmark,
        )

    @transaction("provenance:Descendants")
    def descendants(self, context: Context, args: TraceArgs) -> Descendants:
        _readable(context, args)
        found, bookmark = context.page_entries("edge", (args.name,), args.page_size, args.bookmark)
        edges = tuple(
            Edge(relation=Relation(relation), source=source, target=target)
            for (target, relation, source), _ in found
        )
        return Descendants(edges=edges, bookmark=bookmark)

    @transaction("provenance:Signed")
    def signed(self, context: Context, args: SignedArgs) -> ActPage:
        check_access(context, args.msp_id, args.access)
        acts, bookmark = _signed(context, (args.msp_id, args.node_id), args)
        return ActPage(acts=acts, bookmark=bookmark)

    @transaction("provenance:Accesses")
    def accesses(self, context: Context, args: AccessPageArgs) -> AccessPage:
        accesses, bookmark = context.page(
            "access", (args.hospital,), Access, args.page_size, args.bookmark
        )
        return AccessPage(accesses=accesses, bookmark=bookmark)


def known_element(context: Context, name: str) -> dict[str, Any]:
    """The asset behind an element's name.

    Raises:
        MedFabricError: ``NOT_FOUND``.
    """
    key = key_of(name)
    value = context.values([key])[0] if meanings.MEANINGS.get(key[0]) else None
    if value is None:
        raise MedFabricError(Code.NOT_FOUND, f"no element {name}; check its name with a query")
    asset: dict[str, Any] = json.loads(whole(key, value))
    return asset


def _readable(context: Context, args: TraceArgs) -> dict[str, Any]:
    """The element's asset, where the caller may read its lineage."""
    asset = known_element(context, args.name)
    if hospital := meanings.owner(args.name, asset):
        check_access(context, hospital, args.access)
    return asset


def check_access(context: Context, hospital: str, access: str | None) -> None:
    """Refuse a reader of another hospital's lineage who has recorded no access to it.

    Raises:
        MedFabricError: ``ACCESS_REQUIRED``.
    """
    if hospital == context.msp_id:
        return
    found = context.find(keys.access(hospital, access), Access) if access else None
    mine = found is not None and (found.msp_id, found.node_id) == (context.msp_id, context.node_id)
    if found is None or not mine or context.now > found.until:
        raise MedFabricError(
            Code.ACCESS_REQUIRED,
            f"this is lineage of {hospital}; record an access to it and its purpose "
            "(`medfabric audit access`), and name that access while it stands",
        )


def _signed(context: Context, below: Sequence[str], args: PageArgs) -> tuple[tuple[Act, ...], str]:
    found, bookmark = context.page_entries("act", below, args.page_size, args.bookmark)
    acts = tuple(_act(parts, StoredAct.model_validate_json(value)) for parts, value in found)
    return acts, bookmark


def _poster(
    context: Context, args: TraceArgs, asset: Mapping[str, Any]
) -> tuple[tuple[Act, ...], str]:
    """The act that posted an element, among those of its signer in the same second."""
    _, below = keys.acts(asset["msp_id"], asset["node_id"], asset["posted_at"])
    acts, bookmark = _signed(context, below, args)
    return tuple(act for act in acts if args.name in act.made), bookmark


def _writers(context: Context, args: TraceArgs) -> tuple[tuple[Act, ...], str]:
    found, bookmark = context.page_entries("written", (args.name,), args.page_size, args.bookmark)
    places = [(*json.loads(by), int(at), keys.tx_id(short)) for (_, at, short), by in found]
    wanted = [keys.act(*place) for place in places]
    stored = context.existing(wanted, StoredAct)
    acts = tuple(_act(key[1], act) for key, act in zip(wanted, stored, strict=True))
    return acts, bookmark


def _act(parts: Sequence[str], stored: StoredAct) -> Act:
    msp_id, node_id, at, short = parts
    return Act(
        tx_id=keys.tx_id(short),
        function=stored.function,
        msp_id=msp_id,
        node_id=node_id,
        at=int(at),
        wrote=tuple(sorted((*stored.made, *stored.changed))),
        made=stored.made,
    )
