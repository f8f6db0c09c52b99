"""Lone latency and throughput of transactions through the client, by network.

Every network that runs here takes part: the devnet, and real Fabric where its programs are.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._rows import alone
from chaincode.schema.consortium import Subject
from client.consortium import Consortium
from network import binaries
from network.base import up
from network.topology import Kind

HOSPITALS = 4
LONE = 40
MANY = 200
AT_ONCE = 16


def rows() -> list[dict[str, Any]]:
    """Per network: the median of LONE single transactions, and MANY by AT_ONCE threads."""
    kinds = [Kind.DEVNET, *([Kind.FABRIC] if binaries.present() else [])]
    return [row for kind in kinds for row in _measure(kind)]


def _measure(kind: Kind) -> list[dict[str, Any]]:
    with _founded(kind) as admins:
        lone = [_seconds(lambda n=n: _register(admins[0], f"lone{n}")) for n in range(LONE)]
        started = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            work = ((admins[n % HOSPITALS], f"many{n}") for n in range(MANY))
            list(pool.map(lambda pair: _register(*pair), work))
        rate = MANY / (time.perf_counter() - started)
    median = statistics.median(lone)
    return [
        alone(f"lone transaction, {kind}", 1000 * median, "ms", runs=LONE),
        alone(f"transactions, {AT_ONCE} at once, {kind}", rate, "1/s", better="higher", runs=MANY),
    ]


@contextmanager
def _founded(kind: Kind) -> Iterator[list[Consortium]]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "consortium"
        network = up(folder, kind, HOSPITALS)
        slugs = [hospital.slug for hospital in network.topology.hospitals]
        admins = [_admin(folder / "hospitals" / slug) for slug in slugs]
        try:
            _found(admins)
            yield admins
        finally:
            for admin in admins:
                admin.close()
            network.down()


def _admin(hospital: Path) -> Consortium:
    return Consortium.connect(hospital / "connection.json", hospital / "users" / "admin")


def _found(admins: list[Consortium]) -> None:
    founders = tuple({"msp_id": a.identity.msp_id, "name": a.identity.msp_id} for a in admins)
    first, *others = admins
    charter = first.charter.found(name="Benchmark", hospitals=founders).charter_sha256
    subject = {"subject": Subject.CHARTER, "subject_id": "Benchmark"}
    for admin in others:
        admin.catch_up(first)
        admin.charter.vote(**subject, subject_sha256=charter, approve=True)
    first.catch_up(others[-1])
    first.charter.advance(**subject)
    for admin in others:
        admin.catch_up(first)


def _register(admin: Consortium, name: str) -> None:
    admin.datasets.register(
        dataset_id=name,
        name=name,
        application="benchmark",
        simulated=True,
        commitment_sha256="00" * 32,
        split_sha256="00" * 32,
        descriptor_sha256="00" * 32,
        train_samples=100,
        validation_samples=20,
        budget_epsilon_micro=1_000_000,
        delta_nano=10_000,
    )


def _seconds(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
