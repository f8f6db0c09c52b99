"""An in-memory ledger for contract tests: committed reads, writes only of successful transactions.

Identities are real certificates, so that contracts see what a peer would show them.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import proposal_pb2
from google.protobuf.message import DecodeError

from chaincode.schema import keys
from chaincode.shim.chaincode import Chaincode, Response
from chaincode.shim.identity import ATTRIBUTES
from chaincode.shim.stub import (
    KeyModification,
    KeyValue,
    Page,
    PeerError,
    Proposal,
    Stub,
    Write,
    composite_key,
)
from client.audit.msp import Identity
from client.audit.policy import satisfied
from support.twin import Recorder, Twin


@dataclass
class MemoryLedger:
    """State, key policies, history and events of one channel.

    Key policies are enforced as if the peers of all members, and no others, had endorsed: what
    they do not suffice for is invalid.
    ``keys_read`` and ``keys_written`` are those of the last transaction, with their policies'.
    """

    state: dict[str, bytes] = field(default_factory=dict)
    policies: dict[str, bytes] = field(default_factory=dict)
    events: list[tuple[str, bytes]] = field(default_factory=list)
    past: dict[str, list[KeyModification]] = field(default_factory=dict)
    calls: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Function and creator of every committed transaction, by its id."""
    private: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """Of all hospitals; :meth:`invoke` shows the peer's own implicit collection alone."""
    purged: list[tuple[str, str]] = field(default_factory=list)
    ranges_read: int = 0
    keys_read: list[str] = field(default_factory=list)
    keys_written: list[str] = field(default_factory=list)
    transactions: int = 0
    _read_only: bool = False
    _own: str = ""
    twin: ClassVar[Twin | None] = None
    """Executes its chaincode's transactions a second time, where there is one."""

    def invoke(
        self,
        chaincode: Chaincode,
        creator: bytes,
        function: str,
        argument: bytes | None,
        seconds: int,
        *,
        commit: bool = True,
        transient: Mapping[str, bytes] | None = None,
        peer: str = "",
        tx_id: str = "",
    ) -> Response:
        """Run one transaction; commit its writes if it succeeded. An exception is not caught.

        ``peer`` is the MSP id of the hospital whose peer runs it; the creator's own else.
        """
        self.transactions += 1
        self._read_only = False
        self.keys_read, self.keys_written = [], []
        self._own = f"_implicit_org_{peer or _msp_id(creator)}"
        tx_id = tx_id or f"{self.transactions:064x}"
        args = [function.encode()] + ([] if argument is None else [argument])
        proposal = Proposal(proposal_bytes(creator, seconds, tx_id, transient))
        twin = MemoryLedger.twin
        if twin is not None and twin.runs(chaincode):
            recorder = Recorder(self)
            stub = Stub(tx_id, "medfabric", args, proposal, recorder)
            response = twin.compare(chaincode, stub, recorder)
        else:
            stub = Stub(tx_id, "medfabric", args, proposal, self)
            response = chaincode.invoke(stub)
        self.keys_written = [write.key for write in stub.writes]
        if response.status < 400 and self._read_only and stub.writes:
            return Response(500, "what it read is for transactions that write nothing")
        if commit and response.status < 400:
            if unmet := self._unmet(stub):
                return Response(500, f"ENDORSEMENT_POLICY_FAILURE of {unmet}")
            self._commit(stub, seconds)
            self.calls[tx_id] = (function, creator)
        return response

    def _unmet(self, stub: Stub) -> list[str]:
        """Written keys whose policy the members' peers cannot satisfy together."""
        consortium = self.state.get(composite_key(*keys.consortium()))
        members = json.loads(consortium)["hospitals"] if consortium else []
        nobody: Any = None
        peers = [Identity(member.encode(), member, "peer", nobody) for member in members]
        held = {write.key for write in stub.writes if not write.collection} & set(self.policies)
        return [key for key in sorted(held) if not satisfied(self.policies[key], peers)]

    def _commit(self, stub: Stub, seconds: int) -> None:
        for write in stub.writes:
            if write.collection:
                self._commit_private(write)
                continue
            if write.policy is not None:
                if write.key in self.state:  # a policy without a value is no write
                    self.policies[write.key] = write.policy
                continue
            entry = KeyModification(stub.tx_id, write.value or b"", seconds, write.value is None)
            self.past.setdefault(write.key, []).insert(0, entry)
            if write.value is None:
                self.state.pop(write.key, None)
                self.policies.pop(write.key, None)
            else:
                self.state[write.key] = write.value
        if stub.event:
            self.events.append(stub.event)

    def _commit_private(self, write: Write) -> None:
        place = (write.collection, write.key)
        if write.policy is not None:
            raise NotImplementedError("no contract sets the policy of a private key")
        if write.value is None:
            self.private.pop(place, None)
            self.purged += [place] * write.purge
        else:
            self.private[place] = write.value

    # what the stub reads through

    def get_states(self, keys: Sequence[str], collection: str = "") -> list[bytes | None]:
        self.keys_read += keys
        if not collection:
            return [self.state.get(key) for key in keys]
        if collection != self._own and any((collection, key) in self.private for key in keys):
            raise PeerError("private data matching public hash version is not available")
        return [self.private.get((collection, key)) for key in keys]

    def private_hash(self, collection: str, key: str) -> bytes | None:
        value = self.private.get((collection, key))
        return None if value is None else hashlib.sha256(value).digest()

    def range(self, start: str, end: str, collection: str = "") -> Iterator[KeyValue]:
        self.ranges_read += 1
        state = self.state
        if collection:
            self._read_only = True
            state = {k: v for (c, k), v in self.private.items() if c == collection == self._own}
        for key in sorted(state):
            if start <= key and (not end or key < end):
                self.keys_read.append(key)
                yield KeyValue(key, state[key])

    def range_page(self, start: str, end: str, page_size: int, bookmark: str) -> Page:
        self._read_only = True
        # A peer reads one key more than the page holds, for the bookmark.
        found = list(itertools.islice(self.range(bookmark or start, end), page_size + 1))
        rest = found[page_size:]
        return Page(tuple(found[:page_size]), rest[0].key if rest else "")

    def query(self, query: str, collection: str = "") -> Iterator[KeyValue]:
        raise PeerError("no rich queries, as on LevelDB")

    def query_page(self, query: str, page_size: int, bookmark: str) -> Page:
        raise PeerError("no rich queries, as on LevelDB")

    def invoke_chaincode(self, name: str, args: Sequence[bytes]) -> Response:
        raise PeerError(f"there is no chaincode {name} here")

    def history(self, key: str) -> Iterator[KeyModification]:
        yield from self.past.get(key, [])

    def metadata(self, key: str, collection: str = "") -> Mapping[str, bytes]:
        self.keys_read.append(key)
        if collection:
            return {}
        policy = self.policies.get(key)
        return {} if policy is None else {"VALIDATION_PARAMETER": policy}


