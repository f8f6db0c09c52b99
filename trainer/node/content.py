"""Content on its way between a node and the store, bound to what the ledger says of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.rounds import ObjectArgs, Objection

if TYPE_CHECKING:
    from client.consortium import Consortium
    from client.content import ContentStore
    from trainer.node.duties import Snapshot
    from trainer.node.home import Home

log = logging.getLogger("medfabric.node")


class Exchange:
    """Releases this node's content and fetches that of others.

    What is released is kept at home first and stored afterwards; what is fetched is checked
    against the ledger's hash by the store, and by whoever parses it.
    """

    def __init__(self, store: ContentStore, home: Home, consortium: Consortium) -> None:
        self._store = store
        self._home = home
        self._consortium = consortium
        self._restored: set[Objection] = set()
        self.received = 0
        """Bytes fetched from the store so far."""

    def release(self, content: bytes) -> ContentRef:
        """Keep a copy, store it, and say where it is."""
        self._home.keep_content(content)
        return self._store.put(content)

    def release_kept(self, sha256: str) -> ContentRef:
        """Store content of which a copy is kept already.

        Raises:
            MedFabricError: ``HOME_DAMAGED`` where the copy is gone.
        """
        path = self._home.content(sha256)
        if path is None:
            raise MedFabricError(
                Code.HOME_DAMAGED,
                f"{sha256} is gone from the node's folder; restore the folder from its backup",
            )
        return self._store.put_file(path)

    def fetch(self, ref: ContentRef) -> bytes:
        """Small content by reference, checked against its hash and size.

        Raises:
            MedFabricError: the store has it not, or has something else.
        """
        own = self._home.content(ref.sha256)
        if own is not None:
            return own.read_bytes()
        self.received += ref.size_bytes
        return self._store.get(ref)

    def fetch_file(self, ref: ContentRef) -> Path:
        """A file with content that others stored, checked against its hash and size.

        Raises:
            MedFabricError: the store has it not, or has something else.
        """
        own = self._home.content(ref.sha256) or self._home.inbox(ref.sha256)
        if not own.exists():
            self._store.get_file(ref, own)
            self.received += ref.size_bytes
        return own

    def forget(self, refs: Iterable[ContentRef]) -> None:
        """Delete copies of others' content that are not needed any more."""
        for ref in refs:
            self._home.inbox(ref.sha256).unlink(missing_ok=True)

    def object(self, plan_id: str, number: int, sha256: str, code: str) -> None:
        """Put an objection on the ledger: once, and again when that makes it firm. One that there
        is no room for yet is made when the round has dropped others."""
        args = ObjectArgs(plan_id=plan_id, round=number, subject_sha256=sha256, code=code)
        try:
            self._consortium.submit("round:Object", args, Objection)
        except MedFabricError as error:
            if error.code not in (Code.DUPLICATE_CONTRIBUTION, Code.ALREADY, Code.NOT_YET):
                raise

    def restore(self, snapshot: Snapshot) -> None:
        """Store own content again where another hospital objects to what the store gave it."""
        if snapshot.round is None:
            return
        for objection in snapshot.round.objections:
            path = self._home.content(objection.subject_sha256)
            if path is None or objection in self._restored:
                continue
            log.warning(
                "%s could not use %s: storing it again", objection.msp_id, objection.subject_sha256
            )
            self._store.put_file(path)
            self._restored.add(objection)
