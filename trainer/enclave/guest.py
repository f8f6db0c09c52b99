"""Reports on the AMD SEV-SNP guest that this process runs in.

They come by Linux's interface for them, from 6.7 on ("configfs-tsm-report" in the kernel's
Documentation/ABI): a folder that somebody makes there is a request, the kernel makes its files.
This has not been run on hardware: the tests put real files in the kernel's place.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaincode.schema.attestation.sevsnp import REPORT_BYTES, REPORT_DATA_BYTES, Report
from chaincode.schema.errors import Code, MedFabricError
from trainer.enclave.enclave import CHAIN_FILES, Chain, Enclave, parsed, read_chain

Request = Callable[[], AbstractContextManager[Path]]
"""Makes a request's folder, and removes it in every case."""
REQUESTS = Path("/sys/kernel/config/tsm/report")
_PROVIDER = "sev_guest"
_ATTEMPTS = 3


@contextmanager
def request(requests: Path = REQUESTS) -> Iterator[Path]:
    """A request of this process's own."""
    folder = requests / f"medfabric-{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        # The kernel's files go with their folder.
        folder.rmdir()


@dataclass(frozen=True)
class SevSnpGuest(Enclave):
    """Reports on the guest, with the certificates of its chip under the firmware that it runs."""

    chain: Chain
    request: Request = request
    simulated = False

    @classmethod
    def here(cls, certificates: Path, request: Request = request) -> SevSnpGuest:
        """With those in a folder: :data:`trainer.enclave.enclave.CHAIN_FILES`.

        Raises:
            MedFabricError: ``NODE_CONFIG`` where one is missing; where it is the chip's own, with
                its address at AMD's. ``ENCLAVE_MISSING`` as :meth:`signed`.
        """
        vcek = certificates / CHAIN_FILES[0]
        if not vcek.exists():
            there = _address(parsed(_report(bytes(REPORT_DATA_BYTES), request)))
            raise MedFabricError(Code.NODE_CONFIG, f"there is no {vcek}; fetch it from {there}")
        return cls(read_chain(certificates), request)

    def signed(self, report_data: bytes) -> bytes:
        """A report of the guest, as the chip measured it when it started.

        Raises:
            MedFabricError: ``ENCLAVE_MISSING`` where this is no such guest, this process may not
                ask, or others write to its requests.
        """
        return _report(report_data, self.request)


def _report(report_data: bytes, request: Request) -> bytes:
    try:
        for _ in range(_ATTEMPTS):
            with request() as folder:
                raw = _answer(folder, report_data)
            if raw is not None:
                return raw
    except OSError as error:
        raise _missing(f"{error.strerror} ({error.filename or REQUESTS})") from None
    raise _missing("others write to this node's requests")


def _answer(folder: Path, report_data: bytes) -> bytes | None:
    """The report on what was asked, or None where it may be on what somebody else asked."""
    provider = (folder / "provider").read_text().strip()
    if provider != _PROVIDER:
        raise _missing(f"reports here come from {provider}, not from {_PROVIDER}")
    before = _generation(folder)
    # The kernel takes what is written when the file is closed, and does not say whether it did.
    (folder / "inblob").write_bytes(report_data)
    raw = (folder / "outblob").read_bytes()
    if _generation(folder) != before + 1:
        return None
    if len(raw) != REPORT_BYTES:
        raise _missing(f"the guest's report has {len(raw)} bytes, not {REPORT_BYTES}")
    return raw


def _generation(folder: Path) -> int:
    return int((folder / "generation").read_text())


def _address(report: Report) -> str:
    """Of the chip's certificate at AMD's key service (publication 57230)."""
    tcb = report.tcb
    return (
        f"https://kdsintf.amd.com/vcek/v1/LINE/{report.chip.hex()}?blSPL={tcb.boot_loader}"
        f"&teeSPL={tcb.tee}&snpSPL={tcb.snp}&ucodeSPL={tcb.microcode}"
        " (LINE: Milan or Genoa, as the host's processor is)"
    )


def _missing(why: str) -> MedFabricError:
    return MedFabricError(
        Code.ENCLAVE_MISSING,
        f"no report can be had: {why}; run the node as root in an AMD SEV-SNP guest with Linux 6.7"
        " or newer and its module sev-guest",
    )
