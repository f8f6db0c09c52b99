"""What ``medfabric node infer`` does: ask, answer and open, by files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from chaincode.schema import canonical
from chaincode.schema.base import Language, Sha256
from chaincode.schema.data import DataTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.rounds import ModelStatus
from client.consortium import Consortium
from client.files import write_whole
from client.identity import Identity
from trainer.data.files import checked
from trainer.data.inputs import inputs
from trainer.data.raw import Raw, numbered
from trainer.inference.network import ARCHITECTURE, Network
from trainer.inference.private import answer, ask, open_answer
from trainer.models import registry, weights
from trainer.node.config import NodeConfig, load
from trainer.node.main import open_store
from trainer.privacy.dealing import KeySecret


class _Kept(Language):
    """What opens an answer: for the asker's eyes alone."""

    model_sha256: Sha256
    query_sha256: Sha256
    images: Annotated[int, Field(ge=1, le=2**20)]
    secret_hex: Sha256


def ask_privately(config: Path, address: str, images: Path, key: Path, out: Path) -> dict[str, Any]:
    """Encrypt the images of an NPZ file (``features``, in the plan's units) for a model, and say on
    the ledger that they are asked about.

    Raises:
        MedFabricError: ``MODEL_RECALLED``, ``NOT_PRIVATE``, ``DATA_FILE``, ``FILE_UNUSABLE``.
    """
    node = load(config)
    with ledger(node) as consortium:
        network, terms = _published(node, consortium, address)
    query = ask(features(images, terms), network, address)
    kept = _Kept(
        model_sha256=address,
        query_sha256=query.sha256,
        images=query.images,
        secret_hex=query.secret.seed.hex(),
    )
    write(key, canonical.dumps(kept))
    write(out, query.content)
    with ledger(node) as consortium:
        consortium.inferences.ask(model_sha256=address, query_sha256=query.sha256)
    return {"model": address, "query": query.sha256, "images": query.images}


def answer_privately(config: Path, address: str, query: Path, out: Path) -> dict[str, Any]:
    """Answer an encrypted query by the model with this address, and say so on the ledger.

    Raises:
        MedFabricError: ``NOT_FOUND`` where nobody has said on the ledger that he asks this.
    """
    node = load(config)
    with ledger(node) as consortium:
        network, _ = _published(node, consortium, address)
        try:
            with query.open("rb") as file:
                asked = hashlib.file_digest(file, "sha256").hexdigest()
                consortium.inferences.get(model_sha256=address, query_sha256=asked)
                content = answer(file, network, address)
        except OSError as error:
            raise unusable(query, error) from None
        write(out, content)
        digest = hashlib.sha256(content).hexdigest()
        given = {"model_sha256": address, "query_sha256": asked}
        consortium.inferences.answer(**given, answer_sha256=digest)
    return {"model": address, "query": asked, "answer": digest}


def open_privately(config: Path, key: Path, content: Path) -> dict[str, Any]:
    """What the model predicts, by class.

    Raises:
        MedFabricError: ``NOT_ANSWERED`` where no node has said on the ledger that this is its
            answer.
    """
    try:
        kept, sealed = _Kept.model_validate_json(key.read_bytes()), content.read_bytes()
    except OSError as error:
        raise unusable(Path(str(error.filename)), error) from None
    except ValidationError:
        raise MedFabricError(Code.FILE_UNUSABLE, f"{key} opens no answer; name its key") from None
    node = load(config)
    with ledger(node) as consortium:
        network, terms = _published(node, consortium, kept.model_sha256)
        sides = _answered(consortium, kept, sealed)
    secret = KeySecret.from_bytes(bytes.fromhex(kept.secret_hex))
    asked = (kept.images, network, kept.model_sha256, kept.query_sha256)
    scores = open_answer(sealed, secret, *asked)
    return {
        "model": kept.model_sha256,
        "answer": hashlib.sha256(sealed).hexdigest(),
        **sides,
        "predictions": [
            {"image": number, "class": terms.classes[int(row.argmax())], "scores": rounded(row)}
            for number, row in enumerate(scores)
        ],
    }


