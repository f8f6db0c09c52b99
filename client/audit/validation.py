"""Which transactions of a block are valid, and what the valid ones write.

The rules of Fabric's committing peer: signatures, the endorsement policies then in force (of the
chaincode by its definition on the ledger, of keys by their metadata), conflicts with what was
committed meanwhile. The devnet commits by these rules; an auditor finds by them whether the flags
in a block are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fabric_protos.common import common_pb2
from fabric_protos.peer import policy_pb2
from google.protobuf.message import DecodeError

from client.audit import commits, configtx, policy
from client.audit.channel import Channel
from client.audit.definitions import (
    IMPLICIT,
    LIFECYCLE,
    Collection,
    collection,
    collection_namespace,
    endorsement,
)
from client.audit.msp import Identity
from client.audit.ranges import summary
from client.audit.state import Change, State
from client.audit.transactions import (
    Code,
    InvalidTransactionError,
    RangeRead,
    Transaction,
    header,
    parse,
    sets_config,
    signed_payload,
)

_PARAMETER = "VALIDATION_PARAMETER"
_VALID = int(Code.VALID)
_COLLECTION = "$$"


@dataclass(frozen=True)
class Judged:
    """A transaction with its verdict. ``transaction`` is None where it could not be parsed."""

    number: int
    code: int
    transaction: Transaction | None
    why: str = ""
    channel: Channel | None = None
    """What a valid config transaction makes of the channel."""

    @property
    def valid(self) -> bool:
        return self.code == _VALID


@dataclass
class _Block:
    """What earlier valid transactions of the same block did."""

    tx_ids: set[str] = field(default_factory=set)
    written: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Keys touched, and whether each is there now."""
    policies: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True)
class Expired:
    """Private data that lived their time: those of one collection that one block wrote."""

    chaincode: str
    collection: str
    block: int


