"""Simulated: has the person a fever? A thermal image of a face, 24 x 24 pixels in degrees.

A head before a cooler wall; the inner corners of the eyes show the core temperature less a
constant (ISO/TR 13154), nose and cheeks are cooler, hair is cooler still. Distance, place, ambient
temperature, the camera's offset and its noise differ. The faces are nobody's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, TensorTerms
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

PERSONS = 2000
SIDE = 24


def terms() -> DataTerms:
    """Degrees Celsius; the wall lies below the lower bound."""
    tensor = TensorTerms(shape=(1, SIDE, SIDE), low_micro=28_000_000, high_micro=41_000_000)
    return DataTerms(
        application=APPLICATION.id, tensor=tensor, label="fever", classes=("no", "yes")
    )


def sample(seed: int) -> Sample:
    """PERSONS persons, one image each; a fever is a core temperature of at least 38."""
    draw = np.random.default_rng([seed, 4])
    fever = (draw.random(PERSONS) < 0.4).astype(np.int64)
    core = np.where(fever == 1, draw.uniform(38.0, 40.5, PERSONS), draw.normal(36.7, 0.35, PERSONS))
    core = np.where(fever == 1, core, np.minimum(core, 37.9))
    values = np.array([_face(draw, temperature) for temperature in core], dtype=np.float32)
    return Sample(np.round(values, 2)[:, None], fever, np.arange(PERSONS))


def _face(draw: np.random.Generator, core: float) -> NDArray[np.float64]:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) * 2 - 1
    x = x - draw.normal(0, 0.12)
    y = y - draw.normal(0, 0.1)
    size = draw.uniform(0.6, 0.85)
    wall = draw.uniform(19, 27)
    head = (x / (0.72 * size)) ** 2 + (y / size) ** 2 < 1
    skin = core - draw.uniform(2.2, 3.2) - 0.06 * (27 - wall)
    face = np.where(head, skin, wall)
    face = np.where(head & (y < -0.55 * size), skin - draw.uniform(1.5, 4), face)
    nose = np.exp(-((x / 0.12) ** 2 + ((y - 0.12) / 0.2) ** 2))
    face = face - head * nose * draw.uniform(0.5, 2.5)
    for side in (-1, 1):
        eye = np.exp(-(((x - side * 0.16 * size) / 0.1) ** 2 + ((y + 0.15 * size) / 0.1) ** 2))
        face = face + head * eye * (core - 0.6 - skin)
    return np.asarray(face + draw.normal(0, 0.15) + draw.normal(0, 0.12, (SIDE, SIDE)))


PROVENANCE = Provenance(
    fields={
        "camera": text(),
        "width": whole(8, 2048),
        "height": whole(8, 2048),
        "black_body_in_view": {"type": "boolean"},
        "temperature_by": text("simulation", "ear thermometer", "oral thermometer"),
        "fever_from_millicelsius": whole(37_000, 39_000),
    },
    origin={
        "camera": "simulated, with an offset of its own for each image",
        "width": SIDE,
        "height": SIDE,
        "black_body_in_view": False,
        "temperature_by": "simulation",
        "fever_from_millicelsius": 38_000,
    },
    use=Use(
        intended="Says whether a thermal image shows a person with a fever; for study.",
        users="Researchers; staff who then measure the temperature.",
        not_for="Admitting or turning away anybody by the image alone.",
        factors="Camera and its calibration, distance, ambient temperature, hair and glasses.",
        caveats="The faces are simulated: nothing is known of real persons.",
    ),
    per_record={"images": 1},
)

APPLICATION = Application(
    id="fever",
    title="Fever from a thermal image",
    simulated=True,
    about="thermal images of 2000 simulated faces",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="cnn",
    config={"channels": 1, "height": SIDE, "width": SIDE, "classes": 2, "filters": 6},
    tuned=Tuned(rounds=6, steps=12, batch=96, learning_rate=0.5, clip=0.5, momentum=0.5),
)
