"""Learning to recognise malicious nodes from simulated histories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from support.scenario import HOSPITALS, at, attest_args, evaluate_args, terms

from chaincode.schema import canonical, conduct, keys
from chaincode.schema.classifiers import ClassifierTerms, assess, traits
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.reputation import Evidence, Rated, Tally
from client.cli.main import cli
from trainer.reputation import export as writing
from trainer.reputation import histories
from trainer.reputation.behaviour import ATTACKS, Kind, honest, malicious
from trainer.reputation.histories import Consortium, Member, simulate
from trainer.reputation.training import Recipe, export, fit, observe, score_micro, threshold

UNSEEN = (Kind.SHARE_WITHHOLDER, Kind.COLLUDERS, Kind.ABSENTEE)
SEEN = tuple(kind for kind in ATTACKS if kind not in UNSEEN)
RECIPE = Recipe(seed=3, consortia=80, calibration=40, attacks=SEEN)


@pytest.fixture(scope="module")
def learned():
    """A model that never saw some attacks, what it learned from, and its export."""
    known = observe((3, 0), RECIPE.consortia, SEEN)
    fresh = observe((3, 1), RECIPE.calibration, SEEN)
    model = fit(RECIPE, known)
    return model, known, export(RECIPE, model, fresh, "learned")


def test_the_exported_score_is_the_models_to_a_millionth_per_cut(learned):
    model, known, made = learned

    whole = score_micro(made.bias_micro, made.curves, known.values)

    assert len(made.curves) > 5
    assert np.abs(whole - 1e6 * model.log_odds(known.values)).max() <= 0.5 * model.weights.size + 1


def test_the_contracts_score_is_the_exported_one_to_the_bit(learned):
    _, _, made = learned
    for number in range(6):
        consortium = simulate(np.random.default_rng([9, number]), ATTACKS)
        nodes = [consortium.reputation(member) for member in consortium.members]
        values = np.array([list(traits(known.tallies).values()) for known in nodes], np.int64)

        exported = score_micro(made.bias_micro, made.curves, values)

        assert [assess(made, known).suspicion_micro for known in nodes] == list(exported)


def test_nobody_looks_better_for_a_fault(learned):
    _, _, made = learned

    for curve in made.curves:
        assert curve.values_micro[0] == 0
        assert list(curve.values_micro) == sorted(curve.values_micro)


def test_attacks_never_seen_are_recognised_and_honest_nodes_mostly_left_alone(learned):
    _, _, made = learned
    unseen = observe((3, 2), 24, UNSEEN)

    flagged = score_micro(made.bias_micro, made.curves, unseen.values) >= made.flag_micro

    print(flagged[unseen.malicious].mean(), flagged[~unseen.malicious].mean(), made.flag_micro)
    assert flagged[unseen.malicious].mean() > 0.6
    assert flagged[~unseen.malicious].mean() < 0.05


def test_the_flag_is_on_whom_no_more_honest_nodes_reach_than_allowed():
    scores = np.arange(1000)

    assert (scores >= threshold(scores, Fraction(1, 100))).sum() == 10
    assert (scores >= threshold(scores, Fraction(0))).sum() == 0


def test_honest_consortia_alone_teach_nothing():
    with pytest.raises(MedFabricError, match=Code.TRAINING_REFUSED):
        fit(RECIPE, observe((1,), 2, ()))


def test_a_struck_attack_takes_its_whole_consortia_along():
    nodes = observe((5,), 12, (Kind.FORGER, Kind.ABSENTEE))

    left = nodes.without(Kind.FORGER)

    assert Kind.FORGER in nodes.kinds
    assert set(left.kinds) == {Kind.HONEST, Kind.ABSENTEE}
    attacked = set(nodes.consortia[[k is Kind.FORGER for k in nodes.kinds]])
    assert not attacked & set(left.consortia)


TRAIN = """
from trainer.reputation.training import Recipe, train
from chaincode.schema import canonical
print(canonical.sha256(train(Recipe(seed=7, consortia=20, calibration=10), "again")))
"""


def test_a_recipe_gives_the_same_bytes_in_every_interpreter():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN], stdout=-1, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "77")
    ]

    first, second = (run.communicate(timeout=120)[0] for run in runs)

    assert first == second
    assert len(first.strip()) == 64


def test_the_command_writes_terms_that_the_ledger_takes(tmp_path):
    out = tmp_path / "classifier.json"
    words = ["node", "classifier", "trial", "--consortia", "20", "--out", str(out), "--json"]

    result = CliRunner().invoke(cli, words)

    assert result.exit_code == 0, result.output
    made = ClassifierTerms.model_validate_json(out.read_bytes())
    assert json.loads(result.stdout)["terms"] == canonical.sha256(made)
    assert made.simulated
    scenario = at("founded")
    scenario.do(HOSPITALS[0], "classifier:Propose", made)


@pytest.mark.parametrize(
    ("name", "where"), [("With Spaces", "classifier.json"), ("fine", "nowhere/classifier.json")]
)
def test_a_wrong_name_or_place_is_refused_before_training(tmp_path, monkeypatch, name, where):
    monkeypatch.delattr(writing, "train")
    words = ["node", "classifier", name, "--consortia", "20", "--out", str(tmp_path / where)]

    result = CliRunner().invoke(cli, words)

    assert result.exit_code in (3, 7)
    assert not list(tmp_path.iterdir())


# The simulation books what the contracts book.


def contract(kind):
    """Node tallies after one round on the ledger, the fourth hospital's node attacking."""
    scenario = at("open")
    plan, others = terms(), HOSPITALS[:3]
    last = HOSPITALS[3]
    everybody = HOSPITALS if kind is not Kind.ABSENTEE else others
    scenario.submit(plan, who=everybody)
    scenario.wait()
    scenario.advance(plan)
    if kind is Kind.GARBLER:
        scenario.object(plan, last)
        scenario.advance(plan)
    scenario.attest(plan, who=others)
    name = "forged" if kind is Kind.FORGER else ""
    dropped = len(scenario.round_state(plan)["dropped"])
    scenario.do(last, "round:Attest", attest_args(plan, aggregate=name, dropped=dropped))
    scenario.advance(plan)
    scenario.share(plan, who=others if kind is Kind.SHARE_WITHHOLDER else HOSPITALS)
    scenario.wait()
    scenario.advance(plan)
    if kind is not Kind.SHARE_WITHHOLDER:
        scenario.evaluate(plan, who=others)
        correct = 0 if kind is Kind.VOTE_SPOILER else 19
        scenario.do(last, "round:Evaluate", evaluate_args(plan, correct=correct))
        scenario.advance(plan)
    return _booked(scenario)


