"""How a gateway gathers endorsements: the own peer first, then as few others as policies ask."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc

from client.audit import policy
from client.audit.definitions import LIFECYCLE, member_hospitals
from client.audit.transactions import InvalidTransactionError, Transaction, parse_prepared
from network.devnet import envelope
from network.devnet.endorser import Endorsed, Peer, Proposal
from network.devnet.ledger import Ledger
from network.devnet.stream import ChaincodeUnavailableError

_THREADS = 16
Failures = list[tuple[Peer, str]]
T = TypeVar("T")


class NotEndorsedError(Exception):
    """The endorsements do not suffice; ``failures`` is what single peers say."""

    def __init__(self, code: grpc.StatusCode, why: str, failures: Failures) -> None:
        super().__init__(why)
        self.code = code
        self.failures = failures


class Collector:
    """Gathers endorsements at one hospital's gateway.

    Args:
        own: this hospital's peer.
        peers: gives the peers of the channel's members, the own one first.
    """

    def __init__(
        self, own: Peer, peers: Callable[[], Sequence[Peer]], ledger: Ledger, channel_id: str
    ) -> None:
        self._own = own
        self._peers = peers
        self._ledger = ledger
        self._channel_id = channel_id
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="endorse")

    def collect(self, proposal: Proposal, named: Sequence[str]) -> bytes:
        """``Payload`` bytes of the transaction, for its creator to sign.

        Args:
            named: MSP ids that the client chose; the choice is then its own responsibility.

        Raises:
            NotEndorsedError: with the status that Fabric's gateway gives.
        """
        if named:
            return self._of_named(proposal, named)
        if proposal.chaincode != LIFECYCLE and not self._ledger.defines(proposal.chaincode):
            raise NotEndorsedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "no combination of peers can be derived which satisfy the endorsement policy: No "
                f"metadata was found for chaincode {proposal.chaincode} in channel "
                f"{self._channel_id}",
                [],
            )
        gathered = _Gathered()
        self._ask(proposal, [self._own], gathered)
        if gathered.failures:
            raise NotEndorsedError(
                grpc.StatusCode.ABORTED,
                "failed to endorse transaction, see attached details for more info",
                gathered.failures,
            )
        while further := self._further(proposal, gathered):
            self._ask(proposal, further, gathered)
        return envelope.payload(proposal, gathered.responses)

    def _of_named(self, proposal: Proposal, named: Sequence[str]) -> bytes:
        peers = [peer for peer in self._peers() if peer.msp_id in named]
        strangers = set(named) - {peer.msp_id for peer in peers}
        if strangers:
            why = f"failed to find any endorsing peers for org(s): {', '.join(sorted(strangers))}"
            raise NotEndorsedError(grpc.StatusCode.UNAVAILABLE, why, [])
        gathered = _Gathered()
        self._ask(proposal, peers, gathered)
        if gathered.failures:
            raise _too_few(gathered)
        return envelope.payload(proposal, gathered.responses)

    def _ask(self, proposal: Proposal, peers: Sequence[Peer], gathered: _Gathered) -> None:
        for peer, answer in zip(
            peers, self._pool.map(lambda peer: _endorse(peer, proposal), peers), strict=True
        ):
            gathered.add(peer, answer)

    def _further(self, proposal: Proposal, gathered: _Gathered) -> list[Peer]:
        """The fewest further peers whose endorsements would suffice; none where they do."""
        content = envelope.payload(proposal, gathered.responses[:1])
        try:
            first = parse_prepared(content, self._ledger.channel, self._channel_id)
        except InvalidTransactionError as error:
            raise NotEndorsedError(
                grpc.StatusCode.ABORTED, f"failed to assemble transaction: {error}", []
            ) from None
        # As in Fabric a gateway takes the peers' word: committing peers verify every signature.
        transaction = self._with(first, gathered.endorsers[1:])
        others = [peer for peer in self._peers() if peer not in gathered.asked]
        chosen = [peer for peer in others if self._may_see(peer, proposal, gathered)]
        # Those that cannot answer now are the last to be chosen.
        chosen.sort(key=lambda peer: not peer.available(proposal.chaincode))
        if not self._suffice(transaction, chosen):
            if gathered.failures:
                raise _too_few(gathered)
            why = (
                "no combination of peers can be derived which satisfy the endorsement policy: no "
                "peer combination can satisfy the endorsement policy"
            )
            if proposal.transient and self._suffice(transaction, others):
                names = sorted(name for _, name in gathered.collections)
                why = (
                    "requires endorsement from organisation(s) that are not in the distribution "
                    f"policy of the private data collection(s): {names}; retry specifying trusted "
                    "endorsing organizations to protect transient data"
                )
            raise NotEndorsedError(grpc.StatusCode.FAILED_PRECONDITION, why, [])
        return fewest(chosen, lambda some: self._suffice(transaction, some))

    def _may_see(self, peer: Peer, proposal: Proposal, gathered: _Gathered) -> bool:
        """Whether a further peer can run the proposal, and may be shown it.

        To read private values it must be a member of their collections. Transient data are shown
        to members of all collections that the proposal touches, and to nobody else.
        """
        touched = gathered.collections if proposal.transient else gathered.private_reads
        return all(
            peer.msp_id in member_hospitals(self._ledger.collection(chaincode, name))
            for chaincode, name in touched
        )

    def _suffice(self, transaction: Transaction, further: Sequence[Peer]) -> bool:
        try:
            self._ledger.check_endorsements(self._with(transaction, further))
        except (InvalidTransactionError, policy.UnsupportedPolicyError):
            return False
        return True

    def _with(self, transaction: Transaction, further: Sequence[Peer]) -> Transaction:
        """The transaction as if these peers had endorsed it too."""
        members = self._ledger.channel.members
        endorsers = tuple(members.identity(peer.identity) for peer in further)
        return dataclasses.replace(transaction, endorsers=transaction.endorsers + endorsers)


def fewest(enough: Sequence[T], suffice: Callable[[Sequence[T]], bool]) -> list[T]:
    """Of these, which suffice together, some of which none is needless; the first rather.

    Args:
        suffice: whether some do; with further ones they do all the more.
    """
    # Where they begin to suffice is found by halves: of many hospitals' peers most are needless.
    last = bisect.bisect_left(range(len(enough)), True, key=lambda n: suffice(enough[:n]))
    chosen = list(enough[:last])
    for one in reversed(chosen[:-1]):
        fewer = [other for other in chosen if other is not one]
        if suffice(fewer):
            chosen = fewer
    return chosen


class _Gathered:
    """Agreeing responses, and what went wrong."""

    def __init__(self) -> None:
        self.asked: list[Peer] = []
        self.endorsers: list[Peer] = []
        self.responses: list[object] = []
        self.failures: Failures = []
        self.collections: frozenset[tuple[str, str]] = frozenset()
        self.private_reads: frozenset[tuple[str, str]] = frozenset()
        self._payload = b""

    def add(self, peer: Peer, answer: Endorsed | str) -> None:
        self.asked.append(peer)
        if isinstance(answer, str):
            self.failures.append((peer, answer))
            return
        payload = answer.response.payload
        if not self.responses:
            self._payload = payload
            self.collections = answer.simulated.collections
            self.private_reads = answer.simulated.private_reads
        if payload != self._payload:
            self.failures.append((peer, "ProposalResponsePayloads do not match"))
            return
        self.endorsers.append(peer)
        self.responses.append(answer.response)


def refusal(status: int, message: str) -> str:
    """A chaincode's refusal in the words of Fabric's gateway."""
    return f"chaincode response {status}, {message}"


def _endorse(peer: Peer, proposal: Proposal) -> Endorsed | str:
    try:
        endorsed = peer.endorse(proposal)
    except ChaincodeUnavailableError as error:
        return str(error)
    response = endorsed.response
    if response.HasField("endorsement"):
        return endorsed
    return refusal(response.response.status, response.response.message)


def _too_few(gathered: _Gathered) -> NotEndorsedError:
    return NotEndorsedError(
        grpc.StatusCode.ABORTED,
        "failed to collect enough transaction endorsements, see attached details for more info",
        gathered.failures,
    )
