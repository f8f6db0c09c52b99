"""Key ceremonies of whole nodes on the real contracts: an honest one, and dealers who cheat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.ceremony import Ceremony, Facade
from support.scenario import HOSPITALS

from chaincode.schema.ceremonies import AccuseArgs, KeyAccusation
from trainer.privacy import Scheme

ONE, TWO, THREE, FOUR = HOSPITALS


@pytest.fixture
def ceremony(tmp_path: Path) -> Ceremony:
    return Ceremony(tmp_path)


def test_an_honest_ceremony_ends_with_one_key_and_a_share_for_each(ceremony: Ceremony) -> None:
    ceremony.to_confirm()
    ceremony.all("confirm")
    ended = ceremony.end()

    now = ceremony.now()
    keys = {keeper.collective_key(now).sha256 for keeper in ceremony.keepers.values()}
    shares = [keeper.share_key(now) for keeper in ceremony.keepers.values()]

    assert ended["status"] == "DONE"
    assert keys == {ended["collective_key_sha256"]}
    assert [share.point for share in shares] == [1, 2, 3, 4]
    assert _on_one_polynomial(ceremony.keepers[ONE].scheme(now), [s.residues for s in shares])


def _on_one_polynomial(scheme: Scheme, values: list[Any]) -> bool:
    """Whether four values lie on a polynomial of degree two: their third difference is zero."""
    rns = scheme._rns
    signed = zip(values, (-1, 3, -3, 1), strict=True)
    products = [rns.multiply(value, rns.residues(factor)) for value, factor in signed]
    total = products[0]
    for product in products[1:]:
        total = rns.add(total, product)
    return not total.any()


def test_a_dealing_that_does_not_open_is_proven_to_everybody(ceremony: Ceremony) -> None:
    # Hospital 2's part of what hospital 3 deals is damaged before it is sealed on the ledger.
    ceremony.exchanges[THREE].spoil = _damage_part_of_two

    ceremony.to_confirm()
    ceremony.all("confirm")
    judging = ceremony.end()
    accusations = ceremony.now().ceremony.accusations  # type: ignore[union-attr]
    ceremony.all("judge")
    ended = ceremony.end()

    assert judging["status"] == "JUDGE"
    assert [(a.msp_id, a.dealer) for a in accusations] == [(TWO, THREE)]
    assert accusations[0].transport_secret is not None
    assert ended["culprits"] == [THREE]


def _damage_part_of_two(content: bytes) -> bytes:
    place = len(content) * 3 // 8
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("opens", [True, False])
def test_a_false_accusation_falls_on_the_accuser(ceremony: Ceremony, opens: bool) -> None:
    ceremony.to_confirm()
    now = ceremony.now()
    secret = ceremony.keepers[FOUR].transport(now).secret_hex if opens else None
    args = AccuseArgs(plan_id=ceremony.terms.plan_id, dealer=ONE, transport_secret=secret)
    Facade(ceremony.scenario, FOUR).submit("ceremony:Accuse", args, KeyAccusation)

    ceremony.all("confirm")
    ceremony.end()
    ceremony.all("judge")

    assert ceremony.end()["culprits"] == [FOUR]


def test_an_accusation_with_another_s_secret_falls_on_the_accuser(ceremony: Ceremony) -> None:
    ceremony.to_confirm()
    args = AccuseArgs(plan_id=ceremony.terms.plan_id, dealer=ONE, transport_secret="11" * 32)
    Facade(ceremony.scenario, FOUR).submit("ceremony:Accuse", args, KeyAccusation)
    ceremony.end()
    ceremony.all("judge")

    assert ceremony.end()["culprits"] == [FOUR]
