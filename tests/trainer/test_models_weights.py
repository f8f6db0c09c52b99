"""Model files: canonical bytes, readable by others, refused when anything is off."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chaincode.schema.errors import MedFabricError
from trainer.models import weights
from trainer.strategies import strategy

SHAPES = (("0.bias", (2,)), ("0.weight", (2, 3)), ("scale", (1,)))
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = np.arange(9, dtype=np.float32) / 3
FILE = weights.encode(VALUES, SHAPES)
PINNED = "43abfcac7c8e51005ae29864295e86dd7ee515397878ce44b5b3d328e238fdb3"


@given(arrays(np.float32, 9, elements=FINITE))
def test_decoding_gives_back_the_same_bits(values: np.ndarray) -> None:
    read, _ = weights.decode(weights.encode(values, SHAPES), SHAPES)

    assert read.tobytes() == values.tobytes()


def test_address_is_pinned() -> None:
    assert hashlib.sha256(FILE).hexdigest() == PINNED


def test_foreign_reader_agrees() -> None:
    from safetensors.numpy import load

    tensors = load(FILE)

    assert {name: value.shape for name, value in tensors.items()} == dict(SHAPES)
    assert np.array_equal(tensors["0.bias"], VALUES[:2])
    assert np.array_equal(tensors["0.weight"], VALUES[2:8].reshape(2, 3))


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_changed_byte_never_reads_as_the_same_model(place: int, change: int) -> None:
    damaged = bytearray(FILE)
    damaged[place] ^= change

    # Only a parameter's own bytes may differ; another address then gives it away.
    if place < len(FILE) - VALUES.nbytes:
        with pytest.raises(MedFabricError, match="MF-9003"):
            weights.decode(bytes(damaged), SHAPES)
    elif np.isfinite(np.frombuffer(damaged[-VALUES.nbytes :], dtype="<f4")).all():
        read, _ = weights.decode(bytes(damaged), SHAPES)
        assert weights.encode(read, SHAPES) == bytes(damaged) != FILE


@given(st.one_of(st.binary(max_size=400), st.integers(0, len(FILE) - 1).map(lambda n: FILE[:n])))
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(MedFabricError, match="MF-9003"):
        weights.decode(content, SHAPES)


def test_file_of_another_layout_is_refused() -> None:
    renamed = (("0.bias", (2,)), ("0.weight", (3, 2)), ("scale", (1,)))

    with pytest.raises(MedFabricError, match=r"MF-9003.*header"):
        weights.decode(FILE, renamed)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_neither_written_nor_read(bad: float) -> None:
    values = VALUES.copy()
    values[4] = bad

    with pytest.raises(MedFabricError, match="MF-9003"):
        weights.encode(values, SHAPES)
    with pytest.raises(MedFabricError, match=r"MF-9003.*finite"):
        weights.decode(FILE[: -VALUES.nbytes] + values.tobytes(), SHAPES)


@given(
    arrays(np.float32, 9, elements=FINITE.filter(lambda x: abs(x) < 1e30)),
    arrays(np.float64, 9, elements=st.floats(-8, 8)),
)
def test_applying_a_mean_rounds_once(base: np.ndarray, mean: np.ndarray) -> None:
    moved = strategy.moved(base, mean)

    assert moved.dtype == np.float32
    # Python's own float arithmetic, number by number, is the reference.
    expected = [np.float32(float(b) + float(m)) for b, m in zip(base, mean, strict=True)]
    assert moved.tobytes() == np.array(expected, dtype=np.float32).tobytes()


@given(arrays(np.float32, 9, elements=FINITE), arrays(np.float32, 9, elements=FINITE))
def test_state_of_a_strategy_travels_with_the_model(
    values: np.ndarray, carried: np.ndarray
) -> None:
    from safetensors.numpy import load

    file = weights.encode(values, SHAPES, {"second": carried, "first": values})

    parameters, state = weights.decode(file, SHAPES, ("first", "second"))
    assert parameters.tobytes() == state["first"].tobytes() == values.tobytes()
    assert state["second"].tobytes() == carried.tobytes()
    assert load(file)["server.second"].tobytes() == carried.tobytes()
    for slots in ((), ("first",), ("first", "third")):
        with pytest.raises(MedFabricError, match="MF-9003"):
            weights.decode(file, SHAPES, slots)


def test_model_without_a_state_begins_with_zeros() -> None:
    parameters, state = weights.decode(FILE, SHAPES, ("velocity",))

    assert np.array_equal(parameters, VALUES)
    assert state.keys() == {"velocity"}
    assert not state["velocity"].any()
