"""What noise costs: studies with terms of privacy, beside exact ones and scikit-learn.

Each study asks for everything of its columns: means to correlations, a linear regression of the
target on all others, a logistic one of the label. Three owners with a third of the training records
each hand their noise over; one of them may collude. Every run has another split and other noise,
drawn as nodes draw it. The sums are those that decryption gives, as :mod:`benchmarks.studies` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._rows import alone
from chaincode.schema import studies
from chaincode.schema.data import Feature
from chaincode.schema.studies import (
    Flooding,
    Statistic,
    StudyDataset,
    StudyPrivacy,
    StudyTerms,
)
from client.findings import Findings, RegressionFinding, findings
from trainer import applications
from trainer.data.raw import Raw, numbered
from trainer.data.studied import values
from trainer.privacy.discrete_gaussian import sample
from trainer.privacy.sampling import Stream

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
TOLD = (1.0, 4.0, 16.0)
"""Those in the table; the plot has all."""
DELTA_NANO = 10_000
RUNS = 20
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "studies.svg"
_OWNERS = tuple(f"Hospital{number}MSP" for number in range(1, 4))

Values = NDArray[np.float64]


@dataclass(frozen=True)
class _Set:
    """An application's records: of ``columns``, all where none is named; as many samples of it as
    ``samples``; ``trained`` of them studied in a run, the others tested on. ``target``: the column
    that is regressed on all others."""

    name: str
    application: str
    target: str
    trained: int
    columns: tuple[str, ...] = ()
    samples: int = 1

    @property
    def features(self) -> tuple[Feature, ...]:
        """The columns."""
        listed = applications.find(self.application).terms().features
        numbers = (c for c in listed if isinstance(c, Feature))
        return tuple(c for c in numbers if c.name in self.columns or not self.columns)

    def draw(self, seed: int) -> tuple[Values, NDArray[np.int64]]:
        """Records of a run: those that are studied in front."""
        application = applications.find(self.application)
        names = [column.name for column in application.terms().features]
        places = [names.index(column.name) for column in self.features]
        drawn = [application.sample(seed * self.samples + i) for i in range(self.samples)]
        records = np.concatenate([one.values for one in drawn]).astype(float)[:, places]
        labels = np.concatenate([one.labels for one in drawn])
        order = np.random.default_rng([seed, 7]).permutation(labels.size)
        return records[order], labels[order]


_MASSES = ("radius", "texture", "smoothness", "concavity", "concave points")
_VITAL = ("body mass index", "mean arterial pressure", "high-density lipoproteins")
_SETS = (
    _Set(
        "breast-cancer (real)",
        "breast-cancer",
        "mean concavity",
        400,
        tuple(f"mean {mass}" for mass in _MASSES),
    ),
    _Set(
        "diabetes (real)",
        "diabetes",
        "log of triglycerides",
        310,
        (*_VITAL, "log of triglycerides"),
    ),
    _Set("deterioration (simulated)", "deterioration", "lactate", 9600, samples=5),
)


def rows() -> list[dict[str, Any]]:
    """Measure, plot, and tell."""
    found: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[float]]] = {}
    for one in _SETS:
        measured = {epsilon: _measure(one, epsilon) for epsilon in (*EPSILONS, None)}
        found += _told(one, measured)
        curves[one.name] = {
            kind: [measured[epsilon][kind] for epsilon in (*EPSILONS, None)]
            for kind in ("accuracy", "explained")
        }
    _plot(curves)
    return found


def _told(one: _Set, measured: dict[float | None, dict[str, float]]) -> Iterator[dict[str, Any]]:
    sums = len(studies.terms_of(_study(one)))
    for epsilon in TOLD:
        got, exact = measured[epsilon], measured[None]
        head = f"{one.name}, {sums} sums of {one.trained} records, epsilon {epsilon:g}"
        for kind, what, unit in (
            ("mean", "means, off by", "deviations"),
            ("deviation", "deviations, off by", "share"),
            ("correlation", "correlations, off by", "of 2"),
        ):
            yield alone(f"{head}: {what}", got[kind], unit, runs=RUNS)
        for kind, what, unit in (
            ("explained", "linear regression, explained on test records", "of variance"),
            ("accuracy", "logistic regression, test accuracy", "accuracy"),
        ):
            for peer, name in (
                (exact[kind], "exact study"),
                (got[f"plain {kind}"], "scikit-learn"),
            ):
                beside = {"peer": peer, "peer_name": name, "ratio": got[kind] / peer}
                yield {
                    **alone(f"{head}: {what}", got[kind], unit, better="higher", runs=RUNS),
                    **beside,
                }


def _measure(one: _Set, epsilon: float | None) -> dict[str, float]:
    """Of the runs: the mean; of the linear regression the median, which a bad run leaves alone."""
    runs = [_run(one, epsilon, seed) for seed in range(RUNS)]
    median = {"explained", "plain explained"}
    return {
        kind: float((np.median if kind in median else np.mean)([run[kind] for run in runs]))
        for kind in runs[0]
    }


def _run(one: _Set, epsilon: float | None, seed: int) -> dict[str, float]:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    records, labels = one.draw(seed)
    seen, kept = np.split(np.arange(labels.size), [one.trained])
    study, stream = _study(one, epsilon), Stream(seed.to_bytes(32, "big"))
    raw = Raw(records[seen], labels[seen], numbered(one.trained))
    found = findings(study, _noised(study, values(raw, study).sum(axis=0), stream))
    names = [column.name for column in one.features]
    aim = names.index(one.target)
    others = np.delete(np.arange(len(names)), aim)
    low, high = np.array([(c.low_micro, c.high_micro) for c in one.features]).T / 1e6
    scaled = (records - low) / (high - low)
    line = LinearRegression().fit(scaled[seen][:, others], records[seen, aim])
    odds = LogisticRegression(C=1e4, max_iter=5000).fit(scaled[seen], labels[seen])
    assert found.logistic is not None
    by_line = _applied(found.linear[0], records[kept][:, others])
    right = (_applied(found.logistic, records[kept]) > 0) == labels[kept]
    wanted = records[kept, aim]
    return {
        **_moments(found, records[seen]),
        "explained": _explained(by_line, wanted),
        "plain explained": _explained(line.predict(scaled[kept][:, others]), wanted),
        "accuracy": float(np.mean(right)),
        "plain accuracy": float(odds.score(scaled[kept], labels[kept])),
    }


def _noised(study: StudyTerms, sums: NDArray[np.int64], stream: Stream) -> list[int]:
    for _ in _OWNERS:
        sums = sums + [sample(d, 1, stream)[0] if d else 0 for d in studies.noises(study)]
    return list(map(int, sums))


def _moments(found: Findings, records: Values) -> dict[str, float]:
    """How far off: means in deviations of their column; deviations as a share of theirs, all of it
    where noise leaves none; correlations, as if 0 where noise leaves none."""
    deviations = records.std(axis=0, ddof=1)
    means = np.array([column.mean_micro for column in found.columns], dtype=float) / 1e6
    variances = np.array([column.variance_micro or 0 for column in found.columns]) / 1e6
    first, second = np.triu_indices(len(deviations), 1)
    pairs = np.array([pair.correlation_micro or 0 for pair in found.pairs]) / 1e6
    correlations = np.corrcoef(records.T)[first, second]
    return {
        "mean": float(np.mean(np.abs(means - records.mean(axis=0)) / deviations)),
        "deviation": float(np.mean(np.abs(np.sqrt(variances) / deviations - 1))),
        "correlation": float(np.mean(np.abs(pairs - correlations))),
    }


def _applied(made: RegressionFinding, columns: Values) -> Values:
    """float64[n]; all 0 where the noise leaves no coefficients."""
    if made.intercept_micro is None:
        return np.zeros(len(columns))
    applied: Values = (made.intercept_micro + columns @ np.array(made.coefficients_micro)) / 1e6
    return applied


def _explained(predicted: Values, wanted: Values) -> float:
    return float(1 - np.mean((predicted - wanted) ** 2) / wanted.var())


@cache
def _study(one: _Set, epsilon: float | None = None) -> StudyTerms:
    data = applications.find(one.application).terms()
    data = data.model_copy(update={"features": one.features, "expected": None})
    study = StudyTerms(
        study_id=one.application,
        title=one.application,
        plan_id="plan",
        data=data,
        levels=1000 if epsilon is None else 100,
        datasets=tuple(StudyDataset(msp_id=owner, dataset_id=owner.lower()) for owner in _OWNERS),
        holder="Hospital4MSP",
        statistics=tuple(Statistic),
        linear=(one.target,),
        logistic=1,
        least_records=10,
        most_records=2**14,
        flooding=Flooding(scale_bits=10, flood_bits=10),
    )
    if epsilon is None:
        return study
    privacy = StudyPrivacy(noise_milli=1, quorum=len(_OWNERS))
    noised = study.model_copy(update={"privacy": privacy})
    return studies.calibrated(noised, round(epsilon * 1e6), DELTA_NANO)


def _plot(curves: dict[str, dict[str, list[float]]]) -> None:
    from matplotlib.figure import Figure

    from client.pages import doubling

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for name, of in curves.items():
        for axis, kind in zip(axes, ("accuracy", "explained"), strict=True):
            *noised, exact = of[kind]
            (line,) = axis.plot(EPSILONS, noised, "o-", label=name)
            axis.axhline(exact, color=line.get_color(), linestyle=":", linewidth=1)
    for axis, what in zip(axes, ("logistic: test accuracy", "linear: explained"), strict=True):
        axis.set(xlabel="epsilon at delta 1e-5", ylabel=what)
        doubling(axis, EPSILONS)
    axes[0].legend()
    axes[1].set_ylim(bottom=-0.1)
    figure.savefig(PLOT, format="svg", metadata={"Date": None})
