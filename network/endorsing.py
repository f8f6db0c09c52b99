"""Proposals that go to one peer's endorser service: system chaincodes that order nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from fabric_protos.peer import peer_pb2_grpc, proposal_response_pb2

from chaincode.schema.errors import Code, MedFabricError
from client.connection import Connection, open_channel
from client.gateway import Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network.topology import Hospital, Layout


def admin_gateway(layout: Layout, hospital: Hospital) -> Gateway:
    """A gateway to the hospital's own peer, as its admin."""
    connection = Connection.load(layout.connection(hospital.slug))
    return Gateway.connect(connection, _admin(layout, hospital))


def endorse(
    layout: Layout, hospital: Hospital, chaincode: str, arguments: Sequence[bytes], channel: str
) -> Any:
    """Have the hospital's peer run a system chaincode, as its admin.

    Returns:
        The ``Response`` (status, message, payload).

    Raises:
        MedFabricError: ``UNREACHABLE``.
    """
    connection = Connection.load(layout.connection(hospital.slug))
    identity = _admin(layout, hospital)
    with open_channel(connection.gateway, identity) as grpc_channel:
        gateway = Gateway(grpc_channel, identity, channel_name=channel, chaincode=chaincode)
        proposal = Proposal(gateway, arguments)
        stub: Any = peer_pb2_grpc.EndorserStub(grpc_channel)
        try:
            answer = stub.ProcessProposal(proposal.signed, timeout=60)
        except grpc.RpcError as error:
            status: Any = error
            raise MedFabricError(
                Code.UNREACHABLE, f"the peer of {hospital.slug} says: {status.details()}"
            ) from None
    if not isinstance(answer, proposal_response_pb2.ProposalResponse):
        raise TypeError("an endorser answers with a ProposalResponse")
    return answer.response


def _admin(layout: Layout, hospital: Hospital) -> Identity:
    return Identity.load(layout.user(hospital.slug, "admin"))
