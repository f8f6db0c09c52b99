"""A software attester: it signs reports in the form of AMD SEV-SNP under a chain of its own.

It is a simulation. It protects nothing, for its keys are files; it is for machines without the
hardware, to try plans, contracts and operations with. Plans have to say that they accept it.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from chaincode.schema.attestation.sevsnp import Tcb
from trainer.enclave.enclave import CHAIN_FILES, Chain, Enclave, read_chain

CHIP = b"simulated".ljust(64, b"\0")
TCB = Tcb(boot_loader=3, tee=0, snp=20, microcode=209)
_AMD = "1.3.6.1.4.1.3704.1"
_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
_FIELDS = {
    "version": (0x00, 4),
    "policy": (0x08, 8),
    "vmpl": (0x30, 4),
    "algorithm": (0x34, 4),
    "flags": (0x48, 4),
    "report_data": (0x50, 64),
    "measurement": (0x90, 48),
    "tcb": (0x180, 8),
    "family": (0x188, 1),
    "chip": (0x1A0, 64),
}


@dataclass(frozen=True)
class SimulatedChip(Enclave):
    """A key, and the certificates of VCEK, ASK and ARK in DER, all made by software."""

    key: ec.EllipticCurvePrivateKey
    chain: Chain
    simulated = True

    @classmethod
    def make(cls, name: str = "simulated") -> SimulatedChip:
        """With a chain of its own."""
        roots = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
        key = ec.generate_private_key(ec.SECP384R1())
        ark = _certificate(f"ARK {name}", f"ARK {name}", roots[0].public_key(), roots[0])
        ask = _certificate(f"ASK {name}", f"ARK {name}", roots[1].public_key(), roots[0])
        names = [(f"{_AMD}.4", CHIP)]
        for last, version in ((1, TCB.boot_loader), (2, TCB.tee), (3, TCB.snp), (8, TCB.microcode)):
            number = version.to_bytes(1 + version // 128, "big")
            names.append((f"{_AMD}.3.{last}", bytes([2, len(number)]) + number))
        vcek = _certificate(f"VCEK {name}", f"ASK {name}", key.public_key(), roots[1], names)
        return cls(key, (vcek, ask, ark))

    @classmethod
    def kept(cls, folder: Path) -> SimulatedChip:
        """The one in a folder, made there on first use."""
        file = folder / "key.pem"
        if not file.exists():
            made = cls.make()
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, certificate in zip(CHAIN_FILES, made.chain, strict=True):
                (folder / name).write_bytes(certificate)
            file.touch(mode=0o600)
            file.write_bytes(_pem(made.key))
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(key, read_chain(folder))

    def report(self, report_data: bytes, measurement: bytes, /, **changes: bytes | int) -> bytes:
        """A signed report; ``changes`` are fields by name."""
        raw = bytearray(672)
        fields: dict[str, bytes | int] = {
            "version": 2,
            "policy": 0x30000,
            "algorithm": 1,
            "report_data": report_data,
            "measurement": measurement,
            "tcb": bytes([TCB.boot_loader, TCB.tee, 0, 0, 0, 0, TCB.snp, TCB.microcode]),
            "chip": CHIP,
        }
        for name, value in {**fields, **changes}.items():
            place, length = _FIELDS[name]
            content = value if isinstance(value, bytes) else value.to_bytes(length, "little")
            raw[place : place + length] = content
        r, s = decode_dss_signature(self.key.sign(bytes(raw), ec.ECDSA(hashes.SHA384())))
        halves = r.to_bytes(72, "little") + s.to_bytes(72, "little")
        return bytes(raw) + halves + bytes(368)

    def signed(self, report_data: bytes) -> bytes:
        """A report that names this program's own measurement."""
        return self.report(report_data, measurement())


def measurement() -> bytes:
    """Of the program that adds updates up: SHA-384 of its modules."""
    digest = hashlib.sha384()
    for file in sorted((Path(__file__).parents[1] / "privacy").glob("*.py")):
        digest.update(hashlib.sha384(file.name.encode() + b"\0" + file.read_bytes()).digest())
    return digest.digest()


def _certificate(
    subject: str,
    issuer: str,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    signer: rsa.RSAPrivateKey,
    extensions: list[tuple[str, bytes]] | None = None,
) -> bytes:
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(subject),
        public_key=key,
        serial_number=7,
        not_valid_before=begin,
        not_valid_after=begin + datetime.timedelta(days=7 * 365),
    )
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    for oid, value in extensions or []:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(unknown, critical=False)
    signed = builder.sign(signer, hashes.SHA384(), rsa_padding=_PSS)
    return signed.public_bytes(Encoding.DER)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, serialization.NoEncryption())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
