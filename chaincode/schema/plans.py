"""Training plans: what is trained, how, under which privacy terms, by whom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field

from chaincode.schema import accounting, canonical
from chaincode.schema.accounting import MOST_SUMMED_NOISE
from chaincode.schema.base import (
    ContentRef,
    Count,
    Id,
    Language,
    Micro,
    MspId,
    Name,
    PageArgs,
    Reason,
    Role,
    Seconds,
    Sha256,
)
from chaincode.schema.consortium import Vote
from chaincode.schema.data import DataTerms
from chaincode.schema.enclaves import EnclaveTerms
from chaincode.schema.encryption import EncryptionTerms, Workload
from chaincode.schema.hospitals import HospitalSpending
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.norms import NormTerms

MOST_SIZES = 32
"""Classes of dataset sizes in a plan: whoever proposes it waits for all their accounts."""


class PlanStatus(StrEnum):
    PROPOSED = "PROPOSED"
    APPROVED = "APPROVED"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


class ModelTerms(Language):
    """The architecture, pinned by hash, and the base model of the first round."""

    architecture: Id
    config: dict[str, int]
    architecture_sha256: Sha256
    parameters: Annotated[int, Field(ge=1, le=10**9)]
    base: ContentRef


class DeviceTerms(Language):
    """What nodes of a device class do instead: batch and local steps that suit the machine. The
    class is the one that the node was registered with."""

    device: Name
    steps: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=2**30)]


class LayerTerms(Language):
    """The layers that are trained. All others stay the base model's: they have no gradient, no
    noise, and are in no update.

    ``names``: paths of layers or parameters, as the architecture calls them. ``parameters``: values
    that these have, which every node compares with its architecture before it trains.
    """

    names: Annotated[tuple[Name, ...], Field(min_length=1, max_length=256)]
    parameters: Annotated[int, Field(ge=1, lt=10**9)]


class TrainingTerms(Language):
    """Local training of one round: ``steps`` optimiser steps on Poisson batches; on nodes of one of
    the classes ``devices``, those of the class. ``layers``: what is trained, None for all.

    ``batch_size`` is the expected size; the sampling rate is batch_size / train_samples.
    ``strategy`` and its ``settings`` (in 1e-6): see :mod:`~chaincode.schema.strategies`.
    """

    strategy: Id
    settings: Annotated[dict[str, int], Field(max_length=16)] = Field(default_factory=dict)
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    steps: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=2**30)]
    learning_rate_micro: Annotated[int, Field(ge=1, le=10**9)]
    momentum_micro: Annotated[int, Field(ge=0, lt=10**6)] = 0
    weight_decay_micro: Micro = 0
    devices: Annotated[tuple[DeviceTerms, ...], Field(max_length=64)] = ()
    layers: LayerTerms | None = None

    def on(self, device: str) -> TrainingTerms:
        """The training of nodes of this class."""
        for own in self.devices:
            if own.device == device:
                changes = {"steps": own.steps, "batch_size": own.batch_size, "devices": ()}
                return self.model_copy(update=changes)
        return self.model_copy(update={"devices": ()})


class HospitalTerms(Language):
    """Hospital-level differential privacy of every decrypted sum (Kairouz, Liu, Steinke 2021): each
    node clips its update to the L2 norm ``norm_levels`` and adds discrete Gaussian noise of
    deviation ``noise_levels`` to every value, both in whole levels of the encryption's clip.

    ``epsilon_micro``: what the plan may spend on any one hospital, at ``delta_nano``. Counted is
    the noise of the ``quorum`` less that of ``colluding`` hospitals, who know their own. All
    updates weigh the same, for a weight would multiply the noise too.
    """

    norm_levels: Annotated[int, Field(ge=1, lt=2**31)]
    noise_levels: Annotated[int, Field(ge=1, le=MOST_SUMMED_NOISE)]
    epsilon_micro: Annotated[int, Field(ge=1, le=10**9)]
    delta_nano: Annotated[int, Field(ge=1, lt=10**9)]
    colluding: Annotated[int, Field(ge=0, le=63)] = 1

    @property
    def least_levels(self) -> int:
        """Levels of the clip that no noised value exceeds: beyond twelve deviations the noise is
        with a probability below 10^-30."""
        return self.norm_levels + 12 * self.noise_levels


class PrivacyTerms(Language):
    """Example-level differential privacy (Abadi et al. 2016) of every accepted update.

    ``sample_clip_micro``: per-sample gradient norm. ``noise_multiplier_micro``: sigma.
    ``epsilon_micro``: what the plan may spend on any one dataset, at ``delta_nano``. ``hospital``:
    what hides whole hospitals too, or None.
    """

    epsilon_micro: Annotated[int, Field(ge=1, le=10**9)]
    delta_nano: Annotated[int, Field(ge=1, lt=10**9)]
    noise_multiplier_micro: Annotated[int, Field(ge=50_000, le=10**9)]
    sample_clip_micro: Annotated[int, Field(ge=1, le=10**9)]
    hospital: HospitalTerms | None = None


class SizeTerms(Language):
    """What datasets of at least ``least_samples`` training records do instead: batch and noise that
    suit their size, so that the smallest dataset does not set everybody's noise. Among several the
    largest that a dataset reaches counts.
    """

    least_samples: Annotated[int, Field(ge=1, le=2**40)]
    batch_size: Annotated[int, Field(ge=1, le=2**30)]
    noise_multiplier_micro: Annotated[int, Field(ge=50_000, le=10**9)]


class Work(NamedTuple):
    """What one node does in a round: the plan's training and privacy, on its class of device and
    for its dataset's size."""

    training: TrainingTerms
    privacy: PrivacyTerms


