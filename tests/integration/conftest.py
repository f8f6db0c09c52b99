"""Networks whose processes are forked; those of tests/network and of the demonstration's own tests
are started as users do."""

from collections.abc import Iterator

import pytest
from support.forked import processes_forked


@pytest.fixture(scope="module", autouse=True)
def _forked() -> Iterator[None]:
    with processes_forked():
        yield
