"""A whole network with the small chaincode on which clients of Fabric's gateway are tried.

What the chaincode does, and under which policies, is what the public feature suite of
hyperledger/fabric-gateway takes for given; hospital 1 to 3 stand for its organisations 1 to 3.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from chaincode.schema.errors import MedFabricError
from chaincode.server import Config
from chaincode.shim import Response, Stub
from chaincode.shim.endorsement import KeyEndorsementPolicy
from chaincode.shim.server import Server, ServerConfig
from client.connection import Connection
from client.gateway import Gateway
from client.identity import Identity
from network.base import Network, up, wait_until
from network.collections import Collection
from network.endorsement import Endorsers
from network.topology import Kind

ONE, TWO, THREE = MSPS = tuple(f"Hospital{number}MSP" for number in range(1, 4))
BASIC, ERRORS, PRIVATE = "basic", "errors", "private"
ENDORSERS = {
    BASIC: Endorsers(members=(ONE, TWO), needed=2),
    ERRORS: Endorsers(members=MSPS, needed=3),
    PRIVATE: Endorsers(members=MSPS),
}
COLLECTIONS = (
    Collection(name="SharedCollection", members=(ONE, THREE), required_peers=1, maximum_peers=1),
    Collection(name="Org1Collection", members=(ONE,), member_only_write=False, endorsers=(ONE,)),
    Collection(
        name="Org3Collection",
        members=(THREE,),
        member_only_read=False,
        member_only_write=False,
        endorsers=(THREE,),
    ),
)


class FeatureChaincode:
    """Each method is a transaction; ``msp_id`` is the hospital whose service this is."""

    def __init__(self, msp_id: str, crash: Callable[[], None]) -> None:
        self._msp_id = msp_id
        self._crash = crash

    def invoke(self, stub: Stub) -> Response:
        name, *args = (arg.decode() for arg in stub.args)
        if name not in _TRANSACTIONS:
            return _error(f"there is no transaction {name}")
        answer = getattr(self, name)(stub, *args)
        return answer if isinstance(answer, Response) else Response.success(answer or b"")

    def echo(self, stub: Stub, text: str) -> bytes:
        return text.encode()

    def echo_transient(self, stub: Stub) -> bytes:
        return json.dumps({key: value.decode() for key, value in stub.transient.items()}).encode()

    def put(self, stub: Stub, key: str, value: str) -> None:
        stub.put_state(key, value.encode())

    def get(self, stub: Stub, key: str) -> bytes:
        return stub.get_state(key) or b""

    def error_message(self, stub: Stub, message: str) -> Response:
        return _error(message)

    def event(self, stub: Stub, name: str, payload: str) -> None:
        stub.set_event(name, payload.encode())

    def exists(self, stub: Stub, *args: str) -> Response:
        if len(args) != 1:
            return _error(f"Expected 1 parameters, but {len(args)} have been supplied")
        return Response.success(b"true" if stub.get_state(args[0]) else b"false")

    def crash(self, stub: Stub) -> None:
        self._crash()
        threading.Event().wait(20)

    def orgs_fail(self, stub: Stub, refusing: str) -> Response:
        if self._msp_id in json.loads(refusing):
            return _error(f"{self._msp_id} refuses to endorse this")
        return Response.success(b"")

    def nondet(self, stub: Stub) -> bytes:
        return secrets.token_bytes(8)

    def peer_org(self, stub: Stub) -> bytes:
        return self._msp_id.encode()

    def check_endorsing_org(self, stub: Stub) -> Response:
        """Only who is named in the transient data answers, and all the same."""
        if self._msp_id not in stub.transient:
            return _error(f"{self._msp_id} is not named")
        return Response.success(b"success")

    def set_state_with_endorser(self, stub: Stub, key: str, value: str, msp_id: str) -> None:
        stub.put_state(key, value.encode())
        self.set_state_endorsers(stub, key, msp_id)

    def set_state_endorsers(self, stub: Stub, key: str, *msp_ids: str) -> None:
        policy = KeyEndorsementPolicy()
        policy.add(*msp_ids)
        stub.set_state_validation_parameter(key, policy.serialize())

    def write_private(self, stub: Stub) -> None:
        key, value = stub.transient["key"].decode(), stub.transient["value"]
        for collection in stub.transient["collection"].decode().split(","):
            stub.put_private_data(collection, key, value)

    def read_private(self, stub: Stub, collection: str, key: str) -> bytes:
        return stub.get_private_data(collection, key) or b""


_TRANSACTIONS = frozenset(
    name
    for name, member in vars(FeatureChaincode).items()
    if callable(member) and not name.startswith("_") and name != "invoke"
)


def _error(message: str) -> Response:
    return Response(500, message)


class FeatureNetwork:
    """Four hospitals whose services of the three chaincodes run in this process."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        further = {BASIC: (), ERRORS: (), PRIVATE: COLLECTIONS}
        self.kind = kind
        self.network: Network = up(folder, kind, 4, further=further, endorsers=ENDORSERS)
        self._services: dict[tuple[str, str], Server] = {}
        self._gateways: dict[tuple[int, str], Gateway] = {}
        self._serving = threading.Lock()
        for hospital in self.network.topology.hospitals:
            for name in further:
                self._serve(hospital.slug, name)
        for number in range(1, 4):
            wait_until(lambda n=number: self._ready(n), f"the chaincodes at hospital {number}")

    def close(self) -> None:
        for gateway in self._gateways.values():
            gateway.close()
        self.network.down()
        for service in self._services.values():
            service.stop(0)

    def gateway(self, number: int = 1, chaincode: str = BASIC) -> Gateway:
        """A gateway of the hospital's admin to its own peer."""
        place = number, chaincode
        if place not in self._gateways:
            self._gateways[place] = self.connect(self.identity(number), number, chaincode)
        return self._gateways[place]

    def connect(self, identity: Identity, number: int = 1, chaincode: str = BASIC) -> Gateway:
        connection = self.connection(number).model_copy(update={"chaincode": chaincode})
        return Gateway.connect(connection, identity)

    def connection(self, number: int = 1) -> Connection:
        return Connection.load(self.network.layout.connection(f"hospital{number}"))

    def identity(self, number: int = 1) -> Identity:
        return Identity.load(self.network.layout.user(f"hospital{number}", "admin"))

    def address(self, number: int) -> str:
        """The peer's, as gateways name it."""
        return self.connection(number).gateway.address

    def arrived(self, block_number: int) -> None:
        """Return when every hospital's peer has this block."""
        for number in range(1, 5):
            gateway = self.gateway(number)
            wait_until(lambda g=gateway: g.height() > block_number, "the block's arrival")

    @contextmanager
    def without(self, number: int) -> Iterator[None]:
        """Stop a hospital's peer meanwhile; on the devnet, which is one process, its chaincode."""
        slug = f"hospital{number}"
        if self.kind is Kind.FABRIC:
            self.network.kill(f"{slug}.peer")
        else:
            self._services.pop((slug, ERRORS)).stop(0)
        try:
            yield
        finally:
            if self.kind is Kind.FABRIC:
                self.network.restart(f"{slug}.peer")
            self.revive()

    def revive(self) -> None:
        """Start the services that crashed, and wait until all endorse again."""
        for hospital in self.network.topology.hospitals:
            for name in ENDORSERS:
                self._serve(hospital.slug, name)
        for number in range(1, 4):
            wait_until(lambda n=number: self._ready(n), f"the chaincodes at hospital {number}")

    def _ready(self, number: int) -> bool:
        with suppress(MedFabricError):
            for name in ENDORSERS:
                # By all three: their gateways then know each other's peers.
                proposal = self.gateway(number, name).proposal(
                    [b"echo", b"ready"], organizations=MSPS
                )
                proposal.endorse()
            self.gateway(number, ERRORS).proposal([b"echo", b"ready"]).endorse()
            return True
        return False

    def _serve(self, slug: str, name: str) -> None:
        with self._serving:
            if (slug, name) in self._services:
                return
            folder = self.network.layout.chaincode(slug, name)
            config = Config.model_validate_json((folder / "config.json").read_bytes())
            served = ServerConfig(
                address=config.address,
                package_id=config.package_id,
                tls_cert_file=folder / config.tls_cert_file,
                tls_key_file=folder / config.tls_key_file,
                client_ca_file=folder / config.client_ca_file,
            )
            msp_id = self.network.topology.hospital(slug).msp_id
            chaincode = FeatureChaincode(msp_id, lambda: self._end(slug, name))
            self._services[slug, name] = Server(chaincode, served)

    def _end(self, slug: str, name: str) -> None:
        """End a service at once, as a crash of its process would."""
        with self._serving:
            service = self._services.pop((slug, name), None)
        if service is not None:
            threading.Thread(target=service.stop, args=(0,), daemon=True).start()


def words(*args: str) -> Sequence[bytes]:
    return [arg.encode() for arg in args]
