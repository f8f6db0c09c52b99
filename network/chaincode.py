"""The chaincode services that run beside each hospital's peer; the same for both networks."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from network.collections import Collection
from network.endorsement import Endorsers, application_policy
from network.processes import Spec
from network.topology import FIRST_VERSION, HOST, Hospital, Layout, Program, Topology

SERVICE = "chaincode"
"""What the process of the contracts is called in a hospital; others have their name behind it."""


@dataclass(frozen=True)
class Definition:
    """A chaincode as the hospitals define it. ``folder`` is its name in :meth:`Layout.chaincode`,
    empty for the contracts; without ``endorsers`` a majority of the hospitals endorses."""

    name: str
    folder: str
    collections: tuple[Collection, ...]
    version: str = FIRST_VERSION
    sequence: int = 1
    endorsers: Endorsers | None = None

    @property
    def label(self) -> str:
        """What its package is called."""
        return f"{self.name}_{self.version}"

    @property
    def policy(self) -> bytes:
        """Its endorsement policy, ``ApplicationPolicy`` bytes."""
        return bytes(application_policy(self.endorsers).SerializeToString(deterministic=True))


def definitions(topology: Topology, hospital: Hospital | None = None) -> list[Definition]:
    """Every chaincode of the consortium, the contracts first; of one hospital, those for which it
    has a port: one that joined later has none for chaincodes beside the contracts."""
    version = topology.chaincode_version
    contracts = Definition(topology.chaincode, "", topology.collections, version)
    further = [f for f in topology.further if hospital is None or hospital.slug in f.ports]
    return [
        contracts,
        *(Definition(f.name, f.name, f.collections, endorsers=f.endorsers) for f in further),
    ]


def port(topology: Topology, hospital: Hospital, definition: Definition) -> int:
    """Where the hospital's service of this chaincode listens."""
    for further in topology.further:
        if further.name == definition.folder:
            return further.ports[hospital.slug]
    return hospital.ports.chaincode


def write_config(
    layout: Layout, topology: Topology, hospital: Hospital, definition: Definition, package_id: str
) -> None:
    """Write what the service reads."""
    tls = "../../chaincode/tls" if definition.folder else "tls"
    config: dict[str, object] = {
        "address": f"{HOST}:{port(topology, hospital, definition)}",
        "package_id": package_id,
        "tls_cert_file": f"{tls}/cert.pem",
        "tls_key_file": f"{tls}/key.pem",
        "client_ca_file": f"{tls}/ca.pem",
    }
    if program := _programs(topology, hospital).get(definition.folder):
        config["chaincode"] = program.function
    if hospital.ports.chaincode_operations and not definition.folder:
        address = f"{HOST}:{hospital.ports.chaincode_operations}"
        config["operations"] = {"address": address}
    folder = layout.chaincode(hospital.slug, definition.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def specs(layout: Layout, topology: Topology, hospital: Hospital) -> list[Spec]:
    """How the hospital's services are started: of the contracts, and of the chaincodes beside them
    that the network runs itself."""
    command = [sys.executable, "-m", "chaincode.server", "--config", "config.json"]
    contracts = Spec(f"{hospital.slug}.{SERVICE}", command, {}, layout.chaincode(hospital.slug))
    return [
        contracts,
        *(
            Spec(
                f"{contracts.name}-{name}",
                command,
                {"PYTHONPATH": str(program.folder)},
                layout.chaincode(hospital.slug, name),
            )
            for name, program in _programs(topology, hospital).items()
        ),
    ]


def service_port(topology: Topology, hospital: Hospital, process: str) -> int | None:
    """Where a hospital's process listens, if it is a chaincode service of these."""
    if process == SERVICE:
        return hospital.ports.chaincode
    name = process.removeprefix(f"{SERVICE}-")
    return next((f.ports[hospital.slug] for f in topology.further if f.name == name), None)


def _programs(topology: Topology, hospital: Hospital) -> dict[str, Program]:
    return {
        further.name: further.program
        for further in topology.further
        if further.program is not None and hospital.slug in further.ports
    }
