"""Studies: statistics of records that a hospital holds which cannot read them.

Owners encrypt, record by record, whole numbers and their products under a plan's collective key and
hand the ciphertexts to a holder, who has no key. The holder adds those of the records it chooses;
the others do so again and attest the sum; the key's hospitals decrypt it, and nothing else, once.
Where their shares decrypt nothing, each proves its own (:mod:`chaincode.schema.disputes`).
What is decrypted are exact sums of whole numbers, or, where the study has terms of privacy, sums
with noise of which nobody knows all: all statistics follow from them, see :mod:`client.findings`.

A column of numbers becomes a whole number from -``levels``, its low bound, to ``levels``, its high
one; a label of two classes -1 or 1: counted from the middle, a record adds half as much to a sum as
from the low bound, so that half the noise hides it. A record's values stand side by side in a
ciphertext's coefficients, each a :class:`Term` of the study.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations_with_replacement, pairwise
from typing import Annotated, Literal

from pydantic import Field

from chaincode.schema import accounting, canonical
from chaincode.schema import data as records
from chaincode.schema.base import (
    ContentRef,
    Count,
    Id,
    Language,
    MspId,
    Name,
    Reason,
    Seconds,
    Sha256,
)
from chaincode.schema.data import Category, DataTerms, Feature
from chaincode.schema.datasets import NoisedSums, StudySpending
from chaincode.schema.disputes import Culprits
from chaincode.schema.encryption import (
    PROOF_MASK_BITS,
    EncryptionTerms,
    largest_sound,
    proven_flood,
    proven_products,
    told_with_proof,
)

LARGEST_SUM = 2**53 - 1
_HEADER_BYTES = 52
_LARGEST_FLOOD = 240
PROVEN_AT_ONCE = 8
"""Ciphertexts that a proof is about."""
MOST_TERMS = 1024
"""Of a study: what is decrypted stands on the ledger."""
MOST_USES = 64
"""Exact studies that one dataset's records are summed in at most."""
LEAST_APART = 5
"""By how many records the choices of two exact studies differ at least, where they differ."""


Attempt = Annotated[int, Field(ge=0, le=64)]
"""Which set of key holders shares in the decryption of a study's sum; 0 before the first."""
Datasets = Annotated[tuple[Id, ...], Field(max_length=64)]


class StudyStatus(StrEnum):
    PROPOSED = "PROPOSED"
    COLLECTING = "COLLECTING"
    HELD = "HELD"
    SUMMED = "SUMMED"
    AGREED = "AGREED"
    DECRYPTED = "DECRYPTED"
    DISPUTED = "DISPUTED"
    JUDGING = "JUDGING"
    PUBLISHED = "PUBLISHED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


class Statistic(StrEnum):
    """Of the columns of numbers; the count of records is always told."""

    MEAN = "mean"
    VARIANCE = "variance"
    COVARIANCE = "covariance"
    CORRELATION = "correlation"


class Histogram(Language):
    """How often a column's values fall into ``bins`` equal parts of its range; of a column of
    codes, or of the label, how often each is there, and no bins."""

    name: Name
    bins: Annotated[int, Field(ge=0, le=256)] = 0


class StudyDataset(Language):
    msp_id: MspId
    dataset_id: Id


class Flooding(Language):
    """How a study's sums are encrypted in the ring of its plan's key.

    The sums stand above ``scale_bits``, and one more: twice the sum is what is decrypted. The noise
    of a decryption share is the sum of four uniform numbers in [-2^flood, 2^flood).
    ``statistical_bits``: the study's shares together tell at most 2^-statistical_bits more
    (statistical distance) than the sums do.
    """

    scale_bits: Annotated[int, Field(ge=10, le=400)]
    flood_bits: Annotated[int, Field(ge=10, le=240)]
    statistical_bits: Annotated[int, Field(ge=20, le=128)] = 30


class StudyPrivacy(Language):
    """Differential privacy of the sums, but of the count of records, which the ledger tells anyway.

    Every owner hands one more row over with its records: discrete Gaussian noise, whose deviation
    in each sum is ``noise_milli`` thousandths of the most that a record adds to it, rounded up.
    Counted are the noises of ``quorum`` datasets, fewer of which are not summed, less those of
    ``colluding``, whose owners know their own.
    """

    noise_milli: Annotated[int, Field(ge=1, le=10**6)]
    quorum: Annotated[int, Field(ge=1, le=64)]
    colluding: Annotated[int, Field(ge=0, le=63)] = 1


