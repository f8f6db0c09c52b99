"""A hospital's peer: simulates proposals on its own chaincode service and signs the results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
)
from google.protobuf.message import DecodeError

from client.audit.definitions import LIFECYCLE, member_hospitals, version
from client.audit.msp import Identity
from network.devnet import defining
from network.devnet.access import READERS, WRITERS, AccessDeniedError, admit
from network.devnet.ledger import Ledger
from network.devnet.rwset import Results
from network.devnet.signer import Signer
from network.devnet.simulator import Simulation
from network.devnet.stream import ChaincodeStream, ChaincodeUnavailableError, executed

QSCC = "qscc"


class ProposalRefusedError(Exception):
    """A proposal that no peer would run; the text says why."""


@dataclass(frozen=True)
class Proposal:
    """A signed proposal whose creator and signature were checked."""

    signed: proposal_pb2.SignedProposal
    header: common_pb2.Header
    channel: common_pb2.ChannelHeader
    chaincode: str
    args: list[bytes]
    payload: bytes
    """``ChaincodeProposalPayload`` without transient data: what goes on the ledger."""
    creator: Identity
    transient: bool = False


def check(signed: proposal_pb2.SignedProposal, ledger: Ledger, channel_id: str) -> Proposal:
    """Read a proposal and check whose it is.

    Raises:
        ProposalRefusedError: malformed, for another channel, badly signed, or by a stranger.
    """
    try:
        proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
        header = common_pb2.Header.FromString(proposal.header)
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        signature = common_pb2.SignatureHeader.FromString(header.signature_header)
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input).chaincode_spec
        extension = proposal_pb2.ChaincodeHeaderExtension.FromString(channel.extension)
    except DecodeError as error:
        raise ProposalRefusedError("the proposal cannot be read") from error
    if channel.channel_id != channel_id:
        raise ProposalRefusedError(f"channel {channel.channel_id!r} not found")
    if channel.type != common_pb2.HeaderType.ENDORSER_TRANSACTION:
        raise ProposalRefusedError("not a proposal of an endorser transaction")
    if extension.chaincode_id.name != spec.chaincode_id.name:
        raise ProposalRefusedError("header and payload name different chaincodes")
    expected = hashlib.sha256(signature.nonce + signature.creator).hexdigest()
    if not signature.nonce or channel.tx_id != expected:
        raise ProposalRefusedError("incorrectly computed txid")
    policy = READERS if spec.chaincode_id.name == QSCC else WRITERS
    try:
        creator = admit(
            ledger.channel, signature.creator, signed.proposal_bytes, signed.signature, policy
        )
    except AccessDeniedError as error:
        raise ProposalRefusedError(str(error)) from None
    if ledger.place(channel.tx_id) is not None:
        raise ProposalRefusedError(f"duplicate transaction found [{channel.tx_id}]")
    transient = bool(payload.TransientMap)
    payload.TransientMap.clear()
    return Proposal(
        signed,
        header,
        channel,
        spec.chaincode_id.name,
        list(spec.input.args),
        payload.SerializeToString(),
        creator,
        transient,
    )


@dataclass(frozen=True)
class Simulated:
    """A simulation's outcome. ``collections`` are (chaincode, name) of those touched, and of those
    among them whose values were read."""

    response: Any
    results: Results
    event: bytes
    collections: frozenset[tuple[str, str]]
    private_reads: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Endorsed:
    """A peer's answer to a proposal, and what it touched; see :class:`Simulated`."""

    response: Any
    """``ProposalResponse``, without endorsement where the chaincode refused."""
    simulated: Simulated


