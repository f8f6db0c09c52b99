"""The devnet: all hospitals' peers and the ordering service in one process."""

from __future__ import annotations

import json
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import events_pb2_grpc, peer_pb2_grpc

from network.devnet import lifecycle
from network.devnet.deliver import DeliverService
from network.devnet.endorser import Peer
from network.devnet.gateway import GatewayService
from network.devnet.ledger import Ledger
from network.devnet.orderer import Consenter, Orderer
from network.devnet.signer import Signer
from network.devnet.store import Blocks
from network.devnet.stream import MESSAGE_LIMIT, ChaincodeStream
from network.devnet.system import EndorserService
from network.topology import HOST, Hospital, Layout, Topology

NOTICE = (
    "The devnet keeps every hospital's peer and orderer in this one process: one trust domain, "
    "for teaching and tests, never for production."
)
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.so_reuseport", 0),
]
_THREADS = 64


class Devnet:
    """The running devnet.

    Raises:
        OSError: a file is missing, or a port is taken.
    """

    def __init__(self, topology: Topology, layout: Layout) -> None:
        self._layout = layout
        genesis = common_pb2.Block.FromString(layout.genesis.read_bytes())
        self._blocks = Blocks(layout.folder / "devnet.sqlite")
        self._ledger = Ledger(self._blocks, genesis, topology.channel)
        hospitals = topology.hospitals
        self._streams = [self._stream(hospital) for hospital in hospitals]
        peers = [
            self._peer(hospital, stream)
            for hospital, stream in zip(hospitals, self._streams, strict=True)
        ]
        consenters = [
            Consenter(hospital.consenter_id, self._signer(hospital, "orderer"))
            for hospital in hospitals
        ]
        self._orderer = Orderer(consenters, self._ledger, genesis)
        if self._ledger.height == 1:
            self._deploy(topology, peers)
        # As Fabric's peers do, every hospital's endpoint takes every member's TLS certificates.
        self._authorities = b"".join(
            (layout.hospital(hospital.slug) / "peer" / "tls" / "ca.pem").read_bytes()
            for hospital in hospitals
        )
        self._servers = [
            self._serve(hospital, peer, peers, topology.channel)
            for hospital, peer in zip(hospitals, peers, strict=True)
        ]

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        stopping = [server.stop(1.0) for server in self._servers]
        self._ledger.wake()
        for stopped in stopping:
            stopped.wait()
        self._orderer.close()
        for stream in self._streams:
            stream.close()
        self._blocks.close()

    def _deploy(self, topology: Topology, peers: list[Peer]) -> None:
        submitter = self._signer(topology.hospitals[0], "peer")
        raw = lifecycle.definition(topology.channel, topology.chaincode, submitter, peers)
        self._orderer.submit(raw)
        if not self._ledger.wait_for_block(1, 30.0):
            raise OSError("the chaincode's definition was not committed")

    def _peer(self, hospital: Hospital, stream: ChaincodeStream) -> Peer:
        address = f"{HOST}:{hospital.ports.peer}"
        return Peer(hospital.slug, address, self._signer(hospital, "peer"), stream, self._ledger)

    def _signer(self, hospital: Hospital, part: str) -> Signer:
        return Signer(hospital.msp_id, self._layout.hospital(hospital.slug) / part / "msp")

    def _stream(self, hospital: Hospital) -> ChaincodeStream:
        tls = self._layout.hospital(hospital.slug) / "peer" / "tls"
        credentials = grpc.ssl_channel_credentials(
            (tls / "ca.pem").read_bytes(),
            (tls / "key.pem").read_bytes(),
            (tls / "cert.pem").read_bytes(),
        )

        def dial() -> grpc.Channel:
            address = f"{HOST}:{hospital.ports.chaincode}"
            # A service that was killed comes back in a second: no long back-off.
            options = [*_OPTIONS, ("grpc.max_reconnect_backoff_ms", 200)]
            return grpc.secure_channel(address, credentials, options)

        config = self._layout.hospital(hospital.slug) / "chaincode" / "config.json"
        package_id = str(json.loads(config.read_bytes())["package_id"])
        return ChaincodeStream(hospital.slug, dial, package_id)

    def _serve(self, hospital: Hospital, own: Peer, peers: list[Peer], channel: str) -> Any:
        server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS, thread_name_prefix=hospital.slug),
            options=_OPTIONS,
        )
        gateway = GatewayService(own, peers, self._ledger, self._orderer, channel)
        gateway_pb2_grpc.add_GatewayServicer_to_server(gateway, server)
        endorser = EndorserService(own, self._ledger, channel)
        peer_pb2_grpc.add_EndorserServicer_to_server(endorser, server)
        deliver = DeliverService(self._ledger, channel)
        events_pb2_grpc.add_DeliverServicer_to_server(deliver, server)
        home = self._layout.hospital(hospital.slug)
        try:
            server.add_secure_port(f"{HOST}:{hospital.ports.peer}", self._credentials(home))
        except RuntimeError as error:
            raise OSError(f"cannot listen on port {hospital.ports.peer}: {error}") from None
        server.start()
        return server

    def _credentials(self, home: Path) -> grpc.ServerCredentials:
        tls = home / "peer" / "tls"
        return grpc.ssl_server_credentials(
            [((tls / "key.pem").read_bytes(), (tls / "cert.pem").read_bytes())],
            root_certificates=self._authorities,
            require_client_auth=True,
        )
