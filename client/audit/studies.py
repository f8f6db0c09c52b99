"""Whom studies named for a decryption share, as it follows from a proven ledger: who proved none,
or whose proof most hospitals found not to hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaincode.schema import disputes, keys
from chaincode.schema.errors import Code
from chaincode.schema.plans import PlanTerms
from chaincode.schema.stored import whole
from chaincode.schema.studies import Study, StudyShareProof, StudyShareVerdict, StudyStatus
from client.audit.lineage import Reader
from client.audit.proof import Finding, Ledger, Writing


def check(ledger: Ledger) -> Iterator[Finding]:
    """Compare whom every study named with what was posted."""
    for composite, writings in ledger.writings.items():
        if (key := keys.parted(composite))[0] == "study":
            yield from _findings(ledger, key, writings)


def _findings(ledger: Ledger, key: keys.Key, writings: Sequence[Writing]) -> Iterator[Finding]:
    before: Study | None = None
    for writing in writings:
        study = Study.model_validate_json(whole(key, writing.value or b""))
        judged = before is not None and before.status is StudyStatus.JUDGING
        changed = study.unproven != (before.unproven if before else ())
        if (judged or changed) and study.unproven != _unproven(ledger, study, writing.block):
            why = f"study {study.study_id}: whom it names does not follow from proofs"
            yield Finding(Code.LINEAGE_BROKEN, why, writing.block, writing.tx_id)
        before = study


def _unproven(ledger: Ledger, study: Study, block: int) -> tuple[str, ...]:
    reader, study_id = Reader(ledger), study.study_id
    plan = reader.get(keys.plan_terms(study.terms.plan_id), PlanTerms)
    proofs = reader.posted(block, "study-proof", StudyShareProof, study_id)
    verdicts = reader.posted(block, "study-verdict", StudyShareVerdict, study_id)
    said = [verdict.culprits for verdict in verdicts]
    proven = {proof.msp_id for proof in proofs}
    return disputes.unproven(study.key_holders, proven, said, len(plan.hospitals))
