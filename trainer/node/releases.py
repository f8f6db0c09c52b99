"""A node's synthetic tables: made once, kept before anything is charged, given out afterwards.

A table that was made again would have other noise, and both together tell more than is charged.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from chaincode.schema import canonical
from chaincode.schema.data import DataTerms
from chaincode.schema.datasets import Release, ReleaseArgs
from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity
from trainer.data import release
from trainer.data.dataset import Recorded, Source, open_recorded
from trainer.data.raw import Raw
from trainer.data.split import TRAINING
from trainer.node.home import Home
from trainer.privacy.sampling import fresh


class Releases:
    """The tables of one dataset.

    Args:
        name: under which the node's folder keeps what it has of the dataset.
    """

    def __init__(self, home: Home, name: str) -> None:
        self._home, self._name = home, name

    def known(self, release_id: str) -> ReleaseArgs | None:
        """What is to be charged for a table that was made."""
        return self._home.record(self._name, f"release-{release_id}", ReleaseArgs)

    def make(
        self,
        source: Source,
        terms: DataTerms,
        recorded: Recorded,
        identity: Identity | None,
        release_id: str,
        epsilon_micro: int,
        delta_nano: int,
    ) -> ReleaseArgs:
        """Make a table of the training records, and keep it.

        Raises:
            MedFabricError: as :func:`trainer.data.dataset.open_recorded`; ``DATA_MISMATCH`` where
                the terms are others than the dataset was registered with, or have no columns.
        """
        if canonical.sha256(terms) != recorded.dataset.descriptor_sha256:
            raise MedFabricError(
                Code.DATA_MISMATCH, "the dataset was registered with other data terms; name those"
            )
        opened = open_recorded(source, terms, recorded, identity)
        rows = opened.split.rows(TRAINING)
        raw = Raw(opened.raw.values[rows], opened.raw.labels[rows], ())
        noise = release.least_noise(terms, epsilon_micro, delta_nano)
        stream, records = fresh(), recorded.dataset.train_samples
        counts = release.noised(release.tables(raw, terms), noise, stream)
        content = release.drawn(counts, terms, records, stream)
        made = ReleaseArgs(
            dataset_id=recorded.dataset.dataset_id,
            release_id=release_id,
            mechanism="class-marginals-v1",
            tables=len(counts),
            noise=noise,
            records=records,
            descriptor_sha256=recorded.dataset.descriptor_sha256,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
        )
        self._home.keep_bytes(self._name, f"release-{release_id}.csv", content)
        self._home.keep(self._name, f"release-{release_id}", made)
        return made

    def give_out(self, charged: Release, target: Path | None) -> None:
        """Write the table that the ledger has charged for.

        Raises:
            MedFabricError: ``EXISTS`` where that is another one; ``DATA_FILE`` where the target
                exists.
        """
        content = self._home.kept(self._name, f"release-{charged.release_id}.csv") or b""
        if hashlib.sha256(content).hexdigest() != charged.sha256:
            raise MedFabricError(
                Code.EXISTS,
                f"the ledger has another table {charged.release_id} than this node; name another",
            )
        if target is None:
            return
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise MedFabricError(
                Code.DATA_FILE, f"cannot write {target}: {error.strerror}; name another file"
            ) from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
