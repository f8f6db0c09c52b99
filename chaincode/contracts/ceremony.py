"""Key ceremonies: commit, reveal, confirm; every hospital of the plan in every stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from chaincode.contracts import handover, reputation
from chaincode.contracts import plan as plans
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, states
from chaincode.schema.base import Language
from chaincode.schema.ceremonies import (
    AccuseArgs,
    Ceremony,
    CeremonyStatus,
    CeremonyView,
    CommitArgs,
    ConfirmArgs,
    JudgeArgs,
    KeyAccusation,
    KeyCommitment,
    KeyConfirmation,
    KeyShare,
    KeyVerdict,
    RevealArgs,
    commitment,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import InheritedKey, PlanArgs, PlanStatus, PlanTerms

_POSTED: dict[CeremonyStatus, tuple[Callable[[str, str], keys.Key], type[Language]]] = {
    CeremonyStatus.COMMIT: (keys.key_commitment, KeyCommitment),
    CeremonyStatus.REVEAL: (keys.key_share, KeyShare),
    CeremonyStatus.CONFIRM: (keys.key_confirmation, KeyConfirmation),
    CeremonyStatus.JUDGE: (keys.key_verdict, KeyVerdict),
}
_NEXT = {
    CeremonyStatus.COMMIT: CeremonyStatus.REVEAL,
    CeremonyStatus.REVEAL: CeremonyStatus.CONFIRM,
    CeremonyStatus.CONFIRM: CeremonyStatus.DONE,
}


class CeremonyContract:
    """Commitments stand before any share is shown, so none is chosen after the others'."""

    @transaction("ceremony:Commit")
    def commit(self, context: Context, args: CommitArgs) -> KeyCommitment:
        ceremony = _in_stage(context, args.plan_id, CeremonyStatus.COMMIT)
        terms = plans.get(context, args.plan_id).terms
        _dealt(terms, args.transport_key is not None, "transport key")
        if _makes_key(terms) is (args.commitment_sha256 is None):
            raise MedFabricError(
                Code.BAD_ARGUMENT,
                "commit to a key share, unless the plan masks its updates or takes a key over",
            )
        gets = terms.key is not None and context.msp_id in ceremony.hospitals
        if len(args.receiving) != (len(ceremony.dealers) if gets else 0):
            raise MedFabricError(
                Code.BAD_ARGUMENT,
                "who is handed a key on posts a key for each dealer to encrypt to; nobody else",
            )
        post = KeyCommitment(
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            commitment_sha256=args.commitment_sha256,
            transport_key=args.transport_key,
            receiving=args.receiving,
            posted_at=context.now,
        )
        key = keys.key_commitment(args.plan_id, context.msp_id)
        return context.post(key, post, "ceremony.key-commitment", plan_id=args.plan_id)

    @transaction("ceremony:Reveal")
    def reveal(self, context: Context, args: RevealArgs) -> KeyShare:
        ceremony = _in_stage(context, args.plan_id, CeremonyStatus.REVEAL)
        terms = plans.get(context, args.plan_id).terms
        _dealt(terms, args.dealing is not None, "dealing")
        _dealt(terms, bool(args.bound), "list of commitments")
        if args.bound and len(args.bound) != len(ceremony.hospitals):
            raise MedFabricError(Code.BAD_ARGUMENT, "of each hospital's part there is one hash")
        if terms.key is None:
            _check_opening(context, args)
        else:
            _check_handed(terms.key, args)
        post = KeyShare(
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            share=args.share,
            nonce=args.nonce,
            dealing=args.dealing,
            bound=args.bound,
            key=args.key,
            posted_at=context.now,
        )
        key = keys.key_share(args.plan_id, context.msp_id)
        return context.post(key, post, "ceremony.key-share", plan_id=args.plan_id)

    @transaction("ceremony:Confirm")
    def confirm(self, context: Context, args: ConfirmArgs) -> KeyConfirmation:
        _in_stage(context, args.plan_id, CeremonyStatus.CONFIRM)
        inherited = plans.get(context, args.plan_id).terms.key
        if inherited and args.collective_key_sha256 != inherited.collective_key_sha256:
            raise MedFabricError(
                Code.KEY_DISAGREEMENT, f"the key is that of {inherited.plan_id}; no other is made"
            )
        post = KeyConfirmation(
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            collective_key_sha256=args.collective_key_sha256,
            posted_at=context.now,
        )
        key = keys.key_confirmation(args.plan_id, context.msp_id)
        return context.post(key, post, "ceremony.key-confirmation", plan_id=args.plan_id)

    @transaction("ceremony:Accuse")
    def accuse(self, context: Context, args: AccuseArgs) -> KeyAccusation:
        ceremony = _in_stage(context, args.plan_id, CeremonyStatus.CONFIRM, CeremonyStatus.JUDGE)
        if args.dealer not in ceremony.dealers or args.dealer == context.msp_id:
            raise MedFabricError(
                Code.NOT_A_PARTICIPANT, f"{args.dealer} dealt nothing to {context.msp_id}"
            )
        post = KeyAccusation(
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            dealer=args.dealer,
            transport_secret=args.transport_secret,
            posted_at=context.now,
        )
        key = keys.key_accusation(args.plan_id, context.msp_id)
        return context.post(key, post, "ceremony.key-accusation", plan_id=args.plan_id)

    @transaction("ceremony:Judge")
    def judge(self, context: Context, args: JudgeArgs) -> KeyVerdict:
        ceremony = _in_stage(context, args.plan_id, CeremonyStatus.JUDGE)
        culprits = tuple(h for h in ceremony.parties if h in args.culprits)
        post = KeyVerdict(
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            culprits=culprits,
            posted_at=context.now,
        )
        key = keys.key_verdict(args.plan_id, context.msp_id)
        return context.post(key, post, "ceremony.key-verdict", plan_id=args.plan_id)

    @transaction("ceremony:Advance")
    def advance(self, context: Context, args: PlanArgs) -> Ceremony:
        ceremony = context.get(keys.ceremony(args.plan_id), Ceremony)
        if states.is_final(states.CEREMONY, ceremony.status):
            raise MedFabricError(Code.ALREADY, f"the ceremony is {ceremony.status} already")
        members = context.consortium().hospitals
        if gone := tuple(h for h in ceremony.parties if h not in members):
            return _fail(context, ceremony, plans.departed(gone), gone)
        if ceremony.status is CeremonyStatus.CONFIRM and _accusations(context, ceremony):
            deadline = _deadline(context, ceremony)
            return _move(context, ceremony, CeremonyStatus.JUDGE, deadline=deadline)
        missing = _missing(context, ceremony)
        if ceremony.status is CeremonyStatus.JUDGE:
            return _sentence(context, ceremony, missing)
        if not missing:
            return _complete(context, ceremony)
        if context.now <= ceremony.deadline:
            raise MedFabricError(
                Code.NOT_YET, f"waiting for {', '.join(missing)} to {ceremony.status.lower()}"
            )
        reason = f"{Code.CEREMONY_OVERDUE}: no {ceremony.status.lower()} of {', '.join(missing)}"
        return _fail(context, ceremony, reason, missing)

    @transaction("ceremony:Get")
    def get(self, context: Context, args: PlanArgs) -> CeremonyView:
        ceremony = context.get(keys.ceremony(args.plan_id), Ceremony)
        hospitals, parties = ceremony.hospitals, ceremony.parties
        plan_id = args.plan_id
        return CeremonyView(
            ceremony=ceremony,
            commitments=context.existing(
                [keys.key_commitment(plan_id, h) for h in parties], KeyCommitment
            ),
            shares=context.existing([keys.key_share(plan_id, h) for h in parties], KeyShare),
            confirmations=context.existing(
                [keys.key_confirmation(plan_id, h) for h in hospitals], KeyConfirmation
            ),
            accusations=_accusations(context, ceremony),
            verdicts=context.existing(
                [keys.key_verdict(plan_id, h) for h in hospitals], KeyVerdict
            ),
        )