class StudyTerms(Language):
    """All that is agreed; votes and consents bind to the SHA-256 of its canonical form.

    ``plan_id``: whose collective key is used. ``data``: the columns; ``levels``: half a column of
    numbers is told apart so finely. ``statistics``, ``histograms``, ``linear`` (columns that are
    regressed on all others) and ``logistic`` (the degree, 1 or 3, of the polynomial that stands for
    the logistic function; the label of two classes is regressed on all columns of numbers) are what
    is asked for. ``least_records``: of each dataset that the sum includes; ``most_records``: of all
    together. ``holder``: owns none of the datasets. ``holder_selects``: whether it chooses among
    a dataset's records; otherwise it sums all of them. It leaves out what is not proven sound.
    ``privacy``: the noise of the sums; without, they are exact, and charged to no account.
    """

    study_id: Id
    title: Name
    plan_id: Id
    data: DataTerms
    levels: Annotated[int, Field(ge=1, le=2**24)]
    datasets: Annotated[tuple[StudyDataset, ...], Field(min_length=1, max_length=64)]
    holder: MspId
    holder_selects: bool = False
    statistics: Annotated[tuple[Statistic, ...], Field(max_length=4)] = ()
    histograms: Annotated[tuple[Histogram, ...], Field(max_length=64)] = ()
    linear: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    logistic: Literal[1, 3] | None = None
    least_records: Annotated[int, Field(ge=5, le=2**24)]
    most_records: Annotated[int, Field(ge=5, le=2**24)]
    flooding: Flooding
    privacy: StudyPrivacy | None = None
    stage_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600

    @property
    def sha256(self) -> str:
        """What hospitals vote on, and what owners consent to."""
        return canonical.sha256(self)

    @property
    def owners(self) -> tuple[str, ...]:
        """MSP ids of the datasets' owners, sorted, each once."""
        return tuple(sorted({one.msp_id for one in self.datasets}))

    @property
    def numbers(self) -> tuple[Feature, ...]:
        """The columns of numbers."""
        return tuple(c for c in self.data.features if isinstance(c, Feature))


@dataclass(frozen=True)
class Term:
    """One value of a record: the product of the columns of numbers at ``factors`` (from 0), and of
    the label where ``labelled``; or, of the column ``name``, whether it falls into ``bin``."""

    factors: tuple[int, ...] = ()
    labelled: bool = False
    name: str = ""
    bin: int = 0

    def largest(self, levels: int) -> int:
        """Of one record, in size."""
        return 1 if self.name else levels ** len(self.factors)

    def least(self, levels: int) -> int:
        """Of one record: no square is below zero, and no count."""
        odd = any(number % 2 for number in Counter(self.factors).values())
        return -self.largest(levels) if odd or self.labelled else 0


def terms_of(study: StudyTerms) -> tuple[Term, ...]:
    """What is summed, in order, and nothing that is not asked for; first the count of records."""
    number = range(len(study.numbers))
    wanted: list[Term] = [Term()]
    for degree in range(1, _degree(study) + 1):
        wanted += [Term(factors) for factors in combinations_with_replacement(number, degree)]
    if study.statistics or _degree(study):
        wanted += [Term((i,)) for i in number]
    if Statistic.VARIANCE in study.statistics:
        wanted += [Term((i, i)) for i in number]
    if study.logistic is not None:
        wanted += [Term((), labelled=True), *(Term((i,), labelled=True) for i in number)]
    for histogram in study.histograms:
        bins = range(bins_of(study, histogram))
        wanted += [Term(name=histogram.name, bin=place) for place in bins]
    return tuple(dict.fromkeys(wanted))


def _degree(study: StudyTerms) -> int:
    """Up to which degree all products of columns are summed."""
    if study.logistic is not None:
        return study.logistic + 1
    pairs = {Statistic.COVARIANCE, Statistic.CORRELATION} & set(study.statistics)
    return 2 if pairs or study.linear else 0


