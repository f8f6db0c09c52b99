"""Ring arithmetic and wire format against integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.errors import MedFabricError
from trainer.privacy import ring
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import Stream, fresh
from trainer.privacy.wire import Form, Kind

PRIMES = (281474976636929, 281474976694273)
SMALL = {32: 4294828033, 40: 1099511480321}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_products_modulo_a_prime_are_exact(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for prime in PRIMES:
        a, b = (generator.integers(0, prime, 500) for _ in range(2))
        a[0], b[0] = prime - 1, prime - 1

        exact = a.astype(object) * b.astype(object) % prime

        assert (ring.multiply(a, b, prime).astype(object) == exact).all()


@pytest.mark.parametrize("degree", [4096, 8192])
def test_transform_is_negacyclic_convolution(degree: int) -> None:
    prime = PRIMES[1]
    transform = ring.transform(degree, (prime,))
    a = np.zeros((3, degree), dtype=np.int64)
    b = np.zeros((3, degree), dtype=np.int64)
    a[:, degree - 1], b[:, 1] = (1, 3, 7), 5

    product = transform.inverse(ring.multiply(transform.forward(a), transform.forward(b), prime))

    # x^(N-1) * x = x^N = -1
    assert product[:, 0].tolist() == [prime - 5, prime - 15, prime - 35]
    assert not product[:, 1:].any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), worst=st.booleans())
def test_transform_and_its_inverse_are_exact_at_the_largest_residues(
    seed: int, worst: bool
) -> None:
    prime = PRIMES[0]
    transform = ring.transform(4096, (prime,))
    values = np.random.default_rng(seed).integers(0, prime, (1, 4096))
    if worst:
        values[:] = prime - 1

    forward = transform.forward(values)

    assert (transform.inverse(forward) == values).all()
    assert int(forward.min()) >= 0
    assert int(forward.max()) < prime
    # One value by its definition: the polynomial at the first root of the table.
    root = int(transform._roots[0][0][0, 0, 0])
    assert pow(root, 2, prime) != 1


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32), shift=st.integers(25, 50), room=st.integers(1, 61), data=st.data()
)
def test_rounding_is_that_of_integers(
    seed: int, shift: int, room: int, data: st.DataObject
) -> None:
    rns = Rns(4096, PRIMES)
    bits = min(shift + room, 93)
    generator = np.random.default_rng(seed)
    exact = [
        int.from_bytes(generator.bytes(12), "little") % (2 << bits) - (1 << bits)
        for _ in range(4096)
    ]
    beyond = data.draw(st.integers(1 << (bits + 1), rns.modulus // 2))
    exact[:4] = [(1 << bits) - 1, 1 - (1 << bits), beyond, -beyond]
    residues = np.array([[value % q for value in exact] for q in PRIMES], dtype=np.int64)

    rounded = rns.rounded(rns.forward(residues), shift, bits)

    half = 1 << (shift - 1)
    wanted = [(value + half) >> shift for value in exact]
    wanted[2:4] = [2**63 - 1] * 2
    assert rounded.tolist() == wanted


def test_sizes_are_those_of_signed_integers() -> None:
    rns = Rns(4096, PRIMES)
    values = np.zeros(4096, dtype=np.int64)
    values[:3] = 5, -1234, 17
    wide = rns.small(values)
    wide[0] += 1

    assert rns.within(rns.small(values), 1234)
    assert not rns.within(rns.small(values), 1233)
    # Short modulo one prime alone is not short.
    assert not rns.within(wide, 10**12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), bits=st.integers(50, 94), low=st.integers(1, 90))
def test_signed_and_high_parts_are_those_of_integers(seed: int, bits: int, low: int) -> None:
    rns, generator = Rns(4096, PRIMES), np.random.default_rng(seed)
    q = rns.modulus
    exact = [
        int.from_bytes(generator.bytes(12), "little") % (2 << bits) - (1 << bits) for _ in range(32)
    ]
    exact += [(1 << bits) - 1, -(1 << bits), 5, -7]
    residues = np.array([[value % p for value in exact] for p in PRIMES], dtype=np.int64)

    signed, high = rns.signed(residues, bits), rns.high(residues, low)

    assert signed is not None
    within = range(-(1 << 61), 1 << 61)
    assert signed.tolist() == [value if value in within else 2**63 - 1 for value in exact]
    assert rns.signed(rns.add(residues, rns.residues(2 << bits)), bits) is None or 4 << bits > q
    first = low // 24
    limbs = [((value % q) >> low << low) >> (24 * first) for value in exact]
    found = [sum(int(limb) << (24 * i) for i, limb in enumerate(column)) for column in high.T]
    assert found == limbs


def test_random_polynomials_have_their_distributions() -> None:
    stream, degree = fresh(), 4096 * 16
    ternary, error = stream.ternary(degree), stream.error(degree)
    floods = {bits: _in_units(stream.flood(degree, bits), bits) for bits in (30, 39, 40, 66, 150)}

    counts = np.bincount(ternary + 1) / degree
    assert np.abs(counts - 1 / 3).max() < 0.01
    assert abs(error.std() - np.sqrt(10.5)) < 0.1
    assert np.abs(error).max() <= 21
    # Four uniforms on [-1, 1) have variance 4/3.
    for flood in floods.values():
        assert abs(flood.std() - np.sqrt(4 / 3)) < 0.02
        assert abs(flood.mean()) < 0.03
        assert np.abs(flood).max() < 4
    uniform = stream.uniform(4096, PRIMES)
    assert (uniform < np.array(PRIMES)[:, None]).all()


def _in_units(limbs: list[np.ndarray], bits: int) -> np.ndarray:
    total = sum(limb * 2.0 ** (40 * index) for index, limb in enumerate(limbs))
    return np.asarray(total) / 2.0**bits


def test_a_stream_repeats_itself_and_no_other() -> None:
    assert Stream(b"a" * 32).bytes(50) == Stream(b"a" * 32).bytes(50)
    assert Stream(b"a" * 32).bytes(50) != Stream(b"b" * 32).bytes(50)
    assert fresh().bytes(50) != fresh().bytes(50)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), bits=st.sampled_from([32, 40, 48]))
def test_packing_is_lossless_and_of_the_length_that_is_told(seed: int, bits: int) -> None:
    prime = {**SMALL, 48: PRIMES[0]}[bits]
    form = Form(Kind.SHARE, b"c" * 32, (prime,), 4096, chunks=2)
    values = np.random.default_rng(seed).integers(0, prime, (2, 1, 1, 4096))

    content = form.encode(values)

    assert len(content) == form.length == 52 + 2 * 4096 * bits // 8
    assert (form.decode(content) == values).all()


def test_ciphertext_that_encrypts_nothing_is_refused() -> None:
    form = Form(Kind.CIPHERTEXT, b"c" * 32, PRIMES, 4096, chunks=1, polynomials=2)
    residues = np.ones((1, 2, 2, 4096), dtype=np.int64)
    residues[:, 1] = 0

    with pytest.raises(MedFabricError, match="MF-6004"):
        form.decode(form.encode(residues))


def test_residue_above_its_prime_is_refused() -> None:
    form = Form(Kind.CIPHERTEXT, b"c" * 32, PRIMES, 4096, chunks=1, polynomials=2)
    residues = np.ones((1, 2, 2, 4096), dtype=np.int64)
    residues[0, 0, 0, 5] = PRIMES[0]

    with pytest.raises(MedFabricError, match="MF-6003"):
        form.decode(form.encode(residues))
