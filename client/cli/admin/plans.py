"""Training plans and their rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli import options
from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaincode.schema.plans import DeviceTerms, InheritedKey, ModelTerms, Participant
    from client.consortium import Consortium


@click.group()
def plan() -> None:
    """Agree what is trained: propose, amend, vote, advance, pause, resume, abort; watch it."""


@click.group("round")
def round_() -> None:
    """See how a plan's rounds go."""


@ledger_command(plan, "draft")
@click.argument("plan_id")
@click.option("--title", required=True, help="What people read.")
@click.option("--data", type=FILE, required=True, help="The data terms (JSON).")
@click.option("--model", type=FILE, help="What `medfabric node base --json` printed.")
@click.option("--base", metavar="ADDRESS", help="Go on from this model of the ledger instead.")
@click.option(
    "--train",
    multiple=True,
    required=True,
    metavar="NODE:DATASET",
    help="A node and the dataset that it trains on, of the hospital whose it is; once for each.",
)
@options.epsilon
@options.delta
@click.option("--rounds", type=click.IntRange(1, 10_000), required=True, help="Of the plan.")
@options.steps
@click.option("--batch-size", type=click.IntRange(1), required=True, help="Of large datasets.")
@options.learning_rate
@options.sample_clip
@options.momentum
@click.option("--strategy", default="fedavg", show_default=True, help="How updates are joined.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=MICRO", help="A setting of the strategy's."
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="CLASS:STEPS:BATCH",
    help="What nodes of a class of device do instead; once for each.",
)
@options.aggregation
def draft(consortium: Consortium, plan_id: str, **wishes: Any) -> Any:
    """Draft a plan's terms for `propose`: noise, by the sizes of the datasets on the ledger,
    encryption and bounds follow. Print them with --json, read them, change what should differ."""
    from chaincode.schema.data import DataTerms
    from chaincode.schema.plans import ModelTerms, TrainingTerms
    from client.drafting import Aggregation, Wish
    from client.drafting import draft as drafted

    if (wishes["model"] is None) is (wishes["base"] is None):
        raise click.UsageError("name either --model or --base")
    if wishes["base"] is None:
        model = read_model(wishes["model"], ModelTerms)
    else:
        model = published_terms(consortium, wishes["base"])
    training = TrainingTerms(
        strategy=wishes["strategy"],
        settings=options.numbers("--set", wishes["settings"]),
        rounds=wishes["rounds"],
        steps=wishes["steps"],
        batch_size=wishes["batch_size"],
        learning_rate_micro=round(wishes["learning_rate"] * 1_000_000),
        momentum_micro=round(wishes["momentum"] * 1_000_000),
        devices=tuple(map(device_terms, wishes["devices"])),
    )
    wish = Wish(
        plan_id=plan_id,
        title=wishes["title"],
        data=read_model(wishes["data"], DataTerms),
        model=model,
        training=training,
        sample_clip_micro=round(wishes["sample_clip"] * 1_000_000),
        epsilon_micro=round(wishes["epsilon"] * 1_000_000),
        delta_nano=round(wishes["delta"] * 1_000_000_000),
        aggregation=Aggregation(wishes["aggregation"]),
    )
    return drafted(wish, *named_participants(consortium, wishes["train"]))


@ledger_command(plan, "propose")
@click.argument("terms", type=FILE)
@click.option("--key-of", metavar="PLAN", help="Take over this plan's key; no new one is made.")
def propose(consortium: Consortium, terms: Path, key_of: str | None) -> Any:
    """Propose the plan whose terms are in TERMS (JSON)."""
    from chaincode.schema.plans import PlanTerms

    proposed = read_model(terms, PlanTerms)
    if key_of is not None:
        proposed = proposed.model_copy(update={"key": inherited_key(consortium, key_of)})
    return consortium.plans.propose(proposed)


@ledger_command(plan, "amend")
@click.argument("terms", type=FILE)
def amend(consortium: Consortium, terms: Path) -> Any:
    """Replace one's own plan, before it is approved, by the next version in TERMS (JSON)."""
    from chaincode.schema.plans import PlanTerms

    return consortium.plans.amend(read_model(terms, PlanTerms))


