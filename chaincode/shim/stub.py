"""What a transaction sees of the ledger.

The contract of every operation is documented here, once. Reads see the state as committed before
the transaction; writes are kept until the chaincode returns and go to the peer only if it
succeeded, so that a refused transaction leaves no write.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from fabric_protos.common import common_pb2
from fabric_protos.peer import proposal_pb2
from google.protobuf.message import DecodeError

from chaincode.shim.identity import ClientIdentity
from chaincode.shim.response import Response

VALIDATION_PARAMETER = "VALIDATION_PARAMETER"
_COMPOSITE = "\x00"
_MAXIMUM = "\U0010ffff"
_EMPTY_START = "\x01"


class PeerError(Exception):
    """The peer answered a request with an ERROR frame or with what cannot be read, or the stream
    ended meanwhile."""


@dataclass(frozen=True)
class KeyValue:
    """One result of a query."""

    key: str
    value: bytes


@dataclass(frozen=True)
class Page:
    """One page of a query; of a range, an empty bookmark says that it is the last."""

    results: tuple[KeyValue, ...]
    bookmark: str


@dataclass(frozen=True)
class KeyModification:
    """One entry of a key's history, newest first as the peer gives it."""

    tx_id: str
    value: bytes
    seconds: int
    is_delete: bool
    nanos: int = 0


@dataclass(frozen=True)
class Write:
    """A write to come. ``value`` None deletes; ``policy`` sets the key's endorsement policy.

    ``collection`` is empty where the write is public; ``purge`` deletes a private key's past too.
    """

    key: str
    value: bytes | None = None
    policy: bytes | None = None
    collection: str = ""
    purge: bool = False


class Ledger(Protocol):
    """The peer's side of a transaction: what the stub reads through.

    ``collection`` names a private data collection; empty, the public state is meant.
    """

    def get_states(self, keys: Sequence[str], collection: str = "") -> list[bytes | None]: ...

    def private_hash(self, collection: str, key: str) -> bytes | None: ...

    def range(self, start: str, end: str, collection: str = "") -> Iterator[KeyValue]: ...

    def range_page(self, start: str, end: str, page_size: int, bookmark: str) -> Page: ...

    def query(self, query: str, collection: str = "") -> Iterator[KeyValue]: ...

    def query_page(self, query: str, page_size: int, bookmark: str) -> Page: ...

    def history(self, key: str) -> Iterator[KeyModification]: ...

    def metadata(self, key: str, collection: str = "") -> Mapping[str, bytes]: ...

    def invoke_chaincode(self, name: str, args: Sequence[bytes]) -> Response: ...


class Proposal:
    """The signed proposal behind a transaction, parsed once.

    Raises:
        ValueError: not a proposal as Fabric writes it.
    """

    def __init__(self, proposal_bytes: bytes) -> None:
        try:
            proposal = proposal_pb2.Proposal.FromString(proposal_bytes)
            header = common_pb2.Header.FromString(proposal.header)
            self._channel = common_pb2.ChannelHeader.FromString(header.channel_header)
            self._signature = common_pb2.SignatureHeader.FromString(header.signature_header)
            payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        except DecodeError as error:
            raise ValueError("the signed proposal cannot be read") from error
        self.transient: Mapping[str, bytes] = dict(payload.TransientMap)
        self.raw = proposal_bytes

    @property
    def seconds(self) -> int:
        """The client's time, whole seconds of the epoch."""
        return int(self._channel.timestamp.seconds)

    @property
    def nanos(self) -> int:
        """Nanoseconds of the client's time beyond its whole seconds."""
        return int(self._channel.timestamp.nanos)

    @property
    def creator(self) -> bytes:
        return bytes(self._signature.creator)

    @cached_property
    def binding(self) -> bytes:
        """SHA-256 of nonce, creator and epoch: ties a message to this one proposal."""
        epoch = int(self._channel.epoch).to_bytes(8, "little")
        return hashlib.sha256(self._signature.nonce + self.creator + epoch).digest()


