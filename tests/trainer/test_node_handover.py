"""A key that whole nodes hand on, on the real contracts; and one who hands on something else."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ceremony import Ceremony
from support.scenario import HOSPITALS, dataset_of, terms

from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import Participant, PlanTerms
from trainer.node.ceremony import KeyKeeper
from trainer.privacy.transport import TransportKey

ONE, TWO, THREE, FOUR = HOSPITALS
VALUES = np.array([-1.0, 0.5, 0.25, 1.0])
_HELD = {"secret", "share-key", "share-commitments"}
"""What a node keeps of a dealt key."""


def _plan(plan_id: str, hospitals: tuple[str, ...], threshold: int | None) -> PlanTerms:
    participants = tuple(
        Participant(msp_id=h, node_id="node1", dataset_id=dataset_of(h)) for h in hospitals
    )
    agreement = len(hospitals) // 2 + 1
    plan = terms(plan_id, rounds=1, participants=participants, agreement=agreement, quorum=2)
    encryption = plan.encryption.model_copy(update={"threshold": threshold})
    return plan.model_copy(update={"encryption": encryption})


def _after(
    ceremony: Ceremony, plan_id: str, hospitals: tuple[str, ...], threshold: int | None
) -> PlanTerms:
    """A plan that takes over the key of the ceremony's."""
    former, view = ceremony.terms, ceremony.now().ceremony
    assert view is not None
    assert view.ceremony.collective_key_sha256 is not None
    key = former.handed_on(view.ceremony.collective_key_sha256)
    return _plan(plan_id, hospitals, threshold).model_copy(update={"key": key})


def _decrypted(ceremony: Ceremony, who: tuple[str, ...]) -> np.ndarray:
    """The mean of two updates, by these hospitals."""
    now, keeper = ceremony.now(), ceremony.keepers[who[0]]
    scheme, key = keeper.scheme(now), keeper.collective_key(now)
    updates = [b"".join(scheme.encrypt(VALUES * w, key, b"sender")) for w in (1, 2)]
    total = b"".join(scheme.weighted_sum([(io.BytesIO(u), b"sender", 1) for u in updates], key))
    points = [ceremony.terms.hospitals.index(h) + 1 for h in who]
    shares = [
        scheme.decryption_share(ceremony.keepers[h].share_key(now), io.BytesIO(total), points)
        for h in who
    ]
    return np.concatenate(list(scheme.decode_mean(io.BytesIO(total), shares, 2)))


def _tells(name: str) -> bool:
    """Whether a file tells of what was held, or opens what was dealt."""
    return name in _HELD or name.startswith("handing-")


def _files(keeper: KeyKeeper, plan_id: str) -> set[str]:
    return {path.name for path in (keeper._home.folder / "plans" / plan_id).glob("*")}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((HOSPITALS, 3), ((ONE, TWO, FOUR), 2)),  # One leaves.
        (((ONE, TWO, THREE), 2), (HOSPITALS, 3)),  # One joins.
        (((ONE, TWO, THREE), None), (HOSPITALS, 3)),  # Each has held a secret of its own.
        ((HOSPITALS, 3), ((ONE, TWO, THREE), None)),  # From now on all are needed.
        ((HOSPITALS, None), ((ONE, TWO, FOUR), 2)),  # All are needed, and one leaves.
        (((ONE, TWO, THREE), 2), ((THREE, FOUR), None)),  # Fewer stay than decrypted.
    ],
)
def test_the_key_goes_on_and_what_was_held_is_deleted(
    tmp_path: Path, old: tuple[Any, Any], new: tuple[Any, Any]
) -> None:
    ceremony = Ceremony(tmp_path, _plan("old", *old))
    ceremony.whole()
    key = ceremony.keepers[ONE].collective_key(ceremony.now()).sha256
    ceremony.succeed(_after(ceremony, "new", *new))
    ceremony.whole()
    hospitals, threshold = new

    decrypted = _decrypted(ceremony, hospitals[-(threshold or len(hospitals)) :])

    assert np.abs(decrypted - 1.5 * VALUES).max() < 1e-5
    assert {ceremony.keepers[h].collective_key(ceremony.now()).sha256 for h in hospitals} == {key}
    for hospital, keeper in ceremony.keepers.items():
        assert (hospital in {*old[0], *hospitals}) is any(map(_tells, _files(keeper, "old")))
        keeper.forget("old")
        assert not any(map(_tells, _files(keeper, "old")))
        # Of the next plan there is nothing that would open what was dealt.
        assert (hospital in hospitals) is bool(_files(keeper, "new") & _HELD)
        assert "secret" not in _files(keeper, "new")
    for hospital in hospitals:
        keeper = ceremony.keepers[hospital]
        keeper.share_key(ceremony.now())
        # What was dealt opens no more: a part that is lost is lost.
        keeper._home.forget_secret("new", "share-key")
        with pytest.raises(MedFabricError, match="MF-9102"):
            keeper.share_key(ceremony.now())


