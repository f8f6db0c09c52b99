"""A chaincode service's files, and a peer that dials it over mutual TLS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from fabric_protos.peer import chaincode_shim_pb2_grpc

from chaincode.shim.handler import MESSAGE_LIMIT
from support.fake_peer import WAIT_SECONDS, FakePeer
from support.pki import Authority


def credentials_of(authority: Authority, trusted: Authority) -> grpc.ChannelCredentials:
    certificate, key = authority.issue("peer")
    return grpc.ssl_channel_credentials(trusted.pem, key, certificate)


@contextmanager
def dialled(port: int, authority: Authority, peer: FakePeer) -> Iterator[grpc.Call]:
    """Let a peer with a certificate of this authority speak to the service at a port."""
    credentials = credentials_of(authority, authority)
    options = [
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        stub = chaincode_shim_pb2_grpc.ChaincodeStub(channel)
        stream = stub.Connect(iter(peer.receive, None))

        def read() -> None:
            try:
                for message in stream:
                    peer.send(message)
            except grpc.RpcError:
                return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield stream
        peer.hang_up()
        stream.cancel()
        reader.join(WAIT_SECONDS)
