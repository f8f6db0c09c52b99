"""Commands that speak to the ledger: who asks, through which peer, and how the answer is shown."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.output import json_option, show, show_each

if TYPE_CHECKING:
    from pydantic import BaseModel

    from chaincode.schema.classifiers import Classifier
    from chaincode.schema.reputation import Complaint
    from chaincode.schema.studies import Study
    from client.consortium import Consortium

Model = TypeVar("Model", bound="BaseModel")

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

identity_option = click.option(
    "--identity",
    type=FOLDER,
    envvar="MEDFABRIC_IDENTITY",
    required=True,
    help="The identity's folder, users/NODE (or MEDFABRIC_IDENTITY).",
)
connection_option = click.option(
    "--connection",
    type=FILE,
    envvar="MEDFABRIC_CONNECTION",
    help="The hospital's connection.json (or MEDFABRIC_CONNECTION); else the one of the hospital "
    "in whose folder the identity is.",
)


def ledger_command(
    group: click.Group, name: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make ``function(consortium, **options)`` a command of the group that shows what it returns;
    of an iterator, each as it comes, on a line of its own.

    Adds ``--identity``, ``--connection`` and ``--json``. The options that the function declares
    itself are given by ``click.option`` below this decorator.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @json_option
        @identity_option
        @connection_option
        @functools.wraps(function)
        def command(identity: Path, connection: Path | None, as_json: bool, **options: Any) -> None:
            with connect(identity, connection) as consortium:
                found = function(consortium, **options)
                if isinstance(found, Iterator):
                    show_each(found, as_json=as_json)
                else:
                    show(found, as_json=as_json)

        group.command(name)(command)
        return function

    return decorate


def connect(identity: Path, connection: Path | None) -> Consortium:
    """Open the hospital's ledger as this identity."""
    from client.consortium import Consortium

    return Consortium.connect(connection_of(identity, connection), identity)


def connection_of(identity: Path, connection: Path | None) -> Path:
    """The connection that was named, else that of the hospital in whose folder the identity is."""
    return connection or identity.resolve().parent.parent / "connection.json"


def read_model(
    path: Path,
    model: type[Model],
    rest: Mapping[str, Any] | None = None,
    todo: str = "correct it and try again",
) -> Model:
    """A JSON file as a model, of the ledger's or another.

    Args:
        rest: fields besides those of the file, or in their place.
        todo: what to do about a wrong field.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``, naming the field.
    """
    from pydantic import ValidationError

    from client.files import wrong_fields

    try:
        content = path.read_bytes()
        if rest:
            content = _joined(content, rest)
        return model.model_validate_json(content)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot read {path}: {error.strerror}; name another file"
        ) from None
    except ValidationError as error:
        raise MedFabricError(Code.FILE_UNUSABLE, f"{path}: {wrong_fields(error)}; {todo}") from None


def _joined(content: bytes, rest: Mapping[str, Any]) -> bytes:
    try:
        found = json.loads(content)
    except ValueError:
        return content
    return json.dumps({**found, **rest}).encode() if isinstance(found, dict) else content


def agreed(shown: Complaint | Classifier | Study, what: str, expected: str | None) -> str:
    """The hash of the terms as this hospital's peer shows them, recomputed.

    Raises:
        MedFabricError: ``TERMS_MISMATCH`` where they are not the expected ones.
    """
    from chaincode.schema import canonical

    sha256 = canonical.sha256(shown.terms)
    if shown.terms_sha256 != sha256 or expected not in (None, sha256):
        raise MedFabricError(
            Code.TERMS_MISMATCH,
            f"the terms have SHA-256 {sha256}, not {expected or shown.terms_sha256}; read them "
            f"with `admin {what} show`",
        )
    return sha256
