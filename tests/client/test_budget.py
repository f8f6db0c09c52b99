"""The planner: the ledger's own account, asked backwards."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from chaincode.schema import accounting
from client.budget import Plan, drift, with_batch, with_noise, with_rounds
from client.cli.main import cli
from client.cli.output import Exit

PLAN = Plan(100, 20, 10, 5, 1_500_000, 10_000)
WORDS = ["admin", "budget", "patients", "--samples", "100", "--steps", "10", "--parameters", "62"]


def run(*words):
    return CliRunner().invoke(cli, [*WORDS, *words, "--json"])


def charged(plan, rounds):
    """As the contract charges a dataset, update by update."""
    total = ()
    for _ in range(rounds):
        once = accounting.rdp_pico(20, 100, plan.noise_micro, plan.steps)
        total = accounting.add(total, once)
    return accounting.epsilon_micro(total, plan.delta_nano)


def test_the_loss_is_what_the_ledger_charges():
    assert [plan for plan, _ in PLAN.by_round()] == [1, 2, 3, 4, 5]
    assert [round(e * 1e6) for _, e in PLAN.by_round()] == [charged(PLAN, n) for n in range(1, 6)]


def test_the_noise_is_the_least_that_epsilon_allows():
    found = with_noise(PLAN, 3_000_000)

    less = with_noise(PLAN, 3_000_000).noise_micro - 1000
    assert found.epsilon_micro() <= 3_000_000
    assert Plan(100, 20, 10, 5, less, 10_000).epsilon_micro() > 3_000_000


def test_rounds_and_batch_are_the_most_that_epsilon_allows():
    rounds, batch = with_rounds(PLAN, 6_000_000).rounds, with_batch(PLAN, 3_000_000).batch_size

    assert PLAN.epsilon_micro(rounds) <= 6_000_000 < PLAN.epsilon_micro(rounds + 1)
    assert Plan(100, batch, 10, 5, 1_500_000, 10_000).epsilon_micro() <= 3_000_000
    assert Plan(100, batch + 1, 10, 5, 1_500_000, 10_000).epsilon_micro() > 3_000_000


def test_signal_over_noise_grows_with_steps_hospitals_and_batch_and_shrinks_with_noise():
    base = drift(PLAN, 4, 62)

    assert drift(PLAN, 16, 62) == pytest.approx(2 * base)
    assert drift(PLAN, 4, 4 * 62) == pytest.approx(base / 2)
    assert drift(Plan(100, 40, 10, 5, 1_500_000, 10_000), 4, 62) == pytest.approx(2 * base)
    assert drift(Plan(100, 20, 10, 20, 3_000_000, 10_000), 4, 62) == pytest.approx(base)


@pytest.mark.parametrize(
    "given",
    [
        ["--rounds", "5", "--batch-size", "20", "--epsilon", "3"],
        ["--noise", "2.41", "--batch-size", "20", "--epsilon", "3"],
        ["--noise", "2.41", "--rounds", "5", "--epsilon", "3"],
        ["--noise", "2.41", "--rounds", "5", "--batch-size", "20"],
    ],
)
def test_whatever_is_left_out_is_answered(given):
    answer = json.loads(run(*given).stdout)

    assert answer["noise_multiplier"] == 2.41
    assert answer["rounds"] == 5
    assert answer["batch_size"] == 20
    assert answer["epsilon_after_last_round"] == 2.999574


def test_what_cannot_be_is_refused_with_a_reason():
    none = run("--rounds", "10000", "--batch-size", "100", "--epsilon", "0.000001")
    many = run("--rounds", "5", "--epsilon", "3")
    large = run("--rounds", "5", "--batch-size", "101", "--noise", "1")

    assert none.exit_code == Exit.REFUSED
    assert json.loads(none.stderr)["error"] == "MF-1002"
    assert many.exit_code == Exit.USAGE
    assert json.loads(large.stderr)["error"] == "MF-1002"


def test_the_page_has_the_measured_accuracy_and_loads_nothing(tmp_path):
    points = [{"epsilon": 3.0, "noise_multiplier": 2.4, "accuracy": 0.9, "spread": 0.01}]
    about = {"application": "wards<1>", "simulated": True, "hospitals": 4, "rounds": 5, "steps": 10}
    measured = {**about, "batch_size": 20, "seeds": 2, "unprotected": 0.95, "points": points}
    (tmp_path / "utility.json").write_text(json.dumps(measured))
    files = ["--utility", str(tmp_path / "utility.json"), "--plot", str(tmp_path / "page.html")]

    result = run("--rounds", "5", "--batch-size", "20", "--epsilon", "3", *files)

    page = (tmp_path / "page.html").read_text()
    assert json.loads(result.stdout)["measured"]["unprotected"] == 0.95
    assert page.count("<svg") == 3
    assert "wards&lt;1&gt; (simulated records)" in page
    assert not re.search(r"(src|href)=\"https?:", page)


def test_a_file_that_holds_no_measurement_is_refused(tmp_path):
    (tmp_path / "utility.json").write_text("{}")

    result = run(
        "--rounds",
        "5",
        "--noise",
        "2",
        "--batch-size",
        "20",
        "--utility",
        str(tmp_path / "utility.json"),
    )

    assert json.loads(result.stderr)["error"] == "MF-7040"
