"""The proof that a decryption share is right: honest shares pass, nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest

from chaincode.schema.encryption import SHARE_ANSWER_BITS, SHARE_MASK_BITS, largest_flood
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.commitments import Commitments
from trainer.privacy.dealing import KeyDealing, KeySecret
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LIMB_BITS, fresh
from trainer.privacy.shareproof import Part, Shared, ShareProof, Shorts, _Answer

DEGREE, FLOOD = 64, 60
RNS = Rns(DEGREE, (281474976636929, 281474976694273))
CONTEXT = b"a hospital, in a round"
BOUND = largest_flood(FLOOD)


@dataclass(frozen=True)
class Held:
    """A part of a key, and what opens what is public of it."""

    part: Part
    shorts: Shorts
    value: Residues


@lru_cache(maxsize=1)
def own() -> Held:
    """A secret of the hospital's own."""
    dealing = KeyDealing(RNS, fresh().uniform(DEGREE, RNS.primes), bytes(32), 3, 3)
    secret = KeySecret(fresh().bytes(32))
    image = dealing.check(dealing.make(secret, 1), 1)
    value = RNS.small(dealing.secret_polynomial(secret))
    return Held(dealing.part(image), dealing.opening(secret), value)


@lru_cache(maxsize=1)
def dealt() -> Held:
    """A part that three hospitals dealt."""
    commitments = Commitments(RNS, b"seed")
    value, shorts = np.zeros((2, DEGREE), dtype=np.int64), np.zeros((3, DEGREE), dtype=np.int64)
    total = np.zeros((2, 2, DEGREE), dtype=np.int64)
    for dealer in range(3):
        subshare = fresh().uniform(DEGREE, RNS.primes)
        opening = commitments.opening(CONTEXT, dealer, 1, subshare)
        value, shorts = RNS.add(value, subshare), shorts + opening
        total = RNS.add(total, commitments.commit(subshare, opening))
    # The error is r_0.
    return Held(commitments.part(total, 3), shorts[[1, 2, 0]], value)


def shared(held: Held, more: Residues | None = None, told: int = DEGREE) -> Shared:
    """An honest share of so many coefficients of a sum; ``more`` is added to it."""
    times = fresh().uniform(DEGREE, RNS.primes)
    noise = RNS.joined(fresh().flood(DEGREE, FLOOD), LIMB_BITS)
    share = RNS.add(RNS.inverse(RNS.multiply(times, held.value)), noise)
    share = share if more is None else RNS.add(share, more)
    return Shared(share[:, :told], times)


def proof(held: Held, what: Shared, context: bytes = CONTEXT) -> ShareProof:
    return ShareProof(RNS, held.part, what, context, FLOOD)


@pytest.mark.parametrize("told", [DEGREE, 5])
@pytest.mark.parametrize("held", [own, dealt])
def test_an_honest_share_is_proven(held: Callable[[], Held], told: int) -> None:
    what = shared(held(), told=told)

    made = proof(held(), what).prove(held().shorts, fresh())

    assert len(made) == proof(held(), what).length
    proof(held(), what).check(made)


@pytest.mark.parametrize("held", [own, dealt])
def test_a_proof_holds_for_its_share_its_sum_its_part_and_its_sender_alone(
    held: Callable[[], Held],
) -> None:
    what, other = shared(held()), shared(held())
    made = proof(held(), what).prove(held().shorts, fresh())

    with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
        proof(held(), what, b"another round").check(made)
    for wrong in (other, replace(what, share=other.share), replace(what, times=other.times)):
        with pytest.raises(MedFabricError, match=Code.SHARE_UNPROVEN):
            proof(held(), wrong).check(made)
    another = replace(held().part, image=RNS.add(held().part.image, RNS.residues(1)))
    with pytest.raises(MedFabricError, match=Code.SHARE_UNPROVEN):
        ShareProof(RNS, another, what, CONTEXT, FLOOD).check(made)