def test_a_key_goes_on_twice(tmp_path: Path) -> None:
    ceremony = Ceremony(tmp_path, _plan("first", HOSPITALS, 3))
    ceremony.whole()
    for plan_id, hospitals, threshold in (
        ("second", (ONE, THREE, FOUR), 2),
        ("third", HOSPITALS, 3),
    ):
        ceremony.succeed(_after(ceremony, plan_id, hospitals, threshold))
        ceremony.whole()

    decrypted = _decrypted(ceremony, (TWO, THREE, FOUR))

    assert np.abs(decrypted - 1.5 * VALUES).max() < 1e-5


def test_what_who_left_has_dealt_is_handed_on_again(tmp_path: Path) -> None:
    ceremony = Ceremony(tmp_path, _plan("first", HOSPITALS, None))
    ceremony.whole()
    for plan_id, hospitals in (("second", (TWO, FOUR)), ("third", (ONE, THREE))):
        ceremony.succeed(_after(ceremony, plan_id, hospitals, None))
        ceremony.whole()

    view = ceremony.now().ceremony
    assert view is not None
    assert view.ceremony.dealers == (TWO, FOUR)
    assert np.abs(_decrypted(ceremony, (ONE, THREE)) - 1.5 * VALUES).max() < 1e-5


@pytest.mark.parametrize(("threshold", "stays"), [(3, True), (None, True), (None, False)])
def test_who_hands_on_something_else_is_named(
    tmp_path: Path, threshold: int | None, stays: bool
) -> None:
    ceremony = Ceremony(tmp_path, _plan("old", (ONE, TWO, THREE), threshold and 2))
    ceremony.whole()
    others = (HOSPITALS, 3) if stays else ((THREE, FOUR), None)
    ceremony.succeed(_after(ceremony, "new", *others))
    # What hospital 1 held has changed, in a way that its own checks do not show.
    home = ceremony.exchanges[ONE]._home
    name = "share-key" if threshold else "secret"
    held = bytearray((home.folder / "plans" / "old" / name).read_bytes())
    held[200 if threshold else 0] ^= 1
    (home.folder / "plans" / "old" / name).write_bytes(held)

    ceremony.to_confirm()
    ceremony.all("confirm")
    judging = ceremony.end()
    ceremony.all("judge")
    ended = ceremony.end()

    assert judging["status"] == "JUDGE"
    assert ended["culprits"] == [ONE]
    old = ceremony.scenario.do(ONE, "plan:Get", {"plan_id": "old"})["plan"]
    assert (old["status"], old["successor"]) == ("PAUSED", None)


def test_who_deals_wrongly_to_all_has_nothing_opened_but_that(tmp_path: Path) -> None:
    ceremony = Ceremony(tmp_path, _plan("old", (ONE, TWO, THREE), None))
    ceremony.whole()
    ceremony.succeed(_after(ceremony, "new", (TWO, THREE, FOUR), None))
    ceremony.exchanges[ONE].spoil = _all_parts_damaged
    ceremony.to_confirm()
    ceremony.all("confirm")
    now = ceremony.now()
    assert now.ceremony is not None
    accusations = now.ceremony.accusations
    ceremony.end()
    ceremony.all("judge")

    # The key is in use again: were all that is dealt to them open, everybody would have it.
    assert [(a.msp_id, a.dealer) for a in accusations] == [(h, ONE) for h in (TWO, THREE, FOUR)]
    for accusation in accusations:
        assert accusation.transport_secret is not None
        opened = TransportKey.opened(accusation.transport_secret)
        for share in now.ceremony.shares:
            with pytest.raises(MedFabricError, match="MF-6010"):
                ceremony.keepers[FOUR]._opened(now, share, accusation.msp_id, opened)
    assert ceremony.end()["culprits"] == [ONE]


def _all_parts_damaged(content: bytes) -> bytes:
    if not content.startswith(b"MFD2"):
        return content
    return content[:38] + bytes(byte ^ 1 for byte in content[38:])
