"""The library for C++ programs gives the bits of the package, and refuses what it refuses.

.ci/cpp builds tests/cpp/model.cpp, tests/cpp/realtime.cpp and examples/embed-cpp, and says where
they are: CHAINRULE_MODEL_PROGRAM, CHAINRULE_REALTIME_PROGRAM, CHAINRULE_EMBED_PROGRAMS (a folder).
.ci/sanitize builds the first alone.
"""

from __future__ import annotations

import os
import random
import struct
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
    activations = [hidden] * (len(sizes) - 2) + [activation]
    return cr.Network(sizes, activations, dtype=dtype, bias=bias, seed=3)


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
@pytest.mark.parametrize("sizes", [(7, 3, 5), (90, 12, 2), (300, 100, 40, 1)])
def test_rows_of_stored_numbers_have_the_same_bits(tmp_path, sizes, dtype):
    net = network("tanh", dtype, sizes)
    net.save(tmp_path / "net")
    x = RNG.normal(size=(30, sizes[0])).astype(dtype)
    x[RNG.random(x.shape) < np.linspace(0, 1, 30)[:, None]] = 0
    x.tofile(tmp_path / "x")
    run("predict_sparse", tmp_path / "net", tmp_path / "x", tmp_path / "out")
    got = np.fromfile(tmp_path / "out", dtype).reshape(30, sizes[-1])
    np.testing.assert_array_equal(got, net.predict(x))


@pytest.mark.parametrize("file", sorted((TESTS / "earlier_files").glob("network-*")), ids=str)
def test_files_of_earlier_versions_have_the_same_bits(tmp_path, file):
    net = cr.Network.load(file)
    x = RNG.normal(size=(3, net.sizes[0])).astype(net.dtype)
    x.tofile(tmp_path / "x")
    run("predict", file, tmp_path / "x", tmp_path / "out")
    got = np.fromfile(tmp_path / "out", net.dtype).reshape(3, -1)
    np.testing.assert_array_equal(got, net.predict(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 10, 300])
def test_training_has_the_same_bits(tmp_path, rows, dtype):
    net = network("sigmoid", dtype)
    net.fit(np.zeros((4, 7)), np.zeros((4, 5)), learning_rate=0.1)  # a counter of epochs
    net.save(tmp_path / "net")
    x, y = RNG.normal(size=(rows, 7)).astype(dtype), RNG.random((rows, 5)).astype(dtype)
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


FUSED = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}


def train_once(tmp_path, output, loss, dtype, y):
    cr.Network([7, 5], output, loss, dtype=dtype, seed=3).save(tmp_path / "net")
    RNG.normal(size=(len(y), 7)).astype(dtype).tofile(tmp_path / "x")
    y.astype(dtype).tofile(tmp_path / "y")
    command = [PROGRAM, "train", *(tmp_path / name for name in ("net", "x", "y")), "0.3", "1"]
    return subprocess.run([*command, tmp_path / "out"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "output"), FUSED.items())
def test_targets_that_are_no_probabilities_are_refused(tmp_path, loss, output, dtype):
    y = RNG.dirichlet(np.ones(5), 300)
    y[270, 3] = -1.5
    done = train_once(tmp_path, output, loss, dtype, y)
    assert done.returncode == 1
    assert f"row 270, column 3 of y is -1.5, expected probabilities in [0, 1] with {loss}" in (
        done.stderr
    )
    y[271, 0] = np.nan
    assert "row 271 of y is not finite" in train_once(tmp_path, output, loss, dtype, y).stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "loss", "factor"), [("softmax", "cross_entropy", 0.5), ("sigmoid", "mse", 3)]
)
def test_targets_that_python_warns_of_are_taken(tmp_path, output, loss, factor):
    y = factor * RNG.dirichlet(np.ones(5), 30)
    y[2] = 0
    y[2, 1] = factor
    done = train_once(tmp_path, output, loss, "float32", y)
    assert (done.returncode, done.stderr) == (0, "")


def test_spans_that_do_not_fit_are_refused(tmp_path):
    network("softmax", "float32").save(tmp_path / "net")
    assert run("refusals", tmp_path / "net") == ["ok"]


@pytest.mark.skipif("CHAINRULE_REALTIME_PROGRAM" not in os.environ, reason=".ci/cpp sets it")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 4, 2), (9, 33, 7, 10), (784, 300, 10)])
@pytest.mark.parametrize("activation", ["gelu", "softmax"])
def test_predict_allocates_locks_throws_and_asks_nothing(tmp_path, activation, sizes, dtype):
    network(activation, dtype, sizes).save(tmp_path / "net")
    command = [os.environ["CHAINRULE_REALTIME_PROGRAM"], tmp_path / "net"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "0 allocations",
        "0 locks",
        "0 exceptions",
        "no system call",
    ]


