"""Rounds: updates are posted, sealed, attested, decrypted together, evaluated, published."""

from __future__ import annotations

from typing import Any

from chaincode.contracts import cohort as cohorts
from chaincode.contracts import dataset as datasets
from chaincode.contracts import dispute, grouptest, masking, stages, staging
from chaincode.contracts import hospital as hospitals
from chaincode.contracts import model as models
from chaincode.contracts import plan as plans
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import enclaves, keys, states
from chaincode.schema.consortium import Node
from chaincode.schema.datasets import Consent, Dataset
from chaincode.schema.dropping import repeatable_at
from chaincode.schema.enclaves import Attested
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import commitment
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import Participant, Plan, PlanStatus, PlanTerms, Work
from chaincode.schema.rounds import (
    AdvanceArgs,
    AttestArgs,
    Attestation,
    Cohort,
    Decline,
    DeclineArgs,
    DecryptionShare,
    EvaluateArgs,
    Evaluation,
    NodeRef,
    ObjectArgs,
    Objection,
    Objections,
    Posted,
    Round,
    RoundArgs,
    RoundPage,
    RoundPageArgs,
    RoundState,
    RoundStatus,
    ShareArgs,
    SubmitUpdateArgs,
    Update,
)

UPDATE_LIMIT = 2**40
"""Bytes; the largest update that the ledger will name."""
OBJECTIONS_LIMIT = 64
"""What one hospital may object to in one round at a time: what is dropped does not count."""


