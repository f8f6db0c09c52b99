"""The channel: health of processes, orderers joining by REST, peers joining by transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import requests
from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2

from chaincode.schema.errors import Code, MedFabricError
from network.base import wait_until
from network.operations import admin_session
from network.topology import HOST, Hospital, Layout

if TYPE_CHECKING:
    from network.fabric import FabricNetwork


def healthy(layout: Layout, hospital: Hospital, port: int) -> bool:
    """Whether the operations endpoint says that its process is well."""
    try:
        answer = admin_session(layout, hospital).get(f"https://{HOST}:{port}/healthz", timeout=3)
    except requests.ConnectionError:
        return False
    return bool(answer.status_code == requests.codes.ok)


def join_orderers(network: FabricNetwork) -> None:
    """Join every orderer to the channel and wait until it is active there.

    Raises:
        MedFabricError: ``CHANNEL_FAILED`` with the orderer's words.
    """
    block = network.layout.genesis.read_bytes()

    def join(hospital: Hospital) -> None:
        answer = admin_session(network.layout, hospital).post(
            _participation(hospital), files={"config-block": ("genesis.block", block)}, timeout=60
        )
        if answer.status_code not in (requests.codes.created, requests.codes.method_not_allowed):
            raise MedFabricError(
                Code.CHANNEL_FAILED,
                f"the orderer of {hospital.slug} refuses the channel: {answer.text.strip()}",
            )

    # All at once: each looks for the others while it joins.
    with ThreadPoolExecutor(len(network.topology.hospitals)) as pool:
        list(pool.map(join, network.topology.hospitals))
    for hospital in network.topology.hospitals:
        wait_until(
            partial(_active, network, hospital),
            f"the orderer of {hospital.slug} being active",
        )


def join_peers(network: FabricNetwork) -> None:
    """Join every peer to the channel from the genesis block.

    Raises:
        MedFabricError: ``CHANNEL_FAILED``.
    """
    from network.endorsing import endorse

    block = network.layout.genesis.read_bytes()
    common_pb2.Block.FromString(block)
    cscc = chaincode_pb2.ChaincodeID(name="cscc")
    for hospital in network.topology.hospitals:
        response = endorse(network.layout, hospital, cscc.name, [b"JoinChain", block], channel="")
        if response.status != 200 and "already exists" not in response.message:
            raise MedFabricError(
                Code.CHANNEL_FAILED,
                f"the peer of {hospital.slug} refuses the channel: {response.message}",
            )


def orderer_height(network: FabricNetwork, hospital: Hospital) -> int:
    """Blocks that the hospital's orderer holds; behind the others', it takes no part yet."""
    url = f"{_participation(hospital)}/{network.topology.channel}"
    return int(admin_session(network.layout, hospital).get(url, timeout=5).json()["height"])


def _active(network: FabricNetwork, hospital: Hospital) -> bool:
    url = f"{_participation(hospital)}/{network.topology.channel}"
    answer = admin_session(network.layout, hospital).get(url, timeout=5)
    return bool(answer.status_code == requests.codes.ok and answer.json()["status"] == "active")


def _participation(hospital: Hospital) -> str:
    return f"https://{HOST}:{hospital.ports.orderer_admin}/participation/v1/channels"
