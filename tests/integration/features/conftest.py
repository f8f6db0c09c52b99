"""One network of each kind for all features."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.feature_network import FeatureNetwork
from support.networks import KINDS


@pytest.fixture(scope="session", params=KINDS)
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FeatureNetwork]:
    made = FeatureNetwork(tmp_path_factory.mktemp("features") / "consortium", request.param)
    try:
        yield made
    finally:
        made.close()
