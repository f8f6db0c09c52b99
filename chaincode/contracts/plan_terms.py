"""Whether a plan's terms hold together and can be carried out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chaincode.contracts import handover
from chaincode.contracts import model as models
from chaincode.contracts.framework import Context
from chaincode.schema import (
    accounting,
    clipping,
    data,
    enclaves,
    encryption,
    keys,
    masking,
    strategies,
)
from chaincode.schema.base import Role
from chaincode.schema.consortium import Node, NodeStatus
from chaincode.schema.data import distinct
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import MOST_UPDATES
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import (
    DynamicTerms,
    HospitalTerms,
    LayerTerms,
    PlanTerms,
    SizeTerms,
    TrainingTerms,
    Work,
)
from chaincode.schema.strategies import Strategy

Trained = tuple[Work, int]
"""What a node does, and with how many records."""


def check(context: Context, terms: PlanTerms) -> None:
    """Refuse terms that cannot be carried out honestly.

    Raises:
        MedFabricError: ``PLAN_INVALID``, ``MODEL_RECALLED``, or ``NOT_FOUND`` for a node or
            dataset.
    """
    models.usable(context, terms.model.base.sha256)
    if wrong := data.problem(terms.data):
        raise _invalid(wrong)
    _check_training(terms.training)
    _check_sizes(terms.sizes)
    if terms.training.layers is not None:
        _check_layers(terms.training.layers, terms.model.parameters)
    _check_hospitals(context, terms)
    handover.check(context, terms)
    hidden = terms.encryption
    refused = (
        masking.refusal(hidden, terms.workload)
        if isinstance(hidden, MaskingTerms)
        else encryption.refusal(hidden, terms.workload)
    )
    if refused:
        raise _invalid(refused)
    _check_enclaves(terms)
    trained = _check_participants(context, terms)
    if terms.participation.dynamic is not None:
        trained += _check_dynamic(terms, terms.participation.dynamic)
    for work, samples in _worst(trained):
        _check_privacy(terms, work, samples)
    if terms.privacy.hospital is not None:
        _check_hospital_privacy(terms, terms.privacy.hospital)
    if terms.acceptance.norm is not None:
        _check_norm(terms, terms.acceptance.norm)


def _check_training(terms: TrainingTerms) -> None:
    if terms.strategy == Strategy.FEDSGD and terms.steps != 1:
        raise _invalid("federated SGD takes one step a round; name federated averaging for more")
    if not distinct(own.device for own in terms.devices):
        raise _invalid("two classes of device have the same name")
    if terms.strategy == Strategy.FEDSGD and any(own.steps != 1 for own in terms.devices):
        raise _invalid("federated SGD takes one step a round, on every class of device")
    if wrong := strategies.problem(terms.strategy, terms.settings):
        raise _invalid(wrong)


def _check_sizes(sizes: Sequence[SizeTerms]) -> None:
    if not distinct(str(size.least_samples) for size in sizes):
        raise _invalid("two classes of dataset sizes begin at the same number of records")
    for size in sizes:
        if size.batch_size > size.least_samples:
            raise _invalid(
                f"the batch is larger than the smallest dataset of {size.least_samples} records"
            )


def _check_layers(layers: LayerTerms, parameters: int) -> None:
    # What layers the architecture has is for the nodes to say: the ledger knows it by its hash.
    if layers.parameters >= parameters:
        raise _invalid(
            f"{layers.parameters} of {parameters} parameters are to be trained, which leaves none "
            "out; name no layers to train all"
        )
    for name in layers.names:
        if any(f"{name}.".startswith(f"{other}.") for other in layers.names if other != name):
            raise _invalid(f"{name} is part of another layer that is named")
    if not distinct(layers.names):
        raise _invalid("a layer is named twice")


def _check_hospitals(context: Context, terms: PlanTerms) -> None:
    participation = terms.participation
    number = len(terms.hospitals)
    if not set(terms.hospitals) <= set(context.consortium().hospitals):
        raise _invalid("a participant's hospital is not admitted")
    if number < 2:
        raise _invalid("an aggregate of one hospital is that hospital's update")
    if not number // 2 < participation.agreement <= number:
        raise _invalid("agreement must be more than half of the hospitals, and no more than all")
    groups, least = terms.acceptance.group_tests, terms.acceptance.least_group
    if groups and isinstance(terms.encryption, MaskingTerms):
        raise _invalid("masks come off the sum of all updates alone; allow no group tests")
    if groups and terms.most_updates > MOST_UPDATES:
        raise _invalid(
            f"group tests weigh all of a round's updates at once, at most {MOST_UPDATES}; "
            "allow none"
        )
    if groups == 1:
        raise _invalid("a single group is the whole; allow no group tests, or two")
    if number < groups * least:
        raise _invalid(
            f"{groups} groups of {number} hospitals are of fewer than {least}, and too small a "
            "group's sum tells of one update"
        )
    if participation.quorum > terms.most_updates:
        raise _invalid("quorum is larger than the number of participants")


def _check_norm(terms: PlanTerms, bound: NormTerms) -> None:
    hidden = terms.encryption
    noise = clipping.norm_terms(terms.training, terms.privacy, hidden, terms.sizes).noise_micro
    # What is beyond the clip is cut off: no value's noise is larger.
    if bound.noise_micro < min(noise, hidden.clip_micro):
        raise _invalid(
            f"honest noise of {accounting.shown(noise)} in every value exceeds the norm bound, "
            f"which counts {accounting.shown(bound.noise_micro)}"
        )


def _check_enclaves(terms: PlanTerms) -> None:
    owners = [enclave.msp_id for enclave in terms.enclaves]
    if not distinct(owners) or not set(owners) <= set(terms.hospitals):
        raise _invalid("an enclave is of a hospital that takes part, and of each there is one")
    for enclave in terms.enclaves:
        if wrong := enclaves.problem(enclave):
            raise _invalid(wrong)


def _check_participants(context: Context, terms: PlanTerms) -> list[Trained]:
    """What the static nodes do, and the sizes of their datasets."""
    participants = terms.participation.participants
    if not distinct((p.msp_id, p.node_id) for p in participants):
        raise _invalid("a node takes part twice")
    if not distinct(p.dataset_id for p in participants):
        raise _invalid("two nodes train on the same dataset")
    nodes = [keys.node(p.msp_id, p.node_id) for p in participants]
    context.values([*nodes, *(keys.dataset(p.dataset_id) for p in participants)])
    trained: list[Trained] = []
    for participant in participants:
        node = _check_node(context, participant.msp_id, participant.node_id)
        dataset = context.get(keys.dataset(participant.dataset_id), Dataset)
        if dataset.msp_id != participant.msp_id:
            raise _invalid(f"dataset {dataset.dataset_id} belongs to another hospital")
        if dataset.application != terms.data.application:
            raise _invalid(f"dataset {dataset.dataset_id} is for another application")
        work = terms.work(dataset.train_samples, node.device)
        if work.training.batch_size > dataset.train_samples:
            raise _invalid(f"the batch is larger than dataset {dataset.dataset_id}")
        trained.append((work, dataset.train_samples))
    return trained


def _check_node(context: Context, msp_id: str, node_id: str) -> Node:
    node = context.get(keys.node(msp_id, node_id), Node)
    if Role.TRAINER not in node.roles:
        raise _invalid(f"node {node_id} of {msp_id} is no trainer")
    if node.status in (NodeStatus.REVOKED, NodeStatus.LEFT):
        raise _invalid(f"node {node_id} of {msp_id} is {node.status}")
    return node


def _check_dynamic(terms: PlanTerms, rule: DynamicTerms) -> list[Trained]:
    """What nodes that the rule admits may do, each with the size of the smallest dataset."""
    if not distinct(rule.hospitals) or not distinct(rule.roles) or not distinct(rule.devices):
        raise _invalid("the rule for dynamic nodes names something twice")
    if Role.TRAINER not in rule.roles:
        raise _invalid("the rule admits nodes that are no trainers")
    # A class that the plan says nothing of trains as the plan says in general.
    classes = rule.devices or ("", *(own.device for own in terms.training.devices))
    least = rule.least_samples
    larger = [size.least_samples for size in terms.sizes if size.least_samples > least]
    admitted = [(terms.work(n, device), n) for device in classes for n in (least, *larger)]
    if any(work.training.batch_size > samples for work, samples in admitted):
        raise _invalid("the batch is larger than the smallest dataset that the rule admits")
    return admitted


def _worst(trained: Iterable[Trained]) -> list[Trained]:
    """Of each work the smallest dataset, which loses most: the same batch is a larger part."""
    smallest: dict[tuple[int, int, int], Trained] = {}
    for work, samples in trained:
        training, privacy = work
        kind = (training.batch_size, training.steps, privacy.noise_multiplier_micro)
        if kind not in smallest or samples < smallest[kind][1]:
            smallest[kind] = (work, samples)
    return [smallest[kind] for kind in sorted(smallest)]


def _check_privacy(terms: PlanTerms, work: Work, samples: int) -> None:
    training, privacy = work
    # As the rounds will be charged: each is rounded up by itself.
    per_round = accounting.rdp_pico(
        training.batch_size, samples, privacy.noise_multiplier_micro, training.steps
    )
    loss = [terms.training.rounds * divergence for divergence in per_round]
    epsilon = accounting.epsilon_micro(loss, terms.privacy.delta_nano)
    if epsilon > terms.privacy.epsilon_micro:
        raise _invalid(
            f"all rounds would cost a dataset of {samples} records an epsilon of "
            f"{accounting.shown(epsilon)}, the plan allows "
            f"{accounting.shown(terms.privacy.epsilon_micro)}; more noise or fewer steps cost less"
        )


def _check_hospital_privacy(terms: PlanTerms, hidden: HospitalTerms) -> None:
    if terms.most_updates != len(terms.hospitals):
        raise _invalid("a hospital that is hidden as a whole has one node in the plan, and no more")
    if terms.acceptance.group_tests:
        raise _invalid("a group's sum holds less noise than hides a hospital; allow no group tests")
    if terms.participation.quorum <= hidden.colluding:
        raise _invalid("no noise is left of a quorum that colludes; raise the quorum")
    if (levels := terms.encryption.levels) < hidden.least_levels:
        raise _invalid(
            f"the clip cuts the noise off: it has {levels} levels, norm and noise take "
            f"{hidden.least_levels}"
        )
    epsilon = terms.told(terms.hospitals[0], terms.training.rounds).epsilon_micro
    if epsilon > hidden.epsilon_micro:
        raise _invalid(
            f"all rounds would cost a hospital an epsilon of {accounting.shown(epsilon)}, the plan "
            f"allows {accounting.shown(hidden.epsilon_micro)}"
        )


def _invalid(why: str) -> MedFabricError:
    return MedFabricError(Code.PLAN_INVALID, f"{why}; correct the plan and propose it again")