def ledger(node: NodeConfig) -> Consortium:
    """The ledger as the node sees it."""
    return Consortium.connect(node.connection, Identity.load(node.identity))


def _answered(consortium: Consortium, kept: _Kept, sealed: bytes) -> dict[str, list[str]]:
    """The nodes that stand for this answer on the ledger, and those that gave another."""
    view = consortium.inferences.get(model_sha256=kept.model_sha256, query_sha256=kept.query_sha256)
    digest = hashlib.sha256(sealed).hexdigest()
    sides: dict[str, list[str]] = {"answered_by": [], "answered_otherwise_by": []}
    for one in view.inferences:
        side = "answered_by" if one.answer_sha256 == digest else "answered_otherwise_by"
        sides[side].append(f"{one.msp_id}/{one.node_id}")
    if not sides["answered_by"]:
        raise MedFabricError(
            Code.NOT_ANSWERED, "no node stands for this answer on the ledger; have it answer again"
        )
    return sides


def _published(node: NodeConfig, consortium: Consortium, address: str) -> tuple[Network, DataTerms]:
    """The model with this address: on the ledger, not recalled, and its file of this hash."""
    found = consortium.models.get(sha256=address)
    plan = consortium.plans.get(plan_id=found.plan_id).plan.terms
    if found.model.sha256 != address:
        raise MedFabricError(
            Code.CONTENT_TAMPERED, "the peer named another model; audit the hospital's peer"
        )
    if found.status is ModelStatus.RECALLED:
        raise MedFabricError(
            Code.MODEL_RECALLED, f"model {address} was recalled ({found.reason}); use another"
        )
    if plan.model.architecture != ARCHITECTURE:
        raise MedFabricError(
            Code.NOT_PRIVATE,
            f"{address} is a {plan.model.architecture}; private predictions are of {ARCHITECTURE}",
        )
    shapes = registry.layout(registry.build(ARCHITECTURE, plan.model.config))
    flat, _ = weights.decode_of(plan, open_store(node).get(found.model), shapes)
    return Network.of(plan.model.config, named(flat, shapes)), plan.data


def named(flat: NDArray[np.float32], shapes: registry.Layout) -> dict[str, NDArray[np.float32]]:
    """Parameters by name, from all of them flattened."""
    places = np.cumsum([registry.size(((name, shape),)) for name, shape in shapes])[:-1]
    parts = zip(shapes, np.split(flat, places), strict=True)
    return {name: part.reshape(shape) for (name, shape), part in parts}


def features(path: Path, terms: DataTerms) -> NDArray[np.float32]:
    """A model's inputs from the records of an NPZ file: ``float32[n, values]`` in [-1, 1].

    Raises:
        MedFabricError: ``FILE_UNUSABLE``, ``DATA_FILE``, ``DATA_MISMATCH`` or ``DATA_VALUE``.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = np.atleast_1d(np.asarray(arrays["features"], dtype=np.float64))
    except OSError as error:
        raise unusable(path, error) from None
    except (ValueError, TypeError, KeyError) as error:
        raise MedFabricError(Code.DATA_FILE, f"{path} needs an array 'features': {error}") from None
    # Neither its label nor whose it is makes a record's prediction.
    unlabelled, patients = np.zeros(len(found), dtype=np.int64), np.arange(len(found))
    raw = checked(path, Raw(found, unlabelled, numbered(len(found)), patients), terms)
    return inputs(raw, terms).reshape(len(found), -1)


def rounded(row: NDArray[np.float64]) -> list[float]:
    """Scores as they are shown."""
    # The last digits hold the encryption's noise, which is nobody's business.
    return [round(float(score), 2) for score in row]


def write(path: Path, content: bytes) -> None:
    """A file for its owner's eyes."""
    try:
        write_whole(path, content, mode=0o600)
    except OSError as error:
        raise unusable(path, error) from None


def unusable(path: Path, error: OSError) -> MedFabricError:
    """Of a file that cannot be read or written."""
    return MedFabricError(Code.FILE_UNUSABLE, f"{path}: {error.strerror}; name another file")
