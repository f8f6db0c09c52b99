"""Deploying the chaincode: installed on every peer, approved by every hospital, committed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.schema.errors import Code, MedFabricError
from network.base import wait_until
from network.chaincode import SEQUENCE, VERSION, Definition, definitions
from network.collections import package as collection_package
from network.endorsing import admin_gateway, endorse
from network.topology import Hospital

if TYPE_CHECKING:
    from network.fabric import FabricNetwork

POLICY = "/Channel/Application/Endorsement"


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


def deploy(network: FabricNetwork) -> None:
    """Install, approve and commit every chaincode with the majority endorsement policy.

    Raises:
        MedFabricError: ``LIFECYCLE_FAILED`` with the peer's words.
    """
    for definition in definitions(network.topology):
        _deploy(network, definition)
    for hospital in network.topology.hospitals:
        _wait_endorsing(network, hospital)


def _deploy(network: FabricNetwork, definition: Definition) -> None:
    hospitals = network.topology.hospitals
    with ThreadPoolExecutor(len(hospitals)) as pool:
        list(pool.map(lambda hospital: _install(network, hospital, definition), hospitals))
        list(pool.map(lambda hospital: _approve(network, hospital, definition), hospitals))
    _commit(network, definition)


def _install(network: FabricNetwork, hospital: Hospital, definition: Definition) -> None:
    args = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package(definition))
    request = [b"InstallChaincode", args.SerializeToString()]
    response = endorse(network.layout, hospital, "_lifecycle", request, channel="")
    if response.status != 200 and "already successfully installed" not in response.message:
        raise _failed(hospital, "install", response.message)


def _approve(network: FabricNetwork, hospital: Hospital, definition: Definition) -> None:
    source = lifecycle_pb2.ChaincodeSource(
        local_package=lifecycle_pb2.ChaincodeSource.Local(package_id=package_id(definition))
    )
    args = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        **_arguments(definition),
        source=source,
    )
    request = [b"ApproveChaincodeDefinitionForMyOrg", args.SerializeToString()]
    _submit(network, hospital, "approve", request, [hospital.msp_id])


def _commit(network: FabricNetwork, definition: Definition) -> None:
    args = lifecycle_pb2.CommitChaincodeDefinitionArgs(**_arguments(definition))
    request = [b"CommitChaincodeDefinition", args.SerializeToString()]
    everyone = [hospital.msp_id for hospital in network.topology.hospitals]
    first = network.topology.hospitals[0]

    def committed() -> bool:
        # Peers learn of each other by gossip; until then the first one finds too few endorsers.
        try:
            _submit(network, first, "commit", request, everyone)
        except MedFabricError as error:
            if _is_passing(error):
                return False
            raise
        return True

    wait_until(committed, f"the commit of {definition.name}")


def _submit(
    network: FabricNetwork, hospital: Hospital, what: str, request: list[bytes], who: list[str]
) -> None:
    with admin_gateway(network.layout, hospital) as gateway:
        try:
            gateway.submit(request, chaincode="_lifecycle", organizations=who)
        except MedFabricError as error:
            raise _failed(hospital, what, str(error)) from None


def _is_passing(error: MedFabricError) -> bool:
    return any(
        words in error.message
        for words in ("unable to find", "no peers available", "not agreed", "failed to find")
    )


def _wait_endorsing(network: FabricNetwork, hospital: Hospital) -> None:
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
        "version": VERSION,
        "sequence": SEQUENCE,
        "endorsement_plugin": "escc",
        "validation_plugin": "vscc",
        "validation_parameter": _policy(),
        "collections": collection_package(definition.collections),
    }


def _policy() -> bytes:
    policy = policy_pb2.ApplicationPolicy(channel_config_policy_reference=POLICY)
    return bytes(policy.SerializeToString())


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