@pytest.mark.parametrize("more", [1 << 70, RNS.modulus // 2, (RNS.modulus + 1) // 2])
@pytest.mark.parametrize("held", [own, dealt])
def test_who_adds_to_its_share_finds_no_proof(held: Callable[[], Held], more: int) -> None:
    """Half of the modulus is what proofs with powers of X as challenges would let pass."""
    added = np.broadcast_to(RNS.residues(more), (2, DEGREE))
    what = shared(held(), added)

    with pytest.raises(MedFabricError, match=r"MF-6013.*not made of this hospital's part"):
        proof(held(), what).prove(held().shorts, fresh())
    with pytest.raises(MedFabricError, match=r"MF-6013.*not short"):
        proof(held(), what).check(_careless(proof(held(), what), held().shorts))


def test_who_guesses_which_rows_are_answered_is_refused() -> None:
    """Of each row a cheat can send one of the two: what it did not prepare does not hash right."""
    cheat = proof(own(), shared(own(), np.broadcast_to(RNS.residues(1 << 70), (2, DEGREE))))
    nothing = _Answer(np.zeros_like(own().shorts), np.zeros((2, DEGREE), dtype=np.int64))
    seeds = [fresh().bytes(32) for _ in range(cheat.rows)]
    guessed = set(range(cheat.rows // 2))
    said: list[Residues] = []
    for row, seed in enumerate(seeds):
        images = cheat._images(cheat._mask(seed))
        said += map(RNS.subtract, images, cheat._targets) if row in guessed else images
    digest = cheat._digest(iter(said))
    answered = cheat._answered(digest)
    parts = [seed for row, seed in enumerate(seeds) if row not in answered]
    parts += [cheat._packed(cheat._sum(cheat._mask(seeds[row]), nothing)) for row in answered]

    with pytest.raises(MedFabricError, match=r"MF-6013.*does not hold"):
        cheat.check(cheat._header.packed(digest) + b"".join(parts))


def test_answers_about_short_polynomials_are_as_likely_for_any() -> None:
    """Whatever they are, every answer that is taken comes of exactly one mask."""
    largest = (1 << SHARE_ANSWER_BITS) - own().part.largest - 1
    taken, nothing = proof(own(), shared(own())), np.zeros((2, DEGREE), dtype=np.int64)

    for edge in (largest, -largest):
        assert taken._is_short(_Answer(np.full((2, DEGREE), edge), nothing))
    assert not taken._is_short(_Answer(np.full((2, DEGREE), largest + 1), nothing))
    assert largest + own().part.largest < 1 << SHARE_ANSWER_BITS


def test_answers_about_flooding_noise_hide_it_as_they_are_counted_to() -> None:
    """The masks are four times as wide as the noise is: their Fisher information, a sixteenth."""
    made = [proof(own(), shared(own()))._mask(fresh().bytes(32)) for _ in range(20)]
    sizes = np.concatenate([_signed(mask.flood) for mask in made])

    assert np.abs(sizes).max() <= BOUND << SHARE_MASK_BITS
    # Four uniform numbers have a variance of 4/3 of the square of their bound.
    deviation = (4 / 3) ** 0.5 * 2.0 ** (FLOOD + SHARE_MASK_BITS)
    assert abs(sizes.std() / deviation - 1) < 0.1


def _signed(residues: Residues) -> np.ndarray:
    first, second = RNS.primes
    inverse = pow(first, -1, second)
    whole = [
        int(a) + first * ((int(b) - int(a)) * inverse % second)
        for a, b in zip(*residues, strict=True)
    ]
    return np.array([float(v - RNS.modulus if 2 * v > RNS.modulus else v) for v in whole])


def _careless(cheat: ShareProof, shorts: Shorts) -> bytes:
    """What an honest prover would send, had it no look at what it proves."""
    hidden = _Answer(shorts, cheat._flooding(shorts))
    seeds = [fresh().bytes(32) for _ in range(cheat.rows)]
    digest = cheat._digest(image for seed in seeds for image in cheat._images(cheat._mask(seed)))
    answered = cheat._answered(digest)
    opened = [seed for row, seed in enumerate(seeds) if row not in answered]
    answers = [cheat._packed(cheat._sum(cheat._mask(seeds[row]), hidden)) for row in answered]
    return cheat._header.packed(digest) + b"".join((*opened, *answers))
