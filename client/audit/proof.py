"""Proves a ledger from its blocks and the genesis block alone, with no network and no peer.

Every block: header hash chain, data hash, signatures of a quorum of the orderers, commit hash.
Every transaction: its creator's signature, its endorsements by the policies then in force,
conflicts; the verdict must be the flag that stands in the block. Every change of the channel's
configuration: that those agreed who had to, and that it is what they agreed to; from then on
members, orderers and policies are the new ones. What does not follow from the genesis block is a
finding, and one finding refutes the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fabric_protos.common import common_pb2

from chaincode.schema import forms, keys
from chaincode.schema.errors import Code, MedFabricError
from client import blocks as files
from client.audit import commits
from client.audit.blocks import FILTER, data_hash, header_hash, last_config, signers
from client.audit.channel import Channel
from client.audit.msp import Identity
from client.audit.policy import UnsupportedPolicyError
from client.audit.state import State
from client.audit.transactions import Transaction, sets_config
from client.audit.validation import Validator

NAMESPACE = "medfabric"
_GENESIS = 0


@dataclass(frozen=True)
class Finding:
    """What is wrong, and where. ``block`` is None where it is the ledger as a whole."""

    code: str
    message: str
    block: int | None = None
    tx_id: str | None = None


@dataclass(frozen=True)
class Writing:
    """One valid write of a key: in which transaction, by whom, endorsed by whom."""

    value: bytes | None
    block: int
    tx_id: str
    seconds: int
    function: str
    msp_id: str
    common_name: str
    endorsers: tuple[str, ...]


@dataclass
class Ledger:
    """A ledger as it was proven: its state, and every writing of every key."""

    channel: Channel
    state: State
    writings: dict[str, list[Writing]] = field(default_factory=dict)

    def check_form(self) -> None:
        """Refuse to read a ledger that was written by contracts of another form.

        Raises:
            MedFabricError: ``FORM_OTHER``.
        """
        found = self.state.get(NAMESPACE, keys.composite(keys.consortium()))
        forms.check(None if found is None else found.value)


@dataclass
class Verdict:
    """``proven`` where nothing was found. ``sha256`` is over all blocks' header hashes."""

    blocks: int = 0
    transactions: int = 0
    valid: int = 0
    sha256: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        return not self.findings


def prove(folder: Path, genesis: bytes, height: int | None = None) -> tuple[Verdict, Ledger]:
    """Verify a folder of blocks.

    Args:
        genesis: bytes of the channel's genesis block, the only thing that is trusted.
        height: number of blocks that there must be, where it is known from elsewhere.

    Raises:
        MedFabricError: ``GENESIS_OTHER`` where ``genesis`` is no genesis block.
    """
    anchor, channel = _anchor(genesis)
    validator = Validator(channel, _channel_id(anchor))
    ledger = Ledger(channel, validator.state)
    verdict = Verdict()
    numbers = files.numbers(folder)
    last = anchor.header
    digest = hashlib.sha256()
    for expected, number in enumerate(numbers):
        if number != expected:
            verdict.findings.append(_finding(Code.CHAIN_BROKEN, "a block is missing", expected))
            break
        try:
            block = files.parse(files.read(folder, number))
        except MedFabricError as error:
            verdict.findings.append(Finding(error.code, error.message, number))
            break
        found = list(_block(block, number, last, anchor, validator))
        found += _transactions(block, validator, ledger, verdict)
        verdict.findings += found
        verdict.blocks += 1
        last = block.header
        digest.update(header_hash(last))
        if found:
            # What follows builds on what is refuted already.
            break
    verdict.sha256 = digest.hexdigest()
    _check_height(verdict, height, numbers)
    return verdict, ledger


def _anchor(genesis: bytes) -> tuple[common_pb2.Block, Channel]:
    try:
        block = common_pb2.Block.FromString(genesis)
        if block.header.number != _GENESIS or data_hash(block) != block.header.data_hash:
            raise ValueError("its data is not what its header names")
        return block, Channel.of_block(block)
    except Exception as error:
        raise MedFabricError(
            Code.GENESIS_OTHER, f"not the genesis block of a channel: {error}; get the channel's"
        ) from None


def _channel_id(block: common_pb2.Block) -> str:
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    return str(common_pb2.ChannelHeader.FromString(payload.header.channel_header).channel_id)


