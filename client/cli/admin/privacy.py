"""What was spent of the patients' privacy, and terms that protect it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli import options
from client.cli.options import AT_LEAST_ONE
from client.cli.output import json_option, show
from client.cli.session import ledger_command

if TYPE_CHECKING:
    from client.consortium import Consortium


@click.group()
def privacy() -> None:
    """See what was spent of every budget; choose encryption terms."""


@ledger_command(privacy, "report")
def report(consortium: Consortium) -> Any:
    """Every dataset's account, and every hospital's of what plans that hide them told. Datasets are
    disjoint: the consortium's loss is the largest."""
    from client.consortium import every

    accounts = [a for page in every(consortium.datasets.privacy) for a in page.accounts]
    return {
        "largest_epsilon": max((a.epsilon_micro for a in accounts), default=0) / 1_000_000,
        "accounts": [
            {
                "dataset": account.dataset_id,
                "hospital": account.msp_id,
                "epsilon": account.epsilon_micro / 1_000_000,
                "budget": account.budget_epsilon_micro / 1_000_000,
                "delta": account.delta_nano / 1_000_000_000,
                "updates": sum(spending.updates for spending in account.plans),
                "plans": ",".join(spending.plan_id for spending in account.plans),
                "others": ",".join(
                    [f"table {spending.release_id}" for spending in account.releases]
                    + [f"model {spending.model_id}" for spending in account.models]
                    + [f"study {spending.study_id}" for spending in account.studies]
                ),
            }
            for account in accounts
        ],
        "hospitals": [
            {
                "hospital": account.msp_id,
                "epsilon": account.epsilon_micro / 1_000_000,
                "budget": account.budget_epsilon_micro / 1_000_000,
                "delta": account.delta_nano / 1_000_000_000,
                "sums": sum(spending.sums for spending in account.plans),
                "plans": ",".join(spending.plan_id for spending in account.plans),
            }
            for page in every(consortium.hospitals.privacy)
            for account in page.accounts
        ],
    }


@ledger_command(privacy, "budget")
@click.argument("epsilon", type=click.FloatRange(1e-6, 1000))
@options.delta
def hospital_budget(consortium: Consortium, epsilon: float, delta: float) -> Any:
    """Set what all plans that hide hospitals may together tell of this one as a whole; not below
    what they told."""
    return consortium.hospitals.set_budget(
        budget_epsilon_micro=round(epsilon * 1_000_000), delta_nano=round(delta * 1_000_000_000)
    )


_trained = click.option(
    "--parameters", type=AT_LEAST_ONE, required=True, help="Of the model that are trained."
)


@privacy.command("clip")
@options.learning_rate
@options.momentum
@options.steps
@click.option("--batch-size", type=AT_LEAST_ONE, required=True, help="Expected size of a batch.")
@click.option("--noise", type=click.FloatRange(0.05, 1000), required=True, help="Its multiplier.")
@options.sample_clip
@_trained
@json_option
def update_clip(
    learning_rate: float,
    momentum: float,
    steps: int,
    batch_size: int,
    noise: float,
    sample_clip: float,
    parameters: int,
    as_json: bool,
) -> None:
    """The range of an update's values that a plan's training and noise suggest, for its encryption
    terms, and the bound on a mean update's norm, for its acceptance terms."""
    from chaincode.schema import clipping
    from chaincode.schema.plans import PrivacyTerms, TrainingTerms
    from chaincode.schema.strategies import Strategy

    training = TrainingTerms(
        strategy=Strategy.FEDAVG,
        rounds=1,
        steps=steps,
        batch_size=batch_size,
        learning_rate_micro=round(learning_rate * 1_000_000),
        momentum_micro=round(momentum * 1_000_000),
    )
    terms = PrivacyTerms(
        epsilon_micro=1,
        delta_nano=1,
        noise_multiplier_micro=round(noise * 1_000_000),
        sample_clip_micro=round(sample_clip * 1_000_000),
    )
    result = {
        "noise": clipping.noise_micro(training, terms) / 1_000_000,
        "clip_micro": clipping.clip_micro(training, terms, parameters),
        "norm": clipping.norm_terms(training, terms).model_dump(),
    }
    show(result, as_json=as_json)


