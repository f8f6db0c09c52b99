"""The committed ledger: blocks, the state they write, what became of each transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2

from chaincode.schema.errors import Code, MedFabricError
from client.audit import commits
from client.audit.blocks import FILTER, data_hash, header_hash, signers
from client.audit.channel import Channel
from client.audit.definitions import Collection, collection, is_defined, member_hospitals
from client.audit.state import State
from client.audit.transactions import Transaction
from client.audit.validation import Judged, Validator
from network.devnet.private import Keep, PrivateData, Purge, kept_by
from network.devnet.store import Blocks


@dataclass(frozen=True)
class Place:
    """Where a transaction lies, and the code that it was committed with."""

    block: int
    index: int
    code: int


@dataclass(frozen=True)
class Modification:
    """One entry of a key's history; ``value`` None where it was deleted."""

    tx_id: str
    seconds: int
    value: bytes | None


class Ledger:
    """One ledger for all hospitals of the devnet, rebuilt from its blocks at every start.

    Many may read at once, inside :meth:`reading`; a commit waits for them, so that each simulation
    sees one block's state.

    Raises:
        MedFabricError: ``LEDGER_DAMAGED`` where a stored block is not what was committed.
    """

    def __init__(self, blocks: Blocks, genesis: common_pb2.Block, channel_id: str) -> None:
        if blocks.height() == 0:
            with blocks.transaction() as database:
                blocks.append(database, genesis)
        self.channel_id = channel_id
        self._readers = 0
        self._writing = False
        self._quiet = threading.Condition()
        self._blocks = blocks
        self._validator = Validator(Channel.of_block(genesis), channel_id)
        self._places: dict[str, Place] = {}
        self._numbers = {header_hash(genesis.header): 0}
        self._history: dict[tuple[str, str], list[Modification]] = {}
        self._arrived = threading.Condition()
        self._last = genesis.header
        self.height = 1
        for block in blocks.all():
            self._reload(block, genesis)
        with blocks.transaction() as database:
            self.private = PrivateData(database)
        for what in self.private.disagreements(self.state):
            raise _damaged(self.height - 1, f"{what} are not what was committed")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the state still. Not to be entered twice: a commit that waits goes first."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._writing)
            self._readers += 1
        try:
            yield
        finally:
            with self._quiet:
                self._readers -= 1
                self._quiet.notify_all()

    @property
    def state(self) -> State:
        return self._validator.state

    @property
    def channel(self) -> Channel:
        """The channel by its present configuration."""
        return self._validator.channel

    @property
    def last_config(self) -> int:
        """Number of the block that set the present configuration."""
        return self._validator.last_config

    @property
    def last_hash(self) -> bytes:
        """Hash of the last block's header."""
        return header_hash(self._last)

    def commit(self, block: common_pb2.Block) -> list[Judged]:
        """Judge the block's transactions, mark them, make the block durable, apply it."""
        # Only commits change the state, and one thread commits: judging needs no lock.
        judged = self._validator.judge(block)
        block.metadata.metadata[FILTER] = bytes(one.code for one in judged)
        number = block.header.number
        digest = self._validator.following_hash(number, judged)
        block.metadata.metadata[commits.SLOT] = commits.metadata(digest)
        keep, purges = list(self._keep(judged)), list(_purges(number, judged))
        expired = self._validator.due(number)
        tx_ids = [one.transaction.tx_id for one in judged if one.transaction]
        with self._blocks.transaction() as database:
            self._blocks.append(database, block)
            writes = self.private.store(database, number, tx_ids, keep, purges, expired)
        if purges or expired:
            self._blocks.overwrite()
        with self._quiet:
            self._writing = True
            self._quiet.wait_for(lambda: self._readers == 0)
            self._take_in(block, judged)
            self.private.take_in(writes, purges, expired)
            self._writing = False
            self._quiet.notify_all()
        with self._arrived:
            self._arrived.notify_all()
        return judged

    def check_endorsements(self, transaction: Transaction) -> None:
        """See :meth:`Validator.check_endorsements`."""
        with self.reading():
            self._validator.check_endorsements(transaction)

    def block(self, number: int) -> common_pb2.Block | None:
        """A committed block."""
        return self._blocks.get(number)

    def number(self, digest: bytes) -> int | None:
        """Number of the block whose header has this hash."""
        return self._numbers.get(digest)

    def stage(self, tx_id: str, msp_id: str, content: bytes) -> None:
        """Keep private data that a hospital's peer has endorsed until their block comes."""
        with self._blocks.transaction() as database:
            self.private.stage(database, tx_id, msp_id, content, self.height)

    def kept_by(self, msp_id: str, number: int) -> Mapping[int, rwset_pb2.TxPvtReadWriteSet]:
        """What a hospital keeps of a block's private data, by transaction."""
        with self._blocks.transaction() as database:
            return kept_by(database, msp_id, number)

    def defines(self, chaincode: str) -> bool:
        """Whether this chaincode's definition is committed."""
        return is_defined(self.state, chaincode)

    def collection(self, chaincode: str, name: str) -> Collection:
        """A collection that a committed transaction wrote.

        Raises:
            LookupError: there is none of this name.
        """
        found = collection(self.state, self.channel, chaincode, name)
        if found is None:
            raise LookupError(f"there is no collection {name} of {chaincode}")
        return found

    def place(self, tx_id: str) -> Place | None:
        """What became of a transaction, or None while it is not committed."""
        return self._places.get(tx_id)

    def history(self, namespace: str, key: str) -> list[Modification]:
        """A key's values, newest first."""
        return self._history.get((namespace, key), [])[::-1]

    def wait_for_block(self, number: int, seconds: float) -> bool:
        """Whether the block is there, waiting for it at most so long."""
        with self._arrived:
            return self._arrived.wait_for(lambda: self.height > number, seconds)

    def wait_for_transaction(self, tx_id: str, seconds: float) -> Place | None:
        """What becomes of a transaction, waiting for it at most so long."""
        with self._arrived:
            self._arrived.wait_for(lambda: tx_id in self._places, seconds)
        return self._places.get(tx_id)

    def wake(self) -> None:
        """Have everyone who waits look again."""
        with self._arrived:
            self._arrived.notify_all()

    def judged(self, block: common_pb2.Block) -> Iterator[tuple[int, bytes, int]]:
        """Index, envelope and code of each transaction of a committed block."""
        codes = block.metadata.metadata[FILTER]
        for index, envelope in enumerate(block.data.data):
            yield index, envelope, codes[index] if index < len(codes) else 0

    def _keep(self, judged: Sequence[Judged]) -> Iterator[Keep]:
        """Private sets of a block's valid transactions, and who is to keep them."""
        for one in judged:
            if one.transaction is None or not one.valid:
                continue
            for which in one.transaction.private:
                found = self.collection(which.chaincode, which.collection)
                members = member_hospitals(found) & frozenset(self.channel.hospitals)
                yield Keep(one.transaction.tx_id, one.number, which, members)

    def _reload(self, block: common_pb2.Block, genesis: common_pb2.Block) -> None:
        """Take in a stored block, where it is what was committed."""
        number = block.header.number
        if number == 0:
            if block.header != genesis.header or block.data != genesis.data:
                raise _damaged(number, "it is another channel's genesis block")
            return
        follows = block.header.previous_hash == self.last_hash and number == self.height
        if not follows or block.header.data_hash != data_hash(block):
            raise _damaged(number, "its hashes are false")
        try:
            signed = self.channel.block_signers_suffice(signers(block, self.channel))
        except ValueError as error:
            raise _damaged(number, str(error)) from None
        judged = self._validator.judge(block)
        if not signed or block.metadata.metadata[FILTER] != bytes(one.code for one in judged):
            raise _damaged(number, "its signatures or flags are false")
        digest = self._validator.following_hash(number, judged)
        if block.metadata.metadata[commits.SLOT] != commits.metadata(digest):
            raise _damaged(number, "its commit hash is false")
        self._take_in(block, judged)

    def _take_in(self, block: common_pb2.Block, judged: list[Judged]) -> None:
        number = block.header.number
        self._validator.apply(number, judged)
        for one in judged:
            if one.transaction is None:
                continue
            tx_id = one.transaction.tx_id
            self._places.setdefault(tx_id, Place(number, one.number, one.code))
            if one.valid:
                for change in one.transaction.changes:
                    if change.writes:
                        entry = Modification(tx_id, one.transaction.seconds, change.value)
                        self._history.setdefault((change.namespace, change.key), []).append(entry)
        self._last = block.header
        self._numbers[self.last_hash] = number
        self.height = number + 1


def _purges(number: int, judged: Sequence[Judged]) -> Iterator[Purge]:
    for one in judged:
        for change in one.transaction.changes if one.valid and one.transaction else ():
            if change.purge:
                chaincode, _, name = change.namespace.partition("$$")
                yield Purge(number, one.number, chaincode, name, bytes.fromhex(change.key))


def _damaged(number: int, why: str) -> MedFabricError:
    return MedFabricError(
        Code.LEDGER_DAMAGED,
        f"block {number} of the devnet's ledger is damaged: {why}; restore devnet.sqlite",
    )