def _block(
    block: common_pb2.Block,
    number: int,
    last: common_pb2.BlockHeader,
    anchor: common_pb2.Block,
    validator: Validator,
) -> Iterator[Finding]:
    if block.SerializeToString(deterministic=True) != files.proven_form(block).SerializeToString(
        deterministic=True
    ):
        yield _finding(Code.BLOCK_MALFORMED, "its metadata holds what nobody signed", number)
    if number == _GENESIS:
        if block.header != anchor.header or block.data != anchor.data:
            yield _finding(Code.GENESIS_OTHER, "not the trusted genesis block", number)
        return
    if block.header.number != number or block.header.previous_hash != header_hash(last):
        yield _finding(Code.CHAIN_BROKEN, "it does not follow the block before", number)
    if block.header.data_hash != data_hash(block):
        yield _finding(Code.CHAIN_BROKEN, "its data is not what its header names", number)
    yield from _signatures(block, number, validator)


def _signatures(block: common_pb2.Block, number: int, validator: Validator) -> Iterator[Finding]:
    # A config block is signed by the orderers of the configuration that it replaces.
    channel = validator.channel
    expected = number if sets_config(block) else validator.last_config
    try:
        if last_config(block) != expected:
            why = f"it does not name block {expected} as the one with the configuration"
            yield _finding(Code.ORDERERS_UNSIGNED, why, number)
        found: list[Identity] = signers(block, channel)
        if not channel.block_signers_suffice(found):
            why = f"{len(found)} orderers signed it, too few"
            yield _finding(Code.ORDERERS_UNSIGNED, why, number)
    except UnsupportedPolicyError as error:
        yield _finding(Code.CONFIG_UNSUPPORTED, str(error), number)
    except Exception as error:
        yield _finding(Code.ORDERERS_UNSIGNED, f"signatures: {error}", number)


def _transactions(
    block: common_pb2.Block, validator: Validator, ledger: Ledger, verdict: Verdict
) -> Iterator[Finding]:
    number = block.header.number
    if number == _GENESIS:
        return
    flags = block.metadata.metadata[FILTER]
    judged = validator.judge(block)
    if len(flags) != len(judged):
        yield _finding(Code.FLAGS_WRONG, "not one flag for each transaction", number)
        return
    for one, flag in zip(judged, flags, strict=True):
        verdict.transactions += 1
        verdict.valid += one.valid
        if one.code != flag:
            tx_id = one.transaction.tx_id if one.transaction else None
            why = f"transaction {one.number} is flagged {flag}, but is {one.code}: {one.why}"
            yield Finding(Code.FLAGS_WRONG, why, number, tx_id)
        if one.valid and one.transaction is not None:
            _record(one.transaction, number, ledger)
    if sets_config(block) and not judged[0].valid:
        # Flagged invalid or not, orderers would have refused it.
        yield _finding(Code.CONFIG_WRONG, f"the configuration: {judged[0].why}", number)
    validator.apply(number, judged)
    ledger.channel = validator.channel
    if block.metadata.metadata[commits.SLOT] != commits.metadata(validator.commit_hash):
        yield _finding(Code.FLAGS_WRONG, "its commit hash is not what follows from it", number)


def _record(transaction: Transaction, number: int, ledger: Ledger) -> None:
    for change in transaction.changes:
        if change.namespace != NAMESPACE or not change.writes:
            continue
        writing = Writing(
            value=change.value,
            block=number,
            tx_id=transaction.tx_id,
            seconds=transaction.seconds,
            function=transaction.function,
            msp_id=transaction.creator.msp_id,
            common_name=transaction.creator.common_name,
            endorsers=tuple(sorted({e.msp_id for e in transaction.endorsers})),
        )
        ledger.writings.setdefault(change.key, []).append(writing)


def _check_height(verdict: Verdict, height: int | None, numbers: list[int]) -> None:
    if not numbers:
        verdict.findings.append(_finding(Code.BLOCKS_MISSING, "there are no blocks", None))
    elif height is not None and len(numbers) != height:
        why = f"{len(numbers)} blocks, where there must be {height}"
        verdict.findings.append(_finding(Code.BLOCKS_MISSING, why, None))


def _finding(code: Code, message: str, block: int | None) -> Finding:
    return Finding(code.value, message, block)
