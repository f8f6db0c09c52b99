"""Deploying the chaincode: installed on every peer, approved by every hospital, committed."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.schema.errors import Code, MedFabricError
from network import topology
from network.base import wait_until
from network.chaincode import Definition, definitions, write_config
from network.collections import package as collection_package
from network.endorsing import admin_gateway, endorse
from network.topology import Hospital

if TYPE_CHECKING:
    from network.base import Network, Progress

_ORDERING = (
    "no orderer nodes available",
    "orderers could successfully process transaction",
    "submit timeout expired while broadcasting to ordering service",
    "DEADLINE_EXCEEDED",
    f"{Code.STATUS_UNKNOWN}: ",
)
"""What a gateway says while too few orderers are there; in the end, what the client does: those
that took the transaction have not agreed on a leader in time."""
_VERSION = re.compile(r"[A-Za-z0-9.+-]{1,64}")


def package(definition: Definition) -> bytes:
    """The package for the ``ccaas`` builder: the same bytes for every hospital and every run.

    It names the chaincode and carries neither address nor key; those lie beside each peer.
    """
    code = _archive({"service.json": _json({"service": definition.name})})
    metadata = _json({"type": "ccaas", "label": definition.label})
    return _archive({"metadata.json": metadata, "code.tar.gz": code})


def package_id(definition: Definition) -> str:
    """Label and SHA-256, as peers name the package."""
    return f"{definition.label}:{hashlib.sha256(package(definition)).hexdigest()}"


def deploy(network: Network) -> None:
    """Install, approve and commit every chaincode with its endorsement policy.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words.
    """
    for definition in definitions(network.topology):
        _deploy(network, definition)
    for hospital in network.topology.here:
        _wait_endorsing(network, hospital)


def settle(network: Network, seconds: float, progress: Progress) -> None:
    """Install and approve every chaincode at the hospital of this machine, and return when the
    consortium has committed them. The first hospital by name commits.

    Args:
        seconds: how long the others are waited for.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words, ``NOT_HEALTHY`` where it is not
            committed in time.
    """
    own = network.topology.here[0]
    for definition in definitions(network.topology, own):
        _install(network, own, definition)
        _approve_in_time(network, own, definition, seconds)
        progress(f"waiting for the other hospitals to approve {definition.name}")
        _committed_by_all(network, definition, seconds)
    _wait_endorsing(network, own)


def adopt(network: Network, hospital: Hospital) -> None:
    """Install and approve what the consortium has committed, at a hospital that has just joined.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words.
    """
    _, version = committed(network, hospital, network.topology.chaincode)
    if version != network.topology.chaincode_version:
        # On a machine of its own the hospital does not know what the others have agreed since.
        _run_version(network, hospital, version)
    for definition in definitions(network.topology, hospital):
        sequence, _ = committed(network, hospital, definition.name)
        _install(network, hospital, definition)
        approve(network, hospital, replace(definition, sequence=sequence))
    _wait_endorsing(network, hospital)


def upgrade(network: Network, version: str, progress: Progress, seconds: float = 60.0) -> int:
    """Define the contracts' next version, and have the services run it hospital by hospital.

    Each hospital approves the definition before one commits it; from then on a hospital endorses
    again when its service has been started anew. A command that was interrupted is given again.
    Where each hospital has its own machine, each gives it there.

    Args:
        seconds: how long the others' approval is waited for; then a majority's is enough.

    Returns:
        The sequence number of the definition.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` where this version runs already, or with the words of
            the peer that refuses.
    """
    if not _VERSION.fullmatch(version):
        raise MedFabricError(
            Code.LIFECYCLE_FAILED,
            f"{version!r} is no version; take letters, digits, dots, hyphens and plus signs",
        )
    hospitals = network.topology.here
    sequence, present = committed(network, hospitals[0], network.topology.chaincode)
    if present == network.topology.chaincode_version == version:
        raise MedFabricError(
            Code.LIFECYCLE_FAILED, f"the contracts are of version {version} already; name the next"
        )
    upgraded = network.topology.model_copy(update={"chaincode_version": version})
    sequence += present != version
    definition = replace(definitions(upgraded)[0], sequence=sequence)
    progress("installing and approving the chaincode")
    _agree(network, definition)
    progress("committing its definition")
    _committed_by_all(network, definition, seconds)
    for hospital in hospitals:
        progress(f"starting the chaincode of {hospital.slug} anew")
        _run_version(network, hospital, version)
        _wait_endorsing(network, hospital)
    return sequence


def _run_version(network: Network, hospital: Hospital, version: str) -> None:
    """Have the hospital's service run this version of the contracts."""
    network.topology = network.topology.model_copy(update={"chaincode_version": version})
    topology.save(network.topology, network.layout.folder)
    write_configs(network, hospital)
    network.restart(f"{hospital.slug}.chaincode")


def write_configs(network: Network, hospital: Hospital) -> None:
    """Write what the hospital's chaincode services read."""
    for definition in definitions(network.topology, hospital):
        write_config(network.layout, network.topology, hospital, definition, package_id(definition))


def committed(network: Network, hospital: Hospital, name: str) -> tuple[int, str]:
    """Sequence number and version of a chaincode's definition, as a hospital's peer has it.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words.
    """
    args = lifecycle_pb2.QueryChaincodeDefinitionArgs(name=name).SerializeToString()
    request = [b"QueryChaincodeDefinition", args]
    channel = network.topology.channel
    response = endorse(network.layout, hospital, "_lifecycle", request, channel=channel)
    if response.status != 200:
        raise _failed(hospital, "tell the chaincode's definition", response.message)
    found = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(response.payload)
    return int(found.sequence), str(found.version)


def readiness(network: Network, hospital: Hospital, definition: Definition) -> dict[str, bool]:
    """Which hospitals, by MSP id, have approved a definition that is not committed yet.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words.
    """
    args = lifecycle_pb2.CheckCommitReadinessArgs(**_arguments(definition)).SerializeToString()
    request = [b"CheckCommitReadiness", args]
    channel = network.topology.channel
    response = endorse(network.layout, hospital, "_lifecycle", request, channel=channel)
    if response.status != 200:
        raise _failed(hospital, "tell who approved", response.message)
    found = lifecycle_pb2.CheckCommitReadinessResult.FromString(response.payload)
    return dict(found.approvals)


def _committed_by_all(network: Network, definition: Definition, seconds: float) -> None:
    """Have a definition committed that is approved here: by this machine, if the first hospital by
    name is on it."""
    here = network.topology.here
    first = min(network.topology.hospitals, key=lambda hospital: hospital.slug)
    done = partial(_is_committed, network, here[0], definition)
    if first in here and not done():
        commit(network, definition, seconds)
    # The first hospital waits as long itself, for those that do not come.
    wait_until(done, f"the commit of {definition.name}", 2 * seconds, interval=0.2)


def _is_committed(network: Network, hospital: Hospital, definition: Definition) -> bool:
    try:
        sequence, _ = committed(network, hospital, definition.name)
    except MedFabricError as error:
        if error.code != Code.LIFECYCLE_FAILED:
            raise
        return False
    return sequence >= definition.sequence


def _approve_in_time(
    network: Network, hospital: Hospital, definition: Definition, seconds: float
) -> None:
    """Approve as soon as the orderers have agreed on who leads them."""

    def approved() -> bool:
        if _is_committed(network, hospital, definition):
            return True
        try:
            approve(network, hospital, definition)
        except MedFabricError as error:
            if any(words in error.message for words in _ORDERING):
                return False
            raise
        return True

    wait_until(approved, f"{hospital.slug} approving {definition.name}", seconds, interval=0.5)


def _deploy(network: Network, definition: Definition) -> None:
    _agree(network, definition)
    commit(network, definition)


def _agree(network: Network, definition: Definition) -> None:
    """Have every hospital on this machine install and approve."""
    hospitals = network.topology.here
    with ThreadPoolExecutor(len(hospitals)) as pool:
        list(pool.map(lambda hospital: _install(network, hospital, definition), hospitals))
        list(pool.map(lambda hospital: approve(network, hospital, definition), hospitals))


def _install(network: Network, hospital: Hospital, definition: Definition) -> None:
    args = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package(definition))
    request = [b"InstallChaincode", args.SerializeToString()]
    response = endorse(network.layout, hospital, "_lifecycle", request, channel="")
    if response.status != 200 and "already successfully installed" not in response.message:
        raise _failed(hospital, "install", response.message)


def approve(network: Network, hospital: Hospital, definition: Definition) -> None:
    """Have a hospital's admin approve a definition.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words.
    """
    source = lifecycle_pb2.ChaincodeSource(
        local_package=lifecycle_pb2.ChaincodeSource.Local(package_id=package_id(definition))
    )
    args = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        **_arguments(definition),
        source=source,
    )
    request = [b"ApproveChaincodeDefinitionForMyOrg", args.SerializeToString()]
    try:
        _submit(network, hospital, "approve", request, [hospital.msp_id])
    except MedFabricError as error:
        # A command that was interrupted had it approve this very definition before.
        other = "different parameters" in error.message
        if other or "attempted to redefine" not in error.message:
            raise


def commit(network: Network, definition: Definition, seconds: float = 60.0) -> None:
    """Commit a definition that the hospitals have approved.

    Args:
        seconds: how long all approvals are waited for; then those of a majority are enough.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` where a majority has not approved it, or with the
            peer's words.
    """
    first = network.topology.here[0]
    approved = _approvals(network, first, definition, seconds)
    args = lifecycle_pb2.CommitChaincodeDefinitionArgs(**_arguments(definition))
    request = [b"CommitChaincodeDefinition", args.SerializeToString()]

    def committed() -> bool:
        # Peers learn of each other by gossip; until then the first one finds too few endorsers.
        try:
            _submit(network, first, "commit", request, approved)
        except MedFabricError as error:
            if _is_passing(error):
                return False
            raise
        return True

    wait_until(committed, f"the commit of {definition.name}")


def _approvals(
    network: Network, hospital: Hospital, definition: Definition, seconds: float
) -> list[str]:
    """MSP ids of the hospitals that have approved, a majority at least."""
    known: dict[str, bool] = {}

    def complete() -> bool:
        known.update(readiness(network, hospital, definition))
        return all(known.values())

    # Another hospital's approval takes a moment to reach this peer.
    with suppress(MedFabricError):
        wait_until(complete, "every hospital's approval", seconds)
    known = readiness(network, hospital, definition)
    approved = [msp_id for msp_id, agrees in known.items() if agrees]
    if 2 * len(approved) <= len(known):
        missing = ", ".join(sorted(known.keys() - set(approved)))
        raise MedFabricError(
            Code.LIFECYCLE_FAILED,
            f"version {definition.version} is not approved by {missing}; ask their admins to",
        )
    return approved


def _submit(
    network: Network, hospital: Hospital, what: str, request: list[bytes], who: list[str]
) -> None:
    with admin_gateway(network.layout, hospital) as gateway:
        try:
            gateway.submit(request, chaincode="_lifecycle", organizations=who)
        except MedFabricError as error:
            raise _failed(hospital, what, str(error)) from None


def _is_passing(error: MedFabricError) -> bool:
    passing = "unable to find", "no peers available", "not agreed", "failed to find", "do not match"
    return any(words in error.message for words in passing)


def _wait_endorsing(network: Network, hospital: Hospital) -> None:
    """Return when this hospital's gateway finds enough peers to endorse a transaction."""
    from client.gateway.proposal import Proposal

    def endorsing() -> bool:
        with admin_gateway(network.layout, hospital) as gateway:
            try:
                Proposal(gateway, [b"none:None", b"{}"]).endorse()
            except MedFabricError as error:
                # The contracts' own refusal: the whole way to them is open.
                return error.code == Code.UNKNOWN_TRANSACTION
        return True

    wait_until(endorsing, f"the chaincode answering {hospital.slug}")


def _arguments(definition: Definition) -> dict[str, Any]:
    """What every hospital approves and the first commits: the same, or the commit is refused."""
    return {
        "name": definition.name,
        "version": definition.version,
        "sequence": definition.sequence,
        "endorsement_plugin": "escc",
        "validation_plugin": "vscc",
        "validation_parameter": definition.policy,
        "collections": collection_package(definition.collections),
    }


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _archive(files: dict[str, bytes]) -> bytes:
    import gzip

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def _failed(hospital: Hospital, what: str, message: str) -> MedFabricError:
    return MedFabricError(
        Code.LIFECYCLE_FAILED, f"the peer of {hospital.slug} refuses to {what}: {message}"
    )
