"""Plain federated averaging: a server, and a process for each hospital, over TCP on this machine.

What a round is without privacy, encryption, ledger and lineage, and with nothing else left out:
hospitals train on their records from the server's model, with torch's own SGD, send their models as
float32, the server averages them by samples, and hospitals evaluate the average on their validation
records. Each hospital's process has one thread, as a node's has.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import numpy as np

from chaincode.schema.plans import TrainingTerms
from trainer.applications.application import Application

_SAID = struct.Struct("<qqdddd")


@dataclass(frozen=True)
class Round:
    """Seconds of the slowest hospital's stages and of the server's, of the whole, and processor
    seconds of all hospitals; ``sent``: bytes of all hospitals."""

    seconds: float
    stages: Mapping[str, float]
    cpu_seconds: float
    sent: int
    correct: int


def rounds(
    application: Application, files: tuple[Path, ...], training: TrainingTerms, seed: int
) -> Iterator[Round]:
    """Train; gives each round when it has ended."""
    with _hospitals(application, files, training, seed) as (weights, everybody):
        for _ in range(training.rounds):
            started = time.monotonic()
            for one in everybody:
                one.send_bytes(weights)
            updates = [one.recv_bytes() for one in everybody]
            begin = time.monotonic()
            samples = [_SAID.unpack_from(update)[0] for update in updates]
            models = [np.frombuffer(update, "<f4", offset=_SAID.size) for update in updates]
            weights = np.average(models, axis=0, weights=samples).astype("<f4").tobytes()
            averaging = time.monotonic() - begin
            for one in everybody:
                one.send_bytes(weights)
            verdicts = [_SAID.unpack(one.recv_bytes()) for one in everybody]
            yield Round(
                seconds=time.monotonic() - started,
                stages={
                    "training": max(verdict[2] for verdict in verdicts),
                    "storing and submitting": max(verdict[3] for verdict in verdicts),
                    "sum": averaging,
                    "evaluating": max(verdict[4] for verdict in verdicts),
                },
                cpu_seconds=sum(verdict[5] for verdict in verdicts),
                sent=sum(map(len, updates)),
                correct=sum(verdict[1] for verdict in verdicts),
            )


@contextmanager
def _hospitals(
    application: Application, files: tuple[Path, ...], training: TrainingTerms, seed: int
) -> Iterator[tuple[bytes, list[Connection]]]:
    """The first model, and a connection to every hospital that is ready to train."""
    context = get_context("spawn")
    with Listener(("127.0.0.1", 0)) as listener:
        processes = [
            context.Process(
                target=_hospital, args=(listener.address, application.id, file, training, seed)
            )
            for file in files
        ]
        for process in processes:
            process.start()
        everybody = [listener.accept() for _ in processes]
        try:
            first, *_ = [one.recv_bytes() for one in everybody]
            yield first, everybody
        finally:
            for one in everybody:
                one.close()
            for process in processes:
                process.join()


def _hospital(
    server: tuple[str, int], application: str, file: Path, training: TrainingTerms, seed: int
) -> None:
    import torch

    from trainer import applications
    from trainer.data.files import read
    from trainer.data.records import VALIDATION_FRACTION, split
    from trainer.models import registry
    from trainer.models.values import parameters, set_parameters

    torch.set_num_threads(1)
    found = applications.find(application)
    records, validation = split(read(file, found.terms()), VALIDATION_FRACTION, seed)
    model = registry.build(found.architecture, found.config)
    features, labels = torch.from_numpy(records.features), torch.from_numpy(records.labels)
    with Client(server) as connection:
        connection.send_bytes(parameters(model).astype("<f4").tobytes())
        while True:
            try:
                raw = connection.recv_bytes()
            except EOFError:
                return
            cpu, started = time.process_time(), time.monotonic()
            set_parameters(model, np.frombuffer(raw, "<f4").copy())
            optimizer = torch.optim.SGD(
                model.train().parameters(),
                lr=training.learning_rate_micro / 1e6,
                momentum=training.momentum_micro / 1e6,
            )
            for _ in range(training.steps):
                rows = torch.randperm(len(labels))[: training.batch_size]
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
                optimizer.step()
            trained = time.monotonic()
            head = _SAID.pack(len(labels), 0, 0, 0, 0, 0)
            connection.send_bytes(head + parameters(model).astype("<f4").tobytes())
            sent = time.monotonic()
            raw = connection.recv_bytes()
            begin = time.monotonic()
            set_parameters(model, np.frombuffer(raw, "<f4").copy())
            with torch.no_grad():
                scores = model.eval()(torch.from_numpy(validation.features))
            correct = int((scores.argmax(dim=1).numpy() == validation.labels).sum())
            times = (trained - started, sent - trained, time.monotonic() - begin)
            used = time.process_time() - cpu
            connection.send_bytes(_SAID.pack(len(validation), correct, *times, used))