class Validator:
    """Judges blocks in order, and keeps the state that the valid transactions write."""

    def __init__(self, channel: Channel, channel_id: str) -> None:
        self.channel = channel
        self.last_config = 0
        """Number of the block that set the channel's present configuration."""
        self.commit_hash = b""
        self.state = State()
        self._channel_id = channel_id
        self._tx_ids: set[str] = set()
        self._expiring: dict[int, dict[Expired, set[str]]] = {}

    def judge(self, block: common_pb2.Block) -> list[Judged]:
        """Verdicts on the block's transactions; nothing is applied."""
        if sets_config(block):
            return [self._config(block.data.data[0])]
        context = _Block()
        return [self._transaction(index, raw, context) for index, raw in enumerate(block.data.data)]

    def following_hash(self, number: int, judged: list[Judged]) -> bytes:
        """The commit hash of the next block, with these verdicts."""
        changes = (
            ((number, one.number), change)
            for one in judged
            if one.valid and one.transaction is not None
            for change in one.transaction.changes
        )
        flags = bytes(one.code for one in judged)
        return commits.commit_hash(self.commit_hash, flags, commits.updates(self.state, changes))

    def due(self, number: int) -> tuple[Expired, ...]:
        """Which private data expire with a block: after its transactions were judged, those keys
        that none of them wrote anew."""
        return tuple(self._expiring.get(number, ()))

    def apply(self, number: int, judged: list[Judged]) -> None:
        """Apply the valid transactions of a block, and what expires with it."""
        self.commit_hash = self.following_hash(number, judged)
        for one in judged:
            if one.channel is not None:
                self.channel, self.last_config = one.channel, number
            if one.transaction is None:
                continue
            self._tx_ids.add(one.transaction.tx_id)
            if one.valid:
                for change in one.transaction.changes:
                    self.state.apply(change, (number, one.number))
                self._schedule(one.transaction, number)
        for which, keys in self._expiring.pop(number, {}).items():
            namespace = collection_namespace(which.chaincode, which.collection)
            for key in keys:
                entry = self.state.get(namespace, key)
                if entry is not None and entry.version[0] == which.block:
                    self.state.apply(Change(namespace, key, True), (number, 0))

    def _schedule(self, transaction: Transaction, number: int) -> None:
        for change in transaction.changes:
            chaincode, found, name = change.namespace.partition(_COLLECTION)
            lives = self._collection(chaincode, name).block_to_live if found else 0
            if lives:
                due = self._expiring.setdefault(number + lives + 1, {})
                due.setdefault(Expired(chaincode, name, number), set()).add(change.key)

    def check_endorsements(self, transaction: Transaction) -> None:
        """Refuse a transaction whose endorsements do not suffice by the policies now in force.

        Raises:
            InvalidTransactionError: ``ENDORSEMENT_POLICY_FAILURE`` or ``INVALID_CHAINCODE``.
        """
        self._check_endorsements(transaction, _Block())

    def _config(self, raw: bytes) -> Judged:
        try:
            payload = signed_payload(raw, self.channel)
        except InvalidTransactionError as invalid:
            return Judged(0, invalid.code, None, str(invalid))
        try:
            channel = configtx.follow(self.channel, self._channel_id, payload.data)
        except (configtx.UpdateRefusedError, ValueError) as error:
            return Judged(0, Code.INVALID_CONFIG_TRANSACTION, None, str(error))
        return Judged(0, Code.VALID, None, channel=channel)

    def _transaction(self, index: int, raw: bytes, context: _Block) -> Judged:
        transaction = None
        try:
            _, channel_header = header(raw)
            if channel_header.type != common_pb2.HeaderType.ENDORSER_TRANSACTION:
                raise InvalidTransactionError(Code.UNKNOWN_TX_TYPE, "not an endorser transaction")
            transaction = parse(raw, self.channel, self._channel_id)
            self._check(transaction, context)
        except InvalidTransactionError as invalid:
            return Judged(index, invalid.code, transaction, str(invalid))
        except policy.UnsupportedPolicyError as unsupported:
            return Judged(index, Code.INVALID_OTHER_REASON, transaction, str(unsupported))
        except (DecodeError, IndexError) as error:
            # A policy on the ledger that cannot be read: nothing satisfies it.
            why = f"a policy cannot be read: {type(error).__name__}"
            return Judged(index, Code.ENDORSEMENT_POLICY_FAILURE, transaction, why)
        for change in transaction.changes:
            place = change.namespace, change.key
            there = context.written.get(place, self.state.get(*place) is not None)
            if change.writes or there:  # metadata of a key that is not there has no effect
                context.written[place] = change.value is not None if change.writes else there
        return Judged(index, Code.VALID, transaction)

    def _check(self, transaction: Transaction, context: _Block) -> None:
        if transaction.tx_id in self._tx_ids or transaction.tx_id in context.tx_ids:
            raise InvalidTransactionError(Code.DUPLICATE_TXID, "the transaction id was used before")
        context.tx_ids.add(transaction.tx_id)
        self._check_endorsements(transaction, context)
        for change in transaction.changes:
            if change.metadata is not None:
                context.policies.add((change.namespace, change.key))
        for namespace in transaction.namespaces:
            self._check_conflicts(transaction, namespace, context)

    def _check_conflicts(self, transaction: Transaction, namespace: str, context: _Block) -> None:
        for where, key, version in transaction.reads:
            if where != namespace:
                continue
            if (where, key) in context.written or version != self.state.version(where, key):
                raise InvalidTransactionError(Code.MVCC_READ_CONFLICT, f"{key!r} changed meanwhile")
        for read in transaction.ranges:
            if read.namespace == namespace:
                self._check_range(read, context)

    def _check_endorsements(self, transaction: Transaction, context: _Block) -> None:
        _check_names(transaction.chaincodes)
        by_namespace: dict[str, list[Change]] = {ns: [] for ns in transaction.namespaces}
        for change in transaction.changes:
            by_namespace.setdefault(change.namespace, []).append(change)
        own = transaction.chaincode
        if not any(
            changes
            for namespace, changes in by_namespace.items()
            if namespace.partition(_COLLECTION)[0] == own
        ):
            # The invoked chaincode's own policy counts even where it writes nothing itself.
            self._require(own, transaction.endorsers)
        for namespace, changes in by_namespace.items():
            if changes:
                self._check_namespace(namespace, changes, transaction.endorsers, context)

    def _check_namespace(
        self,
        namespace: str,
        changes: list[Change],
        endorsers: tuple[Identity, ...],
        context: _Block,
    ) -> None:
        needs_own = False
        own_policies: dict[bytes, str] = {}
        for change in changes:
            if (namespace, change.key) in context.policies:
                raise InvalidTransactionError(
                    Code.ENDORSEMENT_POLICY_FAILURE, "a key's policy changed in the same block"
                )
            entry = self.state.get(namespace, change.key)
            parameter = entry.metadata.get(_PARAMETER) if entry else None
            if parameter:
                own_policies.setdefault(parameter, change.key)
            else:
                needs_own = True
        for parameter, key in own_policies.items():
            if not policy.satisfied(parameter, endorsers):
                raise InvalidTransactionError(
                    Code.ENDORSEMENT_POLICY_FAILURE, f"{key!r} needs other endorsers"
                )
        if needs_own:
            self._require(namespace, endorsers)

    def _require(self, namespace: str, endorsers: tuple[Identity, ...]) -> None:
        if not self._endorsed(namespace, endorsers):
            raise InvalidTransactionError(
                Code.ENDORSEMENT_POLICY_FAILURE, f"too few endorsements for {namespace}"
            )

    def _endorsed(self, namespace: str, endorsers: tuple[Identity, ...]) -> bool:
        chaincode, found, name = namespace.partition(_COLLECTION)
        if found:
            return self._collection_endorsed(chaincode, name, endorsers)
        if namespace == LIFECYCLE:
            return self.channel.satisfies("/Channel/Application/LifecycleEndorsement", endorsers)
        parameter = endorsement(self.state, chaincode)
        if parameter is None:
            raise InvalidTransactionError(Code.INVALID_CHAINCODE, f"{chaincode} is not deployed")
        return self._satisfied(parameter, endorsers)

    def _collection_endorsed(
        self, chaincode: str, name: str, endorsers: tuple[Identity, ...]
    ) -> bool:
        """By the collection's own policy, where it has one, in place of the chaincode's."""
        if name.startswith(IMPLICIT):
            msp_id = name.removeprefix(IMPLICIT)
            if msp_id not in self.channel.hospitals:
                raise _no_collection(name)
            return self.channel.satisfies(f"/Channel/Application/{msp_id}/Endorsement", endorsers)
        found = self._collection(chaincode, name)
        if not found.HasField("endorsement_policy"):
            return self._endorsed(chaincode, endorsers)
        return self._satisfied(found.endorsement_policy, endorsers)

    def _collection(self, chaincode: str, name: str) -> Collection:
        if chaincode == LIFECYCLE:
            # The lifecycle has the implicit collections alone, which it keeps for ever.
            return Collection(name=name)
        found = collection(self.state, self.channel, chaincode, name)
        if found is None:
            raise _no_collection(name)
        return found

    def _satisfied(
        self, parameter: policy_pb2.ApplicationPolicy, endorsers: tuple[Identity, ...]
    ) -> bool:
        if parameter.WhichOneof("Type") == "signature_policy":
            envelope = parameter.signature_policy.SerializeToString()
            return policy.satisfied(envelope, endorsers)
        return self.channel.satisfies(parameter.channel_config_policy_reference, endorsers)

    def _check_range(self, read: RangeRead, context: _Block) -> None:
        # A range that was not read to its end goes up to the last key read, and includes it.
        end = read.end if read.exhausted else read.end + "\x00"
        touched = any(
            namespace == read.namespace
            and read.start.encode() <= key.encode()
            and (not read.end or key.encode() < end.encode())
            # Deleted in this block, and never there before it: not seen by anybody.
            and (there or self.state.get(namespace, key) is not None)
            for (namespace, key), there in context.written.items()
        )
        present = [
            (key, entry.version)
            for key, entry in self.state.range(read.namespace, read.start, end if read.end else "")
        ]
        if read.summary is None:
            same = present == list(read.reads)
        else:
            same = summary(present, read.summary.degree) == read.summary
        if touched or not same:
            raise InvalidTransactionError(Code.PHANTOM_READ_CONFLICT, "a range changed meanwhile")


def _check_names(chaincodes: tuple[str, ...]) -> None:
    if len(set(chaincodes)) != len(chaincodes):
        raise InvalidTransactionError(Code.ILLEGAL_WRITESET, "a chaincode is there twice")
    if any(_COLLECTION[0] in name for name in chaincodes):
        # It would pass for a collection's.
        raise InvalidTransactionError(Code.INVALID_CHAINCODE, "no chaincode has this name")


def _no_collection(name: str) -> InvalidTransactionError:
    return InvalidTransactionError(
        Code.ENDORSEMENT_POLICY_FAILURE, f"there is no collection {name}"
    )