@privacy.command("sizes")
@click.option("--samples", type=AT_LEAST_ONE, required=True, multiple=True, help="Of each dataset.")
@click.option("--batch-size", type=AT_LEAST_ONE, required=True, help="That large datasets take.")
@options.steps
@click.option("--rounds", type=click.IntRange(1, 10_000), required=True, help="Of the plan.")
@options.epsilon
@options.delta
@options.learning_rate
@options.momentum
@options.sample_clip
@_trained
@json_option
def size_terms(
    samples: tuple[int, ...],
    batch_size: int,
    steps: int,
    rounds: int,
    epsilon: float,
    delta: float,
    learning_rate: float,
    momentum: float,
    sample_clip: float,
    parameters: int,
    as_json: bool,
) -> None:
    """Batch and noise that keep datasets of these sizes within epsilon, none with more noise than
    it needs; and the clip and the norm bound that go with them. Counted are training records."""
    from chaincode.schema import clipping, sizes
    from chaincode.schema.plans import PrivacyTerms, TrainingTerms
    from chaincode.schema.strategies import Strategy

    target, delta_nano = round(epsilon * 1_000_000), round(delta * 1_000_000_000)
    training = TrainingTerms(
        strategy=Strategy.FEDAVG,
        rounds=rounds,
        steps=steps,
        batch_size=sizes.batch(batch_size, min(samples)),
        learning_rate_micro=round(learning_rate * 1_000_000),
        momentum_micro=round(momentum * 1_000_000),
    )
    try:
        smallest, *larger = (
            sizes.fitted(training, target, delta_nano, batch_size, least)
            for least in sizes.classes(samples)
        )
    except ValueError as error:
        why = f"{error}; leave small datasets out, or take fewer rounds or steps, or more epsilon"
        raise MedFabricError(Code.BAD_ARGUMENT, why) from None
    terms = PrivacyTerms(
        epsilon_micro=target,
        delta_nano=delta_nano,
        noise_multiplier_micro=smallest.noise_multiplier_micro,
        sample_clip_micro=round(sample_clip * 1_000_000),
    )
    clip = sizes.clip_micro(training, terms, larger, samples, parameters)
    norm = clipping.norm_terms(training, terms, sizes=larger, clip=clip)
    result = {
        "batch_size": training.batch_size,
        "noise_multiplier_micro": terms.noise_multiplier_micro,
        "sizes": [size.model_dump() for size in larger],
        "clip_micro": clip,
        "norm": norm.model_dump(),
    }
    show(result, as_json=as_json)


@privacy.command("encryption")
@click.option(
    "--hospitals", type=click.IntRange(min=2), required=True, help="Of the plan: key holders."
)
@click.option("--updates", type=AT_LEAST_ONE, help="Most updates of a round; else one a hospital.")
@click.option("--parameters", type=AT_LEAST_ONE, required=True, help="Of the model.")
@click.option("--rounds", type=AT_LEAST_ONE, required=True, help="Rounds of the plan.")
@click.option("--threshold", type=AT_LEAST_ONE, help="Hospitals that decrypt; else all.")
@click.option(
    "--clip",
    type=click.FloatRange(1e-6, 1000),
    default=8.0,
    show_default=True,
    help="The largest value of an update (`privacy clip` suggests it).",
)
@click.option(
    "--error",
    type=click.FloatRange(1e-9, 1),
    default=1e-5,
    show_default=True,
    help="By which a mean's values may be off.",
)
@click.option(
    "--security",
    type=click.Choice(["128", "192", "256"]),
    default="128",
    show_default=True,
    help="Bits, of the ring.",
)
@click.option(
    "--statistical",
    type=click.IntRange(20, 128),
    default=40,
    show_default=True,
    help="Bits by which flooding hides what a share would tell.",
)
@click.option(
    "--tied", is_flag=True, help="Have proofs show that masked values open under their key."
)
@json_option
def encryption_terms(
    hospitals: int,
    updates: int | None,
    parameters: int,
    rounds: int,
    threshold: int | None,
    clip: float,
    error: float,
    security: str,
    statistical: int,
    tied: bool,
    as_json: bool,
) -> None:
    """The encryption terms with the smallest updates that do for a plan, or why none do."""
    from chaincode.schema.encryption import Workload, choose

    terms = choose(
        Workload(hospitals, updates or hospitals, parameters, rounds),
        clip_micro=round(clip * 1_000_000),
        error_nano=round(error * 1_000_000_000),
        security_bits=int(security),
        statistical_bits=statistical,
        threshold=threshold,
        tied=tied,
    )
    show(terms, as_json=as_json)
