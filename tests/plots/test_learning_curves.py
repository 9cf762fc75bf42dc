"""plot.learning_curves: what its curves show, read back from their artists."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

import chainrule as cr
from chainrule import plot
from support import history, says

pytestmark = pytest.mark.unsanitized  # matplotlib is large, and none of it is ours

BLUE, ORANGE = "#0072b2", "#e69f00"


def lines(ax):
    """Label -> (x, y) of every curve."""
    return {line.get_label(): tuple(map(list, line.get_data())) for line in ax.lines}


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
