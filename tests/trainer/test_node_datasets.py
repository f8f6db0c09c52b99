"""Which of its datasets a node trains on, and judges by."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.ledger_consortium import LedgerConsortium
from support.scenario import HOSPITALS, Scenario, at, dataset_args, dataset_of, terms

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from trainer.node.config import DataConfig
from trainer.node.datasets import of_id, of_plan

ONE = HOSPITALS[0]
SCANS, OTHER, OWN = (
    DataConfig(dataset_id=name, file=Path("records"))
    for name in ("scans", "other-masses", dataset_of(ONE))
)


@pytest.fixture
def made() -> Scenario:
    scenario = at("enrolled")
    for data, application in ((SCANS, "scans"), (OTHER, "wdbc")):
        args = dataset_args(data.dataset_id, application=application)
        scenario.do(ONE, "dataset:Register", args)
    return scenario


def chosen(made: Scenario, node: str, *datasets: DataConfig, plan: PlanTerms | None = None) -> str:
    consortium = LedgerConsortium(made, ONE, node)
    return of_plan(datasets, plan or terms(), consortium).dataset_id


def test_a_node_trains_on_what_the_plan_names_for_it(made: Scenario) -> None:
    assert chosen(made, "node1", SCANS, OTHER, OWN) == OWN.dataset_id


def test_a_node_that_does_not_train_judges_by_the_first_of_the_plans_application(
    made: Scenario,
) -> None:
    made.identity(ONE, "node2", "validator")

    assert chosen(made, "node2", SCANS, OTHER, OWN) == OTHER.dataset_id


def test_a_node_without_what_the_plan_names_is_told(made: Scenario) -> None:
    made.identity(ONE, "node2", "validator")

    for node, name in (("node1", OWN.dataset_id), ("node2", "the application wdbc")):
        with pytest.raises(MedFabricError, match=name) as caught:
            chosen(made, node, SCANS)
        assert caught.value.code == Code.NODE_CONFIG


def test_a_command_says_which_of_several_it_means() -> None:
    assert of_id([OWN], None) is OWN
    assert of_id([OWN, SCANS], "scans") is SCANS
    for datasets, name in (([OWN, SCANS], None), ([], None), ([OWN], "scans")):
        with pytest.raises(MedFabricError) as caught:
            of_id(datasets, name)
        assert caught.value.code == Code.NODE_CONFIG
