"""The auditor's part of the demonstration: fetch the blocks, then prove from the files alone."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fabric_protos.peer import chaincode_event_pb2

from chaincode.schema.base import Event
from chaincode.schema.errors import MedFabricError
from client import blocks
from client.audit import card, handovers, lineage, proof, rounds
from client.audit.transactions import chaincode_action, header
from client.connection import Connection
from client.identity import Identity
from demo import record


@dataclass(frozen=True)
class Told:
    """The verdict; where it is proven, the model's lineage as text and its card; the ledger's bytes
    by round."""

    verdict: record.Audit
    lineage: str
    card: card.ModelCard | None
    ledger_bytes: Counter[int]


def audit(
    connection: Connection, auditor: Identity, genesis: Path, folder: Path, model: Path
) -> Told:
    """Leave a lineage bundle in ``folder`` and prove it."""
    height = blocks.fetch(connection, auditor, folder / "blocks")
    shutil.copyfile(genesis, folder / "genesis.block")
    started = time.monotonic()
    verdict, ledger = proof.prove(folder / "blocks", genesis.read_bytes(), height)
    findings = [f"{f.code} block {f.block}: {f.message}" for f in verdict.findings]
    text, made = "", None
    if verdict.proven:
        for check in (lineage.check_privacy, rounds.check, handovers.check):
            findings += [f"{f.code}: {f.message}" for f in check(ledger)]
        try:
            found = lineage.of(ledger, lineage.address_of(model))
            text = lineage.text(found)
            (folder / "lineage.json").write_text(found.model_dump_json(indent=1))
            (folder / "lineage.txt").write_text(text + "\n")
            made = card.of(ledger, found)
            (folder / "model-card.md").write_text(card.markdown(made))
        except MedFabricError as error:
            findings.append(str(error))
    result = record.Audit(
        verdict="refuted" if findings else "proven",
        blocks=verdict.blocks,
        transactions=verdict.transactions,
        seconds=round(time.monotonic() - started, 3),
        findings=findings,
    )
    return Told(result, text, made, _bytes_by_round(folder / "blocks"))


def _bytes_by_round(folder: Path) -> Counter[int]:
    """Bytes of the transactions of each round, by the events that they emitted."""
    sizes: Counter[int] = Counter()
    for number in blocks.numbers(folder)[1:]:
        for raw in blocks.parse(blocks.read(folder, number)).data.data:
            payload, _ = header(raw)
            action = chaincode_action(payload)
            if action is None or not action.events:
                continue
            event = chaincode_event_pb2.ChaincodeEvent.FromString(action.events)
            body = Event.model_validate_json(event.payload)
            if body.round is not None:
                sizes[body.round] += len(raw)
    return sizes
