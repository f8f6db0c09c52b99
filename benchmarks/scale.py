"""A round's seconds and ledger bytes against the number of nodes, on the devnet.

The ledger's side is real: every node has its own certificate and signs its own transactions, every
hospital's peer simulates and endorses what it is asked for. Training, encryption and content are
simulated: what is named on the ledger are hashes of nothing. All hospitals' peers and chaincode
services share this one machine, where in a consortium each has its own.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, transaction_pb2

from benchmarks._rows import alone
from chaincode.schema import ceremonies as c
from chaincode.schema import datasets as d
from chaincode.schema import plans as p
from chaincode.schema import rounds as r
from chaincode.schema.base import ContentRef, Language
from chaincode.schema.consortium import Subject
from chaincode.schema.encryption import choose
from chaincode.schema.errors import Code, MedFabricError
from client import blocks, drafting
from client.audit.transactions import header
from client.connection import Connection
from client.consortium import Consortium
from client.identity import Identity
from demo import consortium as steps
from network import crypto
from network.base import Network, up
from network.topology import Kind
from trainer import applications, presets

SIZES: dict[int, tuple[int, ...]] = {4: (1, 5, 10), 10: (10, 30, 100), 64: (1, 4, 16)}
"""By number of hospitals, the nodes of each: one consortium that grows, each size with a plan."""
ROUNDS = 2
AT_ONCE = 16
AIM_BYTES = 12_000
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "scale.svg"
_SAMPLES = 400
_PATIENCE_S = 60.0
_BEHIND = frozenset({Code.NOT_YET, Code.NOT_FOUND, Code.BAD_STATE, Code.NOT_A_PARTICIPANT})
"""What a peer says that has not received yet what another has just committed."""


def rows() -> list[dict[str, Any]]:
    """Per size: seconds and ledger bytes of its last round, and bytes by transaction; see
    :func:`plot`."""
    found = [size for hospitals in SIZES for size in measured(hospitals)]
    plot(found)
    return [row for size in found for row in size.rows()]


@dataclass(frozen=True)
class Size:
    """A round of ``hospitals`` with ``nodes`` each: its seconds, and the bytes of its transactions
    by function."""

    hospitals: int
    nodes: int
    seconds: float
    sizes: Mapping[str, Sequence[int]]

    @property
    def bytes_per_node(self) -> float:
        """What the ledger grows by, for each node."""
        return sum(map(sum, self.sizes.values())) / (self.hospitals * self.nodes)

    def rows(self) -> Iterator[dict[str, Any]]:
        """As the results file has them."""
        what = f"{self.hospitals} hospitals, {self.nodes} nodes each"
        each_ms = 1000 * self.seconds / (self.hospitals * self.nodes)
        yield alone(f"{what}: round", self.seconds, "s")
        yield alone(f"{what}: round, per node", each_ms, "ms")
        what_grows = f"{what}: ledger bytes per node and round"
        yield alone(what_grows, self.bytes_per_node, "bytes", aim=str(AIM_BYTES))
        for function, each in sorted(self.sizes.items()):
            yield alone(f"{what}: largest {function} of {len(each)}", max(each), "bytes")


def measured(hospitals: int) -> Iterator[Size]:
    """A consortium at each of its sizes."""
    with consortium_of(hospitals) as consortium:
        for nodes in SIZES[hospitals]:
            consortium.grow(nodes)
            for number in range(1, ROUNDS + 1):
                started = time.perf_counter()
                consortium.round(number)
                seconds = time.perf_counter() - started
            yield Size(hospitals, nodes, seconds, consortium.sizes(ROUNDS))


def plot(sizes: Sequence[Size]) -> None:
    """Draw seconds and ledger bytes against nodes, by number of hospitals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for hospitals in SIZES:
        those = [size for size in sizes if size.hospitals == hospitals]
        nodes = [hospitals * size.nodes for size in those]
        label = f"{hospitals} hospitals"
        left.plot(nodes, [size.seconds for size in those], "o-", label=label)
        right.plot(nodes, [size.bytes_per_node / 1000 for size in those], "o-", label=label)
    left.set(xlabel="nodes", ylabel="seconds a round", xscale="log", yscale="log")
    right.set(xlabel="nodes", ylabel="ledger kB per node and round", xscale="log", yscale="log")
    left.legend()
    figure.savefig(PLOT, format="svg", metadata={"Date": None})


