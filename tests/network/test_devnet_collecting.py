"""Which peers a gateway asks: the fewest that a policy is satisfied by, and not one by one."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from network.devnet.collecting import fewest

PEERS = tuple(range(64))


@pytest.mark.parametrize(
    ("needed", "owners", "chosen"),
    [
        (0, {}, []),
        (3, {}, [0, 1, 2]),
        (3, {40}, [0, 1, 40]),
        (2, {5, 63}, [5, 63]),
        (64, {}, list(PEERS)),
    ],
)
def test_majority_and_owners_are_asked_and_nobody_else(
    needed: int, owners: Collection[int], chosen: list[int]
) -> None:
    asked = []

    def suffice(some: Collection[int]) -> bool:
        asked.append(some)
        return len(some) >= needed and set(owners) <= set(some)

    assert fewest(PEERS, suffice) == chosen
    assert len(asked) <= 7 + max([needed, *(owner + 1 for owner in owners)])
