"""What follows from a study's sums: the same numbers for everybody who computes them.

Sums with noise are taken as they are; what no records give is left out or cut: a variance below
zero, a bin of fewer than no records, a correlation beyond one.

Means, variances, regressions by exact fractions, rounded once, to the nearest millionth; the
logistic regression by decimals of a fixed precision, whose arithmetic is correctly rounded.

A logistic regression from sums is one whose logistic function is a polynomial: the gradient of its
likelihood is then linear in the records' moments (Aono et al. 2016, "Scalable and Secure Logistic
Regression via Homomorphic Encryption", for the second; here of degree 3 and the fourth ones, too).
Degree 1 has its maximum in closed form. Degree 3 takes :data:`STEPS` steps of Newton's method with
the fixed Hessian of Bonte and Vercauteren 2018 ("Privacy-preserving logistic regression training"):
a cubic falls again where the logistic function levels off, so the steps are few on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, combinations_with_replacement
from math import isqrt

from chaincode.schema.base import Count, Language, Name
from chaincode.schema.data import Category, Feature
from chaincode.schema.studies import Histogram, Statistic, StudyTerms, Term, terms_of

STEPS = 10
REACH = 8
"""The polynomial stands for the logistic function where its argument is up to this in size."""
_GRID = 100
_EXACTLY = Context(prec=50, rounding=ROUND_HALF_EVEN)
_MILLION = 10**6

Row = list[Fraction]


class ColumnFinding(Language):
    """Of a column of numbers, in 1e-6 of its unit; the sample variance of its square. None where
    it was not asked for, there are too few records, or the noise exceeds it."""

    name: Name
    mean_micro: int | None = None
    variance_micro: int | None = None


class PairFinding(Language):
    """Of two columns; no correlation with one that does not vary."""

    names: tuple[Name, Name]
    covariance_micro: int | None = None
    correlation_micro: int | None = None


class Bin(Language):
    """``name``: a code or class, or the bin's lower bound in 1e-6 of the column's unit."""

    name: Name
    records: Count


class HistogramFinding(Language):
    name: Name
    bins: tuple[Bin, ...]


class RegressionFinding(Language):
    """``target`` by the columns ``names``. Of a logistic one: the logarithm of the odds of the
    second class. No coefficients where the columns depend on each other."""

    target: Name
    names: tuple[Name, ...]
    intercept_micro: int | None = None
    coefficients_micro: tuple[int, ...] = ()


class Findings(Language):
    """What a study found."""

    records: Count
    columns: tuple[ColumnFinding, ...]
    pairs: tuple[PairFinding, ...]
    histograms: tuple[HistogramFinding, ...]
    linear: tuple[RegressionFinding, ...]
    logistic: RegressionFinding | None


def findings(study: StudyTerms, sums: Sequence[int]) -> Findings:
    """All that the study asks for, from its sums in the order of ``terms_of``."""
    found = _Sums(study, dict(zip(terms_of(study), sums, strict=True)))
    asked = study.statistics
    number = len(study.numbers)
    paired = {Statistic.COVARIANCE, Statistic.CORRELATION} & frozenset(asked)
    return Findings(
        records=found.count,
        columns=tuple(found.column(i) for i in range(number)) if asked else (),
        pairs=tuple(found.pair(i, j) for i, j in combinations(range(number), 2) if paired),
        histograms=tuple(map(found.histogram, study.histograms)),
        linear=tuple(map(found.linear, study.linear)),
        logistic=None if study.logistic is None else found.logistic(study.logistic),
    )


class _Sums:
    """Sums over records by term. Columns count in steps from their low bound."""

    def __init__(self, study: StudyTerms, sums: Mapping[Term, int]) -> None:
        self._study = study
        self._sums = sums
        self._numbers = study.numbers
        self.count = sums[Term()]

    def column(self, i: int) -> ColumnFinding:
        asked, column = self._study.statistics, self._numbers[i]
        mean = Fraction(self._sum(i), self.count)
        shown = Statistic.MEAN in asked
        varied = Statistic.VARIANCE in asked and self.count > 1
        variance = self._covariance(i, i) if varied else Fraction(-1)
        return ColumnFinding(
            name=column.name,
            mean_micro=round(column.low_micro + mean * self._step(i)) if shown else None,
            variance_micro=_micro(variance, self._step(i) ** 2) if variance >= 0 else None,
        )

    def pair(self, i: int, j: int) -> PairFinding:
        asked = self._study.statistics
        names = (self._numbers[i].name, self._numbers[j].name)
        if self.count < 2:
            return PairFinding(names=names)
        covariance = self._covariance(i, j)
        unit = self._step(i) * self._step(j)
        told = Statistic.COVARIANCE in asked
        return PairFinding(
            names=names,
            covariance_micro=_micro(covariance, unit) if told else None,
            correlation_micro=(
                _correlation(covariance, self._covariance(i, i), self._covariance(j, j))
                if Statistic.CORRELATION in asked
                else None
            ),
        )

    def histogram(self, asked: Histogram) -> HistogramFinding:
        data = self._study.data
        column = next((c for c in data.features if c.name == asked.name), None)
        if isinstance(column, Feature):
            width = Fraction(column.high_micro - column.low_micro, asked.bins)
            names = tuple(str(round(column.low_micro + width * b)) for b in range(asked.bins))
        else:
            names = column.codes if isinstance(column, Category) else data.classes
        bins = tuple(
            Bin(name=name, records=max(0, self._sums[Term(name=asked.name, bin=place)]))
            for place, name in enumerate(names)
        )
        return HistogramFinding(name=asked.name, bins=bins)

    def linear(self, target: str) -> RegressionFinding:
        """By the normal equations (ordinary least squares)."""
        names = [column.name for column in self._numbers]
        aim = names.index(target)
        others = [i for i in range(len(names)) if i != aim]
        named = tuple(names[i] for i in others)
        places: list[tuple[int, ...]] = [(), *((i,) for i in others)]
        sides = [self._product(*place, aim) for place in places]
        solved = _solve(self._matrix(places), [[Fraction(side)] for side in sides])
        if solved is None:
            return RegressionFinding(target=target, names=named)
        low, step = self._numbers[aim].low_micro, self._step(aim)
        scaled: Row = [row[0] * step for row in solved]
        return self._regression(target, others, scaled, low)

    def logistic(self, degree: int) -> RegressionFinding:
        """See the module."""
        data, number = self._study.data, len(self._numbers)
        names = tuple(column.name for column in self._numbers)
        places: list[tuple[int, ...]] = [(), *((i,) for i in range(number))]
        inverse = _solve(self._matrix(places), _identity(number + 1))
        if inverse is None:
            return RegressionFinding(target=data.label, names=names)
        labelled = [self._sums[Term(place, labelled=True)] for place in places]
        # The label's distance from one half, times each column.
        sides = [y - Fraction(self._product(*p), 2) for y, p in zip(labelled, places, strict=True)]
        with localcontext(_EXACTLY):
            polynomial = _polynomial(degree)
            found = self._steps(sides, inverse, polynomial)
        return self._regression(
            data.label, list(range(number)), [Fraction(b) * _MILLION for b in found], 0
        )

    def _steps(
        self, sides: Row, inverse: list[Row], polynomial: tuple[Decimal, ...]
    ) -> list[Decimal]:
        solve = [[_decimal(entry) for entry in row] for row in inverse]
        wanted = [_decimal(side) for side in sides]
        if len(polynomial) == 1:
            return [value / polynomial[0] for value in _times(solve, wanted)]
        found = [Decimal(0)] * len(wanted)
        for _ in range(STEPS):
            slope = self._gradient(wanted, found, polynomial)
            # The Hessian is a quarter of the second moments at most.
            moved = zip(found, _times(solve, slope), strict=True)
            found = [before + 4 * step for before, step in moved]
        return found

    def _gradient(
        self, wanted: Sequence[Decimal], found: Sequence[Decimal], polynomial: tuple[Decimal, ...]
    ) -> list[Decimal]:
        """Of the likelihood: the sum of (y - 1/2 - p(x b)) x over records."""
        size = range(len(found))
        slope = list(wanted)
        for degree, factor in zip((1, 3), polynomial, strict=True):
            for chosen in combinations_with_replacement(size, degree):
                weight = factor * _arrangements(chosen)
                for place in chosen:
                    weight *= found[place]
                for row in size:
                    # The first place is the constant 1.
                    columns = [place - 1 for place in (*chosen, row) if place]
                    slope[row] -= weight * self._product(*columns)
        return slope

    def _regression(
        self, target: str, others: Sequence[int], found: Sequence[Fraction], low: int
    ) -> RegressionFinding:
        """From coefficients by steps of the columns, in millionths, to ones by their units."""
        intercept, coefficients = found[0] + low, []
        for i, by_step in zip(others, found[1:], strict=True):
            column = self._numbers[i]
            coefficient = by_step * _MILLION / self._step(i)
            intercept -= coefficient * column.low_micro / _MILLION
            coefficients.append(round(coefficient))
        return RegressionFinding(
            target=target,
            names=tuple(self._numbers[i].name for i in others),
            intercept_micro=round(intercept),
            coefficients_micro=tuple(coefficients),
        )

    def _matrix(self, places: Sequence[tuple[int, ...]]) -> list[Row]:
        return [[Fraction(self._product(*a, *b)) for b in places] for a in places]

    def _covariance(self, i: int, j: int) -> Fraction:
        spread = self.count * self._product(i, j) - self._sum(i) * self._sum(j)
        return Fraction(spread, self.count * (self.count - 1))

    def _sum(self, i: int) -> int:
        return self._sums[Term((i,))]

    def _product(self, *columns: int) -> int:
        return self._sums[Term(tuple(sorted(columns)))]

    def _step(self, i: int) -> Fraction:
        """Of a column, in 1e-6 of its unit."""
        column = self._numbers[i]
        return Fraction(column.high_micro - column.low_micro, self._study.levels)


def _micro(value: Fraction, unit: Fraction) -> int:
    """A product of two columns, whose steps' product is ``unit``, in 1e-6."""
    return round(value * unit / _MILLION)