class RoundContract:
    """Contributions are posted each under its own key; :meth:`advance` draws the conclusion."""

    @transaction("round:Open")
    def open(self, context: Context, args: RoundArgs) -> RoundState:
        plan = plans.running(context, args.plan_id, PlanStatus.ACTIVE)
        plans.participating(context, plan.terms)
        if args.number <= plan.rounds_opened:
            raise MedFabricError(Code.ALREADY, f"round {args.number} was opened already")
        if args.number != plan.rounds_opened + 1 or args.number > plan.terms.training.rounds:
            raise MedFabricError(
                Code.BAD_STATE, f"the next round of {args.plan_id} is {plan.rounds_opened + 1}"
            )
        if lost := plans.lost_holders(context, plan.terms):
            raise MedFabricError(
                Code.KEY_HOLDER_LEFT,
                f"{', '.join(lost)} left and held the key; end the plan by plan:Advance",
            )
        models.usable(context, plan.model_sha256)
        last = plans.last_round(context, plan)
        if last is not None and not stages.ended(last):
            raise MedFabricError(Code.NOT_YET, f"round {last.number} has not ended; advance it")
        grouptest.settle(context, plan, last)
        _on_schedule(context, plan.terms, last)
        cohort = cohorts.enlist(context, plan, args.number, 0)
        pages = cohorts.pages(plan.terms)
        if pages == 1:
            _enough(plan.terms, cohort)
        status = RoundStatus.OPEN if pages == 1 else RoundStatus.ENLISTING
        if isinstance(plan.terms.encryption, MaskingTerms):
            status = RoundStatus.KEYING
        opened = Round(
            plan_id=args.plan_id,
            number=args.number,
            status=status,
            base_sha256=plan.model_sha256,
            opened_at=context.now,
            changed_at=context.now,
            deadline=context.now + plan.terms.participation.update_seconds,
            pages=pages,
        )
        context.put(keys.cohort(args.plan_id, args.number, 0), cohort)
        context.put(keys.round_(args.plan_id, args.number), opened)
        changed = plan.model_copy(update={"rounds_opened": args.number, "changed_at": context.now})
        plans.put(context, changed)
        context.emit("round.opened", plan_id=args.plan_id, round=args.number)
        return RoundState.of(opened)

    @transaction("round:SubmitUpdate")
    def submit_update(self, context: Context, args: SubmitUpdateArgs) -> Posted:
        key = keys.update(args.plan_id, args.round, context.msp_id, context.node_id)
        content = keys.update_content(args.plan_id, args.update.sha256)
        decline = keys.decline(args.plan_id, args.round, context.msp_id, context.node_id)
        # A thousand nodes submit within a short time: one request to the peer for all that is read.
        context.values(
            [
                keys.plan(args.plan_id),
                keys.plan_terms(args.plan_id),
                keys.round_(args.plan_id, args.round),
                keys.cohort(args.plan_id, args.round, 0),
                key,
                decline,
                content,
                keys.node(context.msp_id, context.node_id),
                keys.consent(args.dataset_id, args.plan_id),
                keys.dataset(args.dataset_id),
                keys.account(args.dataset_id),
            ]
        )
        plan = plans.running(context, args.plan_id)
        plans.participating(context, plan.terms)
        round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.OPEN)
        participant = cohorts.participant(context, plan, round_)
        if context.find(key, Update) is not None:
            raise MedFabricError(
                Code.DUPLICATE_UPDATE, f"{context.node_id} has submitted an update; it stands"
            )
        if context.find(decline, Decline) is not None:
            raise MedFabricError(
                Code.DUPLICATE_UPDATE, f"{context.node_id} has declined this round; it stands"
            )
        staging.check_time(context, f"round {round_.number}", round_)
        _keyed(context, plan, round_)
        _check_new(context, round_, args)
        dataset = _consented_dataset(context, plan, participant, args.dataset_id)
        work = _work(context, plan.terms, dataset)
        _check_terms(args, work, dataset)
        spending = datasets.charge(context, plan.terms, dataset, work)
        hospitals.charge(context, plan.terms)
        update = Update(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            dataset_id=args.dataset_id,
            base_sha256=args.base_sha256,
            update=args.update,
            samples=args.samples,
            steps=args.steps,
            batch_size=args.batch_size,
            noise_multiplier_micro=args.noise_multiplier_micro,
            epsilon_micro=spending.epsilon_micro,
            posted_at=context.now,
        )
        context.put(content, NodeRef(msp_id=context.msp_id, node_id=context.node_id))
        context.post(key, update, "round.update", plan_id=args.plan_id, round=args.round)
        return Posted(posted_at=context.now)

    @transaction("round:Decline")
    def decline(self, context: Context, args: DeclineArgs) -> Decline:
        plan, round_ = _unfinished(context, args.plan_id, args.round)
        participant = cohorts.participant(context, plan, round_)
        place = (args.plan_id, args.round, context.msp_id, context.node_id)
        if context.find(keys.update(*place), Update) is not None:
            raise MedFabricError(
                Code.DUPLICATE_UPDATE, f"{context.node_id} has submitted an update; it stands"
            )
        dataset = context.get(keys.dataset(participant.dataset_id), Dataset)
        work = _work(context, plan.terms, dataset)
        if args.trained:
            _consented_dataset(context, plan, participant, participant.dataset_id)
            datasets.charge(context, plan.terms, dataset, work)
        decline = Decline(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            dataset_id=participant.dataset_id,
            code=args.code,
            steps=work.training.steps if args.trained else 0,
            batch_size=work.training.batch_size,
            noise_multiplier_micro=work.privacy.noise_multiplier_micro,
            posted_at=context.now,
        )
        return context.post(
            keys.decline(*place), decline, "round.declined", plan_id=args.plan_id, round=args.round
        )

    @transaction("round:Attest")
    def attest(self, context: Context, args: AttestArgs) -> Posted:
        plan = plans.running(context, args.plan_id)
        plans.participating(context, plan.terms)
        # After the agreement an attestation still goes on record.
        sealed = (RoundStatus.SEALED, RoundStatus.AGGREGATED)
        round_ = _in_stage(context, args.plan_id, args.round, *sealed)
        if args.dropped != len(round_.dropped):
            raise MedFabricError(
                Code.BAD_STATE,
                f"round {args.round} has dropped {len(round_.dropped)} updates; read it again",
            )
        _check_evidence(context, plan, round_, args)
        attestation = Attestation(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            aggregate_sha256=args.aggregate_sha256,
            aggregate=args.aggregate,
            dropped=args.dropped,
            evidence_sha256=args.evidence.sha256 if args.evidence else None,
            posted_at=context.now,
            draw_sha256=_draw_commitment(plan.terms, round_, args),
        )
        key = keys.attestation(args.plan_id, args.round, args.dropped, context.msp_id)
        context.post(key, attestation, "round.attested", plan_id=args.plan_id, round=args.round)
        return Posted(posted_at=context.now)

    @transaction("round:SubmitShare")
    def submit_share(self, context: Context, args: ShareArgs) -> Posted:
        plan = plans.running(context, args.plan_id)
        plans.participating(context, plan.terms)
        round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.AGGREGATED)
        staging.check_time(context, f"round {round_.number}", round_)
        if args.aggregate_sha256 != round_.aggregate_sha256:
            raise MedFabricError(
                Code.WRONG_AGGREGATE, "the share is for another aggregate than the accepted one"
            )
        if args.attempt != round_.attempt or context.msp_id not in round_.key_holders:
            raise MedFabricError(
                Code.BAD_STATE,
                f"attempt {round_.attempt} is for {', '.join(round_.key_holders)}; read it again",
            )
        share = DecryptionShare(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            aggregate_sha256=args.aggregate_sha256,
            attempt=args.attempt,
            share=args.share,
            posted_at=context.now,
            draw=_draw(context, round_, args),
        )
        key = keys.share(args.plan_id, args.round, args.attempt, context.msp_id)
        context.post(key, share, "round.share", plan_id=args.plan_id, round=args.round)
        return Posted(posted_at=context.now)

    @transaction("round:Evaluate")
    def evaluate(self, context: Context, args: EvaluateArgs) -> Posted:
        plan = plans.running(context, args.plan_id)
        plans.participating(context, plan.terms)
        round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.DECRYPTED)
        staging.check_time(context, f"round {round_.number}", round_)
        if (args.candidate is None) is (args.failure is None):
            raise MedFabricError(
                Code.BAD_ARGUMENT, "name either the candidate or why there is none"
            )
        if max(args.correct, args.base_correct) > args.total:
            raise MedFabricError(Code.BAD_ARGUMENT, "more correct than there are in total")
        if args.beyond_norm and (args.candidate is None or plan.terms.acceptance.norm is None):
            raise MedFabricError(
                Code.BAD_ARGUMENT, "only a candidate can exceed the norm, where the plan bounds it"
            )
        evaluation = Evaluation(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            candidate=args.candidate,
            failure=args.failure,
            correct=args.correct,
            base_correct=args.base_correct,
            total=args.total,
            accept=_accepts(args, plan.terms),
            attempt=round_.attempt,
            posted_at=context.now,
            beyond_norm=args.beyond_norm,
        )
        key = keys.evaluation(args.plan_id, args.round, round_.attempt, context.msp_id)
        context.post(key, evaluation, "round.evaluated", plan_id=args.plan_id, round=args.round)
        return Posted(posted_at=context.now)

    @transaction("round:Object")
    def object(self, context: Context, args: ObjectArgs) -> Objection:
        plan, round_ = _unfinished(context, args.plan_id, args.round)
        if not stages.names(context, plan.terms, round_, args.subject_sha256):
            raise MedFabricError(
                Code.NOT_FOUND, "the round names no such content; object to what it names"
            )
        place = (args.plan_id, args.round, context.msp_id, args.subject_sha256)
        before = context.find(keys.objection(*place), Objection)
        terms = plan.terms.participation
        again = before and not before.firm and repeatable_at(before, terms) <= context.now
        objection = Objection(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            subject_sha256=args.subject_sha256,
            code=args.code,
            posted_at=context.now,
            again=bool(again),
        )
        _note(context, round_, objection)
        key = keys.objection(*place, again=objection.again)
        return context.post(
            key, objection, "round.objection", plan_id=args.plan_id, round=args.round
        )

    @transaction("round:Advance")
    def advance(self, context: Context, args: AdvanceArgs) -> RoundState:
        round_ = context.get(keys.round_(args.plan_id, args.number), Round)
        if stages.ended(round_):
            raise MedFabricError(Code.ALREADY, f"round {args.number} is {round_.status} already")
        plan = plans.running(context, args.plan_id)
        plans.participating(context, plan.terms)
        if states.is_final(states.ROUND, round_.status):
            return RoundState.of(stages.book(context, plan, round_, args.page))
        outcome = stages.conclude(context, plan, round_, args.page)
        return RoundState.of(stages.carry_out(context, plan, round_, outcome))

    @transaction("round:Get")
    def get(self, context: Context, args: RoundPageArgs) -> RoundPage:
        plan = plans.get(context, args.plan_id)
        round_ = context.get(keys.round_(args.plan_id, args.number), Round)
        return RoundPage(
            round=round_,
            weight_bits=plan.terms.encryption.weight_bits,
            alike=plan.terms.hides_hospitals,
            **cohorts.page(context, round_, args.page),
            **(_posted(context, plan, round_) if args.page == 0 else {}),
        )


