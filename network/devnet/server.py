"""The devnet: all hospitals' peers and the ordering service in one process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.orderer import ab_pb2_grpc
from fabric_protos.peer import events_pb2_grpc, peer_pb2_grpc

from network import chaincode
from network.devnet import lifecycle
from network.devnet.deliver import DeliverService
from network.devnet.endorser import Peer
from network.devnet.gateway import GatewayService
from network.devnet.ledger import Ledger
from network.devnet.orderer import Orderer
from network.devnet.ordering import BroadcastService
from network.devnet.signer import Signer
from network.devnet.store import Blocks
from network.devnet.stream import MESSAGE_LIMIT, ChaincodeStream, Loop
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
_THREADS, _ORDERER_THREADS = 64, 8


class Devnet:
    """The running devnet.

    Raises:
        OSError: a file is missing, or a port is taken.
    """

    def __init__(self, topology: Topology, layout: Layout) -> None:
        self._layout = layout
        self._channel = topology.channel
        genesis = common_pb2.Block.FromString(layout.genesis.read_bytes())
        self._blocks = Blocks(layout.folder / "devnet.sqlite")
        self._ledger = Ledger(self._blocks, genesis, topology.channel)
        # Hospitals come and go while the devnet runs; whoever holds these sees it.
        self._topology = topology
        self._loop = Loop()
        self._members: dict[str, _Member] = {}
        self._peers: list[Peer] = []
        self._orderers: dict[int, Signer] = {}
        self._authorities: dict[str, bytes] = {}
        self._orderer = Orderer(self._orderers, self._ledger, topology.channel)
        for hospital in topology.hospitals:
            self._join(hospital)
        if self._ledger.height == 1:
            self._deploy(topology, self._peers)
        for hospital in topology.hospitals:
            self._serve(hospital)

    def follow(self, topology: Topology) -> None:
        """Serve the hospitals that the folder has now, and no others.

        Raises:
            OSError: a file is missing, or a port is taken.
        """
        self._topology = topology
        present = {hospital.slug: hospital for hospital in topology.hospitals}
        for slug in self._members.keys() - present.keys():
            self._leave(slug)
        for hospital in (present[slug] for slug in present.keys() - self._members.keys()):
            self._join(hospital)
            self._serve(hospital)

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        members = list(self._members.values())
        stopping = [server.stop(1.0) for member in members for server in member.servers]
        self._ledger.wake()
        for stopped in stopping:
            stopped.wait()
        self._orderer.close()
        for member in members:
            member.close()
        self._loop.close()
        self._blocks.close()

    def _join(self, hospital: Hospital) -> None:
        streams = {
            defined.name: self._stream(hospital, defined)
            for defined in chaincode.definitions(self._topology, hospital)
        }
        peer = self._peer(hospital, streams)
        self._members[hospital.slug] = _Member(hospital, tuple(streams.values()), peer)
        self._peers.append(peer)
        self._orderers[hospital.consenter_id] = self._signer(hospital, "orderer")
        # As Fabric's peers do, every hospital's endpoint takes every member's TLS certificates.
        tls = self._layout.hospital(hospital.slug) / "peer" / "tls"
        self._authorities[hospital.slug] = (tls / "ca.pem").read_bytes()

    def _leave(self, slug: str) -> None:
        member = self._members.pop(slug)
        self._peers.remove(member.peer)
        self._orderers.pop(member.hospital.consenter_id, None)
        self._authorities.pop(slug)
        for server in member.servers:
            server.stop(1.0).wait()
        member.close()

    def _deploy(self, topology: Topology, peers: list[Peer]) -> None:
        submitter = self._signer(topology.hospitals[0], "peer")
        for number, defined in enumerate(chaincode.definitions(topology), 1):
            self._orderer.submit(lifecycle.definition(self._ledger, defined, submitter, peers))
            if not self._ledger.wait_for_block(number, 30.0):
                raise OSError(f"the definition of {defined.name} was not committed")

    def _peer(self, hospital: Hospital, streams: Mapping[str, ChaincodeStream]) -> Peer:
        address = f"{HOST}:{hospital.ports.peer}"
        return Peer(hospital.slug, address, self._signer(hospital, "peer"), streams, self._ledger)

    def _signer(self, hospital: Hospital, part: str) -> Signer:
        return Signer(hospital.msp_id, self._layout.hospital(hospital.slug) / part / "msp")

    def _stream(self, hospital: Hospital, defined: chaincode.Definition) -> ChaincodeStream:
        tls = self._layout.hospital(hospital.slug) / "peer" / "tls"
        credentials = grpc.ssl_channel_credentials(
            (tls / "ca.pem").read_bytes(),
            (tls / "key.pem").read_bytes(),
            (tls / "cert.pem").read_bytes(),
        )

        def dial() -> grpc.aio.Channel:
            address = f"{HOST}:{chaincode.port(self._topology, hospital, defined)}"
            # A service that was killed comes back in a second: no long back-off.
            options = [*_OPTIONS, ("grpc.max_reconnect_backoff_ms", 200)]
            return grpc.aio.secure_channel(address, credentials, options)

        config = self._layout.chaincode(hospital.slug, defined.folder) / "config.json"

        def package_id() -> str:
            return str(json.loads(config.read_bytes())["package_id"])

        return ChaincodeStream(hospital.slug, self._loop, dial, package_id)

    def _serve(self, hospital: Hospital) -> None:
        member = self._members[hospital.slug]
        peer, orderer = (self._server(hospital, part) for part in ("peer", "orderer"))
        gateway = GatewayService(
            member.peer, self._peers, self._ledger, self._orderer, self._channel
        )
        gateway_pb2_grpc.add_GatewayServicer_to_server(gateway, peer)
        endorser = EndorserService(member.peer, self._ledger, self._channel)
        peer_pb2_grpc.add_EndorserServicer_to_server(endorser, peer)
        deliver = DeliverService(self._ledger, self._channel, hospital.msp_id)
        events_pb2_grpc.add_DeliverServicer_to_server(deliver, peer)
        broadcast = BroadcastService(self._orderer, self._ledger, self._channel)
        ab_pb2_grpc.add_AtomicBroadcastServicer_to_server(broadcast, orderer)
        member.servers = [peer, orderer]
        for server in member.servers:
            server.start()

    def _server(self, hospital: Hospital, part: str) -> Any:
        threads = _THREADS if part == "peer" else _ORDERER_THREADS
        pool = futures.ThreadPoolExecutor(threads, thread_name_prefix=f"{hospital.slug}.{part}")
        server = grpc.server(pool, options=_OPTIONS)
        port = hospital.ports.peer if part == "peer" else hospital.ports.orderer
        credentials = self._credentials(self._layout.hospital(hospital.slug) / part / "tls")
        try:
            server.add_secure_port(f"{HOST}:{port}", credentials)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on port {port} ({str(error).partition(';')[0]}); where another "
                "program has it (ss -ltnp), end that one first"
            ) from None
        return server

    def _credentials(self, tls: Path) -> grpc.ServerCredentials:
        pair = ((tls / "key.pem").read_bytes(), (tls / "cert.pem").read_bytes())

        def configuration(authorities: bytes) -> grpc.ServerCertificateConfiguration:
            return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)

        shown = self._roots()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            # Asked at every connection: hospitals come and go. None says "as before"; the same
            # again would not do: gRPC aborts the process where it replaces what another
            # connection's handshake is just being made from.
            nonlocal shown
            if (now := self._roots()) == shown:
                return None
            shown = now
            return configuration(now)

        # grpc's documentation knows None, and its types do not.
        fetcher: Any = changed
        return grpc.dynamic_ssl_server_credentials(
            configuration(shown), fetcher, require_client_authentication=True
        )

    def _roots(self) -> bytes:
        """TLS certificates of the authorities whose clients may connect."""
        return b"".join(list(self._authorities.values()))


@dataclass
class _Member:
    """One hospital, as long as it takes part."""

    hospital: Hospital
    streams: tuple[ChaincodeStream, ...]
    peer: Peer
    servers: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """End the connections to its chaincode services."""
        for stream in self.streams:
            stream.close()
