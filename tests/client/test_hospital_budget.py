"""The planner for plans that hide hospitals: the ledger's own account, asked backwards."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.hiding import hiding

from client.cli.main import cli
from client.cli.output import Exit
from client.hospital_budget import Plan, drift, trade, with_noise, with_quorum, with_rounds

PLAN = Plan(3, 1, 4, 5, 4000, 1500, 10_000)
WORDS = ["admin", "budget", "hospitals", "--parameters", "62"]


def _run(*words: str) -> Result:
    return CliRunner().invoke(cli, [*WORDS, *words, "--json"])


def test_the_loss_is_what_the_ledger_charges() -> None:
    terms = hiding()
    plan = replace(PLAN, parameters=terms.model.parameters, quorum=terms.participation.quorum)

    charged = [terms.told("Hospital1MSP", n).epsilon_micro for n in range(1, 6)]
    assert [round(e * 1e6) for _, e in plan.by_round()] == charged


def test_noise_and_quorum_are_the_least_and_rounds_the_most_that_epsilon_allows() -> None:
    noise = with_noise(PLAN, 20_000_000)
    quorum = with_quorum(PLAN, 20_000_000)
    rounds = with_rounds(PLAN, 20_000_000)

    quieter = replace(noise, noise_levels=noise.noise_levels - 1)
    fewer = replace(quorum, quorum=quorum.quorum - 1)
    longer = replace(rounds, rounds=rounds.rounds + 1)
    assert max(p.epsilon_micro() for p in (noise, quorum, rounds)) <= 20_000_000
    assert min(p.epsilon_micro() for p in (quieter, fewer, longer)) > 20_000_000


def test_signal_over_noise_grows_with_rounds_and_hospitals_and_shrinks_with_noise() -> None:
    base = drift(PLAN)

    assert drift(replace(PLAN, quorum=12)) == pytest.approx(2 * base)
    assert drift(replace(PLAN, rounds=20)) == pytest.approx(2 * base)
    assert drift(replace(PLAN, parameters=16)) == pytest.approx(base / 2)
    assert drift(replace(PLAN, noise_levels=3000)) == pytest.approx(base / 2)
    assert [epsilon for epsilon, _ in trade(PLAN)] == [0.5, 1.0, 2.0, 3.0, 5.0, 8.0]


@pytest.mark.parametrize("left_out", ["--noise", "--rounds", "--quorum", "--epsilon"])
def test_whatever_is_left_out_is_answered(left_out: str) -> None:
    whole = {"--noise": "1.5", "--rounds": "5", "--quorum": "12", "--epsilon": "2.5"}
    given = [word for name, value in whole.items() if name != left_out for word in (name, value)]

    answer: dict[str, Any] = json.loads(_run(*given).stdout)

    assert answer["epsilon_after_last_round"] <= 2.5
    assert answer["noise_levels"] == round(answer["noise"] * 65536)
    said = {f"--{name}": float(answer[name]) for name in ("noise", "rounds", "quorum")}
    assert {n: v for n, v in said.items() if n != left_out}.items() <= {
        n: float(v) for n, v in whole.items()
    }.items()


def test_what_cannot_be_is_refused_with_a_reason() -> None:
    never = _run("--rounds", "5", "--noise", "0.1", "--epsilon", "0.001")
    twice = _run("--rounds", "5", "--epsilon", "3")
    nobody = _run("--rounds", "5", "--noise", "1", "--quorum", "2", "--colluding", "2")

    assert never.exit_code == Exit.REFUSED
    assert json.loads(never.stderr)["error"] == "MF-1002"
    assert twice.exit_code == Exit.USAGE
    assert json.loads(nobody.stderr)["error"] == "MF-1002"


def test_the_page_draws_rounds_noise_and_hospitals_and_loads_nothing(tmp_path: Any) -> None:
    place = tmp_path / "page.html"

    result = _run("--rounds", "5", "--quorum", "12", "--epsilon", "3", "--plot", str(place))

    page = place.read_text()
    assert json.loads(result.stdout)["plot"] == str(place)
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=\"https?:", page)
