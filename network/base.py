"""What both networks are to those who run them: real Fabric and the devnet."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity
from network import crypto, genesis, topology
from network.collections import Collection
from network.endorsement import Endorsers
from network.processes import Processes, Spec
from network.topology import HOST, Hospital, Kind, Layout, Program, Topology

Progress = Callable[[str], None]
_LOGS = "logs"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Network(ABC):
    """A consortium's network in a folder.

    Processes are named ``hospital1.peer`` and so on; see :meth:`names`.
    """

    def __init__(self, folder: Path, topology: Topology) -> None:
        self.topology = topology
        self.layout = Layout(folder)
        self.processes = Processes(self.layout.run, self.layout.logs)

    @property
    def kind(self) -> Kind:
        return self.topology.kind

    @abstractmethod
    def specs(self) -> Sequence[Spec]:
        """Every process, in the order of starting."""

    @abstractmethod
    def healthy(self, name: str) -> bool:
        """Whether this process answers."""

    def found(self) -> None:
        """Make every hospital's keys and certificates, and the genesis block of its channel."""
        self.open_authorities(self.topology.here)

        def enroll(hospital: Hospital) -> None:
            crypto.create_members(self.layout, hospital, self.issuer(hospital))

        self.each_hospital(enroll)
        self.layout.genesis.write_bytes(genesis.block(self.topology, self.layout))

    def open_authorities(self, hospitals: Sequence[Hospital]) -> None:
        """Make these hospitals' authorities, ready to issue identities."""
        for hospital in hospitals:
            crypto.create_authorities(self.layout, hospital)

    def each_hospital(self, act: Callable[[Hospital], None]) -> None:
        """Act for all hospitals on this machine at once."""
        with ThreadPoolExecutor(len(self.topology.here)) as pool:
            list(pool.map(act, self.topology.here))

    def prepare(self) -> None:
        """Write what the processes read, once, before their first start."""
        for hospital in self.topology.here:
            self.prepare_hospital(hospital)

    @abstractmethod
    def prepare_hospital(self, hospital: Hospital) -> None:
        """Write what a hospital's processes read, once."""

    def introduce(self, hospital: Hospital) -> None:
        """Make all that a further hospital has. The topology names it already."""
        self.furnish(hospital)
        self.prepare_hospital(hospital)

    def furnish(self, hospital: Hospital) -> None:
        """Make a hospital's keys, certificates and first identities."""
        self.open_authorities([hospital])
        crypto.create_members(self.layout, hospital, self.issuer(hospital))
        for name, roles in crypto.FIRST_USERS.items():
            self.enroll(hospital.slug, name, roles)

    @abstractmethod
    def join(self, hospital: Hospital, config_block: bytes) -> None:
        """Have a hospital that the channel's configuration now names take part in it."""

    def dismiss(self, hospital: Hospital) -> None:
        """Stop a hospital's processes and forget them; its folder stays."""
        for spec in reversed(self.specs()):
            if spec.name.startswith(f"{hospital.slug}."):
                self.processes.stop(spec.name)
        self.topology = topology.without(self.topology, hospital.slug)
        topology.save(self.topology, self.layout.folder)

    def revoke(self, hospital: Hospital, name: str, earlier: Sequence[int]) -> bytes:
        """The hospital's revocation list, PEM, with an identity's certificate on it.

        Args:
            earlier: serial numbers that are revoked already.
        """
        path = self.layout.user(hospital.slug, name) / "certificate.pem"
        number = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
        authority = crypto.own_authority(self.layout, hospital)
        return authority.revocation_list(sorted({*earlier, number}))

    @abstractmethod
    def commission(self, progress: Progress) -> None:
        """Make the channel and deploy the chaincode, once, after the first start."""

    def enroll(self, slug: str, name: str, roles: Sequence[str]) -> Path:
        """Make an identity of a hospital; returns its folder.

        Raises:
            MedFabricError: ``CA_REFUSED`` for a name that is taken or that no node can have.
        """
        hospital = self.topology.hospital(slug)
        if not _NAME.fullmatch(name):
            raise MedFabricError(
                Code.CA_REFUSED,
                f"{name!r} is no name of a node; take lower-case letters, digits and hyphens",
            )
        if self.layout.user(slug, name).exists():
            raise MedFabricError(Code.CA_REFUSED, f"{slug} has a {name} already; take another name")
        return crypto.enroll(self.layout, hospital, name, roles, self.issuer(hospital))

    def renew(self, slug: str, name: str) -> Path:
        """Make a new key and certificate of an identity, beside the ones it has; returns their
        folder. The old ones stay, for what is sealed for them.

        Raises:
            MedFabricError: ``CA_REFUSED`` where nobody has the name, or the last renewal still lies
                beside it; ``BAD_IDENTITY``.
        """
        hospital, fresh = self.topology.hospital(slug), f"{name}-new"
        if not self.layout.user(slug, name).exists():
            raise MedFabricError(Code.CA_REFUSED, f"{slug} has no {name}; enroll it")
        if (there := self.layout.user(slug, fresh)).exists():
            raise MedFabricError(
                Code.CA_REFUSED, f"{there} is there already; put it in the place of {name} first"
            )
        roles = [role.value for role in Identity.load(self.layout.user(slug, name)).roles]
        pair = self.issuer(hospital).renewed(name, crypto.unit_of(roles), roles)
        return crypto.write_user(self.layout, hospital, name, roles, pair, fresh)

    def issuer(self, hospital: Hospital) -> crypto.Issuer:
        """Who gives out the hospital's identities."""
        return crypto.own_authority(self.layout, hospital)

    def enroll_first_users(self, progress: Progress) -> None:
        """Enrol whom every hospital begins with."""
        progress("enrolling nodes and auditors")

        def enroll(hospital: Hospital) -> None:
            for name, roles in crypto.FIRST_USERS.items():
                self.enroll(hospital.slug, name, roles)

        self.each_hospital(enroll)

    def names(self) -> list[str]:
        """All processes."""
        return [spec.name for spec in self.specs()]

    def start(self) -> None:
        """Start what does not run, and wait until all answer; else stop again what was started.

        Raises:
            MedFabricError: ``NOT_HEALTHY``.
        """
        begun = [spec for spec in self.specs() if self.processes.pid(spec.name) is None]
        try:
            for spec in begun:
                self.processes.start(spec)
            self.wait_healthy(self.names())
        except BaseException:
            self.processes.stop(*(spec.name for spec in reversed(begun)))
            raise

    def wait_healthy(self, names: Sequence[str]) -> None:
        """Return when these processes answer.

        Raises:
            MedFabricError: ``NOT_HEALTHY``, with the end of the log where the process has ended.
        """
        for name in names:
            wait_until(
                partial(self.healthy, name),
                f"health of {name}",
                alive=partial(self.processes.require_running, name),
            )

    def down(self) -> None:
        """Stop all processes. Data stays; :meth:`start` goes on with it."""
        self.processes.stop(*reversed(self.names()))

    def restart(self, name: str) -> None:
        """Start one process again, whether it was killed or not."""
        spec = self._spec(name)
        self.processes.stop(name)
        self.processes.start(spec)
        self.wait_healthy([name])

    def kill(self, name: str) -> None:
        """End one process as a crash would."""
        self._spec(name)
        self.processes.kill(name)

    def status(self) -> dict[str, bool]:
        """Whether each process runs."""
        return {name: self.processes.pid(name) is not None for name in self.names()}

    def require(self, name: str) -> None:
        """Raises ``NO_SUCH_PROCESS`` where there is none of this name."""
        self._spec(name)

    def write_connections(self) -> None:
        """Write the connection.json of every hospital on this machine."""
        for hospital in self.topology.here:
            path = self.layout.connection(hospital.slug)
            path.write_text(json.dumps(self._connection(hospital), indent=1) + "\n")

    def _connection(self, hospital: Hospital) -> dict[str, object]:
        authority = "msp/tlscacerts/ca.pem"
        others = [other for other in self.topology.hospitals if other != hospital]
        return {
            "channel": self.topology.channel,
            "chaincode": self.topology.chaincode,
            "msp_id": hospital.msp_id,
            "hospital": hospital.slug,
            "gateway": _peer(hospital, authority),
            "peers": [_peer(other, f"../{other.slug}/{authority}") for other in others],
        }

    def _spec(self, name: str) -> Spec:
        for spec in self.specs():
            if spec.name == name:
                return spec
        raise MedFabricError(
            Code.NO_SUCH_PROCESS, f"no process {name}; there are {', '.join(self.names())}"
        )