class Peer:
    """One hospital's peer.

    Args:
        chaincodes: by name, connections to this hospital's own chaincode services.
    """

    def __init__(
        self,
        slug: str,
        address: str,
        signer: Signer,
        chaincodes: Mapping[str, ChaincodeStream],
        ledger: Ledger,
    ) -> None:
        self.slug = slug
        self.address = address
        self.msp_id = signer.msp_id
        self.identity = signer.identity
        self._signer = signer
        self._chaincodes = chaincodes
        self._ledger = ledger

    def simulate(self, proposal: Proposal) -> Simulated:
        """Run the proposal against the committed state; changes nothing.

        Raises:
            ChaincodeUnavailableError: this hospital cannot run it, or not now.
        """
        with self._ledger.reading():
            simulation = Simulation(self._ledger, self.msp_id, proposal.creator)
            answer = self._execute(proposal, simulation, proposal.chaincode, proposal.args)
            results = simulation.results()
        outcome = executed(answer)
        event = _event(outcome.event, proposal)
        touched = simulation.collections()
        reads = frozenset(simulation.private_reads)
        return Simulated(outcome.response, results, event, touched, reads)

    def available(self, chaincode: str) -> bool:
        """Whether the chaincode's service is connected."""
        stream = self._chaincodes.get(chaincode)
        return stream is not None and stream.ready.is_set()

    def endorse(self, proposal: Proposal) -> Endorsed:
        """Simulate and sign; keep what is private until its block comes.

        Raises:
            ChaincodeUnavailableError: this hospital cannot run it, or not now, or too few others
                are there to take over its private data.
        """
        simulated = self.simulate(proposal)
        if simulated.response.status >= 400:
            refused = proposal_response_pb2.ProposalResponse(version=1, response=simulated.response)
            return Endorsed(refused, simulated)
        if simulated.results.private:
            self._check_dissemination(simulated.collections)
            self._ledger.stage(proposal.channel.tx_id, self.msp_id, simulated.results.private)
        content = response_payload(
            proposal,
            simulated.results.public,
            simulated.event,
            simulated.response,
            version(self._ledger.state, proposal.chaincode),
        )
        return Endorsed(self.sign(content, simulated.response), simulated)

    def _execute(
        self, proposal: Proposal, simulation: Simulation, chaincode: str, args: list[bytes]
    ) -> Any:
        """Run one chaincode within the transaction, and those that it calls."""
        if chaincode == LIFECYCLE:
            return defining.invoke(simulation, args)
        stream = self._chaincodes.get(chaincode)
        if stream is None or not self._ledger.defines(chaincode):
            raise ChaincodeUnavailableError(f"chaincode {chaincode} not found")

        def invoke(target: str, arguments: list[bytes]) -> Any:
            name, _, channel = target.partition("/")
            if channel not in ("", proposal.channel.channel_id):
                raise ValueError(f"failed to find ledger for channel: {channel}")
            return self._execute(proposal, simulation, name.partition(":")[0], arguments)

        return stream.execute(
            proposal.channel.channel_id,
            proposal.channel.tx_id,
            args,
            proposal.signed,
            simulation.enter(chaincode),
            invoke,
        )

    def _check_dissemination(self, collections: frozenset[tuple[str, str]]) -> None:
        # Every hospital of the devnet has one peer, which is always there.
        for chaincode, name in sorted(collections):
            found = self._ledger.collection(chaincode, name)
            hospitals = frozenset(self._ledger.channel.hospitals)
            eligible = (member_hospitals(found) & hospitals) - {self.msp_id}
            if len(eligible) < found.required_peer_count:
                raise ChaincodeUnavailableError(
                    f"required to disseminate to at least {found.required_peer_count} peers, but "
                    f"know of only {len(eligible)} eligible peers"
                )

    def sign(self, content: bytes, outcome: Any) -> Any:
        """A ``ProposalResponse`` endorsed by this peer."""
        endorsement = proposal_response_pb2.Endorsement(
            endorser=self._signer.identity,
            signature=self._signer.sign(content + self._signer.identity),
        )
        return proposal_response_pb2.ProposalResponse(
            version=1, response=outcome, payload=content, endorsement=endorsement
        )


def response_payload(
    proposal: Proposal, results: bytes, event: bytes, outcome: Any, version: str = ""
) -> bytes:
    """``ProposalResponsePayload`` bytes: what endorsers sign. System chaincodes have no version."""
    action = proposal_pb2.ChaincodeAction(
        results=results,
        events=event,
        response=outcome,
        chaincode_id=chaincode_pb2.ChaincodeID(name=proposal.chaincode, version=version),
    )
    digest = hashlib.sha256(
        proposal.header.channel_header + proposal.header.signature_header + proposal.payload
    ).digest()
    payload = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=digest, extension=action.SerializeToString(deterministic=True)
    )
    return bytes(payload.SerializeToString(deterministic=True))


def _event(event: Any | None, proposal: Proposal) -> bytes:
    if event is None:
        return b""
    event.chaincode_id = proposal.chaincode
    event.tx_id = proposal.channel.tx_id
    return bytes(event.SerializeToString(deterministic=True))
