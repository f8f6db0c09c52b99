"""The threshold scheme: exact sums, no key holder, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.key_holders import SEED, SENDER, KeyHolders, key_holders

from chaincode.schema.encryption import EncryptionTerms, Workload, choose, error_nano
from chaincode.schema.errors import MedFabricError
from trainer.privacy import KeySecret, Scheme
from trainer.privacy.sampling import Stream
from trainer.privacy.wire import Kind

LENGTH = 40
WEIGHTS = (1, 300, 200, 500)
ALL = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def holders() -> KeyHolders:
    return key_holders()


@pytest.fixture(scope="module")
def values() -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.normal(0, 2, LENGTH) for _ in range(4)]


@pytest.fixture(scope="module")
def updates(holders: KeyHolders, values: list[np.ndarray]) -> list[bytes]:
    return [holders.encrypt(value) for value in values]


@pytest.fixture(scope="module")
def aggregate(holders: KeyHolders, updates: list[bytes]) -> bytes:
    return holders.add(updates, WEIGHTS)


def test_all_shares_give_the_weighted_mean(
    holders: KeyHolders, values: list[np.ndarray], aggregate: bytes
) -> None:
    shares = [holders.share(point, aggregate, ALL) for point in ALL]

    mean = holders.decode(aggregate, shares, sum(WEIGHTS))

    error = np.abs(mean - np.average(values, axis=0, weights=WEIGHTS)).max()
    assert error < error_nano(EncryptionTerms()) * 1e-9
    again = holders.decode(aggregate, shares[::-1], sum(WEIGHTS))
    assert again.tobytes() == mean.tobytes()


@pytest.mark.parametrize("points", list(combinations(ALL, 3)))
def test_any_threshold_of_hospitals_gives_the_weighted_mean(
    values: list[np.ndarray], points: tuple[int, ...]
) -> None:
    some = key_holders(threshold=3)
    aggregate = some.add([some.encrypt(value) for value in values], WEIGHTS)

    mean = some.decrypt(aggregate, points, sum(WEIGHTS))

    assert np.abs(mean - np.average(values, axis=0, weights=WEIGHTS)).max() < 1e-5


def test_sum_is_the_same_bytes_in_any_order(
    holders: KeyHolders, updates: list[bytes], aggregate: bytes
) -> None:
    assert holders.add(updates[::-1], WEIGHTS[::-1]) == aggregate


def test_test_mode_repeats_ciphertexts_and_shares_and_nothing_else_does(
    holders: KeyHolders, values: list[np.ndarray], aggregate: bytes
) -> None:
    scheme, key, some = holders.scheme, holders.key, values[0]

    def encrypted(seed: int | None) -> bytes:
        stream = None if seed is None else Stream(seed.to_bytes(32, "big"))
        return b"".join(scheme.encrypt(some, key, SENDER, stream))

    def share(seed: int | None) -> bytes:
        stream = None if seed is None else Stream(seed.to_bytes(32, "big"))
        source = io.BytesIO(aggregate)
        return scheme.decryption_share(holders.share_keys[0], source, ALL, stream)

    assert encrypted(1) == encrypted(1)
    assert share(1) == share(1)
    assert len({encrypted(1), encrypted(2), encrypted(None), encrypted(None)}) == 4
    assert len({share(1), share(2), share(None), share(None)}) == 4
    total = holders.add([encrypted(1), holders.encrypt(values[1])], (1, 1))
    assert np.abs(holders.decrypt(total, ALL, 2) - (some + values[1]) / 2).max() < 1e-3


def test_sum_is_exact_integer_arithmetic(holders: KeyHolders, updates: list[bytes]) -> None:
    read = [_parts(holders, content) for content in updates]

    ours = list(holders.scheme.sum_form.read(io.BytesIO(holders.add(updates, WEIGHTS))))

    # By Python integers, one by one; the ciphertexts of keys twice.
    for part, twice, primes in (
        (0, 2, holders.scheme.form(Kind.CIPHERTEXT).primes),
        (1, 1, holders.scheme.form(Kind.MASKED).primes),
    ):
        exact = sum(w * one[part].astype(object) for w, one in zip(WEIGHTS, read, strict=True))
        for index, prime in enumerate(primes):
            assert (ours[part][:, index] == twice * exact[:, index] % prime).all()


def test_the_sum_of_all_secrets_opens_a_ciphertext_as_ckks_does(holders: KeyHolders) -> None:
    """The mask's key comes out, and with it the values."""
    scheme, rns = holders.scheme, holders.scheme._rns
    secret = sum(scheme.dealing.secret_polynomial(secret) for secret in holders.secrets)
    values = np.zeros(LENGTH)
    values[3] = 1.5
    ciphertext, masked = _parts(holders, holders.encrypt(values))

    message = rns.add(ciphertext[0], rns.multiply(ciphertext[1], rns.small(secret)))
    key = rns.rounded(message, EncryptionTerms().scale_bits, EncryptionTerms().scale_bits + 20)
    opened = scheme._masks.open(masked[0], scheme._masks.transformed(key), 0, LENGTH, 1)

    assert 2000 < key.std() < 5000
    assert opened == pytest.approx(values, abs=1e-5)


