"""The job as a Flower app, run by its simulation; seconds on standard output, as JSON.

``python flower_app.py wide|small``: from the start of the process to the end of the last round.
"""

from __future__ import annotations

import json
import sys
import time

BEGIN = time.monotonic()

import torch  # noqa: E402
import wdbc  # noqa: E402
from flwr.client import ClientApp, NumPyClient  # noqa: E402
from flwr.common import Context, ndarrays_to_parameters  # noqa: E402
from flwr.server import ServerApp, ServerAppComponents, ServerConfig  # noqa: E402
from flwr.server.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402

SMALL = wdbc.SMALL in sys.argv
first: list[float] = []


def network_of(parameters: list) -> wdbc.Network:
    """A network with these weights."""
    network = wdbc.Network(SMALL)
    names = network.state_dict().keys()
    network.load_state_dict(
        {name: torch.as_tensor(value) for name, value in zip(names, parameters, strict=True)}
    )
    return network


def parameters_of(network: wdbc.Network) -> list:
    """Its weights."""
    return [value.numpy() for value in network.state_dict().values()]


class Site(NumPyClient):
    """A site of the job."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fit(self, parameters: list, config: dict) -> tuple:
        """One epoch."""
        torch.set_num_threads(1)
        network = network_of(parameters)
        trained = wdbc.epoch(network, self.number)
        return parameters_of(network), trained, {}


def evaluate(round_: int, parameters: list, config: dict) -> tuple:
    """The global model after a round, on the test records."""
    if round_ == 1:
        first.append(time.monotonic() - BEGIN)
    accuracy = wdbc.accuracy(network_of(parameters))
    return 1 - accuracy, {"accuracy": accuracy}


def client(context: Context):
    """The site with the number that the simulation gives it."""
    return Site(int(context.node_config["partition-id"])).to_client()


def server(context: Context) -> ServerAppComponents:
    """All sites in every round."""
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=wdbc.SITES,
        min_available_clients=wdbc.SITES,
        evaluate_fn=evaluate,
        initial_parameters=ndarrays_to_parameters(parameters_of(wdbc.Network(SMALL))),
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=wdbc.ROUNDS))


if __name__ == "__main__":
    run_simulation(
        ServerApp(server_fn=server),
        ClientApp(client_fn=client),
        num_supernodes=wdbc.SITES,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0}},
    )
    print(json.dumps({"seconds": time.monotonic() - BEGIN, "first": first[0]}))
