"""Sharing a local model with chosen nodes: enciphered once, its key wrapped for each recipient."""

from __future__ import annotations

import hashlib

from chaincode.schema.datasets import LocalTraining
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.sharing import (
    EnvelopeBinding,
    Gain,
    Grant,
    KeyBinding,
    LocalKind,
    LocalModel,
)
from client.consortium import Consortium
from client.content import ContentStore
from client.content import envelope as envelopes


def publish(
    consortium: Consortium,
    store: ContentStore,
    model_id: str,
    content: bytes,
    *,
    kind: LocalKind,
    base_sha256: str | None = None,
    trained: LocalTraining | None = None,
    gain: Gain | None = None,
) -> tuple[LocalModel, bytes]:
    """Store a model enciphered and publish its record.

    Args:
        trained: its training with differential privacy, which is charged to the dataset's account;
            a personal model needs one.
        gain: what the hospital tells of how the model does.

    Returns:
        the record, and the content key (32 bytes), which the owner keeps to itself.
    """
    key = envelopes.new_key()
    plain_sha256 = hashlib.sha256(content).hexdigest()
    binding = EnvelopeBinding(
        msp_id=consortium.identity.msp_id, model_id=model_id, plain_sha256=plain_sha256
    )
    ref = store.put(envelopes.seal(content, key, binding.digest))
    record = consortium.sharing.publish(
        model_id=model_id,
        kind=kind,
        base_sha256=base_sha256,
        plain_sha256=plain_sha256,
        content=ref,
        trained=trained,
        gain=gain,
    )
    return record, key


def grant(
    consortium: Consortium,
    store: ContentStore,
    model_id: str,
    key: bytes,
    *,
    recipient: tuple[str, str],
    certificate_pem: bytes,
    until: int,
) -> Grant:
    """Let a node fetch a model of one's own until a point in time.

    Args:
        recipient: the node's hospital (MSP id) and name.
        certificate_pem: the recipient's certificate; it must be of the key that is registered.

    Raises:
        MedFabricError: ``BAD_IDENTITY`` where it is not; as of transactions and stores.
    """
    msp_id, node_id = recipient
    own = consortium.identity.msp_id
    public, digest = envelopes.recipient(certificate_pem)
    node = consortium.nodes.get(msp_id=msp_id, node_id=node_id)
    if node.public_key_sha256 != digest:
        raise MedFabricError(
            Code.BAD_IDENTITY,
            f"the certificate is not of the key that {node_id} of {msp_id} is registered with; "
            "get the right one",
        )
    model = consortium.sharing.get(msp_id=own, model_id=model_id).model
    binding = KeyBinding(
        msp_id=own,
        model_id=model_id,
        plain_sha256=model.plain_sha256,
        recipient_msp=msp_id,
        recipient_node=node_id,
        public_key_sha256=digest,
    )
    ref = store.put(envelopes.wrap(key, public, binding.digest))
    return consortium.sharing.grant(
        model_id=model_id, recipient_msp=msp_id, recipient_node=node_id, key=ref, until=until
    )


def receive(consortium: Consortium, store: ContentStore, owner: str, model_id: str) -> bytes:
    """Sign for a shared model, fetch and open it.

    Raises:
        MedFabricError: ``GRANT_MISSING``, ``ENVELOPE_REFUSED``, ``CONTENT_TAMPERED``; as of stores.
    """
    consortium.sharing.receive(msp_id=owner, model_id=model_id)
    shared = consortium.sharing.get(msp_id=owner, model_id=model_id)
    model, granted = shared.model, shared.grant
    if granted is None or model.content is None:
        raise MedFabricError(Code.GRANT_MISSING, "one's own model needs no grant; open it by key")
    identity = consortium.identity
    binding = KeyBinding(
        msp_id=owner,
        model_id=model_id,
        plain_sha256=model.plain_sha256,
        recipient_msp=identity.msp_id,
        recipient_node=identity.name,
        public_key_sha256=identity.public_key_sha256,
    )
    key = envelopes.unwrap(store.get(granted.key), identity, binding.digest)
    whole = EnvelopeBinding(msp_id=owner, model_id=model_id, plain_sha256=model.plain_sha256)
    content = envelopes.unseal(store.get(model.content), key, whole.digest)
    if hashlib.sha256(content).hexdigest() != model.plain_sha256:
        raise MedFabricError(
            Code.CONTENT_TAMPERED, f"{owner} enciphered another model than its record names; ask it"
        )
    return content
