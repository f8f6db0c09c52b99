"""Shared fixtures; ``tests/support`` holds what several parts' tests are made of."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported: its threads spin where they share cores, and small models have no work
# for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from support.memory_stub import MemoryLedger
from support.twin import Twin

# How long an example takes says more of the machine than of the code.
settings.register_profile("medfabric", deadline=None)
settings.load_profile("medfabric")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--twice",
        action="store_true",
        help="execute every transaction on the in-memory ledger in a second interpreter too",
    )


def pytest_collection_finish() -> None:
    """What was imported is not looked through again and again for what could be given back."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """What is frozen would be told as leaked when the interpreter ends."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _twice(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getoption("--twice"):
        yield
        return
    MemoryLedger.twin = twin = Twin("chaincode.contracts:chaincode")
    yield
    MemoryLedger.twin = None
    twin.close()
