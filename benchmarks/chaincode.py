"""Chaincode on our shim beside an equal contract on the public Go shim, on one real network.

Both are deployed on the same peers; batches of transactions alternate between them, so that
whatever else the machine does falls on both. Without Go the Python figures stand alone. Latency is
the median of single transactions, throughput that of AT_ONCE threads of one client; the client's
own work and the ordering are part of both, as a user meets them. ``endorse`` stops before the
ordering: one chaincode on each of a majority of peers.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._contract import COMMON
from chaincode.schema.errors import MedFabricError
from client import tools
from client.connection import Connection
from client.gateway import Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network import binaries
from network.base import Network, up, wait_until
from network.topology import Kind

HOSPITALS = 4
LONE, LONE_BATCH = 60, 10
MANY, MANY_BATCH, AT_ONCE = 480, 80, 16
TEXT = "t" * 200
OURS, GO = "python", "go"
EQUAL = Path(__file__).parent / "equal"
ROOT = Path(__file__).parents[1]

Call = Callable[[Gateway, str, str], object]


def rows() -> list[dict[str, Any]]:
    """Per transaction: lone latency and throughput, ours and Go's."""
    if not binaries.present():
        raise SystemExit("this benchmark needs Fabric's programs; see how to run on real Fabric")
    programs = {OURS: [sys.executable, "-m", "chaincode.server", "--config"]}
    if tools.find("go"):
        programs[GO] = [str(go_program())]
    with tempfile.TemporaryDirectory() as scratch, _network(Path(scratch), programs) as gateway:
        return [row for name, call in CALLS.items() for row in _measure(gateway, name, call)]


def go_program() -> Path:
    """The equal contract on the Go shim, built once for these sources."""
    sources = sorted(path for path in EQUAL.iterdir() if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    name = f"benchmark-chaincode-{digest}"
    return tools.find(name) or tools.build("benchmark-chaincode", EQUAL).rename(
        tools.cache_folder() / name
    )


@contextmanager
def _network(folder: Path, programs: Mapping[str, list[str]]) -> Iterator[Gateway]:
    network = up(folder / "consortium", Kind.FABRIC, HOSPITALS, further=dict.fromkeys(programs, ()))
    services = [_serve(network, name, command) for name, command in programs.items()]
    hospital = network.layout.hospital("hospital1")
    connection = Connection.load(hospital / "connection.json")
    try:
        with Gateway.connect(connection, Identity.load(hospital / "users" / "admin")) as gateway:
            for name in programs:
                wait_until(partial(_answers, gateway, name), f"the {name} chaincode")
                for number in range(COMMON):
                    _submit("bench:Write", gateway, name, f"common-{number}")
            yield gateway
    finally:
        for service in [one for group in services for one in group]:
            service.kill()
            service.wait()
        network.down()


def _serve(network: Network, name: str, command: list[str]) -> list[subprocess.Popen[bytes]]:
    started = []
    for hospital in network.topology.hospitals:
        path = network.layout.chaincode(hospital.slug, name) / "config.json"
        if name == OURS:
            config = json.loads(path.read_text())
            config |= {"chaincode": "benchmarks._contract:chaincode", "log": {"level": "WARNING"}}
            path.write_text(json.dumps(config))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(
            subprocess.Popen([*command, str(path)], env=environment, stderr=subprocess.DEVNULL)
        )
    return started


def _answers(gateway: Gateway, name: str) -> bool:
    with suppress(MedFabricError):
        _endorse("bench:Write", gateway, name, "ready")
        return True
    return False


def _proposal(transaction: str, gateway: Gateway, chaincode: str, key: str) -> Proposal:
    argument = {"name": key} if transaction == "bench:Read" else {"name": key, "text": TEXT}
    given = [transaction.encode(), json.dumps(argument).encode()]
    return gateway.proposal(given, chaincode=chaincode)


def _evaluate(transaction: str, gateway: Gateway, chaincode: str, key: str) -> object:
    return _proposal(transaction, gateway, chaincode, "common-1").evaluate()


def _endorse(transaction: str, gateway: Gateway, chaincode: str, key: str) -> object:
    return _proposal(transaction, gateway, chaincode, key).endorse()


def _submit(transaction: str, gateway: Gateway, chaincode: str, key: str) -> object:
    return _proposal(transaction, gateway, chaincode, key).endorse().submit().status().check()


CALLS: dict[str, Call] = {
    "read, evaluate": partial(_evaluate, "bench:Read"),
    "write, endorse": partial(_endorse, "bench:Write"),
    "write, submit": partial(_submit, "bench:Write"),
    "100 writes, endorse": partial(_endorse, "bench:WriteMany"),
    "100 writes, submit": partial(_submit, "bench:WriteMany"),
    "update, endorse": partial(_endorse, "bench:Update"),
    "update, submit": partial(_submit, "bench:Update"),
}


def _measure(gateway: Gateway, name: str, call: Call) -> list[dict[str, Any]]:
    with_go = [OURS, GO] if tools.find("go") else [OURS]
    lone: dict[str, list[float]] = {one: [] for one in with_go}
    rates: dict[str, list[float]] = {one: [] for one in with_go}
    for start in range(0, LONE, LONE_BATCH):
        for one in with_go:
            keys = (f"{name}-lone-{number}" for number in range(start, start + LONE_BATCH))
            lone[one] += [_seconds(partial(call, gateway, one, key)) for key in keys]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, MANY, MANY_BATCH):
            for one in with_go:
                keys = [f"{name}-many-{number}" for number in range(start, start + MANY_BATCH)]
                took = _seconds(lambda o=one, k=keys: list(pool.map(partial(call, gateway, o), k)))
                rates[one].append(MANY_BATCH / took)
    milliseconds = {one: 1000 * statistics.median(values) for one, values in lone.items()}
    rate = {one: statistics.median(values) for one, values in rates.items()}
    return [
        _row(f"{name}, lone", milliseconds, "ms", "lower", "at most 1.15", LONE),
        _row(f"{name}, {AT_ONCE} at once", rate, "1/s", "higher", "at least 0.8", MANY),
    ]


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _row(
    what: str, figures: Mapping[str, float], unit: str, better: str, aim: str, runs: int
) -> dict[str, Any]:
    ours, go = figures[OURS], figures.get(GO)
    return {
        "what": what,
        "ours": ours,
        "peer": go,
        "peer_name": "Go shim 2.3.0",
        "unit": unit,
        "ratio": None if go is None else ours / go,
        "better": better,
        "aim": aim,
        "runs": runs,
    }
