"""As much of X.509 (RFC 5280) as AMD's certificate chain has: read strictly, length by length."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chaincode.schema.attestation import signatures

LARGEST = 4096
"""Bytes of a certificate."""
_INTEGER, _BITS, _OCTETS, _OID, _SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30
_VERSION, _EXTENSIONS, _BOOLEAN = 0xA0, 0xA3, 0x01
_TIMES = {0x17: re.compile(rb"\d{12}Z"), 0x18: re.compile(rb"\d{14}Z")}

# Object identifiers as they are encoded.
_RSA_PSS = bytes.fromhex("2a864886f70d01010a")
_RSA = bytes.fromhex("2a864886f70d010101")
_EC_P384 = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2b81040022")


class MalformedError(ValueError):
    """What is no certificate of this kind."""


@dataclass(frozen=True)
class Certificate:
    """``subject`` and ``issuer`` as encoded; ``valid`` from and until, in seconds of the epoch;
    ``extensions`` by encoded object identifier."""

    signed: bytes
    signature: bytes
    subject: bytes
    issuer: bytes
    valid: tuple[int, int]
    rsa: tuple[int, int] | None
    p384: bytes | None
    extensions: dict[bytes, bytes]

    def signs(self, other: Certificate) -> bool:
        """Whether this RSA certificate's key signed another, that names it."""
        if self.rsa is None or other.issuer != self.subject:
            return False
        return signatures.rsa_pss(*self.rsa, other.signed, other.signature)


def parse(raw: bytes) -> Certificate:
    """Read a certificate.

    Raises:
        MalformedError: it is none of this kind, or is longer than :data:`LARGEST`.
    """
    if len(raw) > LARGEST:
        raise MalformedError("too long")
    outer = _Der(raw)
    whole = _Der(outer.take(_SEQUENCE))
    outer.end()
    signed = whole.whole(_SEQUENCE)
    algorithm, bits = whole.take(_SEQUENCE), whole.take(_BITS)
    whole.end()
    fields = _Der(_Der(signed).take(_SEQUENCE))
    if fields.take(_VERSION) != b"\x02\x01\x02":
        raise MalformedError("not version 3")
    fields.take(_INTEGER)
    if fields.take(_SEQUENCE) != algorithm or _Der(algorithm).take(_OID) != _RSA_PSS:
        raise MalformedError("not signed by RSASSA-PSS")
    issuer = fields.whole(_SEQUENCE)
    valid = _validity(_Der(fields.take(_SEQUENCE)))
    subject = fields.whole(_SEQUENCE)
    rsa, p384 = _key(_Der(fields.take(_SEQUENCE)))
    extensions = _extensions(_Der(fields.take(_EXTENSIONS)))
    fields.end()
    return Certificate(signed, _unused(bits), subject, issuer, valid, rsa, p384, extensions)


class _Der:
    """Reads one element after the other: definite lengths in their shortest form (X.690, 10.1)."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._place = raw, 0

    @property
    def left(self) -> bool:
        return self._place < len(self._raw)

    def end(self) -> None:
        if self.left:
            raise MalformedError("more than belongs there")

    def take(self, tag: int) -> bytes:
        """The next element's content, which must have this tag."""
        return self._next(tag)[1]

    def whole(self, tag: int) -> bytes:
        """The next element as it stands."""
        return self._next(tag)[0]

    def next_is(self, tag: int) -> bool:
        return self.left and self._raw[self._place] == tag

    def take_any(self, tags: dict[int, re.Pattern[bytes]]) -> tuple[int, bytes]:
        if not self.left or self._raw[self._place] not in tags:
            raise MalformedError("another element is expected")
        tag = self._raw[self._place]
        return tag, self.take(tag)

    def _next(self, tag: int) -> tuple[bytes, bytes]:
        begin, raw = self._place, self._raw
        if begin + 2 > len(raw) or raw[begin] != tag:
            raise MalformedError("another element is expected")
        length, place = raw[begin + 1], begin + 2
        if length > 0x80:
            number = length - 0x80
            length, place = int.from_bytes(raw[place : place + number], "big"), place + number
            if number > 2 or length < (0x80 if number == 1 else 0x100):
                raise MalformedError("a length that is too long")
        elif length == 0x80:
            raise MalformedError("a length that is not told")
        if place + length > len(raw):
            raise MalformedError("shorter than it says")
        self._place = place + length
        return raw[begin : self._place], raw[place : self._place]


def _key(fields: _Der) -> tuple[tuple[int, int] | None, bytes | None]:
    algorithm, bits = _Der(fields.take(_SEQUENCE)), _unused(fields.take(_BITS))
    fields.end()
    kind = algorithm.take(_OID)
    if kind == _EC_P384[0] and algorithm.take(_OID) == _EC_P384[1]:
        return None, bits
    if kind not in (_RSA, _RSA_PSS):
        raise MalformedError("a key of another kind")
    whole = _Der(bits)
    numbers = _Der(whole.take(_SEQUENCE))
    whole.end()
    modulus, exponent = (_positive(numbers.take(_INTEGER)) for _ in range(2))
    numbers.end()
    if not 2048 <= modulus.bit_length() <= 4096 or exponent != 65537:
        raise MalformedError("an RSA key that is not used there")
    return (modulus, exponent), None


def _extensions(outer: _Der) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    listed = _Der(outer.take(_SEQUENCE))
    outer.end()
    while listed.left:
        fields = _Der(listed.take(_SEQUENCE))
        name = fields.take(_OID)
        if fields.next_is(_BOOLEAN):
            fields.take(_BOOLEAN)
        if name in found:
            raise MalformedError("an extension stands twice")
        found[name] = fields.take(_OCTETS)
        fields.end()
    return found


def _positive(content: bytes) -> int:
    number = int.from_bytes(content, "big", signed=True)
    if not content or number < 0:
        raise MalformedError("a number that is not positive")
    return number


def small_number(encoded: bytes) -> int:
    """A non-negative integer, encoded alone.

    Raises:
        MalformedError: it is none.
    """
    whole = _Der(encoded)
    number = _positive(whole.take(_INTEGER))
    whole.end()
    return number


def _unused(bits: bytes) -> bytes:
    if not bits or bits[0]:
        raise MalformedError("bits that are no whole bytes")
    return bits[1:]


def _validity(fields: _Der) -> tuple[int, int]:
    begins, ends = (_seconds(*fields.take_any(_TIMES)) for _ in range(2))
    fields.end()
    return begins, ends


def _seconds(tag: int, text: bytes) -> int:
    """Of the epoch, from UTCTime or GeneralizedTime."""
    if not _TIMES[tag].fullmatch(text):
        raise MalformedError("no time")
    digits = text[:-1].decode("ascii")
    if tag == 0x17:
        digits = ("20" if digits < "50" else "19") + digits
    year, rest = int(digits[:4]), digits[4:]
    month, day, hour, minute, second = (int(rest[i : i + 2]) for i in range(0, 10, 2))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        raise MalformedError("no time")
    # Days since 1 March of year 0, when leap days come last (Gregorian rule).
    year -= month < 3
    month = (month + 9) % 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1
    return (days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second
