"""A node's part in a round, in the order of the data: train, encrypt, submit; fetch, add, attest;
share; combine, evaluate, publish."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.base import ContentRef, Language, Sha256
from chaincode.schema.encryption import most_attempts
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import commitment
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import (
    AdvanceArgs,
    AttestArgs,
    Contribution,
    Decline,
    DeclineArgs,
    EvaluateArgs,
    Model,
    ModelArgs,
    ModelStatus,
    Posted,
    RoundArgs,
    RoundState,
    ShareArgs,
    SubmitUpdateArgs,
    WholeRound,
)
from chaincode.schema.sums import attested_sha256
from client.consortium import Consortium
from trainer import norms
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.courses import Courses
from trainer.node.duties import Duty, Snapshot, pending
from trainer.node.enclave import Attester, no_enclave
from trainer.node.home import Home
from trainer.node.masks import MaskKeeper
from trainer.node.refusals import (
    OWN_FAULTS,
    UNACCEPTED,
    UNDECODABLE,
    UNTRAINABLE,
    refuse_exploded,
)
from trainer.privacy.discrete_gaussian import noised
from trainer.privacy.sampling import fresh
from trainer.privacy.threshold import update_sender
from trainer.privacy.wire import Kind

if TYPE_CHECKING:
    from trainer.node.learner import Learner

log = logging.getLogger("medfabric.node")

Facts = dict[str, int | str]


class _Readable(Protocol):
    """A form that foreign bytes must have."""

    def read(self, source: BinaryIO) -> Iterator[NDArray[Any]]:
        """Read, and raise what is wrong."""
        ...


class _PreparedUpdate(Language):
    """An update about to be released. Kept first: after a crash the same bytes are released, for
    training again would spend privacy that no account knows of."""

    content_sha256: Sha256
    base_sha256: Sha256
    dataset_id: str
    samples: int
    steps: int
    batch_size: int
    noise_multiplier_micro: int


class _Declined(Language):
    """That a round's training led to nothing that may be released, and why. Kept first: to train
    until something comes out would spend privacy that no account knows of."""

    code: str


class _Decrypted(Language):
    """The one aggregate of a round that this hospital decrypts."""

    aggregate_sha256: Sha256


class _PreparedShare(Language):
    """This hospital's share in an attempt to decrypt, kept first: of one attempt there is one."""

    content_sha256: Sha256


@dataclass(frozen=True)
class _Aggregate:
    """The encrypted sum in a file, the file's hash, and the hash that hospitals attest."""

    path: Path
    content_sha256: str
    sha256: str


