"""What Fabric's lifecycle refuses of the collections in a proposed definition, in its words."""

from __future__ import annotations

import re
from collections.abc import Collection as Names
from collections.abc import Mapping
from typing import Any

from client.audit.definitions import Collection, member_hospitals

_NAME = re.compile(r"[A-Za-z0-9-]+[A-Za-z0-9_-]*")


class CollectionRefusedError(Exception):
    """The text says which rule a collection breaks."""


def check(proposed: Any, committed: Any, hospitals: Names[str]) -> None:
    """Judge a ``CollectionConfigPackage`` by itself, then against the one in force.

    Args:
        hospitals: MSP ids of the channel's members.

    Raises:
        CollectionRefusedError: it would not be approved or committed.
    """
    found: dict[str, Collection] = {}
    for config in proposed.config:
        collection = config.static_collection_config
        if collection.name in found:
            raise CollectionRefusedError(
                f"collection-name: {collection.name} -- found duplicate in collection configuration"
            )
        found[collection.name] = collection
        _check_one(collection, hospitals)
    _check_kept(found, committed)


def _check_one(collection: Collection, hospitals: Names[str]) -> None:
    name = collection.name
    if not _NAME.fullmatch(name):
        raise CollectionRefusedError(
            f"invalid collection name '{name}'. Names can only consist of alphanumerics, '_', and "
            "'-' and cannot begin with '_'"
        )
    least, most = collection.required_peer_count, collection.maximum_peer_count
    if most < least:
        raise CollectionRefusedError(
            f"collection-name: {name} -- maximum peer count ({most}) cannot be less than the "
            f"required peer count ({least})"
        )
    if least < 0:
        raise CollectionRefusedError(
            f"collection-name: {name} -- requiredPeerCount ({least}) cannot be less than zero"
        )
    members = collection.member_orgs_policy.signature_policy
    if not members.identities:
        raise CollectionRefusedError(
            f"collection member org policy is empty for collection '{name}'"
        )
    _check_alternatives(name, members.rule)
    for stranger in sorted(member_hospitals(collection) - set(hospitals)):
        raise CollectionRefusedError(
            f"collection-name: {name} -- collection member '{stranger}' is not part of the channel"
        )


def _check_alternatives(name: str, rule: Any) -> None:
    """A member is one of several: no rule may ask for more than one signature."""
    if rule.WhichOneof("Type") == "signed_by":
        return
    if rule.n_out_of.n != 1:
        raise CollectionRefusedError(
            f"collection-name: {name} -- error in member org policy: signature policy is not an OR "
            "concatenation"
        )
    for inner in rule.n_out_of.rules:
        _check_alternatives(name, inner)


def _check_kept(proposed: Mapping[str, Collection], committed: Any) -> None:
    if committed.config and not proposed:
        raise CollectionRefusedError(
            "the proposed collection config does not contain previously defined collections"
        )
    for config in committed.config:
        old = config.static_collection_config
        new = proposed.get(old.name)
        if new is None:
            raise CollectionRefusedError(
                f"existing collection [{old.name}] missing in the proposed collection configuration"
            )
        if new.block_to_live != old.block_to_live:
            raise CollectionRefusedError(
                f"the BlockToLive in an existing collection [{old.name}] modified. Existing value "
                f"[{old.block_to_live}]"
            )