def work(
    training: TrainingTerms,
    privacy: PrivacyTerms,
    sizes: Sequence[SizeTerms],
    samples: int,
    device: str = "",
) -> Work:
    """What these terms make a node do with ``samples`` training records. Of device and size the
    smaller batch counts: the noise is enough for either."""
    own = training.on(device)
    reached = [size for size in sizes if size.least_samples <= samples]
    if not reached:
        return Work(own, privacy)
    size = max(reached, key=lambda one: one.least_samples)
    named = device in (one.device for one in training.devices)
    batch = min(own.batch_size, size.batch_size) if named else size.batch_size
    return Work(
        own.model_copy(update={"batch_size": batch}),
        privacy.model_copy(update={"noise_multiplier_micro": size.noise_multiplier_micro}),
    )


class Participant(Language):
    """A trainer node and the dataset it trains on."""

    msp_id: MspId
    node_id: Id
    dataset_id: Id


class DynamicTerms(Language):
    """The rule by which further nodes join by themselves, and may leave again, between rounds.

    A node needs all of ``roles``, one of the device classes ``devices`` (none named: any), a
    reputation of at least ``least_reputation_milli`` and a dataset of at least ``least_samples``
    training records. Each of ``hospitals`` has ``slots`` places for such nodes.
    """

    hospitals: Annotated[tuple[MspId, ...], Field(min_length=1, max_length=64)]
    slots: Annotated[int, Field(ge=1, le=64)]
    least_samples: Annotated[int, Field(ge=1, le=2**40)]
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=4)] = (Role.TRAINER,)
    devices: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    least_reputation_milli: Annotated[int, Field(ge=0, le=1000)] = 0


class ParticipationTerms(Language):
    """Who takes part, and how many are enough.

    ``participants`` are the static nodes, ``dynamic`` the rule that admits others. ``quorum``:
    updates needed to open a round, and to seal it once the deadline has passed. ``agreement``:
    hospitals that must attest the same aggregate, and the same candidate. All hospitals named here
    hold the key, all of them or a threshold of them (see EncryptionTerms).
    """

    participants: Annotated[tuple[Participant, ...], Field(max_length=1024)]
    dynamic: DynamicTerms | None = None
    quorum: Annotated[int, Field(ge=2, le=1024)]
    agreement: Annotated[int, Field(ge=2, le=64)]
    ceremony_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600
    update_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600
    stage_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600


class ScheduleTerms(Language):
    """When rounds may open: not before ``first_round_at``, and each at least ``interval_seconds``
    after the one before was opened."""

    first_round_at: Seconds = 0
    interval_seconds: Annotated[int, Field(ge=0, le=10**8)] = 0


