"""Which of a node's datasets is meant: by a plan, or by whoever gives a command."""

from __future__ import annotations

from collections.abc import Sequence

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from client.consortium import Consortium
from client.places import taken
from trainer.node.config import DataConfig


def of_plan(datasets: Sequence[DataConfig], terms: PlanTerms, consortium: Consortium) -> DataConfig:
    """The dataset that the node trains on in a plan; where it does not train, the one that it
    judges candidates by: the first of the plan's application.

    Raises:
        MedFabricError: ``NODE_CONFIG`` where the node has no such dataset.
    """
    named = _trained_on(terms, consortium)
    if named is not None:
        return of_id(datasets, named)
    return of_application(datasets, terms.data.application, consortium)


def of_application(
    datasets: Sequence[DataConfig], application: str, consortium: Consortium
) -> DataConfig:
    """The first dataset that the ledger has under an application.

    Raises:
        MedFabricError: ``NODE_CONFIG`` where there is none.
    """
    for data in datasets:
        view = consortium.datasets.get(dataset_id=data.dataset_id)
        if view.dataset.application == application:
            return data
    raise MedFabricError(
        Code.NODE_CONFIG,
        f"none of this node's datasets ({_ids(datasets)}) is of the application {application}; "
        "register such records, and name them under `datasets` in node.json",
    )


def of_id(datasets: Sequence[DataConfig], dataset_id: str | None) -> DataConfig:
    """The dataset of this id, or without one the only one.

    Raises:
        MedFabricError: ``NODE_CONFIG``, naming those that there are.
    """
    if dataset_id is None and len(datasets) == 1:
        return datasets[0]
    for data in datasets:
        if data.dataset_id == dataset_id:
            return data
    if dataset_id is None:
        why = f"this node's datasets are {_ids(datasets)}; say which is meant with --dataset"
    else:
        why = (
            f"{dataset_id} is none of this node's datasets ({_ids(datasets)}); "
            "name it under `datasets` in node.json"
        )
    raise MedFabricError(Code.NODE_CONFIG, why)


def _trained_on(terms: PlanTerms, consortium: Consortium) -> str | None:
    """What the plan, or the place that the node has in it, names for the node."""
    me = consortium.identity
    for static in terms.participation.participants:
        if (static.msp_id, static.node_id) == (me.msp_id, me.name):
            return static.dataset_id
    if terms.participation.dynamic is None:
        return None
    own = [p for p in taken(consortium, terms.plan_id) if p.node_id == me.name]
    return next((p.dataset_id for p in own if p.left_at is None), None)


def _ids(datasets: Sequence[DataConfig]) -> str:
    return ", ".join(data.dataset_id for data in datasets) or "none"
