"""``python -m network.devnet --dir DIR``: run the devnet of a consortium's folder."""

from __future__ import annotations

import argparse
import logging
import queue
import signal
import sys
from pathlib import Path

from chaincode.schema.errors import MedFabricError
from network import topology
from network.devnet.server import NOTICE, Devnet
from network.topology import Layout


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m network.devnet", description=NOTICE)
    parser.add_argument("--dir", type=Path, required=True)
    folder = parser.parse_args().dir
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("medfabric.devnet").warning(NOTICE)
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.put(number))
    layout = Layout(folder)
    try:
        devnet = Devnet(topology.load(folder), layout)
    except (OSError, MedFabricError) as error:
        print(f"the devnet cannot start: {error}", file=sys.stderr)
        return 6

    while asked.get() == signal.SIGHUP:
        # Hospitals were added to the folder, or taken out of it.
        devnet.follow(topology.load(folder))
    devnet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
