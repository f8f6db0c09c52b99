"""Founding a consortium whose hospitals each have a machine of their own.

Each makes its own keys and a card (:mod:`network.cards`), and takes everybody's cards to found the
consortium: the same genesis block on every machine, to the byte. None ever holds another's key.
Then each starts its own processes; the channel is there when enough orderers are, the contracts
when the hospitals have approved them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fabric_protos.common import common_pb2

from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client import configuration as changes
from client.audit.channel import config_of
from client.connection import Connection
from client.identity import Identity
from network import cards, configuration, genesis, lifecycle, membership, topology
from network.base import Network, Progress, discard, open_network, serves, wait_until
from network.cards import Card
from network.topology import Hospital, Layout, Topology

PEER_PORT, ORDERER_PORT = 7051, 7050


def offer(
    folder: Path,
    slug: str,
    host: str,
    card: Path,
    progress: Progress = lambda _: None,
    *,
    listen: str = "0.0.0.0",  # noqa: S104
    peer_port: int = PEER_PORT,
    orderer_port: int = ORDERER_PORT,
) -> Card:
    """Make a hospital's keys, first identities and card in a new folder of its own machine.

    Args:
        host: what the other machines reach this one by.
        listen: the address of this machine that peer and orderer listen on.

    Raises:
        MedFabricError: ``NETWORK_EXISTS`` for a folder that is not empty, ``BAD_TOPOLOGY`` for a
            name, host, address or port that will not do, ``BINARY_MISSING``.
    """
    from client import tools
    from network import binaries

    version = binaries.fabric_version()
    if folder.exists() and any(folder.iterdir()):
        raise MedFabricError(Code.NETWORK_EXISTS, f"{folder} is not empty; name another")
    made = topology.alone(
        slug,
        host,
        listen,
        (peer_port, orderer_port),
        version,
        fabric_ca=tools.find(binaries.AUTHORITY) is not None,
    )
    if wrong := cards.check_host(host) or cards.check_listen(listen):
        raise MedFabricError(Code.BAD_TOPOLOGY, wrong)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    topology.save(made, folder)
    network = open_network(folder)
    try:
        progress("making keys and certificates")
        (own,) = made.hospitals
        network.furnish(own)
        network.down()
    except BaseException:
        discard(network)
        raise
    made_card = cards.of(network.layout, own)
    card.write_text(made_card.model_dump_json(indent=1) + "\n")
    return made_card


def found(folder: Path, everyone: Sequence[Card], founded: bytes | None = None) -> str:
    """Take the cards of all hospitals, one's own among them, and make the genesis block of them.

    Given again with the same cards it does nothing, so that it may be repeated.

    Args:
        founded: the genesis block of a consortium that is there, which the hospital joins.

    Returns:
        SHA-256 of the genesis block, for hospitals to compare before they start.

    Raises:
        MedFabricError: ``CARD_REFUSED`` where cards do not go together or one's own is not among
            them, ``NETWORK_EXISTS`` where the folder holds a consortium of others.
    """
    there, layout = topology.load(folder), Layout(folder)
    if not there.own:
        raise MedFabricError(
            Code.NETWORK_EXISTS, f"{folder} holds a consortium of this machine; offer in another"
        )
    _check(everyone, cards.of(layout, there.hospital(there.own)))
    wanted = _topology(there, everyone)
    if len(there.hospitals) > 1:
        if there.model_copy(update={"complete": False}) != wanted:
            raise MedFabricError(
                Code.NETWORK_EXISTS, f"{folder} holds a consortium of others; offer in another"
            )
        return hashlib.sha256(layout.genesis.read_bytes()).hexdigest()
    if founded is not None:
        _config(founded)
    for card in everyone:
        if card.hospital != there.own:
            cards.put(card, layout)
    block = genesis.block(wanted, layout) if founded is None else founded
    layout.genesis.write_bytes(block)
    network = open_network(folder)
    network.topology = wanted
    network.write_connections()
    network.prepare()
    # Last: what was interrupted before is begun again.
    topology.save(wanted, folder)
    return hashlib.sha256(block).hexdigest()


def up(network: Network, progress: Progress, seconds: float) -> None:
    """Start the own processes, and have the hospital take part as soon as enough others do.

    A command that was interrupted, or for which the others came too late, is given again.

    Args:
        seconds: how long the others are waited for.

    Raises:
        MedFabricError: ``BAD_TOPOLOGY`` before the cards were taken, ``NOT_HEALTHY`` where too few
            hospitals came in time, ``CHANNEL_FAILED``, ``LIFECYCLE_FAILED``.
    """
    there = network.topology
    if len(there.hospitals) < 2:
        raise MedFabricError(
            Code.BAD_TOPOLOGY,
            "the other hospitals are not known; give their cards to network found",
        )
    progress("starting processes")
    network.start()
    if there.complete:
        return
    own, block = there.here[0], network.layout.genesis.read_bytes()
    if configuration.names(_config(block), own):
        network.join(own, block)
        progress("waiting for the other hospitals' orderers")
        _wait_ordering(network, seconds)
        progress("installing and approving the chaincode")
        lifecycle.settle(network, seconds, progress)
    else:
        progress("waiting to be a member of the channel")
        newest = _naming(network, own, seconds)
        network.join(own, newest.SerializeToString())
        membership.wait(network, [own], newest.header.number)
        progress("installing and approving the chaincode")
        lifecycle.adopt(network, own)
    network.topology = network.topology.model_copy(update={"complete": True})
    topology.save(network.topology, network.layout.folder)


def _check(everyone: Sequence[Card], own: Card) -> None:
    if own not in everyone:
        raise MedFabricError(
            Code.CARD_REFUSED,
            f"the card of {own.hospital} that this folder made is not among them; give it too",
        )
    names = [card.hospital for card in everyone]
    places = [
        (card.host, port) for card in everyone for port in (card.peer_port, card.orderer_port)
    ]
    roots = [root for card in everyone for root in (card.identity_authority, card.tls_authority)]
    for what, found in (("name", names), ("address", places), ("authority", roots)):
        if len(set(found)) < len(found):
            raise MedFabricError(
                Code.CARD_REFUSED, f"two of the cards have the same {what}; each is of one hospital"
            )
    if not 2 <= len(everyone) <= 64:
        raise MedFabricError(Code.CARD_REFUSED, "a consortium has from 2 to 64 hospitals")


def _topology(there: Topology, everyone: Sequence[Card]) -> Topology:
    own = there.hospital(there.own)
    ordered = sorted(everyone, key=lambda card: card.hospital)
    hospitals = tuple(
        own.model_copy(update={"consenter_id": number})
        if card.hospital == own.slug
        else cards.hospital(card, number)
        for number, card in enumerate(ordered, 1)
    )
    return there.model_copy(update={"hospitals": hospitals, "complete": False})


def _config(block: bytes) -> Any:
    """The configuration in a config block.

    Raises:
        MedFabricError: ``CHANNEL_FAILED`` where it is none.
    """
    try:
        return config_of(blocks.parse(block))
    except (MedFabricError, ValueError) as error:
        raise MedFabricError(
            Code.CHANNEL_FAILED, f"that is no genesis block of a channel: {error}; take another"
        ) from None


def _naming(network: Network, own: Hospital, seconds: float) -> common_pb2.Block:
    """The config block in force, from another hospital's peer, once it names this hospital."""
    connection = Connection.load(network.layout.connection(own.slug))
    admin = Identity.load(network.layout.user(own.slug, "admin"))
    found: list[common_pb2.Block] = []

    def named() -> bool:
        for peer in connection.peers:
            try:
                block = changes.fetch(connection.model_copy(update={"gateway": peer}), admin)
            except MedFabricError:
                # Who is no member yet is told nothing, and not every peer answers.
                continue
            if configuration.names(config_of(block), own):
                found.append(block)
                return True
        return False

    wait_until(named, f"the channel naming {own.slug}", seconds, interval=1.0)
    return found[0]


def _wait_ordering(network: Network, seconds: float) -> None:
    """Return when as many orderers answer as agree on a block: 2f + 1 of 3f + 1."""
    hospitals = network.topology.hospitals
    number, own = len(hospitals), network.topology.here[0]
    faulty = (number - 1) // 3
    needed = (number + faulty + 2) // 2

    def enough() -> bool:
        there = [serves(network.layout, one, one.ports.orderer, one.host, own) for one in hospitals]
        return sum(there) >= needed

    what = f"{needed} of {number} orderers answering {own.slug}"
    wait_until(enough, what, seconds, interval=0.5)
