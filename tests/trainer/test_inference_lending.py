"""A model lent encrypted scores another hospital's records: as in the clear, and tells no more."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from chaincode.schema.errors import Code, MedFabricError
from trainer import applications
from trainer.data.inputs import inputs
from trainer.data.raw import Raw, numbered
from trainer.inference import lending
from trainer.inference.commands import features
from trainer.inference.lending import Shape
from trainer.privacy.dealing import KeySecret


def trained(features, labels, classes):
    """Weights and biases of a logistic model, trained without protection."""
    torch.manual_seed(1)
    module = torch.nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.Adam(module.parameters(), 5e-2)
    features, labels = torch.from_numpy(features), torch.from_numpy(labels)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(features), labels).backward()
        optimizer.step()
    return module.weight.detach().numpy(), module.bias.detach().numpy()


def cancer():
    """Inputs and labels of the breast cancer records."""
    application = applications.find("breast-cancer")
    sample = application.sample(1)
    raw = Raw(sample.values.astype(np.float64), sample.labels, numbered(len(sample.labels)))
    return inputs(raw, application.terms()), sample.labels


def digits():
    from sklearn.datasets import load_digits

    data = load_digits(n_class=4)
    return (data.data / 8 - 1).astype(np.float32), data.target


@pytest.mark.parametrize(("data", "classes"), [(cancer, 2), (digits, 4)])
def test_every_score_of_the_whole_test_set_is_that_of_the_plain_model(data, classes):
    features, labels = data()
    order = np.random.default_rng(1).permutation(len(labels))
    cut = len(labels) // 5
    test, train = order[:cut], order[cut:]
    weight, bias = trained(features[train], labels[train], classes)
    shape = Shape(features.shape[1], classes)

    lent = lending.lend(weight, bias)
    answer = lending.score(lent.content, features[test], shape)
    scores = lending.read(answer, lent.secret, cut, shape, lent.sha256)

    expected = features[test] @ weight.T + bias
    assert np.abs(scores - expected).max() < 0.01
    assert np.array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert (scores.argmax(axis=1) == labels[test]).mean() > 0.9


SMALL = Shape(3, 2)
WEIGHT = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], np.float32)
BIAS = np.array([0.1, -0.2], np.float32)
RECORDS = np.array([[1, 0, -1], [0.5, 0.5, 0.5]], np.float32)


@pytest.fixture(scope="module")
def lent():
    return lending.lend(WEIGHT, BIAS)


def test_the_node_sees_nothing_of_the_model(lent):
    again = lending.lend(WEIGHT, BIAS)
    form = lending.model_form(SMALL)

    one, two = (form.decode(made.content[-form.length :]) for made in (lent, again))

    assert (one == two).mean() < 0.001
    middle = one / np.array(form.primes)[:, None]
    assert abs(middle.mean() - 0.5) < 0.01
    assert abs(middle.std() - 12**-0.5) < 0.01


def test_the_owner_sees_noise_below_the_scores_that_differs_each_time(lent):
    """What is left of an answer once the scores are taken away is the node's noise: of the size
    that is said, and not what the errors of the weights, which the owner knows, give."""
    first, second = (
        lending.read(
            lending.score(lent.content, RECORDS, SMALL), lent.secret, 4096, SMALL, lent.sha256
        )
        for _ in range(2)
    )

    scale = 2.0 ** (lending.WEIGHT_BITS + lending.RECORD_BITS) / lending._ring().primes[1]
    # The real part of a sum of as many coefficients, turned around the circle.
    expected = 2.0**lending.FLOOD_BITS / 3**0.5 * (lending.DEGREE / 2) ** 0.5
    assert ((first - second) * scale).std() / 2**0.5 == pytest.approx(expected, rel=0.05)


def test_a_weight_that_packs_values_side_by_side_reads_only_what_is_kept(lent):
    """A model made to tell its inputs: the second value stands below the noise."""
    packing = np.array([[1, 2.0**-14, 0], [0, 0, 0]], np.float32)
    crafted = lending.lend(packing, np.zeros(2, np.float32))
    values = np.random.default_rng(1).uniform(-1, 1, (2000, 3)).astype(np.float32)
    values[:, 0] = np.sign(values[:, 0])

    answer = lending.score(crafted.content, values, SMALL)
    scores = lending.read(answer, crafted.secret, 2000, SMALL, crafted.sha256)

    told = scores[:, 0] - values[:, 0]
    assert abs(np.corrcoef(told, values[:, 1])[0, 1]) < 0.2


def test_a_key_that_is_none_is_refused(lent):
    """What would let its sender see through the node's blinding."""
    size = lending.DEGREE * 12
    for crafted in (bytes(size), b"\1" + bytes(size - 1)):
        content = lent.content[:52] + crafted + lent.content[52 + size :]
        with pytest.raises(MedFabricError, match=Code.KEY_SHARE_INVALID):
            lending.score(content, RECORDS, SMALL)


