"""Measured utility: trained by the plan's own terms."""

from __future__ import annotations

from trainer.utility import measure


def test_less_privacy_reaches_more_and_never_more_than_none():
    measured = measure("breast-cancer", (0.1, 8.0), seeds=1, rounds=3)

    strict, loose = measured.points
    assert strict.noise_multiplier > loose.noise_multiplier
    assert strict.accuracy < loose.accuracy <= measured.unprotected
    assert measured.unprotected > 0.9
    assert (measured.simulated, measured.rounds) == (False, 3)
