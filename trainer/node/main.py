"""Puts a node together from its configuration and runs it."""

from __future__ import annotations

import importlib
import logging
import secrets
import signal
import threading
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from chaincode.schema.consortium import Node
from chaincode.schema.data import DataTerms, problem
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.places import Place
from chaincode.schema.plans import ModelTerms, PlanTerms, PrivacyTerms
from chaincode.schema.private import Statistics
from chaincode.schema.studies import Selection, StudyTerms
from client import pages
from client.consortium import Consortium
from client.content.directory import DirectoryStore
from client.content.store import ContentStore
from client.files import read_named, wrong_fields
from client.identity import Identity
from client.places import join
from trainer.node.agent import Agent
from trainer.node.ceremony import KeyKeeper
from trainer.node.config import DataConfig, DirectoryStoreConfig, NodeConfig, load
from trainer.node.content import Exchange
from trainer.node.courses import Courses
from trainer.node.datasets import of_application, of_id, of_plan
from trainer.node.disputes import Disputes, Proofs
from trainer.node.duties import Duty, Me, Snapshot, Task
from trainer.node.enclave import attester
from trainer.node.grouptests import GroupTests
from trainer.node.home import Home
from trainer.node.machine import check, memory_bytes, running
from trainer.node.masks import MaskKeeper
from trainer.node.membership import Membership
from trainer.node.policies import Policies
from trainer.node.releases import Releases
from trainer.node.resources import Meter
from trainer.node.rounds import Rounds
from trainer.node.storage import Storekeeper
from trainer.node.studies import Studies
from trainer.randomness import Secrets
from trainer.report.resources import STARTED

if TYPE_CHECKING:
    from trainer.data.dataset import Recorded
    from trainer.data.raw import Raw
    from trainer.data.report import DataReport
    from trainer.node.learner import Learner, Tuning
    from trainer.node.personal import Personal, Wish

log = logging.getLogger("medfabric.node")

_ROOMY = 2 << 30
_STACK = 2 << 20
"""Bytes of a thread's stack: the usual 8 MiB of each count where a process's data is limited."""
_FILES = "files"
"""What the hashes of a dataset's files are kept under."""


