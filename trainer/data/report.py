"""What a hospital looks at before it consents: its dataset beside what the plan expects of it.

Exact figures of the hospital's own records: for the hospital alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from chaincode.schema.data import WHOLE, DataTerms, Distribution, Expectation
from client.identity import Identity
from trainer.data import drift
from trainer.data.columns import BINS, Series, series
from trainer.data.dataset import Opened, Source, open_dataset
from trainer.data.split import PARTS

NO_EXPECTATION = "nothing expected"
MUCH_OUTSIDE = 0.05
"""Share of a column's values beyond the plan's bounds, clipped there, that is worth a word."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Drift(_Model):
    """See :mod:`trainer.data.drift`. ``ks`` of numbers alone. ``*_chance``: what would be exceeded
    by chance in one of twenty datasets of this size."""

    psi: float
    psi_chance: float
    ks: float | None
    ks_chance: float | None
    missing_expected: float


class ColumnReport(_Model):
    """One column. ``bins``: names and counts; ``expected``: their shares, where the plan has some.
    ``outside``: share of the values beyond the plan's bounds."""

    name: str
    missing: int
    low: float | None
    mean: float | None
    high: float | None
    outside: float | None
    bins: tuple[tuple[str, int], ...]
    expected: tuple[float, ...]
    drift: Drift | None
    verdict: str


class DataReport(_Model):
    """A dataset that can be read, whole. ``classes``: records of each, by part."""

    file: str
    application: str
    records: int
    patients: int
    parts: dict[str, int]
    classes: dict[str, dict[str, int]]
    repeated: int
    class_drift: Drift | None
    class_verdict: str
    columns: tuple[ColumnReport, ...]
    findings: tuple[str, ...]


def report(source: Source, terms: DataTerms, identity: Identity | None = None) -> DataReport:
    """Look at a dataset.

    Args:
        identity: opens it where it is sealed.

    Raises:
        MedFabricError: as :func:`trainer.data.dataset.open_dataset`: bad data has no report.
    """
    opened = open_dataset(source, terms, identity)
    raw, expected = opened.raw, terms.expected or Expectation()
    patients = raw.labels.size if raw.patients is None else np.unique(raw.patients).size
    by_name = {one.name: one for one in expected.columns}
    columns = tuple(_column(one, by_name.get(one.name), patients) for one in series(raw, terms))
    classes = np.bincount(raw.labels, minlength=len(terms.classes))
    class_drift = _class_drift(classes, expected, patients)
    made = DataReport(
        file=str(source.file),
        application=terms.application,
        records=raw.labels.size,
        patients=patients,
        parts={name: int(opened.split.rows(part).size) for part, name in enumerate(PARTS)},
        classes=_classes(opened, terms),
        repeated=_repeated(opened),
        class_drift=class_drift,
        class_verdict=_verdict(class_drift),
        columns=columns,
        findings=(),
    )
    return made.model_copy(update={"findings": tuple(_findings(made))})


def _classes(opened: Opened, terms: DataTerms) -> dict[str, dict[str, int]]:
    found = {}
    for part, name in enumerate(PARTS):
        labels = opened.raw.labels[opened.split.rows(part)]
        counts = np.bincount(labels, minlength=len(terms.classes))
        found[name] = dict(zip(terms.classes, map(int, counts), strict=True))
    return found


def _repeated(opened: Opened) -> int:
    """Records whose inputs are those of an earlier record."""
    rows = opened.records.features.reshape(len(opened.records), -1)
    return len(rows) - len({row.tobytes() for row in rows})


def _class_drift(
    counts: NDArray[np.int64], expected: Expectation, independent: int
) -> Drift | None:
    if not expected.classes_micro:
        return None
    return _drift(counts, np.array(expected.classes_micro) / WHOLE, independent, False, 0.0)


