"""plot.confusion_matrix and plot.decision_boundary, read back from their artists, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb
from sklearn import metrics as sklearn_metrics

import chainrule as cr
import reference
from chainrule import plot
from support import random_network, says

pytestmark = pytest.mark.unsanitized  # matplotlib is large, and none of it is ours


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
