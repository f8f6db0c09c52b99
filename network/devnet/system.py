"""The Endorser service, for system chaincodes: qscc, which reads the ledger, and _lifecycle."""

from __future__ import annotations

from typing import Any

import grpc
from fabric_protos.common import common_pb2, ledger_pb2
from fabric_protos.peer import (
    peer_pb2_grpc,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from client.audit.blocks import header_hash
from client.audit.definitions import LIFECYCLE
from network.devnet import defining, endorser
from network.devnet.endorser import Peer, response_payload
from network.devnet.ledger import Ledger
from network.devnet.stream import ChaincodeUnavailableError


class EndorserService(peer_pb2_grpc.EndorserServicer):  # type: ignore[misc]
    """ProcessProposal: of the chaincode, or of qscc."""

    def __init__(self, own: Peer, ledger: Ledger, channel_id: str) -> None:
        self._own = own
        self._ledger = ledger
        self._channel_id = channel_id

    def ProcessProposal(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        try:
            if not _channel(request):
                return self._install(endorser.check(request, self._ledger, ""))
            proposal = endorser.check(request, self._ledger, self._channel_id)
            if proposal.chaincode != endorser.QSCC:
                return self._own.endorse(proposal).response
            payload = self._query(proposal.args)
        except (endorser.ProposalRefusedError, ChaincodeUnavailableError) as error:
            return _refused(str(error))
        except LookupError as error:
            return _refused(str(error.args[0]))
        outcome = proposal_response_pb2.Response(status=200, payload=payload)
        return self._own.sign(response_payload(proposal, b"", b"", outcome), outcome)

    def _install(self, proposal: endorser.Proposal) -> Any:
        if proposal.chaincode != LIFECYCLE:
            return _refused(f"{proposal.chaincode} is for channels")
        outcome = defining.install(proposal.creator, self._own.msp_id, proposal.args)
        return self._own.sign(response_payload(proposal, b"", b"", outcome), outcome)

    def _query(self, args: list[bytes]) -> bytes:
        name = args[0].decode("utf-8", "replace") if args else ""
        if args[1:2] != [self._channel_id.encode()]:
            raise LookupError("qscc is asked about another channel")
        values = args[2:]
        if name == "GetChainInfo":
            return self._chain_info()
        if name == "GetBlockByNumber" and values and values[0].isdigit():
            return bytes(self._block(int(values[0])).SerializeToString())
        if name == "GetBlockByHash" and values:
            return bytes(self._block_by_hash(values[0]).SerializeToString())
        if name in ("GetTransactionByID", "GetBlockByTxID") and values:
            return self._by_transaction(name, values[0].decode("utf-8", "replace"))
        raise LookupError(f"qscc has no such query: {name}")

    def _chain_info(self) -> bytes:
        last = self._block(self._ledger.height - 1)
        info = ledger_pb2.BlockchainInfo(
            height=self._ledger.height,
            currentBlockHash=header_hash(last.header),
            previousBlockHash=last.header.previous_hash,
        )
        return bytes(info.SerializeToString())

    def _block(self, number: int) -> common_pb2.Block:
        block = self._ledger.block(number)
        if block is None:
            raise LookupError(f"block {number} is not in the ledger")
        return block

    def _block_by_hash(self, digest: bytes) -> common_pb2.Block:
        number = self._ledger.number(digest)
        if number is None:
            raise LookupError("no block has this hash")
        return self._block(number)

    def _by_transaction(self, name: str, tx_id: str) -> bytes:
        place = self._ledger.place(tx_id)
        if place is None:
            raise LookupError(f"no transaction {tx_id}")
        block = self._block(place.block)
        if name == "GetBlockByTxID":
            return bytes(block.SerializeToString())
        envelope = common_pb2.Envelope.FromString(block.data.data[place.index])
        processed = transaction_pb2.ProcessedTransaction(
            transactionEnvelope=envelope, validationCode=place.code
        )
        return bytes(processed.SerializeToString())


def _channel(request: Any) -> str:
    """The channel that a proposal is for, empty where it is for none."""
    try:
        proposal = proposal_pb2.Proposal.FromString(request.proposal_bytes)
        header = common_pb2.Header.FromString(proposal.header)
        return str(common_pb2.ChannelHeader.FromString(header.channel_header).channel_id)
    except DecodeError:
        raise endorser.ProposalRefusedError("the proposal cannot be read") from None


def _refused(message: str) -> Any:
    response = proposal_response_pb2.Response(status=500, message=message)
    return proposal_response_pb2.ProposalResponse(version=1, response=response)
