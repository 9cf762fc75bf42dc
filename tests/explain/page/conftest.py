"""Chromium, and traces to show in it.

Fixtures import it: where Selenium is missing, a test module may be skipped, a conftest may not.
"""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from support import random_network


@pytest.fixture(scope="module")
def driver():
    from browser import chromium

    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(driver):
    from browser import Browser

    browser = Browser(driver)
    browser.emulate()
    yield browser
    assert browser.errors() == []


@pytest.fixture
def show(browser, tmp_path):
    """Write the page of a network's trace, open it, and return the browser."""

    def show(net, x, y, **options):
        browser.open(net.trace(x, y).to_html(tmp_path / "trace.html", **options))
        return browser

    return show


@pytest.fixture
def worked_example():
    """1-1-1, sigmoid, half_mse: the numbers of test_worked_example.py."""
    net = cr.Network([1, 1, 1], "sigmoid", "half_mse", dtype="float64", seed=0)
    net.set_parameters([0.5, 0.1, -0.3, 0.2])
    return net


@pytest.fixture
def exclusive_or(rng):
    net = random_network(rng, [2, 3, 1], ["tanh", "sigmoid"], "binary_cross_entropy")
    return net, np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])


@pytest.fixture
def deep(rng):
    net = random_network(rng, [3, 4, 5, 2], ["tanh", "gelu", "sigmoid"], "half_mse")
    return net, rng.normal(size=3), rng.random(2)


@pytest.fixture
def digits(rng):
    net = cr.Network([784, 128, 10], ["tanh", "softmax"], "cross_entropy", seed=1)
    return net, rng.random((3, 784)).astype(np.float32), np.array([3, 1, 4])
