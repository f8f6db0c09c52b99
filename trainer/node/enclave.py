"""Evidence for an attestation that an enclave makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chaincode.schema.enclaves import Attested, EnclaveEvidence
from chaincode.schema.errors import Code, MedFabricError
from trainer.node.duties import Snapshot

Attester = Callable[[Snapshot, str], EnclaveEvidence | None]
"""Evidence on an aggregate with this hash; None where the plan pins no enclave for the hospital."""


def no_enclave(_: Snapshot, __: str) -> None:
    """Of a node that has none: the ledger says where it needs one."""


class SimulatedEnclave:
    """A software attester's, with its files in a folder: a simulation that protects nothing."""

    def __init__(self, msp_id: str, folder: Path) -> None:
        self._msp_id, self._folder = msp_id, folder

    def __call__(self, now: Snapshot, aggregate_sha256: str) -> EnclaveEvidence | None:
        """Evidence, made with this program's own measurement.

        Raises:
            MedFabricError: ``NODE_CONFIG`` where the plan wants a real enclave.
        """
        from trainer.enclave import SimulatedChip

        terms = now.plan.terms.enclave(self._msp_id)
        if terms is None or now.round is None:
            return None
        if not terms.simulated:
            raise MedFabricError(
                Code.NODE_CONFIG, "the plan wants a real enclave, this node simulates one"
            )
        attested = Attested(
            plan_id=now.plan.terms.plan_id,
            round=now.round.round.number,
            terms_sha256=now.plan.terms_sha256,
            opened_at=now.round.round.opened_at,
            aggregate_sha256=aggregate_sha256,
        )
        return SimulatedChip.kept(self._folder).evidence(attested)