@pytest.mark.parametrize("missing", ALL)
def test_fewer_than_all_shares_decrypt_nothing(
    holders: KeyHolders, aggregate: bytes, missing: int
) -> None:
    shares = [holders.share(point, aggregate, ALL) for point in ALL if point != missing]

    with pytest.raises(MedFabricError, match="MF-6008"):
        holders.decode(aggregate, shares, sum(WEIGHTS))


def test_share_of_another_aggregate_is_found(
    holders: KeyHolders, updates: list[bytes], aggregate: bytes
) -> None:
    shares = [holders.share(point, aggregate, ALL) for point in ALL[:3]]
    shares.append(holders.share(4, holders.add(updates[:1], (1,)), ALL))

    with pytest.raises(MedFabricError, match="MF-6008"):
        holders.decode(aggregate, shares, sum(WEIGHTS))


@pytest.mark.parametrize("points", [(1, 2), (1, 2, 3, 4), (2, 3, 4)])
def test_a_share_is_for_exactly_as_many_hospitals_as_are_needed(points: tuple[int, ...]) -> None:
    some = key_holders(threshold=3)
    aggregate = some.add([some.encrypt(np.zeros(LENGTH))], (1,))

    with pytest.raises(MedFabricError, match="MF-6007"):
        some.share(1, aggregate, points)


def test_shares_for_other_sets_of_hospitals_do_not_combine() -> None:
    some = key_holders(threshold=3)
    aggregate = some.add([some.encrypt(np.zeros(LENGTH))], (1,))
    shares = [some.share(1, aggregate, (1, 2, 3)), some.share(2, aggregate, (1, 2, 4))]
    shares.append(some.share(3, aggregate, (1, 2, 3)))

    with pytest.raises(MedFabricError, match="MF-6008"):
        some.decode(aggregate, shares, 1)


def test_flooding_noise_and_encryption_are_fresh(holders: KeyHolders, aggregate: bytes) -> None:
    zeros = np.zeros(LENGTH)

    assert holders.share(1, aggregate, ALL) != holders.share(1, aggregate, ALL)
    first, second = holders.encrypt(zeros), holders.encrypt(zeros)
    assert first != second
    assert len(first) == holders.scheme.update_length


def test_flooding_noise_is_as_large_as_the_terms_say(holders: KeyHolders, aggregate: bytes) -> None:
    scheme = holders.scheme
    form = scheme.form(Kind.SHARE)
    first, second = (form.decode(holders.share(1, aggregate, ALL))[0, 0] for _ in range(2))

    flood = EncryptionTerms().flood_bits
    difference = scheme._rns.rounded(scheme._rns.subtract(first, second), flood - 20, flood + 4)

    # Of 8192 differences of two sums of four uniforms, the largest is three to eight times one's
    # range.
    assert 3 < np.abs(difference).max() / 2**20 < 8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(holders: KeyHolders, bad: float) -> None:
    values = np.zeros(LENGTH)
    values[7] = bad

    with pytest.raises(MedFabricError, match="MF-6005"):
        holders.encrypt(values)
    with pytest.raises(MedFabricError, match="MF-5004"):
        holders.encrypt(values[1:])


def test_values_beyond_the_clip_are_clipped(holders: KeyHolders) -> None:
    values = np.zeros(LENGTH)
    values[:2] = 1e6, -1e6

    mean = holders.decrypt(holders.add([holders.encrypt(values)], (1,)), ALL, 1)

    assert mean[:2] == pytest.approx([8.0, -8.0], abs=1e-5)


def test_several_chunks_for_a_long_update() -> None:
    long = key_holders(parameters=2 * 8192 + 5)
    values = np.random.default_rng(2).normal(0, 1, 2 * 8192 + 5)
    aggregate = long.add([long.encrypt(values)], [1000])

    mean = long.decrypt(aggregate, ALL, 1000)

    assert np.abs(mean - values).max() < 1e-5


