"""The proof that masked values open under the encrypted key: honest updates pass, others do not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.encryption import EncryptionTerms, mask_tail
from chaincode.schema.errors import MedFabricError
from chaincode.schema.tied import FOLDS, Tie
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.kahe import TiedMasks
from trainer.privacy.ring import Residues, lift
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, derived, fresh
from trainer.privacy.tied import PublicKey, Tied
from trainer.privacy.wellformed import turned

DEGREE, LEVELS = 256, 1000
PRIMES = (281474976694273, 281474976546817, 281474976317441, 281474975662081)
TAIL = mask_tail(10)
TERMS = EncryptionTerms().model_copy(update={"poly_modulus_degree": DEGREE, "levels": LEVELS})
RNS = Rns(DEGREE, PRIMES)
SCALE = RNS.residues(1 << 113)
HALVES = np.stack([derived(b"h" * 32, bytes([i])).uniform(DEGREE, PRIMES) for i in (0, 1)])
CHUNKS = (1, 3, FOLDS, FOLDS + 1, 3 * FOLDS)


@dataclass(frozen=True)
class Update:
    """An update in parts, and what its sender knows."""

    proof: Tied
    ciphertext: Residues
    secrets: tuple[np.ndarray, np.ndarray]
    messages: Sequence[np.ndarray]
    chunks: Sequence[Residues]

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(np.stack(self.chunks).tobytes()).digest()

    def prove(self, proof: Tied | None = None) -> bytes:
        maker = proof or self.proof
        return maker.prove(self.ciphertext, self.sha256, self.secrets, self.messages, fresh())

    def check(self, made: bytes, proof: Tied | None = None) -> None:
        (proof or self.proof).check(made, self.ciphertext, self.sha256, self.chunks)


class Careless(Tied):
    """Sends what it has, however long that is."""

    def _tells_nothing(self, left: tuple[Residues, Residues]) -> bool:
        return True


@lru_cache(maxsize=16)
def proof(chunks: int, kind: type[Tied] = Tied, sender: bytes = b"me") -> Tied:
    masks = TiedMasks(TERMS, PRIMES[:2], b"c" * 32, Tie(DEGREE, chunks, LEVELS, TAIL))
    return kind(RNS, PublicKey(HALVES, SCALE), masks, sender)


def update(
    messages: Sequence[np.ndarray],
    key: np.ndarray | None = None,
    masked_with: np.ndarray | None = None,
) -> Update:
    """An update with these values and noise, of a key that may not be its masks'."""
    made = proof(len(messages))
    masks = made._masks
    own = masks.key(fresh()) if key is None else key
    ciphertext, opening = Encryptor(RNS, HALVES).zero(fresh())
    ciphertext[0] = RNS.add(ciphertext[0], RNS.multiply(RNS.small(own), SCALE))
    mask = masks.transformed(own if masked_with is None else masked_with)
    chunks = [
        masks.rns.add(masks._mask(mask, chunk), masks.rns.lift(message))
        for chunk, message in enumerate(messages)
    ]
    return Update(made, ciphertext, (opening.once, own), messages, chunks)


def honest(chunks: int) -> list[np.ndarray]:
    """The largest that there are: every value at the clip, noise in its tail."""
    draw = np.random.default_rng(chunks)
    return [draw.choice([-1, 1], DEGREE) * (LEVELS + TAIL) for _ in range(chunks)]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_the_largest_honest_updates_pass(chunks: int) -> None:
    one = update(honest(chunks))

    made = one.prove()

    assert len(made) == one.proof.length
    one.check(made)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_values_masked_with_another_key_than_the_encrypted_one_fail(chunks: int) -> None:
    other = proof(chunks)._masks.key(fresh())
    one = update(honest(chunks), masked_with=other)

    for known in (one, replace(one, secrets=(one.secrets[0], other))):
        with pytest.raises(MedFabricError, match="MF-6011"):
            one.check(known.prove(proof(chunks, Careless)))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_value_that_no_sum_has_room_for_fails(chunks: int) -> None:
    one = update(honest(chunks))
    rns, wrong = one.proof._masks.rns, np.zeros((2, DEGREE), dtype=np.int64)
    wrong[:, 7] = rns.residues(one.proof._tie.largest_value)[:, 0]
    sent = replace(one, chunks=[*one.chunks[:-1], rns.add(one.chunks[-1], wrong)])

    with pytest.raises(MedFabricError, match="MF-6011"):
        sent.check(sent.prove(proof(chunks, Careless)))


