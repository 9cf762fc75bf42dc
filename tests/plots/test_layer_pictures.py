"""plot.distributions and plot.weight_images, read back from their artists, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

import chainrule as cr
import reference
from chainrule import plot
from chainrule.activations import ACTIVATIONS
from support import random_network, says

pytestmark = pytest.mark.unsanitized  # matplotlib is large, and none of it is ours


# --- distributions ----------------------------------------------------------------------------


def medians(ax):
    return [median for line in ax.lines for median in line.get_ydata()]


def bars(ax):
    """(5th to 95th percentile, 25th to 75th) of each layer."""
    thin, thick = ([s[:, 1] for s in c.get_segments()] for c in ax.collections)
    return list(zip(thin, thick, strict=True))


def test_distributions_show_the_quantiles_of_the_trace(rng):
    net = random_network(rng, [5, 30, 20, 3], ["tanh", "relu", "softmax"], "cross_entropy")
    x, y = rng.normal(size=(80, 5)), rng.integers(0, 3, 80)
    activations, _, errors, gradients = plot.distributions(net, x, y)
    twin = reference.Net.of(net)
    expected = twin.trace(x, np.eye(3)[y])
    for ax, arrays in (
        (activations, expected.a),
        (errors, [np.abs(d) for d in expected.delta]),
        (gradients, [np.abs(g) for g in twin.gradients(x, np.eye(3)[y]).weights]),
    ):
        shown = [array[array != 0] for array in arrays]
        np.testing.assert_allclose(medians(ax), [np.median(v) for v in shown], rtol=1e-9)
        for (thin, thick), v in zip(bars(ax), shown, strict=True):
            np.testing.assert_allclose(thin, np.quantile(v, [0.05, 0.95]), rtol=1e-9)
            np.testing.assert_allclose(thick, np.quantile(v, [0.25, 0.75]), rtol=1e-9)
    assert errors.get_yscale() == gradients.get_yscale() == "log"
    assert activations.get_yscale() == "linear"


def test_the_width_of_a_shape_is_the_histogram(rng):
    net = random_network(rng, [4, 10, 2], ["tanh", "identity"])
    x, y = rng.normal(size=(100, 4)), rng.normal(size=(100, 2))
    activations = plot.distributions(net, x, y)[0]
    shape = activations.patches[1].get_data()  # layer 1: 1000 values
    counts, _ = np.histogram(np.tanh(x @ net.weights[0].T + net.biases[0]), shape.edges)
    np.testing.assert_allclose(shape.values - 1, 0.4 * counts / counts.max(), atol=1e-12)
    np.testing.assert_allclose(1 - shape.baseline, shape.values - 1, atol=1e-12)


def bar_heights(ax):
    heights = [patch.get_height() for patch in ax.patches]
    return heights[: len(heights) // 2], heights[len(heights) // 2 :]


def test_dead_relus_and_flat_slopes_are_counted(rng):
    net = random_network(rng, [4, 12, 10, 2], ["relu", "relu", "identity"])
    net.biases[0][:5] = -1000
    net.biases[1][:1] = -1000
    x, y = rng.normal(size=(200, 4)), rng.normal(size=(200, 2))
    ax = plot.distributions(net, x, y)[1]
    z = reference.Net.of(net).trace(x, y).z[:2]
    flat, dead = bar_heights(ax)
    np.testing.assert_allclose(flat, [np.mean(layer <= 0) for layer in z])
    expected = [int(np.all(layer <= 0, axis=0).sum()) for layer in z]
    assert expected[0] >= 5
    np.testing.assert_allclose(dead, [expected[0] / 12, expected[1] / 10])
    assert [t.get_text() for t in ax.texts] == [f"{expected[0]} of 12", f"{expected[1]} of 10"]


def test_saturated_sigmoids_are_flat_and_stuck_ones_dead(rng):
    net = random_network(rng, [4, 10, 2], ["sigmoid", "identity"], gain=20)
    net.biases[0][:3] = 500
    x, y = rng.normal(size=(100, 4)), rng.normal(size=(100, 2))
    a = reference.sigmoid(x @ net.weights[0].T + net.biases[0])
    flat = a * (1 - a) < 0.01 / 4
    shown_flat, shown_dead = bar_heights(plot.distributions(net, x, y)[1])
    assert shown_flat == pytest.approx([flat.mean()])
    assert shown_dead == pytest.approx([flat.all(axis=0).mean()])
    assert shown_dead[0] >= 0.3


@pytest.mark.parametrize("name", [n for n in reference.ACTIVATIONS if n != "softmax"])
def test_the_steepest_slope_of_every_activation(name):
    net = cr.Network([1, 1, 1], [name, "identity"], dtype="float64", seed=0)
    net.weights[0][...] = 1
    z = np.append(np.linspace(-6, 6, 120_001), [-1e-12, 3 - 1e-12, 40])
    slopes = net.trace(z[:, None], z[:, None]).g_prime[0]
    assert ACTIVATIONS[name].steepest == pytest.approx(np.abs(slopes).max(), rel=1e-8)


def test_vanishing_errors_are_told_in_the_title(rng):
    net = cr.Network([4, *[10] * 6, 3], "sigmoid", dtype="float64", seed=0)
    x, y = rng.normal(size=(50, 4)), rng.random((50, 3))
    errors = plot.distributions(net, x, y)[2]
    delta = reference.Net.of(net).trace(x, y).delta
    ratio = np.median(np.abs(delta[0])) / np.median(np.abs(delta[-1]))
    assert ratio < 1e-4
    assert f"layer 1 is {ratio:.2g} × that of layer 7" in errors.get_title()


def test_zeros_are_left_out_and_their_share_is_written(rng):
    net = random_network(rng, [4, 8, 2], ["relu", "identity"])
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    errors = plot.distributions(net, x, y)[2]
    share = np.mean(reference.Net.of(net).trace(x, y).delta[0] == 0)
    assert errors.get_xticklabels()[0].get_text() == f"1\nrelu\n{100 * share:.0f}% zero"


def test_errors_that_are_all_zero_are_drawn_as_nothing(rng):
    net = random_network(rng, [4, 8, 2], ["relu", "identity"])
    net.biases[0][:] = -1000
    panels = plot.distributions(net, rng.normal(size=(20, 4)), rng.normal(size=(20, 2)))
    assert panels[2].get_xticklabels()[0].get_text() == "1\nrelu\n100% zero"
    assert len(medians(panels[2])) == 1
    panels[0].figure.draw_without_rendering()


def test_numbers_that_are_not_finite_are_told(rng):
    net = random_network(rng, [2, 3, 1], "identity", dtype="float32")
    net.weights[1][...] = 3e38
    panels = plot.distributions(net, np.full((4, 2), 1e3), np.zeros((4, 1)))
    assert "not finite" in panels[0].get_xticklabels()[2].get_text()
    panels[0].figure.draw_without_rendering()


def test_large_data_are_sampled_in_bounded_number(rng, monkeypatch):
    net = random_network(rng, [3, 4, 2], ["tanh", "identity"])
    x, y = rng.normal(size=(3000, 3)), rng.normal(size=(3000, 2))
    seen = []
    monkeypatch.setattr(
        "chainrule.plot.layers.trace", lambda net, a, b: seen.append((a, b)) or net.trace(a, b)
    )
    panels = plot.distributions(net, x, y, max_samples=500)
    ((used_x, used_y),) = seen
    rows = {tuple(row): i for i, row in enumerate(x)}
    chosen = [rows[tuple(row)] for row in used_x]
    assert len(set(chosen)) == 500
    np.testing.assert_array_equal(used_y, y[chosen])
    assert "500 of 3,000 samples" in panels[0].figure.get_suptitle()


@pytest.mark.parametrize("layers", [1, 8, 9, 50])
def test_networks_of_any_depth_are_drawn(rng, layers):
    net = random_network(rng, [3, *[4] * (layers - 1), 2])
    panels = plot.distributions(net, rng.normal(size=(10, 3)), rng.normal(size=(10, 2)))
    panels[0].figure.draw_without_rendering()
    assert len(medians(panels[0])) == layers + 1
    assert len(medians(panels[3])) == layers
    assert len(bar_heights(panels[1])[0]) == layers - 1


def test_distributions_need_samples(rng):
    net = random_network(rng, [2, 1], "tanh")
    with pytest.raises(ValueError, match="at least one sample"):
        plot.distributions(net, np.zeros((0, 2)), np.zeros((0, 1)))


# --- weights as images ------------------------------------------------------------------------


def test_weight_images_are_the_rows_of_the_first_layer(rng):
    net = random_network(rng, [12, 5, 2], "tanh")
    axes = plot.weight_images(net, (3, 4))
    limit = np.quantile(np.abs(net.weights[0]), 0.99)
    for j, ax in zip(range(5), axes.flat, strict=False):
        (image,) = ax.images
        np.testing.assert_array_equal(image.get_array(), net.weights[0][j].reshape(3, 4))
        assert image.get_clim() == pytest.approx((-limit, limit))
        assert ax.get_title() == str(j)
    assert not axes.flat[5].get_visible()


def test_the_neurons_with_the_largest_weights_are_chosen(rng):
    net = random_network(rng, [4, 20], "tanh")
    axes = plot.weight_images(net, (2, 2), max_images=6)
    largest = np.sort(np.argsort(np.linalg.norm(net.weights[0], axis=1))[-6:])
    assert [ax.get_title() for ax in axes.flat] == [str(j) for j in largest]


def test_units_are_drawn_in_their_order(rng):
    net = random_network(rng, [4, 20], "tanh")
    axes = plot.weight_images(net, (2, 2), units=[7, 3])
    assert [ax.get_title() for ax in axes.flat] == ["7", "3"]


def test_colour_images_have_grey_for_0(rng):
    net = random_network(rng, [12, 1], "tanh")
    net.weights[0][0, :] = np.arange(-6, 6)
    ((ax,),) = plot.weight_images(net, (2, 2, 3))
    picture = ax.images[0].get_array()
    limit = np.quantile(np.abs(net.weights[0]), 0.99)
    np.testing.assert_allclose(
        picture, np.clip(0.5 + np.arange(-6, 6).reshape(2, 2, 3) / (2 * limit), 0, 1)
    )
    assert picture[1, 0, 0] == 0.5


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [
        (ValueError, {"shape": (3, 5)}, ("12 inputs", "3 x 5 is 15")),
        (ValueError, {"shape": (12,)}, ("(height, width)", "(12,)")),
        (TypeError, {"shape": 12}, ("(height, width)", "12")),
        (ValueError, {"units": [5]}, ("0 to 4", "5")),
        (TypeError, {"units": [0.5]}, ("integers", "0.5")),
        (ValueError, {"units": []}, ("units is empty",)),
        (ValueError, {"max_images": 0}, ("max_images", "at least 1")),
    ],
)
def test_weight_images_refuse(rng, error, options, message):
    net = random_network(rng, [12, 5], "tanh")
    with pytest.raises(error, match=says(*message)):
        plot.weight_images(net, **{"shape": (3, 4), **options})
    assert plt.get_fignums() == []
