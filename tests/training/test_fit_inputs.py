"""fit: every kind of array trains with the same bits, and X is never copied whole."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, random_network, run_python

N = 50


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy", dtype="float32")


@pytest.fixture
def data(rng):
    """Three clusters that a small network learns."""
    y = rng.integers(0, 3, N)
    centres = 2 * np.eye(3, 5)
    return (centres[y] + rng.normal(0, 0.5, (N, 5))).astype(np.float32), y


# --- kinds of input ---------------------------------------------------------------------------

KINDS = {
    "lists": lambda x: x.tolist(),
    "float16": lambda x: x.astype(np.float16),
    "float64": lambda x: x.astype(np.float64),
    "longdouble": lambda x: x.astype(np.longdouble),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "Fortran order": np.asfortranarray,
    "reversed": lambda x: x[::-1].copy()[::-1],
    "columns": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "unaligned": lambda x: (
        np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    ),
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
}


@pytest.mark.bits
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_every_kind_of_input_trains_with_the_same_bits(net, data, kind, batch_size):
    x, y = data
    x = x.astype(np.float16).astype(np.float32)  # numbers that every kind can hold
    other = copy.deepcopy(net)
    net.fit(x, y, epochs=2, batch_size=batch_size, optimizer=cr.Adam(0.01))
    other.fit(KINDS[kind](x), y, epochs=2, batch_size=batch_size, optimizer=cr.Adam(0.01))
    assert_same_bits(net.get_parameters(), other.get_parameters())


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "int64", "uint64"])
def test_integers_train_as_the_floats_they_equal(net, rng, kind):
    x, y = rng.integers(0, 2, (N, 5)).astype(kind), rng.integers(0, 3, N)
    other = copy.deepcopy(net)
    net.fit(x, y, epochs=2, learning_rate=0.1)
    other.fit(x.astype(np.float32), y, epochs=2, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "uint8", "bool"])
def test_every_kind_of_target_trains_with_the_same_bits(net, data, kind):
    x, y = data
    one_hot = np.eye(3)[y]
    other = copy.deepcopy(net)
    net.fit(x, one_hot, epochs=2, learning_rate=0.1)
    other.fit(x, one_hot.astype(kind), epochs=2, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


@pytest.mark.bits
def test_a_memory_mapped_file_trains_with_the_same_bits(net, data, tmp_path):
    x, y = data
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    other = copy.deepcopy(net)
    net.fit(x, y, epochs=2, learning_rate=0.1)
    other.fit(mapped, y, epochs=2, learning_rate=0.1)
    assert_same_bits(net.get_parameters(), other.get_parameters())


MEMORY = """
import sys
import numpy as np
import chainrule as cr

def peak():
    # Not ru_maxrss: a process begins with that of the one that started it.
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

n = 300_000
x, y = np.ones((n, 50), sys.argv[1]), np.zeros(n, np.int64)
net = cr.Network([50, 3], "softmax", "cross_entropy", seed=0)
net.fit(x[:20_000], y[:20_000], batch_size=1000, learning_rate=0.01)
before = peak()
net.fit(x, y, batch_size=1000, learning_rate=0.01)
net.fit(x, y, batch_size=1000, learning_rate=0.01, shuffle=False)
of_fit = peak() - before
x.astype(np.float32).copy()
print(of_fit, peak() - before)
"""


@pytest.mark.unsanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", ">f4"])
def test_x_is_never_copied_whole(dtype):
    """Fifteen million numbers take 60 MB in float32, as the copy at the end does."""
    of_fit, of_a_copy = map(int, run_python("-c", MEMORY, dtype).split())
    assert of_fit < 25e6
    assert of_a_copy > 55e6
