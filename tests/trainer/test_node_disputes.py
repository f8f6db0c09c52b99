"""Decryption shares that whole nodes prove to each other, of a key that they made or took over."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from support.ceremony import Ceremony
from support.scenario import HOSPITALS, dataset_of, terms
from support.small_plan import REF

from chaincode.schema.base import ContentRef, Role
from chaincode.schema.disputes import ShareProof as Posted
from chaincode.schema.disputes import ShareVerdict
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import Participant, PlanTerms
from chaincode.schema.rounds import Objection, RoundStatus, RoundView, WholeRound
from trainer.node.disputes import Disputes, Proofs
from trainer.node.duties import Duty, Me, Snapshot, Task, duties
from trainer.privacy.sampling import fresh
from trainer.privacy.shareproof import ShareProof
from trainer.privacy.threshold import share_sender
from trainer.privacy.wire import Kind

ONE, TWO, THREE, FOUR = HOSPITALS
VALUES = np.array([-1.0, 0.5, 0.25, 1.0])


def _plan(plan_id: str, hospitals: tuple[str, ...], threshold: int | None) -> PlanTerms:
    participants = tuple(
        Participant(msp_id=h, node_id="node1", dataset_id=dataset_of(h)) for h in hospitals
    )
    plan = terms(plan_id, rounds=1, participants=participants, agreement=3, quorum=2)
    encryption = plan.encryption.model_copy(update={"threshold": threshold})
    return plan.model_copy(update={"encryption": encryption})


@pytest.fixture(scope="module", params=["own", "handed on"])
def ceremony(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ceremony:
    """Of three hospitals, all of which are needed."""
    folder, holders = tmp_path_factory.mktemp("nodes"), (ONE, TWO, THREE)
    if request.param == "own":
        made = Ceremony(folder, _plan("plan", holders, None))
        made.whole()
        return made
    made = Ceremony(folder, _plan("old", HOSPITALS, 3))
    made.whole()
    view = made.now().ceremony
    assert view is not None
    assert view.ceremony.collective_key_sha256 is not None
    key = made.terms.handed_on(view.ceremony.collective_key_sha256)
    made.succeed(_plan("plan", holders, None).model_copy(update={"key": key}))
    made.whole()
    return made


class _Decryption:
    """A sum of two updates and the three hospitals' shares in it."""

    def __init__(self, ceremony: Ceremony) -> None:
        self.ceremony, self.now = ceremony, ceremony.now()
        keeper = ceremony.keepers[ONE]
        scheme, key = keeper.scheme(self.now), keeper.collective_key(self.now)
        updates = [b"".join(scheme.encrypt(VALUES * w, key, b"me")) for w in (1, 2)]
        named = [(io.BytesIO(update), b"me", 1) for update in updates]
        self.total = b"".join(scheme.weighted_sum(named, key))
        self.shares = {h: self._share(h) for h in ceremony.terms.hospitals}

    def _share(self, hospital: str) -> bytes:
        keeper = self.ceremony.keepers[hospital]
        key, total = keeper.share_key(self.now), io.BytesIO(self.total)
        return keeper.scheme(self.now).decryption_share(key, total, (1, 2, 3))

    def prove(self, hospital: str) -> bytes:
        """By the hospital itself."""
        keeper = self.ceremony.keepers[hospital]
        shown, shorts = keeper.opening(self.now)
        proof, _ = self._proof(hospital, hospital, shown, 1)
        return shown + proof.prove(shorts, fresh())

    def check(self, hospital: str, document: bytes, number: int = 1) -> None:
        """By another."""
        other = ONE if hospital != ONE else TWO
        proof, rest = self._proof(other, hospital, document, number)
        proof.check(rest)

    def _proof(
        self, who: str, hospital: str, document: bytes, number: int
    ) -> tuple[ShareProof, bytes]:
        keeper = self.ceremony.keepers[who]
        part, rest = keeper.part(self.now, hospital, document)
        place = (self.ceremony.terms.hospitals.index(hospital) + 1, (1, 2, 3))
        sender = share_sender("plan", number, hospital)
        total, share = io.BytesIO(self.total), self.shares[hospital]
        return keeper.scheme(self.now).share_proof(part, total, share, place, sender), rest


def test_an_honest_share_is_proven_and_its_proof_does_for_nothing_else(ceremony: Ceremony) -> None:
    decryption = _Decryption(ceremony)
    document = decryption.prove(ONE)

    decryption.check(ONE, document)

    with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
        decryption.check(ONE, document, number=2)
    with pytest.raises(MedFabricError, match=f"{Code.WIRE_FOREIGN}|{Code.SHARE_UNPROVEN}"):
        decryption.check(TWO, document)
    decryption.shares[ONE] = decryption.shares[TWO]
    with pytest.raises(MedFabricError, match=f"{Code.SHARE_UNPROVEN}.*does not hold"):
        decryption.check(ONE, document)


