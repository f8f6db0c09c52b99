"""What follows from a study's sums: the same numbers for everybody who computes them.

Statistics of sums with noise take them as they are; what no records give is left out or cut: a
variance below zero, a bin of fewer than no records, a correlation beyond one. A regression of them
has a ridge: see :meth:`_Sums.ridge`.

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

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, combinations_with_replacement
from math import isqrt

from chaincode.schema.base import Count, Language, Name
from chaincode.schema.data import Category, Feature
from chaincode.schema.studies import Histogram, Statistic, StudyTerms, Term, noises, terms_of

STEPS = 10
REACH = 8
"""The polynomial stands for the logistic function where its argument is up to this in size."""
_GRID = 100
_STEEPEST = 1000
"""What the logarithm of the odds changes by over half a column, at most."""
_EXACTLY = Context(prec=50, rounding=ROUND_HALF_EVEN)
_MILLION = 10**6

Row = list[Fraction]


class ColumnFinding(Language):
    """Of a column of numbers, in 1e-6 of its unit; the sample variance of its square. None where
    it was not asked for, there are too few records, or the noise exceeds it. ``mean_noise_micro``:
    the deviation of the mean's noise."""

    name: Name
    mean_micro: int | None = None
    variance_micro: int | None = None
    mean_noise_micro: Count = 0


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
    second class. No coefficients where the columns depend on each other, or noise
    leaves nothing of them. ``ridge_micro``: what was
    added to each column's sum of squares against the noise, in 1e-6 of the largest that can be."""

    target: Name
    names: tuple[Name, ...]
    intercept_micro: int | None = None
    coefficients_micro: tuple[int, ...] = ()
    ridge_micro: Count = 0


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
    """Sums over records by term. Columns count in steps from the middle of their bounds."""

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
            mean_micro=round(self._middle(i) + mean * self._step(i)) if shown else None,
            variance_micro=_micro(variance, self._step(i) ** 2) if variance >= 0 else None,
            mean_noise_micro=round(self._noise(Term((i,))) / self.count * self._step(i)),
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
        """By the normal equations (least squares)."""
        names = [column.name for column in self._numbers]
        aim = names.index(target)
        others = [i for i in range(len(names)) if i != aim]
        sides = [[Fraction(self._product(*place, aim))] for place in _places(others)]
        ridge = self.ridge(others)
        solved = _solve(self._matrix(others, ridge), sides)
        found = None if solved is None else [row[0] * self._step(aim) for row in solved]
        return self._regression(target, others, found, self._middle(aim), ridge)

    def logistic(self, degree: int) -> RegressionFinding:
        """See the module."""
        label, columns = self._study.data.label, range(len(self._numbers))
        ridge = self.ridge(columns)
        inverse = _solve(self._matrix(columns, ridge), _identity(1 + len(columns)))
        if inverse is None:
            return self._regression(label, columns, None, Fraction(0), ridge)
        # The label's distance from one half, times each column.
        places = _places(columns)
        sides = [Fraction(self._sums[Term(place, labelled=True)], 2) for place in places]
        with localcontext(_EXACTLY):
            found = self._steps(sides, inverse, _polynomial(degree), _decimal(ridge))
        # Of a cubic with much noise the steps run away from each other.
        ran = max(abs(b) for b in found[1:]) * self._study.levels > _STEEPEST
        scaled = None if ran else [Fraction(b) * _MILLION for b in found]
        return self._regression(label, columns, scaled, Fraction(0), ridge)

    def ridge(self, columns: Sequence[int]) -> Fraction:
        """What is added to the sums of these columns' squares, 0 without noise.

        Noise of deviation s moves a matrix of d rows by s sqrt(d) in any one direction; where the
        records vary less than that, a regression would follow the noise. So this is the least ridge
        with which the matrix, noise and all, varies by s sqrt(d) in every direction, in eighths of
        that. The constant has none: it is for the means to say.
        Vu and Slavkovic 2009, "Differential Privacy for Clinical Trial Data: Preliminary
        Evaluations"; Wang 2018, "Revisiting differentially private linear regression" (AdaSSP),
        whose ridge is for the worst case, where this is for the noise that is known.
        """
        least = self._noise(Term((columns[0],) * 2), len(columns))
        if not least:
            return Fraction(0)

        def enough(eighths: int) -> bool:
            return _definite(self._matrix(columns, least * Fraction(eighths - 8, 8)))

        most = 1
        while not enough(most):
            most *= 2
        return least * Fraction(bisect_left(range(most), True, key=enough), 8)

    def _steps(
        self, sides: Row, inverse: list[Row], polynomial: tuple[Decimal, ...], ridge: Decimal
    ) -> list[Decimal]:
        solve = [[_decimal(entry) for entry in row] for row in inverse]
        wanted = [_decimal(side) for side in sides]
        if len(polynomial) == 1:
            return [value / polynomial[0] for value in _times(solve, wanted)]
        found = [Decimal(0)] * len(wanted)
        for _ in range(STEPS):
            slope = self._gradient(wanted, found, polynomial)
            slope[1:] = [s - ridge * b / 4 for s, b in zip(slope[1:], found[1:], strict=True)]
            # The Hessian is a quarter of the second moments at most, and of the ridge.
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
        self,
        target: str,
        columns: Sequence[int],
        found: Sequence[Fraction] | None,
        middle: Fraction,
        ridge: Fraction,
    ) -> RegressionFinding:
        """From coefficients by steps of the columns, in millionths, to ones by their units."""
        most = self.count * self._study.levels**2
        made = RegressionFinding(
            target=target,
            names=tuple(self._numbers[i].name for i in columns),
            ridge_micro=round(ridge * _MILLION / most),
        )
        if found is None:
            return made
        intercept, coefficients = found[0] + middle, []
        for i, by_step in zip(columns, found[1:], strict=True):
            coefficient = by_step * _MILLION / self._step(i)
            intercept -= coefficient * self._middle(i) / _MILLION
            coefficients.append(round(coefficient))
        told = {"intercept_micro": round(intercept), "coefficients_micro": tuple(coefficients)}
        return made.model_copy(update=told)

    def _matrix(self, columns: Sequence[int], ridge: Fraction) -> list[Row]:
        """The second moments of the constant 1 and of these columns, these with the ridge."""
        places = _places(columns)
        matrix = [[Fraction(self._product(*a, *b)) for b in places] for a in places]
        for place in range(1, len(places)):
            matrix[place][place] += ridge
        return matrix

    def _covariance(self, i: int, j: int) -> Fraction:
        spread = self.count * self._product(i, j) - self._sum(i) * self._sum(j)
        return Fraction(spread, self.count * (self.count - 1))

    def _noise(self, term: Term, rows: int = 1) -> Fraction:
        """The deviation of all owners' noise in a sum, times the root of so many rows."""
        each = dict(zip(terms_of(self._study), noises(self._study), strict=True))[term]
        return each * Fraction(isqrt(rows * len(self._study.datasets) * _GRID**2), _GRID)

    def _sum(self, i: int) -> int:
        return self._sums[Term((i,))]

    def _product(self, *columns: int) -> int:
        return self._sums[Term(tuple(sorted(columns)))]

    def _step(self, i: int) -> Fraction:
        """Of a column, in 1e-6 of its unit."""
        column = self._numbers[i]
        return Fraction(column.high_micro - column.low_micro, 2 * self._study.levels)

    def _middle(self, i: int) -> Fraction:
        """Of a column's bounds, in 1e-6 of its unit."""
        column = self._numbers[i]
        return Fraction(column.low_micro + column.high_micro, 2)


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


def _definite(matrix: Sequence[Row]) -> bool:
    """Whether a symmetric matrix is positive definite: all pivots of its elimination are."""
    rows = [list(row) for row in matrix]
    for place, head in enumerate(rows):
        if head[place] <= 0:
            return False
        for row in rows[place + 1 :]:
            factor = row[place] / head[place]
            row[place:] = [a - factor * b for a, b in zip(row[place:], head[place:], strict=True)]
    return True


def _places(columns: Sequence[int]) -> list[tuple[int, ...]]:
    """The constant 1, and each column."""
    return [(), *((i,) for i in columns)]


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
