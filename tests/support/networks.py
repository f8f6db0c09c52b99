"""Both networks as parameters: the devnet, and real Fabric, skipped by name where it is absent."""

from __future__ import annotations

import pytest

from network import binaries
from network.topology import Kind

FABRIC = pytest.param(
    Kind.FABRIC,
    marks=[
        pytest.mark.fabric,
        pytest.mark.skipif(not binaries.present(), reason="Fabric's programs are not here"),
    ],
)
KINDS = [Kind.DEVNET, FABRIC]
