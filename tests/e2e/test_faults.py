"""A training under faults: killed processes come back and lose nothing; those that stay away, and
content that was tampered with, are named on the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.networks import KINDS

from chaincode.schema.rounds import RoundStatus, RoundView
from client.consortium import Consortium
from demo import run as demo
from demo.run import PLAN_ID, Options, Run
from network.topology import Kind
from trainer.privacy import Scheme, wire


@contextmanager
def _training(folder: Path, kind: Kind, rounds: int, stage_seconds: int) -> Iterator[Run]:
    options = Options(folder, kind, rounds=rounds, stage_seconds=stage_seconds)
    with demo.prepared(options, lambda _: None) as run:
        run.agents.start()
        yield run


def _until(run: Run, number: int, seen: Callable[[RoundView], bool]) -> RoundView:
    """The round's view as soon as it is so; fails after two minutes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if demo.plan(run).rounds_opened >= number:
            view = run.ledger.rounds.get(plan_id=PLAN_ID, number=number)
            if seen(view):
                return view
        threading.Event().wait(0.05)
    raise AssertionError(f"round {number} did not get there")


def _ended(view: RoundView) -> bool:
    return view.round.status in (RoundStatus.PUBLISHED, RoundStatus.FAILED)


def _begun(view: RoundView) -> bool:
    return len(view.updates) >= 1


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_processes_come_back_and_every_round_is_published(
    kind: Kind, tmp_path: Path
) -> None:
    with _training(tmp_path / "run", kind, rounds=3, stage_seconds=100) as run:
        _until(run, 1, lambda view: view.round.status is RoundStatus.OPEN)
        run.agents.kill("hospital2")
        _until(run, 1, lambda view: len(view.updates) >= 2)
        run.agents.restart("hospital2")
        first = _until(run, 1, _ended)

        _until(run, 2, _begun)
        run.network.kill("hospital3.chaincode")
        run.network.restart("hospital3.chaincode")
        second = _until(run, 2, _ended)

        _until(run, 3, lambda view: view.round.status is RoundStatus.OPEN)
        names = ["devnet"]
        if kind is Kind.FABRIC:
            names = ["hospital4.peer", "hospital4.orderer"]
        for name in names:
            run.network.kill(name)
            run.network.restart(name)
        third = _until_reachable(run, 3)

    for view in (first, second, third):
        assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
        assert len(view.round.contributions) == 4
        assert view.round.missing == ()


def _until_reachable(run: Run, number: int) -> RoundView:
    from chaincode.schema.errors import MedFabricError

    deadline = time.monotonic() + 120
    while True:
        try:
            return _until(run, number, _ended)
        except MedFabricError:
            # The restarted process is still coming up.
            assert time.monotonic() < deadline
            threading.Event().wait(0.2)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_tampered_content_and_absent_hospitals_are_named(kind: Kind, tmp_path: Path) -> None:
    with _training(tmp_path / "run", kind, rounds=3, stage_seconds=20) as run:
        store = tmp_path / "run" / "content"

        first = _until(run, 1, _begun)
        _tamper(store, first)
        healed = _until(run, 1, _ended)

        # One hospital submits alone and is gone; the others come when its content is tampered with.
        others = ["hospital2", "hospital3", "hospital4"]
        for slug in others:
            run.agents.kill(slug)
        begun = _until(run, 2, _begun)
        run.agents.kill("hospital1")
        _tamper(store, begun)
        for slug in others:
            run.agents.restart(slug)
        unusable = _until(run, 2, _ended)

        missing = _until(run, 3, _ended)

    assert healed.round.status is RoundStatus.PUBLISHED, healed.round.reason
    assert {o.subject_sha256 for o in healed.objections} == {first.updates[0].update.sha256}
    assert {o.code for o in healed.objections} == {"MF-7021"}
    lost = begun.updates[0]
    assert unusable.round.status is RoundStatus.FAILED
    assert unusable.round.failure == "MF-5012"
    assert f"{lost.node_id} of {lost.msp_id}" in unusable.round.reason
    assert [(n.msp_id, n.node_id) for n in missing.round.missing] == [(lost.msp_id, lost.node_id)]
    assert len(missing.round.contributions) == 3
    assert missing.round.status is RoundStatus.FAILED
    assert missing.round.failure == "MF-5008"
    assert missing.round.absent == (lost.msp_id,)
    assert missing.round.base_sha256 == healed.round.model_sha256


def _tamper(store: Path, view: RoundView) -> None:
    """Change the content of the first update where everybody fetches it."""
    path = next(p for p in store.rglob("*") if p.name.startswith(view.updates[0].update.cid))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_share_that_decrypts_nothing_fails_the_round(kind: Kind, tmp_path: Path) -> None:
    with _training(tmp_path / "run", kind, rounds=1, stage_seconds=20) as run:
        liar = run.hospitals[3]
        _until(run, 1, lambda view: any(u.msp_id == liar.msp_id for u in view.updates))
        run.agents.kill(liar.slug)
        view = _until(run, 1, lambda view: view.round.status is RoundStatus.AGGREGATED)
        with Consortium.connect(
            run.network.layout.connection(liar.slug), liar.user("node1")
        ) as node:
            node.catch_up(run.ledger)
            node.rounds.submit_share(
                plan_id=PLAN_ID,
                round=1,
                aggregate_sha256=view.round.aggregate_sha256,
                share=run.store.put(_false_share(run)),
            )
        failed = _until(run, 1, _ended)
        address = demo.plan(run).model_sha256

    assert failed.round.status is RoundStatus.FAILED
    assert failed.round.failure == "MF-5010"
    assert "MF-6008" in failed.round.reason
    assert {e.failure for e in failed.evaluations} == {"MF-6008"}
    assert address == failed.round.base_sha256


def _false_share(run: Run) -> bytes:
    """A decryption share of the right form whose residues are random."""
    terms = run.terms
    assert terms is not None
    scheme = Scheme(terms.encryption, bytes.fromhex(terms.sha256))
    primes = scheme.primes[:-1]
    draw = np.random.default_rng(1)
    residues = np.stack([draw.integers(0, q, 8192, dtype=np.uint64) for q in primes])
    return wire.encode(wire.Kind.SHARE, scheme.context, primes, residues[None, None])
