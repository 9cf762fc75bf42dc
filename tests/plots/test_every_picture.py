"""What holds for every picture: its place, its files, what it refuses, what it imports."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from chainrule import plot
from support import history, random_network, run_python, says, unchanged

pytestmark = pytest.mark.unsanitized  # matplotlib is large, and none of it is ours


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