class Rounds:
    """Carries out the duties of rounds.

    Args:
        place: the node's hospital and name.
        learner: makes a plan's learner on first use; that imports torch.
        attester: gives an enclave's evidence where a plan pins one.
    """

    def __init__(
        self,
        place: tuple[str, str],
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        keys: KeyKeeper,
        masks: MaskKeeper,
        courses: Courses,
        learner: Callable[[PlanTerms], Learner],
        attester: Attester = no_enclave,
    ) -> None:
        self._place = place
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._keys = keys
        self._masks = masks
        self._courses = courses
        self._learner = learner
        self._attester = attester
        self._aggregates: dict[tuple[str, int, int], _Aggregate] = {}

    def open(self, duty: Duty, _: Snapshot) -> None:
        """Open the next round."""
        args = RoundArgs(plan_id=duty.plan_id, number=duty.round)
        self._consortium.submit("round:Open", args, RoundState)

    def advance(self, duty: Duty, _: Snapshot) -> None:
        """Move the round on."""
        args = AdvanceArgs(plan_id=duty.plan_id, number=duty.round, page=duty.page)
        self._consortium.submit("round:Advance", args, RoundState)

    def submit_update(self, duty: Duty, now: Snapshot) -> Facts:
        """Train on the base model, encrypt what was learned, submit it; or decline the round, where
        no further attempt would do better."""
        name = f"update-{duty.round}"
        facts: Facts = {}
        prepared = self._home.record(duty.plan_id, name, _PreparedUpdate)
        refused = self._home.record(duty.plan_id, f"declined-{duty.round}", _Declined)
        if prepared is None and refused is None:
            try:
                prepared, facts = self._train(now)
                self._home.keep(duty.plan_id, name, prepared)
            except MedFabricError as error:
                if error.code in UNTRAINABLE:
                    return self._decline(duty, error.code, error)
                if error.code != Code.UPDATE_REFUSED:
                    raise
                log.warning("%s round %d: %s", duty.plan_id, duty.round, error)
                refused = _Declined(code=error.code)
                self._home.keep(duty.plan_id, f"declined-{duty.round}", refused)
        self._courses.end(duty.plan_id, duty.round)
        if prepared is None:
            assert refused is not None
            return self._decline(duty, refused.code, trained=True)
        ref = self._exchange.release_kept(prepared.content_sha256)
        args = SubmitUpdateArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            dataset_id=prepared.dataset_id,
            base_sha256=prepared.base_sha256,
            update=ref,
            samples=prepared.samples,
            steps=prepared.steps,
            batch_size=prepared.batch_size,
            noise_multiplier_micro=prepared.noise_multiplier_micro,
        )
        try:
            self._consortium.submit("round:SubmitUpdate", args, Posted)
        except MedFabricError as error:
            if error.code not in UNACCEPTED:
                raise
            # A round that went on is one whose time is over.
            late = error.code == Code.BAD_STATE
            return self._decline(duty, Code.DEADLINE_PASSED if late else error.code, error)
        return {**facts, "bytes": ref.size_bytes}

    def _decline(
        self, duty: Duty, code: str, why: MedFabricError | None = None, *, trained: bool = False
    ) -> Facts:
        """Say on the ledger why this node gives no update; the round goes on without it."""
        args = DeclineArgs(plan_id=duty.plan_id, round=duty.round, code=code, trained=trained)
        self._consortium.submit("round:Decline", args, Decline)
        if why is not None:
            log.warning("%s round %d: no update to it: %s", duty.plan_id, duty.round, why)
        return {"declined": code}

    def attest(self, duty: Duty, now: Snapshot) -> Facts:
        """Add the sealed updates and attest the sum."""
        started = time.monotonic()
        aggregate = self.aggregate(now)
        sum_ms = _milliseconds(started)
        ref = self._exchange.release_kept(aggregate.content_sha256)
        args = AttestArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            aggregate_sha256=aggregate.sha256,
            aggregate=ref,
            dropped=len(now.view.round.dropped),
            evidence=self._attester(now, aggregate.sha256),
            draw_sha256=commitment(draw) if (draw := self._draw(now)) else None,
        )
        self._consortium.submit("round:Attest", args, Posted)
        return {"bytes": ref.size_bytes, "sum_ms": sum_ms}

    def submit_share(self, duty: Duty, now: Snapshot) -> Facts:
        """Share in the decryption of the accepted aggregate, if it is the one computed here.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED`` where it is not, or where this hospital already
                shared in another aggregate of this round: two of them could be subtracted.
        """
        round_ = now.view.round
        decrypted = self._agreed(now)
        name = f"share-{duty.round}-{round_.attempt}"
        prepared = self._home.record(duty.plan_id, name, _PreparedShare)
        if prepared is None:
            prepared = _PreparedShare(content_sha256=self._share(now))
            self._home.keep(duty.plan_id, name, prepared)
        ref = self._exchange.release_kept(prepared.content_sha256)
        args = ShareArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            aggregate_sha256=decrypted.aggregate_sha256,
            attempt=round_.attempt,
            share=ref,
            draw=self._draw(now),
        )
        self._consortium.submit("round:SubmitShare", args, Posted)
        return {"bytes": ref.size_bytes}

    def unmask(self, duty: Duty, now: Snapshot) -> None:
        """Share in unmasking the accepted aggregate, if it is the one computed here.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED``, as :meth:`submit_share`.
        """
        agreed = self._agreed(now)
        self._masks.unmask(duty, now, agreed.aggregate_sha256)

    def evaluate(self, duty: Duty, now: Snapshot) -> Facts:
        """Combine the shares into the candidate and evaluate it on this hospital's own data."""
        learner = self._learner(now.plan.terms)
        base = self.base_model(now)
        started = time.monotonic()
        mean, failure = self._mean(now)
        model = None if mean is None else learner.apply(base, mean)
        decode_ms = _milliseconds(started)
        # Storing waits for disks and for others; the processor evaluates meanwhile.
        with ThreadPoolExecutor(1) as beside:
            stored = beside.submit(self._exchange.release, model) if model else None
            started = time.monotonic()
            base_correct, total = learner.evaluate(base)
            correct, _ = learner.evaluate(model) if model else (0, total)
            evaluate_ms = _milliseconds(started)
            ref = stored.result() if stored else None
        args = EvaluateArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            candidate=ref,
            failure=failure,
            correct=correct,
            base_correct=base_correct,
            total=total,
            beyond_norm=mean is not None and beyond_norm(now, mean, now.view.round.contributions),
        )
        self._consortium.submit("round:Evaluate", args, Posted)
        # What does not decode is decrypted again, without one of those who shared.
        if ref and not pending(now):
            self.forget(now)
        return {
            "bytes": ref.size_bytes if ref else 0,
            "decode_ms": decode_ms,
            "evaluate_ms": evaluate_ms,
        }

    def forget(self, now: Snapshot) -> None:
        """Delete what is not needed once a round is evaluated, and its groups are scored."""
        round_ = now.view.round
        self._aggregates.pop(_sum_of(round_), None)
        self._exchange.forget(update.update for update in now.view.updates)
        self._exchange.forget(share.share for share in now.view.shares)

    def _draw(self, now: Snapshot) -> str | None:
        """This hospital's part in the draw of a group test, where the plan has any."""
        if not now.plan.terms.acceptance.group_tests:
            return None
        round_ = now.view.round
        return self._courses.draw(round_.plan_id, round_.number)

    def _train(self, now: Snapshot) -> tuple[_PreparedUpdate, Facts]:
        view = now.view
        learner = self._learner(now.plan.terms)
        base = self.base_model(now)
        plan_id, number = view.round.plan_id, view.round.number
        inputs: dict[str, str | int] = {
            "terms": now.plan.terms_sha256,
            "base": view.round.base_sha256,
            "records": learner.records_sha256,
            "steps": learner.training.steps,
            "batch": learner.training.batch_size,
        }
        trained = learner.train(base, self._courses.of(plan_id, number, inputs))
        refuse_exploded(trained.delta, now.plan.terms)
        started = time.monotonic()
        content_sha256 = self._home.keep_stream(self._hidden(now, trained.delta))
        encrypt_ms = _milliseconds(started)
        prepared = _PreparedUpdate(
            content_sha256=content_sha256,
            base_sha256=view.round.base_sha256,
            dataset_id=learner.dataset_id,
            samples=trained.samples,
            steps=trained.steps,
            batch_size=learner.training.batch_size,
            noise_multiplier_micro=learner.privacy.noise_multiplier_micro,
        )
        return prepared, {
            "train_ms": round(1000 * trained.seconds),
            "encrypt_ms": encrypt_ms,
            "resumed_steps": trained.resumed,
        }

    def _hidden(self, now: Snapshot, delta: NDArray[np.float64]) -> Iterator[bytes]:
        """The update as it leaves the node: encrypted or masked, as the plan says, and with its
        part of the noise that hides its hospital."""
        delta = self._hiding_hospital(now, delta)
        if isinstance(now.plan.terms.encryption, MaskingTerms):
            return self._masks.masked(now, delta)
        round_ = now.view.round
        stream = self._courses.test_stream("encryption", round_.plan_id, round_.number)
        sender = update_sender(round_.plan_id, round_.number, self._place)
        key = self._keys.collective_key(now)
        return self._keys.scheme(now).encrypt(delta, key, sender, stream)

    def _hiding_hospital(self, now: Snapshot, delta: NDArray[np.float64]) -> NDArray[np.float64]:
        terms, round_ = now.plan.terms, now.view.round
        hidden = terms.privacy.hospital
        if hidden is None:
            return delta
        stream = self._courses.test_stream("hospital noise", round_.plan_id, round_.number)
        unit = terms.encryption.clip_micro / 1e6 / terms.encryption.levels
        return noised(delta, unit, hidden.norm_levels, hidden.noise_levels, stream or fresh())

    def aggregate(self, now: Snapshot) -> _Aggregate:
        """The weighted sum of the sealed updates."""
        round_ = now.view.round
        name = _sum_of(round_)
        if name not in self._aggregates:
            self._aggregates[name] = self._summed(now)
        return self._aggregates[name]

    def _summed(self, now: Snapshot) -> _Aggregate:
        terms, round_ = now.plan.terms, now.view.round
        if isinstance(terms.encryption, MaskingTerms):
            content, key = self._masked_sum(now), None
        else:
            content = self.encrypted_sum(now, round_.contributions)
            key = self._keys.collective_key(now).sha256
        path = self._home.content(content)
        assert path is not None
        return _Aggregate(path, content, attested_sha256(terms, key, round_, content))

    def encrypted_sum(self, now: Snapshot, contributions: Sequence[Contribution]) -> str:
        """The hash of the weighted sum of these encrypted updates, kept."""
        scheme, key = self._keys.scheme(now), self._keys.collective_key(now)
        round_ = now.view.round
        senders = [
            update_sender(round_.plan_id, round_.number, (c.msp_id, c.node_id))
            for c in contributions
        ]
        named = [
            (scheme.update_form(sender, key), c.update)
            for sender, c in zip(senders, contributions, strict=True)
        ]
        with self.opened(round_, named) as files:
            weights = [contribution.weight for contribution in contributions]
            updates = list(zip(files, senders, weights, strict=True))
            return self._home.keep_stream(scheme.weighted_sum(updates, key))

    def _masked_sum(self, now: Snapshot) -> str:
        masker, round_ = self._masks.masker(now), now.view.round
        named = [(masker.update, contribution.update) for contribution in round_.contributions]
        with self.opened(round_, named) as updates:
            return self._home.keep_stream(masker.add(updates))

    @contextmanager
    def opened(
        self, round_: WholeRound, named: Sequence[tuple[_Readable, ContentRef]]
    ) -> Iterator[list[BinaryIO]]:
        """Content of a round as open files. All that is missing, not what the ledger names or not
        of its form is objected to there.

        Args:
            named: each with the form that it must have.

        Raises:
            MedFabricError: content is missing, or none of this plan's.
        """
        place = (round_.plan_id, round_.number)
        with ExitStack() as stack:
            files: list[BinaryIO] = []
            unusable: list[MedFabricError] = []
            for form, ref in named:
                try:
                    file = stack.enter_context(self._exchange.fetch_file(ref).open("rb"))
                    for _ in form.read(file):
                        pass
                    files.append(file)
                except MedFabricError as error:
                    if error.code in OWN_FAULTS:
                        raise
                    self._exchange.object(*place, ref.sha256, error.code)
                    unusable.append(error)
            if unusable:
                raise unusable[0]
            yield files

    def _agreed(self, now: Snapshot) -> _Decrypted:
        """The accepted aggregate, if this hospital may share in its decryption: noted first, for of
        one round that is one."""
        round_ = now.view.round
        name = f"decrypted-{round_.number}"
        decrypted = self._home.record(round_.plan_id, name, _Decrypted)
        if decrypted is None:
            decrypted = self._accepted(now)
            self._home.keep(round_.plan_id, name, decrypted)
        if decrypted.aggregate_sha256 != round_.aggregate_sha256:
            raise _refused(round_, "this hospital already shared in another aggregate")
        return decrypted

    def _accepted(self, now: Snapshot) -> _Decrypted:
        round_ = now.view.round
        aggregate = self.aggregate(now)
        if aggregate.sha256 != round_.aggregate_sha256:
            raise _refused(round_, "it is not the sum of the sealed updates as computed here")
        if len({c.msp_id for c in round_.contributions}) < 2:
            raise _refused(round_, "a single hospital's update is never decrypted")
        return _Decrypted(aggregate_sha256=aggregate.sha256)

    def _share(self, now: Snapshot) -> str:
        """The hash of this hospital's share in the present attempt, kept."""
        round_ = now.view.round
        points = [now.plan.terms.hospitals.index(h) + 1 for h in round_.key_holders]
        place = ("share", round_.plan_id, round_.number, round_.attempt)
        if round_.attempt > most_attempts(len(now.plan.terms.hospitals)):
            raise _refused(round_, "it was shared in as often as its flooding allows")
        key = self._keys.share_key(now)
        with self.aggregate(now).path.open("rb") as aggregate:
            stream = self._courses.test_stream(*place)
            share = self._keys.scheme(now).decryption_share(key, aggregate, points, stream)
        return self._home.keep_content(share)

    def _mean(self, now: Snapshot) -> tuple[NDArray[np.float64] | None, str | None]:
        """The mean update, or why there is none."""
        masked = isinstance(now.plan.terms.encryption, MaskingTerms)
        try:
            return np.concatenate((self._unmasked if masked else self._decrypted)(now)), None
        except MedFabricError as error:
            if error.code in UNDECODABLE:
                # The hospitals say on the ledger that these shares decrypt nothing.
                return None, error.code
            raise

    def _decrypted(self, now: Snapshot) -> list[NDArray[np.float64]]:
        view, scheme = now.view, self._keys.scheme(now)
        form = scheme.form(Kind.SHARE)
        with self.opened(view.round, [(form, share.share) for share in view.shares]) as files:
            shares = [_whole(file) for file in files]
        with self.aggregate(now).path.open("rb") as aggregate:
            return list(scheme.decode_mean(aggregate, shares, view.round.total_weight))

    def _unmasked(self, now: Snapshot) -> list[NDArray[np.float64]]:
        with self.aggregate(now).path.open("rb") as aggregate:
            return list(self._masks.mean(now, aggregate))

    def base_model(self, now: Snapshot) -> bytes:
        """The base model by its ledger address.

        Raises:
            MedFabricError: ``MODEL_RECALLED``: nothing is trained on from it, nor judged by it.
        """
        address = now.view.round.base_sha256
        model = self._consortium.evaluate("model:Get", ModelArgs(sha256=address), Model)
        if model.status is ModelStatus.RECALLED:
            raise MedFabricError(
                Code.MODEL_RECALLED,
                f"model {address} was recalled ({model.reason}); abort the plan",
            )
        return self._exchange.fetch(model.model)


def _sum_of(round_: WholeRound) -> tuple[str, int, int]:
    """Which sum a round is at: with each update that it drops, it is another one."""
    return round_.plan_id, round_.number, len(round_.dropped)


def _milliseconds(started: float) -> int:
    return round(1000 * (time.monotonic() - started))


def beyond_norm(
    now: Snapshot, mean: NDArray[np.float64], contributions: Sequence[Contribution]
) -> bool:
    """Whether the mean of these updates is longer than the plan lets it be."""
    weights = [contribution.weight for contribution in contributions]
    return norms.beyond(now.plan.terms.acceptance.norm, mean, weights)


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _refused(place: Duty | WholeRound, why: str) -> MedFabricError:
    number = place.round if isinstance(place, Duty) else place.number
    return MedFabricError(
        Code.AGGREGATE_REFUSED,
        f"round {number} of {place.plan_id}: will not share in this decryption: {why}; "
        "audit the ledger",
    )
