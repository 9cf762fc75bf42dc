"""Threads: one result for every number of them, and callers in parallel."""

from __future__ import annotations

import asyncio
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

import chainrule as cr
from support import assert_same_bits, random_network, run_python

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


@pytest.mark.parametrize("setting", ["1", "1,4"])
def test_openmps_environment_lowers_the_default(setting):
    script = "import chainrule as cr; print(cr.get_num_threads())"
    assert run_python("-c", script, OMP_NUM_THREADS=setting).strip() == "1"


@pytest.mark.parametrize("setting", ["", "0", "-3", "99999", "99999999999999", "many"])
def test_openmps_environment_changes_nothing_else(setting):
    script = "import chainrule as cr; print(cr.get_num_threads())"
    alone = run_python("-c", script, OMP_NUM_THREADS="")
    assert run_python("-c", script, OMP_NUM_THREADS=setting) == alone


def test_our_environment_comes_before_openmps():
    script = "import chainrule as cr; print(cr.get_num_threads())"
    environment = {"CHAINRULE_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}
    assert run_python("-c", script, **environment).strip() == "3"


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
@pytest.mark.parametrize("frozen", [False, True], ids=["network", "predictor"])
def test_thirty_two_threads_predict_at_once(problem, frozen):
    net, x, _ = problem
    serve = net.freeze() if frozen else net
    expected = net.predict(x)
    parts = [slice(i % 97, i % 97 + 1 + i % 400) for i in range(300)]
    with ThreadPoolExecutor(32) as pool:
        results = list(pool.map(lambda part: serve.predict(x[part]), parts))
    for part, result in zip(parts, results, strict=True):
        assert_same_bits(result, expected[part])


@pytest.mark.bits
@pytest.mark.parametrize("threads", [1, 2])
def test_an_event_loop_predicts_in_its_executor(problem, threads):
    net, x, _ = problem
    serve, expected = net.freeze(), net.predict(x)
    parts = [slice(i % 97, i % 97 + 1 + i % 400) for i in range(200)]

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(32))
        calls = (
            loop.run_in_executor(None, partial(serve.predict, x[part], threads=threads))
            for part in parts
        )
        return await asyncio.gather(*calls)

    for part, result in zip(parts, asyncio.run(main()), strict=True):
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