class AcceptanceTerms(Language):
    """A hospital accepts a candidate whose validation accuracy is at least the base model's less
    ``max_drop_micro``; the candidate is published when a majority of the evaluations accept. One
    over no records is an abstention.

    ``group_tests``: sums over disjoint groups of hospitals that may be decrypted in a round beside
    the whole, none or at least two; ``least_group``: hospitals in the smallest group (see
    :mod:`~chaincode.schema.grouptests`).

    ``norm``: what bounds the norm of a round's mean update (see :mod:`~chaincode.schema.norms`), or
    None. A hospital accepts no candidate that is beyond it.
    """

    max_drop_micro: Annotated[int, Field(ge=0, le=10**6)] = 50_000
    group_tests: Annotated[int, Field(ge=0, le=63)] = 0
    least_group: Annotated[int, Field(ge=2, le=64)] = 3
    norm: NormTerms | None = None


class InheritedKey(Language):
    """The key of an earlier plan, which its holders hand on: no new one is made.

    ``plan_id``: whose hospitals hand it on. ``origin_sha256``: the terms of the plan that the key
    was made for; they fix the common reference polynomial. ``secrets``: hospitals whose secrets it
    is the sum of.
    """

    plan_id: Id
    origin_sha256: Sha256
    collective_key_sha256: Sha256
    secrets: Annotated[int, Field(ge=2, le=64)]


