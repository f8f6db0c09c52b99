"""The threshold scheme: exact sums, no key holder, every malformed input named."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import EncryptionTerms
from trainer.privacy import CollectiveKey, Scheme, SecretShare, ring, wire
from trainer.privacy.wire import Kind

LENGTH = 40
SEED = b"s" * 32


@pytest.fixture(scope="module")
def scheme() -> Scheme:
    return Scheme(EncryptionTerms(), SEED)


@pytest.fixture(scope="module")
def secrets(scheme: Scheme) -> list[SecretShare]:
    return [scheme.generate_secret() for _ in range(4)]


@pytest.fixture(scope="module")
def key(scheme: Scheme, secrets: list[SecretShare]) -> CollectiveKey:
    return scheme.collective_key([scheme.public_share(secret) for secret in secrets])


@pytest.fixture(scope="module")
def updates(scheme: Scheme, key: CollectiveKey) -> list[tuple[np.ndarray, bytes]]:
    generator = np.random.default_rng(1)
    values = [generator.normal(0, 2, LENGTH) for _ in range(4)]
    return [(value, scheme.encrypt(value, key)) for value in values]


WEIGHTS = (1, 300, 200, 500)


@pytest.fixture(scope="module")
def aggregate(scheme: Scheme, updates: list[tuple[np.ndarray, bytes]]) -> bytes:
    contents = [content for _, content in updates]
    return scheme.weighted_sum(list(zip(contents, WEIGHTS, strict=True)), LENGTH)


def test_all_shares_give_the_weighted_mean(
    scheme: Scheme,
    secrets: list[SecretShare],
    updates: list[tuple[np.ndarray, bytes]],
    aggregate: bytes,
) -> None:
    shares = [scheme.decryption_share(secret, aggregate, LENGTH) for secret in secrets]

    mean = scheme.decode_mean(aggregate, shares, LENGTH, sum(WEIGHTS))

    values = [value for value, _ in updates]
    expected = np.average(values, axis=0, weights=WEIGHTS)
    assert np.abs(mean - expected).max() < 1e-9
    again = scheme.decode_mean(aggregate, shares[::-1], LENGTH, sum(WEIGHTS))
    assert again.tobytes() == mean.tobytes()


def test_sum_is_the_same_bytes_in_any_order(
    scheme: Scheme, updates: list[tuple[np.ndarray, bytes]], aggregate: bytes
) -> None:
    pairs = [(content, weight) for (_, content), weight in zip(updates, WEIGHTS, strict=True)]

    assert scheme.weighted_sum(pairs[::-1], LENGTH) == aggregate


def test_sum_is_exact_integer_arithmetic(
    scheme: Scheme, updates: list[tuple[np.ndarray, bytes]]
) -> None:
    terms = EncryptionTerms()
    primes = scheme.primes[:-1]
    read = [
        wire.decode(content, Kind.CIPHERTEXT, scheme.context, primes, terms.poly_modulus_degree, 1)
        for _, content in updates
    ]

    ours = wire.decode(
        scheme.weighted_sum([(content, 1) for _, content in updates], LENGTH),
        Kind.CIPHERTEXT,
        scheme.context,
        primes,
        terms.poly_modulus_degree,
        1,
    )

    # By Python integers, one by one.
    for index, prime in enumerate(primes):
        exact = sum(one[:, :, index].astype(object) for one in read) % prime
        assert (ours[:, :, index].astype(object) == exact).all()


@pytest.mark.parametrize("missing", range(4))
def test_fewer_than_all_shares_decrypt_nothing(
    scheme: Scheme, secrets: list[SecretShare], aggregate: bytes, missing: int
) -> None:
    shares = [
        scheme.decryption_share(secret, aggregate, LENGTH)
        for number, secret in enumerate(secrets)
        if number != missing
    ]

    with pytest.raises(MedFabricError, match="MF-6008"):
        scheme.decode_mean(aggregate, shares, LENGTH, sum(WEIGHTS))


def test_members_together_without_one_cannot_read_its_update(
    scheme: Scheme, secrets: list[SecretShare], updates: list[tuple[np.ndarray, bytes]]
) -> None:
    # Three hospitals attack the fourth's single update with everything that they hold.
    victim = updates[3][1]
    shares = [scheme.decryption_share(secret, victim, LENGTH) for secret in secrets[:3]]

    with pytest.raises(MedFabricError, match="MF-6008"):
        scheme.decode_mean(victim, shares, LENGTH, 1)


def test_share_of_another_aggregate_is_found(
    scheme: Scheme,
    secrets: list[SecretShare],
    updates: list[tuple[np.ndarray, bytes]],
    aggregate: bytes,
) -> None:
    shares = [scheme.decryption_share(secret, aggregate, LENGTH) for secret in secrets[:3]]
    shares.append(scheme.decryption_share(secrets[3], updates[0][1], LENGTH))

    with pytest.raises(MedFabricError, match="MF-6008"):
        scheme.decode_mean(aggregate, shares, LENGTH, sum(WEIGHTS))


def test_flooding_noise_is_fresh(
    scheme: Scheme, secrets: list[SecretShare], aggregate: bytes
) -> None:
    first, second = (scheme.decryption_share(secrets[0], aggregate, LENGTH) for _ in range(2))

    assert first != second


def test_encryption_is_fresh_and_of_the_length_that_follows_from_the_terms(
    scheme: Scheme, key: CollectiveKey
) -> None:
    values = np.zeros(LENGTH)

    first, second = scheme.encrypt(values, key), scheme.encrypt(values, key)

    assert first != second
    assert len(first) == wire.length(Kind.CIPHERTEXT, scheme.primes[:-1], 8192, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(
    scheme: Scheme, key: CollectiveKey, bad: float
) -> None:
    with pytest.raises(MedFabricError, match="MF-6005"):
        scheme.encrypt(np.array([0.0, bad]), key)


def test_values_beyond_the_clip_are_clipped(
    scheme: Scheme, secrets: list[SecretShare], key: CollectiveKey
) -> None:
    content = scheme.encrypt(np.array([1e6, -1e6]), key)
    shares = [scheme.decryption_share(secret, content, 2) for secret in secrets]

    assert scheme.decode_mean(content, shares, 2, 1) == pytest.approx([8.0, -8.0])


def test_several_ciphertexts_for_a_long_update(
    scheme: Scheme, secrets: list[SecretShare], key: CollectiveKey
) -> None:
    values = np.random.default_rng(2).normal(0, 1, 8192 + 5)
    content = scheme.weighted_sum([(scheme.encrypt(values, key), 7)], values.size)
    shares = [scheme.decryption_share(secret, content, values.size) for secret in secrets]

    mean = scheme.decode_mean(content, shares, values.size, 7)

    assert np.abs(mean - values).max() < 1e-8


def test_terms_that_could_overflow_are_refused() -> None:
    with pytest.raises(MedFabricError, match="MF-6006"):
        Scheme(EncryptionTerms(scale_bits=84), SEED)
    with pytest.raises(MedFabricError, match="MF-6006"):
        Scheme(EncryptionTerms(poly_modulus_degree=4096), SEED)


def test_update_of_another_plan_is_refused(scheme: Scheme, key: CollectiveKey) -> None:
    other = Scheme(EncryptionTerms(), b"t" * 32)

    with pytest.raises(MedFabricError, match="MF-6002"):
        other.weighted_sum([(scheme.encrypt(np.ones(3), key), 1)], 3)


def test_ciphertext_that_encrypts_nothing_is_refused(scheme: Scheme) -> None:
    primes = scheme.primes[:-1]
    residues = np.ones((1, 2, 2, 8192), dtype=np.uint64)
    residues[:, 1] = 0
    content = wire.encode(Kind.CIPHERTEXT, scheme.context, primes, residues)

    with pytest.raises(MedFabricError, match="MF-6004"):
        scheme.weighted_sum([(content, 1)], 3)


def test_residue_above_its_prime_is_refused(scheme: Scheme) -> None:
    primes = scheme.primes[:-1]
    residues = np.ones((1, 2, 2, 8192), dtype=np.uint64)
    residues[0, 0, 0, 5] = primes[0]
    content = wire.encode(Kind.CIPHERTEXT, scheme.context, primes, residues)

    with pytest.raises(MedFabricError, match="MF-6003"):
        scheme.weighted_sum([(content, 1)], 3)


@settings(max_examples=80, deadline=None)
@given(content=st.binary(max_size=300))
def test_garbage_is_refused_by_code(content: bytes) -> None:
    with pytest.raises(MedFabricError, match=r"MF-600[1-4]"):
        wire.decode(content, Kind.CIPHERTEXT, b"c" * 32, (281474976546817,), 8192, 1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.integers(0, 200_000), cut=st.booleans(), data=st.data())
def test_damaged_updates_never_pass_as_another_shape(
    scheme: Scheme, aggregate: bytes, place: int, cut: bool, data: st.DataObject
) -> None:
    damaged = bytearray(aggregate)
    if cut:
        damaged = damaged[: place % len(damaged)]
        with pytest.raises(MedFabricError, match="MF-6001"):
            scheme.weighted_sum([(bytes(damaged), 1)], LENGTH)
        return
    damaged[place % 52] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MedFabricError, match=r"MF-600[12]"):
        scheme.weighted_sum([(bytes(damaged), 1)], LENGTH)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), bits=st.sampled_from([48, 60]))
def test_packing_is_lossless(seed: int, bits: int) -> None:
    prime = {48: 281474976546817, 60: 1152921504606830593}[bits]
    values = np.random.default_rng(seed).integers(0, prime, (1, 1, 1, 8192), dtype=np.uint64)

    content = wire.encode(Kind.SHARE, b"c" * 32, (prime,), values)

    assert (wire.decode(content, Kind.SHARE, b"c" * 32, (prime,), 8192, 1) == values).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_products_modulo_a_prime_are_exact(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for prime in (281474976694273, 1152921504606830593):
        a, b = (generator.integers(0, prime, 500, dtype=np.uint64) for _ in range(2))
        a[0], b[0] = prime - 1, prime - 1

        exact = a.astype(object) * b.astype(object) % prime

        assert (ring.multiply(a, b, prime).astype(object) == exact).all()


def test_transform_is_negacyclic_convolution() -> None:
    prime, degree = 281474976546817, 8192
    transform = ring.transform(degree, prime)
    a = np.zeros(degree, dtype=np.uint64)
    b = np.zeros(degree, dtype=np.uint64)
    a[degree - 1], b[1] = 3, 5

    product = transform.inverse(ring.multiply(transform.forward(a), transform.forward(b), prime))

    # x^(N-1) * x = x^N = -1
    assert product[0] == prime - 15
    assert not product[1:].any()


_SCRIPT = """
import hashlib, numpy as np
from chaincode.schema.plans import EncryptionTerms
from trainer.privacy import Scheme
import sys
scheme = Scheme(EncryptionTerms(), b"s" * 32)
weights = (1, 300, 200, 500)
updates = [(open(path, "rb").read(), w) for path, w in zip(sys.argv[1:], weights)]
print(hashlib.sha256(scheme.weighted_sum(updates, 40)).hexdigest())
"""


def test_another_process_computes_the_same_bytes(
    scheme: Scheme,
    updates: list[tuple[np.ndarray, bytes]],
    aggregate: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import hashlib

    folder = tmp_path_factory.mktemp("updates")
    paths = []
    for number, (_, content) in enumerate(updates):
        path = folder / str(number)
        path.write_bytes(content)
        paths.append(str(path))
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}

    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *paths],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == hashlib.sha256(aggregate).hexdigest()


def test_secret_never_shows_itself(secrets: list[SecretShare]) -> None:
    assert repr(secrets[0]) == "SecretShare(...)"
    raw = secrets[0].to_bytes()
    assert (SecretShare.from_bytes(raw).coefficients == secrets[0].coefficients).all()
    with pytest.raises(MedFabricError, match="MF-6001"):
        SecretShare.from_bytes(raw[:-1] + b"\x07")


def test_one_hospital_s_key_is_no_collective_key(
    scheme: Scheme, secrets: list[SecretShare]
) -> None:
    with pytest.raises(MedFabricError, match="MF-6007"):
        scheme.collective_key([scheme.public_share(secrets[0])])
