"""A consortium as it stands on this machine: hospitals, ports, folders. Saved as network.json.

All hospitals are on one machine, or each is on its own (:mod:`network.apart`).
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaincode.schema.errors import Code, MedFabricError
from network.collections import Collection
from network.endorsement import Endorsers

HOST = "127.0.0.1"
FILE = "network.json"
FIRST_VERSION = "1"
SLUG = r"^[a-z][a-z0-9]{0,30}$"
"""A hospital's short name."""
_PORTS = range(20000, 32000)
_TAKEN = {"medfabric", "cscc", "lscc", "qscc"}
"""The contracts, and what every peer has."""


class Kind(StrEnum):
    """Which of the two networks: real Fabric processes, or the embedded devnet."""

    FABRIC = "fabric"
    DEVNET = "devnet"


class Ports(BaseModel):
    """Ports of one hospital, fixed at creation; of one on another machine, ``peer`` and ``orderer``
    alone, the others 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    peer: int
    peer_operations: int
    orderer: int
    orderer_admin: int
    orderer_operations: int
    chaincode: int
    chaincode_operations: int = 0
    """0 in a consortium made before chaincode services told of their health."""
    ca: int
    ca_operations: int


class Hospital(BaseModel):
    """One hospital: an organisation with its orderer, peer and chaincode service."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    slug: str = Field(pattern=SLUG)
    msp_id: str
    consenter_id: int = Field(ge=1)
    ports: Ports
    host: str = HOST
    """What everybody reaches its peer and its orderer by: a name or an IPv4 address."""
    listen: str = HOST
    """The address of this machine that these two listen on; all else is on loopback."""


