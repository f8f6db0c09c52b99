"""``medfabric network``: what an admin who runs a consortium's processes needs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.output import Exit, json_option, show

if TYPE_CHECKING:
    from network.base import Network

_FOLDER = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("consortium"),
    show_default=True,
    help="The consortium's folder.",
)


_FILE = click.Path(path_type=Path, dir_okay=False)
_CHANGE = click.option(
    "--change",
    type=_FILE,
    help="Write the change of the channel to this file instead, for 'medfabric admin config'.",
)


def _named_functions(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> Any:
    for one in given:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}=[\w.]+:[\w.]+", one):
            raise click.BadParameter(f"{one!r} is not NAME=MODULE:FUNCTION")
    return given


@click.group()
def network() -> None:
    """Bring a consortium's network up and run it."""


@network.command()
@_FOLDER
@click.option("--hospitals", type=click.IntRange(2, 64), help="How many; 4 where not said.")
@click.option("--devnet", is_flag=True, help="The embedded devnet instead of real Fabric.")
@click.option(
    "--wait",
    type=click.IntRange(1, 10**6),
    default=600,
    show_default=True,
    help="Seconds, for hospitals on machines of their own.",
)
@click.option(
    "--chaincode",
    "chaincodes",
    multiple=True,
    metavar="NAME=MODULE:FUNCTION",
    callback=_named_functions,
    help="A chaincode beside the contracts, of a module in this folder; for a new consortium.",
)
@json_option
def up(
    folder: Path,
    hospitals: int | None,
    devnet: bool,
    wait: int,
    chaincodes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Bring a new consortium up, or start the one in the folder again."""
    from network import base, topology

    programs = {
        name: topology.Program(function=function, folder=Path.cwd())
        for name, _, function in (given.partition("=") for given in chaincodes)
    }

    kind, number = topology.Kind.DEVNET if devnet else topology.Kind.FABRIC, hospitals or 4
    if (folder / topology.FILE).exists():
        there = topology.load(folder)
        if there.own:
            from network import apart

            opened = base.open_network(folder)
            apart.up(opened, _progress(as_json), wait)
            show(_summary(opened), as_json=as_json)
            return
        known = {one.name: one.program for one in there.further}
        if programs and programs != known:
            raise click.UsageError("chaincodes are named when a consortium is made; make another")
        kind = kind if devnet else there.kind
        number = hospitals or len(there.hospitals)
    beside: dict[str, Any] = {"further": dict.fromkeys(programs, ()), "programs": programs}
    made = base.up(folder, kind, number, _progress(as_json), **beside)
    show(_summary(made), as_json=as_json)


@network.command()
@click.argument("hospital")
@click.option("--host", required=True, help="What other machines reach this one by.")
@click.option("--card", type=_FILE, required=True, help="Where to write what the others need.")
@click.option(
    "--listen",
    default="0.0.0.0",  # noqa: S104
    show_default=True,
    help="An IP address of this machine; :: for IPv6 too.",
)
@click.option("--peer-port", type=int, default=7051, show_default=True, help="Others reach it.")
@click.option("--orderer-port", type=int, default=7050, show_default=True, help="Others reach it.")
@_FOLDER
@json_option
def offer(
    hospital: str,
    host: str,
    card: Path,
    listen: str,
    peer_port: int,
    orderer_port: int,
    folder: Path,
    as_json: bool,
) -> None:
    """Make HOSPITAL's keys on its own machine, and the card by which others know it."""
    from network import apart

    ports = {"peer_port": peer_port, "orderer_port": orderer_port}
    apart.offer(folder, hospital, host, card, _progress(as_json), listen=listen, **ports)
    show({"hospital": hospital, "card": str(card), "folder": str(folder)}, as_json=as_json)


@network.command()
@click.argument("card_files", metavar="CARD...", nargs=-1, required=True, type=_FILE)
@click.option("--genesis", type=_FILE, help="Of a consortium that is there, to join it.")
@_FOLDER
@json_option
def found(card_files: tuple[Path, ...], genesis: Path | None, folder: Path, as_json: bool) -> None:
    """Found a consortium of hospitals on machines of their own by their CARDs, one's own too.

    Compare the hash of the genesis block with the others' before 'medfabric network up'.
    """
    from client.files import read_named
    from network import apart, cards

    everyone = [cards.read(path) for path in card_files]
    digest = apart.found(folder, everyone, read_named(genesis) if genesis else None)
    hospitals = sorted(card.hospital for card in everyone)
    show({"hospitals": hospitals, "genesis_sha256": digest}, as_json=as_json)


@network.command()
@_FOLDER
@json_option
def down(folder: Path, as_json: bool) -> None:
    """Stop all processes; the ledgers stay."""
    made = _open(folder)
    made.down()
    show({"folder": str(made.layout.folder), "running": False}, as_json=as_json)


@network.command()
@_FOLDER
@json_option
@click.pass_context
def status(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Which processes run and answer; the exit code is 8 unless all do."""
    summary = _summary(_open(folder))
    show(summary, as_json=as_json)
    if not summary["healthy"]:
        ctx.exit(Exit.NETWORK)


@network.command()
@click.argument("name")
@_FOLDER
@json_option
def restart(name: str, folder: Path, as_json: bool) -> None:
    """Stop and start the process NAME, such as hospital2.peer."""
    made = _open(folder)
    made.restart(name)
    show(_summary(made), as_json=as_json)


@network.command()
@click.argument("name")
@_FOLDER
@click.option(
    "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Last."
)
@click.option("--follow", is_flag=True, help="Go on as it writes, until interrupted.")
@json_option
def logs(name: str, folder: Path, lines: int, follow: bool, as_json: bool) -> None:
    """The last lines that the process NAME wrote."""
    made = _open(folder)
    made.require(name)
    if follow:
        log = str(made.processes.log(name))
        os.execvp("tail", ["tail", "-n", str(lines), "-F", log])  # noqa: S606 - no shell wanted
    text = made.processes.tail(name, lines).splitlines()
    if as_json:
        show({"name": name, "lines": text}, as_json=True)
    for line in () if as_json else text:
        show(line)


@network.command()
@click.argument("hospital")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help="Repeat for several.")
@_FOLDER
@json_option
def enroll(hospital: str, name: str, roles: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Make an identity NAME of HOSPITAL, by the hospital's own authority."""
    from chaincode.schema.base import Role

    unknown = set(roles) - {role.value for role in Role}
    if unknown:
        raise click.BadParameter(f"no such role: {', '.join(sorted(unknown))}")
    made = _open(folder)
    path = made.enroll(hospital, name, roles)
    show({"identity": str(path)}, as_json=as_json)


@network.command()
@click.argument("hospital")
@click.argument("name")
@_FOLDER
@json_option
def renew(hospital: str, name: str, folder: Path, as_json: bool) -> None:
    """Make a new key and certificate of HOSPITAL's identity NAME, in a folder beside it.

    The node goes by it once 'medfabric admin node renew' has told the ledger.
    """
    show({"identity": str(_open(folder).renew(hospital, name))}, as_json=as_json)


@network.command("add-hospital")
@click.argument("hospital")
@_FOLDER
@_CHANGE
@click.option("--card", type=_FILE, help="Of a hospital with a machine of its own; it joins there.")
@json_option
def add_hospital(
    hospital: str, folder: Path, change: Path | None, card: Path | None, as_json: bool
) -> None:
    """Take a new HOSPITAL in, such as hospital5: keys, processes, orderer, peer and chaincode."""
    from network import cards, membership

    made = _open(folder)
    known = cards.read(card) if card else None
    done = membership.add(made, hospital, _progress(as_json), change, known)
    _show_change(made, {"hospital": hospital}, done, change, as_json)


@network.command("remove-hospital")
@click.argument("hospital")
@_FOLDER
@_CHANGE
@json_option
def remove_hospital(hospital: str, folder: Path, change: Path | None, as_json: bool) -> None:
    """Put HOSPITAL and its orderer out of the channel; its folder stays."""
    from network import membership

    made = _open(folder)
    done = membership.remove(made, hospital, _progress(as_json), change)
    _show_change(made, {"hospital": hospital}, done, change, as_json)


@network.command()
@click.argument("hospital")
@click.argument("node")
@_FOLDER
@_CHANGE
@json_option
def revoke(hospital: str, node: str, folder: Path, change: Path | None, as_json: bool) -> None:
    """Revoke the certificate of NODE: from the next block on no peer takes it."""
    from network import membership

    made = _open(folder)
    done = membership.revoke(made, hospital, node, _progress(as_json), change)
    _show_change(made, {"hospital": hospital, "revoked": node}, done, change, as_json)


@network.command("set-policy")
@click.argument("policy")
@click.argument("rule", type=click.Choice(["ANY", "MAJORITY", "ALL"]))
@_FOLDER
@_CHANGE
@json_option
def set_policy(policy: str, rule: str, folder: Path, change: Path | None, as_json: bool) -> None:
    """Have POLICY, such as Application/Endorsement, ask for ANY, a MAJORITY or ALL hospitals."""
    from network import membership

    made = _open(folder)
    done = membership.set_policy(made, policy, rule, _progress(as_json), change)
    _show_change(made, {"policy": policy, "rule": rule}, done, change, as_json)


@network.command()
@click.argument("version")
@_FOLDER
@json_option
def upgrade(version: str, folder: Path, as_json: bool) -> None:
    """Define the contracts' next VERSION and run it, hospital by hospital."""
    from network import lifecycle

    made = _open(folder)
    sequence = lifecycle.upgrade(made, version, _progress(as_json))
    show({"version": version, "sequence": sequence}, as_json=as_json)


@network.command()
@click.option(
    "--from",
    "source",
    required=True,
    help="The official release archive: a file, or an https address.",
)
@click.option("--sha256", required=True, help="Its digest, as the release's page gives it.")
@json_option
def install(source: str, sha256: str, as_json: bool) -> None:
    """Install Fabric's programs from their official release archive, digest verified."""
    from network.install import install as install_archive

    folder = install_archive(source, sha256, quiet=as_json)
    show({"installed": str(folder)}, as_json=as_json)


@network.command("install-kubo")
@json_option
def install_kubo(as_json: bool) -> None:
    """Build Kubo (ipfs) of a pinned version into this user's cache; needs Go and some minutes."""
    from client.content.kubo import build_kubo

    show({"installed": str(build_kubo())}, as_json=as_json)


def _open(folder: Path) -> Network:
    from network import base

    return base.open_network(folder)


def _show_change(
    made: Network, about: dict[str, str], done: bool, change: Path | None, as_json: bool
) -> None:
    hospitals = [hospital.slug for hospital in made.topology.hospitals]
    summary: dict[str, object] = {**about, "done": done, "hospitals": hospitals}
    if not done:
        summary["change"] = str(change)
    show(summary, as_json=as_json)


def _summary(made: Network) -> dict[str, object]:
    processes = [_process(made, name) for name in made.names()]
    return {
        "folder": str(made.layout.folder),
        "kind": made.kind.value,
        "fabric": made.topology.fabric_version or None,
        "authority": "fabric-ca-server" if made.topology.fabric_ca else "own",
        "healthy": all(process["healthy"] for process in processes),
        "processes": processes,
    }


def _process(made: Network, name: str) -> dict[str, object]:
    pid = made.processes.pid(name)
    return {
        "name": name,
        "running": pid is not None,
        "healthy": pid is not None and made.healthy(name),
        "pid": pid,
        "memory_mb": made.processes.memory_kb(name) // 1024,
    }


def _progress(quiet: bool) -> Callable[[str], None]:
    if quiet:
        return lambda _: None
    begun = time.monotonic()
    return lambda text: click.echo(f"{time.monotonic() - begun:5.1f} s  {text}", err=True)