@dataclass
class Running:
    """A consortium of simulated nodes, ready for its rounds."""

    network: Network
    hospitals: list[steps.Hospital]
    validators: list[Consortium]
    who: tuple[p.Participant, ...] = ()
    terms: p.PlanTerms = field(init=False)

    @property
    def plan_id(self) -> str:
        return self.terms.plan_id

    def grow(self, nodes: int) -> None:
        """Have so many nodes at each hospital, and a plan of them all."""
        names = [
            f"node{number + 1}" for number in range(len(self.who) // len(self.hospitals), nodes)
        ]
        for hospital in self.hospitals:
            for name in names:
                if name not in crypto.FIRST_USERS:
                    self.network.enroll(hospital.slug, name, ("trainer",))
        further = [(hospital, name) for hospital in self.hospitals for name in names]
        _at_once(lambda one: steps.register_node(one[0], one[1], "simulated"), further)
        _at_once(lambda one: _register(one[0], _dataset(*one)), further)
        self.who += tuple(
            p.Participant(msp_id=h.msp_id, node_id=n, dataset_id=_dataset(h, n)) for h, n in further
        )
        self.terms = _terms(f"scale-{len(self.who)}", self.who)
        _agree(self)

    def round(self, number: int) -> None:
        """One round, to its end."""
        place = r.RoundArgs(plan_id=self.plan_id, number=number)
        _call(self.validators[0], "round:Open", place, r.RoundState)
        state = self._state(number)
        base = state.base_sha256
        self._pages(number, 1, state.pages)
        submit = [(who, number, base) for who in self.terms.participation.participants]
        _at_once(self._submit, submit)
        self._pages(number, 0, state.pages)
        for name, args, result in self._duties(number):
            _at_once(partial(_call, name=name, args=args, result=result), self.validators)
            self._pages(number, 0, 1)
        self._pages(number, 1, state.pages)

    def sizes(self, number: int) -> dict[str, list[int]]:
        """Bytes of a round's transactions, by function; each with its share of its block."""
        found: dict[str, list[int]] = defaultdict(list)
        for function, envelope, around in self.transactions(number):
            found[function].append(len(envelope) + around)
        return dict(found)

    def transactions(self, number: int) -> Iterator[tuple[str, bytes, int]]:
        """A round's transactions and all after it: function, envelope, and the share of its block
        in bytes."""
        connection = Connection.load(self.network.layout.connection(self.hospitals[0].slug))
        auditor = Identity.load(self.hospitals[0].user("auditor"))
        place = {"plan_id": self.plan_id, "number": number}
        inside = False
        for _, raw in blocks.deliver(connection, auditor):
            block = blocks.parse(raw)
            kept = len(blocks.proven_form(block).SerializeToString())
            around = kept - sum(len(envelope) for envelope in block.data.data)
            for envelope in block.data.data:
                payload, about = header(envelope)
                if about.type != common_pb2.HeaderType.ENDORSER_TRANSACTION:
                    continue
                function, argument = _invoked(payload.data)
                opened = function == "round:Open" and argument == place
                inside = inside or opened
                if inside:
                    yield function, envelope, around // len(block.data.data)

    def _submit(self, of: tuple[p.Participant, int, str]) -> None:
        who, number, base = of
        home = next(h for h in self.hospitals if h.msp_id == who.msp_id)
        with _connected(home, who.node_id) as node:
            _call(node, "round:SubmitUpdate", self._update(who, number, base), r.Posted)

    def _update(self, who: p.Participant, number: int, base: str) -> r.SubmitUpdateArgs:
        training = self.terms.training
        return r.SubmitUpdateArgs(
            plan_id=self.plan_id,
            round=number,
            dataset_id=who.dataset_id,
            base_sha256=base,
            update=_content(f"update {number} {who.msp_id} {who.node_id}"),
            samples=_SAMPLES,
            steps=training.steps,
            batch_size=training.batch_size,
            noise_multiplier_micro=self.terms.privacy.noise_multiplier_micro,
        )

    def _duties(self, number: int) -> Iterable[tuple[str, Language, type[Language]]]:
        place: dict[str, Any] = {"plan_id": self.plan_id, "round": number}
        aggregate = {**place, "aggregate_sha256": _sha256(f"aggregate {number}")}
        attest = r.AttestArgs(**aggregate, aggregate=_content(f"sum {number}"), dropped=0)
        yield "round:Attest", attest, r.Posted
        share = r.ShareArgs(**aggregate, attempt=1, share=_content(f"share {number}"))
        yield "round:SubmitShare", share, r.Posted
        counts = {"correct": 90, "base_correct": 80, "total": 100}
        verdict = r.EvaluateArgs(**place, candidate=_content(f"model {number}"), **counts)
        yield "round:Evaluate", verdict, r.Posted

    def _pages(self, number: int, first: int, stop: int) -> None:
        for page in range(first, stop):
            who = self.validators[page % len(self.validators)]
            args = r.AdvanceArgs(plan_id=self.plan_id, number=number, page=page)
            _call(who, "round:Advance", args, r.RoundState)

    def _state(self, number: int) -> r.Round:
        return self.validators[0].rounds.page(plan_id=self.plan_id, number=number).round


@contextmanager
def consortium_of(hospitals: int, kind: Kind = Kind.DEVNET) -> Any:
    """A founded consortium on either network; see :class:`Running`."""
    with tempfile.TemporaryDirectory() as scratch:
        network = up(Path(scratch) / "consortium", kind, hospitals)
        running: Running | None = None
        try:
            running = _founded(network)
            yield running
        finally:
            for connected in running.validators if running else ():
                connected.close()
            for hospital in running.hospitals if running else ():
                hospital.admin.close()
            network.down()


def _founded(network: Network) -> Running:
    hospitals = [
        steps.Hospital(h.slug, h.msp_id, folder, _connect(folder, "admin"))
        for h in network.topology.hospitals
        for folder in [network.layout.folder / "hospitals" / h.slug]
    ]
    steps.found(hospitals, "Scale")
    return Running(network, hospitals, [_connect(h.folder, "node1") for h in hospitals])


def _dataset(hospital: steps.Hospital, node: str) -> str:
    return f"{hospital.slug}-{node}"


def _agree(running: Running) -> None:
    """Propose, consent, approve, and make a key of nothing."""
    hospitals, terms, plan_id = running.hospitals, running.terms, running.plan_id
    first = hospitals[0]
    owners = {h.msp_id: h for h in hospitals}
    first.submit("plan:Propose", terms, p.PlanState)

    def consent(one: p.Participant) -> None:
        args = {"dataset_id": one.dataset_id, "plan_id": plan_id, "terms_sha256": terms.sha256}
        owners[one.msp_id].submit("dataset:Consent", d.ConsentArgs(**args), d.Consent)

    _at_once(consent, terms.participation.participants)
    _at_once(lambda h: steps.vote(h, Subject.PLAN, plan_id, terms.sha256), hospitals)
    first.submit("plan:Advance", p.PlanArgs(plan_id=plan_id), p.PlanState)
    nonce, share = _sha256("nonce"), _content("key share")
    committed = c.commitment(nonce, share.sha256)
    stages: list[tuple[str, Language, type[Language]]] = [
        ("Commit", c.CommitArgs(plan_id=plan_id, commitment_sha256=committed), c.KeyCommitment),
        ("Reveal", c.RevealArgs(plan_id=plan_id, share=share, nonce=nonce), c.KeyShare),
        (
            "Confirm",
            c.ConfirmArgs(plan_id=plan_id, collective_key_sha256=_sha256("key")),
            c.KeyConfirmation,
        ),
    ]
    for name, args, result in stages:
        post = partial(_call, name=f"ceremony:{name}", args=args, result=result)
        _at_once(post, running.validators)
        _call(running.validators[0], "ceremony:Advance", p.PlanArgs(plan_id=plan_id), c.Ceremony)


def _terms(plan_id: str, who: tuple[p.Participant, ...]) -> p.PlanTerms:
    application = applications.find("breast-cancer")
    base = _content("base")
    terms = presets.plan(
        plan_id, application, base, _sha256("architecture"), 1000, who, [_SAMPLES], 3
    )
    long = {"ceremony_seconds": 86_400, "update_seconds": 86_400, "stage_seconds": 86_400}
    # Every hospital holds the key: the ceremony then deals nothing to each other.
    encryption = choose(
        terms.workload,
        clip_micro=terms.encryption.clip_micro,
        error_nano=drafting.ERROR_NANO,
        weight_bits=terms.encryption.weight_bits,
    )
    participation = terms.participation.model_copy(update=long)
    return terms.model_copy(update={"encryption": encryption, "participation": participation})


def _register(hospital: steps.Hospital, dataset_id: str) -> None:
    args = d.RegisterDatasetArgs(
        dataset_id=dataset_id,
        name=dataset_id,
        application="breast-cancer",
        simulated=True,
        commitment_sha256=_sha256(dataset_id),
        split_sha256=_sha256("split"),
        descriptor_sha256=_sha256("descriptor"),
        train_samples=_SAMPLES,
        validation_samples=20,
        budget_epsilon_micro=100_000_000,
        delta_nano=10_000,
    )
    steps.register_dataset(hospital, args)


@contextmanager
def _connected(hospital: steps.Hospital, user: str) -> Any:
    consortium = _connect(hospital.folder, user)
    try:
        yield consortium
    finally:
        consortium.close()


def _connect(folder: Path, user: str) -> Consortium:
    return Consortium.connect(folder / "connection.json", folder / "users" / user)


def _call(who: Consortium, name: str, args: Language, result: type[Language]) -> None:
    """Submit, once the caller's peer has what it builds on."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            who.submit(name, args, result)
            return
        except MedFabricError as error:
            if error.code not in _BEHIND or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _at_once(act: Callable[[Any], object], these: Sequence[Any]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(act, these))


def _invoked(transaction: bytes) -> tuple[str, dict[str, Any]]:
    """A transaction's function and its argument."""
    action = transaction_pb2.Transaction.FromString(transaction).actions[0]
    content = transaction_pb2.ChaincodeActionPayload.FromString(action.payload)
    proposal = proposal_pb2.ChaincodeProposalPayload.FromString(content.chaincode_proposal_payload)
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(proposal.input)
    name, *rest = spec.chaincode_spec.input.args
    return name.decode(), json.loads(rest[0]) if rest and rest[0][:1] == b"{" else {}


def _content(name: str) -> ContentRef:
    digest = _sha256(name)
    return ContentRef(cid=f"bafkrei{digest[:52]}", sha256=digest, size_bytes=100_000)


def _sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