def up(
    folder: Path,
    kind: Kind,
    hospitals: int,
    progress: Progress = lambda _: None,
    *,
    collections: Sequence[Collection] = (),
    further: Mapping[str, Sequence[Collection]] | None = None,
    endorsers: Mapping[str, Endorsers] | None = None,
    programs: Mapping[str, Program] | None = None,
) -> Network:
    """Bring a new consortium up in an empty folder, or start the one that is there.

    Args:
        collections, further, endorsers, programs: see :func:`network.topology.create`; for a new
            consortium alone.

    Raises:
        MedFabricError: the folder holds something else, programs are missing, or a process does
            not become healthy; what was started is stopped again, and of a new consortium only
            the logs are left.
    """
    if (folder / topology.FILE).exists():
        there = open_network(folder)
        if there.topology.complete:
            progress("starting processes")
            _the_same(there, kind, hospitals).start()
            return there
        # The command that made it was killed half-way.
        discard(there)
    if folder.exists() and any(entry.name != _LOGS for entry in folder.iterdir()):
        raise MedFabricError(
            Code.NETWORK_EXISTS, f"{folder} is not empty and holds no consortium; name another"
        )
    beside = {"further": further, "endorsers": endorsers, "programs": programs}
    network = _new(folder, kind, hospitals, {"collections": collections, **beside})
    try:
        _create(network, progress)
        network.start()
        network.enroll_first_users(progress)
        network.commission(progress)
    except BaseException:
        discard(network)
        raise
    network.topology = network.topology.model_copy(update={"complete": True})
    topology.save(network.topology, folder)
    return network


