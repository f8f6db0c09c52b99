"""Where the demonstration keeps content: one folder, or a private IPFS node per hospital."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaincode.schema.errors import Code, MedFabricError
from client.content import ContentStore, DirectoryStore

DIRECTORY, KUBO = "directory", "kubo"


@dataclass
class Stores:
    """The demonstration's own store, and what each hospital's node is told of its own."""

    kind: str
    own: ContentStore
    configs: dict[str, dict[str, Any]]
    processes: tuple[int, ...] = ()


def choose(wanted: str | None) -> str:
    """The kind of store: what was asked for, else Kubo where it is found.

    Raises:
        MedFabricError: ``TOOL_MISSING`` where Kubo was asked for and is not there.
    """
    from client.content.kubo import find_kubo

    found = find_kubo() is not None
    if wanted == KUBO and not found:
        raise MedFabricError(
            Code.TOOL_MISSING,
            "Kubo (ipfs) is not here; put it on PATH, build it (medfabric network install-kubo) or "
            "use --store directory",
        )
    return wanted or (KUBO if found else DIRECTORY)


@contextmanager
def opened(kind: str, folder: Path, hospitals: Sequence[str]) -> Iterator[Stores]:
    """Open the stores of a run, and close them at the end."""
    folder = folder.resolve()
    if kind == DIRECTORY:
        config = {"kind": DIRECTORY, "folder": str(folder / "content")}
        yield Stores(kind, DirectoryStore(folder / "content"), dict.fromkeys(hospitals, config))
        return
    from client.content.kubo import KuboNode, find_kubo, new_swarm_key

    binary = find_kubo()
    if binary is None:
        raise MedFabricError(Code.TOOL_MISSING, "Kubo (ipfs) is not here any more")
    swarm_key = new_swarm_key()
    nodes = [KuboNode.create(folder / "ipfs" / slug, binary, swarm_key) for slug in hospitals]
    for node in nodes:
        node.befriend(nodes)
    with ExitStack() as stack:
        for node in nodes:
            stack.enter_context(node)
        configs = {
            slug: {"kind": KUBO, "address": node.api, "secret_file": str(node.secret_file)}
            for slug, node in zip(hospitals, nodes, strict=True)
        }
        pids = tuple(node.pid for node in nodes if node.pid is not None)
        yield Stores(kind, nodes[0].store(), configs, pids)
