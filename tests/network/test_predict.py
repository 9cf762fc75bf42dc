"""predict: right for every activation, shape and kind of input, and without copies into `out`."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
import reference
from support import HIDDEN, assert_same_bits, bits, random_network

DTYPES = ["float32", "float64"]
SIZES = [[1, 1], [5, 7, 3], [1, 16, 1], [3, 17, 8, 33], [129, 64, 10], [2, 300, 2], [784, 30, 10]]
BATCHES = [1, 2, 3, 5, 8, 13, 16, 31, 33, 64, 97, 250]

#: Against the float64 oracle. Float32: a few hundred terms of size 1, one rounding of 6e-8 each.
TOLERANCE = {"float32": 2e-5, "float64": 1e-13}


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


@pytest.fixture
def net(rng, dtype):
    return random_network(rng, [5, 7, 3], ["tanh", "softmax"], "cross_entropy", dtype=dtype)


@pytest.fixture
def x(rng, dtype):
    return rng.normal(size=(12, 5)).astype(dtype)


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", [*HIDDEN, "softmax"])
def test_predict_equals_the_oracle(rng, name, sizes, dtype):
    activations = [name if name != "softmax" else "tanh"] * (len(sizes) - 2) + [name]
    net = random_network(rng, sizes, activations, dtype=dtype)
    x = rng.normal(size=(9, sizes[0])).astype(dtype)
    out = net.predict(x)
    assert out.dtype == net.dtype
    assert out.flags.c_contiguous
    tolerance = TOLERANCE[dtype]
    expected = reference.Net.of(net).predict(x)
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("sizes", [[5, 7, 3], [100, 65, 40, 12]], ids=str)
def test_every_batch_size_equals_the_oracle(rng, sizes, n, dtype):
    net = random_network(rng, sizes, dtype=dtype)
    x = rng.normal(size=(n, sizes[0])).astype(dtype)
    expected = reference.Net.of(net).predict(x)
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(net.predict(x), expected, rtol=tolerance, atol=tolerance)


def test_call_is_predict(net, x):
    assert_same_bits(net(x), net.predict(x))


def test_rows_of_softmax_sum_to_one(net, x):
    np.testing.assert_allclose(net.predict(x).sum(axis=1), 1, rtol=1e-6)


# --- out --------------------------------------------------------------------------------------


def test_out_is_filled_and_returned(net, x, dtype):
    out = np.full((12, 3), np.nan, dtype)
    assert net.predict(x, out) is out
    assert_same_bits(out, net.predict(x))
    out.fill(np.nan)
    assert net(x, out=out) is out
    assert_same_bits(out, net.predict(x))


def test_out_may_be_part_of_a_larger_array(net, x, dtype):
    room = np.full((30, 3), -1, dtype)
    part = room[6:18]
    result = net.predict(x, out=part)
    assert result is part
    assert np.shares_memory(result, room)
    assert_same_bits(room[6:18], net.predict(x))
    assert (room[:6] == -1).all()
    assert (room[18:] == -1).all()


def test_out_of_a_single_vector(net, x, dtype):
    out = np.empty(3, dtype)
    assert net.predict(x[0], out=out) is out
    assert_same_bits(out, net.predict(x)[0])


def test_a_result_is_fresh_every_time(net, x):
    first, second = net.predict(x), net.predict(x)
    assert not np.shares_memory(first, second)
    assert first.flags.owndata
    assert first.flags.writeable


# --- kinds of input ---------------------------------------------------------------------------


def test_a_vector_is_one_sample(net, x):
    assert net.predict(x[0]).shape == (3,)
    assert_same_bits(net.predict(x[0]), net.predict(x[:1])[0])


def test_a_vector_is_one_sample_even_where_the_input_is_one_wide(rng, dtype):
    net = random_network(rng, [1, 4, 2], dtype=dtype)
    assert net.predict(np.ones(1, dtype)).shape == (2,)
    assert net.predict(np.ones((1, 1), dtype)).shape == (1, 2)


ROW_STRIDED = {
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed rows": lambda x: x[::-1].copy()[::-1],
    "columns of a wider array": lambda x: np.hstack([x, x])[:, : x.shape[1]],
    "one row repeated": lambda x: np.broadcast_to(x[:1], x.shape),
}

CONVERTED = {
    "Fortran order": np.asfortranarray,
    "every second column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed columns": lambda x: x[:, ::-1].copy()[:, ::-1],
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())),
    "unaligned": lambda x: (
        np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    ),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "matrix subclass": lambda x: x.view(type("Sub", (np.ndarray,), {})),
    "array protocol": lambda x: type("Frame", (), {"__array__": lambda self, *a, **k: x})(),
}


@pytest.mark.bits
@pytest.mark.parametrize("kind", ROW_STRIDED)
def test_row_strided_input_gives_the_same_bits(net, x, kind):
    strided = ROW_STRIDED[kind](x)
    assert_same_bits(net.predict(strided), net.predict(np.ascontiguousarray(strided)))


@pytest.mark.bits
@pytest.mark.parametrize("kind", CONVERTED)
def test_any_other_layout_is_converted(net, x, kind):
    before = bits(x)
    assert_same_bits(net.predict(CONVERTED[kind](x)), net.predict(x))
    assert bits(x) == before


@pytest.mark.bits
@pytest.mark.parametrize(
    "other",
    [
        "bool",
        "uint8",
        "int8",
        "int32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "longdouble",
    ],
)
def test_any_real_dtype_is_converted(net, rng, dtype, other):
    x = rng.integers(0, 2, (6, 5)).astype(other)
    if np.dtype(other).kind == "f":
        x = (x + rng.normal(size=x.shape)).astype(other)
    assert_same_bits(net.predict(x), net.predict(x.astype(dtype)))


def test_input_is_never_written(net, x):
    before = bits(x)
    net.predict(x)
    assert bits(x) == before
    x.flags.writeable = False
    net.predict(x)


def test_nan_and_infinity_pass_through_their_own_row_only(rng, dtype):
    net = random_network(rng, [5, 20, 3], dtype=dtype)
    x = rng.normal(size=(9, 5)).astype(dtype)
    clean = net.predict(x)
    x[4, 2] = np.nan
    out = net.predict(x)
    assert np.isnan(out[4]).all()
    kept = np.arange(9) != 4
    assert_same_bits(out[kept], clean[kept])


def test_relu_keeps_nan(dtype):
    net = cr.Network([1, 1], "relu", dtype=dtype, seed=0)
    net.set_parameters([1.0, 0.0])
    assert np.isnan(net.predict([[np.nan]])).all()


def test_threads_is_keyword_only_and_changes_nothing(net, x):
    assert_same_bits(net.predict(x, threads=2), net.predict(x, threads=1))
    with pytest.raises(TypeError):
        net.predict(x, None, 2)
