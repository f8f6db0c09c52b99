"""Datasets, their owners' consent, and their privacy accounts."""

from __future__ import annotations

from chaincode.contracts import hospital as hospitals
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import accounting, keys
from chaincode.schema.base import PageArgs
from chaincode.schema.datasets import (
    BudgetArgs,
    Consent,
    ConsentArgs,
    Dataset,
    DatasetArgs,
    DatasetPage,
    DatasetView,
    LocalSpending,
    LocalTraining,
    PrivacyAccount,
    PrivacyReport,
    RegisterDatasetArgs,
    Release,
    ReleaseArgs,
    Spending,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanState, PlanTerms, Work
from chaincode.schema.studies import StudyTerms, spending_of


class DatasetContract:
    """A dataset belongs to the hospital whose admin registers it."""

    @transaction("dataset:Register")
    def register(self, context: Context, args: RegisterDatasetArgs) -> DatasetView:
        if context.find(keys.dataset(args.dataset_id), Dataset) is not None:
            raise MedFabricError(Code.EXISTS, f"dataset {args.dataset_id} exists; name another")
        dataset = Dataset(
            dataset_id=args.dataset_id,
            msp_id=context.msp_id,
            name=args.name,
            application=args.application,
            simulated=args.simulated,
            commitment_sha256=args.commitment_sha256,
            split_sha256=args.split_sha256,
            descriptor_sha256=args.descriptor_sha256,
            train_samples=args.train_samples,
            validation_samples=args.validation_samples,
            test_samples=args.test_samples,
            registered_at=context.now,
        )
        account = PrivacyAccount(
            dataset_id=args.dataset_id,
            msp_id=context.msp_id,
            budget_epsilon_micro=args.budget_epsilon_micro,
            delta_nano=args.delta_nano,
            epsilon_micro=0,
            plans=(),
        )
        context.put_owned(keys.dataset(args.dataset_id), dataset, context.msp_id)
        context.put_owned(keys.account(args.dataset_id), account, context.msp_id)
        context.emit("dataset.registered", msp_id=context.msp_id, subject=args.dataset_id)
        return DatasetView(dataset=dataset, account=account)

    @transaction("dataset:SetBudget")
    def set_budget(self, context: Context, args: BudgetArgs) -> PrivacyAccount:
        _owned(context, args.dataset_id)
        account = context.get(keys.account(args.dataset_id), PrivacyAccount)
        if args.budget_epsilon_micro < account.epsilon_micro:
            raise MedFabricError(
                Code.BUDGET_EXCEEDED, "the dataset has spent more than that; it cannot be unspent"
            )
        changed = account.model_copy(update={"budget_epsilon_micro": args.budget_epsilon_micro})
        context.put_owned(keys.account(args.dataset_id), changed, context.msp_id)
        context.emit("dataset.budget", msp_id=context.msp_id, subject=args.dataset_id)
        return changed

    @transaction("dataset:Release")
    def release(self, context: Context, args: ReleaseArgs) -> Release:
        dataset = _owned(context, args.dataset_id)
        key = keys.release(args.dataset_id, args.release_id)
        if context.find(key, Release) is not None:
            raise MedFabricError(
                Code.EXISTS, f"release {args.release_id} exists, and is charged; give it out again"
            )
        account = context.get(keys.account(args.dataset_id), PrivacyAccount)
        made = Release(
            msp_id=context.msp_id, epsilon_micro=0, released_at=context.now, **dict(args)
        )
        alone = accounting.epsilon_micro(made.rdp_pico(), account.delta_nano)
        made = made.model_copy(update={"epsilon_micro": alone})
        releases = (*account.releases, made)
        changed = _charged(account.model_copy(update={"releases": releases}), dataset, "release")
        context.put_owned(key, made, context.msp_id)
        context.put_owned(keys.account(args.dataset_id), changed, context.msp_id)
        context.emit("dataset.release", msp_id=context.msp_id, subject=args.dataset_id)
        return made

    @transaction("dataset:Consent")
    def consent(self, context: Context, args: ConsentArgs) -> Consent:
        return self._consent(context, args, given=True)

    @transaction("dataset:Withdraw")
    def withdraw(self, context: Context, args: ConsentArgs) -> Consent:
        return self._consent(context, args, given=False)

    @transaction("dataset:Get")
    def get(self, context: Context, args: DatasetArgs) -> DatasetView:
        dataset = context.get(keys.dataset(args.dataset_id), Dataset)
        return _with_accounts(context, (dataset,))[0]

    @transaction("dataset:List")
    def list(self, context: Context, args: PageArgs) -> DatasetPage:
        datasets, bookmark = context.page("dataset", (), Dataset, args.page_size, args.bookmark)
        return DatasetPage(datasets=_with_accounts(context, datasets), bookmark=bookmark)

    @transaction("dataset:Privacy")
    def privacy(self, context: Context, args: PageArgs) -> PrivacyReport:
        accounts, bookmark = context.page(
            "account", (), PrivacyAccount, args.page_size, args.bookmark
        )
        largest = max((account.epsilon_micro for account in accounts), default=0)
        return PrivacyReport(accounts=accounts, largest_epsilon_micro=largest, bookmark=bookmark)

    def _consent(self, context: Context, args: ConsentArgs, *, given: bool) -> Consent:
        _owned(context, args.dataset_id)
        plan = context.get(keys.plan(args.plan_id), PlanState)
        if plan.terms_sha256 != args.terms_sha256:
            raise MedFabricError(
                Code.TERMS_MISMATCH, "the plan has other terms than these; read them again"
            )
        key = keys.consent(args.dataset_id, args.plan_id)
        before = context.find(key, Consent)
        if consents(before, plan) is given:
            raise MedFabricError(Code.ALREADY, "consent stands as asked already")
        if given:
            hospitals.check_account(context, context.get(keys.plan_terms(args.plan_id), PlanTerms))
        consent = Consent(
            dataset_id=args.dataset_id,
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            terms_sha256=args.terms_sha256,
            given=given,
            reason=args.reason,
            changed_at=context.now,
        )
        context.put_owned(key, consent, context.msp_id)
        name = "dataset.consent" if given else "dataset.withdrawn"
        context.emit(name, plan_id=args.plan_id, subject=args.dataset_id)
        return consent


def charge(context: Context, terms: PlanTerms, dataset: Dataset, work: Work) -> Spending:
    """Charge one update to the dataset's account, within the plan's and the dataset's budget.

    Args:
        work: the plan's, for the device that trained and the dataset.

    Raises:
        MedFabricError: ``PLAN_BUDGET_EXCEEDED`` or ``BUDGET_EXCEEDED``; nothing is charged then.
    """
    account = context.get(keys.account(dataset.dataset_id), PrivacyAccount)
    training, privacy = work
    first = Spending(
        plan_id=terms.plan_id,
        batch_size=training.batch_size,
        noise_multiplier_micro=privacy.noise_multiplier_micro,
        steps_each=training.steps,
        updates=1,
        epsilon_micro=0,
    )
    before = next((s for s in account.plans if s.mechanism == first.mechanism), None)
    others = tuple(s for s in account.plans if s.mechanism != first.mechanism)
    spending = first.model_copy(update={"updates": before.updates + 1}) if before else first
    in_plan = spending.rdp_pico(dataset.train_samples)
    for other in others:
        if other.plan_id == terms.plan_id:
            in_plan = accounting.add(in_plan, other.rdp_pico(dataset.train_samples))
    in_plan_micro = accounting.epsilon_micro(in_plan, terms.privacy.delta_nano)
    spending = spending.model_copy(update={"epsilon_micro": in_plan_micro})
    plan_budget = terms.privacy.epsilon_micro
    _within(in_plan_micro, plan_budget, Code.PLAN_BUDGET_EXCEEDED, "update", "plan")
    plans = tuple(sorted((*others, spending), key=lambda s: s.mechanism))
    changed = _charged(account.model_copy(update={"plans": plans}), dataset, "update")
    context.put_owned(keys.account(dataset.dataset_id), changed, account.msp_id)
    return spending


def charge_local(context: Context, model_id: str, training: LocalTraining) -> LocalSpending:
    """Charge a local model that is shared to the account of the dataset that it was trained on.

    Raises:
        MedFabricError: ``NOT_OWNER``, ``BAD_ARGUMENT`` or ``BUDGET_EXCEEDED``; nothing is charged
            then.
    """
    dataset = _owned(context, training.dataset_id)
    if training.batch_size > dataset.train_samples:
        raise MedFabricError(
            Code.BAD_ARGUMENT,
            f"a batch of {training.batch_size} of {dataset.train_samples} training records",
        )
    account = context.get(keys.account(dataset.dataset_id), PrivacyAccount)
    alone = accounting.epsilon_micro(training.rdp_pico(dataset.train_samples), account.delta_nano)
    spending = LocalSpending(model_id=model_id, epsilon_micro=alone, **dict(training))
    models = (*account.models, spending)
    changed = _charged(account.model_copy(update={"models": models}), dataset, "model")
    context.put_owned(keys.account(dataset.dataset_id), changed, context.msp_id)
    return spending


def charge_study(context: Context, terms: StudyTerms, dataset: Dataset) -> None:
    """Charge a study's sums to the account of a dataset that is handed over to it; nothing where
    they are exact.

    Raises:
        MedFabricError: ``BUDGET_EXCEEDED``; nothing is charged then.
    """
    if terms.privacy is None:
        return
    account = context.get(keys.account(dataset.dataset_id), PrivacyAccount)
    studies = (*account.studies, spending_of(terms, account.delta_nano))
    changed = _charged(account.model_copy(update={"studies": studies}), dataset, "study")
    context.put_owned(keys.account(dataset.dataset_id), changed, account.msp_id)


def consents(consent: Consent | None, plan: PlanState) -> bool:
    """Whether a dataset's owner consents to the plan's terms as they are."""
    return consent is not None and consent.given and consent.terms_sha256 == plan.terms_sha256


def _charged(account: PrivacyAccount, dataset: Dataset, what: str) -> PrivacyAccount:
    """The account with the epsilon of everything that stands on it, within its budget."""
    total: tuple[int, ...] = ()
    for one in (*account.plans, *account.apart):
        total = accounting.add(total, one.rdp_pico(dataset.train_samples))
    epsilon = accounting.epsilon_micro(total, account.delta_nano)
    _within(epsilon, account.budget_epsilon_micro, Code.BUDGET_EXCEEDED, what, "dataset")
    return account.model_copy(update={"epsilon_micro": epsilon})


def _within(spent: int, budget: int, code: Code, what: str, whose: str) -> None:
    if spent > budget:
        raise MedFabricError(
            code,
            f"the {what} would bring epsilon to {accounting.shown(spent)}, the {whose}'s budget is "
            f"{accounting.shown(budget)}; add more noise or ask for a larger budget",
        )


def _owned(context: Context, dataset_id: str) -> Dataset:
    dataset = context.get(keys.dataset(dataset_id), Dataset)
    if dataset.msp_id != context.msp_id:
        raise MedFabricError(
            Code.NOT_OWNER, f"dataset {dataset_id} belongs to {dataset.msp_id}; it decides"
        )
    return dataset


def _with_accounts(context: Context, datasets: tuple[Dataset, ...]) -> tuple[DatasetView, ...]:
    wanted = [keys.account(dataset.dataset_id) for dataset in datasets]
    accounts = context.existing(wanted, PrivacyAccount)
    pairs = zip(datasets, accounts, strict=True)
    return tuple(DatasetView(dataset=dataset, account=account) for dataset, account in pairs)
