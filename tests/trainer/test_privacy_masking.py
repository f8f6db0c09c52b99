"""Masked updates: exact sums, nodes that drop out, and what nobody learns."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masking import CHANNEL_KEY

from chaincode.schema.errors import MedFabricError
from chaincode.schema.masking import SHARE_BYTES, MaskingTerms, round_context
from trainer.privacy.masking import (
    MaskedForm,
    Masker,
    MaskSecrets,
    own_sha256,
    recovered,
)
from trainer.privacy.transport import ORDER, TransportKey

TERMS = MaskingTerms(threshold=3, levels=32_767, clip_micro=8_000_000)
CLIP, LENGTH, WEIGHTS = 8.0, 100, (256, 300, 100, 368)
CONTEXT = round_context("ab" * 32, 1)
ALL = (1, 2, 3, 4)


@dataclass(frozen=True)
class Nodes:
    """Four nodes of four hospitals, their secrets and their updates."""

    terms: MaskingTerms
    masker: Masker
    secrets: list[MaskSecrets]
    values: list[np.ndarray]
    updates: list[bytes]

    def add(self, places: Sequence[int]) -> bytes:
        return b"".join(self.masker.add([io.BytesIO(self.updates[place]) for place in places]))

    def own(self, place: int, points: Sequence[int]) -> int:
        return recovered({p: self._share(place, p)[1] for p in points})

    def key(self, place: int, points: Sequence[int]) -> TransportKey:
        return TransportKey(recovered({p: self._share(place, p)[0] for p in points}))

    def _share(self, place: int, point: int) -> tuple[int, int]:
        return self.secrets[place].shares(len(ALL), self.terms.threshold)[point - 1]

    def unmask(self, present: Sequence[int], points: Sequence[int] = ALL[:3]) -> np.ndarray:
        """What the hospitals at these points make of the sum of those present."""
        dropped = {p: self.key(p, points) for p in range(4) if p not in present}
        own = [self.own(place, points) for place in present]
        weight = sum(WEIGHTS[place] for place in present)
        total = io.BytesIO(self.add(present))
        return np.concatenate(list(self.masker.unmask(total, own, dropped, weight)))

    def exact(self, present: Sequence[int]) -> np.ndarray:
        unit = self.terms.levels / CLIP
        whole = [np.rint(np.clip(v, -CLIP, CLIP) * unit) for v in self.values]
        weight = sum(WEIGHTS[place] for place in present)
        sums = sum(WEIGHTS[place] * whole[place] for place in present)
        return np.asarray(sums / float(self.terms.levels * weight) * CLIP)


def nodes(terms: MaskingTerms = TERMS, length: int = LENGTH) -> Nodes:
    secrets = [MaskSecrets(os.urandom(32), CONTEXT) for _ in WEIGHTS]
    masker = Masker(terms, length, CONTEXT, [s.mask_key.public_hex for s in secrets])
    values = [np.random.default_rng(place).normal(0, 3, length) for place in range(4)]
    updates = [
        b"".join(masker.mask(v, weight, secret, place))
        for place, (v, weight, secret) in enumerate(zip(values, WEIGHTS, secrets, strict=True))
    ]
    return Nodes(terms, masker, secrets, values, updates)


@pytest.fixture(scope="module")
def four() -> Nodes:
    return nodes()


@pytest.mark.parametrize("present", [p for n in (2, 3, 4) for p in combinations(range(4), n)])
def test_the_mean_of_those_present_is_exact_whoever_dropped_out(
    four: Nodes, present: tuple[int, ...]
) -> None:
    assert four.unmask(present).tobytes() == four.exact(present).tobytes()


@pytest.mark.parametrize("points", list(combinations(ALL, 3)))
def test_any_threshold_of_hospitals_gives_the_same_bytes(
    four: Nodes, points: tuple[int, ...]
) -> None:
    assert four.unmask((0, 1, 3), points).tobytes() == four.exact((0, 1, 3)).tobytes()


@settings(max_examples=12, deadline=None)
@given(levels=st.integers(1, 2**40), bits=st.sampled_from([10, 12]), long=st.booleans())
def test_every_width_of_the_ring_holds_the_largest_sum(levels: int, bits: int, long: bool) -> None:
    terms = MaskingTerms(threshold=3, levels=levels, weight_bits=bits, clip_micro=8_000_000)
    length = 70_000 if long else 10
    some = nodes(terms, length)
    for value in some.values:
        value[:5] = 1e9
        value[5:10] = -1e9
    updates = [
        b"".join(some.masker.mask(v, w, s, place))
        for place, (v, w, s) in enumerate(zip(some.values, WEIGHTS, some.secrets, strict=True))
    ]

    mean = Nodes(terms, some.masker, some.secrets, some.values, updates).unmask((0, 1, 2, 3))

    assert (mean[:5] == CLIP).all()
    assert (mean[5:10] == -CLIP).all()
    assert len(updates[0]) == 48 + length * terms.width


def test_the_sum_is_the_same_bytes_in_any_order(four: Nodes) -> None:
    assert four.add((0, 1, 2, 3)) == four.add((3, 1, 0, 2))


def test_an_update_looks_uniform_and_never_repeats(four: Nodes) -> None:
    zeros = np.zeros(50_000)
    masker = Masker(TERMS, 50_000, CONTEXT, [s.mask_key.public_hex for s in four.secrets])
    raw = b"".join(masker.mask(zeros, 1, four.secrets[0], 0))[48:]

    counts = np.bincount(np.frombuffer(raw, np.uint8), minlength=256) / len(raw)
    # Each of 256 values comes about 0.4 % of the time.
    assert np.abs(counts - 1 / 256).max() < 0.0006
    other = MaskSecrets(os.urandom(32), round_context("ab" * 32, 2))
    assert b"".join(masker.mask(zeros, 1, other, 0))[48:] != raw


def test_what_is_recovered_is_what_the_ledger_binds(four: Nodes) -> None:
    own = four.own(2, (1, 3, 4))

    assert own_sha256(CONTEXT, own) == own_sha256(CONTEXT, four.secrets[2].own)
    assert four.key(2, (2, 3, 4)).public_hex == four.secrets[2].mask_key.public_hex
    assert recovered({1: 7, 2: 7, 3: 7}) == 7
    with pytest.raises(MedFabricError, match="MF-6007"):
        recovered({})


# attacks, each against the naive variant first


def test_with_both_secrets_of_a_node_its_update_is_read_and_without_one_of_them_it_is_not(
    four: Nodes,
) -> None:
    """A server, or t hospitals, that lie to some about who dropped out and collect both."""
    points = ALL[:3]
    own, key = four.own(1, points), four.key(1, points)
    alone = _sum_of(four.updates[1])

    naive = _opened(four, alone, [own], {1: key})
    without_own = _opened(four, alone, [], {1: key})
    without_key = _opened(four, alone, [own], {})

    assert _agrees(four, naive)
    assert not _agrees(four, without_own)
    assert not _agrees(four, without_key)


def test_a_late_update_of_a_node_that_dropped_out_stays_masked(four: Nodes) -> None:
    # Its key was recovered, all pairwise masks are known: its own mask is what is left.
    late = _opened(four, _sum_of(four.updates[3]), [], {3: four.key(3, ALL[:3])})

    assert not _agrees(four, late, 3)


def test_without_its_own_mask_a_late_update_is_read(four: Nodes) -> None:
    """The naive variant: pairwise masks alone."""
    updates = [b"".join(_naive_mask(four, place)) for place in range(4)]
    late = _opened(four, _sum_of(updates[3]), [], {3: four.key(3, ALL[:3])})

    assert _agrees(four, late, 3)


def test_with_the_masks_key_alone_shares_under_one_key_pair_are_read_and_ours_are_not(
    four: Nodes,
) -> None:
    """A recovered key opens whatever was encrypted with it."""
    secrets, hospital = four.secrets[0], TransportKey(12345)
    share = secrets.own.to_bytes(SHARE_BYTES, "big")
    recipients = [hospital.public_hex]
    naive = secrets.mask_key.seal(CONTEXT, 1, recipients, [share])
    ours = secrets.channel.seal(CONTEXT, 1, recipients, [share])
    key = four.key(0, ALL[:3])

    # Whoever has one of the two keys of an agreement has what was agreed.
    opened = key._cipher(CONTEXT, 1, 1, hospital.public_hex).decrypt(bytes(12), naive[38:], None)
    assert opened == share
    with pytest.raises(Exception, match=r"^$"):
        key._cipher(CONTEXT, 1, 1, hospital.public_hex).decrypt(bytes(12), ours[38:], None)


@pytest.mark.parametrize("points", list(combinations(ALL, 2)))
def test_fewer_hospitals_than_the_threshold_recover_nothing(
    four: Nodes, points: tuple[int, ...]
) -> None:
    assert four.own(0, points) != four.secrets[0].own
    # Any secret is as likely: with one share more, chosen freely, every one comes out.
    shares = {p: four._share(0, p)[1] for p in points}
    third = next(p for p in ALL if p not in points)
    for secret in (1, 2**200, ORDER - 1):
        assert recovered(shares | {third: _share_that_gives(secret, shares, third)}) == secret


def test_all_other_nodes_together_learn_only_the_sum(four: Nodes) -> None:
    """Three nodes that pool their pairwise masks do not read the fourth's update without its own
    mask, of which they hold no share."""
    pooled = _opened(four, _sum_of(four.updates[2]), [], {2: four.secrets[2].mask_key})

    assert not _agrees(four, pooled, 2)


def test_masks_of_one_round_do_not_come_off_in_another(four: Nodes) -> None:
    later = round_context("ab" * 32, 2)
    masker = Masker(TERMS, LENGTH, later, [s.mask_key.public_hex for s in four.secrets])

    with pytest.raises(MedFabricError, match="MF-6002"):
        list(masker.add([io.BytesIO(four.updates[0])]))


def test_a_sum_that_lacks_an_update_does_not_come_off(four: Nodes) -> None:
    total = io.BytesIO(four.add((0, 1, 2)))
    own = [four.own(place, ALL[:3]) for place in range(4)]

    with pytest.raises(MedFabricError, match="MF-6008"):
        list(four.masker.unmask(total, own, {}, sum(WEIGHTS)))


def test_an_update_of_the_wrong_size_or_value_is_refused(four: Nodes) -> None:
    with pytest.raises(MedFabricError, match="MF-5004"):
        list(four.masker.mask(np.zeros(LENGTH + 1), 1, four.secrets[0], 0))
    with pytest.raises(MedFabricError, match="MF-6005"):
        list(four.masker.mask(np.full(LENGTH, np.nan), 1, four.secrets[0], 0))


def test_secrets_never_show_themselves(four: Nodes) -> None:
    assert repr(four.secrets[0]) == "MaskSecrets(...)"
    with pytest.raises(MedFabricError, match="MF-6001"):
        MaskSecrets(b"short", CONTEXT)
    assert CHANNEL_KEY not in {s.channel.public_hex for s in four.secrets}


def test_ten_thousand_mutated_updates_are_refused_or_another_canonical_value(four: Nodes) -> None:
    form, content = four.masker.update, four.updates[0]
    draw = np.random.default_rng(1)
    read = 0
    for index in range(10_000):
        changed = bytearray(content)
        place = int(draw.integers(0, 48 if index // 4 % 2 else len(content)))
        kind = index % 4
        if kind == 0:
            changed = changed[:place]
        elif kind == 1:
            changed[place : place + 8] = b"\xff" * 8
        elif kind == 2:
            changed += draw.bytes(1 + place)
        else:
            changed[place] ^= 1 << int(draw.integers(0, 8))
        values = _read(form, bytes(changed))
        if values is not None:
            read += 1
            assert form.header() + b"".join(map(form.pack, values)) == bytes(changed)
    assert 1000 < read < 9000


def _read(form: MaskedForm, content: bytes) -> list[np.ndarray] | None:
    try:
        return list(form.read(io.BytesIO(content)))
    except MedFabricError as error:
        if error.code not in ("MF-6001", "MF-6002"):
            raise
        return None


def _sum_of(update: bytes) -> bytes:
    """A single update as a sum of one: byte 4 says which."""
    return update[:4] + b"\x02" + update[5:]


def _opened(
    four: Nodes, total: bytes, own: Sequence[int], keys: dict[int, TransportKey]
) -> np.ndarray:
    """What is left of a single update without these masks, as signed integers."""
    (piece,) = four.masker.total.read(io.BytesIO(total))
    for secret in own:
        piece -= four.masker._words(four.masker._own(secret), piece.size)
    for place, key in keys.items():
        for other, public in enumerate(four.masker._mask_keys):
            if other != place:
                words = four.masker._words(four.masker._pair(key, public), piece.size)
                four.masker._shift(piece, words, up=other < place)
    return four.masker._signed(piece)


def _agrees(four: Nodes, found: np.ndarray, place: int = 1) -> bool:
    whole = np.rint(np.clip(four.values[place], -CLIP, CLIP) * (TERMS.levels / CLIP))
    return bool((found == WEIGHTS[place] * whole).all())


def _naive_mask(four: Nodes, place: int) -> list[bytes]:
    (piece,) = four.masker.update.read(io.BytesIO(four.updates[place]))
    own = four.masker._words(four.masker._own(four.secrets[place].own), piece.size)
    return [four.masker.update.header(), four.masker.update.pack(piece - own)]


def _share_that_gives(secret: int, shares: dict[int, int], third: int) -> int:
    """The third hospital's share for which all three recover this secret."""
    zero = recovered(shares | {third: 0})
    one = recovered(shares | {third: 1})
    return (secret - zero) * pow(one - zero, -1, ORDER) % ORDER
