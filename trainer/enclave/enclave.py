"""What every enclave has: reports that its chip signs, and the certificates behind them."""

from __future__ import annotations

import hashlib
import secrets
from abc import ABC, abstractmethod
from pathlib import Path

from chaincode.schema import enclaves
from chaincode.schema.attestation import sevsnp
from chaincode.schema.attestation.certificates import MalformedError
from chaincode.schema.attestation.sevsnp import REPORT_DATA_BYTES, Report
from chaincode.schema.enclaves import Attested, EnclaveEvidence, EnclaveTerms, FirmwareTerms
from chaincode.schema.errors import Code, MedFabricError

Chain = tuple[bytes, bytes, bytes]
"""The certificates of VCEK, ASK and ARK, in DER."""
CHAIN_FILES = ("vcek.der", "ask.der", "ark.der")


class Enclave(ABC):
    """The guest that this process runs in, or what stands for one where ``simulated``."""

    simulated: bool
    chain: Chain

    @abstractmethod
    def signed(self, report_data: bytes) -> bytes:
        """A fresh report of this program on 64 bytes: 1184 bytes.

        Raises:
            MedFabricError: ``ENCLAVE_MISSING`` where none can be had.
        """

    def evidence(self, attested: Attested) -> EnclaveEvidence:
        """A report on an aggregate, with the certificates."""
        vcek, ask, ark = (one.hex() for one in self.chain)
        report = self.signed(attested.report_data)
        return EnclaveEvidence(report=report.hex(), chain=(vcek, ask, ark))

    def terms(self, msp_id: str, now: int) -> EnclaveTerms:
        """What a plan says that has this hospital attest here: of the program that runs now, under
        the firmware that runs now or newer.

        Args:
            now: in seconds of the epoch.

        Raises:
            MedFabricError: ``ENCLAVE_REFUSED`` where the contracts would refuse the evidence, by
                their own rules.
        """
        asked = secrets.token_bytes(REPORT_DATA_BYTES)
        raw = self.signed(asked)
        report = parsed(raw)
        terms = EnclaveTerms(
            msp_id=msp_id,
            measurement=report.measurement.hex(),
            root_sha256=hashlib.sha256(self.chain[2]).hexdigest(),
            least=FirmwareTerms(**vars(report.tcb)),
            simulated=self.simulated,
        )
        why = sevsnp.refusal(
            raw,
            self.chain,
            report_data=asked,
            measurement=report.measurement,
            least=report.tcb,
            now=now,
        )
        if why := why or enclaves.problem(terms):
            raise _refused(why)
        return terms


def read_chain(folder: Path) -> Chain:
    """The certificates in a folder, by their names: :data:`CHAIN_FILES`.

    Raises:
        MedFabricError: ``NODE_CONFIG``, naming the one that cannot be read.
    """
    vcek, ask, ark = (_certificate(folder / name) for name in CHAIN_FILES)
    return vcek, ask, ark


def _certificate(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise MedFabricError(
            Code.NODE_CONFIG,
            f"cannot read {file}: {error.strerror}; fetch the chip's certificates from AMD, "
            "as docs/how-to/enclaves.md says",
        ) from None


def parsed(raw: bytes) -> Report:
    """A report, read.

    Raises:
        MedFabricError: ``ENCLAVE_REFUSED`` where it is none, or of a kind that is not known.
    """
    try:
        report = sevsnp.parse(raw)
    except MalformedError as error:
        raise _refused(f"it is malformed: {error}") from None
    if why := sevsnp.unknown(report):
        raise _refused(why)
    return report


def _refused(why: str) -> MedFabricError:
    return MedFabricError(
        Code.ENCLAVE_REFUSED,
        f"no plan takes this enclave's reports: {why}; docs/how-to/enclaves.md says what to do",
    )
