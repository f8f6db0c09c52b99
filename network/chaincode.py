"""The chaincode services that run beside each hospital's peer; the same for both networks."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from network.collections import Collection
from network.endorsement import Endorsers, application_policy
from network.processes import Spec
from network.topology import FIRST_VERSION, HOST, Hospital, Layout, Topology


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
    if hospital.ports.chaincode_operations and not definition.folder:
        address = f"{HOST}:{hospital.ports.chaincode_operations}"
        config["operations"] = {"address": address}
    folder = layout.chaincode(hospital.slug, definition.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def spec(layout: Layout, hospital: Hospital) -> Spec:
    """How the service of the contracts is started."""
    folder = layout.chaincode(hospital.slug)
    command = [sys.executable, "-m", "chaincode.server", "--config", "config.json"]
    return Spec(f"{hospital.slug}.chaincode", command, {}, folder)
