"""The chaincodes' first definitions on the devnet's ledger, which nobody has to approve."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, proposal_response_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from google.protobuf import timestamp_pb2

from client.audit.definitions import LIFECYCLE
from client.audit.msp import Identity
from network.chaincode import Definition
from network.collections import package
from network.devnet import defining
from network.devnet.endorser import Peer, Proposal, response_payload
from network.devnet.envelope import envelope
from network.devnet.ledger import Ledger
from network.devnet.signer import Signer


def definition(
    ledger: Ledger, defined: Definition, submitter: Signer, peers: Sequence[Peer]
) -> bytes:
    """The transaction that commits a chaincode's definition, endorsed by every peer."""
    creator = ledger.channel.members.identity(submitter.identity)
    channel_id = ledger.channel_id
    args = lifecycle_pb2.CommitChaincodeDefinitionArgs(
        name=defined.name,
        version=defined.version,
        sequence=defined.sequence,
        validation_parameter=defined.policy,
        collections=package(defined.collections),
    )
    proposal = _proposal(channel_id, submitter, creator, args.SerializeToString())
    outcome = proposal_response_pb2.Response(status=200)
    content = response_payload(proposal, _writes(args), b"", outcome)
    return envelope(proposal, [peer.sign(content, outcome) for peer in peers], submitter)


def _proposal(channel_id: str, submitter: Signer, creator: Identity, args: bytes) -> Proposal:
    now = timestamp_pb2.Timestamp()
    now.GetCurrentTime()
    nonce = os.urandom(24)
    name = chaincode_pb2.ChaincodeID(name=LIFECYCLE)
    channel = common_pb2.ChannelHeader(
        type=common_pb2.HeaderType.ENDORSER_TRANSACTION,
        timestamp=now,
        channel_id=channel_id,
        tx_id=hashlib.sha256(nonce + submitter.identity).hexdigest(),
        extension=proposal_pb2.ChaincodeHeaderExtension(chaincode_id=name).SerializeToString(),
    )
    signature = common_pb2.SignatureHeader(creator=submitter.identity, nonce=nonce)
    header = common_pb2.Header(
        channel_header=channel.SerializeToString(),
        signature_header=signature.SerializeToString(),
    )
    arguments = [b"CommitChaincodeDefinition", args]
    spec = chaincode_pb2.ChaincodeSpec(
        chaincode_id=name, input=chaincode_pb2.ChaincodeInput(args=arguments)
    )
    invocation = chaincode_pb2.ChaincodeInvocationSpec(chaincode_spec=spec)
    payload = proposal_pb2.ChaincodeProposalPayload(input=invocation.SerializeToString())
    raw = payload.SerializeToString()
    proposed = proposal_pb2.Proposal(header=header.SerializeToString(), payload=raw)
    signed = proposal_pb2.SignedProposal(proposal_bytes=proposed.SerializeToString())
    return Proposal(signed, header, channel, LIFECYCLE, arguments, raw, creator)


def _writes(args: Any) -> bytes:
    writes = [
        kv_rwset_pb2.KVWrite(key=key, value=value)
        for key, value in sorted(defining.definition(args))
    ]
    sets = kv_rwset_pb2.KVRWSet(writes=writes)
    part = rwset_pb2.NsReadWriteSet(namespace=LIFECYCLE, rwset=sets.SerializeToString())
    return bytes(rwset_pb2.TxReadWriteSet(ns_rwset=[part]).SerializeToString())