def test_a_share_that_opens_nothing_is_not_proven(
    ceremony: Ceremony, monkeypatch: pytest.MonkeyPatch
) -> None:
    decryption = _Decryption(ceremony)
    scheme = ceremony.keepers[ONE].scheme(decryption.now)
    form, rns = scheme.form(Kind.SHARE), scheme.rns
    # One step of the masks' keys: the least that does harm.
    step = rns.residues(1 << (ceremony.terms.encryption.scale_bits + 1))  # type: ignore[union-attr]
    share = rns.add(form.decode(decryption.shares[ONE])[0, 0], step)
    decryption.shares[ONE] = form.encode(share[None, None])

    with pytest.raises(MedFabricError, match=Code.SHARE_UNPROVEN):
        decryption.prove(ONE)
    with monkeypatch.context() as careless:
        careless.setattr("trainer.privacy.rns.Rns.bounded", lambda *_: True)
        document = decryption.prove(ONE)
    with pytest.raises(MedFabricError, match=Code.SHARE_UNPROVEN):
        decryption.check(ONE, document)


def _now(ceremony: Ceremony, status: RoundStatus, **posted: Any) -> Snapshot:
    now = ceremony.now()
    round_ = WholeRound(
        plan_id="plan",
        number=1,
        status=status,
        base_sha256="ab" * 32,
        opened_at=0,
        changed_at=0,
        deadline=1000,
        key_holders=ceremony.terms.hospitals,
    )
    empty: dict[str, Any] = dict.fromkeys(
        ("updates", "attestations", "shares", "evaluations", "objections"), ()
    )
    view = RoundView(round=round_, **{**empty, **posted})
    return Snapshot(now.plan, now.ceremony, view, HOSPITALS)


def test_in_a_dispute_holders_prove_and_then_all_judge(ceremony: Ceremony) -> None:
    me = Me(ONE, "node1", frozenset({Role.VALIDATOR}))
    place = {"plan_id": "plan", "round": 1, "node_id": "node1", "posted_at": 1}
    proofs = tuple(Posted(msp_id=h, proof=REF, **place) for h in (ONE, TWO, THREE))
    verdicts = tuple(ShareVerdict(msp_id=h, culprits=(), **place) for h in (ONE, TWO, THREE))

    def due(status: RoundStatus, **posted: Any) -> list[tuple[Task, int]]:
        found: list[Duty] = duties(me, _now(ceremony, status, **posted))
        return [(duty.task, duty.not_before) for duty in found]

    assert due(RoundStatus.DISPUTED) == [(Task.PROVE_SHARE, 0), (Task.ADVANCE_ROUND, 1001)]
    assert due(RoundStatus.DISPUTED, proofs=proofs) == [(Task.ADVANCE_ROUND, 0)]
    assert due(RoundStatus.JUDGING) == [(Task.JUDGE_SHARES, 0), (Task.ADVANCE_ROUND, 1001)]
    assert due(RoundStatus.JUDGING, verdicts=verdicts) == [(Task.ADVANCE_ROUND, 0)]


class _Withholding:
    """A store without the proof, and the objections to that."""

    def __init__(self) -> None:
        self.objected: list[str] = []

    def fetch(self, _: ContentRef) -> bytes:
        raise MedFabricError(Code.CONTENT_MISSING, "it is not there")

    def object(self, plan_id: str, number: int, sha256: str, code: str) -> None:
        self.objected.append(sha256)


def test_who_never_gives_its_proof_is_found_once_its_time_to_mend_that_is_over(
    ceremony: Ceremony,
) -> None:
    store: Any = _Withholding()
    nothing: Any = None
    proofs = Proofs(ONE, nothing, store, nothing)
    disputes = Disputes(nothing, store, nothing, nothing, nothing, proofs)
    place = {"plan_id": "plan", "round": 1, "node_id": "node1", "posted_at": 1}
    proof = Posted(msp_id=TWO, proof=REF, **place)
    said = {**place, "msp_id": ONE, "subject_sha256": REF.sha256, "code": "MF-7020"}
    first, again = Objection(**said), Objection(**said, again=True)

    for objections in ((), (first,)):
        with pytest.raises(MedFabricError, match=Code.CONTENT_MISSING):
            disputes._refuted(_now(ceremony, RoundStatus.JUDGING, objections=objections), proof)
    now = _now(ceremony, RoundStatus.JUDGING, objections=(first, again))

    assert disputes._refuted(now, proof)
    assert store.objected == [REF.sha256] * 2
