"""What a plan's records are: columns, arrays or texts; how each is read, and should look.

Everything that turns a hospital's values into a model's inputs is agreed here, in the plan: bounds,
codes, what stands for a missing value. Nothing is fitted on records, so nothing of one hospital's
records reaches another by way of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from chaincode.schema import fhir as fhirs
from chaincode.schema.base import Id, Language, Micro, Name

Bound = Annotated[int, Field(ge=-(10**15), le=10**15)]
"""A value of the records in units of 1e-6."""
WHOLE = 1_000_000
"""What the shares of a distribution add up to."""


class Feature(Language):
    """A column of numbers and the public bounds it is scaled by.

    The contract refuses a plan whose ``high_micro`` is not above ``low_micro``. ``missing_micro``
    stands for a missing number; without it one that is missing is refused.
    """

    name: Name
    low_micro: Bound
    high_micro: Bound
    missing_micro: Bound | None = None

    @property
    def width(self) -> int:
        """Inputs of the model that the column becomes."""
        return 1

    @property
    def may_lack(self) -> bool:
        """Whether the plan says what stands for a missing value."""
        return self.missing_micro is not None


class Category(Language):
    """A column of codes: one input each, 1 for the record's code and 0 for the others.

    ``missing`` is the code that stands for a missing one, ``other`` the code that stands for any
    that is not listed; both are among ``codes``. Without them such a record is refused.
    """

    name: Name
    codes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=256)]
    missing: Name | None = None
    other: Name | None = None

    @property
    def width(self) -> int:
        """Inputs of the model that the column becomes."""
        return len(self.codes)

    @property
    def may_lack(self) -> bool:
        """Whether the plan says what stands for a missing value."""
        return self.missing is not None


Column = Feature | Category


class RecordingTerms(Language):
    """Recordings that are cut into windows: files whose columns ``channels`` are a tensor's rows,
    sampled at ``rate_millihertz``, a window every ``stride`` samples. What is left at
    a recording's end is passed over."""

    channels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    rate_millihertz: Annotated[int, Field(ge=1, le=10**12)]
    stride: Annotated[int, Field(ge=1, le=2**20)]


class TensorTerms(Language):
    """Every record is one array of this shape: a windowed signal (channels, length) or an image
    (channels, height, width). All values are scaled by the same public bounds."""

    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=2**20)], ...], Field(min_length=1, max_length=3)
    ]
    low_micro: Bound
    high_micro: Bound
    recording: RecordingTerms | None = None


class TextTerms(Language):
    """Every record is a text, seen as the set of its words hashed into buckets (Weinberger et al.
    2009): no vocabulary is fitted on records."""

    column: Name
    buckets: Annotated[int, Field(ge=2, le=2**16)]


class Distribution(Language):
    """How one column should be distributed: the share of its values in each bin, in 1e-6.

    A column of numbers has the bins up to ``edges_micro[0]``, above it up to the next, and above
    the last; a column of codes one bin per code, and no edges. ``missing_micro`` is the share of
    records that lack it.
    """

    name: Name
    edges_micro: Annotated[tuple[Bound, ...], Field(max_length=64)] = ()
    shares_micro: Annotated[tuple[Micro, ...], Field(min_length=2, max_length=256)]
    missing_micro: Annotated[int, Field(ge=0, le=WHOLE)] = 0


class Expectation(Language):
    """What the plan's records should look like, from public knowledge or simulated records; never
    from a hospital's. A hospital compares its own with it before it consents.

    ``classes_micro``: the share of each class. Of arrays the columns are ``mean`` and
    ``deviation`` of a record's values, of texts ``words``, the number of different words.
    """

    classes_micro: Annotated[tuple[Micro, ...], Field(max_length=256)] = ()
    columns: Annotated[tuple[Distribution, ...], Field(max_length=4096)] = ()