@ledger_command(plan, "vote")
@click.argument("plan_id")
@options.vote
@click.option("--terms", metavar="SHA256", help="Vote only on exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def vote(
    consortium: Consortium, plan_id: str, approve: bool, terms: str | None, reason: str
) -> Any:
    """Vote on a plan as it stands, once."""
    from chaincode.schema.consortium import Subject

    return consortium.charter.vote(
        subject=Subject.PLAN,
        subject_id=plan_id,
        subject_sha256=agreed_terms(consortium, plan_id, terms),
        approve=approve,
        reason=reason,
    )


@ledger_command(plan, "advance")
@click.argument("plan_id")
def advance(consortium: Consortium, plan_id: str) -> Any:
    """Carry out what the votes decided; opens the key ceremony. Ends a plan that lost its key."""
    return consortium.plans.advance(plan_id=plan_id)


@ledger_command(plan, "pause")
@click.argument("plan_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def pause(consortium: Consortium, plan_id: str, reason: str) -> Any:
    """Let no further round of one's own plan open; the open one goes on."""
    return consortium.plans.pause(plan_id=plan_id, reason=reason)


@ledger_command(plan, "resume")
@click.argument("plan_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def resume(consortium: Consortium, plan_id: str, reason: str) -> Any:
    """Let rounds of one's own paused plan open again."""
    return consortium.plans.resume(plan_id=plan_id, reason=reason)


@ledger_command(plan, "abort")
@click.argument("plan_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def abort(consortium: Consortium, plan_id: str, reason: str) -> Any:
    """Stop one's own plan for good; its open round fails."""
    return consortium.plans.abort(plan_id=plan_id, reason=reason)


@ledger_command(plan, "show")
@click.argument("plan_id")
def show_plan(consortium: Consortium, plan_id: str) -> Any:
    """Show a plan's terms, votes and key ceremony."""
    view = consortium.plans.get(plan_id=plan_id)
    shown: dict[str, Any] = view.model_dump(mode="json")
    try:
        ceremony = consortium.ceremonies.get(plan_id=plan_id).ceremony
    except MedFabricError as error:
        if error.code != Code.NOT_FOUND:
            raise
        return shown
    return {**shown, "ceremony": ceremony.model_dump(mode="json")}


@ledger_command(plan, "watch")
@click.argument("plan_id")
def watch_plan(consortium: Consortium, plan_id: str) -> Any:
    """Tell where a plan stands and whom it waits for, and again with every change, until it is
    over."""
    from client.watching import watch

    return watch(consortium, plan_id)


@ledger_command(plan, "versions")
@click.argument("plan_id")
def list_versions(consortium: Consortium, plan_id: str) -> Any:
    """Show the terms that amendments have replaced."""
    from client.consortium import every

    pages = every(consortium.plans.versions, plan_id=plan_id)
    return [version.model_dump(mode="json") for page in pages for version in page.versions]


@ledger_command(plan, "places")
@click.argument("plan_id")
@click.option("--hospital", metavar="MSP", help="Places of this hospital only.")
def list_places(consortium: Consortium, plan_id: str, hospital: str | None) -> Any:
    """List the nodes that joined a plan by its rule, and those that left."""
    from client.consortium import every

    pages = every(consortium.plans.places, plan_id=plan_id, msp_id=hospital)
    return [
        {
            "hospital": place.msp_id,
            "place": place.slot,
            "node": place.node_id,
            "dataset": place.dataset_id,
            "status": "TAKEN" if place.left_at is None else "LEFT",
        }
        for page in pages
        for place in page.places
    ]


@ledger_command(plan, "remove-node")
@click.argument("plan_id")
@click.argument("node_id")
def remove_node(consortium: Consortium, plan_id: str, node_id: str) -> Any:
    """Give back the place in a plan that a node of one's hospital has."""
    return consortium.plans.leave(plan_id=plan_id, node_id=node_id)


@ledger_command(plan, "list")
def list_plans(consortium: Consortium) -> Any:
    """List all plans and where they stand; `plan show` tells a plan's terms."""
    from client.consortium import every

    return [
        {
            "plan": state.plan_id,
            "status": state.status,
            "proposed_by": state.proposed_by,
            "rounds": state.rounds_opened,
            "changed_at": state.changed_at,
            "reason": state.reason,
            "terms": state.terms_sha256,
        }
        for page in every(consortium.plans.page)
        for state in page.plans
    ]


@ledger_command(round_, "show")
@click.argument("plan_id")
@click.argument("number", type=click.IntRange(min=1), required=False)
def show_round(consortium: Consortium, plan_id: str, number: int | None) -> Any:
    """Show a round and all that was contributed to it; without NUMBER, the newest."""
    if number is None:
        number = consortium.plans.get(plan_id=plan_id).plan.rounds_opened
        if number == 0:
            raise MedFabricError(
                Code.NOT_FOUND, f"plan {plan_id} has no round yet; see `admin plan show {plan_id}`"
            )
    return consortium.rounds.get(plan_id=plan_id, number=number)


def device_terms(written: str) -> DeviceTerms:
    """A class of device with its steps and batch, as CLASS:STEPS:BATCH."""
    from chaincode.schema.plans import DeviceTerms

    device, *numbers = written.rsplit(":", 2)
    if len(numbers) != 2 or not device or not all(each.isdigit() for each in numbers):
        raise click.BadParameter("write CLASS:STEPS:BATCH", param_hint="--device")
    steps, batch = map(int, numbers)
    return DeviceTerms(device=device, steps=steps, batch_size=batch)


def named_participants(
    consortium: Consortium, pairs: Sequence[str]
) -> tuple[tuple[Participant, ...], list[int]]:
    """Nodes and datasets that are named NODE:DATASET, and the datasets' training records."""
    from chaincode.schema.plans import Participant

    participants, samples = [], []
    for pair in pairs:
        node_id, _, dataset_id = pair.partition(":")
        if not (node_id and dataset_id):
            raise click.BadParameter("write NODE:DATASET", param_hint="--train")
        found = consortium.datasets.get(dataset_id=dataset_id).dataset
        participants.append(
            Participant(msp_id=found.msp_id, node_id=node_id, dataset_id=dataset_id)
        )
        samples.append(found.train_samples)
    return tuple(participants), samples


def published_terms(consortium: Consortium, address: str) -> ModelTerms:
    """The model terms of a plan that goes on from a model of the ledger."""
    model = consortium.models.get(sha256=address)
    made = consortium.plans.get(plan_id=model.plan_id).plan.terms.model
    return made.model_copy(update={"base": model.model})


def inherited_key(consortium: Consortium, plan_id: str) -> InheritedKey:
    """What a plan says that takes over the key of this one.

    Raises:
        MedFabricError: ``PLAN_INVALID`` where it has none.
    """
    former = consortium.plans.get(plan_id=plan_id).plan.terms
    made = consortium.ceremonies.get(plan_id=plan_id).ceremony.collective_key_sha256
    if made is None:
        raise MedFabricError(
            Code.PLAN_INVALID, f"the hospitals of {plan_id} have confirmed no key; wait for them"
        )
    return former.handed_on(made)


def agreed_terms(consortium: Consortium, plan_id: str, expected: str | None) -> str:
    """The hash of the plan's terms as this hospital's peer shows them, recomputed.

    Raises:
        MedFabricError: ``TERMS_MISMATCH`` where they are not the expected ones.
    """
    shown = consortium.plans.get(plan_id=plan_id).plan
    sha256 = shown.terms.sha256
    if shown.terms_sha256 != sha256 or expected not in (None, sha256):
        raise MedFabricError(
            Code.TERMS_MISMATCH,
            f"the terms of {plan_id} have SHA-256 {sha256}, not {expected or shown.terms_sha256}; "
            f"read them with `admin plan show {plan_id}`",
        )
    return sha256


@ledger_command(round_, "groups")
@click.argument("plan_id")
@click.argument("number", type=click.IntRange(min=1))
def show_groups(consortium: Consortium, plan_id: str, number: int) -> Any:
    """Show a round's group test: the groups drawn, what was posted, who was found to do harm."""
    return consortium.group_tests.get(plan_id=plan_id, round=number)
