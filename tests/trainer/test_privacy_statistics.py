"""A study's ciphertexts: exact sums over chosen records, and shares that tell of nothing else."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from support.key_holders import key_holders
from support.scenario import HOSPITALS, terms
from support.studies import study_terms

from chaincode.schema import studies
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.studies import StudyPrivacy
from trainer.privacy import sampling
from trainer.privacy.statistics import Ranges, Study
from trainer.privacy.wire import Kind

PLAN = terms().model_copy(update={"encryption": EncryptionTerms(threshold=3)})
TERMS = study_terms(PLAN)
LENGTH = len(studies.terms_of(TERMS))
DEGREE = PLAN.encryption.poly_modulus_degree
EACH = DEGREE // LENGTH
NAME = "masses"
POINTS = (1, 2, 4)


def _study(**changes: Any) -> Study:
    changed = TERMS.model_copy(update=changes)
    return Study(changed, PLAN, key_holders(threshold=3).scheme)


def _records(number: int, seed: int = 1) -> np.ndarray:
    """The extremes among them."""
    drawn = np.random.default_rng(seed).integers(0, 2, (number, LENGTH))
    limits = [term.largest(TERMS.levels) for term in studies.terms_of(TERMS)]
    drawn = drawn * np.array(limits)
    drawn[:, 0] = 1
    return drawn


def _encrypted(values: np.ndarray, stream: sampling.Stream | None = None) -> bytes:
    return b"".join(_study().encrypt(values, key_holders(threshold=3).key, NAME, stream))


def _sum(*deposits: tuple[bytes, int, Ranges]) -> bytes:
    given = [(io.BytesIO(content), NAME, number, ranges) for content, number, ranges in deposits]
    return _study().sum(given)


def _shares(total: bytes) -> list[bytes]:
    keys = key_holders(threshold=3).share_keys
    return [_study().share(keys[point - 1], total, POINTS) for point in POINTS]


@pytest.mark.parametrize("number", [1, EACH, EACH + 1, 8 * EACH + 7])
def test_the_sum_of_all_records_is_exact(number: int) -> None:
    values = _records(number)

    content = _encrypted(values)

    total = _sum((content, number, [(0, number)]))

    assert len(content) == studies.deposit_bytes(TERMS, PLAN.encryption, number)
    assert _study().decode(total, _shares(total), number) == tuple(values.sum(axis=0))


def test_chosen_records_alone_are_in_the_sum() -> None:
    first, second = _records(2 * EACH), _records(20, 2)
    chosen: Ranges = [(0, 1), (3, 9), (EACH - 1, EACH + 1)]

    total = _sum((_encrypted(first), 2 * EACH, chosen), (_encrypted(second), 20, [(5, 20)]))

    wanted = sum(first[a:b].sum(axis=0) for a, b in chosen) + second[5:].sum(axis=0)
    assert _study().decode(total, _shares(total), 24) == tuple(wanted)


def test_everybody_computes_the_same_bytes_of_a_sum() -> None:
    content = _encrypted(_records(9))

    assert _sum((content, 9, [(0, 4), (6, 9)])) == _sum((content, 9, [(0, 4), (6, 9)]))


def test_a_share_is_of_what_is_asked_for_and_no_more() -> None:
    values = _records(EACH)
    total = _sum((_encrypted(values), EACH, [(0, EACH)]))

    (share, *_) = _shares(total)

    form = _study().form(Kind.SHARE)
    assert form.degree == LENGTH
    assert len(share) == form.length == studies.share_bytes(TERMS, PLAN.encryption)
    assert len(share) < len(total) / 50


def test_a_share_is_flooded_anew_each_time() -> None:
    total = _sum((_encrypted(_records(9)), 9, [(0, 9)]))
    rns = key_holders(threshold=3).scheme.rns

    pairs = [
        [_study().form(Kind.SHARE).decode(share)[0, 0] for share in _shares(total)]
        for _ in range(2)
    ]

    for one, other in zip(*pairs, strict=True):
        padded = np.zeros((len(rns.primes), DEGREE), dtype=np.int64)
        padded[:, :LENGTH] = rns.subtract(one, other)
        apart = rns.forward(padded)
        # Nearly as wide as the sum of four uniform numbers, twice.
        bits = TERMS.flooding.flood_bits
        assert np.abs(rns.rounded(apart, bits - 8, bits + 4)[:LENGTH]).max() > 2**6


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_without_every_share_nothing_is_decrypted(left_out: int) -> None:
    total = _sum((_encrypted(_records(9)), 9, [(0, 9)]))
    shares = [share for place, share in enumerate(_shares(total)) if place != left_out]

    with pytest.raises(MedFabricError, match=Code.DECODE_RANGE):
        _study().decode(total, shares, 9)


def test_shares_of_another_sum_open_nothing() -> None:
    content = _encrypted(_records(9))
    one, other = _sum((content, 9, [(0, 9)])), _sum((content, 9, [(0, 8)]))

    with pytest.raises(MedFabricError, match=Code.DECODE_RANGE):
        _study().decode(one, _shares(other), 9)


def test_records_beyond_their_range_are_noticed() -> None:
    values = _records(9)
    values[0, 1] = 10 * TERMS.levels * 9

    total = _sum((_encrypted(values), 9, [(0, 9)]))

    with pytest.raises(MedFabricError, match=Code.DECODE_RANGE):
        _study().decode(total, _shares(total), 9)


def test_another_studys_ciphertexts_are_refused() -> None:
    content = _encrypted(_records(9))

    with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
        _study(title="Another").check(io.BytesIO(content), NAME, 9)
    with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
        _study().check(io.BytesIO(content), "another", 9)


@pytest.mark.parametrize("half", [0, 1])
def test_a_ciphertext_that_its_sender_did_not_make_by_the_rules_is_never_summed(half: int) -> None:
    """A second half of somebody's own choice would have shares tell about the key."""
    values = _records(9)
    content = _encrypted(values)
    form = _study().form(Kind.CIPHERTEXT)
    crafted = form.decode(content[: form.length])
    crafted[0, half, :, 0] ^= 1
    changed = form.encode(crafted) + content[form.length :]

    with pytest.raises(MedFabricError, match=Code.CIPHERTEXT_UNSOUND):
        _sum((changed, 9, [(0, 9)]))


