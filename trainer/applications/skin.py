"""Simulated: is a mole suspicious? A colour image of a skin lesion, 32 x 32 pixels.

The ABCD rule for the naked eye (Friedman et al. 1985) decides what differs: asymmetry, border,
colour, diameter. A benign mole is a small smooth ellipse of one brown; a suspicious one is larger,
with a lopsided, ragged outline and several colours, among them black, blue-grey, red and white. How
much of each differs between lesions, so that the two overlap. Skin tone, light, place, hairs and
the camera's noise differ in both. The lesions are nobody's, and say nothing of real diagnosis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, TensorTerms
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

PERSONS = 2000
SIDE = 32
_SKIN = np.array([(236, 205, 185), (224, 178, 150), (190, 140, 110), (176, 128, 100)], float)
_BROWN = np.array([120, 75, 50], float)
_OTHERS = np.array([(40, 30, 35), (95, 105, 130), (180, 70, 65), (225, 215, 210)], float)
"""Black, blue-grey, red, white."""

Plane = NDArray[np.float64]


def terms() -> DataTerms:
    """Red, green and blue, 0 to 255; what is darker or brighter than the bounds is clipped."""
    tensor = TensorTerms(shape=(3, SIDE, SIDE), low_micro=40_000_000, high_micro=240_000_000)
    return DataTerms(
        application=APPLICATION.id,
        tensor=tensor,
        label="lesion",
        classes=("benign", "suspicious"),
    )


def sample(seed: int) -> Sample:
    """PERSONS persons, one image each."""
    draw = np.random.default_rng([seed, 6])
    suspicious = (draw.random(PERSONS) < 0.4).astype(np.int64)
    # How far along the rule a lesion is: in [0, 1], and of the two kinds overlapping.
    score = np.where(suspicious == 1, draw.beta(8, 2, PERSONS), draw.beta(1.4, 10, PERSONS))
    images = np.array([_image(draw, float(one)) for one in score], dtype=np.float32)
    return Sample(images, suspicious, np.arange(PERSONS))


def _image(draw: np.random.Generator, score: float) -> NDArray[np.float64]:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) * 2 - 1
    skin = _mixed(draw, _SKIN)
    image = skin[:, None, None] * (1 + 0.04 * _smooth(draw, 6))
    inside = _lesion(draw, x, y, score)
    image = image + inside * (_colours(draw, x, y, score, skin) - image)
    for _ in range(int(draw.poisson(0.5))):
        image = image * (1 - 0.6 * _hair(draw, x, y))
    light = draw.uniform(0.93, 1.05) * (1 + draw.normal(0, 0.06) * x + draw.normal(0, 0.06) * y)
    return np.asarray(np.clip(np.round(image * light + draw.normal(0, 5, (3, SIDE, SIDE))), 0, 255))


def _lesion(draw: np.random.Generator, x: Plane, y: Plane, score: float) -> Plane:
    """float[SIDE, SIDE] in [0, 1]: how much of a pixel is lesion."""
    x, y = x - draw.normal(0, 0.1), y - draw.normal(0, 0.1)
    turn = draw.uniform(0, 2 * np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    angle, far = np.arctan2(across, along), np.hypot(along, across * draw.uniform(1, 1.4))
    outline = (draw.uniform(0.3, 0.44) + 0.36 * score) * np.ones_like(far)
    # Low waves make it lopsided, high ones ragged.
    for wave in (1, 2, 3, 5, 7, 9):
        height = 0.22 * score * draw.uniform(0.3, 1) / wave**0.5
        outline += 0.5 * height * np.cos(wave * angle + draw.uniform(0, 2 * np.pi))
    soft = draw.uniform(0.05, 0.12) * (1 - 0.5 * score)
    return np.asarray(1 / (1 + np.exp(np.clip((far - outline) / soft, -30, 30))))


def _colours(
    draw: np.random.Generator, x: Plane, y: Plane, score: float, skin: Plane
) -> NDArray[np.float64]:
    """float[3, SIDE, SIDE]: brown, with patches of other colours."""
    brown = _BROWN + draw.uniform(0.1, 0.5) * (skin - _BROWN)
    image = brown[:, None, None] * (1 + 0.06 * _smooth(draw, 5))
    for other in draw.permutation(_OTHERS)[: int(draw.binomial(4, 0.02 + 0.75 * score))]:
        place = draw.normal(0, 0.3, 2)
        size = draw.uniform(0.12, 0.3)
        patch = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * size**2))
        image = image + draw.uniform(0.4, 0.9) * patch * (other[:, None, None] - image)
    return np.asarray(image)


def _hair(draw: np.random.Generator, x: Plane, y: Plane) -> Plane:
    turn, off, bend = draw.uniform(0, np.pi), draw.normal(0, 0.5), draw.normal(0, 0.3)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return np.asarray(np.exp(-(((across - off - bend * along**2) / 0.035) ** 2)))


def _mixed(draw: np.random.Generator, colours: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = draw.dirichlet(np.ones(len(colours)) * 0.7)
    return np.asarray(weights @ colours)


def _smooth(draw: np.random.Generator, cells: int) -> Plane:
    """float[SIDE, SIDE]: noise of that many cells a side, blended between them."""
    coarse = draw.normal(size=(cells + 1, cells + 1))
    at = np.linspace(0, cells, SIDE, endpoint=False)
    low = at.astype(int)
    part = at - low
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


PROVENANCE = Provenance(
    fields={
        "camera": text(),
        "width": whole(8, 4096),
        "height": whole(8, 4096),
        "polarised": {"type": "boolean"},
        "label_by": text("simulation", "histology", "dermatologist"),
        "skin_types": text(),
    },
    origin={
        "camera": "simulated",
        "width": SIDE,
        "height": SIDE,
        "polarised": False,
        "label_by": "simulation",
        "skin_types": "four light to medium tones, mixed",
    },
    use=Use(
        intended="Tells suspicious from benign-looking simulated skin lesions; for study.",
        users="Researchers who try federated training on colour images.",
        not_for="Diagnosis, triage or reassurance of anybody: no real lesion was seen.",
        factors="Skin tone, light, hairs, place and size of the lesion in the image.",
        caveats="The lesions are simulated by a rule of thumb; dark skin is not among them.",
    ),
    per_record={"images": 1},
)

APPLICATION = Application(
    id="skin",
    title="Suspicious skin lesions",
    simulated=True,
    about="colour images of 2000 simulated skin lesions",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="cnn",
    config={"channels": 3, "height": SIDE, "width": SIDE, "classes": 2, "filters": 6},
    tuned=Tuned(
        rounds=10, steps=12, batch=96, learning_rate=0.5, clip=1.0, momentum=0.8, plain_rate=0.3
    ),
)
