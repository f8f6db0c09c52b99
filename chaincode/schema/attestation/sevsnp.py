"""Attestation reports of AMD SEV-SNP, and what a plan asks of one.

The layout is that of AMD's publication 56860 ("SEV Secure Nested Paging Firmware ABI"), table
ATTESTATION_REPORT: 1184 bytes, little-endian, signed over the first 672 by ECDSA on P-384 with
SHA-384 under the chip's key (VCEK). That key's certificate (publication 57230) names the chip and
the firmware's versions, and is signed by AMD's ASK, and that by AMD's ARK.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from chaincode.schema.attestation import certificates, signatures
from chaincode.schema.attestation.certificates import Certificate, MalformedError

REPORT_BYTES, REPORT_DATA_BYTES = 1184, 64
_SIGNED, _HALF = 672, 72
_TCB_EXTENSIONS = tuple(bytes.fromhex(f"2b060104019c780103{last:02x}") for last in (1, 2, 3, 8))
"""1.3.6.1.4.1.3704.1.3.x: of boot loader, trusted environment, SNP firmware, microcode."""
_CHIP_EXTENSION = bytes.fromhex("2b060104019c780104")
_MIGRATION, _DEBUG = 1 << 18, 1 << 19
_TURIN = 0x1A
"""A family from which on the firmware's versions are laid out otherwise."""


@dataclass(frozen=True)
class Tcb:
    """Security versions of a chip's firmware."""

    boot_loader: int
    tee: int
    snp: int
    microcode: int

    @classmethod
    def read(cls, raw: bytes) -> Tcb:
        """From a report's eight bytes (Milan, Genoa)."""
        return cls(raw[0], raw[1], raw[6], raw[7])

    def reaches(self, other: Tcb) -> bool:
        """Whether no part is older."""
        return (
            self.boot_loader >= other.boot_loader
            and self.tee >= other.tee
            and self.snp >= other.snp
            and self.microcode >= other.microcode
        )


@dataclass(frozen=True)
class Report:
    """What is read of a report. ``vmpl``: the level in the guest that asked for it."""

    version: int
    policy: int
    vmpl: int
    algorithm: int
    flags: int
    report_data: bytes
    measurement: bytes
    tcb: Tcb
    family: int
    chip: bytes
    signed: bytes
    r: int
    s: int


def parse(raw: bytes) -> Report:
    """Read a report.

    Raises:
        MalformedError: it is none.
    """
    if len(raw) != REPORT_BYTES:
        raise MalformedError("not the length of a report")
    version, _, policy = struct.unpack_from("<IIQ", raw)
    vmpl, algorithm = struct.unpack_from("<II", raw, 0x30)
    (flags,) = struct.unpack_from("<I", raw, 0x48)
    if any(raw[_SIGNED + 2 * _HALF :]):
        raise MalformedError("reserved bytes are set")
    return Report(
        version=version,
        policy=policy,
        vmpl=vmpl,
        algorithm=algorithm,
        flags=flags,
        report_data=raw[0x50:0x90],
        measurement=raw[0x90:0xC0],
        tcb=Tcb.read(raw[0x180:0x188]),
        family=raw[0x188],
        chip=raw[0x1A0:0x1E0],
        signed=raw[:_SIGNED],
        r=int.from_bytes(raw[_SIGNED : _SIGNED + _HALF], "little"),
        s=int.from_bytes(raw[_SIGNED + _HALF : _SIGNED + 2 * _HALF], "little"),
    )


def refusal(
    raw: bytes,
    chain: Sequence[bytes],
    *,
    report_data: bytes,
    measurement: bytes,
    least: Tcb,
    now: int,
) -> str | None:
    """Why a report is no evidence of what is asked for, or None where it is.

    Args:
        chain: the certificates of VCEK, ASK and ARK, in DER. That the last is AMD's is for the
            caller to know.
        now: in seconds of the epoch.
    """
    try:
        report = parse(raw)
        if why := unknown(report):
            return why
        vcek, ask, ark = (certificates.parse(one) for one in chain)
        chip, tcb = _chip(vcek)
    except MalformedError as error:
        return f"it is malformed: {error}"
    except ValueError:
        return "the chain has not three certificates"
    if not (ark.signs(ark) and ark.signs(ask) and ask.signs(vcek)):
        return "the certificates do not sign one another"
    if not all(one.valid[0] <= now <= one.valid[1] for one in (vcek, ask, ark)):
        return "a certificate is not valid now"
    if vcek.p384 is None or not signatures.ecdsa_p384(vcek.p384, report.signed, report.r, report.s):
        return "the chip's key has not signed it"
    if report.chip != chip or report.tcb != tcb:
        return "the certificate is for another chip or firmware"
    return _policy_refusal(report, report_data, measurement, least)


def unknown(report: Report) -> str | None:
    """Why more cannot be read of a report, or None where it can."""
    if not 2 <= report.version <= 5 or report.algorithm != 1:
        return "a version or signature that is not known"
    if report.version >= 3 and report.family >= _TURIN:
        return "a chip whose firmware versions are laid out otherwise"
    if report.flags >> 2 & 7:
        return "it is not signed by the chip's own key"
    return None


def _policy_refusal(
    report: Report, report_data: bytes, measurement: bytes, least: Tcb
) -> str | None:
    if report.policy & (_DEBUG | _MIGRATION):
        return "the guest may be debugged or migrated"
    if report.vmpl:
        return "the guest's less privileged software asked for it"
    if report.measurement != measurement:
        return "another program was measured"
    if report.report_data != report_data:
        return "it is for another aggregate, or made before"
    if not report.tcb.reaches(least):
        return "the firmware is older than the plan allows"
    return None


def _chip(vcek: Certificate) -> tuple[bytes, Tcb]:
    try:
        versions = [certificates.small_number(vcek.extensions[name]) for name in _TCB_EXTENSIONS]
        chip = vcek.extensions[_CHIP_EXTENSION]
    except KeyError:
        raise MalformedError("the certificate names no chip") from None
    # Some certificates wrap the identifier once more, as octets.
    if len(chip) == 66 and chip[:2] == b"\x04\x40":
        chip = chip[2:]
    return chip, Tcb(*versions)
