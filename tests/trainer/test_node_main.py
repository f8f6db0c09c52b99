"""What a node imports, and when."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from trainer.node import main
from trainer.node.config import DataConfig, DirectoryStoreConfig, NodeConfig


def expecting(folder: Path, datasets: tuple[DataConfig, ...]) -> None:
    """Twice, as from two snapshots."""
    config = NodeConfig(
        connection=folder,
        identity=folder,
        home=folder,
        store=DirectoryStoreConfig(folder=folder),
        datasets=datasets,
    )
    learners = main._Learners(config, cast(Any, None), cast(Any, None))
    learners.expect()
    learners.expect()


def test_node_with_records_imports_once_and_beside_what_it_learns_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let, done, threads = threading.Event(), threading.Event(), []

    def imported() -> None:
        let.wait(10)
        threads.append(threading.current_thread())
        done.set()

    monkeypatch.setattr(main, "_import_learner", imported)

    expecting(tmp_path, (DataConfig(dataset_id="data", file=tmp_path),))
    let.set()

    assert done.wait(10)
    assert [thread.daemon for thread in threads] == [True]


def test_node_without_records_imports_nothing_to_learn_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    monkeypatch.setattr(threading, "Thread", lambda **given: threads.append(given))

    expecting(tmp_path, ())

    assert not threads
