"""A node's part in a round, in the order of the data: train, encrypt, submit; fetch, add, attest;
share; combine, evaluate, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from chaincode.schema.base import Language, Sha256
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import (
    AttestArgs,
    Attestation,
    DecryptionShare,
    EvaluateArgs,
    Evaluation,
    Model,
    ModelArgs,
    ModelStatus,
    Round,
    RoundArgs,
    RoundView,
    ShareArgs,
    SubmitUpdateArgs,
    Update,
)
from client.consortium import Consortium
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.duties import Duty, Snapshot
from trainer.node.home import Home

if TYPE_CHECKING:
    from trainer.node.learner import Learner

Facts = dict[str, int | str]


class _PreparedUpdate(Language):
    """An update about to be released. Kept first: after a crash the same bytes are released, for
    training again would spend privacy that no account knows of."""

    content_sha256: Sha256
    base_sha256: Sha256
    dataset_id: str
    samples: int
    steps: int


class _PreparedShare(Language):
    """The one aggregate of a round that this hospital decrypts, and its share in that."""

    aggregate_sha256: Sha256
    content_sha256: Sha256


class Rounds:
    """Carries out the duties of rounds.

    Args:
        learner: makes a plan's learner on first use; that imports torch.
    """

    def __init__(
        self,
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        keys: KeyKeeper,
        learner: Callable[[PlanTerms], Learner],
    ) -> None:
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._keys = keys
        self._learner = learner
        self._aggregates: dict[tuple[str, int], tuple[bytes, str]] = {}

    def open(self, duty: Duty, _: Snapshot) -> None:
        """Open the next round."""
        args = RoundArgs(plan_id=duty.plan_id, number=duty.round)
        self._consortium.submit("round:Open", args, Round)

    def advance(self, duty: Duty, _: Snapshot) -> None:
        """Move the round on."""
        args = RoundArgs(plan_id=duty.plan_id, number=duty.round)
        self._consortium.submit("round:Advance", args, Round)

    def submit_update(self, duty: Duty, now: Snapshot) -> Facts:
        """Train on the base model, encrypt what was learned, submit it."""
        name = f"update-{duty.round}"
        facts: Facts = {}
        prepared = self._home.record(duty.plan_id, name, _PreparedUpdate)
        if prepared is None:
            prepared, facts = self._train(now)
            self._home.keep(duty.plan_id, name, prepared)
        ref = self._exchange.release_kept(prepared.content_sha256)
        terms = now.plan.terms
        args = SubmitUpdateArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            dataset_id=prepared.dataset_id,
            base_sha256=prepared.base_sha256,
            update=ref,
            samples=prepared.samples,
            steps=prepared.steps,
            batch_size=terms.training.batch_size,
            noise_multiplier_micro=terms.privacy.noise_multiplier_micro,
        )
        self._consortium.submit("round:SubmitUpdate", args, Update)
        return {**facts, "bytes": ref.size_bytes}

    def attest(self, duty: Duty, now: Snapshot) -> Facts:
        """Add the sealed updates and attest the sum."""
        content, digest = self._aggregate(now)
        ref = self._exchange.release(content)
        args = AttestArgs(
            plan_id=duty.plan_id, round=duty.round, aggregate_sha256=digest, aggregate=ref
        )
        self._consortium.submit("round:Attest", args, Attestation)
        return {"bytes": ref.size_bytes}

    def submit_share(self, duty: Duty, now: Snapshot) -> Facts:
        """Share in the decryption of the accepted aggregate, if it is the one computed here.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED`` where it is not, or where this hospital already
                shared in another aggregate of this round: two of them could be subtracted.
        """
        name = f"share-{duty.round}"
        accepted = _view(now).round.aggregate_sha256
        prepared = self._home.record(duty.plan_id, name, _PreparedShare)
        if prepared is None:
            prepared = self._share(now)
            self._home.keep(duty.plan_id, name, prepared)
        if prepared.aggregate_sha256 != accepted:
            raise _refused(duty, "this hospital already shared in another aggregate")
        ref = self._exchange.release_kept(prepared.content_sha256)
        args = ShareArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            aggregate_sha256=prepared.aggregate_sha256,
            share=ref,
        )
        self._consortium.submit("round:SubmitShare", args, DecryptionShare)
        return {"bytes": ref.size_bytes}

    def evaluate(self, duty: Duty, now: Snapshot) -> Facts:
        """Combine the shares into the candidate and evaluate it on this hospital's own data."""
        learner = self._learner(now.plan.terms)
        base = self._base_model(now)
        model, failure = self._candidate(duty, now, base, learner)
        ref = self._exchange.release(model) if model else None
        base_correct, total = learner.evaluate(base)
        correct, _ = learner.evaluate(model) if model else (0, total)
        args = EvaluateArgs(
            plan_id=duty.plan_id,
            round=duty.round,
            candidate=ref,
            failure=failure,
            correct=correct,
            base_correct=base_correct,
            total=total,
        )
        self._consortium.submit("round:Evaluate", args, Evaluation)
        self._aggregates.pop((duty.plan_id, duty.round), None)
        return {"bytes": ref.size_bytes if ref else 0}

    def _train(self, now: Snapshot) -> tuple[_PreparedUpdate, Facts]:
        view = _view(now)
        learner = self._learner(now.plan.terms)
        base = self._base_model(now)
        key = self._keys.collective_key(now)
        trained = learner.train(base, view.round.number)
        started = time.monotonic()
        content = self._keys.scheme(now).encrypt(trained.delta, key)
        encrypt_seconds = time.monotonic() - started
        prepared = _PreparedUpdate(
            content_sha256=self._home.keep_content(content),
            base_sha256=view.round.base_sha256,
            dataset_id=learner.dataset_id,
            samples=trained.samples,
            steps=trained.steps,
        )
        return prepared, {
            "train_ms": round(1000 * trained.seconds),
            "encrypt_ms": round(1000 * encrypt_seconds),
        }

    def _aggregate(self, now: Snapshot) -> tuple[bytes, str]:
        """The weighted sum of the sealed updates, and the hash that hospitals attest."""
        round_ = _view(now).round
        place = (round_.plan_id, round_.number)
        if place not in self._aggregates:
            updates = [
                self._exchange.fetch_for_round(*place, contribution.update)
                for contribution in round_.contributions
            ]
            key = self._keys.collective_key(now)
            self._aggregates[place] = self._keys.scheme(now).aggregate(
                key, round_, updates, now.plan.terms.model.parameters
            )
        return self._aggregates[place]

    def _share(self, now: Snapshot) -> _PreparedShare:
        round_ = _view(now).round
        content, digest = self._aggregate(now)
        if digest != round_.aggregate_sha256:
            raise _refused(round_, "it is not the sum of the sealed updates as computed here")
        if len({c.msp_id for c in round_.contributions}) < 2:
            raise _refused(round_, "a single hospital's update is never decrypted")
        share = self._keys.scheme(now).decryption_share(
            self._keys.secret(now), content, now.plan.terms.model.parameters
        )
        return _PreparedShare(
            aggregate_sha256=digest, content_sha256=self._home.keep_content(share)
        )

    def _candidate(
        self, duty: Duty, now: Snapshot, base: bytes, learner: Learner
    ) -> tuple[bytes | None, str | None]:
        view = _view(now)
        aggregate, _ = self._aggregate(now)
        in_order = sorted(view.shares, key=lambda share: share.msp_id)
        shares = [
            self._exchange.fetch_for_round(duty.plan_id, duty.round, share.share)
            for share in in_order
        ]
        parameters = now.plan.terms.model.parameters
        try:
            mean = self._keys.scheme(now).decode_mean(
                aggregate, shares, parameters, view.round.total_weight
            )
        except MedFabricError as error:
            # The hospitals say on the ledger that these shares decrypt nothing.
            return None, error.code
        return learner.apply(base, mean), None

    def _base_model(self, now: Snapshot) -> bytes:
        """The base model by its ledger address.

        Raises:
            MedFabricError: ``MODEL_RECALLED``: nothing is trained on from it, nor judged by it.
        """
        address = _view(now).round.base_sha256
        model = self._consortium.evaluate("model:Get", ModelArgs(sha256=address), Model)
        if model.status is ModelStatus.RECALLED:
            raise MedFabricError(
                Code.MODEL_RECALLED,
                f"model {address} was recalled ({model.reason}); abort the plan",
            )
        return self._exchange.fetch(model.model)


def _view(now: Snapshot) -> RoundView:
    if now.round is None:
        raise MedFabricError(Code.BAD_STATE, "the plan has no round yet; read the state again")
    return now.round


def _refused(place: Duty | Round, why: str) -> MedFabricError:
    number = place.round if isinstance(place, Duty) else place.number
    return MedFabricError(
        Code.AGGREGATE_REFUSED,
        f"round {number} of {place.plan_id}: will not share in this decryption: {why}; "
        "audit the ledger",
    )
