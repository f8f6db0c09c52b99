"""A chaincode of private data, calls and pages, in place of the contracts on a whole network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

from chaincode.schema.errors import MedFabricError
from chaincode.server import Config
from chaincode.shim import Response, Stub
from chaincode.shim.endorsement import owner_and_majority
from chaincode.shim.server import Server, ServerConfig
from client.connection import Connection
from client.gateway import Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network.base import Network, up, wait_until
from network.collections import Collection
from network.devnet.signer import Signer
from network.topology import Kind

MSPS = tuple(f"Hospital{number}MSP" for number in range(1, 5))
ONE, TWO, THREE, FOUR = MSPS
OTHER = "other"


def implicit(msp_id: str) -> str:
    return f"_implicit_org_{msp_id}"


COLLECTIONS = (
    Collection(name="pair", members=(ONE, TWO), maximum_peers=1, endorsers=(ONE, TWO)),
    Collection(name="both", members=(ONE, TWO), endorsers=(ONE, TWO), endorsers_needed=2),
    Collection(name="open", members=(ONE, TWO), member_only_read=False, member_only_write=False),
    Collection(
        name="brief", members=(ONE, TWO), maximum_peers=1, block_to_live=2, endorsers=(ONE, TWO)
    ),
    Collection(name="alone", members=(ONE,), required_peers=1, maximum_peers=1, endorsers=(ONE,)),
)


class PrivateToy:
    """Each method is a transaction; what is private comes as transient data."""

    def invoke(self, stub: Stub) -> Response:
        name, *args = (arg.decode() for arg in stub.args)
        answer = getattr(self, name)(stub, *args)
        return answer if isinstance(answer, Response) else Response.success(answer or b"")

    def put(self, stub: Stub, collection: str, key: str) -> None:
        stub.put_private_data(collection, key, stub.transient["value"])

    def put_both(self, stub: Stub, collection: str, key: str) -> None:
        """Private and public, under the same key."""
        stub.put_private_data(collection, key, stub.transient["value"])
        stub.put_state(key, b"public")

    def get(self, stub: Stub, collection: str, key: str) -> bytes:
        return stub.get_private_data(collection, key) or b"nothing"

    def get_many(self, stub: Stub, collection: str, *keys: str) -> bytes:
        found = stub.get_multiple_private_data(collection, keys)
        return b",".join(value or b"nothing" for value in found)

    def hash(self, stub: Stub, collection: str, key: str) -> bytes:
        return stub.get_private_data_hash(collection, key) or b"nothing"

    def count(self, stub: Stub, collection: str, key: str) -> None:
        """Read, then write what was read and one byte more."""
        value = stub.get_private_data(collection, key) or b""
        stub.put_private_data(collection, key, value + b"+")

    def drop(self, stub: Stub, collection: str, key: str) -> None:
        stub.del_private_data(collection, key)

    def purge(self, stub: Stub, collection: str, key: str) -> None:
        stub.purge_private_data(collection, key)

    def own(self, stub: Stub, collection: str, key: str, msp_id: str) -> None:
        policy = owner_and_majority(msp_id, MSPS[:2])
        stub.set_private_data_validation_parameter(collection, key, policy)

    def range(self, stub: Stub, collection: str, start: str, end: str, into: str = "") -> bytes:
        found = [entry.key for entry in stub.get_private_data_by_range(collection, start, end)]
        if into:
            stub.put_state(into, b"seen")
        return ",".join(found).encode()

    def fill(self, stub: Stub, prefix: str, number: str) -> None:
        for index in range(int(number)):
            stub.put_state(f"{prefix}{index:03d}", b"x")

    def page(self, stub: Stub, start: str, end: str, size: str, mark: str, into: str = "") -> bytes:
        page = stub.get_state_by_range_page(start, end, int(size), mark)
        if into:
            stub.put_state(into, b"seen")
        return " ".join([page.bookmark, *(entry.key for entry in page.results)]).encode()

    def state(self, stub: Stub, key: str) -> bytes:
        return stub.get_state(key) or b"nothing"

    def set(self, stub: Stub, key: str, value: str) -> Response:
        if value == "bad":
            return Response.refusal("bad value")
        before = stub.get_state(key) or b""
        stub.put_state(key, before + value.encode())
        stub.set_event("set", b"by the called one")
        return Response.success(before + value.encode())

    def call(self, stub: Stub, chaincode: str, channel: str, *args: str) -> Response:
        stub.put_state("caller", b"wrote")
        answer = stub.invoke_chaincode(chaincode, [arg.encode() for arg in args], channel)
        return Response.success(f"{answer.status} {answer.message}".encode() + answer.payload)


class ToyNetwork:
    """Four hospitals whose chaincode services, of the contracts and of a second chaincode, are
    the toy, in this process."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.network: Network = up(
            folder, kind, 4, collections=COLLECTIONS, further={OTHER: COLLECTIONS[:1]}
        )
        self.layout = self.network.layout
        self._services: list[Server] = []
        for hospital in self.network.topology.hospitals:
            self.network.kill(f"{hospital.slug}.chaincode")
            for name in ("", OTHER):
                self._serve(self.layout.chaincode(hospital.slug, name))
        self._gateways = {
            number: Gateway.connect(self._connection(number), self._admin(number))
            for number in range(1, 5)
        }
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when every hospital's peer has connected to its toys and endorses."""
        for number in range(1, 5):
            wait_until(lambda n=number: self._answers(n), f"the toy at hospital {number}")

    def close(self) -> None:
        for gateway in self._gateways.values():
            gateway.close()
        self.network.down()
        for service in self._services:
            service.stop(0)

    def gateway(self, number: int) -> Gateway:
        return self._gateways[number]

    def propose(
        self,
        *args: str,
        at: int = 1,
        value: bytes | None = None,
        organizations: Sequence[str] = (),
        chaincode: str | None = None,
    ) -> Proposal:
        transient: Mapping[str, bytes] = {} if value is None else {"value": value}
        return Proposal(
            self._gateways[at],
            [arg.encode() for arg in args],
            transient=transient,
            organizations=organizations,
            chaincode=chaincode,
        )

    def submit(
        self,
        *args: str,
        at: int = 1,
        value: bytes | None = None,
        organizations: Sequence[str] = (),
        chaincode: str | None = None,
    ) -> bytes:
        """Submit at one hospital, and have every hospital's peer reach that block."""
        proposal = self.propose(
            *args, at=at, value=value, organizations=organizations, chaincode=chaincode
        )
        transaction = proposal.endorse()
        status = transaction.submit().status()
        status.check()
        for gateway in self._gateways.values():
            wait_until(lambda g=gateway: g.height() > status.block_number, "the block's arrival")
        return transaction.result

    def submit_forged(self, results: bytes, endorsers: Sequence[str]) -> str:
        """Submit these results as if the hospitals' peers had endorsed them; the verdict."""
        proposal = self.propose("forged", at=1)
        content = proposal_pb2.Proposal.FromString(proposal.signed.proposal_bytes)
        header = common_pb2.Header.FromString(content.header)
        digest = header.channel_header + header.signature_header + content.payload
        action = proposal_pb2.ChaincodeAction(
            results=results,
            response=proposal_response_pb2.Response(status=200),
            chaincode_id=chaincode_pb2.ChaincodeID(name="medfabric", version="1"),
        )
        payload = proposal_response_pb2.ProposalResponsePayload(
            proposal_hash=hashlib.sha256(digest).digest(), extension=action.SerializeToString()
        ).SerializeToString()
        signers = [self._peer(msp_id) for msp_id in endorsers]
        endorsed = transaction_pb2.ChaincodeActionPayload(
            chaincode_proposal_payload=content.payload,
            action=transaction_pb2.ChaincodeEndorsedAction(
                proposal_response_payload=payload,
                endorsements=[
                    proposal_response_pb2.Endorsement(
                        endorser=signer.identity,
                        signature=signer.sign(payload + signer.identity),
                    )
                    for signer in signers
                ],
            ),
        )
        one = transaction_pb2.TransactionAction(
            header=header.signature_header, payload=endorsed.SerializeToString()
        )
        whole = common_pb2.Payload(
            header=header, data=transaction_pb2.Transaction(actions=[one]).SerializeToString()
        ).SerializeToString()
        return self._order(proposal, whole)

    def _order(self, proposal: Proposal, payload: bytes) -> str:
        gateway = self._gateways[1]
        envelope = common_pb2.Envelope(payload=payload, signature=gateway.identity.sign(payload))
        request = gateway_pb2.SubmitRequest(
            transaction_id=proposal.transaction_id,
            channel_id=gateway.channel_name,
            prepared_transaction=envelope,
        )
        gateway.stub.Submit(request, timeout=10)
        asked = gateway_pb2.CommitStatusRequest(
            transaction_id=proposal.transaction_id,
            channel_id=gateway.channel_name,
            identity=gateway.identity.serialize(),
        ).SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(
            request=asked, signature=gateway.identity.sign(asked)
        )
        code = gateway.stub.CommitStatus(signed, timeout=10).result
        return str(transaction_pb2.TxValidationCode.Name(code))

    def _peer(self, msp_id: str) -> Signer:
        slug = f"hospital{MSPS.index(msp_id) + 1}"
        return Signer(msp_id, self.layout.hospital(slug) / "peer" / "msp")

    def ask(
        self, *args: str, at: int = 1, value: bytes | None = None, chaincode: str | None = None
    ) -> bytes:
        return self.propose(*args, at=at, value=value, chaincode=chaincode).evaluate()

    def _answers(self, number: int) -> bool:
        with suppress(MedFabricError):
            # Endorsed, not evaluated: gateways then know each other's peers.
            for chaincode in (None, OTHER):
                self.propose("set", "ready", "1", at=number, chaincode=chaincode).endorse()
            return True
        return False

    def _serve(self, folder: Path) -> None:
        config = Config.model_validate_json((folder / "config.json").read_bytes())
        served = ServerConfig(
            address=config.address,
            package_id=config.package_id,
            tls_cert_file=folder / config.tls_cert_file,
            tls_key_file=folder / config.tls_key_file,
            client_ca_file=folder / config.client_ca_file,
        )
        self._services.append(Server(PrivateToy(), served))

    def _connection(self, number: int) -> Connection:
        return Connection.load(self.layout.connection(f"hospital{number}"))

    def _admin(self, number: int) -> Identity:
        return Identity.load(self.layout.user(f"hospital{number}", "admin"))
