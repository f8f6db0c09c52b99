"""The job as MedFabric's application: a package of its own, found by its entry points.

Two outputs in place of the peers' one logit: 1,909 parameters more.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from chaincode.schema.data import DataTerms, Feature
from trainer.applications import breast_cancer
from trainer.applications.application import Application, Sample, Tuned
from trainer.models.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn

HIDDEN = {"first": 1800, "second": 1908}


def _wide(*, features: int, classes: int, first: int, second: int) -> nn.Module:
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(1)
    layers = nn.Sequential(
        nn.Linear(features, first),
        nn.Tanh(),
        nn.Linear(first, second),
        nn.Tanh(),
        nn.Linear(second, classes),
    )
    for parameter in layers.parameters():
        bound = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.0
        with torch.no_grad():
            parameter.uniform_(-bound, bound, generator=generator)
    return layers


def _terms() -> DataTerms:
    """All 30 columns, over their whole ranges."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    ends = zip(data.data.min(axis=0), data.data.max(axis=0), strict=True)
    features = tuple(
        Feature(name=str(name), low_micro=int(low * 1e6), high_micro=int(high * 1e6))
        for name, (low, high) in zip(data.feature_names, ends, strict=True)
    )
    return DataTerms(
        application=WIDE.id, features=features, label="diagnosis", classes=("malignant", "benign")
    )


def _sample(_: int) -> Sample:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    labels = data.target.astype(np.int64)
    return Sample(data.data, labels, np.arange(labels.size))


ARCHITECTURE = Architecture(
    1,
    _wide,
    {"features": 30, "classes": 2, "first": 1800, "second": 1908},
    lambda config: (config["features"],),
)
WIDE: Application = dataclasses.replace(
    breast_cancer.APPLICATION,
    id="wdbc-wide",
    title="WDBC, 3.5 million parameters",
    terms=_terms,
    sample=_sample,
    architecture="wide-mlp",
    config={"features": 30, "classes": 2, **HIDDEN},
    tuned=Tuned(rounds=5, steps=4, batch=32, learning_rate=0.1, clip=1.0),
)
