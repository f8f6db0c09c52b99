"""``medfabric demo``: watch four hospitals train one model."""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli import options as shared
from client.cli.output import Exit, json_option, show

if TYPE_CHECKING:
    from chaincode.schema.rounds import RoundView
    from demo.record import RunRecord
    from demo.run import Options, Run
    from network.topology import Kind
    from trainer.applications.application import Application


@click.command()
@click.option("--devnet", is_flag=True, help="The embedded devnet, even where Fabric is found.")
@click.option("--fabric", is_flag=True, help="Real Fabric, or an error where it is not found.")
@click.option(
    "--application",
    default="breast-cancer",
    show_default=True,
    help="What is trained: breast-cancer or diabetes (real records), or one of the simulated "
    "ones: deterioration, drowsiness, ecg, fall, fever, kidney, skin, symptoms.",
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Else as the application was tuned.")
@click.option(
    "--hospitals", type=click.IntRange(2, 10), default=4, show_default=True, help="How many."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="How patients are split.")
@click.option(
    "--partition",
    type=click.Choice(["identical", "dirichlet", "quantity", "feature-shift"]),
    default="identical",
    show_default=True,
    help="How hospitals differ: not at all, in their labels, in size, in their patients.",
)
@shared.aggregation
@click.option(
    "--simulated-enclave",
    is_flag=True,
    help="The first hospital attests by a simulated enclave; it protects nothing.",
)
@click.option(
    "--store",
    type=click.Choice(["directory", "kubo"]),
    help="Content store; else Kubo (a private IPFS node per hospital) where it is found.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The run is left in its folder 'latest'.",
)
@json_option
def demo(
    devnet: bool,
    fabric: bool,
    application: str,
    rounds: int | None,
    hospitals: int,
    seed: int,
    partition: str,
    aggregation: str,
    simulated_enclave: bool,
    store: str | None,
    runs: Path,
    as_json: bool,
) -> None:
    """Train one model among hospitals, from founding the consortium to the proof."""
    from demo import report, stores
    from demo.outcome import conclude, keep_logs
    from demo.run import Options, prepared, train
    from trainer import applications

    trained = applications.find(application)
    kind, chosen = _kind(devnet, fabric), stores.choose(store)
    folder = runs.resolve() / "latest"
    options = Options(
        folder,
        kind,
        hospitals,
        rounds,
        seed,
        partition,
        chosen,
        application=trained.id,
        aggregation=aggregation,
        simulated_enclave=simulated_enclave,
    )
    with _alone(runs), _ending_in_order(), _screen(options, trained, quiet=as_json) as screen:
        _clear(folder)
        try:
            with prepared(options, screen.stage) as run:
                train(run, screen.stage, screen.round)
                result, lineage = conclude(run, screen.stage)
        finally:
            keep_logs(folder)
        result.write(folder)
        report.write(result, lineage, folder)
    if as_json:
        show(result, as_json=True)
    else:
        _tell(result, folder)
    if result.audit.verdict != "proven":
        sys.exit(Exit.UNVERIFIED)


def _kind(devnet: bool, fabric: bool) -> Kind:
    from network import binaries
    from network.topology import Kind

    if devnet and fabric:
        raise click.UsageError("choose one of --devnet and --fabric")
    if fabric:
        binaries.fabric_version()
        return Kind.FABRIC
    return Kind.FABRIC if binaries.present() and not devnet else Kind.DEVNET


@contextmanager
def _alone(runs: Path) -> Iterator[None]:
    """Refuse a second demonstration in this folder: it would take the first one's away."""
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "latest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MedFabricError(
                Code.NETWORK_EXISTS,
                f"another demonstration runs in {runs}; wait for it, or name another folder "
                "with --runs",
            ) from None
        yield


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Take everything down as at the end, too, when told to end or when the terminal closes."""
    # What nohup had ignored stays ignored.
    ending = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in ending:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def _clear(folder: Path) -> None:
    """Make the folder empty; only what an earlier run left there is removed."""
    if folder.exists():
        known = folder / "consortium"
        if any(folder.iterdir()) and not known.exists() and not (folder / "run.json").exists():
            raise click.UsageError(f"{folder} holds something that no run left; remove it")
        _stop_leftovers(known)
        shutil.rmtree(folder)
    folder.mkdir()


def _stop_leftovers(consortium: Path) -> None:
    """End what an interrupted run left running."""
    from network.processes import Processes

    if (consortium / "run").exists():
        processes = Processes(consortium / "run", consortium / "logs")
        for record in (consortium / "run").glob("*.json"):
            processes.stop(record.stem)


_STORES = {"directory": "a folder", "kubo": "a private IPFS node per hospital"}


class _Screen:
    """Says what happens: lines of text, and a bar for the rounds where there is a terminal."""

    def __init__(self, rounds: int, progress: Any, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._task = progress.add_task("rounds", total=rounds, visible=False)

    def stage(self, text: str) -> None:
        """A part of the run begins."""
        if not self._quiet:
            self._progress.console.print(f"· {text}", soft_wrap=True)
        if text == "training":
            self._progress.update(self._task, visible=True)

    def round(self, run: Run, view: RoundView) -> None:
        """A round has ended."""
        self._progress.advance(self._task)
        if self._quiet:
            return
        number, seconds = view.round.number, run.seconds[-1]
        correct = sum(e.correct for e in view.evaluations)
        total = sum(e.total for e in view.evaluations)
        spent = max((u.epsilon_micro for u in view.updates), default=0) / 1e6
        size = max((u.update.size_bytes for u in view.updates), default=0)
        self._progress.console.print(
            f"  round {number}: {view.round.status} {view.round.reason}"
            f"  validation {correct}/{total}  epsilon {spent:.2f}"
            f"  {size:,} bytes per update  {seconds:.1f} s",
            soft_wrap=True,
        )


@contextmanager
def _screen(options: Options, trained: Application, *, quiet: bool) -> Iterator[_Screen]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        screen = _Screen(options.rounds or trained.tuned.rounds, bar, quiet)
        network = "real Hyperledger Fabric" if options.kind == "fabric" else "the embedded devnet"
        screen.stage(
            f"{options.hospitals} hospitals on {network}, content in {_STORES[options.store]}"
        )
        records = "simulated records" if trained.simulated else "real records"
        screen.stage(f"{trained.title}, {records}: {trained.about}")
        if options.simulated_enclave:
            screen.stage("a simulated enclave attests for the first hospital: it protects nothing")
        if options.kind != "fabric":
            screen.stage("the devnet is one trust domain: for teaching and tests alone")
        yield screen


def _tell(result: RunRecord, folder: Path) -> None:
    lines = [
        "",
        "round  outcome     accuracy  FedAvg (unprotected)  epsilon  seconds",
    ]
    lines += [
        f"{r.number:5}  {r.status:10}  {r.accuracy:8.3f}  {r.fedavg_accuracy:20.3f}"
        f"  {max(r.epsilon.values(), default=0.0):7.3f}  {r.seconds:7.1f}"
        for r in result.rounds
    ]
    gap = result.baselines.fedavg_accuracy - result.final_accuracy
    lines += [
        "",
        f"held-out test accuracy {result.final_accuracy:.3f} at epsilon "
        f"{result.epsilon_limit:g}, delta {result.delta:g}; training accuracy "
        f"{result.final_train_accuracy:.3f}",
        f"centralised without protection {result.baselines.centralised_accuracy:.3f}; "
        f"gap to unprotected FedAvg {gap:+.3f}",
        f"all hospitals hold the same model: {'yes' if result.identical_models else 'no'}",
        f"model address {result.model_address}",
        f"lineage {result.audit.verdict} over {result.audit.blocks} blocks and "
        f"{result.audit.transactions} transactions",
        f"{result.seconds:.0f} s, {result.peak_memory_mb:.0f} MB at most; report, model, lineage "
        f"and logs in {folder}",
    ]
    lines += [f"finding: {finding}" for finding in result.audit.findings]
    click.echo("\n".join(lines))
