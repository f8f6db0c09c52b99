"""An in-memory ledger as an auditor would have proven it from blocks, without the blocks."""

from __future__ import annotations

from chaincode.shim.identity import ClientIdentity
from client.audit.proof import NAMESPACE, Ledger, Writing
from client.audit.state import Change, State
from support.memory_stub import MemoryLedger


def proven(memory: MemoryLedger) -> Ledger:
    """Every writing of every key, one block per transaction."""
    ledger = Ledger(channel=None, state=State())  # type: ignore[arg-type]
    for key, entries in memory.past.items():
        for entry in reversed(entries):
            function, creator = memory.calls[entry.tx_id]
            signer = ClientIdentity.parse(creator)
            value = None if entry.is_delete else entry.value
            block = int(entry.tx_id, 16)
            ledger.state.apply(Change(NAMESPACE, key, True, value), (block, 0))
            writing = Writing(
                value=value,
                block=block,
                tx_id=entry.tx_id,
                seconds=entry.seconds,
                function=function,
                msp_id=signer.msp_id,
                common_name=signer.common_name,
                endorsers=(),
            )
            ledger.writings.setdefault(key, []).append(writing)
    return ledger
