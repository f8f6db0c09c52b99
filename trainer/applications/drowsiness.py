"""Simulated: does a driver get drowsy? Half a minute of eyelids and head, seen by a camera.

Who is drowsy blinks slowly, lets the lids droop and closes the eyes for a second and more (PERCLOS,
Dinges and Grace 1998), and nods: the head sinks and is jerked up again. Alert drivers blink fast,
and look down at times. Persons differ in how wide their eyes are and how they sit; the camera has
noise. A hospital has recordings, one of each person; the plan cuts them into windows. They are
nobody's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, RecordingTerms, TensorTerms
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

PERSONS, WINDOWS = 800, 3
RATE, LENGTH = 12, 120
"""Images per second and per window."""
CHANNELS = ("opening", "pitch")


def terms() -> DataTerms:
    """How far the lids are open, 0 to 1, and how far the head is bent, in radians."""
    recording = RecordingTerms(channels=CHANNELS, rate_millihertz=1000 * RATE, stride=LENGTH)
    tensor = TensorTerms(
        shape=(len(CHANNELS), LENGTH),
        low_micro=-500_000,
        high_micro=1_200_000,
        recording=recording,
    )
    return DataTerms(
        application=APPLICATION.id, tensor=tensor, label="state", classes=("alert", "drowsy")
    )


def sample(seed: int) -> Sample:
    """PERSONS persons, a recording of WINDOWS windows each."""
    draw = np.random.default_rng([seed, 9])
    drowsy = (draw.random(PERSONS) < 0.45).astype(np.int64)
    recordings = np.array([_recording(draw, bool(one)) for one in drowsy])
    cut = recordings.reshape(PERSONS, len(CHANNELS), WINDOWS, LENGTH).transpose(0, 2, 1, 3)
    values = np.round(cut.reshape(-1, len(CHANNELS), LENGTH), 3).astype(np.float32)
    persons = np.repeat(np.arange(PERSONS), WINDOWS)
    return Sample(values, drowsy[persons], persons)


def _recording(draw: np.random.Generator, drowsy: bool) -> NDArray[np.float64]:
    """float[channels, samples]."""
    time = np.arange(WINDOWS * LENGTH) / RATE
    wide = draw.uniform(0.75, 1.0) * (draw.uniform(0.5, 0.8) if drowsy else 1.0)
    pitch = draw.normal(0, 0.08) + 0.04 * np.sin(2 * np.pi * draw.uniform(0.02, 0.1) * time)
    opening = np.full(time.size, wide)
    # Seconds between blinks, and how long one lasts.
    every, lasts = (draw.uniform(2, 4), draw.uniform(0.5, 1.0)) if drowsy else (4.0, 0.17)
    for begins in _moments(draw, time[-1], every):
        opening *= 1 - _bump(time, begins, lasts * draw.uniform(0.7, 1.3))
    if drowsy:
        for begins in _moments(draw, time[-1], draw.uniform(4, 8)):
            nod = _bump(time, begins, draw.uniform(1.4, 2.8))
            opening *= 1 - draw.uniform(0.7, 1.0) * nod
            pitch -= draw.uniform(0.1, 0.35) * nod
    else:
        for begins in _moments(draw, time[-1], 12.0):
            glance = _bump(time, begins, draw.uniform(0.6, 1.4))
            opening *= 1 - 0.3 * glance
            pitch -= draw.uniform(0.05, 0.25) * glance
    clean = np.stack([opening, pitch])
    return np.asarray(clean + draw.normal(0, draw.uniform(0.01, 0.04), clean.shape))


def _moments(draw: np.random.Generator, until: float, every: float) -> NDArray[np.float64]:
    moments = np.cumsum(draw.exponential(every, int(4 * until / every) + 8))
    return np.asarray(moments[moments < until])


def _bump(time: NDArray[np.float64], begins: float, lasts: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-((2 * (time - begins - lasts / 2) / lasts) ** 4)))


PROVENANCE = Provenance(
    fields={
        "camera": text(),
        "images_per_second": whole(5, 120),
        "seconds": whole(1, 3600),
        "glasses": {"type": "boolean"},
        "state_by": text("simulation", "Karolinska sleepiness scale", "electroencephalogram"),
    },
    origin={
        "camera": "simulated",
        "images_per_second": RATE,
        "seconds": WINDOWS * LENGTH // RATE,
        "glasses": False,
        "state_by": "simulation",
    },
    use=Use(
        intended="Tells drowsy from alert drivers by eyelids and head; for study.",
        users="Researchers who try federated training on recordings.",
        not_for="Deciding who may drive; replacing rest.",
        factors="Glasses, light, how a person sits, the camera's place and rate.",
        caveats="The recordings are simulated: nothing is known of real drivers.",
    ),
    per_record={"windows": 1, "seconds": LENGTH // RATE},
)

APPLICATION = Application(
    id="drowsiness",
    title="Drowsiness from eyelids and head",
    simulated=True,
    about="recordings of half a minute each of 800 simulated drivers",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="hybrid",
    config={"channels": 2, "length": LENGTH, "classes": 2, "filters": 8, "hidden": 12},
    tuned=Tuned(
        rounds=8, steps=16, batch=192, learning_rate=1.0, clip=1.0, momentum=0.8, plain_rate=1.0
    ),
)