class PlanTerms(Language):
    """All that is agreed; votes and consents bind to the SHA-256 of its canonical form.

    ``version`` counts the amendments from 1, so that no two versions have the same hash. ``sizes``:
    what larger datasets do instead of what ``training`` and ``privacy`` say of all. ``key``: the
    key that the plan takes over from another, or None for one of its own.
    """

    plan_id: Id
    version: Annotated[int, Field(ge=1, le=10_000)] = 1
    title: Name
    data: DataTerms
    model: ModelTerms
    training: TrainingTerms
    privacy: PrivacyTerms
    sizes: Annotated[tuple[SizeTerms, ...], Field(max_length=MOST_SIZES)] = ()
    encryption: EncryptionTerms | MaskingTerms
    participation: ParticipationTerms
    acceptance: AcceptanceTerms
    schedule: ScheduleTerms = ScheduleTerms()
    enclaves: Annotated[tuple[EnclaveTerms, ...], Field(max_length=64)] = ()
    key: InheritedKey | None = None

    def work(self, samples: int, device: str) -> Work:
        """What a node of that class of device does with so many training records."""
        return work(self.training, self.privacy, self.sizes, samples, device)

    @property
    def sha256(self) -> str:
        """What hospitals vote on and what seeds the common reference polynomial."""
        return canonical.sha256(self)

    def enclave(self, msp_id: str) -> EnclaveTerms | None:
        """What a hospital attests by, if it does by an enclave."""
        return next((e for e in self.enclaves if e.msp_id == msp_id), None)

    @property
    def hospitals(self) -> tuple[str, ...]:
        """The MSP ids that take part and hold the key, sorted, each once."""
        participation = self.participation
        named = {p.msp_id for p in participation.participants}
        dynamic = participation.dynamic.hospitals if participation.dynamic else ()
        return tuple(sorted(named.union(dynamic)))

    def handed_on(self, collective_key_sha256: str) -> InheritedKey:
        """What a plan says that takes over this one's key."""
        return InheritedKey(
            plan_id=self.plan_id,
            origin_sha256=self.key.origin_sha256 if self.key else self.sha256,
            collective_key_sha256=collective_key_sha256,
            secrets=self.key.secrets if self.key else len(self.hospitals),
        )

    @property
    def holders_needed(self) -> int:
        """Hospitals that decrypt together, and hand the key on together."""
        return self.encryption.threshold or len(self.hospitals)

    def dealers(self, former: PlanTerms, willing: Collection[str]) -> tuple[str, ...]:
        """Who hands an earlier plan's key on to this one: of its holders that are willing as many
        as are needed, first those that go on; nobody where they are too few."""
        ready = [hospital for hospital in former.hospitals if hospital in willing]
        if len(ready) < former.holders_needed:
            return ()
        ready.sort(key=lambda hospital: hospital not in self.hospitals)
        return tuple(ready[: former.holders_needed])

    @property
    def key_parts(self) -> int:
        """Hospitals that hold the key, or whose secrets it is the sum of: whichever are more."""
        return max(len(self.hospitals), self.key.secrets if self.key else 0)

    @property
    def trained_parameters(self) -> int:
        """Values of an update: those of the layers that are trained."""
        layers = self.training.layers
        return self.model.parameters if layers is None else layers.parameters

    @property
    def hides_hospitals(self) -> bool:
        """Whether updates carry noise that hides whole hospitals, and so weigh the same."""
        return self.privacy.hospital is not None

    def told(self, msp_id: str, sums: int) -> HospitalSpending:
        """What so many decrypted sums tell of a hospital, as of the plan's hospital terms."""
        hospital = self.privacy.hospital
        assert hospital is not None
        spending = HospitalSpending(
            plan_id=self.plan_id,
            msp_id=msp_id,
            norm_levels=hospital.norm_levels,
            noise_levels=hospital.noise_levels,
            summands=self.participation.quorum - hospital.colluding,
            values=self.trained_parameters,
            sums=sums,
            epsilon_micro=0,
        )
        epsilon = accounting.epsilon_micro(spending.rdp_pico(), hospital.delta_nano)
        return spending.model_copy(update={"epsilon_micro": epsilon})

    @property
    def most_updates(self) -> int:
        """Updates that a round can have at most."""
        dynamic = self.participation.dynamic
        places = len(set(dynamic.hospitals)) * dynamic.slots if dynamic else 0
        return len(self.participation.participants) + places

    def lost(self, gone: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the key holders ``gone``, if fewer remain than the key needs; else nobody."""
        return gone if len(self.hospitals) - len(gone) < self.holders_needed else ()

    @property
    def attestations_needed(self) -> int:
        """Hospitals that must attest the same aggregate: enough of them to decrypt it, too."""
        return max(self.participation.agreement, self.encryption.threshold or 0)

    @property
    def workload(self) -> Workload:
        """What the encryption must carry."""
        return Workload(
            hospitals=len(self.hospitals),
            updates=self.most_updates,
            parameters=self.trained_parameters,
            rounds=self.training.rounds * (1 + self.acceptance.group_tests),
            secrets=self.key.secrets if self.key else 0,
        )


class PlanState(Language):
    """Where a plan stands: what changes, without the terms. ``expires_at``: votes on these terms
    are taken until then. ``successor``: the plan that its key is handed on to."""

    plan_id: Id
    terms_sha256: Sha256
    status: PlanStatus
    proposed_by: MspId
    proposed_at: Seconds
    changed_at: Seconds
    model_sha256: Sha256
    """Address of the newest published model; the base model before the first."""
    rounds_opened: Count
    reason: Reason
    expires_at: Seconds = 0
    successor: Id | None = None

    @classmethod
    def of(cls, plan: Plan) -> PlanState:
        """Of a plan."""
        return cls(**{name: getattr(plan, name) for name in cls.model_fields})


class Plan(PlanState):
    """A plan as it stands. On the ledger its terms have a key of their own, for they stay."""

    terms: PlanTerms

    @classmethod
    def joined(cls, state: PlanState, terms: PlanTerms) -> Plan:
        """A plan of its two parts, as they are on the ledger."""
        return cls.model_construct(**dict(state), terms=terms)


class PlanVersion(Language):
    """Terms that an amendment has replaced; the votes on them are void."""

    terms: PlanTerms
    terms_sha256: Sha256
    proposed_at: Seconds
    replaced_at: Seconds


# Arguments


class PlanArgs(Language):
    plan_id: Id


class PlanReasonArgs(Language):
    plan_id: Id
    reason: Annotated[Reason, Field(min_length=1)]


class PlanVersionsArgs(PageArgs):
    plan_id: Id


# Results


class PlanView(Language):
    """``hospitals``: what the plan has told of each that it hides, of those with an update."""

    plan: Plan
    votes: tuple[Vote, ...]
    hospitals: tuple[HospitalSpending, ...] = ()


class PlanPage(Language):
    """Where plans stand; of many nodes, each one's terms are long and read by itself."""

    plans: tuple[PlanState, ...]
    bookmark: str


class PlanVersionPage(Language):
    """Replaced versions, oldest first."""

    versions: tuple[PlanVersion, ...]
    bookmark: str