class DataTerms(Language):
    """What a record is, and the classes of the label. Exactly one of three kinds: ``features`` in
    this order, a ``tensor``, or a ``text``.

    ``patient``: the column that says whose a record is; one patient's records stay together when
    a dataset is split. Without it every record is a patient's only one. ``least_per_class``:
    training records of every class that a dataset needs. ``fhir``: how a table of such features is
    made of FHIR resources.
    """

    application: Id
    features: Annotated[tuple[Column, ...], Field(max_length=4096)] = ()
    tensor: TensorTerms | None = None
    text: TextTerms | None = None
    patient: Name | None = None
    label: Name
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=256)]
    least_per_class: Annotated[int, Field(ge=0, le=2**40)] = 1
    expected: Expectation | None = None
    fhir: fhirs.FhirTerms | None = None

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if bool(self.features) + (self.tensor is not None) + (self.text is not None) != 1:
            raise ValueError("exactly one of features, tensor and text")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one record, as a model takes it."""
        if self.tensor is not None:
            return self.tensor.shape
        if self.text is not None:
            return (self.text.buckets,)
        return (sum(column.width for column in self.features),)


def problem(terms: DataTerms) -> str | None:
    """Why no record can be read by these terms, or None."""
    for column in terms.features:
        if wrong := _column_problem(column):
            return wrong
    if terms.tensor is not None and (wrong := _tensor_problem(terms.tensor)):
        return wrong
    if not distinct(column.name for column in terms.features):
        return "two features have the same name"
    if not distinct(terms.classes):
        return "two classes have the same name"
    if terms.fhir is not None:
        columns = (*(column.name for column in terms.features), terms.label)
        if wrong := fhirs.problem(terms.fhir, columns):
            return wrong
    return _expectation_problem(terms, terms.expected) if terms.expected is not None else None


def _column_problem(column: Column) -> str | None:
    if isinstance(column, Feature):
        if column.high_micro <= column.low_micro:
            return f"the bounds of {column.name} leave no room between them"
        return None
    if not distinct(column.codes):
        return f"two codes of {column.name} are the same"
    if not {column.missing, column.other} - {None} <= set(column.codes):
        return f"{column.name} has no such code as the one that stands for others"
    return None


def _tensor_problem(tensor: TensorTerms) -> str | None:
    if tensor.high_micro <= tensor.low_micro:
        return "the bounds of the arrays' values leave no room between them"
    recording = tensor.recording
    if recording is None:
        return None
    if len(tensor.shape) != 2 or tensor.shape[0] != len(recording.channels):
        return "windows of recordings have the shape (channels, length)"
    if not distinct(recording.channels):
        return "two channels have the same name"
    return None


def _expectation_problem(terms: DataTerms, expected: Expectation) -> str | None:
    if expected.classes_micro and (
        len(expected.classes_micro) != len(terms.classes) or sum(expected.classes_micro) != WHOLE
    ):
        return f"the expected shares of the classes are one for each, in all {WHOLE}"
    if not distinct(column.name for column in expected.columns):
        return "two expected columns have the same name"
    bins = _bins(terms)
    for column in expected.columns:
        if column.name not in bins:
            return f"no column {column.name} is expected to look like anything"
        edges = column.edges_micro
        if list(edges) != sorted(set(edges)):
            return f"the expected bins of {column.name} do not follow each other"
        wanted = bins[column.name] or len(edges) + 1
        if len(column.shares_micro) != wanted or (bins[column.name] and edges):
            return f"the expected shares of {column.name} are one for each of {wanted} bins"
        if sum(column.shares_micro) != WHOLE:
            return f"the expected shares of {column.name} are not {WHOLE} in all"
    return None


def _bins(terms: DataTerms) -> dict[str, int | None]:
    """Columns that may be expected to look like something; bins of those that have codes."""
    if terms.tensor is not None:
        return {"mean": None, "deviation": None}
    if terms.text is not None:
        return {"words": None}
    return {
        column.name: len(column.codes) if isinstance(column, Category) else None
        for column in terms.features
    }


def distinct(names: Iterable[object]) -> bool:
    """Whether nothing is there twice."""
    listed = list(names)
    return len(set(listed)) == len(listed)
