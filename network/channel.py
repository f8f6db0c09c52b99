"""The channel: health of processes, orderers joining by REST, peers joining by transaction."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import requests

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


def join_orderers(network: FabricNetwork, hospitals: Sequence[Hospital], block: bytes) -> None:
    """Join these hospitals' orderers to the channel and wait until they are active there.

    Args:
        block: the config block in force, which names them: the genesis block, or a later one.

    Raises:
        MedFabricError: ``CHANNEL_FAILED`` with the orderer's words.
    """

    def join(hospital: Hospital) -> None:
        answer = admin_session(network.layout, hospital).post(
            _participation(hospital), files={"config-block": ("config.block", block)}, timeout=60
        )
        if answer.status_code not in (requests.codes.created, requests.codes.method_not_allowed):
            raise MedFabricError(
                Code.CHANNEL_FAILED,
                f"the orderer of {hospital.slug} refuses the channel: {answer.text.strip()}",
            )

    # All at once: each looks for the others while it joins.
    with ThreadPoolExecutor(len(hospitals)) as pool:
        list(pool.map(join, hospitals))
    for hospital in hospitals:
        wait_until(
            partial(_active, network, hospital),
            f"the orderer of {hospital.slug} being active",
        )


def join_peer(network: FabricNetwork, hospital: Hospital) -> None:
    """Join a hospital's peer to the channel from the genesis block.

    Raises:
        MedFabricError: ``CHANNEL_FAILED``.
    """
    from network.endorsing import endorse

    block = network.layout.genesis.read_bytes()
    response = endorse(network.layout, hospital, "cscc", [b"JoinChain", block], channel="")
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
