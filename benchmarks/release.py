"""What a synthetic table is good for, and what it tells: real records of breast cancer.

A logistic regression trained on the table, beside one trained on the records that it was made of,
both tested on the same other records. And who sees the table's counts and knows all records but
one: how well he tells whether that one is among them, beside what theory allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks._rows import alone

if TYPE_CHECKING:
    from trainer.data.raw import Raw

EPSILONS = (1.0, 3.0, 8.0)
SEEDS = (1, 2, 3, 4, 5)
TRIALS = 1000
_RECORDS, _THEORY = "the records themselves", "at most, by theory"


def rows() -> list[dict[str, Any]]:
    """Accuracy, then the attack: without noise, and at every epsilon."""
    return [*_accuracy(), *_attack()]


def _accuracy() -> Iterator[dict[str, Any]]:
    import numpy as np

    parts = [_parts(seed) for seed in SEEDS]
    real = float(np.mean([_trained(train, test) for train, test in parts]))
    for epsilon in (None, *EPSILONS):
        found = [_trained(_table(train, epsilon), test) for train, test in parts]
        spread = float(np.std(found, ddof=1))
        what = "without noise" if epsilon is None else f"at epsilon {epsilon:g}"
        accuracy = float(np.mean(found))
        beside = {"peer": real, "peer_name": _RECORDS, "ratio": accuracy / real}
        unit = f"share of test records (spread {spread:.3f})"
        row = alone(f"accuracy {what}", accuracy, unit, better="higher", runs=len(SEEDS))
        yield row | beside


def _attack() -> Iterator[dict[str, Any]]:
    from trainer import attacks, presets
    from trainer.data import release
    from trainer.privacy.sampling import fresh

    train, _ = _parts(SEEDS[0])
    naive = attacks.table_membership(train, _terms(), 0, 1, fresh())
    yield alone("one record found in the counts: advantage without noise", naive, "")
    for epsilon in EPSILONS:
        noise = release.least_noise(_terms(), round(epsilon * 1e6), presets.DELTA_NANO)
        ours = attacks.table_membership(train, _terms(), noise, TRIALS, fresh())
        bound = attacks.bound(epsilon, presets.DELTA_NANO / 1e9)
        row = alone(
            f"one record found in the counts: advantage at epsilon {epsilon:g}",
            ours,
            "",
            aim="ratio at most 1",
            runs=TRIALS,
        )
        yield row | {"peer": bound, "peer_name": _THEORY, "ratio": ours / bound}


def _terms() -> Any:
    from trainer import applications

    return applications.find("breast-cancer").terms()


def _parts(seed: int) -> tuple[Raw, Raw]:
    """Four fifths of the records, and the others."""
    import numpy as np

    from trainer import applications
    from trainer.data.raw import Raw

    sample = applications.find("breast-cancer").sample(0)
    order = np.random.default_rng(seed).permutation(sample.labels.size)
    cut = sample.labels.size * 4 // 5
    train, test = (
        Raw(sample.values[rows], sample.labels[rows], ()) for rows in (order[:cut], order[cut:])
    )
    return train, test


def _table(train: Raw, epsilon: float | None) -> Raw:
    """The synthetic table, read as a hospital's file is."""
    import tempfile
    from pathlib import Path

    from trainer import presets
    from trainer.data import release
    from trainer.data.files import load
    from trainer.privacy.sampling import fresh

    terms, stream = _terms(), fresh()
    counts = release.tables(train, terms)
    if epsilon is not None:
        noise = release.least_noise(terms, round(epsilon * 1e6), presets.DELTA_NANO)
        counts = release.noised(counts, noise, stream)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.csv"
        file.write_bytes(release.drawn(counts, terms, train.labels.size, stream))
        return load(file, terms)


def _trained(train: Raw, test: Raw) -> float:
    """Accuracy on the test records."""
    from sklearn.linear_model import LogisticRegression

    from trainer.data.inputs import inputs

    model = LogisticRegression(max_iter=1000).fit(inputs(train, _terms()), train.labels)
    return float(model.score(inputs(test, _terms()), test.labels))
