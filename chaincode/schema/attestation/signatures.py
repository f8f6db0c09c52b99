"""ECDSA on P-384 and RSASSA-PSS, both with SHA-384: verification of public signatures."""

from __future__ import annotations

import hashlib

_P = 2**384 - 2**128 - 2**96 + 2**32 - 1
_B = int(
    "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875a"
    "c656398d8a2ed19d2a85c8edd3ec2aef",
    16,
)
_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
    "581a0db248b0a77aecec196accc52973",
    16,
)
_BASE = (
    int(
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38"
        "5502f25dbf55296c3a545e3872760ab7",
        16,
    ),
    int(
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0"
        "0a60b1ce1d7e819d7a431d7c90ea0e5f",
        16,
    ),
)
# SP 800-186, 3.2.1.4. Points are Jacobian (x / z^2, y / z^3); z = 0 is the neutral one.
_Point = tuple[int, int, int]
_SALT = _HASH = 48


def ecdsa_p384(public: bytes, message: bytes, r: int, s: int) -> bool:
    """Whether (r, s) is a signature of the message (FIPS 186-5, 6.4.2).

    Args:
        public: an uncompressed point (SEC 1, 2.3.3), 97 bytes.
    """
    x, y = int.from_bytes(public[1:49], "big"), int.from_bytes(public[49:], "big")
    if len(public) != 97 or public[0] != 4 or max(x, y) >= _P:
        return False
    if (y * y - x**3 + 3 * x - _B) % _P or not (0 < r < _ORDER and 0 < s < _ORDER):
        return False
    digest = int.from_bytes(hashlib.sha384(message).digest(), "big")
    inverse = pow(s, -1, _ORDER)
    point = _sum_of(digest * inverse % _ORDER, r * inverse % _ORDER, (x, y, 1))
    if not point[2]:
        return False
    return point[0] * pow(point[2], -2, _P) % _P % _ORDER == r


def rsa_pss(modulus: int, exponent: int, message: bytes, signature: bytes) -> bool:
    """Whether it signs with SHA-384, its mask, and a salt of 48 bytes (RFC 8017, 8.1.2)."""
    bits = modulus.bit_length() - 1
    length = (bits + 7) // 8
    if len(signature) != (modulus.bit_length() + 7) // 8 or length < _HASH + _SALT + 2:
        return False
    number = int.from_bytes(signature, "big")
    if number >= modulus:
        return False
    opened = pow(number, exponent, modulus)
    if opened.bit_length() > 8 * length:
        return False
    encoded = opened.to_bytes(length, "big")
    masked, digest = encoded[: -_HASH - 1], encoded[-_HASH - 1 : -1]
    unused = 8 * length - bits
    if encoded[-1] != 0xBC or masked[0] >> (8 - unused):
        return False
    mask = _mask(digest, len(masked))
    block = bytearray(a ^ b for a, b in zip(masked, mask, strict=True))
    block[0] &= 0xFF >> unused
    salt = bytes(block[-_SALT:])
    if bytes(block[:-_SALT]) != bytes(len(block) - _SALT - 1) + b"\x01":
        return False
    hashed = hashlib.sha384(message).digest()
    return hashlib.sha384(bytes(8) + hashed + salt).digest() == digest


def _mask(seed: bytes, length: int) -> bytes:
    blocks = range(-(-length // _HASH))
    made = (hashlib.sha384(seed + number.to_bytes(4, "big")).digest() for number in blocks)
    return b"".join(made)[:length]


def _sum_of(first: int, second: int, public: _Point) -> _Point:
    """first * base + second * public."""
    base = (*_BASE, 1)
    both = _add(base, public)
    total: _Point = (1, 1, 0)
    for bit in range(383, -1, -1):
        total = _double(total)
        chosen = (first >> bit & 1, second >> bit & 1)
        if chosen == (1, 1):
            total = _add(total, both)
        elif chosen[0]:
            total = _add(total, base)
        elif chosen[1]:
            total = _add(total, public)
    return total


def _double(point: _Point) -> _Point:
    x, y, z = point
    if not z or not y:
        return (1, 1, 0)
    square = y * y % _P
    scaled = 4 * x * square % _P
    slope = 3 * (x - z * z) * (x + z * z) % _P
    found = (slope * slope - 2 * scaled) % _P
    return (
        found,
        (slope * (scaled - found) - 8 * square * square) % _P,
        2 * y * z % _P,
    )


def _add(one: _Point, other: _Point) -> _Point:
    if not one[2]:
        return other
    if not other[2]:
        return one
    square, other_square = one[2] * one[2] % _P, other[2] * other[2] % _P
    x, other_x = one[0] * other_square % _P, other[0] * square % _P
    y, other_y = one[1] * other_square * other[2] % _P, other[1] * square * one[2] % _P
    if x == other_x:
        return _double(one) if y == other_y else (1, 1, 0)
    run, rise = (other_x - x) % _P, (other_y - y) % _P
    cube, scaled = run * run * run % _P, x * run * run % _P
    found = (rise * rise - cube - 2 * scaled) % _P
    return (
        found,
        (rise * (scaled - found) - y * cube) % _P,
        run * one[2] * other[2] % _P,
    )
