"""Predictions on encrypted images: those of the plain model, by a server that sees nothing."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from chaincode.schema.errors import Code, MedFabricError
from trainer import applications
from trainer.inference import private
from trainer.inference.network import Network
from trainer.models import registry

DIGITS = {
    "channels": 1,
    "height": 8,
    "width": 8,
    "classes": 10,
    "filters": 4,
    "stride": 1,
    "pool": 2,
}
FEVER = {
    "channels": 1,
    "height": 24,
    "width": 24,
    "classes": 2,
    "filters": 2,
    "stride": 2,
    "pool": 4,
}
ADDRESS = "ab" * 32


def trained(config, images, labels, steps):
    """A module of ``square-cnn``, trained without protection."""
    torch.set_num_threads(1)
    module = registry.build("square-cnn", config)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2, weight_decay=1e-3)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
    return module


def network_of(module, config):
    named = {name: value.detach().numpy() for name, value in module.named_parameters()}
    return Network.of(config, named)


@pytest.fixture(scope="module")
def digits():
    """The module, its network, and the test images and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.data / 8 - 1).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(1).permutation(len(images))
    train, test = order[:1437], order[1437:]
    module = trained(DIGITS, images[train], data.target[train], 150)
    return module, network_of(module, DIGITS), images[test], data.target[test]


@pytest.fixture(scope="module")
def asked(digits):
    _, network, images, _ = digits
    return private.ask(images.reshape(len(images), -1), network, ADDRESS)


def plain(module, images):
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()


def test_every_prediction_on_the_whole_digits_test_set_is_that_of_the_plain_model(digits, asked):
    module, network, images, labels = digits

    answer = private.answer(io.BytesIO(asked.content), network, ADDRESS)
    scores = private.open_answer(answer, asked.secret, 360, network, ADDRESS, asked.sha256)

    expected = plain(module, images)
    assert np.array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert np.abs(scores - expected).max() < 0.1
    assert (scores.argmax(axis=1) == labels).mean() > 0.9


def test_every_prediction_of_fever_from_thermal_images_is_that_of_the_plain_model():
    sample = applications.find("fever").sample(1)
    images = np.clip((sample.values - 28) / 6.5 - 1, -1, 1).astype(np.float32)
    module = trained(FEVER, images[:1600], sample.labels[:1600], 60)
    network = network_of(module, FEVER)

    query = private.ask(images[1600:].reshape(400, -1), network, ADDRESS)
    answer = private.answer(io.BytesIO(query.content), network, ADDRESS)
    scores = private.open_answer(answer, query.secret, 400, network, ADDRESS, query.sha256)

    expected = plain(module, images[1600:])
    assert np.array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert (scores.argmax(axis=1) == sample.labels[1600:]).mean() > 0.8


def test_two_servers_give_the_same_bytes_and_another_model_gives_others(digits, asked):
    _, network, _, _ = digits
    other = Network(DIGITS, network.kernel, network.bias, network.dense[::-1], network.dense_bias)

    first, second = (private.answer(io.BytesIO(asked.content), network, ADDRESS) for _ in "ab")

    assert first == second
    assert private.answer(io.BytesIO(asked.content), other, ADDRESS) != first


def test_what_the_server_holds_tells_nothing_without_the_secret(digits, asked):
    """The same images twice, and the residues' spread: nothing of the images is left to see."""
    _, network, images, _ = digits
    again = private.ask(images.reshape(len(images), -1), network, ADDRESS)
    form = private.query_form(network, ADDRESS)

    one, two = (form.decode(query.content) for query in (asked, again))
    assert (one == two).mean() < 0.001
    middle = one / np.array(form.primes)[:, None]
    assert abs(middle.mean() - 0.5) < 0.001
    assert abs(middle.std() - 12**-0.5) < 0.001
    answer = private.answer(io.BytesIO(asked.content), network, ADDRESS)
    with pytest.raises(MedFabricError, match=Code.DECODE_RANGE):
        private.open_answer(answer, again.secret, 360, network, ADDRESS, asked.sha256)


def test_answers_to_other_queries_and_of_other_models_are_refused(digits, asked):
    _, network, images, _ = digits
    answer = private.answer(io.BytesIO(asked.content), network, ADDRESS)

    for model, query in ((ADDRESS, "cd" * 32), ("cd" * 32, asked.sha256)):
        with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
            private.open_answer(answer, asked.secret, 360, network, model, query)
    with pytest.raises(MedFabricError, match=Code.WIRE_FOREIGN):
        private.answer(io.BytesIO(asked.content), network, "cd" * 32)
    for wrong in (images[:0].reshape(0, 64), np.zeros((4097, 64), np.float32), images[:1, 0, 0]):
        with pytest.raises(MedFabricError, match=Code.NOT_PRIVATE):
            private.ask(wrong, network, ADDRESS)


def test_weights_that_are_not_computed_exactly_are_refused():
    module = registry.build("square-cnn", DIGITS)
    with torch.no_grad():
        module[0].weight.fill_(5.0)

    with pytest.raises(MedFabricError, match=Code.NOT_PRIVATE):
        network_of(module, DIGITS)


def test_ten_thousand_mutations_are_refused_before_anything_is_computed():
    config = {**DIGITS, "height": 2, "width": 2, "pool": 1, "classes": 2}
    network = network_of(registry.build("square-cnn", config), config)
    query = private.ask(np.zeros((1, 4), np.float32), network, ADDRESS)
    answer = private.answer(io.BytesIO(query.content), network, ADDRESS)
    draw = random.Random(3)
    for whole, form in (
        (query.content, private.query_form(network, ADDRESS)),
        (answer, private.answer_form(network, ADDRESS, query.sha256)),
    ):
        raw = bytearray(whole)
        for _ in range(5_000):
            place, bit = draw.randrange(52), 1 << draw.randrange(8)
            raw[place] ^= bit
            with pytest.raises(MedFabricError, match=r"MF-600[12]"):
                form.read(io.BytesIO(raw if draw.random() < 0.5 else raw[: draw.randrange(99)]))
            raw[place] ^= bit
        # A residue at or beyond its prime.
        raw[52 : 52 + 6 * private.DEGREE] = b"\xff" * 6 * private.DEGREE
        with pytest.raises(MedFabricError, match=Code.RESIDUE_RANGE):
            form.decode(bytes(raw))