def noises(study: StudyTerms) -> tuple[int, ...]:
    """The deviation of each owner's noise in each sum, in the order of :func:`terms_of`."""
    milli = study.privacy.noise_milli if study.privacy else 0
    most = (term.largest(study.levels) for term in terms_of(study)[1:])
    return 0, *(-(-one * milli // 1000) for one in most)


def spending_of(study: StudyTerms, delta_nano: int) -> StudySpending:
    """What the sums of a study with noise tell of a dataset.

    A record is in one bin of each histogram, which are one vector; all other sums count alone.
    """
    assert study.privacy is not None
    alone = [
        (term.largest(study.levels), noise, 1)
        for term, noise in zip(terms_of(study), noises(study), strict=True)
        if noise and not term.name
    ]
    least = -(-study.privacy.noise_milli // 1000)
    binned = [(1, least, bins_of(study, histogram)) for histogram in study.histograms]
    spending = StudySpending(
        study_id=study.study_id,
        summands=study.privacy.quorum - study.privacy.colluding,
        sums=tuple(
            NoisedSums(norm=norm, noise=noise, values=values, number=number)
            for (norm, noise, values), number in sorted(Counter(alone + binned).items())
        ),
        epsilon_micro=0,
    )
    epsilon = accounting.epsilon_micro(spending.rdp_pico(), delta_nano)
    return spending.model_copy(update={"epsilon_micro": epsilon})


def calibrated(study: StudyTerms, epsilon_micro: int, delta_nano: int) -> StudyTerms:
    """The study with the least noise that tells no more than epsilon of a dataset.

    Raises:
        ValueError: the study has no terms of privacy, or no noise is enough.
    """
    if study.privacy is None:
        raise ValueError("the study says nothing of privacy; name its quorum")
    privacy = study.privacy

    def tried(milli: int) -> StudyTerms:
        return study.model_copy(
            update={"privacy": privacy.model_copy(update={"noise_milli": milli})}
        )

    # No noise is drawn beyond the limit: that of the largest sum reaches it first.
    widest = max(term.largest(study.levels) for term in terms_of(study))
    low, high = 1, min(10**6, accounting.MOST_SUMMED_NOISE * 1000 // widest)
    if high < low:
        raise ValueError("no noise is drawn that wide; take fewer levels")
    while low < high:
        middle = (low + high) // 2
        if spending_of(tried(middle), delta_nano).epsilon_micro <= epsilon_micro:
            high = middle
        else:
            low = middle + 1
    found = tried(low)
    if spending_of(found, delta_nano).epsilon_micro > epsilon_micro:
        raise ValueError("no noise keeps these sums within their epsilon; ask for fewer")
    return found


def bins_of(study: StudyTerms, histogram: Histogram) -> int:
    """How many numbers a histogram has."""
    if histogram.name == study.data.label:
        return len(study.data.classes)
    column = next(c for c in study.data.features if c.name == histogram.name)
    return len(column.codes) if isinstance(column, Category) else histogram.bins


def problem(study: StudyTerms) -> str | None:
    """Why the study asks for what there is not, or None."""
    if wrong := records.problem(study.data):
        return wrong
    if not study.data.features or not study.numbers:
        return "a study is of columns, and of at least one of numbers"
    for histogram in study.histograms:
        if wrong := _histogram_problem(study, histogram):
            return wrong
    lists = (study.statistics, study.linear, [h.name for h in study.histograms])
    if not all(records.distinct(names) for names in lists):
        return "something is asked for twice"
    if not records.distinct(one.dataset_id for one in study.datasets):
        return "a dataset is named twice"
    if study.holder in study.owners:
        return "the holder owns one of the datasets; who holds them owns none"
    numbers = {column.name for column in study.numbers}
    if not set(study.linear) <= numbers or (study.linear and len(numbers) < 2):
        return "a column of numbers is regressed on the other columns of numbers"
    if study.logistic is not None and len(study.data.classes) != 2:
        return "a logistic regression is of a label of two classes"
    if study.most_records < study.least_records:
        return "most_records is below least_records"
    return _privacy_problem(study)


def _privacy_problem(study: StudyTerms) -> str | None:
    privacy = study.privacy
    if privacy is None:
        return None
    if not privacy.colluding < privacy.quorum <= len(study.datasets):
        return "a quorum is of the study's datasets, and of more than those whose owners collude"
    if max(noises(study)) > accounting.MOST_SUMMED_NOISE:
        return "no noise is drawn that wide; take fewer levels or less noise"
    return None


def _histogram_problem(study: StudyTerms, histogram: Histogram) -> str | None:
    codes = {c.name for c in study.data.features if isinstance(c, Category)} | {study.data.label}
    if histogram.name in codes:
        return f"{histogram.name} has codes, not bins" if histogram.bins else None
    if histogram.name not in {column.name for column in study.numbers}:
        return f"there is no column {histogram.name} to count"
    return None if histogram.bins >= 2 else f"the histogram of {histogram.name} has too few bins"


def refusal(study: StudyTerms, plan: EncryptionTerms, hospitals: int) -> str | None:
    """Why the sums cannot be encrypted as the study says under the plan's key, or None."""
    wanted, flooding, largest = terms_of(study), study.flooding, largest_sum(study)
    if len(wanted) > min(MOST_TERMS, plan.poly_modulus_degree):
        return f"the study asks for {len(wanted)} sums; ask for fewer"
    if largest > LARGEST_SUM:
        return "a sum may exceed 2^53; take fewer levels or records"
    noise = largest_noise(study, plan, hospitals)
    if noise >= 1 << flooding.scale_bits:
        return "the decryption's noise reaches the sums; raise scale_bits"
    if largest.bit_length() + flooding.scale_bits + 4 > sum(plan.modulus_bits):
        return "the sums do not fit into the modulus of the plan's key"
    found = statistical_bits(study, plan, hospitals)
    if found < flooding.statistical_bits:
        return (
            f"the flooding noise hides the decryption's own to 2^-{max(found, 0)}, the study "
            f"claims 2^-{flooding.statistical_bits}"
        )
    return None


def statistical_bits(study: StudyTerms, plan: EncryptionTerms, hospitals: int) -> int:
    """-log2, rounded down, of the statistical distance that the flooding leaves.

    As :func:`chaincode.schema.encryption.statistical_bits`, with these in place of a round's: a
    record's ciphertext is added with weight 1 or -1, at most ``most_records`` of them, whether they
    stand in one ciphertext or in many; the shares tell as many coefficients as there are terms. In
    the last attempt each key holder may have to prove its share.
    """
    square = _mean_square(study, plan, hospitals)
    # Each time that a key holder stays away, the others share in the same sum once more.
    attempts = hospitals - (plan.threshold or hospitals) + 1
    product = (square * told_with_proof(len(terms_of(study)), attempts) - 1).bit_length()
    return study.flooding.flood_bits + 1 - -(-product // 2)


def fitted(study: StudyTerms, plan: EncryptionTerms, hospitals: int) -> StudyTerms | None:
    """The study with as much flooding as the plan's key allows; None where that is not enough."""
    for flood in range(_LARGEST_FLOOD, 9, -1):
        flooding = study.flooding.model_copy(update={"flood_bits": flood, "statistical_bits": 20})
        tried = study.model_copy(update={"flooding": flooding})
        scale = largest_noise(tried, plan, hospitals).bit_length()
        flooding = flooding.model_copy(update={"scale_bits": scale})
        tried = study.model_copy(update={"flooding": flooding})
        if refusal(tried, plan, hospitals) is None:
            told = {"statistical_bits": min(statistical_bits(tried, plan, hospitals), 128)}
            return tried.model_copy(update={"flooding": flooding.model_copy(update=told)})
    return None


def largest_sum(study: StudyTerms) -> int:
    """What no sum of honest records exceeds in size."""
    return max(high for _, high in _limits(study, study.most_records))


def _limits(study: StudyTerms, number: int) -> list[tuple[int, int]]:
    """The least and the largest of each sum of so many honest records; beyond twelve deviations
    noise is with a probability below 10^-30."""
    slack = (12 * len(study.datasets) * noise for noise in noises(study))
    terms, levels = terms_of(study), study.levels
    return [
        (number * term.least(levels) - more, number * term.largest(levels) + more)
        for term, more in zip(terms, slack, strict=True)
    ]


def _mean_square(study: StudyTerms, plan: EncryptionTerms, hospitals: int) -> int:
    """Of the noise of twice a sum of ciphertexts that are proven sound, at most."""
    degree = plan.poly_modulus_degree
    return 64 * degree * hospitals * largest_sound(degree) ** 2 * _most_rows(study) ** 2


def largest_noise(study: StudyTerms, plan: EncryptionTerms, hospitals: int) -> int:
    """Bound on a coefficient's noise in twice a decrypted sum, for whatever can be proven of its
    shares; see :func:`chaincode.schema.encryption.largest_noise`."""
    # As for rounds: 16 times its bound's root mean square, 2^-180 otherwise.
    own = 16 << -(-_mean_square(study, plan, hospitals).bit_length() // 2)
    if plan.threshold is None:
        own += proven_products(plan.poly_modulus_degree, hospitals, _most_rows(study))
    return (plan.threshold or hospitals) * proven_flood(study.flooding.flood_bits) + own


def _most_rows(study: StudyTerms) -> int:
    """Rows that are added up, at most."""
    return study.most_records + len(study.datasets) * (study.privacy is not None)


# sizes


def records_each(study: StudyTerms, plan: EncryptionTerms) -> int:
    """Records whose values one ciphertext carries."""
    return plan.poly_modulus_degree // len(terms_of(study))


def ciphertexts(study: StudyTerms, plan: EncryptionTerms, number: int) -> int:
    """Ciphertexts of so many records of a dataset, and of its noise."""
    return -(-rows_of(study, number) // records_each(study, plan))


def rows_of(study: StudyTerms, number: int) -> int:
    """Rows that so many records of a dataset are handed over as: one more where it adds noise."""
    return number + (study.privacy is not None)


def deposit_bytes(study: StudyTerms, plan: EncryptionTerms, number: int) -> int:
    """Bytes of so many records, encrypted, with the proofs that they are: one for every
    :data:`PROVEN_AT_ONCE` ciphertexts."""
    left, total = ciphertexts(study, plan, number), 0
    while left > 0:
        total += ciphertext_bytes(plan, min(left, PROVEN_AT_ONCE)) + proof_bytes(plan)
        left -= PROVEN_AT_ONCE
    return total


def ciphertext_bytes(plan: EncryptionTerms, number: int = 1) -> int:
    """Bytes of so many ciphertexts."""
    return _HEADER_BYTES + number * 2 * plan.poly_modulus_degree * sum(plan.modulus_bits) // 8


def proof_bytes(plan: EncryptionTerms) -> int:
    """Bytes of a proof (``trainer.privacy.wellformed``)."""
    degree = plan.poly_modulus_degree
    rows = -(-128 // degree.bit_length())
    return 76 + 2 * rows * degree * (PROOF_MASK_BITS + 1) // 8


def share_bytes(study: StudyTerms, plan: EncryptionTerms) -> int:
    """Bytes of a share: of the coefficients that are decrypted, and of no others."""
    return _HEADER_BYTES + len(terms_of(study)) * sum(plan.modulus_bits) // 8


class Selection(Language):
    """Records of a dataset, by place: from ``first`` on, and before ``last``."""

    dataset_id: Id
    first: Count
    last: Count


def everything(deposits: tuple[Deposit, ...]) -> tuple[Selection, ...]:
    """All records that were handed over."""
    return tuple(Selection(dataset_id=d.dataset_id, first=0, last=d.records) for d in deposits)


def selection_problem(
    study: StudyTerms, deposits: tuple[Deposit, ...], chosen: tuple[Selection, ...]
) -> str | None:
    """Why these records may not be summed, or None."""
    if not study.holder_selects and not set(chosen) <= set(everything(deposits)):
        return "this study is of all records of a dataset, or of none"
    held = {deposit.dataset_id: deposit.records for deposit in deposits}
    counted = dict.fromkeys(held, 0)
    places = list(held)
    order = [(one.dataset_id, one.first, one.last) for one in chosen]
    if any(name not in held or not a < b <= held[name] for name, a, b in order):
        return "records are selected that were not handed over"
    for (name, _, end), (later, first, _) in pairwise(order):
        if places.index(later) < places.index(name) or (name == later and first <= end):
            return "select in the order of datasets and records, each range apart from the next"
    for name, first, last in order:
        counted[name] += last - first
    if few := [name for name, number in counted.items() if 0 < number < study.least_records]:
        return f"fewer than {study.least_records} records of {', '.join(few)}"
    included = sum(number > 0 for number in counted.values())
    if study.privacy is not None and included < study.privacy.quorum:
        return f"the noise of {included} datasets; that of {study.privacy.quorum} is agreed"
    if not 0 < sum(counted.values()) <= study.most_records:
        return f"{sum(counted.values())} records, between 1 and {study.most_records} may be summed"
    return None


def overlap_problem(
    limit: UseLimit | None, before: DatasetUses, chosen: tuple[Selection, ...]
) -> str | None:
    """Why an exact sum over these records of a dataset may not follow those before, or None: two
    sums over nearly the same records tell, by their difference, of those that differ."""
    name = before.dataset_id
    most = limit.most_studies if limit else MOST_USES
    if len(before.uses) >= most:
        return f"{name} is in {len(before.uses)} exact studies, as many as its owner allows"
    least = limit.least_apart if limit else LEAST_APART
    for use in before.uses:
        if 0 < (number := apart(use.selection, chosen)) < least:
            return (
                f"the records of {name} differ from those of {use.study_id} by {number}; by none, "
                f"or by {least}"
            )
    return None


def apart(one: tuple[Selection, ...], other: tuple[Selection, ...]) -> int:
    """How many records of a dataset are in one choice alone; each is in order, its ranges apart."""
    i = j = common = 0
    while i < len(one) and j < len(other):
        first, second = one[i], other[j]
        common += max(0, min(first.last, second.last) - max(first.first, second.first))
        i, j = (i + 1, j) if first.last <= second.last else (i, j + 1)
    return selected(one) + selected(other) - 2 * common


def selected(chosen: tuple[Selection, ...]) -> int:
    """How many records."""
    return sum(one.last - one.first for one in chosen)


def sums_problem(study: StudyTerms, number: int, sums: tuple[int, ...]) -> str | None:
    """Why these cannot be the sums over so many honest records, or None."""
    wanted = terms_of(study)
    if len(sums) != len(wanted):
        return f"{len(sums)} sums, where the study has {len(wanted)}"
    if sums[0] != number:
        return f"the sums are of {sums[0]} records, not of {number}"
    limits = zip(sums, _limits(study, number), strict=True)
    if any(not low <= total <= high for total, (low, high) in limits):
        return "a sum is beyond what honest records give"
    return None


# As it is on the ledger


class Deposit(Language):
    """An owner's encrypted records, held by the study's holder, with proofs that they were
    encrypted by the rules."""

    study_id: Id
    dataset_id: Id
    msp_id: MspId
    node_id: Name
    content: ContentRef
    records: Count
    posted_at: Seconds


class Study(Language):
    """``deposits`` are those the sum is of; ``selection`` what the holder chose among them;
    ``records``: how many the sum is of. ``unsound`` are datasets that it is not of, because an
    agreement of hospitals found no proof that they were encrypted by the rules. ``key_holders``
    decrypt it; a further ``attempt`` is made without those who were ``silent`` in one before.
    ``unproven`` are key holders whose share is not shown to be right, where the shares decrypt
    nothing. ``absent``: whom the last stage that lapsed went without."""

    study_id: Id
    terms: StudyTerms
    terms_sha256: Sha256
    status: StudyStatus
    proposed_by: MspId
    proposed_at: Seconds
    changed_at: Seconds
    deadline: Seconds
    deposits: tuple[Deposit, ...] = ()
    selection: tuple[Selection, ...] = ()
    records: Count = 0
    sum: ContentRef | None = None
    unsound: tuple[Id, ...] = ()
    attempt: Attempt = 0
    key_holders: tuple[MspId, ...] = ()
    silent: tuple[MspId, ...] = ()
    unproven: tuple[MspId, ...] = ()
    absent: tuple[MspId, ...] = ()
    failure: Name | None = None
    reason: Reason = ""


class ConsentToStudy(Language):
    study_id: Id
    dataset_id: Id
    msp_id: MspId
    terms_sha256: Sha256
    given: bool
    reason: Reason
    changed_at: Seconds


class UseLimit(Language):
    """What a dataset's owner allows: exact studies that sum its records, at most; and by how many
    records at least their choices differ, where they differ."""

    dataset_id: Id
    msp_id: MspId
    most_studies: Count
    least_apart: Count
    changed_at: Seconds


class DatasetUse(Language):
    """Of one dataset."""

    study_id: Id
    selection: tuple[Selection, ...]


class DatasetUses(Language):
    """The exact studies that have summed a dataset's records, in order. One counts as soon as its
    holder has chosen, whatever becomes of it."""

    dataset_id: Id
    uses: tuple[DatasetUse, ...] = ()


class StudyAttestation(Language):
    study_id: Id
    msp_id: MspId
    node_id: Name
    sum_sha256: Sha256
    unsound: Datasets = ()
    posted_at: Seconds


class StudyShare(Language):
    study_id: Id
    attempt: Attempt
    msp_id: MspId
    node_id: Name
    sum_sha256: Sha256
    share: ContentRef
    posted_at: Seconds


class StudyShareProof(Language):
    """A key holder's proof that its decryption share is right (``trainer.privacy.shareproof``)."""

    study_id: Id
    msp_id: MspId
    node_id: Name
    proof: ContentRef
    posted_at: Seconds


class StudyShareVerdict(Language):
    """Whose proofs this hospital finds not to hold, having checked every one for itself."""

    study_id: Id
    msp_id: MspId
    node_id: Name
    culprits: Culprits
    posted_at: Seconds


Sum = Annotated[int, Field(ge=-LARGEST_SUM, le=LARGEST_SUM)]
Sums = Annotated[tuple[Sum, ...], Field(max_length=MOST_TERMS)]


class Finding(Language):
    """What a hospital decrypted. No ``sums`` where the shares decrypt nothing."""

    study_id: Id
    msp_id: MspId
    node_id: Name
    sums: Sums
    posted_at: Seconds


class StudyResult(Language):
    """What most hospitals decrypted: sums in the order of :func:`terms_of`, exact but for the noise
    that the terms say.

    ``sums_sha256`` is over their canonical form.
    """

    study_id: Id
    terms_sha256: Sha256
    dataset_ids: tuple[Id, ...]
    records: Count
    sums: Sums
    sums_sha256: Sha256
    published_at: Seconds


# Arguments


class StudyArgs(Language):
    study_id: Id


class StudyConsentArgs(Language):
    """``terms_sha256`` binds the consent to the study's terms as the hospital saw them."""

    study_id: Id
    dataset_id: Id
    terms_sha256: Sha256
    given: bool = True
    reason: Reason = ""


class UseLimitArgs(Language):
    dataset_id: Id
    most_studies: Annotated[int, Field(ge=0, le=MOST_USES)]
    least_apart: Annotated[int, Field(ge=LEAST_APART, le=2**24)] = LEAST_APART


class DatasetUsesArgs(Language):
    dataset_id: Id


class DepositArgs(Language):
    study_id: Id
    dataset_id: Id
    content: ContentRef
    records: Annotated[int, Field(ge=1, le=2**24)]


class SumArgs(Language):
    study_id: Id
    selection: Annotated[tuple[Selection, ...], Field(min_length=1, max_length=1024)]
    sum: ContentRef


class AttestSumArgs(Language):
    """``unsound``: what was handed over, left out of the sum, and not proven to be by the rules."""

    study_id: Id
    sum_sha256: Sha256
    unsound: Datasets = ()


class ShareSumArgs(Language):
    study_id: Id
    attempt: Attempt
    sum_sha256: Sha256
    share: ContentRef


class FindArgs(Language):
    study_id: Id
    sums: Sums


class ProveStudyShareArgs(Language):
    study_id: Id
    proof: ContentRef


class JudgeStudySharesArgs(Language):
    study_id: Id
    culprits: Culprits


# Results


class StudyView(Language):
    """A study and all that was posted to it; the shares of its present attempt."""

    study: Study
    consents: tuple[ConsentToStudy, ...]
    deposits: tuple[Deposit, ...]
    attestations: tuple[StudyAttestation, ...]
    shares: tuple[StudyShare, ...]
    findings: tuple[Finding, ...]
    proofs: tuple[StudyShareProof, ...] = ()
    verdicts: tuple[StudyShareVerdict, ...] = ()
    result: StudyResult | None


class StudyPage(Language):
    studies: tuple[Study, ...]
    bookmark: str
