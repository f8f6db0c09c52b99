"""A site of the FLARE job."""

from __future__ import annotations

import sys

import nvflare.client as flare
import torch
import wdbc


def main() -> None:
    """Train on every model received."""
    torch.set_num_threads(1)
    flare.init()
    site = int(flare.get_site_name().rpartition("-")[2]) - 1
    network = wdbc.Network(small=wdbc.SMALL in sys.argv)
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        network.load_state_dict(
            {name: torch.as_tensor(value) for name, value in received.params.items()}
        )
        print(f"accuracy {received.current_round} {wdbc.accuracy(network)}", flush=True)
        trained = wdbc.epoch(network, site)
        flare.send(
            flare.FLModel(
                params=network.state_dict(),
                meta={"NUM_STEPS_CURRENT_ROUND": trained},
            )
        )


if __name__ == "__main__":
    main()
