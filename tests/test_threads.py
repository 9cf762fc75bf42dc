"""Threads: one result for every number of them, callers in parallel, and fork."""

from __future__ import annotations

import copy
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, bits, random_network, run_python

THREADS = [1, 2, 3]


@pytest.fixture(params=["float32", "float64"])
def problem(request, rng):
    """Large enough to be worth several threads."""
    net = random_network(
        rng, [120, 200, 90, 10], ["tanh", "relu", "softmax"], "cross_entropy", dtype=request.param
    )
    x = rng.normal(size=(600, 120)).astype(request.param)
    return net, x, rng.integers(0, 10, 600)


@pytest.fixture
def restore_threads():
    before = cr.get_num_threads()
    yield
    cr.set_num_threads(before)


def test_the_number_of_threads_can_be_set(restore_threads):
    for n in THREADS:
        cr.set_num_threads(n)
        assert cr.get_num_threads() == n


def test_the_default_is_at_least_one_and_at_most_sixteen():
    printed = run_python("-c", "import chainrule as cr; print(cr.get_num_threads())")
    assert 1 <= int(printed) <= 16


def test_the_environment_sets_the_default():
    script = "import chainrule as cr; print(cr.get_num_threads())"
    assert run_python("-c", script, CHAINRULE_NUM_THREADS="3").strip() == "3"


def test_show_config_names_isa_and_threads(capsys):
    cr.show_config()
    printed = capsys.readouterr().out
    assert "isa" in printed
    assert "threads" in printed


@pytest.mark.bits
def test_predict_has_the_same_bits_for_every_number_of_threads(problem, restore_threads):
    net, x, _ = problem
    expected = net.predict(x, threads=1)
    for n in THREADS:
        assert_same_bits(net.predict(x, threads=n), expected)
        assert_same_bits(net.freeze().predict(x, threads=n), expected)
        cr.set_num_threads(n)
        assert_same_bits(net.predict(x), expected)


@pytest.mark.bits
def test_gradients_have_the_same_bits_for_every_number_of_threads(problem, restore_threads):
    net, x, y = problem
    results = []
    for n in THREADS:
        cr.set_num_threads(n)
        gradients = net.gradients(x, y)
        a, pullback = net.vjp(x)
        sums, dC_dx = pullback(a)
        results.append(bits(gradients.cost, gradients.flatten(), sums.flatten(), dC_dx))
    assert len(set(results)) == 1


@pytest.mark.bits
@pytest.mark.parametrize("batch_size", [1, 50, 600])
@pytest.mark.parametrize("make", [lambda: cr.SGD(0.1), cr.Adam], ids=["SGD", "Adam"])
def test_training_has_the_same_bits_for_every_number_of_threads(problem, batch_size, make):
    net, x, y = problem
    results = []
    for n in THREADS:
        each = copy.deepcopy(net)
        history = each.fit(x, y, epochs=2, batch_size=batch_size, optimizer=make(), threads=n)
        results.append(bits(each.get_parameters(), history.cost))
    assert len(set(results)) == 1


@pytest.mark.bits
@pytest.mark.parametrize("frozen", [False, True], ids=["network", "predictor"])
def test_sixteen_threads_predict_at_once(problem, frozen):
    net, x, _ = problem
    serve = net.freeze() if frozen else net
    expected = net.predict(x)
    parts = [slice(i % 97, i % 97 + 1 + i % 400) for i in range(300)]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda part: serve.predict(x[part]), parts))
    for part, result in zip(parts, results, strict=True):
        assert_same_bits(result, expected[part])


@pytest.mark.bits
def test_predicting_from_another_thread_does_not_disturb_fit(problem):
    net, x, y = problem
    alone = copy.deepcopy(net)
    alone.fit(x, y, epochs=5, learning_rate=0.05)
    done, seen = threading.Event(), []

    def predict():
        while not done.is_set():
            seen.append(net.predict(x[:100]))

    thread = threading.Thread(target=predict)
    thread.start()
    try:
        net.fit(x, y, epochs=5, learning_rate=0.05)
    finally:
        done.set()
        thread.join()
    assert_same_bits(net.get_parameters(), alone.get_parameters())
    assert all(np.isfinite(a).all() for a in seen)
    np.testing.assert_allclose([a.sum() for a in seen], 100, rtol=1e-4)


@pytest.mark.bits
def test_two_networks_train_at_once(problem):
    net, x, y = problem
    nets = [copy.deepcopy(net) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: each.fit(x, y, epochs=2, learning_rate=0.05), nets))
    net.fit(x, y, epochs=2, learning_rate=0.05)
    for each in nets:
        assert_same_bits(each.get_parameters(), net.get_parameters())


FORK = """
import os, sys, warnings
import numpy as np
import chainrule as cr

warnings.simplefilter("ignore", DeprecationWarning)  # fork in a process that has threads
x = np.random.default_rng(0).normal(size=(600, 120)).astype(np.float32)
y = np.arange(600) % 10
net = cr.Network([120, 200, 10], ["tanh", "softmax"], "cross_entropy", seed=0)
serve = net.freeze()
before = net.predict(x, threads=2).tobytes()
net.fit(x, y, learning_rate=0.1, threads=2)
trained = net.predict(x, threads=2).tobytes()
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = net.predict(x, threads=2).tobytes() == trained
        same = same and serve.predict(x, threads=2).tobytes() == before
        net.fit(x, y, learning_rate=0.1, threads=2)
        os._exit(0 if same and np.isfinite(net.get_parameters()).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert net.predict(x, threads=2).tobytes() == trained
print("ok")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_predicts_and_trains():
    assert run_python("-c", FORK, timeout=120).strip() == "ok"
