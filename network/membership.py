"""Hospitals that join and leave a running consortium, certificates that are revoked, policies.

Each is a change of the channel's configuration, signed by the admins that it takes. Where those
keys lie on other machines, the change is written to a file instead, for them to sign
(``medfabric admin config``); the command is given again when it is in force.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from fabric_protos.common import common_pb2

from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client import configuration as changes
from client.audit.channel import config_of
from client.connection import Connection
from client.identity import Identity
from network import cards, configuration, lifecycle, topology
from network.base import Network, Progress, wait_until
from network.cards import Card
from network.topology import Hospital


def add(
    network: Network,
    slug: str,
    progress: Progress,
    change: Path | None = None,
    card: Card | None = None,
) -> bool:
    """Take a hospital into the consortium: its material, processes, orderer, peer and chaincode.

    A command that was interrupted, or that wrote its change to a file, is given again to go on.

    Args:
        change: the file to which the change of the configuration is written for others to sign.
        card: of a hospital that has its own machine, as all have then; it joins from there.

    Returns:
        Whether the hospital is a member now; else its change is in the file.

    Raises:
        MedFabricError: ``BAD_TOPOLOGY``, ``NETWORK_EXISTS``, ``CONFIG_REFUSED`` and others.
    """
    _with_card(network, slug, card)
    hospital = _introduced(network, slug, progress) if card is None else _known(network, card)
    member = _another(network, hospital)
    config = config_of(_fetch(network, member))
    if not configuration.names(config, hospital):
        progress("changing the channel's configuration")
        wanted = configuration.with_hospital(config, hospital, network.layout)
        others = [one for one in network.topology.hospitals if one != hospital]
        if not _change(network, config, wanted, _majority(others, others), change):
            return False
    if card is not None:
        return True
    progress("joining the channel")
    block = _fetch(network, member)
    network.join(hospital, block.SerializeToString())
    wait(network, network.topology.hospitals, block.header.number)
    progress("installing and approving the chaincode")
    lifecycle.adopt(network, hospital)
    return True


def remove(network: Network, slug: str, progress: Progress, change: Path | None = None) -> bool:
    """Put a hospital and its orderer out of the channel, and stop its processes.

    Its folder stays. What it did before stays proven.

    Raises:
        MedFabricError: ``NO_SUCH_HOSPITAL``, ``BAD_TOPOLOGY`` where fewer than two would be left,
            ``CONFIG_REFUSED``.
    """
    hospital = network.topology.hospital(slug)
    topology.without(network.topology, slug)
    config = config_of(_fetch(network, _another(network, hospital)))
    if configuration.names(config, hospital):
        progress("changing the channel's configuration")
        wanted = configuration.without_hospital(config, hospital)
        everyone = network.topology.hospitals
        others = [one for one in everyone if one != hospital]
        if not _change(network, config, wanted, _majority(everyone, others), change):
            return False
    progress("stopping its processes")
    network.dismiss(hospital)
    return True


def revoke(
    network: Network, slug: str, name: str, progress: Progress, change: Path | None = None
) -> bool:
    """Put an identity's certificate on its hospital's revocation list in the configuration.

    From the next block on its transactions and endorsements count no more. The hospital's own
    admin suffices.

    Raises:
        MedFabricError: ``NO_SUCH_HOSPITAL``, ``BAD_IDENTITY`` where there is no such identity,
            ``CONFIG_REFUSED`` where it is revoked already.
    """
    hospital = network.topology.hospital(slug)
    if not network.layout.user(slug, name).exists():
        raise MedFabricError(
            Code.BAD_IDENTITY, f"{slug} has no identity {name}; look into its folder users"
        )
    config = config_of(_fetch(network, hospital))
    earlier = configuration.revoked(config, hospital)
    identity = Identity.load(network.layout.user(slug, name))
    if x509.load_pem_x509_certificate(identity.certificate_pem).serial_number in earlier:
        raise MedFabricError(
            Code.CONFIG_REFUSED, f"{name} of {slug} is revoked already; nothing is to be done"
        )
    progress("changing the channel's configuration")
    revocations = network.revoke(hospital, name, earlier)
    wanted = configuration.with_revocations(config, hospital, revocations)
    return _change(network, config, wanted, [hospital], change)


def set_policy(
    network: Network, path: str, rule: str, progress: Progress, change: Path | None = None
) -> bool:
    """Change how many hospitals a policy of the channel asks for.

    Raises:
        MedFabricError: ``CONFIG_REFUSED``.
    """
    progress("changing the channel's configuration")
    hospitals = network.topology.hospitals
    config = config_of(_fetch(network, network.topology.here[0]))
    wanted = configuration.with_policy(config, path, rule)
    return _change(network, config, wanted, _majority(hospitals, hospitals), change)


def _change(
    network: Network,
    config: Any,
    wanted: Any,
    signers: Sequence[Hospital],
    change: Path | None,
) -> bool:
    """Whether the change is in force with all who are members before and after; else it waits in
    the file."""
    envelope = changes.prepare(config, wanted, network.topology.channel)
    if change is not None:
        changes.write(envelope, change)
        return False
    elsewhere = [h.slug for h in signers if h not in network.topology.here]
    if elsewhere:
        raise MedFabricError(
            Code.CONFIG_REFUSED,
            f"{', '.join(elsewhere)} must sign too, on their own machines; give --change FILE",
        )
    for hospital in signers:
        envelope = changes.sign(envelope, _admin(network, hospital))
    first = signers[0]
    block = changes.submit(envelope, _connection(network, first), _admin(network, first))
    lasting = [
        hospital
        for hospital in network.topology.here
        if configuration.names(config, hospital) and configuration.names(wanted, hospital)
    ]
    wait(network, lasting, block.header.number)
    return True


def _majority(everyone: Sequence[Hospital], first: Sequence[Hospital]) -> list[Hospital]:
    """As many hospitals as the admins' majority takes, of ``first`` where they suffice."""
    rest = [hospital for hospital in everyone if hospital not in first]
    return [*first, *rest][: len(everyone) // 2 + 1]


def _introduced(network: Network, slug: str, progress: Progress) -> Hospital:
    """The new hospital with its material made and its processes running."""
    layout = network.layout
    if not any(hospital.slug == slug for hospital in network.topology.hospitals):
        if layout.connection(slug).exists():
            raise MedFabricError(
                Code.NETWORK_EXISTS,
                f"{layout.hospital(slug)} is there, of a hospital that left; take another name",
            )
        present, network.topology = network.topology, topology.further(network.topology, slug)
        progress("making keys and certificates")
        try:
            # What a command that was killed half-way left is of no use.
            network.processes.stop(f"{slug}.ca")
            shutil.rmtree(layout.hospital(slug), ignore_errors=True)
            network.introduce(network.topology.hospital(slug))
        except BaseException:
            network.topology = present
            raise
        topology.save(network.topology, layout.folder)
    network.write_connections()
    network.start()
    return network.topology.hospital(slug)


def _with_card(network: Network, slug: str, card: Card | None) -> None:
    """Raises ``CARD_REFUSED`` where a card is missing, not needed or another's."""
    apart = bool(network.topology.own)
    if (card is not None) != apart or (card is not None and card.hospital != slug):
        which = f"the card of {slug}" if apart else "no card, for all hospitals are on this machine"
        raise MedFabricError(Code.CARD_REFUSED, f"what is needed is {which}; give that")


def _known(network: Network, card: Card) -> Hospital:
    """A hospital that has its own machine, made known to this one."""
    there = network.topology
    if not any(hospital.slug == card.hospital for hospital in there.hospitals):
        network.topology = topology.with_hospital(
            there, cards.hospital(card, topology.next_consenter(there))
        )
        cards.put(card, network.layout)
        topology.save(network.topology, network.layout.folder)
    elif cards.of(network.layout, there.hospital(card.hospital)) != card:
        raise MedFabricError(
            Code.CARD_REFUSED, f"{card.hospital} is known by another card; take the one it has now"
        )
    network.write_connections()
    return network.topology.hospital(card.hospital)


def _another(network: Network, hospital: Hospital) -> Hospital:
    """A hospital on this machine that speaks for the present members."""
    for one in network.topology.here:
        if one != hospital:
            return one
    raise MedFabricError(
        Code.NO_SUCH_HOSPITAL, f"another hospital must do that to {hospital.slug}, on its machine"
    )


def wait(network: Network, hospitals: Sequence[Hospital], number: int) -> None:
    """Return when these hospitals' peers have this block."""
    for hospital in hospitals:
        what = f"block {number} at {hospital.slug}"
        wait_until(partial(_has, network, hospital, number), what)


def _has(network: Network, hospital: Hospital, number: int) -> bool:
    try:
        newest = blocks.fetch_one(_connection(network, hospital), _admin(network, hospital), None)
    except MedFabricError:
        # A peer that has just joined knows neither the channel nor its members yet.
        return False
    return bool(newest.header.number >= number)


def _fetch(network: Network, hospital: Hospital) -> common_pb2.Block:
    return changes.fetch(_connection(network, hospital), _admin(network, hospital))


def _connection(network: Network, hospital: Hospital) -> Connection:
    return Connection.load(network.layout.connection(hospital.slug))


def _admin(network: Network, hospital: Hospital) -> Identity:
    return Identity.load(network.layout.user(hospital.slug, "admin"))
