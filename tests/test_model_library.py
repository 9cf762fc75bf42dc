"""The library for C++ programs gives the bits of the package, and refuses what it refuses.

.ci/cpp builds tests/cpp/model.cpp and examples/embed-cpp, and names the programs in
CHAINRULE_MODEL_PROGRAM and CHAINRULE_EMBED_PROGRAM.
"""

from __future__ import annotations

import os
import random
import subprocess

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from fuzz.fuzz_load import mutate
from handmade import identity
from support import TESTS

PROGRAM = os.environ.get("CHAINRULE_MODEL_PROGRAM")
pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.skipif(PROGRAM is None, reason="CHAINRULE_MODEL_PROGRAM is not set: .ci/cpp does"),
]
RNG, RANDOM = np.random.default_rng(0), random.Random(0)


def run(*arguments):
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def network(activation, dtype, sizes=(7, 33, 5), bias=True):
    hidden = "tanh" if activation == "softmax" else activation
    return cr.Network(sizes, [hidden, activation], dtype=dtype, bias=bias, seed=3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_predictions_have_the_same_bits(tmp_path, activation, dtype):
    net = network(activation, dtype)
    net.save(tmp_path / "net")
    x = RNG.normal(size=(130, 7)).astype(dtype)
    x.tofile(tmp_path / "x")
    run("predict", tmp_path / "net", tmp_path / "x", tmp_path / "out")
    np.testing.assert_array_equal(
        np.fromfile(tmp_path / "out", dtype).reshape(130, 5), net.predict(x)
    )


@pytest.mark.parametrize("sizes", [(3, 4, 2), (784, 100, 10), (1000, 1500, 40)])
def test_predictions_of_other_shapes_have_the_same_bits(tmp_path, sizes):
    net = network("relu", "float32", sizes, bias=False)
    net.save(tmp_path / "net")
    x = RNG.normal(size=(70, sizes[0])).astype(np.float32)
    x.tofile(tmp_path / "x")
    run("predict", tmp_path / "net", tmp_path / "x", tmp_path / "out")
    got = np.fromfile(tmp_path / "out", np.float32).reshape(70, sizes[-1])
    np.testing.assert_array_equal(got, net.predict(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 10, 300])
def test_training_has_the_same_bits(tmp_path, rows, dtype):
    net = network("sigmoid", dtype)
    net.fit(np.zeros((4, 7)), np.zeros((4, 5)), learning_rate=0.1)  # a counter of epochs
    net.save(tmp_path / "net")
    x, y = RNG.normal(size=(rows, 7)).astype(dtype), RNG.normal(size=(rows, 5)).astype(dtype)
    x.tofile(tmp_path / "x")
    y.tofile(tmp_path / "y")
    arguments = (tmp_path / "x", tmp_path / "y", 0.3, 5, tmp_path / "out")
    printed = run("train", tmp_path / "net", *arguments)
    costs = [net.train_step(x, y, learning_rate=0.3) for _ in range(5)]
    assert [float(line) for line in printed] == costs
    assert identity(cr.Network.load(tmp_path / "out")) == identity(net)


def test_a_file_that_it_writes_is_the_file_that_python_writes(tmp_path):
    net = network("gelu", "float32")
    net.save(tmp_path / "net")
    RNG.normal(size=7).astype(np.float32).tofile(tmp_path / "x")
    RNG.normal(size=5).astype(np.float32).tofile(tmp_path / "y")
    run("train", tmp_path / "net", tmp_path / "x", tmp_path / "y", 0, 1, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "net").read_bytes()


def test_predict_allocates_nothing_and_refuses_spans_that_do_not_fit(tmp_path):
    net = network("softmax", "float32", (784, 300, 10))
    net.save(tmp_path / "net")
    assert run("quiet", tmp_path / "net") == ["0 allocations"]


def test_the_example_answers_as_python_does(tmp_path):
    net = network("softmax", "float32", (4, 9, 3))
    net.save(tmp_path / "net")
    command = [os.environ["CHAINRULE_EMBED_PROGRAM"], tmp_path / "net", "1", "-2.5", "0.25", "1e3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = net.predict(np.array([1, -2.5, 0.25, 1e3], np.float32))
    assert [np.float32(line) for line in done.stdout.split()] == list(expected)
    assert "µs a call on" in done.stderr
    (tmp_path / "net").write_bytes(b"nothing")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not hold a network of chainrule: it ends within its header" in done.stderr


def python_verdict(path):
    try:
        cr.Network.load(path)
    except ValueError:
        return False
    return True


def flip(data, max_size):
    """Change, remove or add some bytes."""
    data = bytearray(data)
    for _ in range(RANDOM.choice([1, 1, 3])):
        at = RANDOM.randrange(len(data) + 1)
        data[at : at + RANDOM.choice([0, 1, 1, 4])] = RANDOM.randbytes(RANDOM.choice([0, 1, 1, 4]))
    return bytes(data[:max_size])


def test_it_accepts_and_refuses_the_files_that_python_does(tmp_path):
    corpus = sorted((TESTS / "fuzz/corpus").iterdir())
    paths = list(corpus)
    for seed in range(3000):
        paths.append(tmp_path / str(seed))
        paths[-1].write_bytes(mutate(corpus[seed % len(corpus)].read_bytes(), 4096, seed, flip))
    verdicts = [line == "ok" for line in run("verdicts", *paths)]
    expected = [python_verdict(path) for path in paths]
    assert 0 < sum(expected) < len(paths) / 2
    different = [p.name for p, a, b in zip(paths, verdicts, expected, strict=True) if a != b]
    assert not different
