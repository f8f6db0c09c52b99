"""Lineage and privacy accounts, recomputed from a proven state that contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from support.scenario import HOSPITALS
from support.scenario import terms as scenario_terms
from support.small_plan import small_terms
from support.studies import study_terms

from chaincode.schema import accounting, keys, stored
from chaincode.schema.base import ContentRef, Language
from chaincode.schema.consortium import Consortium, ConsortiumStatus
from chaincode.schema.datasets import Dataset, PrivacyAccount
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import MedFabricError
from chaincode.schema.forms import FORM
from chaincode.schema.hospitals import HospitalAccount, total_micro
from chaincode.schema.plans import HospitalTerms, PlanTerms
from chaincode.schema.rounds import Model, Update
from chaincode.schema.studies import Deposit, Study, StudyPrivacy, StudyStatus, spending_of
from client import blocks
from client.audit import graph, lineage
from client.audit.proof import NAMESPACE, Ledger, Writing
from client.audit.state import Change, State

REF = ContentRef(cid="abc", sha256="ab" * 32, size_bytes=3)


def _ledger(*assets: tuple[keys.Key, Language]) -> Ledger:
    ledger = Ledger(channel=None, state=State())  # type: ignore[arg-type]
    for number, (key, asset) in enumerate(assets):
        name = "\x00" + "".join(part + "\x00" for part in (key[0], *key[1]))
        value = stored.value(key, asset)
        ledger.state.apply(Change(NAMESPACE, name, True, value), (1, number))
        ledger.writings[name] = [Writing(value, 1, "tx", 0, "f", "Hospital1MSP", "node1", ())]
    return ledger


def _dataset() -> Dataset:
    return Dataset(
        dataset_id="wards",
        msp_id="Hospital1MSP",
        name="Wards",
        application="tumours",
        simulated=True,
        commitment_sha256="ab" * 32,
        split_sha256="ab" * 32,
        descriptor_sha256="ab" * 32,
        train_samples=100,
        validation_samples=10,
        test_samples=0,
        registered_at=1,
    )


def _account(epsilon_micro: int) -> PrivacyAccount:
    return PrivacyAccount(
        dataset_id="wards",
        msp_id="Hospital1MSP",
        budget_epsilon_micro=9_000_000,
        delta_nano=10_000,
        epsilon_micro=epsilon_micro,
        plans=(),
    )


def _update(number: int, plan_id: str = "plan") -> Update:
    return Update(
        plan_id=plan_id,
        round=number,
        msp_id="Hospital1MSP",
        node_id="node1",
        dataset_id="wards",
        base_sha256="ab" * 32,
        update=REF,
        samples=100,
        steps=10,
        batch_size=20,
        noise_multiplier_micro=4_000_000,
        epsilon_micro=1,
        posted_at=1,
    )


def _with_account(epsilon_micro: int) -> Ledger:
    return _ledger(
        (keys.dataset("wards"), _dataset()),
        (keys.account("wards"), _account(epsilon_micro)),
        (keys.plan_terms("plan"), small_terms()),
        (keys.update("plan", 1, "Hospital1MSP", "node1"), _update(1)),
        (keys.update("plan", 2, "Hospital1MSP", "node1"), _update(2)),
    )


def test_privacy_account_is_recomputed_from_the_updates() -> None:
    loss = accounting.rdp_pico(20, 100, 4_000_000, 20)
    right = accounting.epsilon_micro(loss, 10_000)

    assert list(lineage.check_privacy(_with_account(right))) == []
    for wrong in (right - 1, right + 1, 0):
        (finding,) = lineage.check_privacy(_with_account(wrong))
        assert finding.code == "MF-7510"


def test_a_ledger_in_another_form_is_not_read() -> None:
    founded = Consortium(
        name="Trial",
        status=ConsortiumStatus.ACTIVE,
        charter_sha256="ab" * 32,
        hospitals=("Hospital1MSP", "Hospital2MSP"),
        membership=1,
        founded_at=1,
        form=FORM,
    )
    assert lineage.Reader(_ledger((keys.consortium(), founded)))
    ledger = _ledger((keys.consortium(), founded.model_copy(update={"form": 0})))
    for read in (lineage.Reader, graph.Replay):
        with pytest.raises(MedFabricError, match="MF-2009"):
            read(ledger)


def test_model_that_is_not_on_the_ledger_is_refused() -> None:
    with pytest.raises(MedFabricError, match="MF-7508"):
        lineage.of(_ledger(), "cd" * 32)


def test_model_whose_plan_is_not_on_the_ledger_is_refused() -> None:
    model = Model(
        model=REF,
        plan_id="nowhere",
        round=1,
        architecture_sha256="ab" * 32,
        parents=("cd" * 32,),
        aggregate_sha256=None,
        correct=1,
        total=2,
        published_at=1,
    )

    with pytest.raises(MedFabricError, match="MF-7509"):
        lineage.of(_ledger((keys.model(REF.sha256), model)), REF.sha256)


def test_block_with_bytes_that_belong_to_no_field_is_refused() -> None:
    block = common_pb2.Block(
        header=common_pb2.BlockHeader(number=1),
        data=common_pb2.BlockData(data=[b"x"]),
        metadata=common_pb2.BlockMetadata(metadata=[b""] * 5),
    )
    raw = block.SerializeToString(deterministic=True)

    assert blocks.parse(raw) == block
    for bad in (raw + b"\xfa\x3e\x01x", raw[:-1], b"", b"\xff" * 40):
        with pytest.raises(MedFabricError, match="MF-7502"):
            blocks.parse(bad)


def test_model_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedFabricError, match="MF-7508"):
        lineage.address_of(tmp_path / "absent")


def test_what_is_told_of_hospitals_is_recomputed_too() -> None:
    terms = small_terms()
    hidden = HospitalTerms(
        norm_levels=4000, noise_levels=1500, epsilon_micro=16_000_000, delta_nano=10_000
    )
    privacy = terms.privacy.model_copy(update={"hospital": hidden})
    terms = terms.model_copy(update={"privacy": privacy})
    # As much as three updates of ten steps.
    spent = accounting.epsilon_micro(accounting.rdp_pico(20, 100, 4_000_000, 30), 10_000)

    def found(*sums: int, less: int = 0, budget: int = 10**8) -> list[str]:
        plans = tuple(
            _in(terms, name).told("Hospital1MSP", n) for name, n in zip("ab", sums, strict=False)
        )
        epsilon = total_micro(plans, 10_000) - less
        account = HospitalAccount(
            msp_id="Hospital1MSP",
            budget_epsilon_micro=budget,
            delta_nano=10_000,
            epsilon_micro=epsilon,
            plans=plans,
        )
        ledger = _ledger(
            (keys.dataset("wards"), _dataset()),
            (keys.account("wards"), _account(spent)),
            *((keys.plan_terms(name), _in(terms, name)) for name in "ab"),
            *([(keys.hospital_account("Hospital1MSP"), account)] if sums else []),
            (keys.update("a", 1, "Hospital1MSP", "node1"), _update(1, "a")),
            (keys.update("a", 2, "Hospital1MSP", "node1"), _update(2, "a")),
            (keys.update("b", 1, "Hospital1MSP", "node1"), _update(1, "b")),
        )
        return [finding.code for finding in lineage.check_privacy(ledger)]

    assert found(2, 1) == []
    for wrong in (found(1, 1), found(2), found(), found(2, 1, less=1), found(2, 1, budget=1)):
        assert wrong == ["MF-7510"]


def _in(terms: PlanTerms, plan_id: str) -> PlanTerms:
    return terms.model_copy(update={"plan_id": plan_id})


def test_what_noised_sums_told_of_a_dataset_is_recomputed_too() -> None:
    plan = scenario_terms().model_copy(update={"encryption": EncryptionTerms(threshold=3)})
    terms = study_terms(plan, privacy=StudyPrivacy(noise_milli=20_000, quorum=3))
    study = Study(
        study_id=terms.study_id,
        terms=terms,
        terms_sha256=terms.sha256,
        status=StudyStatus.HELD,
        proposed_by=HOSPITALS[0],
        proposed_at=1,
        changed_at=1,
        deadline=1,
    )
    deposit = Deposit(
        study_id=terms.study_id,
        dataset_id="wards",
        msp_id=HOSPITALS[0],
        node_id="node1",
        content=REF,
        records=100,
        posted_at=1,
    )
    spent = spending_of(terms, 10_000).epsilon_micro

    def found(epsilon_micro: int) -> list[str]:
        ledger = _ledger(
            (keys.dataset("wards"), _dataset()),
            (keys.account("wards"), _account(epsilon_micro)),
            (keys.study(terms.study_id), study),
            (keys.deposit(terms.study_id, "wards"), deposit),
        )
        return [finding.code for finding in lineage.check_privacy(ledger)]

    assert found(spent) == []
    assert found(spent - 1) == found(0) == ["MF-7510"]
