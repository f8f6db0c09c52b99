"""Which content store a command uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, FOLDER

if TYPE_CHECKING:
    from client.content import ContentStore

Command = TypeVar("Command", bound=Callable[..., Any])


def store_options(command: Command) -> Command:
    """Give a command ``--store``, ``--ipfs`` and ``--secret-file``; see :func:`content_store`."""
    for option in (
        click.option("--secret-file", type=FILE, help="The bearer secret of that port."),
        click.option("--ipfs", metavar="MULTIADDR", help="The RPC port of one's IPFS node."),
        click.option("--store", type=FOLDER, help="The folder that the hospitals share."),
    ):
        command = option(command)
    return command


def content_store(store: Path | None, ipfs: str | None, secret_file: Path | None) -> ContentStore:
    """The store that the options name.

    Raises:
        MedFabricError: ``FILE_UNUSABLE`` for the secret; as of the stores.
    """
    if (store is None) == (ipfs is None):
        raise click.UsageError("name either --store DIR or --ipfs MULTIADDR")
    from client.content import DirectoryStore, KuboStore

    if store is not None:
        return DirectoryStore(store)
    if secret_file is None:
        raise click.UsageError("--ipfs needs --secret-file")
    try:
        secret = secret_file.read_text().strip()
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot read {secret_file}: {error.strerror}; name another file"
        ) from None
    return KuboStore(str(ipfs), secret)
