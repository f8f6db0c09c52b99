"""Datasets that hospitals offer, their consent, and the privacy account of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chaincode.schema import accounting, canonical
from chaincode.schema.base import Count, Id, Language, Micro, MspId, Name, Nano, Reason, Seconds
from chaincode.schema.base import Sha256 as Sha256Hex


class Dataset(Language):
    """A hospital's dataset as the consortium knows it: never a record, never a statistic.

    ``commitment_sha256`` is a salted hash of the files, ``split_sha256`` one of which record is in
    which part: an auditor whom the hospital shows them can tell that they are what was trained on,
    and the node itself refuses others. ``descriptor_sha256`` is that of the data terms by which
    they were read then.
    """

    dataset_id: Id
    msp_id: MspId
    name: Name
    application: Id
    simulated: bool
    commitment_sha256: Sha256Hex
    split_sha256: Sha256Hex
    descriptor_sha256: Sha256Hex
    train_samples: Count
    validation_samples: Count
    test_samples: Count
    registered_at: Seconds


class Consent(Language):
    dataset_id: Id
    plan_id: Id
    msp_id: MspId
    terms_sha256: Sha256Hex
    given: bool
    reason: Reason
    changed_at: Seconds


class Spending(Language):
    """Privacy loss of one plan on one dataset: ``updates`` of the same subsampled Gaussian
    mechanism; one for each class of device that trained on it. The divergences at each order follow
    from it, and are not kept. ``epsilon_micro``: the plan's, after the last of these updates."""

    plan_id: Id
    batch_size: Count
    noise_multiplier_micro: Micro
    steps_each: Count
    updates: Count
    epsilon_micro: Micro

    @property
    def mechanism(self) -> tuple[str, int, int, int]:
        """What its updates have in common."""
        return self.plan_id, self.batch_size, self.noise_multiplier_micro, self.steps_each

    def rdp_pico(self, samples: int) -> tuple[int, ...]:
        """Divergences at accounting.ORDERS, in 1e-12; every update is rounded up by itself."""
        once = accounting.rdp_pico(
            self.batch_size, samples, self.noise_multiplier_micro, self.steps_each
        )
        return tuple(self.updates * divergence for divergence in once)


class Release(Language):
    """A synthetic table that a hospital makes of a dataset's training records and gives out.

    ``tables``: counts that every record is in once. ``noise``: deviation of the discrete Gaussian
    noise in each cell. ``descriptor_sha256``: of the data terms that say what is counted.
    ``epsilon_micro``: of this release alone, at the account's delta.
    """

    dataset_id: Id
    release_id: Id
    msp_id: MspId
    mechanism: Literal["class-marginals-v1"]
    tables: Count
    noise: Count
    records: Count
    descriptor_sha256: Sha256Hex
    sha256: Sha256Hex
    size_bytes: Count
    epsilon_micro: Micro
    released_at: Seconds

    def rdp_pico(self, _: int = 0) -> tuple[int, ...]:
        """Divergences at accounting.ORDERS, in 1e-12: a table is off by one where a record is."""
        return accounting.rdp_pico(1, 1, self.noise * 10**6, self.tables)


class LocalTraining(Language):
    """How a model of one hospital alone was trained with differential privacy: ``steps`` of the
    subsampled Gaussian mechanism on a dataset's training records."""

    dataset_id: Id
    batch_size: Annotated[int, Field(ge=1, le=2**40)]
    noise_multiplier_micro: Annotated[int, Field(ge=50_000, le=10**9)]
    steps: Annotated[int, Field(ge=1, le=10**6)]

    def rdp_pico(self, samples: int) -> tuple[int, ...]:
        """Divergences at accounting.ORDERS, in 1e-12."""
        return accounting.rdp_pico(
            self.batch_size, samples, self.noise_multiplier_micro, self.steps
        )


class LocalSpending(LocalTraining):
    """Privacy loss of a hospital's own model that it shares. ``epsilon_micro``: of this model
    alone, at the account's delta."""

    model_id: Id
    epsilon_micro: Micro


class NoisedSums(Language):
    """``number`` times ``values`` sums, of which a record changes at most ``norm`` (L2), each with
    discrete Gaussian noise of deviation ``noise`` of every owner."""

    norm: Count
    noise: Count
    values: Count
    number: Count