def test_halves_of_the_modulus_that_cancel_in_folds_open_as_nothing() -> None:
    """What is proven is proven of a multiple: half the modulus in every place is long, but twice
    that is one, and two of them disappear from every fold. So sums are opened fourfold."""
    messages = [np.zeros(DEGREE, dtype=np.int64) for _ in range(FOLDS + 1)]
    one = update(messages)
    rns = one.proof._masks.rns
    half = np.broadcast_to(rns.residues(rns.modulus // 2), (2, DEGREE))
    halves = [rns.add(chunk, half) for chunk in one.chunks[:2]]
    sent = replace(one, chunks=[*halves, *one.chunks[2:]])

    class Folding(Careless):
        def _hidden(self, ciphertext, masked_sha256, key, messages):  # type: ignore[no-untyped-def]
            return self._open(ciphertext, masked_sha256, sent.chunks)

    sent.check(sent.prove(proof(FOLDS + 1, Folding)))

    masks = sent.proof._masks
    key = masks.transformed(2 * sent.secrets[1])
    assert np.abs(masks.open(sent.chunks[0], key, 0, DEGREE, 1)).max() < 0.01


def test_a_key_that_no_sum_has_room_for_fails() -> None:
    key = np.zeros(DEGREE, dtype=np.int64)
    key[3] = proof(1)._tie.largest_key
    one = update(honest(1), key=key)

    class Shameless(Careless):
        def _is_short(self, answer: tuple[np.ndarray, np.ndarray]) -> bool:
            return True

    with pytest.raises(MedFabricError, match="MF-6011"):
        one.check(one.prove(proof(1, Shameless)))


def test_what_passes_beyond_the_clip_opens_nevertheless() -> None:
    """The slack: what is proven is far wider than the clip, and still has room in the sum."""
    messages = honest(1)
    messages[0][5] = 1000 * LEVELS
    one = update(messages)

    # What is hidden beyond the clip may carry where honest values would not: then it tries again.
    assert any(_holds(one, one.prove()) for _ in range(10))

    masks = one.proof._masks
    opened = masks.open(one.chunks[0], masks.transformed(2 * one.secrets[1]), 0, DEGREE, 1)
    assert opened[5] == 0
    expected = np.delete(messages[0], 5) * (TERMS.clip_micro / 1e6 / LEVELS)
    assert np.delete(opened, 5) == pytest.approx(expected)


def _holds(one: Update, made: bytes) -> bool:
    try:
        one.check(made)
    except MedFabricError:
        return False
    return True


def test_a_proof_holds_for_its_sender_its_update_and_its_key_alone() -> None:
    one, other = update(honest(3)), update(honest(3))
    made = one.prove()

    with pytest.raises(MedFabricError, match="MF-6002"):
        one.check(made, proof(3, Tied, b"another"))
    changed = [
        replace(one, chunks=[one.chunks[1], one.chunks[0], one.chunks[2]]),
        replace(one, chunks=[*one.chunks[:2], other.chunks[2]]),
        replace(one, ciphertext=other.ciphertext),
        replace(one, ciphertext=np.stack([one.ciphertext[0], other.ciphertext[1]])),
        replace(one, ciphertext=RNS.add(one.ciphertext, RNS.residues(1))),
    ]
    for wrong in changed:
        with pytest.raises(MedFabricError, match="MF-6011"):
            wrong.check(made)
    foreign = Tied(RNS, PublicKey(HALVES[::-1].copy(), SCALE), proof(3)._masks, b"me")
    with pytest.raises(MedFabricError, match="MF-6011"):
        one.check(made, foreign)


def test_folds_follow_from_all_that_is_sent() -> None:
    """Who knew them before could have long values cancel."""
    one = update(honest(FOLDS + 1))
    own, last = one.proof, one.chunks[-1].copy()
    last[0, 0] ^= 1
    bound = [
        made._bound(sent.ciphertext, sent.sha256)
        for made, sent in (
            (own, one),
            (own, replace(one, chunks=[*one.chunks[:-1], last])),
            (own, replace(one, ciphertext=RNS.add(one.ciphertext, RNS.residues(1)))),
            (proof(FOLDS + 1, Tied, b"another"), one),
        )
    ]
    powers = {tuple(own._exponents(digest, chunk)) for digest in bound for chunk in (0, 1)}

    assert len(powers) == 8
    assert {len(some) for some in powers} == {FOLDS}


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from(["one place", "everywhere", "half the modulus", "a wave", "random"]),
    bits=st.integers(20, 60),
    seed=st.integers(0, 1000),
)
def test_few_exponents_hide_a_long_value_in_a_fold(shape: str, bits: int, seed: int) -> None:
    """Whatever else is in the fold: a share of 2^-fold_bits of all, or the value is within what is
    proven, which is 2^fold_bits times the bound."""
    degree, q = 64, PRIMES[0]
    draw = np.random.default_rng(seed)
    value = np.zeros(degree, dtype=np.int64)
    places = np.arange(degree)
    value[{"one place": slice(3, 4)}.get(shape, slice(None))] = 1 << (bits % 46)
    if shape == "half the modulus":
        value = value * 0 + (q + 1) // 2
    if shape == "a wave":
        value = np.rint((1 << (bits % 46)) * np.sin(np.pi * (places + 0.5) / degree)).astype(int)
    if shape == "random":
        value = draw.integers(0, q, degree)
    bound = 1 << (bits % 40)
    # The rest of the fold is whatever makes the first exponent pass.
    first = int(draw.integers(0, 2 * degree))
    rest = draw.integers(-bound, bound + 1, degree) - turned(value, first)

    fold_bits = 4
    passing = [
        exponent
        for exponent in range(2 * degree)
        if np.abs(_signed(turned(value, exponent) + rest, q)).max() <= bound
    ]

    assert first in passing
    twice = np.abs(_signed(2 * _signed(value, q), q)).max()
    assert len(passing) <= (2 * degree) >> fold_bits or twice <= bound << fold_bits


def _signed(values: np.ndarray, q: int) -> np.ndarray:
    residues = lift(values, q)
    return np.where(residues > q // 2, residues - q, residues)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), place=st.integers(0, 2 * DEGREE - 1))
def test_what_is_sent_follows_from_what_everybody_sees(seed: int, place: int) -> None:
    """Errors do not show: whatever they are, up to the largest honest ones, the high bits that are
    hashed are those of what is left without them. So they tell nothing of values and errors."""
    made = proof(3)
    draw, tie = np.random.default_rng(seed), made._tie
    left = tuple(
        np.stack([draw.integers(0, q, (number, DEGREE)) for q in rns.primes])
        for rns, number in ((RNS, 2), (made._masks.rns, 3))
    )
    if not made._tells_nothing(left):
        return
    for (rns, part, _, bits), error in zip(
        made._parts(left, 0, 0), (LARGEST_ERROR, tie.largest_fold), strict=True
    ):
        errors = draw.choice([-error, 0, error], part.shape[1])
        with_errors = rns.add(part, rns.lift(turned(errors, place % 2)))
        assert (rns.high(with_errors, bits) == rns.high(part, bits)).all()


@pytest.mark.parametrize("chunks", [1, FOLDS + 1])
def test_what_is_drawn_again_is_seen_from_what_is_sent(chunks: int) -> None:
    """What the sender looks at before it sends is what everybody computes from what it sends."""
    looked_at: list[tuple[Residues, Residues]] = []

    class Watched(Tied):
        def _tells_nothing(self, left: tuple[Residues, Residues]) -> bool:
            looked_at.append(left)
            return super()._tells_nothing(left)

    one = update(honest(chunks))
    made = one.prove(proof(chunks, Watched))

    own = one.proof
    answers, rows = list(own._unpacked(made)), own._tie.rows
    said = own._open(one.ciphertext, one.sha256, one.chunks)
    places = own._challenges(own._header.opened(made, own.length))
    for answer, place, seen in zip(answers, places, looked_at[-rows:], strict=True):
        left = own._left(said, own._images(said, answer), place)
        assert own._tells_nothing(left)
        for part, same in zip(left, seen, strict=True):
            assert (part == same).all()


def test_honest_carries_are_drawn_again() -> None:
    made = proof(1)
    rns, tie = made._masks.rns, made._tie
    calm = np.zeros((4, 2, DEGREE), dtype=np.int64) + RNS.residues(1 << 20)[:, :, None]

    def tells_nothing(offset: int) -> bool:
        number = ((1 << tie.fold_bits) + offset) % rns.modulus
        folds = np.zeros((2, 1, DEGREE), dtype=np.int64) + rns.residues(number)[:, :, None]
        return made._tells_nothing((calm, folds))

    assert tells_nothing(tie.largest_fold)
    assert not tells_nothing(tie.largest_fold - 1)
    assert tells_nothing(-tie.largest_fold - 1)
    assert not tells_nothing(-tie.largest_fold)
    # Where the modulus ends, too.
    assert not tells_nothing(-(1 << tie.fold_bits) - 1)


def test_answers_are_as_likely_for_any_secret() -> None:
    made, tie = proof(1), proof(1)._tie
    zero = np.zeros(DEGREE, dtype=np.int64)
    edges = np.full(DEGREE, (1 << 23) - 2), np.full(DEGREE, (1 << tie.key_bits) - tie.tail - 1)

    for sign in (1, -1):
        assert made._is_short((sign * edges[0], sign * edges[1]))
    assert not made._is_short((edges[0] + 1, zero))
    assert not made._is_short((zero, edges[1] + 1))
    # Whatever the secrets are, every accepted answer comes of exactly one mask.
    assert edges[0][0] + 1 < 1 << 23
    assert edges[1][0] + tie.tail < 1 << tie.key_bits


def test_about_half_of_all_honest_attempts_are_sent() -> None:
    counted = {"drawn": 0, "kept": 0}

    class Counting(Tied):
        def _digest(self, said: object, images: Iterable[object]) -> bytes:
            counted["drawn"] += 1
            return super()._digest(said, images)  # type: ignore[arg-type]

    one = update(honest(3))
    for _ in range(10):
        one.prove(proof(3, Counting))
        counted["kept"] += 1

    assert counted["drawn"] < 6 * counted["kept"]
