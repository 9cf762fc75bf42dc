"""Random ONNX graphs: what is imported answers as ONNX's reference implementation does."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.unsanitized]

pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")

from chainrule.onnx import from_onnx, load  # noqa: E402
from onnx_graphs import Drawn, answer, largest_difference  # noqa: E402

N_GRAPHS = 2400
# The reference has attributes, and the error function, in float32 alone.
TOLERANCE = 1e-5


def imported(seed):
    """Return the graph of a seed, and the network or None; only a ValueError may refuse it."""
    drawn = Drawn(seed)
    try:
        return drawn, from_onnx(drawn.model)
    except ValueError:
        return drawn, None


def difference(drawn, network, seed):
    """Return how far the network is from the nearest output of the graph, on fresh rows."""
    rng = np.random.default_rng([1, seed])
    found = [np.inf]
    for m in (2, 1):  # a second free axis may have to be of length 1
        x = (2 * rng.standard_normal(drawn.lengths_of(6, m, network.sizes[0]))).astype(drawn.dtype)
        if x.size % network.sizes[0]:
            continue
        rows = x.reshape(-1, network.sizes[0])
        for entry in drawn.model.graph.output:
            try:
                given = answer(drawn.model, entry.name, x)
            except Exception:  # graphs are drawn without regard to whether they can run
                continue
            found.append(largest_difference(network, given, rows))
    return min(found)


@pytest.fixture(scope="module")
def by_rules_alone():
    """What the rules let in by themselves: the check by running is off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "verify", lambda *arguments: None)
        return {seed: imported(seed) for seed in range(N_GRAPHS)}


def test_the_rules_alone_let_nothing_wrong_in(by_rules_alone):
    came_in = {s: pair for s, pair in by_rules_alone.items() if pair[1] is not None}
    wrong = {s: e for s, pair in came_in.items() if (e := difference(*pair, s)) > TOLERANCE}
    assert wrong == {}
    assert len(came_in) > N_GRAPHS / 6  # the test compares something
    print(f"{len(came_in)} of {N_GRAPHS} graphs came in, {len(wrong)} were wrong")


def test_the_check_by_running_refuses_nothing_right(by_rules_alone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed, (_, network) in by_rules_alone.items():
            if network is not None:
                again = imported(seed)[1]
                assert again is not None, f"graph {seed}"
                np.testing.assert_array_equal(again.get_parameters(), network.get_parameters())