class StudySpending(Language):
    """Privacy loss of one study's sums: the noises of ``summands`` datasets count. A dataset is
    charged when its records are handed over. ``epsilon_micro``: of this study alone."""

    study_id: Id
    summands: Count
    sums: tuple[NoisedSums, ...]
    epsilon_micro: Micro

    def rdp_pico(self, _: int = 0) -> tuple[int, ...]:
        """Divergences at accounting.ORDERS, in 1e-12, of however many samples."""
        total: tuple[int, ...] = ()
        for part in self.sums:
            once = accounting.summed_rdp_pico(part.norm, part.noise, self.summands, part.values)
            total = accounting.add(total, tuple(part.number * loss for loss in once))
        return total


class PrivacyAccount(Language):
    """What a dataset has spent, in total, by plan, by release, by local model that is shared and by
    study whose sums have noise,
    against the budget its hospital set."""

    dataset_id: Id
    msp_id: MspId
    budget_epsilon_micro: Micro
    delta_nano: Nano
    epsilon_micro: Micro
    plans: tuple[Spending, ...]
    releases: tuple[Release, ...] = ()
    models: tuple[LocalSpending, ...] = ()
    studies: tuple[StudySpending, ...] = ()

    @property
    def apart(self) -> tuple[Release | LocalSpending | StudySpending, ...]:
        """What was spent outside plans."""
        return (*self.releases, *self.models, *self.studies)


class SealedFileBinding(Language):
    """What an envelope of one of a dataset's files belongs to: its hash is the associated data of
    the encryption. ``part``: the file's number, ``index`` for the names of all."""

    msp_id: MspId
    dataset_id: Id
    commitment_sha256: Sha256Hex
    part: str

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(canonical.sha256(self))


class SealedKeyBinding(Language):
    """What a dataset's wrapped key belongs to, likewise."""

    msp_id: MspId
    dataset_id: Id
    commitment_sha256: Sha256Hex
    public_key_sha256: Sha256Hex

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(canonical.sha256(self))


# Arguments


class RegisterDatasetArgs(Language):
    dataset_id: Id
    name: Name
    application: Id
    simulated: bool
    commitment_sha256: Sha256Hex
    split_sha256: Sha256Hex
    descriptor_sha256: Sha256Hex
    train_samples: Annotated[int, Field(ge=1, le=2**40)]
    validation_samples: Annotated[int, Field(ge=0, le=2**40)]
    test_samples: Annotated[int, Field(ge=0, le=2**40)] = 0
    budget_epsilon_micro: Annotated[int, Field(ge=1, le=10**9)]
    delta_nano: Annotated[int, Field(ge=1, lt=10**9)]


class ReleaseArgs(Language):
    dataset_id: Id
    release_id: Id
    mechanism: Literal["class-marginals-v1"]
    tables: Annotated[int, Field(ge=1, le=4096)]
    noise: Annotated[int, Field(ge=1, le=1000)]
    records: Annotated[int, Field(ge=1, le=2**40)]
    descriptor_sha256: Sha256Hex
    sha256: Sha256Hex
    size_bytes: Annotated[int, Field(ge=1, le=2**40)]


class DatasetArgs(Language):
    dataset_id: Id


class ConsentArgs(Language):
    """``terms_sha256`` binds the consent to the plan's terms as the hospital saw them."""

    dataset_id: Id
    plan_id: Id
    terms_sha256: Sha256Hex
    reason: Reason = ""


class BudgetArgs(Language):
    dataset_id: Id
    budget_epsilon_micro: Annotated[int, Field(ge=1, le=10**9)]


# Results


class DatasetView(Language):
    dataset: Dataset
    account: PrivacyAccount


class DatasetPage(Language):
    datasets: tuple[DatasetView, ...]
    bookmark: str


class PrivacyReport(Language):
    """Budgets in total. Datasets are disjoint, so the loss of the consortium is the largest one
    (parallel composition), and the loss of a hospital is the largest of its datasets."""

    accounts: tuple[PrivacyAccount, ...]
    largest_epsilon_micro: Micro
    bookmark: str