def run_example(name, *arguments, check=True):
    folder = os.environ.get("CHAINRULE_EMBED_PROGRAMS")
    if folder is None:
        pytest.skip("CHAINRULE_EMBED_PROGRAMS is not set: .ci/cpp does")
    command = [os.path.join(folder, name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def test_the_example_answers_as_python_does(tmp_path):
    net = network("softmax", "float32", (4, 9, 3))
    net.save(tmp_path / "net")
    done = run_example("embed", tmp_path / "net", 1, -2.5, 0.25, 1e3)
    expected = net.predict(np.array([1, -2.5, 0.25, 1e3], np.float32))
    assert [np.float32(line) for line in done.stdout.split()] == list(expected)
    assert "µs a call on" in done.stderr
    (tmp_path / "net").write_bytes(b"nothing")
    done = run_example("embed", tmp_path / "net", check=False)
    assert done.returncode == 1
    assert "does not hold a network of chainrule: it ends within its header" in done.stderr


def test_the_example_trains_while_threads_answer(tmp_path):
    net = cr.Network([2, 16, 1], ["tanh", "sigmoid"], seed=3)
    net.save(tmp_path / "net")
    *steps, answers = run_example("live", tmp_path / "net", tmp_path / "new").stdout.splitlines()
    costs = [float(step.split()[-1]) for step in steps]
    assert len(costs) == 10
    assert costs[-1] < 0.5 * costs[0]
    assert int(answers.split()[0]) > 0
    x = np.array([[0.5, 0.5], [-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]])
    trained = cr.Network.load(tmp_path / "new")
    np.testing.assert_array_equal(trained.predict(x).ravel() > 0.5, [True, True, False, False])


def test_a_checkpoint_is_refused_with_the_way_out(tmp_path):
    net = network("sigmoid", "float32")
    net.fit(np.zeros((4, 7)), np.zeros((4, 5)), learning_rate=0.1, checkpoint=tmp_path / "run")
    [verdict] = run("verdicts", tmp_path / "run")
    assert "checkpoint" in verdict
    assert "Network.load(checkpoint).save(" in verdict
    cr.Network.load(tmp_path / "run").save(tmp_path / "net")
    assert run("verdicts", tmp_path / "net") == ["ok"]


def test_a_header_above_one_megabyte_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "net").write_bytes(struct.pack("<Q", 2**20 + 1) + b" " * (2**20 + 1))
    assert run("verdicts", tmp_path / "net") == ["its header has more than a megabyte"]


def test_an_isa_that_is_not_there_is_refused_when_a_model_is_loaded(tmp_path):
    network("relu", "float32").save(tmp_path / "net")
    done = subprocess.run(
        [PROGRAM, "refusals", tmp_path / "net"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CHAINRULE_ISA": "avx1024"},
    )
    assert done.returncode == 1
    assert "CHAINRULE_ISA=avx1024 is not available here" in done.stderr


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


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"half_mse", b"nalf_mse", "unknown loss 'nalf_mse', expected one of half_mse"),
        (b"half_mse", b"\xff\xfelf_mse", "unknown loss '??lf_mse', expected one of half_mse"),
        (b"sigmoid", b"softmax", "softmax, which is for the last layer only"),
        (b"[3, 4, 2]", b"[3, 0, 2]", "sizes[1] is 0, expected at least 1 neuron"),
        (b"[3, 4, 2]", b"[3, 4]   ", "2 activations for 1 layers"),
        (b"float32", b"float16", "dtype is 'float16', expected 'float32' or 'float64'"),
    ],
)
def test_a_refusal_names_what_is_wrong_with_the_architecture(tmp_path, old, new, told):
    cr.Network([3, 4, 2], seed=0).save(tmp_path / "net")
    raw = (tmp_path / "net").read_bytes()
    assert old in raw
    (tmp_path / "net").write_bytes(raw.replace(old, new, 1))
    (verdict,) = run("verdicts", tmp_path / "net")
    assert told in verdict


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


# --- saving -----------------------------------------------------------------------------------


def save(folder, to):
    """Let the program save to a path, and return the process."""
    network("gelu", "float32").save(folder / "net")
    np.zeros(7, np.float32).tofile(folder / "x")
    np.zeros(5, np.float32).tofile(folder / "y")
    command = [PROGRAM, "train", folder / "net", folder / "x", folder / "y", 0, 1, to]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_that_it_saves_to_stays_one(tmp_path, exists):
    (tmp_path / "models").mkdir()
    link, target = tmp_path / "link", tmp_path / "models" / "target"
    link.symlink_to("models/target")
    if exists:
        target.write_bytes(b"old")
    assert save(tmp_path, link).returncode == 0
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == (tmp_path / "net").read_bytes()
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_it_replaces_nothing_but_regular_files(tmp_path, make):
    path = tmp_path / "other"
    make(path)
    before = os.stat(path)
    done = save(tmp_path, path)
    assert done.returncode == 1
    assert f"'{path}' cannot be written: it is not a regular file" in done.stderr
    assert os.path.samestat(os.stat(path), before)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/net", "No such file or directory"),
        ("net/other", "Not a directory"),
        ("new/", "it is not the name of a file"),
        ("x" * 256, "File name too long"),
    ],
    ids=["no folder", "a file as folder", "a slash", "a long name"],
)
def test_it_says_why_a_file_cannot_be_written(tmp_path, place, reason):
    done = save(tmp_path, f"{tmp_path}/{place}")
    assert done.returncode == 1
    assert f"{place}' cannot be written: {reason}" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["net", "x", "y"]


def test_it_does_not_open_a_pipe_to_load_it(tmp_path):
    """Opening it would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    command = [PROGRAM, "verdicts", str(tmp_path / "pipe")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "is no regular file" in done.stdout