def test_records_of_another_length_are_refused() -> None:
    content = _encrypted(_records(9))

    with pytest.raises(MedFabricError, match=Code.WIRE_MALFORMED):
        _study().check(io.BytesIO(content + b"x"), NAME, 9)


def test_encryption_repeats_in_test_mode_alone() -> None:
    values = _records(9)

    assert _encrypted(values) != _encrypted(values)
    streams = (sampling.Stream(b"t" * 32), sampling.Stream(b"t" * 32))
    assert len({_encrypted(values, stream) for stream in streams}) == 1


def test_the_flooding_hides_the_noise_of_the_largest_sum() -> None:
    """The bound of the terms against what was drawn: the sum's own noise, without flooding."""
    values = np.zeros((EACH, LENGTH), dtype=np.int64)
    values[:, 0] = 1
    total = _sum((_encrypted(values), EACH, [(0, EACH)]))
    holders = key_holders(threshold=3)
    rns = holders.scheme.rns
    ((first, second),) = _study().form(Kind.CIPHERTEXT).decode(total)
    opened = first
    for point in POINTS:
        own = rns.multiply(second, holders.scheme.scaled(holders.share_keys[point - 1], POINTS))
        opened = rns.add(opened, own)
    message = np.zeros(DEGREE, dtype=np.int64)
    message[0] = 2 * EACH
    scale = rns.residues(1 << TERMS.flooding.scale_bits)
    known = rns.multiply(rns.small(message), scale)

    noise = rns.rounded(rns.subtract(opened, known), 1, 60)[1:LENGTH] * 2.0

    # Of ciphertexts made by the rules; the terms allow for ones that are only proven sound.
    honest = np.sqrt(64 * DEGREE * len(HOSPITALS)) * 2 * EACH
    assert 0 < np.sqrt(np.mean(noise**2)) < honest
    assert np.abs(noise).max() < 2.0 ** (
        TERMS.flooding.flood_bits - TERMS.flooding.statistical_bits
    )


def test_every_owners_noise_is_in_the_sum_whichever_records_are_chosen() -> None:
    noised = study_terms(PLAN, privacy=StudyPrivacy(noise_milli=3000, quorum=2))
    study = Study(noised, PLAN, key_holders(threshold=3).scheme)
    keys, values = key_holders(threshold=3), _records(2 * EACH)

    def off() -> np.ndarray:
        """What two owners' noise adds to the sum of ten records."""
        contents = [b"".join(study.encrypt(values, keys.key, name)) for name in "ab"]
        assert len(contents[0]) == studies.deposit_bytes(noised, PLAN.encryption, len(values))
        ranges = ([(0, 5)], [(EACH - 2, EACH + 3)])
        given = zip(map(io.BytesIO, contents), "ab", ranges, strict=True)
        total = study.sum([(file, name, len(values), chosen) for file, name, chosen in given])
        shares = [study.share(keys.share_keys[point - 1], total, POINTS) for point in POINTS]
        exact = sum(values[a:b].sum(axis=0) for chosen in ranges for a, b in chosen)
        return np.array(study.decode(total, shares, 10)) - exact

    deviations = np.sqrt(2) * np.array(studies.noises(noised))
    drawn = np.concatenate([(off() / np.maximum(deviations, 1)) for _ in range(3)])
    assert (drawn[::LENGTH] == 0).all()
    spread = np.delete(drawn, slice(None, None, LENGTH)).std()
    # Of 60 numbers or so: five deviations of their own away at most.
    assert 0.5 < spread < 1.5