def _correlation(covariance: Fraction, first: Fraction, second: Fraction) -> int | None:
    if first <= 0 or second <= 0:
        return None
    square = covariance**2 / (first * second)
    # Rounded down, away from one that would be beyond 1.
    size = min(_MILLION, isqrt(square.numerator * _MILLION**2 // square.denominator))
    return size if covariance >= 0 else -size


def _identity(size: int) -> list[Row]:
    return [[Fraction(int(i == j)) for j in range(size)] for i in range(size)]


def _solve(matrix: Sequence[Row], sides: Sequence[Row]) -> list[Row] | None:
    """Gauss and Jordan's elimination, exactly; None where the matrix has no inverse."""
    rows = [[*row, *side] for row, side in zip(matrix, sides, strict=True)]
    for place in range(len(rows)):
        pivot = next((r for r in range(place, len(rows)) if rows[r][place]), None)
        if pivot is None:
            return None
        rows[place], rows[pivot] = rows[pivot], rows[place]
        head = rows[place][place]
        rows[place] = [entry / head for entry in rows[place]]
        for other in range(len(rows)):
            if other != place and (factor := rows[other][place]):
                pairs = zip(rows[other], rows[place], strict=True)
                rows[other] = [entry - factor * own for entry, own in pairs]
    return [row[len(rows) :] for row in rows]


def _times(matrix: Sequence[Sequence[Decimal]], vector: Sequence[Decimal]) -> list[Decimal]:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Decimal(0)) for row in matrix]


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _arrangements(chosen: tuple[int, ...]) -> int:
    """In how many orders these places may stand: up to three."""
    return {1: 1, 2: 3, 3: 6}[len(dict.fromkeys(chosen))] if len(chosen) == 3 else 1


@lru_cache(maxsize=2)
def _polynomial(degree: int) -> tuple[Decimal, ...]:
    """The odd polynomial nearest to the logistic function less one half, by least squares over
    hundredths in [-8, 8]: coefficients of x, and of its cube."""
    with localcontext(_EXACTLY):
        points = [Decimal(place) / _GRID for place in range(1, REACH * _GRID + 1)]
        values = [1 / (1 + (-x).exp()) - Decimal("0.5") for x in points]

        def total(power: int, of: Callable[[Decimal, Decimal], Decimal]) -> Decimal:
            pairs = zip(points, values, strict=True)
            return sum((x**power * of(x, v) for x, v in pairs), Decimal(0))

        first = total(1, lambda _, v: v)
        second = total(2, lambda *_: Decimal(1))
        if degree == 1:
            return (first / second,)
        third = total(3, lambda _, v: v)
        fourth, sixth = total(4, lambda *_: Decimal(1)), total(6, lambda *_: Decimal(1))
        size = second * sixth - fourth**2
        return ((first * sixth - third * fourth) / size, (third * second - first * fourth) / size)
