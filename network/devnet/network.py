"""The devnet as a network: one process for all peers and orderers, one chaincode service each."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

from network import chaincode
from network.base import Network, Progress, serves
from network.processes import Spec

NAME = "devnet"


class DevNetwork(Network):
    """Embedded: speaks Fabric's protocols, is one trust domain."""

    def specs(self) -> Sequence[Spec]:
        services = [chaincode.spec(self.layout, h) for h in self.topology.hospitals]
        command = [sys.executable, "-m", "network.devnet", "--dir", str(self.layout.folder)]
        return [*services, Spec(NAME, command, {}, self.layout.folder)]

    def prepare(self) -> None:
        for hospital in self.topology.hospitals:
            for definition in chaincode.definitions(self.topology, hospital):
                digest = hashlib.sha256(definition.name.encode()).hexdigest()
                package_id = f"{definition.label}:{digest}"
                chaincode.write_config(self.layout, self.topology, hospital, definition, package_id)

    def commission(self, progress: Progress) -> None:
        progress("the devnet has deployed the chaincode")

    def healthy(self, name: str) -> bool:
        if name == NAME:
            return all(serves(self.layout, h, h.ports.peer) for h in self.topology.hospitals)
        hospital = self.topology.hospital(name.partition(".")[0])
        return serves(self.layout, hospital, hospital.ports.chaincode)
