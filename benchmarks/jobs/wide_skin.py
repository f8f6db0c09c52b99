"""Skin lesions by the registry's convolutional network with 3.5 million parameters."""

from __future__ import annotations

import dataclasses

from trainer.applications import skin
from trainer.applications.application import Application, Tuned

APPLICATION: Application = dataclasses.replace(
    skin.APPLICATION,
    id="skin-wide",
    title="Skin lesions, 3.5 million parameters",
    config={**skin.APPLICATION.config, "filters": 437},
    tuned=Tuned(rounds=3, steps=11, batch=32, learning_rate=0.1, clip=1.0),
)
"""11 steps of 32: one epoch of the 352 training records that each of four hospitals has."""
