"""A chain of blocks as four hospitals' orderers sign them, and peers that deliver them or lie."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2, ledger_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import (
    events_pb2,
    events_pb2_grpc,
    peer_pb2_grpc,
    proposal_response_pb2,
)

from client.audit.blocks import data_hash, header_hash, signed_bytes
from network import crypto, genesis, topology
from network.devnet.signer import Signer
from network.topology import Kind, Layout
from support.pki import Authority


class Ordering:
    """The orderers of a consortium of four, and its genesis block."""

    def __init__(self, folder: Path) -> None:
        made = topology.create(Kind.DEVNET, 4)
        layout = Layout(folder)
        for hospital in made.hospitals:
            crypto.create_hospital(layout, hospital)
        self.genesis = common_pb2.Block.FromString(genesis.block(made, layout))
        self._signers = {
            hospital.consenter_id: Signer(
                hospital.msp_id, layout.hospital(hospital.slug) / "orderer" / "msp"
            )
            for hospital in made.hospitals
        }

    def chain(self, length: int) -> list[common_pb2.Block]:
        """The genesis block and further ones, to this length."""
        blocks = [self.genesis]
        while len(blocks) < length:
            blocks.append(self.following(blocks[-1], [f"block {len(blocks)}".encode()]))
        return blocks

    def following(
        self, last: common_pb2.Block, data: Sequence[bytes], signed_by: int = 3, config: int = 0
    ) -> common_pb2.Block:
        """The block after another one, with the number of the config block in force."""
        number = last.header.number + 1
        block = common_pb2.Block(
            header=common_pb2.BlockHeader(number=number, previous_hash=header_hash(last.header)),
            data=common_pb2.BlockData(data=data),
            metadata=common_pb2.BlockMetadata(metadata=[b""] * 5),
        )
        block.header.data_hash = data_hash(block)
        self._sign(block, signed_by, config)
        return block

    def _sign(self, block: common_pb2.Block, signed_by: int, config: int) -> None:
        value = common_pb2.OrdererBlockMetadata(
            last_config=common_pb2.LastConfig(index=config)
        ).SerializeToString()
        signatures = []
        for number, signer in list(self._signers.items())[:signed_by]:
            identifier = common_pb2.IdentifierHeader(identifier=number).SerializeToString()
            signature = signer.sign(signed_bytes(value, identifier, block.header))
            signatures.append(
                common_pb2.MetadataSignature(identifier_header=identifier, signature=signature)
            )
        metadata = common_pb2.Metadata(value=value, signatures=signatures)
        block.metadata.metadata[0] = metadata.SerializeToString()


class DeliveringPeer(events_pb2_grpc.DeliverServicer, peer_pb2_grpc.EndorserServicer):
    """Delivers its blocks, and those that are added; ``dies_after`` so many it breaks off."""

    def __init__(self, blocks: Sequence[common_pb2.Block], dies_after: int | None = None) -> None:
        self.blocks = list(blocks)
        self.dies_after = dies_after
        self.asked: list[int] = []
        self._changed = threading.Condition()

    def add(self, block: common_pb2.Block) -> None:
        with self._changed:
            self.blocks.append(block)
            self._changed.notify_all()

    def Deliver(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        payload = common_pb2.Payload.FromString(next(requests).payload)
        number = ab_pb2.SeekInfo.FromString(payload.data).start.specified.number
        self.asked.append(number)
        gone = threading.Event()
        context.add_callback(gone.set)
        for sent in range(2**31):
            if sent == self.dies_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the peer dies")
            while not (block := self._block(number)):
                if gone.is_set():
                    return
            yield events_pb2.DeliverResponse(block=block)
            number += 1

    def ProcessProposal(self, request: Any, context: grpc.ServicerContext) -> Any:
        info = ledger_pb2.BlockchainInfo(height=len(self.blocks))
        response = proposal_response_pb2.Response(status=200, payload=info.SerializeToString())
        return proposal_response_pb2.ProposalResponse(response=response)

    def _block(self, number: int) -> common_pb2.Block | None:
        with self._changed:
            self._changed.wait_for(lambda: number < len(self.blocks), timeout=0.05)
            return self.blocks[number] if number < len(self.blocks) else None


@contextmanager
def delivering(
    peers: Sequence[DeliveringPeer], authority: Authority, folder: Path
) -> Iterator[tuple[Path, list[Callable[[], None]]]]:
    """Serve them over mutual TLS; gives a connection.json, the first being the own hospital's,
    and what kills each."""
    servers = []
    endpoints = []
    (folder / "ca.pem").write_bytes(authority.pem)
    for peer in peers:
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        events_pb2_grpc.add_DeliverServicer_to_server(peer, server)
        peer_pb2_grpc.add_EndorserServicer_to_server(peer, server)
        certificate, key = authority.issue("localhost")
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority.pem, True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        servers.append(server)
        endpoints.append(
            {
                "address": f"127.0.0.1:{port}",
                "server_name": "localhost",
                "tls_ca_file": "ca.pem",
            }
        )
    connection = {
        "channel": "medfabric",
        "chaincode": "medfabric",
        "msp_id": "Hospital1MSP",
        "hospital": "hospital1",
        "gateway": endpoints[0],
        "peers": endpoints[1:],
    }
    (folder / "connection.json").write_text(json.dumps(connection))
    kills = [lambda server=server: server.stop(None).wait() for server in servers]
    try:
        yield folder / "connection.json", kills
    finally:
        for kill in kills:
            kill()