def _posted(context: Context, plan: Plan, round_: Round) -> dict[str, Any]:
    """What hospitals posted to a round."""
    place = keys.round_(round_.plan_id, round_.number)[1]
    return {
        "attestations": stages.attestations(context, plan.terms, round_),
        "shares": stages.shares(context, round_),
        "evaluations": stages.evaluations(context, plan.terms, round_),
        "objections": context.all("objection", place, Objection),
        "proofs": dispute.proofs(context, round_),
        "verdicts": dispute.verdicts(context, plan.terms, round_.number),
        **masking.posted(context, plan, round_),
    }


def _on_schedule(context: Context, terms: PlanTerms, last: Round | None) -> None:
    opens = terms.schedule.first_round_at
    if last is not None:
        opens = max(opens, last.opened_at + terms.schedule.interval_seconds)
    if context.now < opens:
        raise MedFabricError(
            Code.NOT_YET, f"the plan's next round opens {opens - context.now} seconds from now"
        )


def _enough(terms: PlanTerms, cohort: Cohort) -> None:
    hospitals = {p.msp_id for p in cohort.participants}
    needed = terms.participation.quorum
    if len(cohort.participants) < needed or len(hospitals) < 2:
        excluded = cohort.excluded[:8]
        why = [f"{e.node_id} of {e.msp_id} with {e.dataset_id}: {e.code}" for e in excluded]
        raise MedFabricError(
            Code.TOO_FEW_PARTICIPANTS,
            f"{len(cohort.participants)} of at least {needed} nodes of {len(hospitals)} hospitals "
            f"can take part ({'; '.join(why) or 'no other joined'}); ask the hospitals' admins",
        )


