"""Disputes: where shares of all key holders decode to nothing, each proves its own.

Who posts no proof in time, or one that most hospitals find not to hold, is named on the round.
"""

from __future__ import annotations

from chaincode.contracts import plan as plans
from chaincode.contracts import staging
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import disputes, keys
from chaincode.schema.disputes import JudgeSharesArgs, ProveShareArgs, ShareProof, ShareVerdict
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import Posted, Round, RoundStatus


class DisputeContract:
    """Proofs first; once all are there or overdue, verdicts on them."""

    @transaction("dispute:Prove")
    def prove(self, context: Context, args: ProveShareArgs) -> Posted:
        round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.DISPUTED)
        if context.msp_id not in round_.key_holders:
            raise MedFabricError(
                Code.NOT_A_PARTICIPANT, f"{context.msp_id} did not share in this decryption"
            )
        proof = ShareProof(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            proof=args.proof,
            posted_at=context.now,
        )
        key = keys.share_proof(args.plan_id, args.round, context.msp_id)
        context.post(key, proof, "dispute.proof", plan_id=args.plan_id, round=args.round)
        return Posted(posted_at=context.now)

    @transaction("dispute:Judge")
    def judge(self, context: Context, args: JudgeSharesArgs) -> Posted:
        round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.JUDGING)
        verdict = ShareVerdict(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            culprits=tuple(h for h in round_.key_holders if h in args.culprits),
            posted_at=context.now,
        )
        key = keys.share_verdict(args.plan_id, args.round, context.msp_id)
        context.post(key, verdict, "dispute.verdict", plan_id=args.plan_id, round=args.round)
        return Posted(posted_at=context.now)


# What the stages need.


def proofs(context: Context, round_: Round) -> tuple[ShareProof, ...]:
    """Posted proofs, by key holder."""
    place = (round_.plan_id, round_.number)
    wanted = [keys.share_proof(*place, h) for h in round_.key_holders]
    return context.existing(wanted, ShareProof)


def verdicts(context: Context, terms: PlanTerms, number: int) -> tuple[ShareVerdict, ...]:
    """Posted verdicts, by hospital."""
    wanted = [keys.share_verdict(terms.plan_id, number, h) for h in terms.hospitals]
    return context.existing(wanted, ShareVerdict)


def unproven(context: Context, terms: PlanTerms, round_: Round) -> tuple[str, ...]:
    """Key holders who posted no proof, or one that most hospitals find not to hold."""
    said = [verdict.culprits for verdict in verdicts(context, terms, round_.number)]
    proven = set(round_.key_holders) - set(round_.unproven)
    return disputes.unproven(round_.key_holders, proven, said, len(terms.hospitals))


def _in_stage(context: Context, plan_id: str, number: int, stage: RoundStatus) -> Round:
    plan = plans.running(context, plan_id)
    plans.participating(context, plan.terms)
    round_ = context.get(keys.round_(plan_id, number), Round)
    staging.check_stage(f"round {round_.number}", round_, stage)
    staging.check_time(context, f"round {round_.number}", round_)
    return round_