def _msp_id(creator: bytes) -> str:
    try:
        return str(identities_pb2.SerializedIdentity.FromString(creator).mspid)
    except DecodeError:
        return ""


@lru_cache(maxsize=256)
def creator(msp_id: str, name: str, roles: str, key_name: str = "") -> bytes:
    """A serialised identity with these roles. Another ``key_name`` gives another key."""
    del key_name
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    attributes = json.dumps({"attrs": {"medfabric.roles": roles}}).encode()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.UnrecognizedExtension(ATTRIBUTES, attributes), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    identity = identities_pb2.SerializedIdentity(mspid=msp_id, id_bytes=pem)
    return bytes(identity.SerializeToString())


def proposal_bytes(
    creator: bytes, seconds: int, tx_id: str = "", transient: Mapping[str, bytes] | None = None
) -> bytes:
    """The bytes of a proposal as a client would sign them."""
    channel = common_pb2.ChannelHeader(type=3, channel_id="medfabric", tx_id=tx_id)
    channel.timestamp.seconds = seconds
    signature = common_pb2.SignatureHeader(creator=creator, nonce=b"n" * 24)
    header = common_pb2.Header(
        channel_header=channel.SerializeToString(),
        signature_header=signature.SerializeToString(),
    )
    payload = proposal_pb2.ChaincodeProposalPayload(TransientMap=dict(transient or {}))
    proposal = proposal_pb2.Proposal(
        header=header.SerializeToString(), payload=payload.SerializeToString()
    )
    return bytes(proposal.SerializeToString())