def _note(context: Context, round_: Round, objection: Objection) -> None:
    """Add to the list of what the hospital objects to, by which a round finds what most do."""
    key = keys.objections(objection.plan_id, objection.round, objection.msp_id)
    said = context.find(key, Objections) or Objections()
    dropped = {update.update_sha256 for update in round_.dropped}
    subjects, firm = (
        tuple(sha256 for sha256 in noted if sha256 not in dropped)
        for noted in (said.subjects, said.firm)
    )
    if len(subjects) >= OBJECTIONS_LIMIT and not objection.again:
        raise MedFabricError(
            Code.NOT_YET,
            f"{context.msp_id} objects to {len(subjects)} contents already; advance the round, "
            "which drops what most object to, and object to further ones then",
        )
    subject = (objection.subject_sha256,)
    subjects = subjects if objection.again else (*subjects, *subject)
    firm = (*firm, *subject) if objection.firm else firm
    context.put(key, Objections(subjects=subjects, firm=firm))


def _check_evidence(context: Context, plan: Plan, round_: Round, args: AttestArgs) -> None:
    """Whoever attests by an enclave needs its evidence, and nobody else has any."""
    enclave = plan.terms.enclave(context.msp_id)
    if enclave is None or args.evidence is None:
        if (enclave is None) is not (args.evidence is None):
            raise MedFabricError(
                Code.EVIDENCE_REFUSED, "evidence belongs to a hospital whose enclave the plan pins"
            )
        return
    attested = Attested(
        plan_id=args.plan_id,
        round=args.round,
        terms_sha256=plan.terms_sha256,
        opened_at=round_.opened_at,
        aggregate_sha256=args.aggregate_sha256,
    )
    if why := enclaves.refusal(enclave, args.evidence, attested, context.now):
        raise MedFabricError(Code.EVIDENCE_REFUSED, f"the evidence does not hold: {why}")


def _keyed(context: Context, plan: Plan, round_: Round) -> None:
    """Refuse an update under masks that the others do not count on."""
    if not isinstance(plan.terms.encryption, MaskingTerms):
        return
    nodes = masking.fixed(context, round_).nodes
    if (context.msp_id, context.node_id) not in {(n.msp_id, n.node_id) for n in nodes}:
        raise MedFabricError(
            Code.NOT_A_PARTICIPANT,
            f"node {context.node_id} posted no keys in time; it takes part in the next round",
        )


