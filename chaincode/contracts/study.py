"""Studies: proposed, consented to, handed over, summed, decrypted once, recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from chaincode.contracts import dataset as datasets
from chaincode.contracts import handover, reputation, staging, voting
from chaincode.contracts import plan as plans
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import canonical, disputes, keys, states, studies
from chaincode.schema.base import PageArgs
from chaincode.schema.ceremonies import Ceremony
from chaincode.schema.consortium import Subject
from chaincode.schema.datasets import Dataset
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanState, PlanTerms
from chaincode.schema.reputation import Evidence
from chaincode.schema.rounds import Posted
from chaincode.schema.studies import (
    AttestSumArgs,
    ConsentToStudy,
    DatasetUse,
    DatasetUses,
    DatasetUsesArgs,
    Deposit,
    DepositArgs,
    FindArgs,
    Finding,
    JudgeStudySharesArgs,
    ProveStudyShareArgs,
    ShareSumArgs,
    Study,
    StudyArgs,
    StudyAttestation,
    StudyConsentArgs,
    StudyPage,
    StudyResult,
    StudyShare,
    StudyShareProof,
    StudyShareVerdict,
    StudyStatus,
    StudyTerms,
    StudyView,
    SumArgs,
    UseLimit,
    UseLimitArgs,
)


class StudyContract:
    """Posts each have their own key; :meth:`advance` draws the conclusion, as with rounds."""

    @transaction("study:Propose")
    def propose(self, context: Context, terms: StudyTerms) -> Study:
        if context.find(keys.study(terms.study_id), Study) is not None:
            raise MedFabricError(Code.EXISTS, f"study {terms.study_id} exists; name another")
        _check(context, terms)
        study = Study(
            study_id=terms.study_id,
            terms=terms,
            terms_sha256=terms.sha256,
            status=StudyStatus.PROPOSED,
            proposed_by=context.msp_id,
            proposed_at=context.now,
            changed_at=context.now,
            deadline=context.now + voting.rules(context).plan.open_seconds,
        )
        context.put(keys.study(terms.study_id), study)
        context.emit("study.proposed", msp_id=context.msp_id, subject=terms.study_id)
        return study

    @transaction("study:Consent")
    def consent(self, context: Context, args: StudyConsentArgs) -> ConsentToStudy:
        study = context.get(keys.study(args.study_id), Study)
        _owned(context, study.terms, args.dataset_id)
        if study.terms_sha256 != args.terms_sha256:
            raise MedFabricError(Code.TERMS_MISMATCH, "the study has other terms; read them again")
        key = keys.study_consent(args.study_id, args.dataset_id)
        before = context.find(key, ConsentToStudy)
        if (before is not None and before.given) is args.given:
            raise MedFabricError(Code.ALREADY, "consent stands as asked already")
        consent = ConsentToStudy(
            study_id=args.study_id,
            dataset_id=args.dataset_id,
            msp_id=context.msp_id,
            terms_sha256=args.terms_sha256,
            given=args.given,
            reason=args.reason,
            changed_at=context.now,
        )
        context.put_owned(key, consent, context.msp_id)
        name = "study.consent" if args.given else "study.withdrawn"
        context.emit(name, msp_id=context.msp_id, subject=args.study_id)
        return consent

    @transaction("study:Limit")
    def limit(self, context: Context, args: UseLimitArgs) -> UseLimit:
        if context.get(keys.dataset(args.dataset_id), Dataset).msp_id != context.msp_id:
            raise MedFabricError(
                Code.NOT_OWNER, f"{args.dataset_id} is no dataset of {context.msp_id}; it decides"
            )
        limit = UseLimit(msp_id=context.msp_id, changed_at=context.now, **dict(args))
        context.put_owned(keys.study_limit(args.dataset_id), limit, context.msp_id)
        context.emit("study.limit", msp_id=context.msp_id, subject=args.dataset_id)
        return limit

    @transaction("study:Uses")
    def uses(self, context: Context, args: DatasetUsesArgs) -> DatasetUses:
        context.get(keys.dataset(args.dataset_id), Dataset)
        return _uses(context, args.dataset_id)

    @transaction("study:Deposit")
    def deposit(self, context: Context, args: DepositArgs) -> Deposit:
        study = _in_stage(context, args.study_id, StudyStatus.COLLECTING)
        _owned(context, study.terms, args.dataset_id)
        if not _consented(context, study, (args.dataset_id,)):
            raise MedFabricError(
                Code.CONSENT_MISSING, f"no consent of {args.dataset_id} to {args.study_id} stands"
            )
        dataset = context.get(keys.dataset(args.dataset_id), Dataset)
        _check_deposit(context, study.terms, dataset, args)
        datasets.charge_study(context, study.terms, dataset)
        deposit = Deposit(
            study_id=args.study_id,
            dataset_id=args.dataset_id,
            msp_id=context.msp_id,
            node_id=context.node_id,
            content=args.content,
            records=args.records,
            posted_at=context.now,
        )
        key = keys.deposit(args.study_id, args.dataset_id)
        return context.post(key, deposit, "study.deposit", subject=args.study_id)

    @transaction("study:Sum")
    def sum(self, context: Context, args: SumArgs) -> Study:
        study = _in_stage(context, args.study_id, StudyStatus.HELD)
        if context.msp_id != study.terms.holder:
            raise MedFabricError(Code.NOT_OWNER, f"{study.terms.holder} holds the records")
        if wrong := studies.selection_problem(study.terms, study.deposits, args.selection):
            raise MedFabricError(Code.BAD_ARGUMENT, f"{wrong}; select again")
        included = {one.dataset_id for one in args.selection}
        if len(_consented(context, study, tuple(sorted(included)))) != len(included):
            raise MedFabricError(Code.CONSENT_MISSING, "an owner has withdrawn; leave its data out")
        _check_size(
            args.sum.size_bytes, studies.ciphertext_bytes(_encryption(context, study.terms))
        )
        if study.terms.privacy is None:
            for dataset_id in sorted(included):
                _use(context, args, dataset_id)
        changes = {
            "selection": args.selection,
            "records": studies.selected(args.selection),
            "sum": args.sum,
        }
        return _move(context, study, StudyStatus.SUMMED, **changes)

    @transaction("study:Attest")
    def attest(self, context: Context, args: AttestSumArgs) -> StudyAttestation:
        # After the agreement an attestation still goes on record: its hospital may have to share.
        study = _in_stage(context, args.study_id, StudyStatus.SUMMED, StudyStatus.AGREED)
        plans.participating(context, _plan(context, study.terms))
        _check_left_out(study, args.unsound)
        attestation = StudyAttestation(
            study_id=args.study_id,
            msp_id=context.msp_id,
            node_id=context.node_id,
            sum_sha256=args.sum_sha256,
            unsound=args.unsound,
            posted_at=context.now,
        )
        key = keys.study_attestation(args.study_id, context.msp_id)
        return context.post(key, attestation, "study.attested", subject=args.study_id)

    @transaction("study:SubmitShare")
    def submit_share(self, context: Context, args: ShareSumArgs) -> StudyShare:
        study = _in_stage(context, args.study_id, StudyStatus.AGREED)
        _holding(context, study)
        if args.attempt != study.attempt:
            raise MedFabricError(
                Code.BAD_STATE, f"attempt {study.attempt} is made now; read the study again"
            )
        if study.sum is None or args.sum_sha256 != study.sum.sha256:
            raise MedFabricError(
                Code.WRONG_AGGREGATE, "the share is of another than the agreed sum"
            )
        encryption = _encryption(context, study.terms)
        _check_size(args.share.size_bytes, studies.share_bytes(study.terms, encryption))
        share = StudyShare(
            study_id=args.study_id,
            attempt=args.attempt,
            msp_id=context.msp_id,
            node_id=context.node_id,
            sum_sha256=args.sum_sha256,
            share=args.share,
            posted_at=context.now,
        )
        key = keys.study_share(args.study_id, args.attempt, context.msp_id)
        return context.post(key, share, "study.share", subject=args.study_id)

    @transaction("study:Find")
    def find(self, context: Context, args: FindArgs) -> Finding:
        study = _in_stage(context, args.study_id, StudyStatus.DECRYPTED)
        plans.participating(context, _plan(context, study.terms))
        if args.sums and (wrong := studies.sums_problem(study.terms, study.records, args.sums)):
            raise MedFabricError(Code.BAD_ARGUMENT, wrong)
        finding = Finding(
            study_id=args.study_id,
            msp_id=context.msp_id,
            node_id=context.node_id,
            sums=args.sums,
            posted_at=context.now,
        )
        key = keys.finding(args.study_id, context.msp_id)
        return context.post(key, finding, "study.found", subject=args.study_id)

    @transaction("study:Prove")
    def prove(self, context: Context, args: ProveStudyShareArgs) -> Posted:
        study = _in_stage(context, args.study_id, StudyStatus.DISPUTED)
        _holding(context, study)
        proof = StudyShareProof(
            study_id=args.study_id,
            msp_id=context.msp_id,
            node_id=context.node_id,
            proof=args.proof,
            posted_at=context.now,
        )
        key = keys.study_proof(args.study_id, context.msp_id)
        context.post(key, proof, "study.proof", subject=args.study_id)
        return Posted(posted_at=context.now)

    @transaction("study:Judge")
    def judge(self, context: Context, args: JudgeStudySharesArgs) -> Posted:
        study = _in_stage(context, args.study_id, StudyStatus.JUDGING)
        plans.participating(context, _plan(context, study.terms))
        verdict = StudyShareVerdict(
            study_id=args.study_id,
            msp_id=context.msp_id,
            node_id=context.node_id,
            culprits=tuple(h for h in study.key_holders if h in args.culprits),
            posted_at=context.now,
        )
        key = keys.study_verdict(args.study_id, context.msp_id)
        context.post(key, verdict, "study.verdict", subject=args.study_id)
        return Posted(posted_at=context.now)

    @transaction("study:Advance")
    def advance(self, context: Context, args: StudyArgs) -> Study:
        study = context.get(keys.study(args.study_id), Study)
        if states.is_final(states.STUDY, study.status):
            raise MedFabricError(Code.ALREADY, f"study {args.study_id} is {study.status} already")
        by_stage: dict[StudyStatus, Callable[[Context, Study], Study]] = {
            StudyStatus.PROPOSED: _decide,
            StudyStatus.COLLECTING: _hold,
            StudyStatus.HELD: _unsummed,
            StudyStatus.SUMMED: _agree,
            StudyStatus.AGREED: _decrypt,
            StudyStatus.DECRYPTED: _publish,
            StudyStatus.DISPUTED: _prove,
            StudyStatus.JUDGING: _judge,
        }
        return by_stage[study.status](context, study)

    @transaction("study:Get")
    def get(self, context: Context, args: StudyArgs) -> StudyView:
        below = (args.study_id,)
        study = context.get(keys.study(args.study_id), Study)
        attempt = keys.study_share(args.study_id, study.attempt, "")[1][:-1]
        return StudyView(
            study=study,
            consents=context.all("study-consent", below, ConsentToStudy),
            deposits=context.all("deposit", below, Deposit),
            attestations=context.all("study-attestation", below, StudyAttestation),
            shares=context.all("study-share", attempt, StudyShare),
            findings=context.all("finding", below, Finding),
            proofs=context.all("study-proof", below, StudyShareProof),
            verdicts=context.all("study-verdict", below, StudyShareVerdict),
            result=context.find(keys.study_result(args.study_id), StudyResult),
        )

    @transaction("study:List")
    def list(self, context: Context, args: PageArgs) -> StudyPage:
        found, bookmark = context.page("study", (), Study, args.page_size, args.bookmark)
        return StudyPage(studies=found, bookmark=bookmark)


def question(context: Context, study: Study) -> voting.Question:
    """A study as a question to the hospitals, by the rule for plans."""
    rule = voting.rules(context).plan
    members = context.consortium().hospitals
    expires_at = study.proposed_at + rule.open_seconds
    return voting.question(
        Subject.STUDY, study.study_id, study.terms_sha256, members, rule, expires_at
    )


# What may be asked


def _check(context: Context, terms: StudyTerms) -> None:
    members = context.consortium().hospitals
    wanted = [keys.dataset(one.dataset_id) for one in terms.datasets]
    registered = {d.dataset_id: d.msp_id for d in context.existing(wanted, Dataset)}
    if strange := [
        d.dataset_id for d in terms.datasets if registered.get(d.dataset_id) != d.msp_id
    ]:
        raise _invalid(f"{', '.join(strange)}: no dataset of the hospital named")
    if outside := sorted({terms.holder, *terms.owners} - set(members)):
        raise _invalid(f"{', '.join(outside)}: no admitted hospital")
    ceremony = context.find(keys.ceremony(terms.plan_id), Ceremony)
    if ceremony is None or ceremony.collective_key_sha256 is None:
        raise _invalid(f"the hospitals of {terms.plan_id} have confirmed no collective key")
    handover.check_kept(context.get(keys.plan(terms.plan_id), PlanState))
    plan = _plan(context, terms)
    assert isinstance(plan.encryption, EncryptionTerms)
    wrong = studies.problem(terms) or studies.refusal(terms, plan.encryption, plan.key_parts)
    if wrong:
        raise _invalid(wrong)


def _check_deposit(
    context: Context, terms: StudyTerms, dataset: Dataset, args: DepositArgs
) -> None:
    parts = (dataset.train_samples, dataset.validation_samples, dataset.test_samples)
    if args.records != sum(parts) or args.records < terms.least_records:
        raise MedFabricError(
            Code.BAD_ARGUMENT,
            f"hand over all {sum(parts)} records of {args.dataset_id}, and at least "
            f"{terms.least_records}",
        )
    encryption = _encryption(context, terms)
    _check_size(args.content.size_bytes, studies.deposit_bytes(terms, encryption, args.records))


def _check_size(size_bytes: int, wanted: int) -> None:
    if size_bytes != wanted:
        raise MedFabricError(Code.WRONG_SIZE, f"{size_bytes} bytes, where {wanted} are right")


def _check_left_out(study: Study, unsound: tuple[str, ...]) -> None:
    """Refuse to call anything unsound but what was handed over and is not summed."""
    summed = {one.dataset_id for one in study.selection}
    left_out = {d.dataset_id for d in study.deposits if d.dataset_id not in summed}
    if len(set(unsound)) != len(unsound) or not set(unsound) <= left_out:
        raise MedFabricError(
            Code.BAD_ARGUMENT, "name once what was handed over and left out; read the study again"
        )


def _invalid(why: str) -> MedFabricError:
    return MedFabricError(Code.STUDY_INVALID, f"{why}; propose another study")


def _plan(context: Context, terms: StudyTerms) -> PlanTerms:
    return context.get(keys.plan_terms(terms.plan_id), PlanTerms)


def _encryption(context: Context, terms: StudyTerms) -> EncryptionTerms:
    encryption = _plan(context, terms).encryption
    assert isinstance(encryption, EncryptionTerms)
    return encryption


def _owned(context: Context, terms: StudyTerms, dataset_id: str) -> None:
    owner = next((d.msp_id for d in terms.datasets if d.dataset_id == dataset_id), None)
    if owner != context.msp_id:
        raise MedFabricError(
            Code.NOT_OWNER, f"{dataset_id} is no dataset of {context.msp_id} in this study"
        )


def _consented(
    context: Context, study: Study, dataset_ids: tuple[str, ...]
) -> tuple[ConsentToStudy, ...]:
    wanted = [keys.study_consent(study.study_id, name) for name in dataset_ids]
    return tuple(c for c in context.existing(wanted, ConsentToStudy) if c.given)


def _use(context: Context, args: SumArgs, dataset_id: str) -> None:
    """Take note that an exact sum is over these records of a dataset.

    Raises:
        MedFabricError: ``STUDY_LIMIT``; nothing is noted then.
    """
    before = _uses(context, dataset_id)
    limit = context.find(keys.study_limit(dataset_id), UseLimit)
    chosen = tuple(s for s in args.selection if s.dataset_id == dataset_id)
    if wrong := studies.overlap_problem(limit, before, chosen):
        raise MedFabricError(Code.STUDY_LIMIT, f"{wrong}; leave it out, or add noise")
    use = DatasetUse(study_id=args.study_id, selection=chosen)
    after = before.model_copy(update={"uses": (*before.uses, use)})
    context.put(keys.study_uses(dataset_id), after)


def _uses(context: Context, dataset_id: str) -> DatasetUses:
    known = context.find(keys.study_uses(dataset_id), DatasetUses)
    return known or DatasetUses(dataset_id=dataset_id)


# The stages


def _decide(context: Context, study: Study) -> Study:
    ballot = voting.ballot(context, question(context, study))
    if voting.decided(ballot):
        return _move(context, study, StudyStatus.COLLECTING)
    why = "the vote has lapsed" if ballot.lapsed else "refused by vote"
    return _move(context, study, StudyStatus.REJECTED, reason=why)


def _hold(context: Context, study: Study) -> Study:
    datasets = study.terms.datasets
    wanted = [keys.deposit(study.study_id, one.dataset_id) for one in datasets]
    deposits = context.existing(wanted, Deposit)
    given = {deposit.dataset_id for deposit in deposits}
    owing = {one.msp_id for one in datasets if one.dataset_id not in given}
    if absent := tuple(sorted(owing)):
        _wait(context, study, absent)
    if not deposits:
        return _fail(context, study, Code.QUORUM_MISSED, "nobody has handed records over", ())
    return _move(context, study, StudyStatus.HELD, deposits=deposits, absent=absent)


def _unsummed(context: Context, study: Study) -> Study:
    holder = (study.terms.holder,)
    _wait(context, study, holder)
    return _fail(context, study, Code.NO_AGREEMENT, f"no sum of {holder[0]}", holder)


def _agree(context: Context, study: Study) -> Study:
    plan = _plan(context, study.terms)
    posted, agreed = _attested(context, study, plan)
    absent = plans.absent(plan.hospitals, posted)
    needed = plan.attestations_needed
    if len(agreed) >= needed:
        named = Counter(name for attestation in agreed for name in attestation.unsound)
        unsound = tuple(sorted(name for name, votes in named.items() if votes >= needed))
        spoiled = [d for d in study.deposits if d.dataset_id in unsound]
        reputation.book_study(context, spoiled, Evidence.CONTENT)
        holders = _key_holders(plan, tuple(a.msp_id for a in agreed))
        changes = {"attempt": 1, "key_holders": holders, "unsound": unsound}
        return _move(context, study, StudyStatus.AGREED, **changes)
    if len(agreed) + len(absent) >= needed:
        _wait(context, study, absent)
    why = f"{len(agreed)} of {needed} attest the holder's sum"
    return _fail(context, study, Code.NO_AGREEMENT, why, absent)


def _attested(
    context: Context, study: Study, plan: PlanTerms
) -> tuple[tuple[StudyAttestation, ...], tuple[StudyAttestation, ...]]:
    """All attestations, and those by members of the sum that the holder gave."""
    assert study.sum is not None
    wanted = [keys.study_attestation(study.study_id, h) for h in plan.hospitals]
    posted = context.existing(wanted, StudyAttestation)
    gone = plans.gone_holders(context, plan)
    agreed = [a for a in posted if a.sum_sha256 == study.sum.sha256 and a.msp_id not in gone]
    return posted, tuple(agreed)


def _key_holders(plan: PlanTerms, ready: tuple[str, ...]) -> tuple[str, ...]:
    threshold = plan.encryption.threshold
    return plan.hospitals if threshold is None else ready[:threshold]


def _decrypt(context: Context, study: Study) -> Study:
    wanted = [keys.study_share(study.study_id, study.attempt, h) for h in study.key_holders]
    absent = plans.absent(study.key_holders, context.existing(wanted, StudyShare))
    if not absent:
        return _move(context, study, StudyStatus.DECRYPTED)
    _wait(context, study, absent)
    return _decrypt_without(context, study, absent)


def _decrypt_without(context: Context, study: Study, absent: tuple[str, ...]) -> Study:
    """A further attempt without key holders who let the deadline pass, where enough remain of
    those who attest the sum."""
    plan = _plan(context, study.terms)
    silent = tuple(sorted({*study.silent, *absent}))
    _, agreed = _attested(context, study, plan)
    ready = tuple(a.msp_id for a in agreed if a.msp_id not in silent)
    threshold = plan.encryption.threshold
    if threshold is None or len(ready) < threshold:
        why = f"no decryption shares of {', '.join(absent)}"
        return _fail(context, study, Code.KEY_HOLDER_MISSING, why, absent)
    reputation.missed_duty(context, absent)
    holders = _key_holders(plan, ready)
    changes = {"attempt": study.attempt + 1, "key_holders": holders, "silent": silent}
    return _move(context, study, StudyStatus.AGREED, **changes)


def _publish(context: Context, study: Study) -> Study:
    plan = _plan(context, study.terms)
    wanted = [keys.finding(study.study_id, h) for h in plan.hospitals]
    posted = context.existing(wanted, Finding)
    tally = Counter(finding.sums for finding in posted)
    sums, votes = max(tally.items(), key=lambda item: (item[1], item[0]), default=((), 0))
    needed, absent = plan.attestations_needed, plans.absent(plan.hospitals, posted)
    if votes >= needed and sums:
        _put_result(context, study, sums)
        return _move(context, study, StudyStatus.PUBLISHED)
    if votes >= needed:
        why = "the shares do not open the agreed sum"
        return _move(context, study, StudyStatus.DISPUTED, reason=why)
    if votes + len(absent) >= needed:
        _wait(context, study, absent)
    why = f"{votes} of {needed} decrypted the same sums"
    return _fail(context, study, Code.NO_AGREEMENT, why, absent)


def _prove(context: Context, study: Study) -> Study:
    """Complete when every key holder has proven its share."""
    wanted = [keys.study_proof(study.study_id, h) for h in study.key_holders]
    absent = plans.absent(study.key_holders, context.existing(wanted, StudyShareProof))
    if absent:
        _wait(context, study, absent)
    return _move(context, study, StudyStatus.JUDGING, unproven=absent)


def _judge(context: Context, study: Study) -> Study:
    """The study has failed either way; what is found is who is at fault."""
    hospitals, holders = _plan(context, study.terms).hospitals, study.key_holders
    wanted = [keys.study_verdict(study.study_id, h) for h in hospitals]
    posted = context.existing(wanted, StudyShareVerdict)
    if absent := plans.absent(hospitals, posted):
        _wait(context, study, absent)
    said, proven = [verdict.culprits for verdict in posted], set(holders) - set(study.unproven)
    found = disputes.unproven(holders, proven, said, len(hospitals))
    shared = [keys.study_share(study.study_id, study.attempt, h) for h in found]
    reputation.book_study(context, context.existing(shared, StudyShare), Evidence.SHARE)
    why = disputes.verdict(study.reason, found, "values are none of honest records")
    # A hospital is booked once in a transaction.
    late = tuple(h for h in absent if h not in found)
    judged = study.model_copy(update={"unproven": found})
    return _fail(context, judged, Code.DECRYPTION_FAILED, why, late)


def _put_result(context: Context, study: Study, sums: tuple[int, ...]) -> None:
    result = StudyResult(
        study_id=study.study_id,
        terms_sha256=study.terms_sha256,
        dataset_ids=tuple(dict.fromkeys(one.dataset_id for one in study.selection)),
        records=study.records,
        sums=sums,
        sums_sha256=canonical.sha256(list(sums)),
        published_at=context.now,
    )
    context.put(keys.study_result(study.study_id), result)


def _holding(context: Context, study: Study) -> None:
    if context.msp_id not in study.key_holders:
        raise MedFabricError(
            Code.NOT_A_PARTICIPANT, f"those of {', '.join(study.key_holders)} are wanted"
        )


def _in_stage(context: Context, study_id: str, *stage: StudyStatus) -> Study:
    study = context.get(keys.study(study_id), Study)
    what = f"study {study_id}"
    staging.check_stage(what, study, *stage)
    staging.check_time(context, what, study)
    return study


def _wait(context: Context, study: Study, whom: tuple[str, ...]) -> None:
    members = context.consortium().hospitals
    staging.wait(context, study, [msp_id for msp_id in whom if msp_id in members])


def _move(context: Context, study: Study, to: StudyStatus, **changes: object) -> Study:
    states.check(states.STUDY, study.status, to)
    deadline = context.now + study.terms.stage_seconds
    fixed = {"status": to, "changed_at": context.now, "deadline": deadline}
    moved = study.model_copy(update={**fixed, **changes})
    context.put(keys.study(study.study_id), moved)
    context.emit(f"study.{to.value.lower()}", subject=study.study_id)
    return moved


def _fail(context: Context, study: Study, code: Code, why: str, absent: tuple[str, ...]) -> Study:
    """Who let the deadline pass has missed a duty."""
    reputation.missed_duty(context, absent)
    changes = {"failure": code.value, "reason": why[:512], "absent": absent}
    return _move(context, study, StudyStatus.FAILED, **changes)