def run(path: Path, *, once: bool = False, verbose: bool = False) -> None:
    """Run the agent that ``path`` (a node.json) describes until SIGTERM or SIGINT.

    Raises:
        MedFabricError: the configuration, the identity or the node's folder is unusable.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    threading.stack_size(_STACK)
    config = load(path)
    check(config.compute.accelerator)
    identity = Identity.load(config.identity)
    home = Home(config.home)
    with Consortium.connect(config.connection, identity) as consortium:
        agent = build(config, identity, consortium, home)
        home.journal(
            {"task": STARTED, "round": 0, "machine": vars(running(config.compute.accelerator))}
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        agent.run(once=once)
    home.close()


def build(config: NodeConfig, identity: Identity, consortium: Consortium, home: Home) -> Agent:
    """The agent of this configuration over an open connection."""
    store = open_store(config)
    exchange = Exchange(store, home, consortium)
    made = _secrets(config, identity)
    keys = KeyKeeper(identity.msp_id, consortium, home, exchange, made)
    courses = Courses(home, made, config.compute.checkpoint_seconds)
    place = (identity.msp_id, identity.name)
    masks = MaskKeeper(place, consortium, home, exchange, keys, made)
    learners = _Learners(config, consortium, home)
    evidence = attester(config, identity.msp_id)
    rounds = Rounds(place, consortium, home, exchange, keys, masks, courses, learners, evidence)
    me = Me(identity.msp_id, identity.name, frozenset(identity.roles), config.join_plans)
    tests = GroupTests(consortium, home, exchange, keys, courses, rounds, learners)
    proofs = Proofs(place[0], home, exchange, keys)
    disputes = Disputes(consortium, exchange, keys, courses, rounds, proofs)
    membership = Membership(consortium, config.datasets)
    worker = _Worker(exchange, keys, masks, rounds, disputes, tests, membership)
    storekeeper = Storekeeper(me, consortium, store)
    studies = _studies(config, me, consortium, home, exchange, keys, made)
    others = [Policies(me, consortium).due, storekeeper.due, studies.due]

    def tend(now: Snapshot) -> None:
        learners.expect()
        exchange.restore(now)

    return Agent(
        me,
        consortium,
        home,
        worker,
        tend,
        keys.forget,
        lambda: chain.from_iterable(due() for due in others),
    )


def _studies(
    config: NodeConfig,
    me: Me,
    consortium: Consortium,
    home: Home,
    exchange: Exchange,
    keys: KeyKeeper,
    made: Secrets,
) -> Studies:
    own = tuple(data.dataset_id for data in config.datasets)
    reading = _Studied(config, consortium, home)
    return Studies(me, own, consortium, home, exchange, keys, made, reading)


def sum_study(
    path: Path, study_id: str, ranges: Sequence[tuple[str, int, int]]
) -> dict[str, int | str]:
    """Add the records that this hospital, their holder, chose for a study.

    Args:
        ranges: datasets, and the first place and the one after the last.

    Raises:
        MedFabricError: as :meth:`trainer.node.studies.Studies.sum`.
    """
    config = load(path)
    identity, home = Identity.load(config.identity), Home(config.home)
    selection = [Selection(dataset_id=name, first=a, last=b) for name, a, b in ranges]
    with Consortium.connect(config.connection, identity) as consortium:
        exchange = Exchange(open_store(config), home, consortium)
        made = _secrets(config, identity)
        keys = KeyKeeper(identity.msp_id, consortium, home, exchange, made)
        me = Me(identity.msp_id, identity.name, frozenset(identity.roles))
        studies = _studies(config, me, consortium, home, exchange, keys, made)
        facts = studies.sum(consortium.studies.get(study_id=study_id), selection)
    home.close()
    return facts


def _secrets(config: NodeConfig, identity: Identity) -> Secrets:
    if config.test_seed is None:
        return Secrets()
    log.warning("test mode: this node's noise and keys can be guessed; nothing of it is private")
    return Secrets((config.test_seed, identity.msp_id, identity.name))


def open_store(config: NodeConfig) -> ContentStore:
    """The content store that the configuration names."""
    store = config.store
    if isinstance(store, DirectoryStoreConfig):
        return DirectoryStore(store.folder)
    from client.content.ipfs import KuboStore

    return KuboStore(store.address, store.secret_file.read_text().strip())


def describe_data(path: Path, terms: Path, dataset_id: str | None = None) -> dict[str, Any]:
    """What the consortium would be told of one of the node's datasets.

    The salt of the hashes is made once; it and the hashes are kept in the node's folder.

    Args:
        dataset_id: not needed where the node has one dataset; so in what follows.

    Raises:
        MedFabricError: the configuration, the terms or the records are unusable.
    """
    from trainer.data.dataset import describe

    config = load(path)
    data, wanted = of_id(config.datasets, dataset_id), read_terms(terms)
    home = Home(config.home)
    salt = home.secret(_data_name(data), lambda: secrets.token_bytes(32))
    about, files = describe(data, wanted, salt, _opener(config, data))
    home.keep(_data_name(data), _FILES, files)
    home.close()
    return {"dataset_id": data.dataset_id, **about}


def release_data(
    path: Path,
    terms: Path,
    release_id: str,
    epsilon_micro: int,
    out: Path | None,
    dataset_id: str | None = None,
) -> dict[str, Any]:
    """A synthetic table of the node's dataset: made and kept once, given out once it is charged.

    Returns:
        What is to be charged by ``dataset:Release``; once it is, what the ledger says of it.

    Raises:
        MedFabricError: ``EXISTS`` where the ledger has another table of this name; ``DATA_FILE``
            where ``out`` exists; ``NOT_YET`` where the table is not charged; as
            :func:`trainer.data.dataset.open_recorded`.
    """
    config = load(path)
    data, wanted = of_id(config.datasets, dataset_id), read_terms(terms)
    home = Home(config.home)
    try:
        identity = Identity.load(config.identity)
        with Consortium.connect(config.connection, identity) as consortium:
            account = consortium.datasets.get(dataset_id=data.dataset_id).account
            releases = Releases(home, _data_name(data))
            made = releases.known(release_id)
            if made is None:
                recorded = _recorded(data, consortium, home)
                made = releases.make(
                    data, wanted, recorded, identity, release_id, epsilon_micro, account.delta_nano
                )
        charged = next((r for r in account.releases if r.release_id == release_id), None)
        if charged is None:
            if out is not None:
                raise _uncharged(release_id)
            return made.model_dump(mode="json")
        releases.give_out(charged, out)
        return charged.model_dump(mode="json") | {"file": str(out) if out else None}
    finally:
        home.close()


def data_statistics(path: Path, terms: Path, dataset_id: str | None = None) -> Statistics:
    """What the node's dataset looks like as a whole; for the hospital alone.

    Raises:
        MedFabricError: the configuration, the terms or the records are unusable.
    """
    from trainer.data.sealed import readable
    from trainer.data.statistics import statistics

    config = load(path)
    data, wanted = of_id(config.datasets, dataset_id), read_terms(terms)
    return statistics(readable(data.file, _opener(config, data)), wanted)


def seal_data(
    path: Path, target: Path, recipients: Sequence[Path], dataset_id: str | None = None
) -> dict[str, Any]:
    """Seal the node's dataset, as it was described, for this node and others.

    Raises:
        MedFabricError: ``DATA_CHANGED`` where the files are not those that were described;
            as :func:`trainer.data.sealed.seal`.
    """
    from trainer.data.manifest import Manifest
    from trainer.data.sealed import SealedRecord, seal

    config = load(path)
    data = of_id(config.datasets, dataset_id)
    identity, home = Identity.load(config.identity), Home(config.home)
    name = _data_name(data)
    described, now = home.record(name, _FILES, Manifest), Manifest.of(data.file)
    if described != now:
        raise MedFabricError(
            Code.DATA_CHANGED,
            f"{data.file} is not what `medfabric node data` described; describe it first",
        )
    record = SealedRecord(
        msp_id=identity.msp_id,
        dataset_id=data.dataset_id,
        commitment_sha256=now.commitment(home.secret(name, bytes)),
    )
    home.close()
    certificates = [identity.certificate_pem, *map(read_named, recipients)]
    keys = seal(data.file, target, record, certificates)
    return {"folder": str(target), "files": len(now.files), "sealed_for": keys}


def _opener(config: NodeConfig, data: DataConfig) -> Identity | None:
    """Who opens the dataset, where it is sealed."""
    from trainer.data.sealed import is_sealed

    return Identity.load(config.identity) if is_sealed(data.file) else None


def reseal_data(
    path: Path, folder: Path, recipients: Sequence[Path], *, new_key: bool
) -> dict[str, Any]:
    """Seal for further nodes; or, under a new key, for these alone and this node."""
    from trainer.data.sealed import reseal

    identity = Identity.load(load(path).identity)
    certificates = list(map(read_named, recipients))
    return {"sealed_for": reseal(folder, identity, certificates, new_key=new_key)}


def report_data(
    path: Path,
    terms: Path | None,
    plan_id: str | None,
    out: Path | None,
    dataset_id: str | None = None,
) -> DataReport:
    """One of the node's datasets beside what is expected of it.

    Args:
        terms: a file with data terms; without it they are those of ``plan_id`` on the ledger.
        dataset_id: without it the plan's, or the only one.
        out: where to write the report as a page, if anywhere.

    Raises:
        MedFabricError: the configuration, the terms or the records are unusable.
    """
    from trainer.data.report import report
    from trainer.data.report_page import page

    config = load(path)
    if terms is not None:
        data, wanted = of_id(config.datasets, dataset_id), read_terms(terms)
    else:
        data, wanted = _planned(config, plan_id or "", dataset_id)
    made = report(data, wanted, _opener(config, data))
    if out is not None:
        pages.write(out, page(made))
    return made


def _planned(
    config: NodeConfig, plan_id: str, dataset_id: str | None
) -> tuple[DataConfig, DataTerms]:
    with Consortium.connect(config.connection, Identity.load(config.identity)) as consortium:
        terms = consortium.plans.get(plan_id=plan_id).plan.terms
        if dataset_id is not None or len(config.datasets) == 1:
            return of_id(config.datasets, dataset_id), terms.data
        return of_plan(config.datasets, terms, consortium), terms.data


def _uncharged(release_id: str) -> MedFabricError:
    return MedFabricError(
        Code.NOT_YET,
        f"{release_id} is made and kept, and nothing is given out before it is charged; leave "
        "--out away, and have the hospital's admin charge what --json prints (medfabric admin "
        "dataset release)",
    )


def read_terms(path: Path) -> DataTerms:
    """The data terms in a file.

    Raises:
        MedFabricError: ``NODE_CONFIG``.
    """
    try:
        terms = DataTerms.model_validate_json(path.read_bytes())
    except OSError as error:
        raise MedFabricError(
            Code.NODE_CONFIG, f"cannot read {path}: {error.strerror}; name a file with data terms"
        ) from None
    except ValidationError as error:
        raise MedFabricError(
            Code.NODE_CONFIG, f"{path}: {wrong_fields(error)}; correct the data terms"
        ) from None
    if wrong := problem(terms):
        raise MedFabricError(Code.NODE_CONFIG, f"{path}: {wrong}; correct the data terms")
    return terms


def base_model_terms(path: Path, architecture: str, settings: dict[str, int]) -> ModelTerms:
    """Store an architecture's initial model and give the terms that pin both."""
    from trainer.models.values import base_model

    content, digest, parameters = base_model(architecture, settings)
    return ModelTerms(
        architecture=architecture,
        config=settings,
        architecture_sha256=digest,
        parameters=parameters,
        base=open_store(load(path)).put(content),
    )