class Stub:
    """One transaction.

    Args:
        tx_id: the transaction's id.
        channel_id: the channel it runs on.
        args: function name and arguments, as bytes.
        proposal: the parsed signed proposal.
        ledger: where reads go.
        signature: the client's signature over the proposal's bytes.
        decorations: what the peer's decorators added to the input.
    """

    def __init__(
        self,
        tx_id: str,
        channel_id: str,
        args: Sequence[bytes],
        proposal: Proposal,
        ledger: Ledger,
        *,
        signature: bytes = b"",
        decorations: Mapping[str, bytes] | None = None,
    ) -> None:
        self.tx_id = tx_id
        self.channel_id = channel_id
        self.args = tuple(args)
        self.signature = signature
        self.decorations: Mapping[str, bytes] = decorations or {}
        self.event: tuple[str, bytes] | None = None
        self._proposal = proposal
        self._ledger = ledger
        self._writes: dict[tuple[str, str], Write] = {}
        self._policies: dict[tuple[str, str], Write] = {}

    # what was asked

    @property
    def function(self) -> str:
        """The first argument, empty where there is none; raises ValueError if it is not UTF-8."""
        return self.args[0].decode() if self.args else ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The arguments after the first; raises ValueError if they are not UTF-8."""
        return tuple(argument.decode() for argument in self.args[1:])

    # who and when

    @cached_property
    def creator(self) -> ClientIdentity:
        """Who signed the proposal. Raises ValueError if it is no X.509 identity."""
        return ClientIdentity.parse(self._proposal.creator)

    @property
    def seconds(self) -> int:
        """The proposal's time stamp: the only clock of a contract, chosen by the client."""
        return self._proposal.seconds

    @property
    def nanos(self) -> int:
        """Nanoseconds beyond :attr:`seconds`."""
        return self._proposal.nanos

    @property
    def transient(self) -> Mapping[str, bytes]:
        """Input that stays off the ledger."""
        return self._proposal.transient

    @property
    def binding(self) -> bytes:
        """See :attr:`Proposal.binding`."""
        return self._proposal.binding

    @property
    def proposal_bytes(self) -> bytes:
        """The proposal as its client signed it; :attr:`signature` is over these bytes."""
        return self._proposal.raw

    # reading

    def get_state(self, key: str) -> bytes | None:
        """The committed value, or None. Own writes of this transaction are not seen."""
        return self.get_states((key,))[0]

    def get_states(self, keys: Sequence[str]) -> list[bytes | None]:
        """Committed values in the order of ``keys``, fetched together where the peer can."""
        return self._ledger.get_states([_checked(key) for key in keys])

    def get_state_by_range(self, start: str, end: str) -> Iterator[KeyValue]:
        """Keys from ``start`` up to, not including, ``end``; empty strings are open ends.

        Composite keys are not part of it. The peer checks for phantoms at commit. It gives at most
        its ``totalQueryLimit`` results (100000) and does not say that there were more.
        """
        return self._ledger.range(_simple(start) or _EMPTY_START, _simple(end))

    def get_state_by_range_page(self, start: str, end: str, page_size: int, bookmark: str) -> Page:
        """A page of a range, of at least one result; ``bookmark`` is empty for the first.

        Phantoms are not checked, so the peer refuses writes of a transaction that read a page.
        """
        start = _simple(start) or _EMPTY_START
        return self._ledger.range_page(start, _simple(end), _positive(page_size), bookmark)

    def get_state_by_partial_composite_key(
        self, object_type: str, attributes: Sequence[str]
    ) -> Iterator[KeyValue]:
        """All composite keys that begin with these attributes."""
        prefix = composite_key(object_type, attributes)
        return self._ledger.range(prefix, prefix + _MAXIMUM)

    def get_state_by_partial_composite_key_page(
        self, object_type: str, attributes: Sequence[str], page_size: int, bookmark: str
    ) -> Page:
        """A page of composite keys; see :meth:`get_state_by_range_page`."""
        prefix = composite_key(object_type, attributes)
        return self._ledger.range_page(prefix, prefix + _MAXIMUM, _positive(page_size), bookmark)

    def get_all_composite_keys_page(self, page_size: int, bookmark: str) -> Page:
        """A page of all composite keys, whatever their type; see
        :meth:`get_state_by_range_page`."""
        return self._ledger.range_page(
            _COMPOSITE, _COMPOSITE + _MAXIMUM, _positive(page_size), bookmark
        )

    def get_query_result(self, query: str) -> Iterator[KeyValue]:
        """Results of a query in the state database's own language.

        Only CouchDB has one: a peer on LevelDB answers with an error, raised as
        :class:`PeerError`. Nothing is checked at commit: for transactions that write nothing.
        """
        return self._ledger.query(_query(query))

    def get_query_result_page(self, query: str, page_size: int, bookmark: str) -> Page:
        """A page of such a query; ``bookmark`` is empty for the first.

        CouchDB gives a bookmark after the last page too: a page without results is the end.
        """
        return self._ledger.query_page(_query(query), _positive(page_size), bookmark)

    def get_history_for_key(self, key: str) -> Iterator[KeyModification]:
        """Every committed value the key ever had, newest first."""
        return self._ledger.history(_checked(key))

    def get_state_validation_parameter(self, key: str) -> bytes | None:
        """The key's endorsement policy, or None where the chaincode's applies."""
        return self._ledger.metadata(_checked(key)).get(VALIDATION_PARAMETER) or None

    # other chaincodes

    def invoke_chaincode(self, name: str, args: Sequence[bytes], channel_id: str = "") -> Response:
        """Call another chaincode within this transaction; its response, of whatever status.

        On the same channel what it reads and writes becomes part of this transaction, and its
        endorsement policy must be met too. On another channel, named by ``channel_id``, it is a
        query: its writes go nowhere and its reads are not checked at commit. A peer lets no
        chaincode call itself on its own channel, and answers that, as a chaincode that is not
        there, with an error, raised as :class:`PeerError`.
        """
        if not name:
            raise ValueError("a chaincode has a name")
        return self._ledger.invoke_chaincode(f"{name}/{channel_id}" if channel_id else name, args)

    # writing

    def put_state(self, key: str, value: bytes) -> None:
        """Write ``value``, not empty, when the transaction succeeds."""
        self._writes["", _checked(key)] = Write(key, _present(value))

    def del_state(self, key: str) -> None:
        """Delete the key when the transaction succeeds."""
        self._writes["", _checked(key)] = Write(key)

    def set_state_validation_parameter(self, key: str, policy: bytes) -> None:
        """Require this endorsement policy for later writes of the key."""
        self._policies["", _checked(key)] = Write(key, policy=policy)

    # private data: reading

    def get_private_data(self, collection: str, key: str) -> bytes | None:
        """The committed private value, or None. A peer that is no member of the collection has
        the hash alone and answers with an error, raised as :class:`PeerError`."""
        return self.get_multiple_private_data(collection, (key,))[0]

    def get_multiple_private_data(self, collection: str, keys: Sequence[str]) -> list[bytes | None]:
        """Committed private values in the order of ``keys``.

        Where a peer takes several keys in one message, one that lacks a value answers None.
        """
        return self._ledger.get_states([_checked(key) for key in keys], _named(collection))

    def get_private_data_hash(self, collection: str, key: str) -> bytes | None:
        """SHA-256 of the committed private value, or None. Every peer of the channel has it."""
        return self._ledger.private_hash(_named(collection), _checked(key))

    def get_private_data_by_range(
        self, collection: str, start: str, end: str
    ) -> Iterator[KeyValue]:
        """Private keys from ``start`` up to, not including, ``end``; empty strings are open ends.

        Nothing is checked at commit, so the peer refuses writes of a transaction that read one.
        """
        start = _simple(start) or _EMPTY_START
        return self._ledger.range(start, _simple(end), _named(collection))

    def get_private_data_by_partial_composite_key(
        self, collection: str, object_type: str, attributes: Sequence[str]
    ) -> Iterator[KeyValue]:
        """All private composite keys that begin with these attributes; see
        :meth:`get_private_data_by_range`."""
        prefix = composite_key(object_type, attributes)
        return self._ledger.range(prefix, prefix + _MAXIMUM, _named(collection))

    def get_private_data_query_result(self, collection: str, query: str) -> Iterator[KeyValue]:
        """Private values by a query in the state database's own language; see
        :meth:`get_query_result`."""
        return self._ledger.query(_query(query), _named(collection))

    def get_private_data_validation_parameter(self, collection: str, key: str) -> bytes | None:
        """The private key's endorsement policy, or None where the collection's applies."""
        metadata = self._ledger.metadata(_checked(key), _named(collection))
        return metadata.get(VALIDATION_PARAMETER) or None

    # private data: writing

    def put_private_data(self, collection: str, key: str, value: bytes) -> None:
        """Write ``value``, not empty, to the collection when the transaction succeeds.

        The ledger keeps SHA-256 of key and value: a value that can be guessed needs a salt.
        """
        self._write_private(Write(key, _present(value), collection=collection))

    def del_private_data(self, collection: str, key: str) -> None:
        """Delete the private key when the transaction succeeds; its past stays with members."""
        self._write_private(Write(key, collection=collection))

    def purge_private_data(self, collection: str, key: str) -> None:
        """Delete the private key and everything that members' peers keep of its past."""
        self._write_private(Write(key, collection=collection, purge=True))

    def set_private_data_validation_parameter(
        self, collection: str, key: str, policy: bytes
    ) -> None:
        """Require this endorsement policy for later writes of the private key."""
        write = Write(_checked(key), policy=policy, collection=_named(collection))
        self._policies[write.collection, write.key] = write

    def _write_private(self, write: Write) -> None:
        self._writes[_named(write.collection), _checked(write.key)] = write

    # what comes of it

    def set_event(self, name: str, payload: bytes) -> None:
        """Set the transaction's event; a later call replaces it."""
        if not name:
            raise ValueError("an event needs a name")
        self.event = (name, payload)

    @property
    def writes(self) -> list[Write]:
        """What the transaction would write, sorted by collection and key, the public first."""
        by_key = sorted(self._writes.items())
        return [w for _, w in by_key] + [w for _, w in sorted(self._policies.items())]


