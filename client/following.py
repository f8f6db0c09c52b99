"""Blocks followed from one peer to the next: checked, in order, none left out, none twice.

What is taken from another hospital's peer must hold by itself. A block does: it continues the hash
chain, its data is what its header names, and a quorum of the orderers signed it, by the channel's
configuration, which is followed from a config block that is trusted at the start. Which of its
transactions are valid is its peer's word alone; ``client.audit`` proves that, from the first block
on. Chaincode events and queries are a peer's word too, and so stay with the own hospital's peer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from fabric_protos.common import common_pb2

from chaincode.schema.errors import MedFabricError
from client.audit.chain import Chain, ForgedBlockError
from client.closing import Closing
from client.connection import Connection, open_channel
from client.gateway import BlockEvents, Checkpoint, Detail, EventsError, Gateway, Scope
from client.identity import Identity

log = logging.getLogger("medfabric.client")


class BlockFollower(Closing, Iterator[common_pb2.Block]):
    """Waits for the next block; :meth:`close` ends the iteration, from any thread.

    The own hospital's peer first, then ``connection.peers`` in turn, each time one breaks off. A
    peer whose block does not hold is named in the log and not asked again. A block counts as
    processed when the next one is asked for: the checkpoint is saved then.

    Args:
        trusted: a config block, from a source that is trusted: the channel's genesis block, or
            for a start in the middle of the ledger the one then in force
            (:func:`client.configuration.fetch`).
        start_block: where to begin if the checkpoint has not begun; without it, with the block
            after the newest.

    Raises:
        MedFabricError: ``GENESIS_OTHER`` where ``trusted`` sets no configuration; ``BAD_ARGUMENT``
            for a start before it.
        EventsError (while iterating): no peer gives the next block; ``details`` say why. Asking
            again tries them all again.
    """

    def __init__(
        self,
        connection: Connection,
        identity: Identity,
        trusted: common_pb2.Block,
        *,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._connection = connection
        self._identity = identity
        self._chain = Chain(trusted)
        self._checkpoint = checkpoint
        if checkpoint is not None and checkpoint.begun:
            start_block = checkpoint.block_number
        self._start = start_block
        if start_block is not None:
            self._chain.begin(start_block)
        self._endpoints = [connection.gateway, *connection.peers]
        self._failures: list[Detail] = []
        self._given: int | None = None
        self._scope = Scope()
        self._lock = threading.Lock()
        self._gateway: Gateway | None = None
        self._events: BlockEvents | None = None

    def __next__(self) -> common_pb2.Block:
        if self._checkpoint is not None and self._given is not None:
            self._checkpoint.after_block(self._given)
        self._given = None
        while not self._closed:
            try:
                block = self._receive()
                self._chain.extend(block)
            except ForgedBlockError as error:
                self._leave(str(error), for_good=True)
            except MedFabricError as error:
                if not self._closed:
                    self._leave(str(error), for_good=False)
            else:
                self._failures.clear()
                if self._start is None:
                    # The newest block: the one from now on is the next.
                    self._start = block.header.number + 1
                else:
                    self._given = block.header.number
                    return block
        raise StopIteration

    def close(self) -> None:
        """End the iteration, also one that waits in another thread. Harmless when repeated."""
        self._scope.cancel()
        self._disconnect()

    @property
    def peer(self) -> str:
        """Address of the peer that is followed now."""
        return self._endpoints[0].address if self._endpoints else ""

    @property
    def _closed(self) -> bool:
        return self._scope.over is not None

    def _receive(self) -> common_pb2.Block:
        events = self._events or self._connect()
        block = next(events, None)
        if block is None:
            raise EventsError(EventsError.stage_code, "the peer ended the stream")
        return block

    def _connect(self) -> BlockEvents:
        if not self._endpoints:
            raise EventsError(EventsError.stage_code, "every peer gave blocks that do not hold")
        gateway = Gateway(
            open_channel(self._endpoints[0], self._identity),
            self._identity,
            channel_name=self._connection.channel,
            chaincode=self._connection.chaincode,
        )
        with self._lock:
            self._gateway = gateway
        if self._start is None:
            # The newest block is fetched too, to be checked: the next one continues it.
            self._chain.begin(gateway.height(scope=self._scope) - 1)
        events = gateway.block_events(start_block=self._chain.next)
        with self._lock:
            self._events = events
        if self._closed:
            self._disconnect()
        return events

    def _disconnect(self) -> None:
        with self._lock:
            gateway, self._gateway = self._gateway, None
            events, self._events = self._events, None
        if events is not None:
            events.close()
        if gateway is not None:
            gateway.close()

    def _leave(self, why: str, *, for_good: bool) -> None:
        """Turn to the next peer.

        Raises:
            EventsError: all have been tried since the last block.
        """
        self._disconnect()
        if not self._endpoints:
            raise EventsError(EventsError.stage_code, f"{why}; audit the hospitals' peers")
        endpoint = self._endpoints.pop(0)
        if not for_good:
            self._endpoints.append(endpoint)
        log.warning("the peer at %s is not followed further: %s", endpoint.address, why)
        self._failures.append(Detail(endpoint.address, "", why))
        tried = {detail.address for detail in self._failures}
        if all(other.address in tried for other in self._endpoints):
            details, self._failures = self._failures, []
            said = "; ".join(f"{detail.address}: {detail.message}" for detail in details)
            raise EventsError(
                EventsError.stage_code,
                f"no peer gives block {self._chain.next}: {said}; check that one runs, and go on",
                details=details,
            )