def personalise_model(
    path: Path, address: str, wish: Wish, layers: Sequence[str], changes: Mapping[str, int]
) -> Personal:
    """Train a global model on for this node's patients.

    Args:
        layers: what is trained; empty for all.
        changes: of the plan's training terms: steps, batch_size, learning_rate_micro.
    """
    from trainer.node.learner import Tuning
    from trainer.node.personal import PERSONALISED, personalise

    def tuning(terms: PlanTerms, privacy: PrivacyTerms | None) -> Tuning:
        changed = terms.training.model_copy(update=dict(changes))
        return Tuning(tuple(layers), changed, privacy)

    config = load(path)
    identity, home = Identity.load(config.identity), Home(config.home)
    with Consortium.connect(config.connection, identity) as consortium:
        learners = _Learners(config, consortium, home)
        made = personalise(consortium, open_store(config), learners, address, wish, tuning)
    home.journal({"task": PERSONALISED, "round": 0, **vars(made)})
    home.close()
    return made


def join_plan(path: Path, plan_id: str) -> Place:
    """Have the node take a place in a plan that admits it by rule, with its first dataset of the
    plan's application.

    Raises:
        MedFabricError: the node has no such dataset, or the ledger refuses it.
    """
    config = load(path)
    with Consortium.connect(config.connection, Identity.load(config.identity)) as consortium:
        terms = consortium.plans.get(plan_id=plan_id).plan.terms
        data = of_application(config.datasets, terms.data.application, consortium)
        return join(consortium, terms, data.dataset_id)


