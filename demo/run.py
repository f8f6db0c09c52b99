"""One honest training from nothing: network, consortium, plan, rounds, audit, report."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chaincode.schema import canonical, states
from chaincode.schema.ceremonies import CeremonyStatus
from chaincode.schema.datasets import RegisterDatasetArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import Participant, Plan, PlanTerms
from chaincode.schema.rounds import RoundView
from client.consortium import Consortium
from client.content import ContentStore
from client.waking import Waking
from demo import consortium as steps
from demo import measure, stores
from demo.agents import Agents
from demo.provenance import Provenance
from network import base
from network.base import Network
from network.processes import proportional_memory_kb
from network.topology import Kind

if TYPE_CHECKING:
    from trainer.applications.application import Application

Progress = Callable[[str], None]

PLAN_ID = "demonstration"
NODE = "node1"
_ROUND_PATIENCE = 120.0
_GLANCE = 2.0
"""Seconds after which agents that died are noticed. To look at the ledger more often would take the
processors from those that train on this machine."""
_ROOM, _LEAST_ROOM = 256 << 20, 8 << 20
"""Bytes free on the disk with which a run is begun, and goes on."""


@dataclass(frozen=True)
class Options:
    """What a run is asked to be."""

    folder: Path
    kind: Kind
    hospitals: int = 4
    rounds: int | None = None
    """Where the application was tuned for another number."""
    seed: int = 0
    partition: str = "identical"
    store: str = stores.DIRECTORY
    stage_seconds: int = 300
    """What a busy machine's slowest training takes. Nobody waits for it: who dies ends the run."""
    application: str = "breast-cancer"
    aggregation: str = "ckks"
    simulated_enclave: bool = False
    """The first hospital attests by a software attester in an enclave's place."""


@dataclass
class Clock:
    """Seconds of each part of the run, and the most memory that all processes used together."""

    started: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)
    peak_kb: int = 0

    @contextmanager
    def part(self, name: str, progress: Progress) -> Iterator[None]:
        """Time one part."""
        progress(name)
        begin = time.monotonic()
        yield
        self.timings[name] = round(time.monotonic() - begin, 3)

    def seconds(self) -> float:
        """Since the start."""
        return round(time.monotonic() - self.started, 3)


@dataclass
class Run:
    """A run in progress: everything that its parts share."""

    options: Options
    network: Network
    stores: stores.Stores
    hospitals: list[steps.Hospital]
    agents: Agents
    clock: Clock
    started: str
    provenance: Provenance
    waking: Waking
    terms: PlanTerms | None = None
    rounds: list[RoundView] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    drift: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def store(self) -> ContentStore:
        """The demonstration's own content store."""
        return self.stores.own

    @property
    def ledger(self) -> Consortium:
        """The first hospital's view."""
        return self.hospitals[0].admin

    def measure_memory(self) -> None:
        """Take note of what all processes use now."""
        network = sum(self.network.processes.memory_kb(name) for name in self.network.names())
        others = sum(map(proportional_memory_kb, (os.getpid(), *self.stores.processes)))
        total = network + self.agents.memory_kb() + others
        self.clock.peak_kb = max(self.clock.peak_kb, total)


@contextmanager
def prepared(options: Options, progress: Progress) -> Iterator[Run]:
    """Bring everything up to an agreed plan; take everything down at the end."""
    from trainer import applications

    clock = Clock()
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    _require_room(folder, _ROOM)
    with clock.part("bringing the network up", progress):
        network = base.up(folder / "consortium", options.kind, options.hospitals)
    agents = Agents(folder, network.processes)
    hospitals: list[steps.Hospital] = []
    closing = ExitStack()
    try:
        hospitals = _hospitals(network)
        names = [hospital.slug for hospital in hospitals]
        with clock.part("opening content stores", progress):
            opened = closing.enter_context(stores.opened(options.store, folder, names))
        provenance = Provenance(applications.find(options.application), hospitals[0])
        waking = closing.enter_context(Waking(hospitals[0].admin.events))
        run = Run(options, network, opened, hospitals, agents, clock, started, provenance, waking)
        with clock.part("founding the consortium", progress):
            steps.found(hospitals, "MedFabric demonstration")
            provenance.register()
            for hospital in hospitals:
                steps.register_node(hospital, NODE, "server")
        with clock.part("offering datasets and agreeing the plan", progress):
            _agree(run)
        waking.listen()
        yield run
    finally:
        agents.stop()
        closing.close()
        for hospital in hospitals:
            hospital.admin.close()
        network.down()