def _column(one: Series, expected: Distribution | None, independent: int) -> ColumnReport:
    known, edges = one.known, _edges(one, expected)
    counts = one.counts(edges)
    shares = np.array(expected.shares_micro if expected else ()) / WHOLE
    drifted = (
        _drift(counts, shares, independent, not one.codes, expected.missing_micro / WHOLE)
        if expected and known.size
        else None
    )
    numbers = known.size > 0 and not one.codes
    outside = (
        float(((known < one.low) | (known > one.high)).mean())
        if numbers and one.low is not None and one.high is not None
        else None
    )
    return ColumnReport(
        name=one.name,
        missing=int(np.isnan(one.values).sum()),
        low=float(known.min()) if numbers else None,
        mean=float(known.mean()) if numbers else None,
        high=float(known.max()) if numbers else None,
        outside=outside,
        bins=tuple(zip(_names(one, edges), map(int, counts), strict=True)),
        expected=tuple(map(float, shares)),
        drift=drifted,
        verdict=_verdict(drifted),
    )


def _edges(one: Series, expected: Distribution | None) -> NDArray[np.float64]:
    """The plan's, else equal steps between its bounds, or between the records' own."""
    if expected is not None:
        return np.array(expected.edges_micro, dtype=np.float64) / 1e6
    if one.codes or not one.known.size:
        return np.array([])
    low = float(one.known.min()) if one.low is None else one.low
    high = float(one.known.max()) if one.high is None else one.high
    return np.linspace(low, high, BINS + 1)[1:-1] if high > low else np.array([low])


def _names(one: Series, edges: NDArray[np.float64]) -> list[str]:
    if one.codes:
        return list(one.codes)
    if not edges.size:
        return ["all"]
    return [*(f"to {edge:g}" for edge in edges), f"above {edges[-1]:g}"]


def _drift(
    counts: NDArray[np.int64],
    shares: NDArray[np.float64],
    independent: int,
    ordered: bool,
    missing: float,
) -> Drift:
    """``independent``: patients; records of one are alike, so they are not counted as more."""
    return Drift(
        psi=drift.psi(counts, shares),
        psi_chance=drift.psi_by_chance(counts.size, independent),
        ks=drift.ks(counts, shares) if ordered else None,
        ks_chance=drift.ks_by_chance(independent) if ordered else None,
        missing_expected=missing,
    )


def _verdict(found: Drift | None) -> str:
    return NO_EXPECTATION if found is None else drift.verdict(found.psi, found.psi_chance)


def _findings(made: DataReport) -> list[str]:
    """What a reader should not overlook."""
    found = []
    if made.repeated:
        found.append(f"{made.repeated} records are copies of others; is a patient there twice?")
    for name in ("validation", "test"):
        lacking = [one for one, number in made.classes[name].items() if not number]
        if made.parts[name] and lacking:
            found.append(f"the {name} part has no record of class {', '.join(lacking)}")
    if made.class_verdict not in (NO_EXPECTATION, "as expected"):
        found.append(f"the shares of the classes have {made.class_verdict}")
    for column in made.columns:
        found += _column_findings(column, made.records)
    return found


def _column_findings(column: ColumnReport, records: int) -> list[str]:
    found = []
    if column.missing == records:
        found.append(f"{column.name} is missing everywhere")
    if column.verdict not in (NO_EXPECTATION, "as expected"):
        found.append(f"{column.name} has {column.verdict} from what the plan expects")
    if column.outside is not None and column.outside > MUCH_OUTSIDE:
        share = f"{column.outside:.0%}"
        found.append(f"{share} of {column.name} lie beyond the plan's bounds and are clipped")
    if column.drift is not None:
        missing, expected = column.missing / records, column.drift.missing_expected
        # Three standard deviations of a share that is as expected, and a record more.
        if abs(missing - expected) > 3 * (expected * (1 - expected) / records) ** 0.5 + 1 / records:
            found.append(
                f"{missing:.1%} of {column.name} are missing, the plan expects {expected:.1%}"
            )
    return found
