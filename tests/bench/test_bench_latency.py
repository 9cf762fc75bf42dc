"""``python -m chainrule bench latency``: what it checks, how it times, and what it writes."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import chainrule as cr
from chainrule.bench import latency, latency_worker, peers, report, runner
from support import assert_same_bits, run_bench, run_python

pytestmark = pytest.mark.unsanitized

pytest.importorskip("onnx", reason='no onnx: pip install ".[bench]"')

SIZES = [5, 9, 3]


@pytest.fixture(scope="module")
def model():
    activations = ["gelu", "softmax"]
    return latency.Model("mine", cr.Network(SIZES, activations, "cross_entropy", seed=0))


class Answers:
    """A system that answers this, and whose calls take 1, 2, 3, … µs times `slow`."""

    def __init__(self, answer, slow=1):
        self.answer, self.slow = answer, slow
        self.asked = []

    def ask(self, method, *arguments):
        self.asked.append(method)
        if method == "prepare":
            return {"one": [self.answer]}
        if method == "choose":
            return {"variant": "one", "expression": "f(x)", "trial": {"one": 1.0}}
        if method == "results":
            return [self.answer]
        times = 1000 * np.arange(1, arguments[0] + 1, dtype=np.int64)
        return (self.slow * times).tobytes(), 2.0


@pytest.fixture(scope="module")
def measured(model):
    right = model.network.predict(model.x)
    held = {
        "chainrule": Answers(right),
        "onnxruntime": Answers(right, slow=7),
        "openvino": Answers(right + np.float32(1e-3)),
    }
    return latency.measure(model, held, 4000), held


def test_a_wrong_answer_is_reported_and_never_timed(measured):
    found, held = measured
    assert found["systems"]["openvino"]["status"] == "wrong"
    assert held["openvino"].asked == ["prepare"]
    for systems in found["circumstances"].values():
        assert list(systems) == ["chainrule", "onnxruntime"]
    assert "openvino      WRONG" in report.tails(found)


def test_the_systems_take_turns_in_blocks(measured):
    found, held = measured
    asked = held["chainrule"].asked
    assert asked[:2] == ["prepare", "choose"]
    assert asked[2:-2] == [
        method for method in ("alone", "alone", "threads", "idle") for _ in range(latency.BLOCKS)
    ]
    assert asked[-2:] == ["results", "clock"]


def test_quantiles_are_of_all_blocks_and_ratios_of_p99_9(measured):
    found, _ = measured
    alone = found["circumstances"]["alone"]["chainrule"]
    assert alone["calls"] == 4000
    assert alone["max"] == pytest.approx(400e-6)
    assert alone["p50"] == pytest.approx(200e-6, rel=0.01)
    assert alone["calls_per_second"] == 4000 / 20
    line = next(row for row in report.tails(found).splitlines() if "onnxruntime   " in row)
    assert "right" in line
    assert report.tails(found).count("7.0×") == 4


def test_the_line_of_the_picture_is_the_share_of_calls_that_take_as_long(rng):
    each = rng.integers(100, 10**6, 5000)
    times, shares = latency._exceeded(each)
    assert (shares[0], shares[-1]) == (1.0, 1 / 5000)
    for seconds, share in zip(times, shares, strict=True):
        assert (each >= round(seconds * 1e9)).mean() == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [lambda a: a[:, ::-1], lambda a: a[:, :2], lambda a: a * np.nan, lambda a: a * (1 + 1e-4)],
    ids=["another order", "another shape", "not finite", "off by 1e-4"],
)
def test_what_is_off_by_more_than_rounding_is_wrong(model, wrong):
    reference, answer = latency.ModelReference(model), model.network.predict(model.x)
    assert reference.error([answer]) <= reference.tolerance
    assert not reference.error([wrong(answer)]) <= reference.tolerance


@pytest.mark.parametrize("name", peers.names(peers.LATENCY))
def test_every_variant_of_a_peer_is_right_in_threads_of_their_own(model, name, tmp_path):
    if missing := peers.PEERS[name].missing:
        pytest.skip(f"{missing} not installed")
    model.write(str(tmp_path))
    reference = latency.ModelReference(model)
    worker = latency_worker.Worker(name, 1)
    for variant, answers in worker.prepare(str(tmp_path), model.x).items():
        assert reference.error(answers) <= reference.tolerance, variant
        worker.choose([variant])
        times, seconds = worker.threads(100, 4, latency._cores())
        each = np.frombuffer(times, np.int64)
        assert len(each) == 100
        assert 0 < each.min() <= each.max() < seconds * 1e9
        assert reference.error(worker.results()) <= reference.tolerance


def test_a_network_that_answers_zeros_is_right():
    model = latency.Model("zeros", cr.Network(SIZES, "relu", init="zeros"))
    reference = latency.ModelReference(model)
    assert reference.error([np.zeros((1, 3), np.float32)]) == 0
    assert reference.error([np.full((1, 3), 1e-3)]) > reference.tolerance


def test_a_thread_that_fails_ends_the_others():
    worker = latency_worker.Worker("chainrule", 1)
    turns = iter([1, 1, 0])  # the third thread divides by zero
    variant = peers.Variant("fails", "1 / x", lambda: {"x": next(turns, 1)}, lambda *_: [])
    worker.call = latency_worker.TimedCall(variant)
    with pytest.raises((ZeroDivisionError, threading.BrokenBarrierError)):
        worker.threads(40, 4, latency._cores())


@pytest.mark.bits
def test_the_model_that_is_served_has_the_bits_of_the_network(model, tmp_path):
    model.write(str(tmp_path))
    (variant,) = peers.PEERS["chainrule"].load().latency(str(tmp_path), model.x)
    (answer,) = latency_worker.TimedCall(variant).results()
    assert_same_bits(answer, model.network.predict(model.x))


def test_a_call_after_a_gap_is_timed_without_the_gap():
    variant = peers.Variant("nothing", "nothing", lambda: {"nothing": None}, lambda *_: [])
    times = latency_worker.TimedCall(variant).after_gaps(20, 0.005)
    assert np.median(times) < 1e6


def test_calls_are_timed_in_the_context_of_their_variant():
    inside = []

    @contextmanager
    def context():
        inside.append(True)
        yield
        inside.pop()

    variant = peers.Variant(
        "counts", "f()", lambda: {"f": lambda: seen.append(len(inside))}, lambda *_: [], context
    )
    seen = []
    call = latency_worker.TimedCall(variant)
    call.repeat(2)
    call.measure(2)
    call.after_gaps(2, 0)
    call.results()
    assert seen == [1] * 7
    assert not inside


LEAK = """
from chainrule.bench import latency_worker, peers
worker = latency_worker.Worker("chainrule", 1)
for expression in ("kept.append(bytes(1000))", "len(kept)"):
    variant = peers.Variant("a leak", expression, lambda: {"kept": []}, lambda *_: [])
    worker.call = latency_worker.TimedCall(variant)
    print(worker.memory(20_000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_memory_that_grows_is_seen():
    leak, none = map(int, run_python("-c", LEAK).split())
    assert leak > 20_000_000
    assert none < 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_load_ends_with_the_measurement():
    with latency.busy(latency._cores()[:1]):
        (pid,) = [int(line) for line in children() if b"numpy.add" in command(int(line))]
    assert pid not in map(int, children())


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read().split()


def command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A run from end to end of one model, with chainrule alone."""
    folder = tmp_path_factory.mktemp("latency")
    model.network.save(folder / "mine.safetensors")
    done = run_bench(
        "latency",
        folder / "mine.safetensors",
        "--calls=640",
        "--systems=chainrule",
        "--no-plots",
        f"--output={folder}",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "latency.json").read_text(encoding="utf-8"))


def test_a_run_prints_a_table_and_writes_it_with_all_that_was_found(run):
    printed, found = run
    (mine,) = found["models"]
    assert mine["sizes"] == SIZES
    assert set(found["about"]["versions"]) == {"chainrule"}
    assert report.tails(mine) in printed
    assert mine["memory"]["calls"] == 6400
    for name, systems in mine["circumstances"].items():
        assert name in printed
        figures = systems["chainrule"]
        assert figures["calls"] == (10 if "gaps" in name else 640)
        assert 0 < figures["p50"] <= figures["p99"] <= figures["p99.9"] <= figures["max"]
        assert figures["calls_per_second"] > 0


def test_the_picture_is_drawn_from_what_was_written(run, tmp_path):
    pytest.importorskip("matplotlib")
    from chainrule.bench import plots

    plots.write_tails(tmp_path, run[1]["models"])
    assert (tmp_path / "tails.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["latency", "--calls=5"], ["--calls must be at least 320", "got 5"]),
        (["latency", "absent.safetensors"], ["absent.safetensors"]),
        (["latency", "--systems=numpy"], ["no system 'numpy'", "onnxruntime"]),
        (["search", "model.safetensors"], ["search takes no model", "model.safetensors"]),
    ],
    ids=lambda value: value[-1],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    done = run_bench(*arguments)
    assert done.returncode == 2
    assert all(part in done.stderr for part in message), done.stderr


def test_four_networks_are_measured_where_none_is_named():
    sizes = [model.network.sizes for model in latency._models(None)]
    assert sizes == [(5, 7, 3), (48, 64, 64, 12), (784, 128, 10), (256, 512, 256, 1)]


def test_a_run_has_the_quantiles_of_the_table():
    assert [*runner.QUANTILES, "max"] == list(report.TAIL)
