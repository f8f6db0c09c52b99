"""An enclave may make a hospital's attestation: a plan pins the program, the contract verifies the
evidence, and it then counts as that hospital's one attestation among the quorum."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field, StringConstraints

from chaincode.schema import canonical
from chaincode.schema.attestation import certificates, sevsnp
from chaincode.schema.base import Id, Language, MspId, RoundNumber, Seconds, Sha256

AMD_ROOTS = {
    "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd": "Milan",
    "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1": "Genoa",
}
"""SHA-256 of AMD's root certificates (ARK, in DER) by the processors that they are for."""
Version = Annotated[int, Field(ge=0, le=255)]
_Certificate = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9a-f]{2})+$", max_length=2 * certificates.LARGEST),
]


class FirmwareTerms(Language):
    """The oldest firmware that a chip may run, by its parts' security versions."""

    boot_loader: Version
    tee: Version
    snp: Version
    microcode: Version

    @property
    def tcb(self) -> sevsnp.Tcb:
        """As reports have it."""
        return sevsnp.Tcb(self.boot_loader, self.tee, self.snp, self.microcode)


class EnclaveTerms(Language):
    """That a hospital attests by an enclave under AMD SEV-SNP. ``measurement``: of the program, as
    the chip measures it. ``root_sha256``: of the certificate that its chain ends in, AMD's own; or,
    where ``simulated``, that of a software attester, which protects nothing."""

    msp_id: MspId
    measurement: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]
    root_sha256: Sha256
    least: FirmwareTerms
    simulated: bool = False


class EnclaveEvidence(Language):
    """A report, and the certificates of VCEK, ASK and ARK in DER; all in hex."""

    report: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2368}$")]
    chain: Annotated[tuple[_Certificate, ...], Field(min_length=3, max_length=3)]

    @property
    def sha256(self) -> str:
        """What stays on the ledger of it; the rest is in the transaction."""
        return canonical.sha256(self)


class Attested(Language):
    """What an enclave reports on. ``aggregate_sha256`` binds the sum, the key and all its inputs;
    ``terms_sha256`` and ``opened_at`` make it the report of this round and no other."""

    plan_id: Id
    round: RoundNumber
    terms_sha256: Sha256
    opened_at: Seconds
    aggregate_sha256: Sha256

    @property
    def report_data(self) -> bytes:
        """64 bytes, which the chip signs."""
        return hashlib.sha512(b"MFA1 aggregate" + canonical.dumps(self)).digest()


def problem(terms: EnclaveTerms) -> str | None:
    """Why a plan may not ask for this, or None where it may."""
    if terms.simulated == (terms.root_sha256 in AMD_ROOTS):
        return "an enclave's chain ends in a root of AMD's, a simulated one's in another"
    return None


def refusal(
    terms: EnclaveTerms, evidence: EnclaveEvidence, attested: Attested, now: int
) -> str | None:
    """Why evidence is none for what is attested, or None where it is."""
    chain = [bytes.fromhex(one) for one in evidence.chain]
    if hashlib.sha256(chain[2]).hexdigest() != terms.root_sha256:
        return "its chain does not end in the root that the plan pins"
    return sevsnp.refusal(
        bytes.fromhex(evidence.report),
        chain,
        report_data=attested.report_data,
        measurement=bytes.fromhex(terms.measurement),
        least=terms.least.tcb,
        now=now,
    )
