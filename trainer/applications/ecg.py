"""Simulated: the rhythm in eight seconds of one electrocardiogram lead.

Beats are sums of Gaussian waves P, Q, R, S and T (the shape of McSharry et al. 2003, without its
differential equations): sinus rhythm; atrial fibrillation, with irregular beats, no P wave and a
fibrillating base line; ventricular tachycardia, fast and broad. Baseline wander, mains hum, muscle
noise and each patient's own wave shapes make them harder to tell. The traces are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, TensorTerms
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

PATIENTS, WINDOWS = 1200, 3
RATE, LENGTH = 64, 512
"""Samples per second and per window."""
CLASSES = ("sinus rhythm", "atrial fibrillation", "ventricular tachycardia")


@dataclass(frozen=True)
class _Wave:
    """Millivolts, seconds after the R peak, seconds of width."""

    height: float
    place: float
    width: float


_NORMAL = (
    _Wave(0.15, -0.18, 0.03),
    _Wave(-0.1, -0.03, 0.012),
    _Wave(1.1, 0.0, 0.016),
    _Wave(-0.2, 0.03, 0.014),
    _Wave(0.3, 0.26, 0.06),
)
_BROAD = (_Wave(0.9, 0.0, 0.06), _Wave(-0.5, 0.16, 0.07))


def terms() -> DataTerms:
    """One lead, millivolts."""
    tensor = TensorTerms(shape=(1, LENGTH), low_micro=-2_000_000, high_micro=2_000_000)
    return DataTerms(application=APPLICATION.id, tensor=tensor, label="rhythm", classes=CLASSES)


def sample(seed: int) -> Sample:
    """PATIENTS patients, WINDOWS windows each, in one rhythm each."""
    draw = np.random.default_rng([seed, 2])
    rhythms = draw.choice(3, PATIENTS, p=[0.45, 0.35, 0.2])
    traces = [_trace(draw, int(rhythm)) for rhythm in rhythms for _ in range(WINDOWS)]
    patients = np.repeat(np.arange(PATIENTS), WINDOWS)
    values = np.array(traces, dtype=np.float32)[:, None]
    return Sample(values, rhythms[patients].astype(np.int64), patients)


def _trace(draw: np.random.Generator, rhythm: int) -> NDArray[np.float64]:
    time = np.arange(LENGTH) / RATE
    trace = np.zeros(LENGTH)
    shape = draw.normal(1, 0.15, 5)
    waves = _BROAD if rhythm == 2 else _NORMAL[1:] if rhythm == 1 else _NORMAL
    for beat in _beats(draw, rhythm):
        for number, wave in enumerate(waves):
            away = (time - beat - wave.place) / (wave.width * shape[-1 - number])
            trace += wave.height * shape[number] * np.exp(-(away**2) / 2)
    if rhythm == 1:
        pitch, phase = draw.uniform(5, 8), draw.uniform(0, 2 * np.pi)
        trace += draw.uniform(0.03, 0.1) * np.sin(2 * np.pi * pitch * time + phase)
    wander = draw.uniform(0.02, 0.25) * np.sin(
        2 * np.pi * draw.uniform(0.1, 0.4) * time + draw.uniform(0, 2 * np.pi)
    )
    hum = draw.uniform(0, 0.05) * np.sin(2 * np.pi * 22 * time + draw.uniform(0, 2 * np.pi))
    return trace + wander + hum + draw.normal(0, draw.uniform(0.02, 0.12), LENGTH)


def _beats(draw: np.random.Generator, rhythm: int) -> NDArray[np.float64]:
    rate = draw.uniform(140, 200) if rhythm == 2 else draw.uniform(55, 110)
    mean = 60 / rate
    spread = {0: 0.03, 1: 0.24, 2: 0.02}[rhythm]
    gaps = mean * np.clip(draw.normal(1, spread, 40), 0.45, 1.9)
    beats = draw.uniform(-mean, 0) + np.cumsum(gaps)
    return np.asarray(beats[beats < LENGTH / RATE + 0.5])


PROVENANCE = Provenance(
    fields={
        "leads": whole(1, 12),
        "samples_per_second": whole(32, 4000),
        "seconds": whole(1, 3600),
        "rhythm_by": text("simulation", "cardiologist", "device"),
    },
    origin={
        "leads": 1,
        "samples_per_second": RATE,
        "seconds": LENGTH // RATE,
        "rhythm_by": "simulation",
    },
    use=Use(
        intended="Names the rhythm in eight seconds of one lead; for study.",
        users="Researchers; cardiologists who look at the trace themselves.",
        not_for="Monitors' alarms; rhythms other than the three that it was taught.",
        factors="Lead placement, noise of muscles and mains, sampling rate.",
        caveats="The traces are simulated: nothing is known of real patients.",
    ),
    per_record={"windows": 1, "seconds": LENGTH // RATE},
)

APPLICATION = Application(
    id="ecg",
    title="Rhythm of an electrocardiogram",
    simulated=True,
    about="three windows of eight seconds each of 1200 simulated patients",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="hybrid",
    config={"channels": 1, "length": LENGTH, "classes": 3, "filters": 8, "hidden": 12},
    tuned=Tuned(
        rounds=6, steps=12, batch=128, learning_rate=2.0, clip=1.0, momentum=0.8, plain_rate=1.0
    ),
)