def _booked(scenario):
    found = {}
    for hospital in HOSPITALS:
        known = scenario.asset(keys.reputation("node", f"{hospital}/node1"))
        found[hospital] = {kind: Tally(*tally) for kind, tally in known["tallies"].items()}
    return found


def simulated(kind):
    """The same of one simulated round in which everything is certain."""
    rng = np.random.default_rng(1)
    steady = {"available": 1.0, "on_duty": 1.0, "attack": 0.0, "harm": 0.0, "seconds": 1.0}
    members = []
    for hospital in HOSPITALS:
        profile = replace(honest(rng), **steady)
        if hospital == HOSPITALS[3] and kind is not Kind.HONEST:
            certain = {"attack": 1.0, "available": float(kind is not Kind.ABSENTEE)}
            profile = replace(malicious(rng, kind), **(steady | certain))
        members.append(Member(hospital, "node1", profile, True, True, 200, 0.0))
    consortium = Consortium(members)
    plan = histories._Plan(consortium, _Everybody())
    plan.round(0, last=True)
    return {m.msp_id: consortium.reputation(m).tallies for m in members}


class _Everybody:
    """A generator that draws every hospital and no noise."""

    def __getattr__(self, name):
        return getattr(np.random.default_rng(4), name)

    def integers(self, low, high):
        return high - 1

    def normal(self, mean, _):
        return mean

    def binomial(self, number, probability):
        return round(number * probability)


class _Tested(_Everybody):
    """The same, of a plan that allows group tests."""

    def random(self):
        return 0.0


def test_simulated_group_tests_blame_who_does_harm_alone():
    rng = np.random.default_rng(1)
    steady = {"available": 1.0, "on_duty": 1.0, "attack": 0.0, "harm": 0.0, "seconds": 1.0}
    profiles = [replace(honest(rng), **steady) for _ in range(6)]
    harmful = {**steady, "attack": 1.0, "harm": 0.8}
    profiles[5] = replace(malicious(rng, Kind.LABEL_FLIPPER), **harmful)
    members = [
        Member(f"H{n}", "node1", profile, True, True, 200, 0.0)
        for n, profile in enumerate(profiles)
    ]
    consortium = Consortium(members)
    plan = histories._Plan(consortium, _Tested())

    for number in range(12):
        plan.round(number, last=number == 11)

    found = [consortium.reputation(member).tallies[Evidence.QUALITY] for member in members]
    assert [one.good + one.bad for one in found] == [11] * 6
    assert found[5].bad > 5
    assert max(one.bad for one in found[:5]) == 0


@pytest.mark.parametrize(
    "kind",
    [
        Kind.HONEST,
        Kind.ABSENTEE,
        Kind.GARBLER,
        Kind.FORGER,
        Kind.SHARE_WITHHOLDER,
        Kind.VOTE_SPOILER,
    ],
)
def test_a_simulated_round_books_what_the_contracts_book(kind):
    assert simulated(kind) == contract(kind)


def test_a_simulated_node_is_named_as_the_ledger_names_it():
    consortium = simulate(np.random.default_rng(1), ATTACKS)

    assert all(subject[0] is Rated.NODE for subject in consortium.booked)
    assert {m.name for m in consortium.members} >= {name for _, name in consortium.booked}
    assert conduct.node_name("A", "n") == "A/n"
