"""Simulated: has somebody fallen? Four seconds of a three-axis accelerometer at the waist.

Daily activities (walking, sitting down, jumping, picking something up) and falls, in which a short
weightless phase is followed by an impact and by rest in another posture (the phases described by
Noury et al. 2008). Orientation of the device, strength and noise differ. The traces are nobody's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, TensorTerms
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

PATIENTS, WINDOWS = 1000, 4
RATE, LENGTH = 32, 128


def terms() -> DataTerms:
    """Three axes, in units of gravity."""
    tensor = TensorTerms(shape=(3, LENGTH), low_micro=-4_000_000, high_micro=4_000_000)
    return DataTerms(
        application=APPLICATION.id, tensor=tensor, label="event", classes=("daily life", "fall")
    )


def sample(seed: int) -> Sample:
    """PATIENTS persons, WINDOWS windows each."""
    draw = np.random.default_rng([seed, 3])
    number = PATIENTS * WINDOWS
    falls = (draw.random(number) < 0.4).astype(np.int64)
    values = np.array([_window(draw, bool(fall)) for fall in falls], dtype=np.float32)
    return Sample(values, falls, np.repeat(np.arange(PATIENTS), WINDOWS))


def _window(draw: np.random.Generator, fall: bool) -> NDArray[np.float64]:
    up = _turned(np.array([0.0, 0.0, 1.0]), draw, 0.35)
    motion = _fall(draw, up) if fall else _daily(draw, up)
    return (motion + draw.normal(0, draw.uniform(0.02, 0.1), (LENGTH, 3))).T


def _fall(draw: np.random.Generator, up: NDArray[np.float64]) -> NDArray[np.float64]:
    time = np.arange(LENGTH) / RATE
    begins, lasts = draw.uniform(0.7, 2.2), draw.uniform(0.25, 0.5)
    lands = begins + lasts
    lying = _turned(up, draw, draw.uniform(0.5, 1.6))
    posture = np.where((time < lands)[:, None], up, lying)
    weight = np.where((time > begins) & (time < lands), draw.uniform(0.15, 0.6), 1.0)
    impact = draw.uniform(1.2, 4.0) * np.exp(-(((time - lands) / draw.uniform(0.03, 0.09)) ** 2))
    walking = np.where(time < begins, 1.0, 0.0) * _steps(draw, time)
    aimed = _turned(up, draw, 0.8)
    return posture * weight[:, None] + impact[:, None] * aimed + walking[:, None] * up


def _daily(draw: np.random.Generator, up: NDArray[np.float64]) -> NDArray[np.float64]:
    time = np.arange(LENGTH) / RATE
    kind = draw.integers(4)
    if kind == 0:
        return up + _steps(draw, time)[:, None] * up
    if kind == 1:  # Sitting down: a small bump, and another posture.
        sits = draw.uniform(1, 3)
        tilted = _turned(up, draw, draw.uniform(0.1, 0.6))
        bump = draw.uniform(0.3, 1.3) * np.exp(-(((time - sits) / 0.12) ** 2))
        return np.where((time < sits)[:, None], up, tilted) + bump[:, None] * up
    if kind == 2:  # Jumping: weightless and an impact, and upright again.
        jumps = draw.uniform(0.6, 2.8)
        weight = np.where((time > jumps) & (time < jumps + 0.3), draw.uniform(0.1, 0.5), 1.0)
        lands = np.exp(-(((time - jumps - 0.32) / 0.06) ** 2))
        return (weight + draw.uniform(0.8, 2.8) * lands)[:, None] * up
    bends = np.exp(-(((time - draw.uniform(1, 3)) / draw.uniform(0.3, 0.7)) ** 2))
    bent = _turned(up, draw, draw.uniform(0.5, 1.4))
    return up + bends[:, None] * (bent - up)


def _steps(draw: np.random.Generator, time: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = 2 * np.pi * draw.uniform(1.4, 2.6) * time + draw.uniform(0, 6)
    return np.asarray(draw.uniform(0.1, 0.6) * (np.sin(phase) + 0.4 * np.sin(2 * phase)))


def _turned(
    axis: NDArray[np.float64], draw: np.random.Generator, angle: float
) -> NDArray[np.float64]:
    """The axis turned about a random one, by up to this angle in radians."""
    about = draw.normal(size=3)
    about /= np.linalg.norm(about)
    by = draw.uniform(0.5, 1.0) * angle
    return np.asarray(
        axis * np.cos(by)
        + np.cross(about, axis) * np.sin(by)
        + about * (about @ axis) * (1 - np.cos(by))
    )


PROVENANCE = Provenance(
    fields={
        "worn_at": text("waist", "wrist", "chest"),
        "axes": whole(1, 9),
        "samples_per_second": whole(8, 1000),
        "seconds": whole(1, 60),
        "falls": text("simulated", "staged by volunteers", "observed"),
    },
    origin={
        "worn_at": "waist",
        "axes": 3,
        "samples_per_second": RATE,
        "seconds": LENGTH // RATE,
        "falls": "simulated",
    },
    use=Use(
        intended="Tells falls from daily activities by a worn accelerometer; for study.",
        users="Researchers; services that call back before they send anybody.",
        not_for="Being the only way to call for help; sensors worn elsewhere.",
        factors="Where the sensor sits, kind of activity, height and speed of the fall.",
        caveats="The traces are simulated: nothing is known of real falls.",
    ),
    per_record={"windows": 1, "seconds": LENGTH // RATE},
)

APPLICATION = Application(
    id="fall",
    title="Falls from a worn accelerometer",
    simulated=True,
    about="four windows of four seconds each of 1000 simulated persons",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="hybrid",
    config={"channels": 3, "length": LENGTH, "classes": 2, "filters": 8, "hidden": 12},
    tuned=Tuned(
        rounds=8, steps=12, batch=256, learning_rate=1.0, clip=1.0, momentum=0.8, plain_rate=1.0
    ),
)
