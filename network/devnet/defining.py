"""The system chaincode ``_lifecycle``: chaincodes' definitions, approved by hospital, committed.

A hospital approves into its own implicit collection, so that others know its approval by hashes
alone; a definition is committed where the hospitals whose peers endorse that have approved the very
same. Keys, values and words are Fabric's (core/chaincode/lifecycle).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from fabric_protos.peer import (
    chaincode_shim_pb2,
    collection_pb2,
    proposal_response_pb2,
)
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2, lifecycle_pb2
from google.protobuf.message import DecodeError

from client.audit.definitions import FIELDS, IMPLICIT, LIFECYCLE, field_key, metadata_key
from client.audit.msp import Identity
from network.devnet import collection_rules
from network.devnet.simulator import Simulation, Simulator
from network.endorsement import application_policy

MAX_PACKAGE_BYTES = 64 * 1024 * 1024
_PARAMETERS = FIELDS[1:]
_Message = chaincode_shim_pb2.ChaincodeMessage


class _RefusedError(Exception):
    """What the system chaincode refuses, in the peer's words."""


def invoke(simulation: Simulation, args: list[bytes]) -> Any:
    """Run one function; returns a ``ChaincodeMessage`` as a chaincode's last one is."""
    try:
        kind, serve = _FUNCTIONS[args[0].decode("utf-8", "replace")]
        answer = serve(Simulator(simulation, LIFECYCLE), kind.FromString(args[1]))
        response = proposal_response_pb2.Response(status=200, payload=answer.SerializeToString())
    except _RefusedError as error:
        response = _failed(f"failed to invoke backing implementation of the lifecycle: {error}")
    except (KeyError, IndexError, DecodeError):
        response = _failed("failed to decode input arg to the lifecycle")
    return _Message(type=_Message.COMPLETED, payload=response.SerializeToString())


def install(creator: Identity, msp_id: str, args: list[bytes]) -> Any:
    """Look at a package that a hospital's admin installs; returns the ``Response``.

    The devnet keeps none: which package a service runs, its configuration says.
    """
    try:
        _require_admin(creator, msp_id)
        if args[:1] != [b"InstallChaincode"] or len(args) != 2:
            raise _RefusedError("the lifecycle has no such function outside channels")
        content = lifecycle_pb2.InstallChaincodeArgs.FromString(args[1]).chaincode_install_package
        label = _label(content)
    except (_RefusedError, DecodeError) as error:
        return _failed(str(error))
    package_id = f"{label}:{hashlib.sha256(content).hexdigest()}"
    result = lifecycle_pb2.InstallChaincodeResult(package_id=package_id, label=label)
    return proposal_response_pb2.Response(status=200, payload=result.SerializeToString())


def fields(args: Any) -> dict[str, bytes]:
    """A definition's parameters as they are stored, by name; without its sequence number."""
    parameter = args.validation_parameter or application_policy(None).SerializeToString()
    endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo(
        version=args.version,
        init_required=args.init_required,
        endorsement_plugin=args.endorsement_plugin or "escc",
    )
    validation = chaincode_definition_pb2.ChaincodeValidationInfo(
        validation_plugin=args.validation_plugin or "vscc", validation_parameter=parameter
    )
    parts = (endorsement, validation, args.collections)
    return {
        name: _stored(Bytes=part.SerializeToString(deterministic=True))
        for name, part in zip(_PARAMETERS, parts, strict=True)
    }


def definition(args: Any) -> Iterator[tuple[str, bytes]]:
    """Keys and values of a committed definition."""
    metadata = db_pb2.StateMetadata(datatype="ChaincodeDefinition", fields=FIELDS)
    yield metadata_key(args.name), metadata.SerializeToString()
    yield field_key(args.name, "Sequence"), _stored(Int64=args.sequence)
    for name, value in fields(args).items():
        yield field_key(args.name, name), value


def _approve(state: Simulator, args: Any) -> Any:
    own = state.simulation.msp_id
    _require_admin(state.simulation.creator, own)
    _check_collections(state, args)
    present = _sequence(state, args.name)
    if args.sequence not in (present, present + 1) or args.sequence < 1:
        raise _RefusedError(
            f"requested sequence {args.sequence} is neither the current sequence {present} nor the "
            "next available sequence number"
        )
    about = f"sequence ({args.sequence}) for namespace {args.name}"
    if args.sequence == present and not _is_committed(state, args):
        raise _RefusedError(
            f"attempted to redefine the current committed {about} with different parameters"
        )
    wanted = dict(_approval(args))
    if all(_hash(state, own, key) == _sha256(value) for key, value in wanted.items()):
        kind = "current committed" if args.sequence == present else "uncommitted"
        raise _RefusedError(f"attempted to redefine {kind} {about} with unchanged content")
    for key, value in wanted.items():
        state.put_private(f"{IMPLICIT}{own}", key, value)
    return lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgResult()


def _check_collections(state: Simulator, args: Any) -> None:
    raw = state.get(field_key(args.name, "Collections"))
    present = collection_pb2.CollectionConfigPackage.FromString(
        db_pb2.StateData.FromString(raw).Bytes
    )
    try:
        collection_rules.check(args.collections, present, state.simulation.ledger.channel.hospitals)
    except collection_rules.CollectionRefusedError as error:
        raise _RefusedError(str(error)) from None


