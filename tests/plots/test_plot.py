"""chainrule.plot: what the pictures show, read back from their artists, against NumPy."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from sklearn import metrics as sklearn_metrics

import chainrule as cr
import reference
from chainrule import plot
from support import random_network, run_python, says, unchanged

pytestmark = pytest.mark.unsanitized  # matplotlib is large, and none of it is ours

BLUE, ORANGE = "#0072b2", "#e69f00"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    """Axes that pyplot knows nothing of."""
    return Figure().subplots()


def history(epochs=(1, 2, 3), **columns):
    """A History with these columns; the cost is 1/epoch."""
    result = cr.History()
    result.epochs = list(epochs)
    result.cost = [1 / e for e in epochs]
    result.learning_rate = [0.1] * len(result.epochs)
    result.seconds = [2.0] * len(result.epochs)
    for name, values in columns.items():
        setattr(result, name, values)
    return result


def lines(ax):
    """Label -> (x, y) of every curve."""
    return {line.get_label(): tuple(map(list, line.get_data())) for line in ax.lines}


# --- learning curves --------------------------------------------------------------------------


def test_curves_of_cost_and_metrics_in_a_panel_each():
    run = history(validation_cost=[4.0, 3.0, 5.0], validation_metrics={"accuracy": [0.5, 0.7, 0.6]})
    cost, accuracy = plot.learning_curves(run)
    assert lines(cost) == {
        "training": ([1, 2, 3], [1, 1 / 2, 1 / 3]),
        "validation": ([1, 2, 3], [4.0, 3.0, 5.0]),
    }
    assert lines(accuracy) == {"validation": ([1, 2, 3], [0.5, 0.7, 0.6])}
    assert [a.get_title() for a in (cost, accuracy)] == ["Cost", "Accuracy"]
    assert cost.get_xlabel() == "epoch"
    assert cost.get_ylabel() == "mean cost of a sample"
    assert [t.get_text() for t in cost.get_legend().get_texts()] == ["training", "validation"]


def test_curves_of_a_real_run(rng):
    net = cr.Network([3, 4, 1], ["tanh", "identity"], seed=0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    net.fit(x, y, learning_rate=0.1)
    run = net.fit(x, y, epochs=4, learning_rate=0.1, validation_data=(x, y))
    axes = plot.learning_curves(run, ["cost", "r2", "learning_rate"])
    assert lines(axes[0])["training"] == ([2, 3, 4, 5], run.cost)
    assert lines(axes[0])["validation"] == ([2, 3, 4, 5], run.validation_cost)
    assert lines(axes[1])["validation"][1] == run.validation_metrics["r2"]
    np.testing.assert_array_equal(axes[2].lines[0].get_ydata(), 0.1)


def test_a_single_epoch_is_a_visible_point():
    (ax,) = plot.learning_curves(history([7]))
    (line,) = ax.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([7], [1 / 7])
    assert line.get_marker() == "o"


def test_the_best_epoch_is_marked():
    (ax,) = plot.learning_curves(history(best_epoch=2), "cost")
    assert lines(ax)["best epoch (2)"][0] == [2, 2]


def test_a_single_given_axes_shows_the_cost(ax):
    (drawn,) = plot.learning_curves(history(validation_metrics={"accuracy": [0, 0, 1]}), ax=ax)
    assert drawn is ax
    assert list(lines(ax)) == ["training"]


def test_runs_are_compared_in_the_same_axes(ax):
    for label, colour in (("fast", BLUE), ("slow", ORANGE)):
        run = history(validation_cost=[3.0, 2.0, 1.0])
        plot.learning_curves(run, ax=ax, label=label, color=colour)
    assert list(lines(ax)) == [
        "fast, training",
        "fast, validation",
        "slow, training",
        "slow, validation",
    ]
    assert [to_hex(line.get_color()) for line in ax.lines] == [BLUE, BLUE, ORANGE, ORANGE]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--", "-", "--"]


def test_history_plot_draws_the_learning_curves(ax):
    (drawn,) = history().plot(ax=ax)
    assert drawn is ax
    assert lines(ax)["training"] == ([1, 2, 3], [1, 1 / 2, 1 / 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": cr.History()}, ("no epochs", "epochs=1")),
        ({"names": "acuracy"}, ("cost, learning_rate, seconds", "acuracy")),
        ({"names": []}, ("names is empty",)),
        ({"names": ["cost", "seconds"], "ax": "one"}, ("one Axes for each of cost, seconds", "1")),
    ],
)
def test_learning_curves_refuse(arguments, message, ax):
    arguments = {"history": history(), **arguments}
    if arguments.get("ax"):
        arguments["ax"] = [ax]
    with pytest.raises(ValueError, match=says(*message)):
        plot.learning_curves(**arguments)


def test_learning_curves_of_something_else_are_refused():
    with pytest.raises(TypeError, match=says("fit returned", "list")):
        plot.learning_curves([1, 2, 3])


# --- confusion matrix -------------------------------------------------------------------------


def drawn_counts(ax):
    """The numbers in the cells."""
    counts = np.zeros(ax.images[0].get_array().shape, int)
    for text in ax.texts:
        j, i = text.get_position()
        counts[int(i), int(j)] = text.get_text()
    return counts


@pytest.mark.parametrize("n", [2, 10, 20])
def test_confusion_counts_and_shares(rng, n):
    net = random_network(rng, [4, 8, n], ["tanh", "softmax"], "cross_entropy")
    x, y = rng.normal(size=(500, 4)), rng.integers(0, n, 500)
    ax = plot.confusion_matrix(net, x, y)
    a = reference.Net.of(net).trace(x, np.eye(n)[y]).a[-1]
    expected = sklearn_metrics.confusion_matrix(y, a.argmax(axis=1), labels=range(n))
    np.testing.assert_array_equal(drawn_counts(ax), expected)
    np.testing.assert_allclose(
        ax.images[0].get_array(), expected / expected.sum(axis=1, keepdims=True)
    )
    right = np.trace(expected)
    assert ax.get_title() == f"Confusion matrix: {right} of 500 right ({right / 500:.1%})"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_confusion_of_one_sigmoid_output(rng):
    net = random_network(rng, [3, 1], "sigmoid", "binary_cross_entropy")
    x, y = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    ax = plot.confusion_matrix(net.freeze(), x, y)
    predicted = reference.Net.of(net).trace(x, y[:, None]).a[-1][:, 0] >= 0.5
    np.testing.assert_array_equal(drawn_counts(ax), sklearn_metrics.confusion_matrix(y, predicted))


def test_confusion_of_one_tanh_output(rng):
    net = random_network(rng, [3, 1], "tanh")
    x, y = rng.normal(size=(200, 3)), rng.choice([-1, 1], 200)
    predicted = net.predict(x)[:, 0] >= 0
    np.testing.assert_array_equal(
        drawn_counts(plot.confusion_matrix(net, x, y)),
        sklearn_metrics.confusion_matrix(y == 1, predicted),
    )


def test_confusion_takes_one_hot_rows_and_large_data_in_slices(rng, monkeypatch):
    net = random_network(rng, [4, 5], "softmax", "cross_entropy")
    x, y = rng.normal(size=(300, 4)), rng.integers(0, 5, 300)
    expected = drawn_counts(plot.confusion_matrix(net, x, y))
    monkeypatch.setattr("chainrule.inputs.arrays.SLICE_SIZE", 64)
    np.testing.assert_array_equal(
        drawn_counts(plot.confusion_matrix(net, x, np.eye(5)[y])), expected
    )


def test_a_class_without_samples_has_an_empty_row(rng):
    net = random_network(rng, [4, 3], "softmax", "cross_entropy")
    ax = plot.confusion_matrix(net, rng.normal(size=(50, 4)), rng.integers(0, 2, 50))
    np.testing.assert_array_equal(ax.images[0].get_array()[2], 0)
    assert drawn_counts(ax)[2].sum() == 0


def test_confusion_writes_names_and_percentages(rng):
    net = random_network(rng, [4, 2], "softmax", "cross_entropy")
    ax = plot.confusion_matrix(
        net, rng.normal(size=(50, 4)), np.zeros(50, int), ["cat", "dog"], shares=True
    )
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cat", "dog"]
    assert sum(float(t.get_text().rstrip("%")) for t in ax.texts) == pytest.approx(100, abs=1)


def test_numbers_are_left_out_where_cells_are_tiny(rng):
    net = random_network(rng, [2, 300], "softmax", "cross_entropy")
    ax = plot.confusion_matrix(net, rng.normal(size=(50, 2)), rng.integers(0, 300, 50))
    assert len(ax.texts) == 0
    assert ax.images[0].get_array().shape == (300, 300)


@pytest.mark.parametrize(
    ("output", "width", "y", "options", "message"),
    [
        ("softmax", 3, [0, 3], {}, ("labels must be 0 to 2", "0 to 3")),
        ("softmax", 3, [0.0, 1.0], {}, ("integer labels", "(2, 3)", "float64")),
        ("softmax", 3, [[0, 1, 1], [1, 0, 0]], {}, ("one class a sample", "row 0")),
        ("softmax", 3, [0, 1], {"class_names": ["a", "b"]}, ("3 names", "['a', 'b']")),
        ("identity", 1, [0, 1], {}, ("identity gives values", "sigmoid")),
        ("tanh", 1, [0, 1], {}, ("-1 or 1",)),
    ],
)
def test_confusion_refuses(rng, output, width, y, options, message):
    net = random_network(rng, [2, width], output)
    with pytest.raises(ValueError, match=says(*message)):
        plot.confusion_matrix(net, np.zeros((2, 2)), y, **options)
    assert plt.get_fignums() == []


def test_outputs_that_are_not_finite_are_refused(rng):
    net = random_network(rng, [2, 2], "softmax", "cross_entropy")
    with pytest.raises(ValueError, match=says("row 1", "not finite")):
        plot.confusion_matrix(net, [[0, 0], [np.nan, 0]], [0, 1])


# --- decision boundary ------------------------------------------------------------------------


def test_every_region_has_the_colour_of_its_class(rng):
    net = random_network(rng, [2, 6, 4], ["tanh", "softmax"], "cross_entropy", gain=3)
    x, y = rng.normal(size=(60, 2)), rng.integers(0, 4, 60)
    ax = plot.decision_boundary(net, x, y, resolution=41)
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    grid = np.stack(np.meshgrid(np.linspace(x0, x1, 41), np.linspace(y0, y1, 41)), axis=-1)
    a = net.predict(grid.reshape(-1, 2)).reshape(41, 41, 4)
    two, one = np.sort(a, axis=-1)[..., -2:].transpose(2, 0, 1)
    strength = (0.12 + 0.38 * (one - two))[..., None]
    colours = np.array([to_rgb(to_hex(c.get_facecolor()[0])) for c in ax.collections[-4:]])
    expected = 1 - strength * (1 - colours[a.argmax(axis=-1)])
    np.testing.assert_allclose(ax.images[0].get_array(), expected, atol=1e-6)


def test_the_boundary_of_a_straight_line_is_that_line():
    net = cr.Network([2, 1], "sigmoid", "binary_cross_entropy", dtype="float64", seed=0)
    net.weights[0][...] = [[2.0, -1.0]]
    net.biases[0][...] = 0.5
    ax = plot.decision_boundary(net, [[-1, -1], [1, 1]])
    (contour,) = ax.collections
    points = np.concatenate([path.vertices for path in contour.get_paths()])
    assert len(points) > 20
    np.testing.assert_allclose(2 * points[:, 0] - points[:, 1] + 0.5, 0, atol=1e-3)


def test_missed_samples_have_a_black_edge_and_are_counted(rng):
    net = random_network(rng, [2, 3], "softmax", "cross_entropy")
    x, y = rng.normal(size=(90, 2)), rng.integers(0, 3, 90)
    ax = plot.decision_boundary(net, x, y, ["a", "b", "c"])
    missed = {tuple(point) for point in x[net.predict(x).argmax(axis=1) != y]}
    seen, black = set(), set()
    for scatter in ax.collections[-3:]:
        for point, edge in zip(scatter.get_offsets().data, scatter.get_edgecolors(), strict=True):
            seen.add(tuple(point))
            if to_hex(edge) == "#000000":
                black.add(tuple(point))
    assert black == missed
    assert seen == {tuple(point) for point in x}
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["a", "b", "c", f"missed: {len(missed)} of 90"]


def test_many_samples_are_thinned_to_the_same_ones(rng):
    net = random_network(rng, [2, 1], "sigmoid", "binary_cross_entropy")
    x, y = rng.normal(size=(5000, 2)), rng.integers(0, 2, 5000)
    first, second = (
        np.concatenate([c.get_offsets().data for c in ax.collections[-2:]])
        for ax in (plot.decision_boundary(net, x, y, max_points=100) for _ in range(2))
    )
    np.testing.assert_array_equal(first, second)
    assert len({tuple(p) for p in first} & {tuple(p) for p in x}) == 100


def test_one_linear_output_is_drawn_as_a_surface(rng):
    net = random_network(rng, [2, 5, 1], ["tanh", "identity"])
    x, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    ax = plot.decision_boundary(net, x, y, resolution=25)
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    grid = np.stack(np.meshgrid(np.linspace(x0, x1, 25), np.linspace(y0, y1, 25)), axis=-1)
    expected = net.predict(grid.reshape(-1, 2)).reshape(25, 25)
    np.testing.assert_allclose(ax.images[0].get_array(), expected, rtol=1e-12)
    np.testing.assert_array_equal(ax.collections[-1].get_array(), y)
    assert ax.collections[-1].norm is ax.images[0].norm


@pytest.mark.parametrize(
    ("sizes", "output", "x", "options", "message"),
    [
        ([3, 2], "softmax", np.zeros((4, 3)), {}, ("2 inputs", "3")),
        ([2, 2], "softmax", np.zeros((4, 3)), {}, ("(n, 2)", "(4, 3)")),
        ([2, 2], "softmax", [[0, np.inf]], {}, ("finite",)),
        ([2, 2], "softmax", np.zeros((4, 2)), {"resolution": 1}, ("resolution", "2 to 1000", "1")),
        ([2, 2], "softmax", np.zeros((4, 2)), {"max_points": 0}, ("max_points", "at least 1")),
        ([2, 1], "identity", np.zeros((4, 2)), {"class_names": ["a"]}, ("no classes",)),
    ],
)
def test_decision_boundary_refuses(rng, sizes, output, x, options, message):
    with pytest.raises(ValueError, match=says(*message)):
        plot.decision_boundary(random_network(rng, sizes, output), x, **options)
    assert plt.get_fignums() == []


# --- layers -----------------------------------------------------------------------------------


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
    assert plot.layers.STEEPEST[name] == pytest.approx(np.abs(slopes).max(), rel=1e-8)


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


# --- manners ----------------------------------------------------------------------------------


@pytest.fixture
def problem(rng):
    net = random_network(rng, [2, 6, 3], ["tanh", "softmax"], "cross_entropy")
    return net, rng.normal(size=(40, 2)), rng.integers(0, 3, 40)


PICTURES = {
    "learning_curves": lambda net, x, y, **at: plot.learning_curves(history(), "cost", **at),
    "confusion_matrix": lambda net, x, y, **at: plot.confusion_matrix(net, x, y, **at),
    "decision_boundary": lambda net, x, y, **at: plot.decision_boundary(net, x, y, **at),
    "distributions": lambda net, x, y, **at: plot.distributions(net, x, y, **at),
    "weight_images": lambda net, x, y, **at: plot.weight_images(net, (1, 2), **at),
}
WHERE = dict.fromkeys(("distributions", "weight_images"), "figure")


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_a_given_place_leaves_pyplot_alone(name, problem):
    mine = plt.figure()
    settings = dict(plt.rcParams)
    figure = Figure(figsize=(9, 7))
    where = figure if name in WHERE else figure.subplots()
    drawn = PICTURES[name](*problem, **{WHERE.get(name, "ax"): where})
    assert np.ravel(drawn)[0].figure is figure
    assert plt.get_fignums() == [mine.number]
    assert plt.gcf() is mine
    assert dict(plt.rcParams) == settings
    figure.canvas.draw()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_without_a_place_is_a_new_figure_of_pyplot(name, problem, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("plt.show was called"))
    settings = dict(plt.rcParams)
    with unchanged(problem[0]):
        drawn = PICTURES[name](*problem)
    assert np.ravel(drawn)[0].figure is plt.gcf()
    assert len(plt.get_fignums()) == 1
    assert dict(plt.rcParams) == settings


@pytest.mark.parametrize("name", WHERE)
def test_a_picture_of_many_panels_goes_into_a_subfigure(name, problem):
    figure = Figure(figsize=(16, 8), layout="constrained")
    left, right = figure.subfigures(1, 2)
    drawn = PICTURES[name](*problem, figure=right)
    assert drawn.flat[0].get_subplotspec() is not None
    assert len(left.axes) == 0 and len(right.axes) >= len(drawn)
    figure.canvas.draw()


@pytest.mark.parametrize("name", PICTURES)
def test_another_place_is_refused(name, problem):
    where = WHERE.get(name, "ax")
    with pytest.raises(TypeError, match=says(where, "must be", "str")):
        PICTURES[name](*problem, **{where: "here"})


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_saved_as_png_and_pdf(name, problem, tmp_path):
    figure = np.ravel(PICTURES[name](*problem))[0].figure
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        path = tmp_path / f"picture.{kind}"
        figure.savefig(path)
        assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "learning_curves"])
def test_what_is_no_network_is_refused(name, problem):
    _, x, y = problem
    estimator = SimpleNamespace(network_=problem[0])
    with pytest.raises(TypeError, match=says("must be a Network", "SimpleNamespace", "network_")):
        PICTURES[name](estimator, x, y)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", WHERE)
def test_pictures_of_weights_and_layers_need_a_network_not_a_predictor(name, problem):
    net, x, y = problem
    with pytest.raises(TypeError, match=says("must be a Network, got Predictor")):
        PICTURES[name](net.freeze(), x, y)


def test_importing_plot_does_not_import_matplotlib():
    script = "import sys, chainrule.plot; assert 'matplotlib' not in sys.modules"
    run_python("-c", script)


def test_a_given_place_does_not_import_pyplot():
    run_python(
        "-c",
        "import sys, numpy as np, chainrule as cr\n"
        "from chainrule import plot\n"
        "from matplotlib.figure import Figure\n"
        "net = cr.Network([2, 3], 'softmax', 'cross_entropy', seed=0)\n"
        "plot.confusion_matrix(net, np.zeros((3, 2)), [0, 1, 2], ax=Figure().subplots())\n"
        "plot.distributions(net, np.ones((3, 2)), [0, 1, 2], figure=Figure())\n"
        "assert 'matplotlib.pyplot' not in sys.modules",
    )


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=says('pip install "chainrule[plot]"')):
        plot.learning_curves(history())