def leave_plan(path: Path, plan_id: str) -> Place:
    """Give the node's place in a plan back; the round that is open still counts on it."""
    config = load(path)
    identity = Identity.load(config.identity)
    with Consortium.connect(config.connection, identity) as consortium:
        return consortium.plans.leave(plan_id=plan_id, node_id=identity.name)


def rest(path: Path, *, wake: bool, reason: str) -> Node:
    """Have the node rest, or end its rest."""
    config = load(path)
    identity = Identity.load(config.identity)
    with Consortium.connect(config.connection, identity) as consortium:
        call = consortium.nodes.wake if wake else consortium.nodes.rest
        return call(node_id=identity.name, reason=reason)


class _Learners:
    """One learner per plan, made on first use: importing torch takes seconds.

    A node with records begins to import as soon as there is a plan, so that it is done when the
    key is."""

    def __init__(self, config: NodeConfig, consortium: Consortium, home: Home) -> None:
        self._config = config
        self._consortium = consortium
        self._home = home
        self._made: dict[str, Learner] = {}
        self._importing: threading.Thread | None = None

    def expect(self) -> None:
        """Prepare to learn, in a thread beside; not where memory is scarce, for a thread's own heap
        is never given back."""
        if memory_bytes() < _ROOMY:
            return
        if self._config.datasets and self._importing is None:
            self._importing = threading.Thread(target=_import_learner, name="import", daemon=True)
            self._importing.start()

    def __call__(self, terms: PlanTerms) -> Learner:
        if terms.plan_id not in self._made:
            from trainer.node.learner import Learner

            data = of_plan(self._config.datasets, terms, self._consortium)
            recorded = _recorded(data, self._consortium, self._home)
            identity = self._consortium.identity
            node = self._consortium.nodes.get(msp_id=identity.msp_id, node_id=identity.name)
            self._made[terms.plan_id] = Learner(
                terms, data, recorded, self._config.compute, node.device, identity
            )
        return self._made[terms.plan_id]