def composite_key(object_type: str, attributes: Sequence[str]) -> str:
    """A key made of parts, in a range of its own.

    Raises:
        ValueError: a part holds U+0000 or U+10FFFF, or the object type is empty.
    """
    if not object_type:
        raise ValueError("a composite key needs an object type")
    for part in (object_type, *attributes):
        if _COMPOSITE in part or _MAXIMUM in part:
            raise ValueError("parts of a composite key hold neither U+0000 nor U+10FFFF")
    return _COMPOSITE + "".join(part + _COMPOSITE for part in (object_type, *attributes))


def split_composite_key(key: str) -> tuple[str, tuple[str, ...]]:
    """Object type and attributes of a composite key."""
    if not key.startswith(_COMPOSITE) or not key.endswith(_COMPOSITE) or len(key) < 3:
        raise ValueError("not a composite key")
    object_type, *attributes = key[1:-1].split(_COMPOSITE)
    return object_type, tuple(attributes)


def _checked(key: str) -> str:
    if not key:
        raise ValueError("a key is not empty")
    return key


def _query(query: str) -> str:
    if not query:
        raise ValueError("a query is not empty")
    return query


def _named(collection: str) -> str:
    if not collection:
        raise ValueError("a collection has a name")
    return collection


def _present(value: bytes) -> bytes:
    if not value:
        raise ValueError("an empty value reads back as absent: delete the key instead")
    return value


def _simple(key: str) -> str:
    if key.startswith(_COMPOSITE):
        raise ValueError("composite keys are read by their parts")
    return key


def _positive(page_size: int) -> int:
    if page_size < 1:
        raise ValueError("a page has at least one result")
    return page_size
