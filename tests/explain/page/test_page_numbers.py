"""The numbers on the page of a trace: those of the library, for every weight and neuron."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from browser import By, printed
from support import HIDDEN, OUTPUT_PAIRS, random_network, random_targets

pytestmark = [pytest.mark.browser, pytest.mark.unsanitized]


# --- the arithmetic of the page ---------------------------------------------------------------


def layers_of(net):
    return {
        "sizes": net.sizes,
        "activations": net.activations,
        "loss": net.loss,
        "weights": [w.ravel().tolist() for w in net.weights],
        "biases": [b.tolist() for b in net.biases],
    }


def traced(browser, net, x, y):
    """One sample's trace as the page computes it."""
    return browser.script(
        """(([net, x, y]) => {
            const one = Arithmetic.trace(net, { x, y: Float64Array.from(y) });
            const plain = (v) => v.length === undefined ? v : Array.from(v, plain);
            return Object.fromEntries(Object.entries(one).map(([k, v]) => [k, plain(v)]));
        })(arguments)""",
        layers_of(net),
        x.tolist(),
        y.tolist(),
    )


NAMES = {"a": "a", "z": "z", "gPrime": "g_prime", "dCda": "dC_da", "delta": "delta"}


def assert_traces(browser, net, x, y):
    ours, trace = traced(browser, net, x, y), net.trace(x, y)
    assert ours["cost"] == pytest.approx(trace.cost, rel=1e-12)
    for theirs, name in NAMES.items():
        for numbers, expected in zip(ours[theirs], getattr(trace, name), strict=True):
            message = f"{name} of {net!r}"
            np.testing.assert_allclose(numbers, expected, 1e-11, 1e-14, err_msg=message)


