"""Evidence for an attestation that an enclave makes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from chaincode.schema.enclaves import Attested, EnclaveEvidence, EnclaveTerms
from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity
from trainer.enclave.enclave import Enclave
from trainer.enclave.guest import SevSnpGuest
from trainer.enclave.simulated import SimulatedChip
from trainer.node.config import NodeConfig, load
from trainer.node.duties import Snapshot

log = logging.getLogger("medfabric.node")

Attester = Callable[[Snapshot, str], EnclaveEvidence | None]
"""Evidence on an aggregate with this hash; None where the plan pins no enclave for the hospital."""
_KINDS = {True: "a simulated enclave", False: "a real enclave"}


def no_enclave(_: Snapshot, __: str) -> None:
    """Of a node that has none: the ledger says where it needs one."""


class EnclaveAttester:
    """Attests by an enclave where a plan pins one for the hospital."""

    def __init__(self, msp_id: str, enclave: Enclave) -> None:
        self._msp_id, self._enclave = msp_id, enclave

    def __call__(self, now: Snapshot, aggregate_sha256: str) -> EnclaveEvidence | None:
        """Evidence, made with this program's own measurement.

        Raises:
            MedFabricError: ``NODE_CONFIG`` where the plan wants a real enclave and this one is
                simulated, or the other way round; ``ENCLAVE_MISSING``.
        """
        terms = now.plan.terms.enclave(self._msp_id)
        if terms is None or now.round is None:
            return None
        if terms.simulated != self._enclave.simulated:
            wanted, have = _KINDS[terms.simulated], _KINDS[self._enclave.simulated]
            raise MedFabricError(
                Code.NODE_CONFIG,
                f"the plan wants {wanted}, this node has {have}; correct `enclave` in node.json",
            )
        attested = Attested(
            plan_id=now.plan.terms.plan_id,
            round=now.round.round.number,
            terms_sha256=now.plan.terms_sha256,
            opened_at=now.round.round.opened_at,
            aggregate_sha256=aggregate_sha256,
        )
        return self._enclave.evidence(attested)


def attester(config: NodeConfig, msp_id: str) -> Attester:
    """The one that a configuration names, tried out.

    Raises:
        MedFabricError: as :func:`enclave_terms`, but for a configuration that names none.
    """
    if config.enclave is None:
        return no_enclave
    enclave = _opened(config)
    enclave.terms(msp_id, int(time.time()))
    if enclave.simulated:
        log.warning("a simulated enclave: its evidence protects nothing")
    return EnclaveAttester(msp_id, enclave)


def enclave_terms(path: Path) -> EnclaveTerms:
    """What a plan says that has the hospital of a node.json attest by its enclave.

    Raises:
        MedFabricError: ``NODE_CONFIG`` where it names none, or certificates are missing;
            ``ENCLAVE_MISSING`` where no report can be had; ``ENCLAVE_REFUSED`` where the contracts
            would refuse it.
    """
    config = load(path)
    return _opened(config).terms(Identity.load(config.identity).msp_id, int(time.time()))


def _opened(config: NodeConfig) -> Enclave:
    if config.enclave is None:
        raise MedFabricError(
            Code.NODE_CONFIG, "node.json names no enclave; docs/how-to/enclaves.md says how to"
        )
    if config.enclave.kind == "simulated":
        return SimulatedChip.kept(config.enclave.folder)
    return SevSnpGuest.here(config.enclave.folder)
