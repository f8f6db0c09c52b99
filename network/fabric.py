"""Real Fabric as native processes: per hospital one orderer, peer and chaincode service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.tools import find
from network import binaries, chaincode, channel, crypto, fabric_ca, lifecycle
from network.base import Network, Progress, serves
from network.processes import Spec
from network.topology import HOST, Hospital

_BUILDER = {
    # A package for this builder says who it is for; the service's address and the peer's own key
    # for it lie beside the scripts, in the hospital's folder, so that no package carries a key.
    "detect": 'grep -q \'"type":"ccaas"\' "$2/metadata.json"',
    "build": 'label=$(sed -n \'s/.*"label":"\\([^"]*\\)".*/\\1/p\' "$2/metadata.json")\n'
    # NAME_VERSION: every version of a chaincode answers at the same address.
    'cp "$(dirname "$0")/../${label%_*}.json" "$3/connection.json"',
    "release": 'mkdir -p "$2/chaincode/server"\n'
    'cp "$1/connection.json" "$2/chaincode/server/connection.json"',
}


class FabricNetwork(Network):
    """Native processes of Hyperledger Fabric 3.1."""

    def specs(self) -> Sequence[Spec]:
        hospitals = self.topology.here
        return [
            *self._authorities(hospitals),
            *(self._orderer(hospital) for hospital in hospitals),
            *(s for h in hospitals for s in chaincode.specs(self.layout, self.topology, h)),
            *(self._peer(hospital) for hospital in hospitals),
        ]

    def start(self) -> None:
        # Stopping and looking need no programs; starting does.
        binaries.fabric_version()
        super().start()

    def prepare_hospital(self, hospital: Hospital) -> None:
        lifecycle.write_configs(self, hospital)
        home = self.layout.hospital(hospital.slug)
        clients = self._write_client_authorities(home)
        _write_json(home / "orderer" / "orderer.yaml", _orderer_config(hospital, clients))
        _write_json(home / "peer" / "core.yaml", self._peer_config(hospital, clients))
        self._write_builder(home / "peer" / "builder", hospital)

    def issuer(self, hospital: Hospital) -> crypto.Issuer:
        if not self.topology.fabric_ca:
            return super().issuer(hospital)
        return fabric_ca.Service(self.layout, hospital)

    def open_authorities(self, hospitals: Sequence[Hospital]) -> None:
        super().open_authorities(hospitals)
        specs = self._authorities(hospitals)
        for hospital in hospitals if specs else ():
            fabric_ca.prepare(self.layout, hospital)
        for spec in specs:
            self.processes.start(spec)
        self.wait_healthy([spec.name for spec in specs])

    def join(self, hospital: Hospital, config_block: bytes) -> None:
        channel.join_orderers(self, [hospital], config_block)
        channel.join_peer(self, hospital)

    def revoke(self, hospital: Hospital, name: str, earlier: Sequence[int]) -> bytes:
        if not self.topology.fabric_ca:
            return super().revoke(hospital, name, earlier)
        # The server keeps account of all that it revoked.
        return fabric_ca.Service(self.layout, hospital).revoke(name)

    def commission(self, progress: Progress) -> None:
        progress("joining the channel")
        genesis = self.layout.genesis.read_bytes()
        channel.join_orderers(self, self.topology.here, genesis)
        for hospital in self.topology.here:
            channel.join_peer(self, hospital)
        progress("deploying the chaincode")
        lifecycle.deploy(self)

    def healthy(self, name: str) -> bool:
        slug, _, part = name.partition(".")
        hospital = self.topology.hospital(slug)
        if service := chaincode.service_port(self.topology, hospital, part):
            return serves(self.layout, hospital, service)
        if part == "ca":
            return fabric_ca.healthy(self.layout, hospital)
        ports = hospital.ports
        port, operations = (
            (ports.peer, ports.peer_operations)
            if part == "peer"
            else (ports.orderer, ports.orderer_operations)
        )
        # The operations endpoint is there before the port that it speaks for.
        well = channel.healthy(self.layout, hospital, operations)
        return well and serves(self.layout, hospital, port, hospital.host)

    def _authorities(self, hospitals: Sequence[Hospital]) -> list[Spec]:
        if not self.topology.fabric_ca:
            return []
        return [fabric_ca.spec(self.layout, hospital) for hospital in hospitals]

    def _orderer(self, hospital: Hospital) -> Spec:
        folder = self.layout.hospital(hospital.slug) / "orderer"
        program = str(find("orderer") or "orderer")
        environment = {"FABRIC_CFG_PATH": str(folder), "FABRIC_LOGGING_SPEC": "warn"}
        return Spec(f"{hospital.slug}.orderer", [program], environment, folder)

    def _peer(self, hospital: Hospital) -> Spec:
        folder = self.layout.hospital(hospital.slug) / "peer"
        command = [str(find("peer") or "peer"), "node", "start"]
        environment = {"FABRIC_CFG_PATH": str(folder), "FABRIC_LOGGING_SPEC": "warn"}
        return Spec(f"{hospital.slug}.peer", command, environment, folder)

    def _write_builder(self, folder: Path, hospital: Hospital) -> None:
        tls = self.layout.hospital(hospital.slug) / "peer" / "tls"
        (folder / "bin").mkdir(parents=True, mode=0o700, exist_ok=True)
        for definition in chaincode.definitions(self.topology, hospital):
            connection = {
                "address": f"localhost:{chaincode.port(self.topology, hospital, definition)}",
                "dial_timeout": "10s",
                "tls_required": True,
                "client_auth_required": True,
                "client_key": (tls / "key.pem").read_text(),
                "client_cert": (tls / "cert.pem").read_text(),
                "root_cert": (tls / "ca.pem").read_text(),
            }
            path = folder / f"{definition.name}.json"
            path.touch(mode=0o600)
            _write_json(path, connection)
        for name, body in _BUILDER.items():
            script = folder / "bin" / name
            script.write_text(f"#!/bin/sh\nset -eu\numask 077\n{body}\n")
            script.chmod(0o700)

    def _write_client_authorities(self, home: Path) -> list[str]:
        """Whom servers accept TLS clients from. Fabric adds the channel's members by itself, but
        only when it has joined, and retries whom it turned away before that after half a minute.
        """
        names = []
        for other in self.topology.hospitals:
            content = (self.layout.hospital(other.slug) / "msp/tlscacerts/ca.pem").read_bytes()
            name = f"tls/{other.slug}-ca.pem"
            for part in ("orderer", "peer"):
                (home / part / name).write_bytes(content)
            names.append(name)
        return names

    def _peer_config(self, hospital: Hospital, clients: list[str]) -> dict[str, Any]:
        ports = hospital.ports
        address = f"{hospital.host}:{ports.peer}"
        tls = _server_tls(clients)
        data = self.layout.hospital(hospital.slug) / "peer" / "data"
        return {
            "peer": {
                "id": f"peer.{hospital.slug}",
                "networkId": "medfabric",
                "listenAddress": f"{_listening(hospital)}:{ports.peer}",
                "address": address,
                # Chaincode runs as a service that the peer dials: nobody dials this port.
                "chaincodeListenAddress": f"{HOST}:0",
                "chaincodeAddress": address,
                "gateway": {
                    "enabled": True,
                    "endorsementTimeout": "30s",
                    "broadcastTimeout": "30s",
                    "dialTimeout": "20s",
                },
                "gossip": {
                    "bootstrap": address,
                    "endpoint": address,
                    "externalEndpoint": address,
                    "useLeaderElection": False,
                    "orgLeader": True,
                    "reconnectInterval": "2s",
                    "publishCertPeriod": "2s",
                    "membershipTrackerInterval": "2s",
                    "state": {"enabled": False},
                    "pvtData": {
                        # Handed over at endorsement; who lacks private data when their block comes
                        # asks the others, at first while the block waits, then in the background.
                        "pushAckTimeout": "3s",
                        "pullRetryThreshold": "10s",
                        "transientstoreMaxBlockRetention": 1000,
                        "btlPullMargin": 10,
                        "reconciliationEnabled": True,
                        "reconcileSleepInterval": "10s",
                        "reconcileBatchSize": 10,
                        "skipPullingInvalidTransactionsDuringCommit": True,
                        # A hospital has one peer: its own implicit collection goes nowhere else.
                        "implicitCollectionDisseminationPolicy": {
                            "requiredPeerCount": 0,
                            "maxPeerCount": 0,
                        },
                    },
                },
                "tls": {
                    **tls,
                    "rootcert": {"file": "tls/ca.pem"},
                    "clientCert": {"file": "tls/cert.pem"},
                    "clientKey": {"file": "tls/key.pem"},
                },
                "fileSystemPath": str(data),
                "mspConfigPath": "msp",
                "localMspId": hospital.msp_id,
                "BCCSP": {"Default": "SW", "SW": {"Hash": "SHA2", "Security": 256}},
                "deliveryclient": {
                    "reconnectTotalTimeThreshold": "3600s",
                    "reConnectBackoffThreshold": "5s",
                    "connTimeout": "3s",
                    "policy": "cluster",
                },
                "handlers": {
                    "authFilters": [
                        {"name": "DefaultAuth"},
                        {"name": "ExpirationCheck"},
                        {"name": "TimeWindowCheck"},
                    ],
                    "decorators": [{"name": "DefaultDecorator"}],
                    "endorsers": {"escc": {"name": "DefaultEndorsement"}},
                    "validators": {"vscc": {"name": "DefaultValidation"}},
                },
                "discovery": {"enabled": True, "authCacheEnabled": True},
                "maxRecvMsgSize": 104857600,
                "maxSendMsgSize": 104857600,
            },
            "vm": {"endpoint": ""},
            "chaincode": {
                "externalBuilders": [{"name": "medfabric", "path": "builder"}],
                "installTimeout": "60s",
                "startuptimeout": "60s",
                "executetimeout": "30s",
                "mode": "net",
                "keepalive": 0,
                "system": dict.fromkeys(("_lifecycle", "cscc", "lscc", "qscc"), "enable"),
                "runtimeParams": {
                    "useWriteBatch": True,
                    "maxSizeWriteBatch": 1000,
                    "useGetMultipleKeys": True,
                    "maxSizeGetMultipleKeys": 1000,
                },
            },
            "ledger": {
                "state": {"stateDatabase": "goleveldb", "totalQueryLimit": 100000},
                "history": {"enableHistoryDatabase": True},
                "snapshots": {"rootDir": str(data / "snapshots")},
                # Purged and expired private data go from the database with the next block.
                "pvtdataStore": {"purgeInterval": 1},
            },
            "operations": {"listenAddress": f"{HOST}:{ports.peer_operations}", "tls": tls},
            "metrics": {"provider": "disabled"},
        }


def _listening(hospital: Hospital) -> str:
    """As it stands before a port: an IPv6 address in brackets."""
    return f"[{hospital.listen}]" if ":" in hospital.listen else hospital.listen


def _orderer_config(hospital: Hospital, clients: list[str]) -> dict[str, Any]:
    ports = hospital.ports
    tls = {
        "Enabled": True,
        "Certificate": "tls/cert.pem",
        "PrivateKey": "tls/key.pem",
        "RootCAs": ["tls/ca.pem"],
        "ClientAuthRequired": True,
        "ClientRootCAs": clients,
    }
    return {
        "General": {
            "ListenAddress": _listening(hospital),
            "ListenPort": ports.orderer,
            "TLS": tls,
            # With the other policy, "consensus", an orderer that fell behind asks the others
            # without the hash of its TLS certificate, and under mutual TLS they refuse it: it
            # would stay behind for ever. Blocks are checked for their quorum in either case.
            "Cluster": {"SendBufferSize": 100, "ReplicationPolicy": "simple"},
            "BootstrapMethod": "none",
            "LocalMSPDir": "msp",
            "LocalMSPID": hospital.msp_id,
            "BCCSP": {"Default": "SW", "SW": {"Hash": "SHA2", "Security": 256}},
            "Authentication": {"TimeWindow": "15m"},
            "MaxRecvMsgSize": 104857600,
            "MaxSendMsgSize": 104857600,
        },
        "FileLedger": {"Location": "data"},
        "Operations": {"ListenAddress": f"{HOST}:{ports.orderer_operations}", "TLS": tls},
        "Metrics": {"Provider": "disabled"},
        "Admin": {"ListenAddress": f"{HOST}:{ports.orderer_admin}", "TLS": tls},
        "ChannelParticipation": {"Enabled": True, "MaxRequestBodySize": "1 MB"},
        "Consensus": {"WALDir": "data/wal", "SnapDir": "data/snapshots"},
    }


def _server_tls(clients: list[str]) -> dict[str, Any]:
    return {
        "enabled": True,
        "clientAuthRequired": True,
        "cert": {"file": "tls/cert.pem"},
        "key": {"file": "tls/key.pem"},
        "clientRootCAs": {"files": clients},
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    # JSON is YAML, and Fabric reads YAML.
    path.write_text(json.dumps(value, indent=1))
