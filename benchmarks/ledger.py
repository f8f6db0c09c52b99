"""What a round leaves on the ledger, in bytes for each node, and what an update's are made of.

On the devnet, and on real Fabric where its programs are: there the nodes' certificates are
fabric-ca-server's, where that is too. Training, encryption and content are simulated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from benchmarks._rows import alone
from benchmarks.scale import AIM_BYTES, Running, consortium_of
from network import binaries
from network.topology import Kind

SIZES = ((4, 1), (4, 5), (10, 10))
"""Hospitals, and nodes of each."""
UPDATE = "round:SubmitUpdate"
_NAMES = {Kind.DEVNET: "devnet", Kind.FABRIC: "Fabric"}
_ROUNDS = 2


def rows() -> list[dict[str, Any]]:
    """By network and size the second round's bytes for each node; for the last size the parts of
    its updates."""
    kinds = [Kind.DEVNET, *([Kind.FABRIC] if binaries.present() else [])]
    return [row for kind in kinds for row in _on(kind)]


def _on(kind: Kind) -> Iterator[dict[str, Any]]:
    for hospitals, nodes in SIZES:
        with consortium_of(hospitals, kind) as running:
            running.grow(nodes)
            for number in range(1, _ROUNDS + 1):
                running.round(number)
            whole = sum(map(sum, running.sizes(_ROUNDS).values())) / (hospitals * nodes)
            what = f"{_NAMES[kind]}, {hospitals} hospitals, {nodes} nodes each"
            yield alone(f"{what}: a round, per node", whole, "bytes", aim=str(AIM_BYTES))
            if (hospitals, nodes) == SIZES[-1]:
                for part, size in _update(running).items():
                    yield alone(f"{what}: of an update, {part}", size, "bytes")


def _update(running: Running) -> dict[str, float]:
    """Mean bytes of an update's parts."""
    found: Counter[str] = Counter()
    number = 0
    for function, envelope, around in running.transactions(_ROUNDS):
        if function == UPDATE:
            number += 1
            found.update(parts(envelope, around))
    return {part: size / number for part, size in found.items()}


def parts(envelope: bytes, around: int) -> dict[str, int]:
    """A transaction's bytes by what they are, with its share of the block around it."""
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    action = transaction_pb2.Transaction.FromString(payload.data).actions[0]
    content = transaction_pb2.ChaincodeActionPayload.FromString(action.payload)
    answer = proposal_response_pb2.ProposalResponsePayload.FromString(
        content.action.proposal_response_payload
    )
    did = proposal_pb2.ChaincodeAction.FromString(answer.extension)
    sets = [
        kv_rwset_pb2.KVRWSet.FromString(one.rwset)
        for one in rwset_pb2.TxReadWriteSet.FromString(did.results).ns_rwset
    ]
    found = {
        "its signer, twice": len(payload.header.signature_header) + len(action.header),
        "endorsements": sum(len(e.SerializeToString()) for e in content.action.endorsements),
        "arguments": len(content.chaincode_proposal_payload),
        "reads": sum(len(read.SerializeToString()) for one in sets for read in one.reads),
        "writes": sum(len(write.SerializeToString()) for one in sets for write in one.writes),
        "event and answer": len(did.events) + len(did.response.SerializeToString()),
        "its part of a block": around,
    }
    return {**found, "all else": len(envelope) + around - sum(found.values())}