def _unfinished(context: Context, plan_id: str, number: int) -> tuple[Plan, Round]:
    """A round that may still change, and its running plan, in which the caller's hospital is."""
    plan = plans.running(context, plan_id)
    plans.participating(context, plan.terms)
    round_ = context.get(keys.round_(plan_id, number), Round)
    if states.is_final(states.ROUND, round_.status):
        raise MedFabricError(Code.BAD_STATE, f"round {number} is {round_.status}")
    return plan, round_


def _in_stage(context: Context, plan_id: str, number: int, *stage: RoundStatus) -> Round:
    round_ = context.get(keys.round_(plan_id, number), Round)
    staging.check_stage(f"round {round_.number}", round_, *stage)
    return round_


def _consented_dataset(
    context: Context, plan: Plan, participant: Participant, dataset_id: str
) -> Dataset:
    if dataset_id != participant.dataset_id:
        raise MedFabricError(
            Code.NOT_A_PARTICIPANT, f"the plan has this node train on {participant.dataset_id}"
        )
    consent = context.find(keys.consent(dataset_id, plan.terms.plan_id), Consent)
    if not datasets.consents(consent, plan):
        raise MedFabricError(
            Code.CONSENT_MISSING, f"no consent to train on {dataset_id}; ask the hospital's admin"
        )
    return context.get(keys.dataset(dataset_id), Dataset)


def _work(context: Context, terms: PlanTerms, dataset: Dataset) -> Work:
    """What the plan has the caller do, on its class of device."""
    node = context.get(keys.node(context.msp_id, context.node_id), Node)
    return terms.work(dataset.train_samples, node.device)


def _check_new(context: Context, round_: Round, args: SubmitUpdateArgs) -> None:
    if context.find(keys.update_content(args.plan_id, args.update.sha256), NodeRef) is not None:
        raise MedFabricError(
            Code.REPLAYED_UPDATE, "this ciphertext was submitted before; encrypt a new update"
        )
    if args.base_sha256 != round_.base_sha256:
        raise MedFabricError(
            Code.WRONG_BASE_MODEL, "trained on another model; fetch the round's base model"
        )


def _check_terms(args: SubmitUpdateArgs, work: Work, dataset: Dataset) -> None:
    training, privacy = work
    given = (args.steps, args.batch_size, args.noise_multiplier_micro, args.samples)
    wanted = (
        training.steps,
        training.batch_size,
        privacy.noise_multiplier_micro,
        dataset.train_samples,
    )
    if given != wanted:
        raise MedFabricError(
            Code.PRIVACY_TERMS_MISMATCH,
            "steps, batch size, noise and sample count must be the plan's for this node's class of "
            "device and its dataset's size, and the dataset's",
        )
    if not 0 < args.update.size_bytes <= UPDATE_LIMIT:
        raise MedFabricError(Code.WRONG_SIZE, "an update is neither empty nor that large")


def _draw_commitment(terms: PlanTerms, round_: Round, args: AttestArgs) -> str | None:
    """The hospital's part in the draw of a group test: only while nobody has shown a part."""
    if not terms.acceptance.group_tests or round_.status is not RoundStatus.SEALED:
        return None
    if args.draw_sha256 is None:
        raise MedFabricError(
            Code.BAD_ARGUMENT, "the plan has group tests; commit to a part in their draw"
        )
    return args.draw_sha256


def _draw(context: Context, round_: Round, args: ShareArgs) -> str | None:
    """What the hospital committed to, shown.

    Raises:
        MedFabricError: ``COMMITMENT_MISMATCH``.
    """
    key = keys.attestation(args.plan_id, args.round, len(round_.dropped), context.msp_id)
    attestation = context.find(key, Attestation)
    if attestation is None or attestation.draw_sha256 is None:
        return None
    if args.draw is None or commitment(args.draw) != attestation.draw_sha256:
        raise MedFabricError(
            Code.COMMITMENT_MISMATCH, "this part in the draw is not the one committed to"
        )
    return args.draw


def _accepts(args: EvaluateArgs, terms: PlanTerms) -> bool | None:
    """Whether correct / total >= base_correct / total - max_drop, in integers; None over
    no records. Nothing beyond the plan's norm, whatever the records say."""
    if args.candidate is None or args.beyond_norm:
        return False
    if args.total == 0:
        return None
    drop = terms.acceptance.max_drop_micro * args.total
    return args.correct * 1_000_000 + drop >= args.base_correct * 1_000_000
