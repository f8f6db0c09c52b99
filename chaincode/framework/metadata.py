"""A chaincode's description of itself, in Fabric's contract metadata format.

Any client of Fabric asks for it by the transaction ``org.hyperledger.fabric:GetMetadata``. The
format is the JSON Schema that Fabric's contract libraries share
(github.com/hyperledger/fabric-contract-api-go, metadata/schema/schema.json).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from chaincode.schema import canonical
from chaincode.schema.declaration import Declaration

METADATA_TRANSACTION = "org.hyperledger.fabric:GetMetadata"
_SCHEMA = "https://hyperledger.github.io/fabric-chaincode-node/main/api/contract-schema.json"
_COMPONENTS = "#/components/schemas/"


@dataclass(frozen=True)
class Info:
    """Title and version of a chaincode, for people."""

    title: str
    version: str


def contract_metadata(rows: Iterable[Declaration], info: Info) -> bytes:
    """The metadata of these transactions as canonical JSON.

    What the format has no field for is added beside its own: roles and a description.
    """
    contracts: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    about = {"title": info.title, "version": info.version}
    for row in rows:
        contract, _, name = row.name.rpartition(":")
        found = contracts.setdefault(
            contract, {"name": contract, "info": about, "transactions": []}
        )
        found["transactions"].append(_transaction(name, row, schemas))
    return canonical.dumps(
        {
            "$schema": _SCHEMA,
            "info": about,
            "contracts": contracts,
            "components": {"schemas": schemas},
        }
    )


def check_names(rows: Iterable[Declaration]) -> None:
    """Raises ValueError where the metadata could not tell the models of two transactions apart."""
    known: dict[str, type[BaseModel]] = {}
    for row in rows:
        for model in (row.args, row.result):
            other = known.setdefault(model.__name__, model)
            if other is not model and other.model_json_schema() != model.model_json_schema():
                raise ValueError(f"two different models are named {model.__name__}")


def _transaction(name: str, row: Declaration, schemas: dict[str, Any]) -> dict[str, Any]:
    argument = {"name": "args", "description": "One JSON object.", "required": True}
    return {
        "name": name,
        "description": row.summary,
        "roles": sorted(row.roles),
        "tag": ["submit", "SUBMIT"] if row.writes else ["evaluate", "EVALUATE"],
        "parameters": [{**argument, "schema": _reference(row.args, schemas)}],
        "returns": _reference(row.result, schemas),
    }


def _reference(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, str]:
    """A reference to a model's schema, which is added to ``schemas`` with all that it holds."""
    schema = model.model_json_schema(ref_template=_COMPONENTS + "{model}")
    for name, part in {**schema.pop("$defs", {}), model.__name__: schema}.items():
        component = {"$id": name, "properties": {}, **part}
        if schemas.setdefault(name, component) != component:
            raise ValueError(f"two different models are named {name}")
    return {"$ref": _COMPONENTS + model.__name__}
