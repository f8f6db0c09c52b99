"""What hospitals attest of a round's sum: a hash that anybody computes from the ledger, and that
binds the sum to the plan, the round, the key if there is one, and every update in it."""

from __future__ import annotations

import hashlib

from chaincode.schema import canonical
from chaincode.schema.encryption import EncryptionTerms, Workload
from chaincode.schema.masking import round_context
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import WholeRound


def attested_sha256(
    terms: PlanTerms, key_sha256: str | None, round_: WholeRound, sum_sha256: str
) -> str:
    """The hash of a round's sum, encrypted or masked.

    Args:
        key_sha256: of the collective key; None where updates are masked.
        sum_sha256: of the sum's content.
    """
    if isinstance(terms.encryption, EncryptionTerms):
        context = scheme_context(terms.encryption, terms.workload, bytes.fromhex(terms.sha256))
    else:
        context = round_context(terms.sha256, round_.number)
    return canonical.sha256(
        {
            "context": context.hex(),
            "key": key_sha256,
            "plan": round_.plan_id,
            "round": round_.number,
            "inputs": [c.model_dump(mode="json") for c in round_.contributions],
            "sum": sum_sha256,
        }
    )


def scheme_context(terms: EncryptionTerms, work: Workload, seed: bytes) -> bytes:
    """What everything that is encrypted under a plan's key is bound to.

    Args:
        seed: the hash of the plan's terms.
    """
    sizes = f"{work.hospitals} {work.updates} {work.parameters} {work.rounds}"
    return hashlib.sha256(
        b"MFR2 context" + canonical.dumps(terms) + sizes.encode("ascii") + seed
    ).digest()
