"""A key handed on: others decrypt, who are more or fewer; who hands on wrongly is found."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
import pytest
from support.key_holders import SEED, SENDER, KeyHolders, key_holders

from chaincode.schema.encryption import EncryptionTerms, Workload
from chaincode.schema.errors import MedFabricError
from trainer.privacy import KeySecret, Scheme, ShareKey, commitments
from trainer.privacy.dealing import Dealing
from trainer.privacy.handover import Held
from trainer.privacy.ring import Residues
from trainer.privacy.transport import TransportKey
from trainer.privacy.wire import Kind

VALUES = np.linspace(-1, 1, 40)


@dataclass
class Former:
    """Who holds a key: scheme, secrets, share keys, and what each part is committed to."""

    scheme: Scheme
    secrets: list[KeySecret]
    keys: list[ShareKey]
    holders: KeyHolders

    def bound(self, point: int) -> list[str]:
        held = self.keys[point - 1].held
        return [commitments.digest(c) for c in held.commitments] if held else []


def former(threshold: int | None, hospitals: int = 4) -> Former:
    some = key_holders(hospitals, threshold)
    return Former(some.scheme, some.secrets, some.share_keys, some)


def successor(before: Former, hospitals: int, threshold: int | None, seed: bytes) -> Scheme:
    secrets = len(before.holders.secrets)
    work = Workload(hospitals, hospitals, 40, 1, secrets)
    return Scheme(EncryptionTerms(threshold=threshold), work, seed, SEED)


def dealings(before: Former, scheme: Scheme, points: list[int]) -> list[Dealing]:
    return [
        scheme.handing(
            before.scheme, point, points, before.bound(point), before.keys[point - 1].held
        )
        for point in points
    ]


def hand_on(before: Former, hospitals: int, threshold: int | None, points: list[int]) -> Former:
    """Those at ``points`` hand the key on to so many, all of which check what they get."""
    scheme = successor(before, hospitals, threshold, os.urandom(32))
    made = dealings(before, scheme, points)
    secrets = [KeySecret(os.urandom(32)) for _ in range(hospitals)]
    fresh = [KeySecret(os.urandom(32)) for _ in points]
    own = fresh if before.scheme.dealt else [before.secrets[point - 1] for point in points]
    documents = [d.make(s, p) for d, s, p in zip(made, own, points, strict=True)]
    subshares = [dealing.subshares(s) for dealing, s in zip(made, own, strict=True)]
    keys = []
    for recipient, received in enumerate(zip(*subshares, strict=True), 1):
        dealt = dict(zip(points, received, strict=True))
        for dealing, document, point in zip(made, documents, points, strict=True):
            dealing.check(document, point)
            dealing.check_subshare(document, point, recipient, dealt[point])
        keys.append(scheme.share_key(recipient, dealt))
    return Former(scheme, secrets, keys, before.holders)


def decrypted(after: Former, points: list[int]) -> np.ndarray:
    scheme, key = after.scheme, after.scheme.known_key(after.holders.key.content)
    updates = [b"".join(scheme.encrypt(VALUES * w, key, SENDER)) for w in (1, 2)]
    total = b"".join(scheme.weighted_sum([(io.BytesIO(u), SENDER, 1) for u in updates], key))
    shares = [scheme.decryption_share(after.keys[p - 1], io.BytesIO(total), points) for p in points]
    return np.concatenate(list(scheme.decode_mean(io.BytesIO(total), shares, 2)))


@pytest.mark.parametrize(
    ("threshold", "hospitals", "new", "points"),
    [
        (3, 3, 2, [1, 2, 4]),  # One has left.
        (3, 5, 4, [2, 3, 4]),  # One has joined.
        (3, 3, None, [1, 2, 3]),  # All are needed from now on.
        (None, 5, 3, [1, 2, 3, 4]),  # Nothing was dealt before.
    ],
)
def test_others_decrypt_what_is_encrypted_under_the_same_key(
    threshold: int | None, hospitals: int, new: int | None, points: list[int]
) -> None:
    after = hand_on(former(threshold), hospitals, new, points)

    own = list(range(1, hospitals + 1))[-(new or hospitals) :]
    assert np.abs(decrypted(after, own) - 1.5 * VALUES).max() < 1e-5


def test_a_key_is_handed_on_again_and_again() -> None:
    after = former(3)
    for hospitals, threshold, points in ((5, 3, [1, 3, 4]), (4, 3, [2, 3, 5]), (3, 2, [1, 2, 4])):
        after = hand_on(after, hospitals, threshold, points)

    assert np.abs(decrypted(after, [1, 3]) - 1.5 * VALUES).max() < 1e-5


def test_old_and_new_parts_do_not_fit_together() -> None:
    before = former(3)
    after = hand_on(before, 4, 3, [1, 2, 3])
    # Whoever left knows its old part; two who stay are fewer than three.
    after.keys[3] = before.keys[3]

    with pytest.raises(MedFabricError, match="MF-6008"):
        decrypted(after, [1, 2, 4])


def test_a_holder_that_hands_on_another_value_is_found() -> None:
    before = former(3)
    scheme = successor(before, 4, 3, b"t" * 32)
    held = before.keys[0].held
    assert held is not None
    other = Held(np.roll(held.value, 1, axis=1), held.opening, held.commitments)
    cheat = scheme.handing(before.scheme, 1, [1, 2, 3], before.bound(1), other)
    honest = scheme.handing(before.scheme, 1, [1, 2, 3], before.bound(1))
    document = cheat.make(KeySecret(b"c" * 32), 1)

    with pytest.raises(MedFabricError, match="MF-6009"):
        honest.check(document, 1)


def test_a_holder_that_hands_on_what_another_holds_is_found() -> None:
    before = former(3)
    scheme = successor(before, 4, 3, b"t" * 32)
    two = scheme.handing(before.scheme, 2, [1, 2, 3], before.bound(2), before.keys[1].held)
    one = scheme.handing(before.scheme, 1, [1, 2, 3], before.bound(1))

    with pytest.raises(MedFabricError, match=r"MF-6009.*dealt to it"):
        one.check(two.make(KeySecret(b"c" * 32), 1), 1)


def test_a_commitment_is_opened_by_nothing_else() -> None:
    before = former(3)
    held = before.keys[0].held
    assert held is not None
    total = held.commitments.sum(axis=0) % before.scheme.rns.column
    references = before.scheme._commitments

    assert (references.commit(held.value, held.opening) == total).all()
    assert not (references.commit(held.value, held.opening[::-1]) == total).all()
    assert repr(held) == "Held(...)"


def test_what_a_node_keeps_is_what_it_holds() -> None:
    scheme, key = former(3).scheme, former(3).keys[1]
    share, committed = scheme.kept(key)
    found = scheme.found(share, 2)
    held = scheme.held(found, committed, 4)

    assert (found.residues == key.residues).all()
    assert found.held is None
    assert key.held is not None
    assert (held.value == key.held.value).all()
    assert (held.opening == key.held.opening).all()
    assert (held.commitments == key.held.commitments).all()
    # What a round reads does not grow with the number of those who dealt.
    assert len(share) < len(committed) / 8


@pytest.mark.parametrize("one_for_all", [True, False])
def test_accusations_of_a_dealer_that_lies_to_all_open_what_others_dealt(one_for_all: bool) -> None:
    """The key was used before, and is again: only with a transport key for each dealer it stays
    closed."""
    before = former(None, 3)
    scheme = successor(before, 3, 2, b"t" * 32)
    honest, secret, rns = TransportKey(2), before.secrets[1], scheme.rns
    form, recipients = scheme.form(Kind.SUBSHARE), [KeySecret(bytes([i]) * 32) for i in range(3)]
    dealt = dealings(before, scheme, [1, 2, 3])[1].subshares(secret)

    def key(recipient: KeySecret, dealer: int) -> TransportKey:
        return TransportKey.of(recipient, scheme.context, 0 if one_for_all else dealer)

    def opened(place: int) -> Residues:
        """By the key that the recipient's accusation of dealer 1 shows."""
        raw = key(recipients[place - 1], 1).open(
            sealed, scheme.context, 2, honest.public_hex, (place, 3), form.length
        )
        return form.decode(raw)[0, 0]

    public = [key(recipient, 2).public_hex for recipient in recipients]
    sealed = honest.seal(scheme.context, 2, public, [form.encode(f[None, None]) for f in dealt])

    if one_for_all:
        found = rns.subtract(rns.add(opened(1), opened(1)), opened(2))
        assert (found == rns.small(before.scheme.dealing.secret_polynomial(secret))).all()
        return
    for place in (1, 2, 3):
        with pytest.raises(MedFabricError, match="MF-6010"):
            opened(place)
