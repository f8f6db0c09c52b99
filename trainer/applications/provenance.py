"""What an application puts on the ledger of its own, beside what every training leaves there.

Three kinds of records, told apart by ``about``: how a dataset came to be; what the model is for, on
the plan's base model; what a published model has learned from, in the application's own units.
They are judged by a schema that the application registers (docs/explanation/provenance.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chaincode.schema.jsonschema import DIALECT

Record = dict[str, Any]
"""A JSON object of texts, whole numbers and booleans."""

_WORDS = {"type": "string", "minLength": 1, "maxLength": 600}
_COUNT = {"type": "integer", "minimum": 0}


@dataclass(frozen=True)
class Use:
    """What a model card asks of an application (Mitchell et al. 2019, "Model Cards for Model
    Reporting"): sentences, at most 600 characters each."""

    intended: str
    users: str
    not_for: str
    factors: str
    caveats: str


@dataclass(frozen=True)
class Provenance:
    """An application's own records.

    ``fields`` are those of a dataset's record, each by its JSON Schema; ``origin`` what the
    application's own records say by them. ``per_record`` gives the units of what is learned: how
    much one training record holds of each.
    """

    fields: Mapping[str, Mapping[str, Any]]
    origin: Mapping[str, str | int | bool]
    use: Use
    per_record: Mapping[str, int]
    version: int = 1

    def schema(self) -> Record:
        """The definition to register."""
        kinds: dict[str, Mapping[str, Any]] = {
            "dataset": self.fields,
            "use": dict.fromkeys(asdict(self.use), _WORDS),
            "learned": {"round": _COUNT, **dict.fromkeys(self.per_record, _COUNT)},
        }
        return {
            "$schema": DIALECT,
            "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds],
            "$defs": {kind: _closed(kind, fields) for kind, fields in kinds.items()},
        }

    def dataset(self) -> Record:
        """About a dataset of the application's own records."""
        return {"about": "dataset", **self.origin}

    def stated_use(self) -> Record:
        """About a plan's base model."""
        return {"about": "use", **asdict(self.use)}

    def learned(self, number: int, samples: int) -> Record:
        """About the model that a round published.

        Args:
            samples: training records behind the round's updates.
        """
        units = {unit: samples * each for unit, each in self.per_record.items()}
        return {"about": "learned", "round": number, **units}


def text(*choices: str) -> Mapping[str, Any]:
    """A field of one of these texts; of any, where none is named."""
    return {"enum": list(choices)} if choices else _WORDS


def whole(least: int, most: int) -> Mapping[str, Any]:
    """A field of a whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


def _closed(kind: str, fields: Mapping[str, Any]) -> Record:
    properties = {"about": {"const": kind}, **fields}
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