def open_network(folder: Path) -> Network:
    """The consortium in a folder."""
    return _network(folder, topology.load(folder))


def serves(
    layout: Layout,
    hospital: Hospital,
    port: int,
    host: str = HOST,
    asking: Hospital | None = None,
) -> bool:
    """Whether a process of this very hospital speaks TLS on the port, not just anybody.

    Args:
        asking: with whose admin's certificate, if not the hospital's own.
    """
    user = layout.user((asking or hospital).slug, "admin")
    context = ssl.create_default_context(
        cafile=layout.hospital(hospital.slug) / "msp" / "tlscacerts" / "ca.pem"
    )
    context.load_cert_chain(user / "tls_certificate.pem", user / "tls_private_key.pem")
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), timeout=3) as raw,
            context.wrap_socket(raw, server_hostname="localhost"),
        ):
            return True
    except OSError:
        return False


def wait_until(
    check: Callable[[], bool],
    what: str,
    seconds: float = 60.0,
    alive: Callable[[], None] = lambda: None,
    interval: float = 0.05,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Ask again until it is so; ``alive`` raises where waiting is in vain, ``pause`` lets the
    interval pass.

    Raises:
        MedFabricError: ``NOT_HEALTHY`` after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not check():
        alive()
        if time.monotonic() > deadline:
            raise MedFabricError(Code.NOT_HEALTHY, f"{what} did not come about in {seconds:.0f} s")
        pause(interval)


def _peer(hospital: Hospital, authority: str) -> dict[str, str]:
    address = f"{hospital.host}:{hospital.ports.peer}"
    return {"address": address, "server_name": "localhost", "tls_ca_file": authority}


def _new(folder: Path, kind: Kind, hospitals: int, chaincodes: dict[str, Any]) -> Network:
    version, fabric_ca = "", False
    if kind is Kind.FABRIC:
        from client import tools
        from network import binaries

        version = binaries.fabric_version()
        fabric_ca = tools.find(binaries.AUTHORITY) is not None
    made = topology.create(kind, hospitals, version, fabric_ca=fabric_ca, **chaincodes)
    return _network(folder, made)


def _create(network: Network, progress: Progress) -> None:
    folder = network.layout.folder
    progress("making keys and certificates")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        topology.save(network.topology, folder)
        network.found()
        network.write_connections()
        network.prepare()
    except OSError as error:
        raise MedFabricError(
            Code.NETWORK_EXISTS, f"cannot write {folder}: {error.strerror}; make room there"
        ) from None
    progress("starting processes")


def _the_same(there: Network, kind: Kind, hospitals: int) -> Network:
    number = len(there.topology.hospitals)
    if (there.kind, number) != (kind, hospitals):
        raise MedFabricError(
            Code.NETWORK_EXISTS,
            f"{there.layout.folder} holds a consortium of {number} hospitals on {there.kind}, not "
            f"{hospitals} on {kind}; name another folder",
        )
    return there


def discard(network: Network) -> None:
    """Stop it and remove all but its logs."""
    if not network.layout.folder.exists():
        return
    network.down()
    for entry in network.layout.folder.iterdir():
        if entry.is_dir() and entry.name != _LOGS:
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()


def _network(folder: Path, made: Topology) -> Network:
    if made.kind is Kind.FABRIC:
        from network.fabric import FabricNetwork

        return FabricNetwork(folder, made)
    from network.devnet.network import DevNetwork

    return DevNetwork(folder, made)
