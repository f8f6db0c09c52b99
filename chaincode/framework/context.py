"""A transaction as a contract sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from chaincode.schema import canonical
from chaincode.schema.declaration import Declaration
from chaincode.schema.errors import Code, MedFabricError
from chaincode.shim.stub import KeyValue, Page, Stub, composite_key, split_composite_key

Key = tuple[str, tuple[str, ...]]
"""Kind and attributes of an asset, as :func:`~chaincode.shim.stub.composite_key` takes them."""

Asset = TypeVar("Asset", bound=BaseModel)


class Context:
    """Typed state, the caller, the time.

    Attributes:
        stub: everything else that a peer offers.
        caller: who signed the proposal.
        roles: the caller's, from its certificate.
        now: the proposal's time stamp, seconds of the epoch.
    """

    def __init__(self, stub: Stub, roles: frozenset[str]) -> None:
        self.stub = stub
        self.caller = stub.creator
        self.roles = roles
        self.now = stub.seconds
        self._read: dict[str, bytes | None] = {}

    def find(self, key: Key, model: type[Asset]) -> Asset | None:
        """The asset at a key, or None."""
        return self.find_all([key], model)[0]

    def find_all(self, wanted: Sequence[Key], model: type[Asset]) -> list[Asset | None]:
        """Assets at several keys, read together."""
        raw = zip(wanted, self.values(wanted), strict=True)
        return [None if value is None else self.decoded(key, value, model) for key, value in raw]

    def values(self, wanted: Sequence[Key]) -> list[bytes | None]:
        """What is committed at several keys, as it is stored, in one request to the peer.

        Finding them later costs no other request. Read no key ahead that might not be needed:
        each one read must be unchanged at commit.
        """
        names = [composite_key(*key) for key in wanted]
        # Reads see the committed state whatever was written since, so each key is read once.
        if unread := [name for name in dict.fromkeys(names) if name not in self._read]:
            self._read.update(zip(unread, self.stub.get_states(unread), strict=True))
        return [self._read[name] for name in names]

    def get(self, key: Key, model: type[Asset]) -> Asset:
        """The asset at a key.

        Raises:
            MedFabricError: ``NOT_FOUND``.
        """
        asset = self.find(key, model)
        if asset is None:
            kind, attributes = key
            raise MedFabricError(
                Code.NOT_FOUND, f"no {kind} {'/'.join(attributes)}; check its name with a query"
            )
        return asset

    def existing(self, wanted: Sequence[Key], model: type[Asset]) -> tuple[Asset, ...]:
        """Those of several assets that exist, in order."""
        return tuple(asset for asset in self.find_all(wanted, model) if asset is not None)

    def page(
        self, kind: str, attributes: Sequence[str], model: type[Asset], page_size: int, mark: str
    ) -> tuple[tuple[Asset, ...], str]:
        """A page of assets of one kind; for transactions that do not write.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` for a bookmark that is not of this list.
        """
        page = self._page(kind, attributes, page_size, mark)
        return self._assets(page.results, model), page.bookmark

    def page_entries(
        self, kind: str, attributes: Sequence[str], page_size: int, mark: str
    ) -> tuple[tuple[tuple[tuple[str, ...], bytes], ...], str]:
        """A page of entries of one kind, the attributes of each key and its value as stored; for
        transactions that do not write.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` for a bookmark that is not of this list.
        """
        page = self._page(kind, attributes, page_size, mark)
        found = ((split_composite_key(entry.key)[1], entry.value) for entry in page.results)
        return tuple(found), page.bookmark

    def _page(self, kind: str, attributes: Sequence[str], page_size: int, mark: str) -> Page:
        # A peer begins at the bookmark, wherever that is: among assets of any kind.
        if mark and not mark.startswith(composite_key(kind, attributes)):
            raise MedFabricError(
                Code.BAD_ARGUMENT, "the bookmark is of no page of this list; begin without one"
            )
        return self.stub.get_state_by_partial_composite_key_page(kind, attributes, page_size, mark)

    def all(self, kind: str, attributes: Sequence[str], model: type[Asset]) -> tuple[Asset, ...]:
        """All assets of one kind below a prefix; for transactions that do not write."""
        return self._assets(self.stub.get_state_by_partial_composite_key(kind, attributes), model)

    def _assets(self, found: Iterable[KeyValue], model: type[Asset]) -> tuple[Asset, ...]:
        return tuple(
            self.decoded(split_composite_key(entry.key), entry.value, model) for entry in found
        )

    def put(self, key: Key, asset: BaseModel) -> None:
        """Write an asset, guarded by the chaincode's endorsement policy."""
        self.stub.put_state(composite_key(*key), self.encoded(key, asset))

    def encoded(self, key: Key, asset: BaseModel) -> bytes:
        """An asset as it is stored under its key."""
        return canonical.brief(asset)

    def decoded(self, key: Key, value: bytes, model: type[Asset]) -> Asset:
        """The inverse of :meth:`encoded`."""
        return model.model_validate_json(value)

    def delete(self, key: Key) -> None:
        """Delete an asset; one that is not there already counts as deleted."""
        self.stub.del_state(composite_key(*key))

    def finish(self, row: Declaration) -> None:
        """What every transaction does after its method has returned; here nothing."""

    def emit(self, name: str, /, **identifiers: Any) -> None:
        """Set the transaction's event: identifiers only, since every listener sees it."""
        self.stub.set_event(name, canonical.dumps(identifiers))