def train(run: Run, progress: Progress, each: Callable[[Run, RoundView], None]) -> None:
    """Start the agents and follow the plan to its end.

    Args:
        each: called with every round that has ended.

    Raises:
        MedFabricError: the plan fails, an agent ends, or a stage takes minutes too long.
    """
    with run.clock.part("generating a key that nobody holds", progress):
        run.agents.start()
        _await_key(run)
    assert run.terms is not None
    run.provenance.use(run.terms.model.base.sha256)
    with run.clock.part("training", progress):
        for number in range(1, run.terms.training.rounds + 1):
            begin = time.monotonic()
            view = _await_round(run, number)
            run.seconds.append(round(time.monotonic() - begin, 3))
            run.rounds.append(view)
            run.provenance.learned(view)
            run.measure_memory()
            each(run, view)


def plan(run: Run) -> Plan:
    """The plan as committed."""
    return run.ledger.plans.get(plan_id=PLAN_ID).plan


def _hospitals(network: Network) -> list[steps.Hospital]:
    found = []
    for hospital in network.topology.hospitals:
        folder = network.layout.hospital(hospital.slug)
        connection = network.layout.connection(hospital.slug)
        admin = Consortium.connect(connection, network.layout.user(hospital.slug, "admin"))
        found.append(steps.Hospital(hospital.slug, hospital.msp_id, folder, admin))
    return found


def _agree(run: Run) -> None:
    from trainer import applications
    from trainer.applications.files import write

    options = run.options
    application = applications.find(options.application)
    if options.partition != "identical":
        application = application.with_empty_classes()
    terms = options.folder / "data-terms.json"
    terms.write_bytes(canonical.dumps(application.terms()))
    files = write(
        application, options.folder / "records", options.hospitals, options.seed, options.partition
    )
    offered = {
        hospital.slug: _offer(run, hospital, application, file, terms)
        for hospital, file in zip(run.hospitals, files.hospitals, strict=True)
    }
    run.terms = _draft(run, application, offered)
    datasets = {slug: args.dataset_id for slug, args in offered.items()}
    steps.agree_plan(run.hospitals, run.terms, datasets)


def _offer(
    run: Run, hospital: steps.Hospital, application: Application, file: Path, terms: Path
) -> RegisterDatasetArgs:
    """A hospital's node with its records, which become a dataset on the ledger."""
    from trainer import presets
    from trainer.node.config import DataConfig
    from trainer.node.main import describe_data

    dataset_id = f"{application.id}-{hospital.slug}"
    config = DataConfig(dataset_id=dataset_id, file=file, split_seed=run.options.seed)
    run.agents.add(hospital.slug, _node(run, hospital, config.model_dump(mode="json")))
    home = run.agents.home(hospital.slug)
    args = RegisterDatasetArgs(
        **describe_data(home / "node.json", terms),
        name=application.title,
        simulated=application.simulated,
        budget_epsilon_micro=presets.EPSILON_MICRO,
        delta_nano=presets.DELTA_NANO,
    )
    steps.register_dataset(hospital, args)
    run.provenance.dataset(hospital, dataset_id)
    if application.terms().expected is not None:
        run.drift[hospital.slug] = _drift(home, terms)
    return args


