"""Weights of updates: bounded, capped per hospital, in the order of what was claimed."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.weights import CAP, Claim, weigh

names = st.sampled_from([f"H{n}" for n in range(8)])
claims = st.lists(
    st.tuples(names, st.integers(1, 2**40), st.integers(0, 1000)), min_size=1, max_size=30
).map(lambda rows: [Claim(h, f"n{i}", n, score) for i, (h, n, score) in enumerate(rows)])
bits = st.integers(6, 20)


@given(claims, bits)
def test_weights_are_whole_numbers_of_one_at_least_and_fit_the_resolution(made, resolution):
    weights = weigh(made, resolution)

    assert len(weights) == len(made)
    assert all(type(weight) is int and weight >= 1 for weight in weights)
    assert sum(weights) <= 1 << resolution
    assert sum(weights) > (1 << resolution) - 2 * len(made)  # nothing is given away but by rounding


@given(claims, bits)
def test_no_hospitals_nodes_weigh_more_than_the_cap(made, resolution):
    weights = weigh(made, resolution)
    total, nodes = Counter(), Counter(claim.msp_id for claim in made)
    for claim, weight in zip(made, weights, strict=True):
        total[claim.msp_id] += weight

    cap = min(Fraction(1), CAP / len(nodes))

    for hospital, count in nodes.items():
        assert total[hospital] <= cap * (1 << resolution) + count


@given(claims, bits, st.randoms(use_true_random=False))
def test_the_same_claims_weigh_the_same_in_any_order(made, resolution, random):
    weights = dict(zip(made, weigh(made, resolution), strict=True))
    mixed = list(made)
    random.shuffle(mixed)

    assert dict(zip(mixed, weigh(mixed, resolution), strict=True)) == weights


@given(claims, bits)
@settings(max_examples=60)
def test_who_claims_more_weighs_no_less(made, resolution):
    alone = list({claim.msp_id: claim for claim in made}.values())  # one node of each hospital
    weighed = list(zip(alone, weigh(alone, resolution), strict=True))

    for one, weight in weighed:
        for other, less in weighed:
            if one.samples * one.score_milli >= other.samples * other.score_milli:
                assert weight >= less


@given(claims, bits, st.integers(2, 1000))
def test_only_proportions_count(made, resolution, factor):
    honest = [Claim(c.msp_id, c.node_id, c.samples, max(1, c.score_milli)) for c in made]
    scaled = [Claim(c.msp_id, c.node_id, c.samples * factor, c.score_milli) for c in honest]

    assert weigh(scaled, resolution) == weigh(honest, resolution)


def test_a_giant_is_cut_to_the_cap_and_the_rest_goes_to_the_others_in_proportion():
    made = [Claim("A", "n", 10**9, 1000), Claim("B", "n", 200, 1000), Claim("C", "n", 100, 1000)]

    a, b, c = weigh(made, 20)

    assert abs(a - (1 << 19)) <= 3
    assert abs(b - 2 * c) <= 3


def test_splitting_a_hospital_into_nodes_gains_nothing():
    whole = weigh([Claim("A", "n", 900, 1000), Claim("B", "n", 100, 1000)], 20)
    nodes = [Claim("A", f"n{i}", 100, 1000) for i in range(9)]
    split = weigh([*nodes, Claim("B", "n", 100, 1000)], 20)

    assert sum(split[:9]) - whole[0] <= 9


@pytest.mark.parametrize(("count", "resolution"), [(0, 10), (3, 2), (513, 10)])
def test_more_claims_than_the_resolution_tells_apart_are_refused(count, resolution):
    with pytest.raises(ValueError, match="resolution"):
        weigh([Claim("A", f"n{i}", 1, 1000) for i in range(count)], resolution)
