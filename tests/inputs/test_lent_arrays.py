"""Arrays of other libraries and buffers: read where they lie, or refused with a reason.

What NumPy makes of the usual lenders is in `arrays/test_array_likes.py`; here, that none is copied.
"""

from __future__ import annotations

import array
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.inputs.arrays import real_array
from support import assert_same_bits, random_network, says

ROWS, WIDTH = 20_000, 50
SIZE = ROWS * WIDTH * 4


class Lender:
    """Lends an array through DLPack and nothing else, as nanobind's and some engines' arrays do."""

    def __init__(self, a, error=None):
        self.a, self.error = a, error

    def __dlpack__(self, **options):
        if self.error is not None:
            raise self.error
        return self.a.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    net = random_network(rng, [WIDTH, 4, 2], loss="mse", dtype="float32")
    return net, rng.normal(size=(ROWS, WIDTH)).astype(np.float32)


def mapped(x, folder):
    x.tofile(folder / "x")
    return np.memmap(folder / "x", np.float32, "r", shape=x.shape)


def in_jax(x):
    return pytest.importorskip("jax.numpy").asarray(x)


LENT = {
    "dlpack alone": lambda x, _: Lender(x),
    "memoryview": lambda x, _: memoryview(x),
    "array.array": lambda x, _: (
        memoryview(array.array("f", x.tobytes())).cast("B").cast("f", x.shape)
    ),
    "memmap": mapped,
    "read-only": lambda x, _: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "jax": lambda x, _: in_jax(x),
}
KINDS = [*list(LENT)[:-1], pytest.param("jax", marks=pytest.mark.unsanitized)]


@pytest.mark.bits
@pytest.mark.unsanitized
@pytest.mark.parametrize("kind", LENT)
def test_an_array_that_is_lent_is_read_where_it_lies(data, kind, tmp_path):
    """Of a copy of 4 MB NumPy's allocations, which tracemalloc counts, would show."""
    net, x = data
    lent, out = LENT[kind](x, tmp_path), np.empty((ROWS, 2), np.float32)
    net.predict(lent, out)  # what is imported and kept at the first call
    tracemalloc.start()
    try:
        net.predict(lent, out)
        net.freeze()(lent, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < SIZE / 100
    assert_same_bits(out, net.predict(x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_array_of_a_lender_has_its_address(data, kind, tmp_path):
    _, x = data
    lent = LENT[kind](x, tmp_path)
    first, second = real_array(lent, "x"), real_array(lent, "x")
    assert np.shares_memory(first, second)


@pytest.mark.bits
def test_training_reads_what_is_lent(data):
    _, x = data
    nets = [cr.Network([WIDTH, 3], loss="mse", seed=0) for _ in range(2)]
    y = np.ones((300, 3), np.float32)
    nets[0].fit(Lender(x[:300]), Lender(y), epochs=2, learning_rate=0.1)
    nets[1].fit(x[:300], y, epochs=2, learning_rate=0.1)
    assert_same_bits(nets[0].get_parameters(), nets[1].get_parameters())
    assert nets[0].cost(Lender(x[:300]), Lender(y)) == nets[1].cost(x[:300], y)


@pytest.mark.bits
def test_what_is_lent_in_another_layout_gives_the_same_bits(data):
    net, x = data
    for part in (x[::-3], np.asfortranarray(x[:50]), x.astype(np.float16), x[0]):
        assert_same_bits(net.predict(Lender(part)), net.predict(part))


@pytest.mark.parametrize("error", [BufferError("on the device cuda:0"), RuntimeError("bfloat16")])
def test_what_numpy_cannot_take_is_refused_with_the_reason(data, error):
    net, x = data
    message = says("x is a", "Lender", error, "memory of the CPU")
    for call in (net.predict, lambda x: net.evaluate(x, x)):
        with pytest.raises(TypeError, match=message):
            call(Lender(x, error))


def test_another_error_of_the_lender_is_the_error_of_the_call(data):
    net, x = data
    for call in (net.predict, lambda x: net.evaluate(x, x)):
        with pytest.raises(LookupError, match="gone"):
            call(Lender(x, LookupError("gone")))


@pytest.mark.bits
@pytest.mark.unsanitized
def test_jax_arrays_of_half_precision_are_refused_by_type(data):
    net, x = data
    lent = in_jax(x[:3])
    with pytest.raises(TypeError, match=says("real numbers", "bfloat16", "astype")):
        net.predict(lent.astype("bfloat16"))
    assert_same_bits(net.predict(lent.astype("float16")), net.predict(x[:3].astype("float16")))
    assert_same_bits(net.predict(lent.T.T[::-1]), net.predict(x[:3][::-1]))


@pytest.mark.unsanitized
def test_out_must_be_a_numpy_array(data):
    net, x = data
    with pytest.raises(TypeError, match=says("out is a", "ArrayImpl", "numpy.ndarray")):
        net.predict(x[:3], in_jax(np.empty((3, 2), np.float32)))