def _draft(
    run: Run, application: Application, offered: Mapping[str, RegisterDatasetArgs]
) -> PlanTerms:
    from client.drafting import Aggregation
    from trainer import presets

    content, digest, parameters = measure.apart(
        measure.base_model, application.architecture, dict(application.config)
    )
    terms = presets.plan(
        PLAN_ID,
        application,
        run.store.put(content),
        digest,
        parameters,
        tuple(
            Participant(msp_id=h.msp_id, node_id=NODE, dataset_id=offered[h.slug].dataset_id)
            for h in run.hospitals
        ),
        [args.train_samples for args in offered.values()],
        run.options.rounds,
        run.options.stage_seconds,
        Aggregation(run.options.aggregation),
    )
    if not run.options.simulated_enclave:
        return terms
    from trainer.enclave.simulated import SimulatedChip

    first = run.hospitals[0]
    pinned = SimulatedChip.kept(_enclave(run, first)).terms(first.msp_id, int(time.time()))
    return terms.model_copy(update={"enclaves": (pinned,)})


def _drift(home: Path, terms: Path) -> dict[str, str]:
    """How a hospital's records compare with what the plan expects, before it consents: by column.
    Leaves the whole report in its node's folder."""
    from trainer.node.main import report_data

    made = report_data(home / "node.json", terms, None, home / "data-report.html")
    columns = {column.name: column.verdict for column in made.columns if column.drift is not None}
    return {**columns, "classes": made.class_verdict}


def _enclave(run: Run, hospital: steps.Hospital) -> Path:
    return run.options.folder.resolve() / "enclaves" / hospital.slug


def _node(run: Run, hospital: steps.Hospital, data: dict[str, object]) -> dict[str, object]:
    folder = run.options.folder.resolve()
    enclave = {}
    if run.options.simulated_enclave and hospital is run.hospitals[0]:
        enclave = {"enclave": {"kind": "simulated", "folder": str(_enclave(run, hospital))}}
    return {
        **enclave,
        "connection": str(run.network.layout.connection(hospital.slug)),
        "identity": str(run.network.layout.user(hospital.slug, NODE)),
        "store": run.stores.configs[hospital.slug],
        "datasets": [{**data, "file": str((folder / str(data["file"])).resolve())}],
    }


def _await_key(run: Run) -> None:
    _wait(run, lambda: states.is_final(states.CEREMONY, _ceremony(run)), "the key ceremony")
    found = plan(run)
    if found.reason:
        raise MedFabricError(Code.PLAN_NOT_APPROVED, f"{PLAN_ID} is {found.status}: {found.reason}")


def _ceremony(run: Run) -> CeremonyStatus:
    return run.ledger.ceremonies.get(plan_id=PLAN_ID).ceremony.status


def _await_round(run: Run, number: int) -> RoundView:
    def ended() -> bool:
        if plan(run).rounds_opened < number:
            return False
        status = run.ledger.rounds.get(plan_id=PLAN_ID, number=number).round.status
        return states.is_final(states.ROUND, status)

    _wait(run, ended, f"round {number}")
    return run.ledger.rounds.get(plan_id=PLAN_ID, number=number)


def _wait(run: Run, done: Callable[[], bool], what: str) -> None:
    def told() -> bool:
        try:
            return done()
        except MedFabricError:
            for name in run.network.names():
                run.network.processes.require_running(name)
            raise

    def alive() -> None:
        run.agents.check()
        _require_room(run.options.folder, _LEAST_ROOM)

    patience = _ROUND_PATIENCE + run.options.stage_seconds
    base.wait_until(told, what, patience, alive, interval=_GLANCE, pause=run.waking.wait)


def _require_room(folder: Path, least: int) -> None:
    """Agents wait on a full disk rather than end: the round would fail late, with another reason.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    free = shutil.disk_usage(folder).free
    if free < least:
        raise MedFabricError(
            Code.FILE_UNUSABLE,
            f"the disk of {folder} has {free >> 20} MB left, a run needs {least >> 20}; make room, "
            "or name another folder",
        )
