"""The page of a trace of wide networks, odd numbers and odd names."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from browser import By, Keys, printed

pytestmark = [pytest.mark.browser, pytest.mark.unsanitized]


def test_a_wide_layer_has_every_neuron_as_a_cell(show, digits):
    net, x, y = digits
    page = show(net, x, y)
    page.click("[data-key='c1,a'] .cell:nth-of-type(102)")  # after the frame, counted from 1
    trace = net.trace(x[0], y[0])
    assert page.find("h2").text == "Neuron j = 100 of layer 1"
    assert page.number("delta") == pytest.approx(trace.delta[0][100], rel=2e-5)
    page.script("document.querySelector('[data-key=\"c1,a\"]').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.find("h2").text == "Neuron j = 101 of layer 1"
    assert page.step() == page.script("Page.steps.length - 1")


def test_any_weight_of_a_wide_network_can_be_asked_for(show, digits):
    net, x, y = digits
    page = show(net, x, y)
    page.select(layer=1, neuron=77, **{"from": 400})
    expected = net.gradients(x[0], y[0]).weights[0][77, 400]
    assert page.number("gradient") == pytest.approx(expected, rel=2e-5)
    page.rate(0.0005)
    page.find("#one").click()
    net.train_step(x[0], y[0], learning_rate=0.0005)
    assert page.number("cost-now") == pytest.approx(net.cost(x[0], y[0]), rel=1e-5)


def test_a_network_too_large_to_embed_shows_the_numbers_of_its_trace(rng, show):
    net = cr.Network([600, 500, 12, 4], ["relu", "tanh", "identity"], "mse", seed=1)
    x, y = rng.normal(size=(30, 600)), rng.normal(size=(30, 4))
    page = show(net, x, y)
    trace = net.trace(x[0], y[0])
    assert not page.find("#descent").is_displayed()
    page.select(layer=2, neuron=7, **{"from": None})
    assert page.number("z") == pytest.approx(trace.z[1][7], rel=1e-6)
    assert page.number("delta") == pytest.approx(trace.delta[1][7], rel=1e-6)
    products = [
        printed(cell.text)
        for cell in page.find("table.sum").find_elements(By.CSS_SELECTOR, "td:last-child")
    ]
    assert sum(products) == pytest.approx(trace.z[1][7], abs=1e-5)
    page.select(layer=1, neuron=333, **{"from": 123})
    gradient = net.gradients(x[0], y[0]).weights[0][333, 123]
    assert page.number("gradient") == pytest.approx(gradient, rel=1e-5, abs=1e-12)


def test_numbers_that_are_not_finite_are_shown(show):
    net = cr.Network([2, 2, 1], ["relu", "identity"], "mse", init="zeros", seed=0)
    net.weights[0][0, 0] = np.inf
    page = show(net, [1.0, 2.0], [0.0])
    page.click("[data-key='n1,0']")
    assert "∞" in page.find("#formulas").text
    page.find("#one").click()


def test_a_probability_rounded_to_its_limit_is_explained(show):
    net = cr.Network([1, 1], "sigmoid", "binary_cross_entropy", dtype="float64", seed=0)
    net.biases[0][0] = 800.0
    page = show(net, [0.0], [0.0])
    page.click("[data-key='n1,0']")
    assert "without a division, as (aj − yj)/nL" in page.find("#formulas").text
    assert page.number("delta") == 1


def test_titles_and_names_are_shown_as_they_are(show, exclusive_or):
    title, names = "</script><b>&amp;", ["<i>left</i>", 'a "right" one']
    page = show(*exclusive_or, title=title, input_names=names, output_names=["<&>"])
    assert page.find("h1").text == title
    page.script("document.querySelector('[data-key=\"n0,1\"]').focus()")
    page.press(Keys.ENTER)
    assert page.find("h2 .tag").text == names[1]
    assert page.find("[data-key='n2,0']").get_attribute("aria-label").startswith("Neuron <&> of")


def test_the_page_loads_nothing(show, deep):
    page = show(*deep)
    assert page.script("performance.getEntriesByType('resource').length") == 0
