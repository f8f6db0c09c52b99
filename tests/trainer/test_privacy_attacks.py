"""Attacks on the encryption: each succeeds against the naive variant and fails against ours."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.key_holders import SENDER, KeyHolders, key_holders

from chaincode.schema.encryption import EncryptionTerms, Workload, choose
from chaincode.schema.errors import MedFabricError
from client.content.directory import DirectoryStore
from trainer.privacy import KeySecret
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.ring import Residues
from trainer.privacy.sampling import fresh
from trainer.privacy.tied import Tied
from trainer.privacy.wellformed import WellFormed
from trainer.privacy.wire import Kind

LENGTH = 40
ALL = (1, 2, 3, 4)
DEGREE = EncryptionTerms().poly_modulus_degree
VALUES = [np.random.default_rng(i).normal(0, 1, LENGTH) for i in range(4)]


@pytest.fixture(scope="module")
def holders() -> KeyHolders:
    return key_holders()


def _ciphertext(holders: KeyHolders, content: bytes) -> Residues:
    """Of an update or a sum: ``int64[2, P, N]``."""
    form = holders.scheme.form(Kind.CIPHERTEXT)
    return form.decode(content[: form.length])[0, :]


def _opened(holders: KeyHolders, update: bytes, secret: Residues) -> np.ndarray:
    """An update's values, by whoever has the key, transformed."""
    scheme, rns = holders.scheme, holders.scheme._rns
    c0, c1 = _ciphertext(holders, update)
    shift = EncryptionTerms().scale_bits
    key = rns.rounded(rns.add(c0, rns.multiply(c1, secret)), shift, shift + 20)
    masked = list(scheme.update_form(SENDER, holders.key).read(io.BytesIO(update)))[1]
    mask_key = scheme._masks.transformed(key)
    (values,) = scheme._masks.rns.subtract(masked[0], scheme._masks._mask(mask_key, 0))
    prime = scheme._masks.primes[0]
    return (np.where(values > prime // 2, values - prime, values) * 8.0 / EncryptionTerms().levels)[
        :LENGTH
    ]


def _quotient(holders: KeyHolders, share: Residues, c1: Residues) -> Residues:
    """share / c1 in the ring: what solves for the key."""
    rns = holders.scheme._rns
    inverse = np.array(
        [
            [pow(int(value), -1, prime) for value in row]
            for row, prime in zip(c1, rns.primes, strict=True)
        ]
    )
    return rns.multiply(share, inverse)


def test_secret_key_from_published_decryptions(holders: KeyHolders) -> None:
    """Li and Micciancio 2021: who sees a decryption without flooding solves for the key."""
    rns = holders.scheme._rns
    secret = rns.small(holders.scheme.dealing.secret_polynomial(holders.secrets[0]))
    aggregate = holders.add([holders.encrypt(VALUES[0])], [1])
    c1 = _ciphertext(holders, aggregate)[1]

    naive = _quotient(holders, rns.multiply(c1, secret), c1)
    share = holders.scheme.form(Kind.SHARE).decode(holders.share(1, aggregate, ALL))[0, 0]
    ours = _quotient(holders, share, c1)

    assert (naive == secret).all()
    assert not (ours == secret).any()
    assert not rns.within(ours, 1 << 40)


def test_differencing_of_subsets(holders: KeyHolders) -> None:
    """Two sums of a round that differ in one member give that member's update, if both are
    decrypted. A node shares in one aggregate per round, and the ledger accepts one."""
    updates = [holders.encrypt(value) for value in VALUES]
    everyone, but_one = holders.add(updates, [100] * 4), holders.add(updates[:3], [100] * 3)

    naive = 4 * holders.decrypt(everyone, ALL, 400) - 3 * holders.decrypt(but_one, ALL, 300)
    shares = [holders.share(point, everyone, ALL) for point in ALL]

    assert np.abs(naive - VALUES[3]).max() < 1e-3
    with pytest.raises(MedFabricError, match="MF-6008"):
        # Shares of the accepted aggregate do not open the other one.
        holders.decode(but_one, shares, 300)


def test_rogue_key(holders: KeyHolders) -> None:
    """The last to speak picks its key so that the sum is one that it knows the secret of."""
    scheme, rns = holders.scheme, holders.scheme._rns
    rogue = KeySecret(b"r" * 32)
    own = scheme.dealing.make(rogue, 4)
    chosen = target = scheme.dealing.check(own, 4)
    for number, document in enumerate(holders.documents[:3], 1):
        chosen = rns.subtract(chosen, scheme.dealing.check(document, number))
    form = scheme.form(Kind.KEY)
    forged = form.encode(chosen[None, None]) + own[form.length :]

    # Without proofs the collective key is the rogue's alone, and opens everything.
    naive = type(holders.key)(target, form.encode(target[None, None]))
    update = b"".join(scheme.encrypt(VALUES[0], naive, SENDER))
    alone = rns.small(scheme.dealing.secret_polynomial(rogue))

    assert np.abs(_opened(holders, update, alone) - VALUES[0]).max() < 1e-5
    with pytest.raises(MedFabricError, match="MF-6009"):
        scheme.collective_key([*holders.documents[:3], forged])


def test_rogue_share(holders: KeyHolders) -> None:
    """A share that moves the mean to where its sender wants it, within the range of the sum."""
    aggregate = holders.add([holders.encrypt(value) for value in VALUES], [100] * 4)
    rns, form = holders.scheme._rns, holders.scheme.form(Kind.SHARE)
    shares = [holders.share(point, aggregate, ALL) for point in ALL]
    shift = np.zeros(DEGREE, dtype=np.int64)
    shift[0] = 1
    scale = rns.residues(2 << EncryptionTerms().scale_bits)
    moved = rns.add(form.decode(shares[3])[0, 0], rns.multiply(rns.small(shift), scale))
    random = holders.secrets[0].stream(b"", b"").uniform(DEGREE, rns.primes)

    # What decrypts nothing is found, and so is what shifts the key of the sum's mask, by however
    # little: the mask no longer comes off.
    for rogue in (random, moved):
        with pytest.raises(MedFabricError, match="MF-6008"):
            holders.decode(aggregate, [*shares[:3], form.encode(rogue[None, None])], 400)


@pytest.mark.parametrize(("threshold", "colluding"), [(None, 3), (3, 2)])
def test_too_few_colluders_reading_one_update(threshold: int | None, colluding: int) -> None:
    some = key_holders(threshold=threshold)
    update = some.encrypt(VALUES[3])

    # Naive: a key that one party holds, as where all sites share one secret key.
    whole = sum(some.scheme.dealing.secret_polynomial(secret) for secret in some.secrets)
    opened = _opened(some, update, some.scheme._rns.small(np.asarray(whole)))
    assert np.abs(opened - VALUES[3]).max() < 1e-5

    alone = some.add([update], [1])
    needed = 4 if threshold is None else threshold
    for coalition in combinations(ALL, colluding):
        for points in combinations(ALL, needed):
            if not set(coalition) <= set(points):
                continue
            shares = [some.share(point, alone, points) for point in coalition]
            with pytest.raises(MedFabricError, match="MF-6008"):
                some.decode(alone, shares, 1)


def test_colluders_below_the_threshold_cannot_use_a_smaller_polynomial() -> None:
    """Two of a threshold of three, taking the Lagrange factors of two."""
    some = key_holders(threshold=3)
    update, rns = some.encrypt(VALUES[3]), some.scheme._rns
    secret = rns.small(np.zeros(DEGREE, dtype=np.int64))
    for key, factor in zip(some.share_keys[:2], (2, -1), strict=True):
        secret = rns.add(secret, rns.multiply(key.residues, rns.residues(factor)))

    assert np.abs(_opened(some, update, secret) - VALUES[3]).max() > 100


def test_replay_and_cross_round_mixing(holders: KeyHolders) -> None:
    """Content of one round or plan in another: a bare sum would take it; its name would not."""
    other = KeyHolders(
        type(holders.scheme)(EncryptionTerms(), holders.scheme._work, b"t" * 32),
        holders.secrets,
        holders.documents,
        holders.key,
        holders.share_keys,
    )
    first, second = (holders.add([holders.encrypt(v)], [100]) for v in VALUES[:2])
    old = [holders.share(point, first, ALL) for point in ALL]

    # Shares of an earlier round, under another plan's parameters, and mixed with this round's.
    with pytest.raises(MedFabricError, match="MF-6008"):
        holders.decode(second, old, 100)
    mixed = [holders.share(point, second, ALL) for point in ALL[:3]]
    with pytest.raises(MedFabricError, match="MF-6008"):
        holders.decode(second, [*mixed, old[3]], 100)
    with pytest.raises(MedFabricError, match="MF-6002"):
        other.decode(second, old, 100)


def test_an_update_copied_from_another_node_or_round(holders: KeyHolders) -> None:
    """Who sends another's update once more makes it weigh twice, and itself nothing."""
    update = holders.encrypt(VALUES[0], b"another node")
    form = holders.scheme.update_form(b"another node", holders.key)
    assert len(list(form.read(io.BytesIO(update)))) == 2

    with pytest.raises(MedFabricError, match="MF-6002"):
        holders.add([update], [1])
    renamed = holders.encrypt(VALUES[1])
    start = holders.scheme.form(Kind.CIPHERTEXT).length
    # The copy under a proof for the right node that is about another ciphertext.
    with pytest.raises(MedFabricError, match="MF-6011"):
        holders.add([update[:start] + renamed[start:]], [1])


def test_malleated_residues(holders: KeyHolders, tmp_path: Path) -> None:
    """Masked values changed in the store move the mean by what the attacker chose, unless the
    ledger's hash is asked."""
    form, prime = holders.scheme.form(Kind.MASKED), holders.scheme._masks.primes[0]
    store = DirectoryStore(tmp_path)
    ref = store.put(holders.encrypt(VALUES[0]))
    path = next(p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size > form.length)
    content = path.read_bytes()
    start = len(content) - form.length
    chunk = form.decode(content[start:])
    shift = 2 * EncryptionTerms().levels // 8
    chunk[0, 0, 0, 0] = (chunk[0, 0, 0, 0] + shift) % prime
    path.chmod(0o600)
    path.write_bytes(content[:start] + form.encode(chunk))

    naive = holders.decrypt(holders.add([path.read_bytes()], [1000]), ALL, 1000)

    assert naive[0] - VALUES[0][0] == pytest.approx(2.0, abs=1e-3)
    with pytest.raises(MedFabricError, match="MF-7021"):
        store.get(ref)


def test_crafted_ciphertext(holders: KeyHolders) -> None:
    """A member submits (0, scale) as its mask's key: it decrypts to the secret key, whose
    coefficients are within the range of honest masks' keys, and the sum is everybody's to see."""
    rns, form = holders.scheme._rns, holders.scheme.form(Kind.CIPHERTEXT)
    scale = np.broadcast_to(rns.residues(1 << EncryptionTerms().scale_bits), (3, DEGREE))
    crafted = form.encode(np.stack([np.zeros_like(scale), scale])[None])
    own = holders.encrypt(VALUES[3])
    secret = sum(holders.scheme.dealing.secret_polynomial(one) for one in holders.secrets)

    # Naive: ciphertexts without proofs are added up and decrypted.
    shift = EncryptionTerms().scale_bits + 1
    parts = [np.add(part, part) for part in form.decode(crafted)[0]]
    total = [rns.lift(part) for part in parts]
    told = rns.rounded(
        rns.add(total[0], rns.multiply(total[1], rns.small(np.asarray(secret)))), shift, shift + 20
    )
    assert (told == np.asarray(secret)).all()

    with pytest.raises(MedFabricError, match="MF-6011"):
        holders.add([crafted + own[form.length :]], [1])


def test_a_ciphertext_with_a_part_of_the_key_s_scale_hidden_in_it(holders: KeyHolders) -> None:
    """The same hidden in a true encryption, with a proof of all but the hidden part."""
    scheme, rns = holders.scheme, holders.scheme._rns
    form = scheme.form(Kind.CIPHERTEXT)
    public_key = np.stack([holders.key.residues, scheme._reference])
    stream = fresh()
    ciphertext, opening = Encryptor(rns, public_key).zero(stream)
    proof = WellFormed(rns, scheme._reference, scheme.context + SENDER)
    ciphertext[1] = rns.add(ciphertext[1], rns.residues(1 << EncryptionTerms().scale_bits))

    forged = proof.prove([ciphertext], [opening], stream)
    own = holders.encrypt(VALUES[3])
    update = form.encode(ciphertext[None]) + forged + own[form.length + proof.length :]

    with pytest.raises(MedFabricError, match="MF-6011"):
        holders.add([update], [1])


def test_the_key_of_a_sum_s_mask_tells_no_update(holders: KeyHolders) -> None:
    """Who sees the decrypted sum of masks' keys takes it apart by the weights, as digits of a
    number, where keys are as narrow as a ring's secrets usually are."""
    weights, draw = (100, 101), np.random.default_rng(1)
    narrow = draw.integers(-1, 2, size=(2, 1000))
    total = weights[0] * narrow[0] + weights[1] * narrow[1]
    pairs = {100 * a + 101 * b: (a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    told = np.array([pairs[int(value)] for value in total]).T

    assert (told == narrow).all()
    wide = [holders.scheme._masks.key(fresh()) for _ in weights]
    sums = weights[0] * wide[0] + weights[1] * wide[1]
    # The likeliest of all pairs with that sum: each key's share of it.
    guess = np.rint(sums * weights[0] / (weights[0] ** 2 + weights[1] ** 2))
    steps = np.abs(guess - wide[0]) / weights[1]
    assert (steps > 3).mean() > 0.5


@pytest.fixture(scope="module")
def tied() -> KeyHolders:
    """Of a plan whose updates' masked values are proven to open under their keys."""
    work = Workload(4, 4, LENGTH, 1)
    return key_holders(terms=choose(work, clip_micro=8_000_000, error_nano=10_000, tied=True))


def _cheated(
    some: KeyHolders, monkeypatch: pytest.MonkeyPatch, *, proven: bool = False, **cheats: object
) -> bytes:
    """An update by a member that does other than it should in making masks, and sends whatever
    proof comes out; or one that holds, if it is to be ``proven``."""
    with monkeypatch.context() as patched:
        if not proven:
            patched.setattr(Tied, "_tells_nothing", lambda *_: True)
            patched.setattr(Tied, "_is_short", lambda *_: True)
        for name, cheat in cheats.items():
            patched.setattr(some.scheme._masks, name, cheat)
        made = some.encrypt(VALUES[0])
        while proven and not _holds(some, made):
            made = some.encrypt(VALUES[0])
        return made


def _holds(some: KeyHolders, update: bytes) -> bool:
    try:
        return bool(list(some.scheme.update_form(SENDER, some.key).read(io.BytesIO(update))))
    except MedFabricError:
        return False


def _undecodable(some: KeyHolders, update: bytes) -> bool:
    """Whether a sum with this update, beside an honest one, opens for nobody."""
    with pytest.raises(MedFabricError, match="MF-6008"):
        some.decrypt(some.add([some.encrypt(VALUES[1]), update], [1, 1]), ALL, 2)
    return True


def test_a_mask_of_another_key_than_the_encrypted_one(
    holders: KeyHolders, tied: KeyHolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops a round for good, and from the sum nobody can tell whose update it was."""

    def cheated(some: KeyHolders) -> bytes:
        masks = some.scheme._masks
        other = masks.transformed(masks.key(fresh()))
        return _cheated(some, monkeypatch, transformed=lambda _: other)

    assert _undecodable(holders, cheated(holders))
    with pytest.raises(MedFabricError, match="MF-6011"):
        tied.add([cheated(tied)], [1])


def test_a_key_that_no_sum_of_keys_has_room_for(
    holders: KeyHolders, tied: KeyHolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cheated(some: KeyHolders, size: int, *, proven: bool = False) -> bytes:
        large = np.zeros(DEGREE, dtype=np.int64)
        large[0] = size
        return _cheated(some, monkeypatch, proven=proven, key=lambda _: large)

    assert _undecodable(holders, cheated(holders, 1 << 40))
    with pytest.raises(MedFabricError, match="MF-6011"):
        tied.add([cheated(tied, 1 << 50)], [1])
    # What is not found is larger than honest keys are, and decodes all the same.
    kept = tied.add([cheated(tied, 1 << 20, proven=True), tied.encrypt(VALUES[1])], [1, 1])
    exact = (VALUES[0] + VALUES[1]) / 2
    assert tied.decrypt(kept, ALL, 2) == pytest.approx(exact, abs=1e-4)


def test_values_beyond_the_clip_that_no_sum_has_room_for(
    holders: KeyHolders, tied: KeyHolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cheated(some: KeyHolders, *, proven: bool = False) -> bytes:
        message, levels = some.scheme._masks.message, some.scheme._terms.levels

        def larger(*args: object) -> np.ndarray:
            made = message(*args)  # type: ignore[arg-type]
            made[0] += 100 * levels
            return made

        return _cheated(some, monkeypatch, proven=proven, message=larger)

    assert _undecodable(holders, cheated(holders))
    # A value that has a proof stops nothing, however large: it counts as none.
    kept = tied.add([cheated(tied, proven=True), tied.encrypt(VALUES[1])], [1, 1])
    exact = (VALUES[0] + VALUES[1]) / 2
    exact[0] = 0
    assert tied.decrypt(kept, ALL, 2) == pytest.approx(exact, abs=1e-4)