def _in_stage(context: Context, plan_id: str, *stages: CeremonyStatus) -> Ceremony:
    ceremony = context.get(keys.ceremony(plan_id), Ceremony)
    if context.msp_id not in ceremony.owing(stages[0]):
        raise MedFabricError(
            Code.NOT_A_PARTICIPANT, f"{context.msp_id} has no part in this stage of the ceremony"
        )
    if ceremony.status not in stages:
        raise MedFabricError(
            Code.BAD_STATE, f"the ceremony is in {ceremony.status}, not {stages[0]}; read it again"
        )
    return ceremony


def _dealt(terms: PlanTerms, given: bool, what: str) -> None:
    """Secrets are dealt where the plan has a threshold or takes a key over, and only there."""
    if given is (terms.encryption.threshold is None and terms.key is None):
        raise MedFabricError(
            Code.BAD_ARGUMENT,
            f"a {what} belongs to a plan with a threshold or an inherited key, and only there",
        )


def _check_opening(context: Context, args: RevealArgs) -> None:
    committed = context.get(keys.key_commitment(args.plan_id, context.msp_id), KeyCommitment)
    if args.nonce is None or args.key is not None:
        raise MedFabricError(Code.BAD_ARGUMENT, "a new key's share has a nonce, and nothing else")
    if commitment(args.nonce, args.share.sha256) != committed.commitment_sha256:
        raise MedFabricError(
            Code.COMMITMENT_MISMATCH,
            "the share is not the one committed to; reveal that one or let the ceremony fail",
        )


