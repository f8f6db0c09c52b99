"""Key shares and dealings: who cheats is found, and nobody is blamed falsely."""

from __future__ import annotations

import numpy as np
import pytest
from support.key_holders import key_holders

from chaincode.schema.errors import MedFabricError
from trainer.privacy import KeySecret
from trainer.privacy.dealing import KeyDealing
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import derived
from trainer.privacy.transport import TransportKey
from trainer.privacy.wire import Kind

HOLDERS = key_holders(threshold=3)
DEALING = HOLDERS.scheme.dealing
CONTEXT = HOLDERS.scheme.context
FORM = HOLDERS.scheme.form(Kind.SUBSHARE)
KEY_LENGTH = HOLDERS.scheme.form(Kind.KEY).length


class _Cheat(KeyDealing):
    """Deals hospital 2 another value than the polynomial's, and binds it by hash."""

    def _at(self, coefficients: list[Residues], point: int) -> Residues:
        value = super()._at(coefficients, point)
        return np.roll(value, 1, axis=1) if point == 2 else value


class _Long(KeyDealing):
    """Its secret is no short polynomial."""

    def secret_polynomial(self, secret: KeySecret) -> Residues:
        return secret.stream(self._context, b"secret").short(self._rns.degree, 30)


def _variant(kind: type[KeyDealing]) -> KeyDealing:
    return kind(DEALING._rns, DEALING._reference, CONTEXT, 4, 3)


@pytest.mark.parametrize("threshold", [None, 3])
def test_an_honest_key_share_is_sound_and_the_same_each_time(threshold: int | None) -> None:
    holders = key_holders(threshold=threshold)
    dealing, secret = holders.scheme.dealing, holders.secrets[0]

    key = dealing.check(holders.documents[0], 1)

    assert dealing.make(secret, 1) == holders.documents[0]
    again = dealing._image(
        dealing._rns.small(dealing.secret_polynomial(secret)),
        [dealing._rns.small(secret.stream(holders.scheme.context, b"error").error(8192))],
    )
    assert (again == key).all()


def test_every_recipient_finds_its_subshare_bound() -> None:
    for dealer, (secret, document) in enumerate(
        zip(HOLDERS.secrets, HOLDERS.documents, strict=True), 1
    ):
        for point in range(1, 5):
            DEALING.check_subshare(document, dealer, point, DEALING.subshares(secret)[point - 1])


def test_a_key_share_without_possession_is_refused() -> None:
    # A rogue key, chosen so that the sum of all keys is one whose secret the rogue knows.
    rogue = KeySecret(b"r" * 32)
    own = DEALING.make(rogue, 4)
    others = [DEALING.check(document, 1 + i) for i, document in enumerate(HOLDERS.documents[:3])]
    chosen = DEALING.check(own, 4)
    for other in others:
        chosen = DEALING._rns.subtract(chosen, other)
    forged = HOLDERS.scheme.form(Kind.KEY).encode(chosen[None, None]) + own[KEY_LENGTH:]

    with pytest.raises(MedFabricError, match="MF-6009"):
        HOLDERS.scheme.collective_key([*HOLDERS.documents[:3], forged])


def test_a_key_share_of_another_hospital_is_nobody_else_s() -> None:
    with pytest.raises(MedFabricError, match="MF-6009"):
        DEALING.check(HOLDERS.documents[0], 2)


def test_a_secret_that_is_not_short_is_refused() -> None:
    cheat = _variant(_Long)
    # It cannot make a proof that passes its own check of shortness: it leaves that out.
    cheat._is_short = lambda answer: True  # type: ignore[method-assign]

    with pytest.raises(MedFabricError, match=r"MF-6009.*short"):
        DEALING.check(cheat.make(HOLDERS.secrets[0], 1), 1)


def test_a_dealing_off_the_polynomial_is_found_by_its_recipient() -> None:
    cheat = _variant(_Cheat)
    document = cheat.make(HOLDERS.secrets[0], 1)

    # The public part alone does not show it.
    DEALING.check(document, 1)
    DEALING.check_subshare(document, 1, 1, cheat.subshares(HOLDERS.secrets[0])[0])
    with pytest.raises(MedFabricError, match="MF-6010"):
        DEALING.check_subshare(document, 1, 2, cheat.subshares(HOLDERS.secrets[0])[1])