class _Studied:
    """Reads the node's records by a study's columns, if they are still those on the ledger."""

    def __init__(self, config: NodeConfig, consortium: Consortium, home: Home) -> None:
        self._config = config
        self._consortium = consortium
        self._home = home

    def __call__(self, terms: StudyTerms, dataset_id: str) -> Raw:
        from trainer.data.dataset import open_recorded

        data = of_id(self._config.datasets, dataset_id)
        recorded = _recorded(data, self._consortium, self._home)
        opened = open_recorded(data, terms.data, recorded, self._consortium.identity)
        return opened.raw


def _recorded(data: DataConfig, consortium: Consortium, home: Home) -> Recorded:
    from trainer.data.dataset import Recorded
    from trainer.data.manifest import Manifest

    name = _data_name(data)
    files = home.record(name, _FILES, Manifest)
    if files is None:
        raise MedFabricError(
            Code.DATA_CHANGED,
            f"{home.folder} keeps no hashes of {data.dataset_id}; restore the folder in "
            "which `medfabric node data` described it",
        )
    dataset = consortium.datasets.get(dataset_id=data.dataset_id).dataset
    return Recorded(dataset, home.secret(name, bytes), files)


def _import_learner() -> None:
    importlib.import_module("trainer.node.learner")


def _data_name(data: DataConfig) -> str:
    """Of what the node's folder keeps of its dataset."""
    return f"data-{data.dataset_id}"


class _Worker:
    """Carries out a duty by its task, and measures what it takes."""

    def __init__(
        self,
        exchange: Exchange,
        keys: KeyKeeper,
        masks: MaskKeeper,
        rounds: Rounds,
        disputes: Disputes,
        tests: GroupTests,
        membership: Membership,
    ) -> None:
        self._exchange = exchange
        self._by_task = {
            Task.COMMIT_KEY: keys.commit,
            Task.REVEAL_KEY: keys.reveal,
            Task.CONFIRM_KEY: keys.confirm,
            Task.JUDGE_KEY: keys.judge,
            Task.ADVANCE_CEREMONY: keys.advance,
            Task.OPEN_ROUND: rounds.open,
            Task.SUBMIT_UPDATE: rounds.submit_update,
            Task.ATTEST: rounds.attest,
            Task.SUBMIT_SHARE: rounds.submit_share,
            Task.POST_MASK_KEYS: masks.post_keys,
            Task.UNMASK: rounds.unmask,
            Task.EVALUATE: rounds.evaluate,
            Task.PROVE_SHARE: disputes.prove,
            Task.JUDGE_SHARES: disputes.judge,
            Task.ADVANCE_ROUND: rounds.advance,
            Task.ATTEST_GROUPS: tests.attest,
            Task.SHARE_GROUPS: tests.submit_shares,
            Task.SCORE_GROUPS: tests.score,
            Task.ADVANCE_TEST: tests.advance,
            Task.ADVANCE_PLAN: membership.advance_plan,
            Task.JOIN_PLAN: membership.join_plan,
        }

    def __call__(self, duty: Duty, now: Snapshot) -> Mapping[str, int | str] | None:
        meter, received = Meter.start(), self._exchange.received
        facts = self._by_task[duty.task](duty, now) or {}
        return {**facts, **meter.facts(), "received": self._exchange.received - received}
