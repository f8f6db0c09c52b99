"""A key that one plan's hospitals hand on to another's: when they may, and who of them does."""

from __future__ import annotations

from chaincode.contracts.framework import Context
from chaincode.schema import keys, states
from chaincode.schema.ceremonies import Ceremony
from chaincode.schema.consortium import Subject, Vote
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanState, PlanStatus, PlanTerms
from chaincode.schema.rounds import Round

_RESTING = (PlanStatus.PAUSED, PlanStatus.COMPLETED, PlanStatus.FAILED, PlanStatus.ABORTED)


def check(context: Context, terms: PlanTerms) -> None:
    """Refuse a plan that takes over a key which is not there, is another, or does not fit it.

    Raises:
        MedFabricError: ``PLAN_INVALID``, ``KEY_HOLDER_LEFT``, or ``NOT_FOUND`` for the earlier
            plan.
    """
    if terms.key is None:
        return
    former = context.get(keys.plan_terms(terms.key.plan_id), PlanTerms)
    ceremony = context.find(keys.ceremony(former.plan_id), Ceremony)
    if ceremony is None or ceremony.collective_key_sha256 is None:
        raise _invalid(f"the hospitals of {former.plan_id} have confirmed no collective key")
    if terms.key != former.handed_on(ceremony.collective_key_sha256):
        raise _invalid(f"the key is not that of {former.plan_id}, as the ledger has it")
    old, new = former.encryption, terms.encryption
    if not (isinstance(old, EncryptionTerms) and isinstance(new, EncryptionTerms)):
        raise _invalid("masks have no key that could be handed on")
    if _ring(old) != _ring(new):
        raise _invalid(f"the key of {former.plan_id} is of another ring; take that ring's terms")
    _present(context, former)


def begin(context: Context, terms: PlanTerms) -> tuple[str, ...]:
    """Who shows and deals in the plan's ceremony.

    A holder that votes for the plan consents with that to hand its part on, whether it goes on
    itself or leaves; of those who leave no more are asked than are needed. Nothing is done with the
    key under its earlier plan from then on.

    Raises:
        MedFabricError: ``NOT_YET`` while that plan has its key in use, ``ALREADY`` where another
            plan has taken it over, ``KEY_HOLDER_LEFT`` or ``PLAN_INVALID`` where too few are left
            who hold it, or approve.
    """
    if terms.key is None:
        return terms.hospitals
    state = context.get(keys.plan(terms.key.plan_id), PlanState)
    former = context.get(keys.plan_terms(terms.key.plan_id), PlanTerms)
    if state.successor is not None:
        raise MedFabricError(
            Code.ALREADY, f"{state.successor} takes over the key of {state.plan_id}; wait or abort"
        )
    if state.status not in _RESTING or _in_round(context, state):
        raise MedFabricError(
            Code.NOT_YET, f"{state.plan_id} uses its key; pause it and let its round end first"
        )
    place = (Subject.PLAN, terms.plan_id, terms.sha256)
    candidates = _present(context, former)
    votes = context.find_all([keys.vote(*place, h) for h in candidates], Vote)
    ready = [h for h, v in zip(candidates, votes, strict=True) if v is not None and v.approve]
    dealers = terms.dealers(former, ready)
    if not dealers:
        raise _invalid(
            f"{len(ready)} hospitals of {former.plan_id} approve, and {former.holders_needed} are "
            "needed to hand its key on"
        )
    _mark(context, state, terms.plan_id)
    return dealers


def release(context: Context, terms: PlanTerms) -> None:
    """Give the key back to the earlier plan, where the ceremony came to nothing."""
    if terms.key is not None:
        state = context.get(keys.plan(terms.key.plan_id), PlanState)
        if state.successor == terms.plan_id:
            _mark(context, state, None)


def check_kept(state: PlanState) -> None:
    """Refuse to go on with a plan whose key is handed on.

    Raises:
        MedFabricError: ``KEY_HANDED_ON``.
    """
    if state.successor is not None:
        raise MedFabricError(
            Code.KEY_HANDED_ON,
            f"the key of {state.plan_id} goes to {state.successor}; go on there",
        )


def _mark(context: Context, state: PlanState, successor: str | None) -> None:
    changed = state.model_copy(update={"successor": successor, "changed_at": context.now})
    context.put(keys.plan(state.plan_id), PlanState(**dict(changed)))


def _present(context: Context, former: PlanTerms) -> tuple[str, ...]:
    """Those who hold the key and are members still, if they are enough to hand it on."""
    members = context.consortium().hospitals
    gone = ", ".join(h for h in former.hospitals if h not in members)
    present = tuple(h for h in former.hospitals if h in members)
    if len(present) < (needed := former.holders_needed):
        raise MedFabricError(
            Code.KEY_HOLDER_LEFT,
            f"{gone} left the consortium, and of {former.plan_id} {needed} hospitals are needed to "
            "hand its key on; propose a plan with a key of its own",
        )
    return present


def _ring(terms: EncryptionTerms) -> tuple[object, ...]:
    return terms.security_bits, terms.poly_modulus_degree, terms.modulus_bits


def _in_round(context: Context, state: PlanState) -> bool:
    if not state.rounds_opened:
        return False
    last = context.get(keys.round_(state.plan_id, state.rounds_opened), Round)
    return not states.is_final(states.ROUND, last.status)


def _invalid(why: str) -> MedFabricError:
    return MedFabricError(Code.PLAN_INVALID, f"{why}; correct the plan and propose it again")
