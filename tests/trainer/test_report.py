"""Figures of reports, and their parts of a page."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.report import parts
from trainer.report.ledger import Account, Link, Share
from trainer.report.quality import quality
from trainer.report.resources import STARTED, machines, used

CLASSES = ("no", "yes")


def probabilities(yes: list[float]) -> np.ndarray:
    column = np.array(yes)
    return np.column_stack([1 - column, column])


def test_confusion_recall_and_calibration_of_known_predictions() -> None:
    labels = np.array([0, 0, 0, 1, 1])

    found = quality(probabilities([0.1, 0.1, 0.8, 0.8, 0.35]), labels, CLASSES)

    assert found.confusion == [[2, 1], [1, 1]]
    assert found.accuracy == pytest.approx(0.6)
    assert found.recall == pytest.approx([2 / 3, 0.5])
    assert [(b.records, b.accuracy) for b in found.calibration] == [(1, 0), (2, 0.5), (2, 1)]
    assert found.calibration_error == pytest.approx((0.65 + 2 * 0.3 + 2 * 0.1) / 5)


def test_confusion_is_read_with_its_headings() -> None:
    found = quality(probabilities([0.1, 0.8, 0.8]), np.array([0, 0, 1]), CLASSES)

    assert found.told()["confusion"] == [
        {"class": "no", "as no": 1, "as yes": 1, "recall": 0.5},
        {"class": "yes", "as no": 0, "as yes": 1, "recall": 1.0},
    ]


def test_calibration_error_of_deserved_confidence_is_small() -> None:
    draw = np.random.default_rng(0)
    yes = draw.random(40_000)
    labels = (draw.random(40_000) < yes).astype(np.int64)

    assert quality(probabilities(list(yes)), labels, CLASSES).calibration_error < 0.02
    sure = np.where(yes > 0.5, 0.99, 0.01)
    assert quality(probabilities(list(sure)), labels, CLASSES).calibration_error > 0.15


def test_a_class_without_records_has_no_recall() -> None:
    found = quality(probabilities([0.2, 1.0]), np.array([0, 0]), CLASSES)

    assert found.recall == [0.5, 0]


def test_parts_escape_what_the_ledger_says() -> None:
    evil = "<script>x</script>"
    account = Account(hospital=evil, dataset_id=evil, spent=2.5, budget=2.0, delta=1e-5)
    link = Link(round=1, base="ab" * 32, model=None, datasets=[evil])

    pages = [
        parts.accounts([account]),
        parts.fairness([Share(hospital=evil, correct=1, total=2)]),
        parts.picture([link]),
        parts.resources([(evil, used([]))]),
    ]

    assert account.left == 0
    assert all("<script" not in page for page in pages)
    assert all("&lt;scrip" in page for page in pages)


def test_a_rounds_machine_is_the_one_that_the_agent_last_started_on() -> None:
    def started(cores: float) -> dict[str, object]:
        machine = {"memory_mb": 900, "cores": cores, "accelerator": "cpu", "energy": "estimated"}
        return {"task": STARTED, "round": 0, "machine": {**machine, "accelerator_memory_mb": 0}}

    def worked(number: int, plan_id: str = "plan") -> dict[str, object]:
        return {"task": "attest", "plan_id": plan_id, "round": number}

    journal = [
        worked(1),
        started(4),
        worked(2),
        worked(3),
        worked(5, "other"),
        started(1),
        worked(3),
    ]

    found = machines(journal, "plan")

    assert {number: machine.cores for number, machine in found.items()} == {2: 4, 3: 1}
    assert str(found[3]) == "1 cores, 900 MB, cpu, energy estimated"


def test_picture_follows_the_base_past_a_failed_round() -> None:
    base, one, two = ("ab" * 32, "cd" * 32, "ef" * 32)
    links = [
        Link(round=1, base=base, model=one, datasets=["a"]),
        Link(round=2, base=one, model=None, datasets=["a", "b"]),
        Link(round=3, base=one, model=two, datasets=["b"]),
    ]

    drawn = parts.picture(links)

    assert [drawn.count(f"model {m[:8]}") for m in (one, two)] == [1, 1]
    assert drawn.count("#f3d6d6") == 1
    assert drawn.count("<line") == 4 + 3 + 2


def test_picture_leaves_out_how_all_names_begin() -> None:
    names = ["breast-cancer-hospital1", "breast-cancer-hospital2"]
    drawn = parts.picture([Link(round=1, base="ab" * 32, model=None, datasets=names)])

    assert all(f">{name}</title>" in drawn for name in names)
    assert ">hospital1</text>" in drawn
    assert ">hospital2</text>" in drawn
