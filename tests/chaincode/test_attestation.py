"""Evidence of an enclave: what is believed, and what is not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from support.enclave import CHIP, TCB, SimulatedChip, chip

from chaincode.schema.attestation import certificates, sevsnp, signatures
from chaincode.schema.attestation.certificates import MalformedError
from chaincode.schema.attestation.sevsnp import Tcb

DATA, MEASURED = hashlib.sha512(b"aggregate").digest(), hashlib.sha384(b"program").digest()
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())


def refusal(one: SimulatedChip, report: bytes, **changes: Any) -> str | None:
    asked = {"report_data": DATA, "measurement": MEASURED, "least": TCB, "now": NOW}
    return sevsnp.refusal(report, one.chain, **{**asked, **changes})


def test_a_report_of_the_program_about_the_aggregate_is_believed() -> None:
    one = chip()

    assert refusal(one, one.report(DATA, MEASURED)) is None
    assert refusal(one, one.report(DATA, MEASURED, version=3, family=0x19)) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"policy": 0x30000 | 1 << 19}, "debugged"),
        ({"policy": 0x30000 | 1 << 18}, "migrated"),
        ({"vmpl": 1}, "less privileged"),
        ({"algorithm": 2}, "not known"),
        ({"version": 1}, "not known"),
        ({"version": 6}, "not known"),
        ({"version": 3, "family": 0x1A, "chip": bytes(64)}, "laid out otherwise"),
        ({"flags": 1 << 2, "chip": bytes(64)}, "chip's own key"),
        ({"measurement": bytes(48)}, "another program"),
        ({"report_data": bytes(64)}, "another aggregate"),
        ({"chip": bytes(64)}, "another chip"),
        ({"tcb": bytes([4, 0, 0, 0, 0, 0, 20, 209])}, "another chip or firmware"),
    ],
)
def test_a_signed_report_that_is_not_what_is_asked_for_is_refused(
    changes: dict[str, Any], why: str
) -> None:
    refused = refusal(chip(), chip().report(DATA, MEASURED, **changes))

    assert refused is not None
    assert why in refused


@pytest.mark.parametrize(
    "least", [Tcb(4, 0, 20, 209), Tcb(3, 1, 20, 209), Tcb(3, 0, 21, 209), Tcb(3, 0, 20, 210)]
)
def test_firmware_that_is_older_in_any_part_is_refused(least: Tcb) -> None:
    refused = refusal(chip(), chip().report(DATA, MEASURED), least=least)

    assert refused is not None
    assert "older" in refused


def test_a_chain_that_is_not_one_is_refused() -> None:
    one, other = chip(), chip("another chip")
    report = one.report(DATA, MEASURED)

    for place in range(3):
        chain = list(one.chain)
        chain[place] = other.chain[place]
        mixed = SimulatedChip(one.key, tuple(chain))  # type: ignore[arg-type]
        assert "do not sign one another" in str(refusal(mixed, report))
    assert "has not signed" in str(refusal(other, report))
    assert "not valid now" in str(refusal(one, report, now=NOW + 10 * 365 * 86400))
    assert "not valid now" in str(refusal(one, report, now=NOW - 365 * 86400))
    assert "three certificates" in str(sevsnp_refusal_of(one.chain[:2], report))


def sevsnp_refusal_of(chain: tuple[bytes, ...], report: bytes) -> str | None:
    return sevsnp.refusal(report, chain, report_data=DATA, measurement=MEASURED, least=TCB, now=NOW)


def test_certificates_read_as_the_library_reads_them() -> None:
    for raw in chip().chain:
        ours, theirs = certificates.parse(raw), x509.load_der_x509_certificate(raw)

        assert ours.signed == theirs.tbs_certificate_bytes
        assert ours.signature == theirs.signature
        assert ours.subject == theirs.subject.public_bytes()
        assert ours.issuer == theirs.issuer.public_bytes()
        begin, end = theirs.not_valid_before_utc, theirs.not_valid_after_utc
        assert ours.valid == (int(begin.timestamp()), int(end.timestamp()))
    assert sevsnp._chip(certificates.parse(chip().chain[0])) == (CHIP, TCB)


@settings(max_examples=100, deadline=None)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2049, 12, 31)))
def test_times_are_seconds_of_the_epoch(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    for tag, form in ((0x17, "%y%m%d%H%M%SZ"), (0x18, "%Y%m%d%H%M%SZ")):
        text = moment.strftime(form).encode()
        assert certificates._seconds(tag, text) == int(moment.timestamp())


@settings(max_examples=15, deadline=None)
@given(message=st.binary(max_size=200), place=st.integers(0, 95))
def test_ecdsa_is_the_library_s(message: bytes, place: int) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA384())))

    assert signatures.ecdsa_p384(public, message, r, s)
    assert not signatures.ecdsa_p384(public, message + b"x", r, s)
    assert not signatures.ecdsa_p384(public, message, r, s ^ 1 << place)
    assert not signatures.ecdsa_p384(public, message, 0, s)
    assert not signatures.ecdsa_p384(public, message, r, signatures._ORDER)
    broken = bytearray(public)
    broken[1 + place] ^= 1
    assert not signatures.ecdsa_p384(bytes(broken), message, r, s)
    assert not signatures.ecdsa_p384(public[:-1], message, r, s)


@pytest.mark.parametrize("bits", [2048, 2049, 3072])
def test_rsa_pss_is_the_library_s(bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    n, message = key.public_key().public_numbers().n, b"message"

    def signed(salt: int, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
        algorithm = algorithm or hashes.SHA384()
        return key.sign(message, padding.PSS(padding.MGF1(algorithm), salt), algorithm)

    good = signed(48)
    assert signatures.rsa_pss(n, 65537, message, good)
    assert not signatures.rsa_pss(n, 65537, message + b"x", good)
    assert not signatures.rsa_pss(n, 65537, message, good[:-1] + bytes([good[-1] ^ 1]))
    assert not signatures.rsa_pss(n, 65537, message, good[1:])
    assert not signatures.rsa_pss(n, 65537, message, signed(32))
    assert not signatures.rsa_pss(n, 65537, message, signed(48, hashes.SHA256()))
    assert not signatures.rsa_pss(n, 65537, message, b"\xff" * len(good))


def test_ten_thousand_mutations_are_refused_without_an_accident() -> None:
    one, draw = chip(), Random(1)
    report = one.report(DATA, MEASURED)
    parts = [report, *one.chain]
    for index in range(10_000):
        number, how = index % 4, index // 4 % 4
        changed = bytearray(parts[number])
        # What is signed or says how long something is, not what is ignored.
        place = draw.randrange(len(changed) if number else 672 + 144)
        if how == 0:
            changed = changed[:place]
        elif how == 1:
            changed[place] ^= 1 << draw.randrange(8)
        elif how == 2:
            changed[place:place] = draw.randbytes(1 + draw.randrange(9))
        else:
            changed[place : place + 4] = b"\xff\xfe\xfd\xfc"
        mutated = [bytes(changed) if i == number else part for i, part in enumerate(parts)]
        # Signatures cost milliseconds: the form of all is read, and one in eight is verified.
        whole = _parses(mutated[number], sevsnp.parse if number == 0 else certificates.parse)
        if mutated[number] != parts[number] and (not whole or index // 16 % 8 == 0):
            assert sevsnp_refusal_of(tuple(mutated[1:]), mutated[0]) is not None


def _parses(raw: bytes, parse: Callable[[bytes], object]) -> bool:
    try:
        parse(raw)
    except MalformedError:
        return False
    return True