def test_sixty_four_hospitals_are_exact_to_a_hundred_thousandth() -> None:
    work = Workload(64, 64, LENGTH, 1)
    many = key_holders(64, terms=choose(work, clip_micro=8_000_000, error_nano=10_000))
    generator = np.random.default_rng(3)
    values = [generator.normal(0, 1, LENGTH) for _ in range(64)]
    aggregate = many.add([many.encrypt(value) for value in values], [16] * 64)

    mean = many.decrypt(aggregate, range(1, 65), 1024)

    exact = np.mean(values, axis=0)
    assert np.abs(mean - exact).max() < 1e-5 * np.abs(exact).max()


def test_the_strongest_flooding_leaves_the_mean_within_the_chosen_error() -> None:
    work = Workload(2, 2, LENGTH, 10_000)
    terms = choose(work, clip_micro=8_000_000, error_nano=10_000, statistical_bits=128)
    some = key_holders(hospitals=2, parameters=LENGTH, terms=terms)
    values = np.random.default_rng(4).normal(0, 1, LENGTH)

    mean = some.decrypt(some.add([some.encrypt(values)], [1000]), (1, 2), 1000)

    assert terms.flood_bits > 190
    assert np.abs(mean - values).max() < 1e-5


def test_terms_that_could_overflow_are_refused() -> None:
    with pytest.raises(MedFabricError, match="MF-6006"):
        Scheme(EncryptionTerms(scale_bits=118), Workload(4, 4, 40, 1), SEED)


def test_weights_beyond_the_resolution_are_refused(
    holders: KeyHolders, updates: list[bytes]
) -> None:
    for weights in ((1024, 1, 1, 1), (0, 1, 1, 1)):
        with pytest.raises(MedFabricError, match="MF-6006"):
            holders.add(updates, weights)


def test_update_of_another_plan_is_refused(holders: KeyHolders, updates: list[bytes]) -> None:
    work = Workload(4, 4, LENGTH, 1)
    form = Scheme(EncryptionTerms(), work, b"t" * 32).update_form(SENDER, holders.key)

    with pytest.raises(MedFabricError, match="MF-6002"):
        list(form.read(io.BytesIO(updates[0])))


@pytest.mark.parametrize("length", [-1, 1])
def test_updates_and_sums_of_another_length_are_refused(
    holders: KeyHolders, updates: list[bytes], aggregate: bytes, length: int
) -> None:
    for form, content in (
        (holders.scheme.update_form(SENDER, holders.key), updates[0]),
        (holders.scheme.sum_form, aggregate),
    ):
        changed = content[:length] if length < 0 else content + bytes(length)
        with pytest.raises(MedFabricError, match="MF-6001"):
            list(form.read(io.BytesIO(changed)))


_SCRIPT = """
import hashlib, sys
from chaincode.schema.encryption import EncryptionTerms, Workload
from trainer.privacy import Scheme
scheme = Scheme(EncryptionTerms(), Workload(4, 4, 40, 1), b"s" * 32)
key = scheme.known_key(open(sys.argv[1], "rb").read())
weights = (1, 300, 200, 500)
sender = b"a node, in a round"
updates = [(open(path, "rb"), sender, w) for path, w in zip(sys.argv[2:], weights)]
print(hashlib.sha256(b"".join(scheme.weighted_sum(updates, key))).hexdigest())
"""


def test_another_process_computes_the_same_bytes(
    holders: KeyHolders, updates: list[bytes], aggregate: bytes, tmp_path: Path
) -> None:
    paths = []
    for number, content in enumerate([holders.key.content, *updates]):
        path = tmp_path / str(number)
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


def test_secrets_never_show_themselves(holders: KeyHolders) -> None:
    assert repr(holders.secrets[0]) == "KeySecret(...)"
    assert repr(holders.share_keys[0]) == "ShareKey(1, ...)"
    assert KeySecret.from_bytes(holders.secrets[0].seed) == holders.secrets[0]
    with pytest.raises(MedFabricError, match="MF-6001"):
        KeySecret.from_bytes(b"short")


def _parts(holders: KeyHolders, content: bytes) -> list[np.ndarray]:
    """The ciphertext, and the chunks of masked values."""
    return list(holders.scheme.update_form(SENDER, holders.key).read(io.BytesIO(content)))