class Program(BaseModel):
    """What a service runs: ``MODULE:FUNCTION``, and the folder that the module is in."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    function: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    folder: Path


class Chaincode(BaseModel):
    """A chaincode beside the contracts. Each hospital runs a service of its own for it, on its
    port of ``ports`` (by the hospital's short name), with ``chaincodes/NAME/config.json`` of its
    folder: as a process of the network where ``program`` says what, else by whoever deploys it.
    Without ``endorsers`` a majority of the hospitals endorses."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    ports: dict[str, int]
    collections: tuple[Collection, ...] = ()
    endorsers: Endorsers | None = None
    program: Program | None = None


class Topology(BaseModel):
    """The whole consortium."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: int = 1
    kind: Kind
    channel: str = "medfabric"
    chaincode: str = "medfabric"
    chaincode_version: str = FIRST_VERSION
    """Of the contracts that the hospitals' services run."""
    fabric_version: str = ""
    fabric_ca: bool = False
    """Whether identities come from a fabric-ca-server beside each peer, else from our own code."""
    collections: tuple[Collection, ...] = ()
    """The contracts' private data collections, beside the implicit ones."""
    further: tuple[Chaincode, ...] = ()
    """Chaincodes beside the contracts."""
    complete: bool = False
    """Whether the network once came up whole; else the next ``up`` begins anew."""
    own: str = ""
    """The hospital that this machine is of, where each has its own; empty where all are here."""
    hospitals: tuple[Hospital, ...] = Field(min_length=1, max_length=64)

    @property
    def here(self) -> tuple[Hospital, ...]:
        """The hospitals whose keys and processes are on this machine."""
        return tuple(h for h in self.hospitals if self.own in ("", h.slug))

    def hospital(self, slug: str) -> Hospital:
        """A hospital by its short name.

        Raises:
            MedFabricError: ``NO_SUCH_HOSPITAL``.
        """
        for hospital in self.hospitals:
            if hospital.slug == slug:
                return hospital
        names = ", ".join(h.slug for h in self.hospitals)
        raise MedFabricError(Code.NO_SUCH_HOSPITAL, f"no hospital {slug}; there are {names}")


class Layout:
    """Where everything lies in a consortium's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @property
    def file(self) -> Path:
        return self.folder / FILE

    @property
    def genesis(self) -> Path:
        return self.folder / "genesis.block"

    @property
    def run(self) -> Path:
        """Process ids."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def hospital(self, slug: str) -> Path:
        return self.folder / "hospitals" / slug

    def chaincode(self, slug: str, name: str = "") -> Path:
        """The folder of a hospital's chaincode service: of the contracts, or of a further one."""
        home = self.hospital(slug)
        return home / "chaincodes" / name if name else home / "chaincode"

    def connection(self, slug: str) -> Path:
        """The file that a client of the hospital connects by."""
        return self.hospital(slug) / "connection.json"

    def user(self, slug: str, name: str) -> Path:
        """The folder of an identity."""
        return self.hospital(slug) / "users" / name


def create(
    kind: Kind,
    hospitals: int,
    fabric_version: str = "",
    *,
    fabric_ca: bool = False,
    collections: Sequence[Collection] = (),
    further: Mapping[str, Sequence[Collection]] | None = None,
    endorsers: Mapping[str, Endorsers] | None = None,
    programs: Mapping[str, Program] | None = None,
) -> Topology:
    """A new consortium on free ports of this machine.

    Args:
        collections: private data collections of the contracts.
        further: names of chaincodes beside the contracts, and the collections of each.
        endorsers: of those among them that not a majority endorses.
        programs: of those among them whose services are the network's own processes.

    Raises:
        MedFabricError: ``BAD_TOPOLOGY`` for fewer than two hospitals or more than 64, or for a
            chaincode by the name of another.
    """
    if not 2 <= hospitals <= 64:
        raise MedFabricError(Code.BAD_TOPOLOGY, "a consortium has from 2 to 64 hospitals")
    fields = list(Ports.model_fields)
    further = further or {}
    if taken := sorted(_TAKEN & further.keys()):
        raise MedFabricError(Code.BAD_TOPOLOGY, f"{taken[0]} is a chaincode already; rename yours")
    free = iter(_free_ports(hospitals * (len(fields) + len(further))))
    slugs = [f"hospital{number}" for number in range(1, hospitals + 1)]
    return Topology(
        kind=kind,
        fabric_version=fabric_version,
        fabric_ca=fabric_ca,
        hospitals=tuple(_hospital(slug, number, free) for number, slug in enumerate(slugs, 1)),
        collections=tuple(collections),
        further=tuple(
            Chaincode(
                name=name,
                collections=tuple(own),
                ports={slug: next(free) for slug in slugs},
                endorsers=(endorsers or {}).get(name),
                program=(programs or {}).get(name),
            )
            for name, own in further.items()
        ),
    )


def alone(
    slug: str,
    host: str,
    listen: str,
    ports: tuple[int, int],
    fabric_version: str,
    *,
    fabric_ca: bool,
) -> Topology:
    """One hospital on its own machine, before it knows the others.

    Args:
        ports: of peer and orderer, which other machines reach; all others are free ones of
            loopback.

    Raises:
        MedFabricError: ``BAD_TOPOLOGY`` for a name that no hospital can have, or ports that none
            has.
    """
    peer, orderer = ports
    if peer == orderer or not all(1 <= port <= 65535 for port in ports):
        raise MedFabricError(
            Code.BAD_TOPOLOGY, "peer and orderer need different ports, of 1 to 65535"
        )
    free = (port for port in _free_ports(len(_PORTS)) if port not in ports)
    try:
        own = _hospital(slug, 1, free)
    except ValidationError:
        raise MedFabricError(
            Code.BAD_TOPOLOGY,
            f"{slug!r} is no name of a hospital; take lower-case letters and digits",
        ) from None
    reached = own.ports.model_copy(update={"peer": peer, "orderer": orderer})
    own = own.model_copy(update={"ports": reached, "host": host, "listen": listen})
    return Topology(
        kind=Kind.FABRIC,
        fabric_version=fabric_version,
        fabric_ca=fabric_ca,
        own=slug,
        hospitals=(own,),
    )


def further(there: Topology, slug: str) -> Topology:
    """The consortium and a further hospital on free ports.

    Raises:
        MedFabricError: ``BAD_TOPOLOGY`` for a name that no hospital can have, or a 65th hospital.
    """
    taken = {port for hospital in there.hospitals for port in vars(hospital.ports).values()}
    free = (port for port in _free_ports(len(_PORTS)) if port not in taken)
    try:
        return with_hospital(there, _hospital(slug, next_consenter(there), free))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise MedFabricError(
            Code.BAD_TOPOLOGY,
            f"{slug!r}: {first['msg']}; take a name such as hospital5, in lower case, and at most "
            "64 hospitals",
        ) from None


def next_consenter(there: Topology) -> int:
    """The number of the next orderer."""
    return 1 + max(hospital.consenter_id for hospital in there.hospitals)


def with_hospital(there: Topology, hospital: Hospital) -> Topology:
    """The consortium and a further hospital."""
    hospitals = (*there.hospitals, hospital)
    return Topology.model_validate({**dict(there), "hospitals": hospitals})


def without(there: Topology, slug: str) -> Topology:
    """The consortium without a hospital.

    Raises:
        MedFabricError: ``BAD_TOPOLOGY`` where fewer than two would be left.
    """
    rest = tuple(hospital for hospital in there.hospitals if hospital.slug != slug)
    if len(rest) < 2:
        raise MedFabricError(
            Code.BAD_TOPOLOGY, "a consortium has at least 2 hospitals; take the whole one down"
        )
    return there.model_copy(update={"hospitals": rest})


def load(folder: Path) -> Topology:
    """Read network.json.

    Raises:
        MedFabricError: ``NO_NETWORK`` where there is none, ``BAD_TOPOLOGY`` where it is damaged.
    """
    path = Layout(folder).file
    try:
        return Topology.model_validate_json(path.read_bytes())
    except OSError as error:
        raise MedFabricError(
            Code.NO_NETWORK,
            f"no consortium in {folder} ({error.strerror}); bring one up, or name its folder",
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise MedFabricError(
            Code.BAD_TOPOLOGY, f"{path}: {field}: {first['msg']}; restore it from a backup"
        ) from None


def save(topology: Topology, folder: Path) -> None:
    """Write network.json."""
    Layout(folder).file.write_text(topology.model_dump_json(indent=1) + "\n")


def msp_id(slug: str) -> str:
    """The MSP id of the hospital of this short name."""
    return f"{slug.capitalize()}MSP"


def _hospital(slug: str, number: int, free: Iterator[int]) -> Hospital:
    return Hospital(
        slug=slug,
        msp_id=msp_id(slug),
        consenter_id=number,
        ports=Ports(**{field: next(free) for field in Ports.model_fields}),
    )


def _free_ports(number: int) -> Iterator[int]:
    # Below the range that the system gives to outgoing connections: one of those could take the
    # port of a process that is down for a moment.
    candidates = random.SystemRandom().sample(_PORTS, len(_PORTS))
    free = islice(filter(_is_free, candidates), number)
    yield from free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
