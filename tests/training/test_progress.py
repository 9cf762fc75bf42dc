"""What fit(progress=True) shows: a bar in a terminal, lines in a log file."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import _core
from chainrule.training import progress
from chainrule.training.history import added
from chainrule.uninterrupted import at_once
from support import random_network

TRAIN = """
import sys
import numpy as np
import chainrule as cr

x, y = np.random.default_rng(0).normal(size=(300, 5)), np.arange(300) % 3
net = cr.Network([5, 8, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
source = {"arrays": (x, y), "stream": ([(x, y)] * 3,), "unknown": (lambda: iter([(x, y)] * 3),)}
net.fit(*source[sys.argv[1]], epochs=3, learning_rate=0.1, validation_data=(x, y), progress=True)
"""


def last_line_in_a_terminal(kind: str) -> str:
    """Return what a terminal of 120 columns shows in the end."""
    pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, kind],
        stderr=theirs,
        stdout=subprocess.PIPE,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.communicate()[0] == b""
    assert process.returncode == 0
    return [line for line in shown.decode().split("\r") if line.strip()][-1]


def test_a_terminal_gets_a_bar_over_all_samples():
    pytest.importorskip("tqdm")
    last = last_line_in_a_terminal("arrays")
    assert last.startswith("epoch 3/3 100%|")
    for part in ("samples/s", "cost ", "validation ", "accuracy "):
        assert part in last


@pytest.mark.parametrize(
    ("kind", "start"), [("stream", "epoch 3/3 100%|"), ("unknown", "epoch 3/3, batch 9,")]
)
def test_the_bar_of_a_stream_counts_batches_and_samples_a_second(kind, start):
    pytest.importorskip("tqdm")
    last = last_line_in_a_terminal(kind)
    assert last.startswith(start)
    for part in ("samples/s", "cost ", "validation "):
        assert part in last


@pytest.mark.parametrize("tqdm", ["with tqdm", "without tqdm"])
def test_a_log_file_gets_a_line_an_epoch(rng, capfd, monkeypatch, tqdm):
    if tqdm == "without tqdm":
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    net = random_network(rng, [5, 3])
    x, y = rng.normal(size=(300, 5)), rng.normal(size=(300, 3))
    history = net.fit(x, y, epochs=12, learning_rate=0.1, validation_split=0.1, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 12
    assert "\r" not in captured.err
    number = r"[0-9.e+-]+"
    for count, line in enumerate(lines):
        shown = re.fullmatch(
            rf"epoch +{count + 1}/12  cost ({number}) +validation ({number}) +mae {number} +"
            rf"r2 {number} +{number}[kMG]? samples/s  \d:\d\d left",
            line,
        )
        assert shown, line
        assert float(shown[1]) == pytest.approx(history.cost[count], rel=1e-5)
        assert float(shown[2]) == pytest.approx(history.validation_cost[count], rel=1e-5)
    assert lines[-1].endswith("0:00 left")


class Source:
    n, batches = 1000, 10


def test_a_long_epoch_gets_lines_now_and_then(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    lines = progress.Lines(epochs=4, source=Source(), done=1)
    for seconds in (10, 20, 31, 40, 62):
        now[0] = seconds
        lines.poll(_core.Position(5, 500, 100.0, 500.0))
    first, second = capfd.readouterr().err.splitlines()
    assert first == "epoch 2/4  50%  cost 0.2         16.1 samples/s"
    assert second.startswith("epoch 2/4  50%")


def test_the_remaining_time_is_that_of_the_epochs_so_far(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    lines = progress.Lines(epochs=10, source=Source(), done=4)  # four were done before
    history = cr.History()
    at_once(added(history, 5, 0.5, 0.1, 50.0, metrics={}, validation={}))
    now[0] = 1000.0
    lines.epoch(history, _core.Position(10, 1000, 500.0, 1000.0))
    assert capfd.readouterr().err.split("  ")[-1] == "1:23:20 left\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.5, "0.5"), (999.4, "999"), (999.6, "1k"), (12345, "12.3k"), (4.2e6, "4.2M"), (5e9, "5G")],
)
def test_rates_have_three_digits(number, text):
    assert progress._scaled(number) == text


def test_a_resumed_run_is_shown_from_where_it_is(rng, capfd, tmp_path):
    x, y = rng.normal(size=(300, 5)), rng.normal(size=(300, 3))
    options = {"learning_rate": 0.1, "checkpoint": tmp_path / "run", "resume": True}
    random_network(rng, [5, 3]).fit(x, y, epochs=2, **options)
    random_network(rng, [5, 3]).fit(x, y, epochs=4, progress=True, **options)
    lines = capfd.readouterr().err.splitlines()
    assert [line[:9] for line in lines] == ["epoch 3/4", "epoch 4/4"]


def test_a_notebook_gets_its_own_bar(monkeypatch):
    class tqdm_notebook:
        __module__ = "tqdm.notebook"

        def __init__(self, **options):
            pass

    class Auto:
        tqdm = tqdm_notebook

    monkeypatch.setitem(sys.modules, "tqdm.auto", Auto)
    assert isinstance(progress.open_progress(3, Source(), 0), progress.Bar)


@pytest.mark.bits
def test_no_display_changes_the_training(rng):
    x, y = rng.normal(size=(300, 5)), rng.normal(size=(300, 3))
    nets = [cr.Network([5, 3], "identity", seed=0) for _ in range(2)]
    for net, shown in zip(nets, (False, True), strict=True):
        net.fit(x, y, epochs=3, learning_rate=0.1, progress=shown)
    assert np.array_equal(nets[0].get_parameters(), nets[1].get_parameters())