def test_another_value_than_the_bound_one_is_found() -> None:
    other = DEALING.subshares(HOLDERS.secrets[1])[1]

    with pytest.raises(MedFabricError, match="MF-6010"):
        DEALING.check_subshare(HOLDERS.documents[0], 1, 2, other)


def test_fewer_subshares_than_the_threshold_say_nothing_of_the_secret() -> None:
    # Two values of a polynomial of degree two leave its value at 0 open: any secret fits them.
    rns = DEALING._rns
    secret = HOLDERS.secrets[0]
    known = {point: DEALING.subshares(secret)[point - 1] for point in (1, 2)}
    guess = rns.small(KeySecret(b"g" * 32).stream(CONTEXT, b"secret").ternary(8192))

    # Lagrange through (0, guess), (1, f(1)), (2, f(2)): a polynomial that the two cannot tell.
    def at(point: int) -> Residues:
        points = {0: guess, **known}
        total = np.zeros_like(guess)
        for x, value in points.items():
            factor = 1
            for other in set(points) - {x}:
                factor = factor * (point - other) * pow(x - other, -1, rns.modulus) % rns.modulus
            total = rns.add(total, rns.multiply(value, rns.residues(factor)))
        return total

    assert all((at(point) == known[point]).all() for point in known)
    assert (at(0) == guess).all()


# on the way


KEYS = [TransportKey.of(secret, CONTEXT) for secret in HOLDERS.secrets]
PUBLIC = [key.public_hex for key in KEYS]


def _sealed() -> bytes:
    subshares = [
        FORM.encode(DEALING.subshares(HOLDERS.secrets[0])[point - 1][None, None])
        for point in range(1, 5)
    ]
    return KEYS[0].seal(CONTEXT, 1, PUBLIC, subshares)


SEALED = _sealed()


@pytest.mark.parametrize("point", range(1, 5))
def test_a_subshare_opens_for_its_recipient(point: int) -> None:
    raw = KEYS[point - 1].open(SEALED, CONTEXT, 1, PUBLIC[0], (point, 4), FORM.length)

    assert (FORM.decode(raw)[0, 0] == DEALING.subshares(HOLDERS.secrets[0])[point - 1]).all()


def test_a_subshare_opens_for_nobody_else_and_for_no_other_dealer() -> None:
    with pytest.raises(MedFabricError, match="MF-6010"):
        KEYS[2].open(SEALED, CONTEXT, 1, PUBLIC[0], (2, 4), FORM.length)
    with pytest.raises(MedFabricError, match="MF-6010"):
        KEYS[1].open(SEALED, CONTEXT, 3, PUBLIC[2], (2, 4), FORM.length)


@pytest.mark.parametrize(
    ("damaged", "code"),
    [
        (SEALED[:-1], "MF-6001"),
        (SEALED + b"\0", "MF-6001"),
        (b"XXXX" + SEALED[4:], "MF-6001"),
        (SEALED[:4] + bytes(32) + SEALED[36:], "MF-6002"),
        (SEALED[:60] + bytes([SEALED[60] ^ 1]) + SEALED[61:], "MF-6010"),
    ],
)
def test_a_damaged_dealing_is_refused(damaged: bytes, code: str) -> None:
    with pytest.raises(MedFabricError, match=code):
        KEYS[0].open(damaged, CONTEXT, 1, PUBLIC[0], (1, 4), FORM.length)


def test_an_opened_transport_secret_is_the_key_that_was_posted() -> None:
    opened = TransportKey.opened(KEYS[1].secret_hex)

    assert opened.public_hex == PUBLIC[1]
    assert opened.open(SEALED, CONTEXT, 1, PUBLIC[0], (2, 4), FORM.length)
    assert repr(opened) == "TransportKey(...)"
    for wrong in ("00" * 32, "ff" * 32):
        with pytest.raises(MedFabricError, match="MF-6001"):
            TransportKey.opened(wrong)


@pytest.mark.parametrize(("degree", "prime"), [(16, 97), (32, 193)])
def test_a_ring_that_challenges_do_not_fit_into_is_refused(degree: int, prime: int) -> None:
    rns = Rns(degree, (prime,))
    reference = np.ones((1, degree), dtype=np.int64)

    def challenge() -> Residues:
        dealing = KeyDealing(rns, reference, CONTEXT, 4, 3)
        return dealing._challenge(derived(b"seed", b"challenge"))

    if degree < 32:
        with pytest.raises(MedFabricError, match=r"MF-6006.*larger degree"):
            challenge()
    else:
        assert challenge().shape == (1, degree)
