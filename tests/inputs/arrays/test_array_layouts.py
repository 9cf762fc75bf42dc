"""Arrays of every layout, for every argument: the right bits, never a crash.

`test_predict.py`, `test_fit_inputs.py` and `refusals/` hold the usual kinds; in this folder are the
unusual ones, and the usual ones for every argument of every call.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from hostile import DTYPES, LAYOUTS, N, differing, field, one_byte_off
from support import bits, random_network


@pytest.mark.bits
@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_every_argument_gives_the_same_bits(net, data, layout, given):
    before = bits(*data.values())
    assert differing(net, data, lambda a: LAYOUTS[layout](a.astype(given))) == []
    assert bits(*data.values()) == before


def test_the_layouts_are_what_they_say(data):
    x = data["x"]
    assert one_byte_off(x).ctypes.data % x.itemsize == 1
    assert field(x).strides[0] % x.itemsize == 1
    assert field(x, align=True).strides[0] % x.itemsize == 0
    assert LAYOUTS["rows that overlap"](x).strides == (x.itemsize, x.itemsize)
    assert LAYOUTS["backwards"](x).strides == (-x.strides[0], -x.strides[1])
    for layout in ("read-only", "a mapped file", "one number for all"):
        assert not LAYOUTS[layout](x).flags.writeable


@pytest.mark.bits
@pytest.mark.parametrize("stride", [0, 1, -3, 7, 2**40 + 1])
@pytest.mark.parametrize("shape", [(1, 5), (N, 1), (1, 1)], ids=str)
def test_the_stride_of_an_axis_of_one_element_does_not_count(rng, dtype, shape, stride):
    """Whatever NumPy leaves there: it is never added to an address."""
    net = random_network(rng, [shape[1], 4, shape[1]], loss="mse", dtype=dtype)
    x = rng.normal(size=shape).astype(dtype)
    data = {"x": x, "y": x, "sample_weight": np.ones(shape[0], dtype)}

    def strided(a):
        strides = [stride if n == 1 else s for n, s in zip(a.shape, a.strides, strict=True)]
        return as_strided(a, a.shape, strides)

    assert differing(net, data, strided) == []
