"""What decrypted sums tell of whole hospitals, of those plans that hide them: one account for each
hospital, across all plans."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chaincode.schema import accounting
from chaincode.schema.base import Count, Id, Language, Micro, MspId, Nano


class HospitalSpending(Language):
    """What one plan's ``sums`` with an update of the hospital have told of it.

    ``norm_levels``, ``noise_levels``: of the plan's hospital terms; ``summands``: noises of each
    sum that count; ``values``: of an update. The divergences follow from these and are not kept.
    ``epsilon_micro``: of this plan alone, at the delta of its hospital terms.
    """

    plan_id: Id
    msp_id: MspId
    norm_levels: Count
    noise_levels: Count
    summands: Count
    values: Count
    sums: Count
    epsilon_micro: Micro

    def rdp_pico(self) -> tuple[int, ...]:
        """Divergences at accounting.ORDERS, in 1e-12; every sum is rounded up by itself."""
        once = accounting.summed_rdp_pico(
            self.norm_levels, self.noise_levels, self.summands, self.values
        )
        return tuple(self.sums * divergence for divergence in once)


class HospitalAccount(Language):
    """What all plans that hide hospitals have told of one, against the budget that it set.

    A plan that hides no hospitals bounds what is told of patients, and is not counted here.
    """

    msp_id: MspId
    budget_epsilon_micro: Micro
    delta_nano: Nano
    epsilon_micro: Micro
    plans: tuple[HospitalSpending, ...]


def total_micro(plans: tuple[HospitalSpending, ...], delta_nano: int) -> int:
    """Epsilon, in 1e-6, of everything that these plans have told of a hospital."""
    total: tuple[int, ...] = ()
    for spending in plans:
        total = accounting.add(total, spending.rdp_pico())
    return accounting.epsilon_micro(total, delta_nano) if total else 0


# Arguments


class HospitalBudgetArgs(Language):
    """What all plans together may tell of the caller's hospital."""

    budget_epsilon_micro: Annotated[int, Field(ge=1, le=10**9)]
    delta_nano: Annotated[int, Field(ge=1, lt=10**9)]


# Results


class HospitalAccountPage(Language):
    accounts: tuple[HospitalAccount, ...]
    bookmark: str