def _check_handed(inherited: InheritedKey, args: RevealArgs) -> None:
    if args.nonce is not None or args.key is None:
        raise MedFabricError(Code.BAD_ARGUMENT, "who hands a key on names it, and opens nothing")
    if args.key.sha256 != inherited.collective_key_sha256:
        raise MedFabricError(
            Code.KEY_DISAGREEMENT, f"this is not the key of {inherited.plan_id}; name that one"
        )


def _makes_key(terms: PlanTerms) -> bool:
    """Whether the ceremony makes a collective key: updates are not masked, nor is one inherited."""
    return not isinstance(terms.encryption, MaskingTerms) and terms.key is None


def _accusations(context: Context, ceremony: Ceremony) -> tuple[KeyAccusation, ...]:
    wanted = [keys.key_accusation(ceremony.plan_id, h) for h in ceremony.hospitals]
    return context.existing(wanted, KeyAccusation)


def _deadline(context: Context, ceremony: Ceremony) -> int:
    plan = plans.get(context, ceremony.plan_id)
    return context.now + plan.terms.participation.ceremony_seconds


def _missing(context: Context, ceremony: Ceremony) -> tuple[str, ...]:
    key_of, model = _POSTED[ceremony.status]
    owing = ceremony.owing(ceremony.status)
    found = context.find_all([key_of(ceremony.plan_id, h) for h in owing], model)
    pairs = zip(owing, found, strict=True)
    return tuple(hospital for hospital, post in pairs if post is None)


def _complete(context: Context, ceremony: Ceremony) -> Ceremony:
    to = _NEXT[ceremony.status]
    if isinstance(plans.get(context, ceremony.plan_id).terms.encryption, MaskingTerms):
        return _done(context, ceremony, None)
    if to is not CeremonyStatus.DONE:
        return _move(context, ceremony, to, deadline=_deadline(context, ceremony))
    wanted = [keys.key_confirmation(ceremony.plan_id, h) for h in ceremony.hospitals]
    hashes = {c.collective_key_sha256 for c in context.existing(wanted, KeyConfirmation)}
    if len(hashes) != 1:
        reason = f"{Code.KEY_DISAGREEMENT}: the hospitals confirm different keys"
        return _fail(context, ceremony, reason, ())
    return _done(context, ceremony, hashes.pop())


def _done(context: Context, ceremony: Ceremony, key_sha256: str | None) -> Ceremony:
    plan = plans.get(context, ceremony.plan_id)
    done = _move(context, ceremony, CeremonyStatus.DONE, collective_key_sha256=key_sha256)
    plans.move(context, plan, PlanStatus.ACTIVE)
    plans.take_over(context, plan.terms)
    return done


def _sentence(context: Context, ceremony: Ceremony, missing: tuple[str, ...]) -> Ceremony:
    """End a ceremony with accusations: whom most hospitals find at fault is named."""
    if missing and context.now <= ceremony.deadline:
        raise MedFabricError(Code.NOT_YET, f"waiting for {', '.join(missing)} to judge")
    wanted = [keys.key_verdict(ceremony.plan_id, h) for h in ceremony.hospitals]
    verdicts = context.existing(wanted, KeyVerdict)
    tally = Counter(culprit for verdict in verdicts for culprit in verdict.culprits)
    culprits = tuple(h for h in ceremony.parties if 2 * tally[h] > len(ceremony.hospitals))
    named = ", ".join(culprits) or "nobody by most"
    reason = f"{Code.DEALER_ACCUSED}: found at fault: {named}"
    return _fail(context, ceremony, reason, missing, culprits)


def _fail(
    context: Context,
    ceremony: Ceremony,
    reason: str,
    missing: tuple[str, ...],
    culprits: tuple[str, ...] = (),
) -> Ceremony:
    changes = {"reason": reason, "missing": missing, "culprits": culprits}
    failed = _move(context, ceremony, CeremonyStatus.FAILED, **changes)
    reputation.missed_duty(context, sorted({*missing, *culprits}))
    plan = plans.get(context, ceremony.plan_id)
    plans.move(context, plan, PlanStatus.FAILED, reason)
    handover.release(context, plan.terms)
    return failed


def _move(context: Context, ceremony: Ceremony, to: CeremonyStatus, **changes: object) -> Ceremony:
    states.check(states.CEREMONY, ceremony.status, to)
    moved = ceremony.model_copy(update={"status": to, **changes})
    context.put(keys.ceremony(ceremony.plan_id), moved)
    context.emit(f"ceremony.{to.value.lower()}", plan_id=ceremony.plan_id)
    return moved