def test_answers_to_other_models_by_other_keys_and_of_other_shapes_are_refused(lent):
    answer = lending.score(lent.content, RECORDS, SMALL)

    with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
        lending.read(answer, lent.secret, 2, SMALL, "cd" * 32)
    with pytest.raises(MedFabricError, match=Code.DECODE_RANGE):
        lending.read(answer, KeySecret(b"k" * 32), 2, SMALL, lent.sha256)
    with pytest.raises(MedFabricError, match=r"MF-600[12]"):
        lending.score(lent.content, np.zeros((1, 4), np.float32), Shape(4, 2))
    for wrong in (RECORDS[:0], RECORDS[:, :2], np.zeros((4097, 3), np.float32)):
        with pytest.raises(MedFabricError, match=Code.NOT_PRIVATE):
            lending.score(lent.content, wrong, SMALL)
    for weight in (WEIGHT * 1000, WEIGHT * np.nan, WEIGHT[:, :2]):
        with pytest.raises(MedFabricError, match=Code.NOT_PRIVATE):
            lending.lend(weight, BIAS)


def test_ten_thousand_mutations_are_refused_before_anything_is_computed(lent):
    answer = lending.score(lent.content, RECORDS, SMALL)
    draw = random.Random(3)
    model = lending.model_form(SMALL)
    for whole, form in (
        (lent.content[-model.length :], model),
        (answer, lending.score_form(SMALL, lent.sha256)),
    ):
        raw = bytearray(whole)
        for _ in range(5_000):
            place, bit = draw.randrange(52), 1 << draw.randrange(8)
            raw[place] ^= bit
            with pytest.raises(MedFabricError, match=r"MF-600[12]"):
                form.read(io.BytesIO(raw if draw.random() < 0.5 else raw[: draw.randrange(99)]))
            raw[place] ^= bit
        # A residue at or beyond its prime.
        raw[52 : 52 + 6 * lending.DEGREE] = b"\xff" * 6 * lending.DEGREE
        with pytest.raises(MedFabricError, match=Code.RESIDUE_RANGE):
            form.decode(bytes(raw))
    for _ in range(200):
        raw = bytearray(lent.content)
        raw[draw.randrange(len(raw) - model.length)] ^= 1 << draw.randrange(8)
        with pytest.raises(MedFabricError, match="MF-60"):
            lending.score(
                bytes(raw[: draw.choice([len(raw), draw.randrange(len(raw))])]), RECORDS, SMALL
            )


def test_both_polynomials_of_an_answer_are_blinded_anew_each_time(lent):
    """Without that the owner, who knows the second polynomials of its weights, solves for the
    records."""
    form = lending.score_form(SMALL, lent.sha256)

    one, two = (form.decode(lending.score(lent.content, RECORDS, SMALL)) for _ in range(2))

    assert (one == two).mean() < 0.001


def test_records_with_codes_are_scored_as_the_plan_codes_them(tmp_path):
    application, path = applications.find("kidney"), tmp_path / "records.npz"
    terms, values = application.terms(), application.sample(1).values[:20]
    raw = Raw(values.astype(np.float64), np.zeros(20, dtype=np.int64), numbered(20))
    np.savez(path, features=values)

    # Whose a record is a plan may ask; a prediction does not.
    for asked in (terms, terms.model_copy(update={"patient": "patient"})):
        assert (features(path, asked) == inputs(raw, terms)).all()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (np.zeros((3, 14)), Code.DATA_MISMATCH),
        (np.zeros(()), Code.DATA_MISMATCH),
        (np.full((3, 8), 7.0), Code.DATA_VALUE),
        (np.full((3, 8), np.inf), Code.DATA_VALUE),
    ],
)
def test_records_that_the_plan_does_not_describe_are_refused(tmp_path, wrong, code):
    np.savez(tmp_path / "records.npz", features=wrong)

    with pytest.raises(MedFabricError, match=code):
        features(tmp_path / "records.npz", applications.find("kidney").terms())