def _check_readiness(state: Simulator, args: Any) -> Any:
    approvals = _next_approvals(state, args)
    return lifecycle_pb2.CheckCommitReadinessResult(approvals=approvals)


def _commit(state: Simulator, args: Any) -> Any:
    own = state.simulation.msp_id
    _check_collections(state, args)
    if not _next_approvals(state, args).get(own):
        raise _RefusedError(f"chaincode definition not agreed to by this org ({own})")
    for key, value in definition(args):
        state.put(key, value)
    return lifecycle_pb2.CommitChaincodeDefinitionResult()


def _query(state: Simulator, args: Any) -> Any:
    sequence = _sequence(state, args.name)
    if not sequence:
        raise _RefusedError(f"namespace {args.name} is not defined")
    raw = [state.get(field_key(args.name, name)) for name in _PARAMETERS]
    parts = [db_pb2.StateData.FromString(value).Bytes for value in raw]
    endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo.FromString(parts[0])
    validation = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(parts[1])
    found = lifecycle_pb2.QueryChaincodeDefinitionResult(
        sequence=sequence,
        version=endorsement.version,
        endorsement_plugin=endorsement.endorsement_plugin,
        validation_plugin=validation.validation_plugin,
        validation_parameter=validation.validation_parameter,
        collections=collection_pb2.CollectionConfigPackage.FromString(parts[2]),
        init_required=endorsement.init_required,
    )
    stored = dict(zip(_PARAMETERS, raw, strict=True))
    for msp_id in state.simulation.ledger.channel.hospitals:
        found.approvals[msp_id] = _has_approved(state, msp_id, args.name, sequence, stored)
    return found


def _next_approvals(state: Simulator, args: Any) -> dict[str, bool]:
    """Which hospitals have approved what would be the next definition."""
    present = _sequence(state, args.name)
    if args.sequence != present + 1:
        raise _RefusedError(
            f"requested sequence is {args.sequence}, but new definition must be sequence "
            f"{present + 1}"
        )
    wanted = fields(args)
    return {
        msp_id: _has_approved(state, msp_id, args.name, args.sequence, wanted)
        for msp_id in state.simulation.ledger.channel.hospitals
    }


def _has_approved(
    state: Simulator, msp_id: str, name: str, sequence: int, wanted: dict[str, bytes]
) -> bool:
    stored = dict(_parameters(name, sequence, wanted))
    return all(_hash(state, msp_id, key) == _sha256(value) for key, value in stored.items())


def _is_committed(state: Simulator, args: Any) -> bool:
    return all(
        state.get(field_key(args.name, name)) == value for name, value in fields(args).items()
    )


def _approval(args: Any) -> Iterator[tuple[str, bytes]]:
    """Keys and private values of a hospital's approval: the parameters, and its own package."""
    yield from _parameters(args.name, args.sequence, fields(args))
    name = f"{args.name}#{args.sequence}"
    source = db_pb2.StateMetadata(datatype="ChaincodeLocalPackage", fields=["PackageID"])
    yield f"chaincode-sources/metadata/{name}", source.SerializeToString()
    package_id = args.source.local_package.package_id
    yield f"chaincode-sources/fields/{name}/PackageID", _stored(String=package_id)


def _parameters(name: str, sequence: int, values: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    metadata = db_pb2.StateMetadata(datatype="ChaincodeParameters", fields=_PARAMETERS)
    yield metadata_key(f"{name}#{sequence}"), metadata.SerializeToString()
    for field, value in values.items():
        yield field_key(f"{name}#{sequence}", field), value


def _sequence(state: Simulator, name: str) -> int:
    raw = state.get(field_key(name, "Sequence"))
    return int(db_pb2.StateData.FromString(raw).Int64) if raw else 0


def _hash(state: Simulator, msp_id: str, key: str) -> bytes:
    return state.get_private_hash(f"{IMPLICIT}{msp_id}", key)


def _stored(**value: Any) -> bytes:
    return bytes(db_pb2.StateData(**value).SerializeToString())


def _sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def _require_admin(creator: Identity, msp_id: str) -> None:
    if (creator.msp_id, creator.kind) != (msp_id, "admin"):
        raise _RefusedError(f"access denied: the creator is not an admin of {msp_id}")


def _label(content: bytes) -> str:
    if len(content) > MAX_PACKAGE_BYTES:
        raise _RefusedError("the chaincode package is too large")
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as package:
            metadata = package.extractfile("metadata.json")
            return str(json.loads(metadata.read(4096) if metadata else b"")["label"])
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise _RefusedError(
            f"could not parse as a chaincode install package: {type(error).__name__}"
        ) from None


def _failed(message: str) -> Any:
    return proposal_response_pb2.Response(status=500, message=message)


_FUNCTIONS: dict[str, tuple[Any, Callable[[Simulator, Any], Any]]] = {
    "ApproveChaincodeDefinitionForMyOrg": (
        lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs,
        _approve,
    ),
    "CheckCommitReadiness": (lifecycle_pb2.CheckCommitReadinessArgs, _check_readiness),
    "CommitChaincodeDefinition": (lifecycle_pb2.CommitChaincodeDefinitionArgs, _commit),
    "QueryChaincodeDefinition": (lifecycle_pb2.QueryChaincodeDefinitionArgs, _query),
}
