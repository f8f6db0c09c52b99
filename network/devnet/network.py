"""The devnet as a network: one process for all peers and orderers, one chaincode service each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from network import chaincode, lifecycle
from network.base import Network, Progress, serves
from network.processes import Spec
from network.topology import Hospital

NAME = "devnet"


class DevNetwork(Network):
    """Embedded: speaks Fabric's protocols, is one trust domain."""

    def specs(self) -> Sequence[Spec]:
        made = self.topology
        services = [s for h in made.hospitals for s in chaincode.specs(self.layout, made, h)]
        command = [sys.executable, "-m", "network.devnet", "--dir", str(self.layout.folder)]
        return [*services, Spec(NAME, command, {}, self.layout.folder)]

    def prepare_hospital(self, hospital: Hospital) -> None:
        lifecycle.write_configs(self, hospital)

    def start(self) -> None:
        # Running already, it serves the hospitals that the folder has now.
        self.processes.signal(NAME, signal.SIGHUP)
        super().start()

    def join(self, hospital: Hospital, config_block: bytes) -> None:
        """Its orderer and its peer take part already: the devnet serves what the folder has."""

    def dismiss(self, hospital: Hospital) -> None:
        super().dismiss(hospital)
        self.processes.signal(NAME, signal.SIGHUP)

    def commission(self, progress: Progress) -> None:
        progress("the devnet has deployed the chaincode")

    def healthy(self, name: str) -> bool:
        if name == NAME:
            return all(serves(self.layout, h, h.ports.peer) for h in self.topology.hospitals)
        slug, _, part = name.partition(".")
        hospital = self.topology.hospital(slug)
        service = chaincode.service_port(self.topology, hospital, part)
        return service is not None and serves(self.layout, hospital, service)
