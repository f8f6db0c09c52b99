"""Hospitals' own privacy accounts: what plans that hide them may tell of each, and have told."""

from __future__ import annotations

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import accounting, keys
from chaincode.schema.base import PageArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.hospitals import (
    HospitalAccount,
    HospitalAccountPage,
    HospitalBudgetArgs,
    HospitalSpending,
    total_micro,
)
from chaincode.schema.plans import PlanTerms


class HospitalContract:
    """A hospital's account belongs to it: its admin sets the budget, its nodes' updates charge."""

    @transaction("hospital:SetBudget")
    def set_budget(self, context: Context, args: HospitalBudgetArgs) -> HospitalAccount:
        before = context.find(keys.hospital_account(context.msp_id), HospitalAccount)
        plans = before.plans if before else ()
        spent = total_micro(plans, args.delta_nano)
        if args.budget_epsilon_micro < spent:
            raise MedFabricError(
                Code.BUDGET_EXCEEDED,
                f"plans have told an epsilon of {accounting.shown(spent)} of {context.msp_id}; it "
                "cannot be untold",
            )
        account = HospitalAccount(
            msp_id=context.msp_id,
            budget_epsilon_micro=args.budget_epsilon_micro,
            delta_nano=args.delta_nano,
            epsilon_micro=spent,
            plans=plans,
        )
        context.put_owned(keys.hospital_account(context.msp_id), account, context.msp_id)
        context.emit("hospital.budget", msp_id=context.msp_id)
        return account

    @transaction("hospital:Privacy")
    def privacy(self, context: Context, args: PageArgs) -> HospitalAccountPage:
        accounts, bookmark = context.page(
            "hospital-account", (), HospitalAccount, args.page_size, args.bookmark
        )
        return HospitalAccountPage(accounts=accounts, bookmark=bookmark)


def check_account(context: Context, terms: PlanTerms) -> None:
    """Refuse what would have a plan tell of a hospital that has set no budget for that.

    Raises:
        MedFabricError: ``NO_BUDGET``.
    """
    if terms.hides_hospitals:
        _account(context)


def charge(context: Context, terms: PlanTerms) -> None:
    """Charge one sum with an update of the caller's hospital, within the plan's budget and the
    hospital's own.

    Raises:
        MedFabricError: ``NO_BUDGET``, ``PLAN_BUDGET_EXCEEDED`` or ``BUDGET_EXCEEDED``; nothing is
            charged then.
    """
    hidden = terms.privacy.hospital
    if hidden is None:
        return
    account = _account(context)
    before = next((s.sums for s in account.plans if s.plan_id == terms.plan_id), 0)
    spending = terms.told(context.msp_id, before + 1)
    others = tuple(s for s in account.plans if s.plan_id != terms.plan_id)
    plans = tuple(sorted((*others, spending), key=lambda s: s.plan_id))
    total = total_micro(plans, account.delta_nano)
    plan_budget, budget = hidden.epsilon_micro, account.budget_epsilon_micro
    _within(context, spending.epsilon_micro, plan_budget, Code.PLAN_BUDGET_EXCEEDED, "plan")
    _within(context, total, budget, Code.BUDGET_EXCEEDED, "hospital")
    changed = account.model_copy(update={"epsilon_micro": total, "plans": plans})
    context.put_owned(keys.hospital_account(context.msp_id), changed, context.msp_id)


def told_by(context: Context, terms: PlanTerms) -> tuple[HospitalSpending, ...]:
    """What a plan has told of each hospital that it hides, of those with an update."""
    if not terms.hides_hospitals:
        return ()
    wanted = [keys.hospital_account(msp_id) for msp_id in terms.hospitals]
    accounts = context.existing(wanted, HospitalAccount)
    return tuple(s for account in accounts for s in account.plans if s.plan_id == terms.plan_id)


def _account(context: Context) -> HospitalAccount:
    account = context.find(keys.hospital_account(context.msp_id), HospitalAccount)
    if account is None:
        raise MedFabricError(
            Code.NO_BUDGET,
            f"{context.msp_id} has set no budget for what plans tell of it as a whole; set one "
            "(hospital:SetBudget)",
        )
    return account


def _within(context: Context, spent: int, budget: int, code: Code, whose: str) -> None:
    if spent > budget:
        raise MedFabricError(
            code,
            f"the update would bring what is told of {context.msp_id} to an epsilon of "
            f"{accounting.shown(spent)}, the {whose}'s budget is {accounting.shown(budget)}; wait "
            "for a plan with more noise",
        )
