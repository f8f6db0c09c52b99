"""Why a node gives no update, or cannot take another's content; what lasts until somebody acts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from trainer.privacy.wire import MALFORMED

_EXPLODED = 8.0
"""What no weight moves by in a round that goes well. The plan's range is no measure: a narrow one
cuts the noise of honest updates, and is meant to."""
_MOST_EXPLODED = 0.001
"""Part of an update's values that may be larger, and than the plan's range."""
OWN_FAULTS = frozenset(
    {Code.STORE_FAILED, Code.STORE_FULL, Code.STORE_UNREACHABLE, Code.FILE_UNUSABLE}
)
"""What keeps content from this hospital and says nothing of the content."""
UNDECODABLE = MALFORMED | {Code.DECODE_RANGE, Code.MASK_SHARE_REFUSED}
"""Why shares decrypt nothing, whoever combines them."""
UNTRAINABLE = frozenset(
    {
        Code.ARCHITECTURE_CONFIG,
        Code.ARCHITECTURE_UNFIT,
        Code.ARCHITECTURE_UNKNOWN,
        Code.CLASS_EMPTY,
        Code.DATA_CHANGED,
        Code.DATA_FILE,
        Code.DATA_MISMATCH,
        Code.DATA_VALUE,
        Code.ENVELOPE_REFUSED,
        Code.MODEL_FILE,
        Code.MODEL_RECALLED,
        Code.NODE_CONFIG,
        Code.PATIENT_SPLIT,
        Code.SEALED_DAMAGED,
        Code.STRATEGY_UNKNOWN,
        Code.TRAINING_REFUSED,
    }
)
"""Why a node cannot train for a round until somebody acts, however often it tries."""
UNACCEPTED = frozenset(
    {
        Code.BAD_STATE,
        Code.BUDGET_EXCEEDED,
        Code.CONSENT_MISSING,
        Code.DEADLINE_PASSED,
        Code.NO_BUDGET,
        Code.NOT_A_PARTICIPANT,
        Code.PLAN_BUDGET_EXCEEDED,
        Code.PRIVACY_TERMS_MISMATCH,
        Code.WRONG_SIZE,
    }
)
"""Why the ledger refuses an update, however often it is submitted."""


def refuse_exploded(delta: NDArray[np.float64], terms: PlanTerms) -> None:
    """Refuse an update that is no number, or so large that training has failed.

    What is looked at has its noise already: whether it is refused tells nothing more of a record.
    """
    limit = max(_EXPLODED, terms.encryption.clip_micro / 1e6)
    beyond = int((np.abs(delta) > limit).sum())
    if not np.isfinite(delta).all():
        why = "it holds values that are not finite"
    elif beyond > delta.size * _MOST_EXPLODED:
        why = f"{beyond} of its {delta.size} values are beyond {limit:g}"
    else:
        return
    raise MedFabricError(
        Code.UPDATE_REFUSED,
        f"this node's update stays here: {why}; lower the learning rate in the next plan",
    )
