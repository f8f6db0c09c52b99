"""The proof that ciphertexts were made by the rules: honest ones pass, nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.encryption import PROOF_MASK_BITS
from chaincode.schema.errors import MedFabricError
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import fresh
from trainer.privacy.wellformed import Opening, WellFormed, turned

DEGREE = 64
RNS = Rns(DEGREE, (281474976636929, 281474976694273))
REFERENCE = fresh().uniform(DEGREE, RNS.primes)


def _made(number: int) -> tuple[list[Residues], list[Opening]]:
    public_key = np.stack([fresh().uniform(DEGREE, RNS.primes), REFERENCE])
    encryptor, stream = Encryptor(RNS, public_key), fresh()
    pairs = [encryptor.zero(stream) for _ in range(number)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


@pytest.mark.parametrize("number", [1, 3, 8])
def test_honest_ciphertexts_pass(number: int) -> None:
    proof = WellFormed(RNS, REFERENCE, b"me", number)
    ciphertexts, openings = _made(number)

    made = proof.prove(ciphertexts, openings, fresh())

    assert len(made) == proof.length
    WellFormed(RNS, REFERENCE, b"me", number).check(made, ciphertexts)


def test_a_proof_has_rows_for_128_bits() -> None:
    # Each row is passed with probability 1 / 2N by whoever can answer one challenge alone.
    assert WellFormed(RNS, REFERENCE, b"").rows * 7 >= 128
    large = Rns(8192, (281474976546817,))
    assert WellFormed(large, fresh().uniform(8192, large.primes), b"").rows == 10


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_ciphertext_with_anything_added_to_its_second_half_fails(place: int) -> None:
    proof = WellFormed(RNS, REFERENCE, b"me", 3)
    ciphertexts, openings = _made(3)
    ciphertexts[place][1] = RNS.add(ciphertexts[place][1], RNS.residues(1 << 40))

    with pytest.raises(MedFabricError, match="MF-6011"):
        proof.check(proof.prove(ciphertexts, openings, fresh()), ciphertexts)


def test_a_proof_holds_for_its_sender_its_ciphertexts_and_its_key_alone() -> None:
    proof = WellFormed(RNS, REFERENCE, b"me")
    ciphertexts, openings = _made(1)
    made = proof.prove(ciphertexts, openings, fresh())
    others, _ = _made(1)

    with pytest.raises(MedFabricError, match="MF-6002"):
        WellFormed(RNS, REFERENCE, b"another").check(made, ciphertexts)
    with pytest.raises(MedFabricError, match="MF-6011"):
        proof.check(made, others)
    with pytest.raises(MedFabricError, match="MF-6011"):
        WellFormed(RNS, fresh().uniform(DEGREE, RNS.primes), b"me").check(made, ciphertexts)
    # The first half, too: else the same proof would do for another message.
    moved = ciphertexts[0].copy()
    moved[0] = RNS.add(moved[0], RNS.residues(1))
    with pytest.raises(MedFabricError, match="MF-6011"):
        proof.check(made, [moved])


def test_long_secrets_are_not_proven_short() -> None:
    """Who knows a u and an e, but no short ones: no answer is within what is taken."""
    proof = WellFormed(RNS, REFERENCE, b"me")
    (ciphertext,), _ = _made(1)
    once = fresh().short(DEGREE, 40)
    error = np.zeros(DEGREE, dtype=np.int64)
    product = RNS.multiply(REFERENCE, RNS.small(once))
    ciphertext[1] = product
    stream = fresh()
    masks = [proof._masks(stream) for _ in range(proof.rows)]
    digest = proof._digest([ciphertext], [proof._committed(*mask) for mask in masks])
    opening = [Opening(once, error)]
    answers = [
        proof._answers(mask, places, opening)
        for mask, places in zip(masks, proof._challenges(digest), strict=True)
    ]

    assert not any(proof._is_short(*answer) for answer in answers)


def test_answers_are_as_likely_for_any_secret() -> None:
    """Of accepted answers, the distribution near the edge is flat: the naive proof, which sends
    every answer, shows there which way the secret points."""
    proof = WellFormed(RNS, REFERENCE, b"me")
    limit = (1 << PROOF_MASK_BITS) - 21
    _, openings = _made(1)
    edge = np.full(DEGREE, limit - 1)

    assert proof._is_short(np.zeros(DEGREE, dtype=np.int64), edge)
    assert proof._is_short(np.zeros(DEGREE, dtype=np.int64), -edge)
    assert not proof._is_short(np.zeros(DEGREE, dtype=np.int64), edge + 1)
    # Whatever the secret is, every accepted answer comes of exactly one mask.
    masks = edge - turned(openings[0].error, 5)
    assert np.abs(masks).max() <= 1 << PROOF_MASK_BITS


@settings(max_examples=40, deadline=None)
@given(first=st.integers(0, 2 * DEGREE - 1), second=st.integers(0, 2 * DEGREE - 1))
def test_differences_of_challenges_divide_two_by_small_polynomials(first: int, second: int) -> None:
    """Lemma 3.1 of Benhamouda et al. 2014, on which soundness stands."""
    if first == second:
        return
    one = np.zeros(DEGREE, dtype=np.int64)
    one[0] = 1
    difference = RNS.small(turned(one, first) - turned(one, second))
    inverse = np.array(
        [
            [pow(int(value), -1, prime) for value in row]
            for row, prime in zip(difference, RNS.primes, strict=True)
        ]
    )

    assert RNS.within(RNS.multiply(inverse, RNS.residues(2)), 1)


@given(exponent=st.integers(0, 2 * DEGREE - 1))
def test_turning_is_multiplying_by_a_power_of_x(exponent: int) -> None:
    values, power = fresh().short(DEGREE, 20), np.zeros(DEGREE, dtype=np.int64)
    power[exponent % DEGREE] = -1 if exponent >= DEGREE else 1

    product = RNS.multiply(RNS.small(values), RNS.small(power))

    assert (RNS.small(turned(values, exponent)) == product).all()
