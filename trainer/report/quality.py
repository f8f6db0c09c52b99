"""How good a classifier is on records: which classes it takes for which, and how far its
confidence can be believed. Imports torch where it computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

if TYPE_CHECKING:
    from torch import nn

    from trainer.data.records import Records

BINS = 10


class Bin(BaseModel):
    """Records whose confidence lies in one tenth of [0, 1]: its mean, and how many were right."""

    confidence: float
    accuracy: float
    records: int


class Quality(BaseModel):
    """``confusion[i][j]``: records of class i that were taken for class j. ``recall``: by class; 0
    where there is no record of it. ``calibration_error``: expected calibration error, the mean
    distance of confidence and accuracy over the bins, weighted by records (Guo et al. 2017, "On
    Calibration of Modern Neural Networks", equation 3)."""

    records: int
    classes: list[str]
    accuracy: float
    confusion: list[list[int]]
    recall: list[float]
    calibration: list[Bin]
    calibration_error: float

    def told(self) -> dict[str, Any]:
        """The same for reading: the confusion matrix with its headings, a row for each class."""
        rows = [
            {
                "class": name,
                **{f"as {other}": n for other, n in zip(self.classes, row, strict=True)},
            }
            | {"recall": round(recall, 4)}
            for name, row, recall in zip(self.classes, self.confusion, self.recall, strict=True)
        ]
        rest = self.model_dump(exclude={"classes", "recall"})
        return {**rest, "confusion": rows}


def assess(
    model: nn.Module, weights: NDArray[np.float32], records: Records, classes: Sequence[str]
) -> Quality:
    """The quality of a model on records.

    Args:
        model: of the plan's architecture; stays as it is.
        weights: float32[parameters].
        classes: names of the labels 0, 1, ...
    """
    probabilities = _probabilities(model, weights, records)
    return quality(probabilities, records.labels, classes)


def quality(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]
) -> Quality:
    """From predictions.

    Args:
        probabilities: float64[n, classes], each row adding up to 1; n at least 1.
        labels: int64[n].
    """
    found, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = found == labels
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, found), 1)
    bins = list(_bins(confidence, right))
    off = sum(abs(one.confidence - one.accuracy) * one.records for one in bins)
    return Quality(
        records=len(labels),
        classes=list(classes),
        accuracy=float(right.mean()),
        confusion=confusion.tolist(),
        recall=(confusion.diagonal() / np.maximum(confusion.sum(axis=1), 1)).tolist(),
        calibration=bins,
        calibration_error=off / len(labels),
    )


def _bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return [
        Bin(
            confidence=float(confidence[places == place].mean()),
            accuracy=float(right[places == place].mean()),
            records=int((places == place).sum()),
        )
        for place in np.unique(places)
    ]


def _probabilities(
    model: nn.Module, weights: NDArray[np.float32], records: Records
) -> NDArray[np.float64]:
    import torch

    from trainer.training import set_parameters

    model = copy.deepcopy(model)
    set_parameters(model, weights)
    with torch.no_grad():
        scores = model(torch.from_numpy(records.features)).double()
        return np.asarray(torch.softmax(scores, dim=1).numpy())