def test_the_page_computes_every_loss_as_the_library(rng, show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    for output, loss in OUTPUT_PAIRS:
        net = random_network(rng, [3, 4, 3], ["tanh", output], loss)
        assert_traces(page, net, rng.normal(size=3), random_targets(rng, 1, 3, loss, output)[0])


def test_the_page_computes_every_activation_as_the_library(rng, show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    x = np.array([-36.0, -9.0, -4.1, -3.9, -1.0, -1e-6, 0.0, 1e-6, 0.3, 2.0, 4.1, 9.0, 36.0])
    for hidden in HIDDEN:
        net = cr.Network([13, 13, 1], [hidden, "identity"], "mse", dtype="float64", seed=0)
        net.weights[0][...] = np.eye(13)
        assert_traces(page, net, x, np.array([0.5]))


def test_probabilities_of_zero_cost_no_nan(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    net = cr.Network([1, 3], "softmax", "cross_entropy", dtype="float64", init="zeros", seed=0)
    net.biases[0][...] = [0.0, -800.0, 1.0]
    ours = traced(page, net, np.array([1.0]), np.array([0.0, 0.0, 1.0]))
    assert ours["cost"] == pytest.approx(np.log1p(np.exp(-1)), rel=1e-12)
    assert ours["dCda"][0][1] == 0
    np.testing.assert_allclose(ours["delta"][0], net.trace([1.0], [0, 0, 1]).delta[0], rtol=1e-12)


# --- neurons and weights ----------------------------------------------------------------------


def test_a_click_on_a_weight_shows_the_three_factors_of_its_gradient(show, worked_example):
    page = show(worked_example, [1.0], [1.0])
    page.click("[data-edge='2,0,0']")
    gradient = worked_example.gradients([1.0], [1.0]).weights[1].item()
    assert page.number("gradient") == pytest.approx(gradient, rel=1e-12)
    factors = [page.number(name) for name in ("dC_da", "da_dz", "dz_dw")]
    assert factors == [pytest.approx(v, abs=1e-9) for v in (-0.498424228, 0.249997517, 0.645656306)]
    assert "0.501576 − 1" in page.find("#formulas").text
    assert page.number("updated") == pytest.approx(-0.3 - 0.5 * gradient, rel=1e-12)


def test_a_hidden_weight_unfolds_the_sum_over_the_next_layer(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    page.click("[data-edge='1,2,0']")
    trace = net.trace(x, y)
    shown = [
        printed(cell.text)
        for cell in page.find("table.sum").find_elements(By.CSS_SELECTOR, "td:last-child")
    ]
    expected = net.weights[1][:, 2] * trace.delta[1]
    np.testing.assert_allclose(shown, expected, rtol=1e-5)
    page.find("details:nth-of-type(2) summary").click()
    unfolded = page.find("details[open]").text
    assert f"{trace.delta[1][1]:.4f}".replace("-", "−")[:6] in unfolded
    assert "layer 3" in unfolded


def test_every_weight_has_its_entry_of_gradients(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    for layer, gradient in enumerate(net.gradients(x, y).weights, start=1):
        slopes = page.script(
            f"[...Array({gradient.shape[0]}).keys()].map(j => "
            f"[...Array({gradient.shape[1]}).keys()].map(k => Page.model.slope({layer}, j, k)))"
        )
        np.testing.assert_allclose(slopes, gradient, rtol=1e-11)


def test_a_click_on_a_neuron_shows_its_pass_forward_and_back(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    trace = net.trace(x, y)
    for layer, j in ((1, 3), (2, 0), (3, 1)):
        page.click(f"[data-key='n{layer},{j}']")
        assert f"of layer {layer}" in page.find("h2").text
        for name, array in (
            ("z", trace.z[layer - 1]),
            ("a", trace.a[layer]),
            ("dC_da", trace.dC_da[layer - 1]),
            ("da_dz", trace.g_prime[layer - 1]),
            ("delta", trace.delta[layer - 1]),
            ("gradient", trace.grad_biases[layer - 1]),
        ):
            assert page.number(name) == pytest.approx(array[j], rel=1e-11), name


def test_a_bias_is_selected_in_the_sum_of_its_neuron(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    page.click("[data-key='n2,4']")
    page.find("[aria-label='Bias of neuron 4']").click()
    assert page.number("gradient") == pytest.approx(net.gradients(x, y).biases[1][4], rel=1e-11)


def test_a_network_without_biases_shows_none(rng, show):
    net = random_network(rng, [2, 3, 1], "tanh", "mse", bias=False)
    page = show(net, rng.normal(size=2), np.array([0.5]))
    page.click("[data-key='n1,1']")
    assert "b" not in {i.text for i in page.find("#formulas").find_elements(By.TAG_NAME, "i")}


def test_the_cost_shows_its_formula(show, deep):
    net, x, y = deep
    page = show(net, x, y)
    page.click("[data-key='cost']")
    assert page.number("cost") == pytest.approx(net.cost(x, y), rel=1e-12)


def test_softmax_shows_the_sum_over_the_outputs(rng, show):
    net = random_network(rng, [3, 4], "softmax", "sse")
    x, y = rng.normal(size=3), rng.random(4)
    page = show(net, x, y)
    page.select(layer=1, neuron=2, **{"from": 1})
    assert page.number("gradient") == pytest.approx(net.gradients(x, y).weights[0][2, 1], rel=1e-11)
    assert len(page.find("table.sum").find_elements(By.TAG_NAME, "tr")) == 4


# --- several samples --------------------------------------------------------------------------


def test_the_mean_of_the_samples_is_that_of_gradients(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    page.choose("mean")
    page.click("[data-edge='1,2,1']")
    gradients = net.gradients(x, y)
    assert page.number("gradient") == pytest.approx(gradients.weights[0][2, 1], rel=1e-11)
    assert page.number("cost-now") == pytest.approx(gradients.cost, rel=1e-12)


def test_each_sample_can_be_chosen(show, exclusive_or):
    net, x, y = exclusive_or
    page = show(net, x, y)
    for i in (3, 1):
        page.choose(str(i))
        page.click("[data-edge='2,0,1']")
        expected = net.gradients(x[i], y[i])
        assert page.number("gradient") == pytest.approx(expected.weights[1][0, 1], rel=1e-11)
        assert page.number("cost-now") == pytest.approx(expected.cost, rel=1e-12)
