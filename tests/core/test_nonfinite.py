"""NaN and infinities: calls that change nothing let them through, training refuses them.

What goes through stays in its own row. What is refused is named, and leaves everything as it was.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
import reference
from support import (
    HIDDEN,
    assert_same_bits,
    bits,
    random_network,
    random_targets,
    says,
    unchanged,
)

NAN, INF = np.nan, np.inf
BAD = [NAN, INF, -INF]
DTYPES = ["float32", "float64"]

LAMBDA = 1.0507009873554804934193349852946
LAMBDA_ALPHA = 1.7580993408473768599402175208123


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


# --- activations ------------------------------------------------------------------------------

#: g(z), g'(z) at NaN, inf, -inf and 0, as z never is -0; the sign of a zero counts.
SPECIAL = {
    "identity": ([NAN, INF, -INF, 0.0], [1, 1, 1, 1]),
    "sigmoid": ([NAN, 1, 0.0, 0.5], [NAN, 0.0, 0.0, 0.25]),
    "tanh": ([NAN, 1, -1, 0.0], [NAN, 0.0, 0.0, 1]),
    "relu": ([NAN, INF, 0.0, 0.0], [0.0, 1, 0.0, 0.0]),
    "leaky_relu": ([NAN, INF, -INF, 0.0], [0.01, 1, 0.01, 0.01]),
    "elu": ([NAN, INF, -1, 0.0], [1, 1, 0.0, 1]),
    "selu": ([NAN, INF, -LAMBDA_ALPHA, 0.0], [LAMBDA, LAMBDA, 0.0, LAMBDA]),
    "softplus": ([NAN, INF, 0.0, np.log(2)], [NAN, 1, 0.0, 0.5]),
    "silu": ([NAN, INF, -0.0, 0.0], [NAN, 1, -0.0, 0.5]),
    "gelu": ([NAN, INF, -0.0, 0.0], [NAN, 1, -0.0, 0.5]),
    "hardswish": ([NAN, INF, -0.0, 0.0], [NAN, 1, 0.0, 0.5]),
}

#: g'(z) just above and just below 0.
SLOPES = {
    "identity": (1, 1),
    "tanh": (1, 1),
    "relu": (1, 0),
    "leaky_relu": (1, 0.01),
    "elu": (1, 1),
    "selu": (LAMBDA, LAMBDA_ALPHA),
    "silu": (0.5, 0.5),
    "gelu": (0.5, 0.5),
    "hardswish": (0.5, 0.5),
}


def at(name, z):
    """g(z) and g'(z): z comes from the biases."""
    net = cr.Network([1, 40], name, "mse", dtype=z.dtype, seed=0)
    net.weights[0][:] = 0.0
    net.biases[0][:] = np.resize(z, 40)
    trace = net.trace(np.ones(1), np.zeros(40))
    assert_same_bits(trace.z[0][: len(z)], z)
    return trace.a[1][: len(z)], trace.g_prime[0][: len(z)]


def assert_same_numbers(actual, expected, dtype):
    """Equal, NaN included, with the sign of zeros."""
    expected = np.array(expected, dtype)
    np.testing.assert_array_max_ulp(actual[np.isfinite(expected)], expected[np.isfinite(expected)])
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(actual[np.isinf(expected)], expected[np.isinf(expected)])
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("name", HIDDEN)
def test_activations_at_the_numbers_that_are_none(name, dtype):
    a, slope = at(name, np.array([NAN, INF, -INF, 0.0], dtype))
    values, slopes = SPECIAL[name]
    assert_same_numbers(a, values, dtype)
    assert_same_numbers(slope, slopes, dtype)


@pytest.mark.parametrize("name", HIDDEN)
def test_activations_of_the_largest_numbers_are_their_limits(name, dtype):
    largest = np.finfo(dtype).max
    a, slope = at(name, np.array([largest, -largest], dtype))
    unbounded = {
        "identity": (largest, -largest),
        "leaky_relu": (largest, -largest * np.dtype(dtype).type(0.01)),
        **{g: (largest, 0.0) for g in ("relu", "softplus")},
        **{g: (largest, -0.0) for g in ("silu", "gelu", "hardswish")},
        "elu": (largest, -1),
    }
    limits = unbounded.get(name, SPECIAL[name][0][1:3])
    assert_same_numbers(a, limits, dtype)
    assert_same_numbers(slope, SPECIAL[name][1][1:3], dtype)


@pytest.mark.parametrize("name", SLOPES)
def test_activations_of_subnormal_numbers_are_not_flushed(name, dtype):
    least = np.finfo(dtype).smallest_subnormal
    counts = np.array([1000, -1000, 3000, -3000, 1, -1])
    a, _ = at(name, (counts * least).astype(dtype))
    above, below = SLOPES[name]
    exact = np.where(counts > 0, above, below) * counts
    assert (np.abs((a / least).astype(float) - exact) <= 1).all()


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_an_input_that_is_no_number_goes_the_way_of_the_formulas(rng, name, bad, dtype):
    """Through two layers: NaN, infinities and numbers where the float64 oracle has them."""
    net = random_network(rng, [5, 20, 3], [name, "identity"], dtype=dtype)
    x = rng.normal(size=5).astype(dtype)
    x[2] = bad
    with np.errstate(all="ignore"):
        expected = reference.Net.of(net).predict(x[None])[0]
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("z", "a"),
    [
        ([NAN, 1, 2], [NAN, NAN, NAN]),
        ([INF, 1, 2], [NAN, NAN, NAN]),
        ([INF, INF, -INF], [NAN, NAN, NAN]),
        ([-INF, -INF, -INF], [NAN, NAN, NAN]),
        ([-INF, 0, 0], [0, 0.5, 0.5]),
        ([-INF, 7, -INF], [0, 1, 0]),
        ([1e30, 0, -1e30], [1, 0, 0]),
    ],
    ids=str,
)
def test_softmax_of_numbers_that_are_none(z, a, dtype):
    net = cr.Network([1, 3], "softmax", "cross_entropy", dtype=dtype, init="zeros", seed=0)
    net.biases[0][:] = z
    assert_same_numbers(net.predict([0.0]), a, dtype)


# --- rows -------------------------------------------------------------------------------------

OUTPUTS = {
    **{name: (name, "mse") for name in HIDDEN},
    "cross_entropy": ("softmax", "cross_entropy"),
    "binary_cross_entropy": ("sigmoid", "binary_cross_entropy"),
    "mae": ("identity", "mae"),
    "huber": ("softmax", "huber"),
}


@pytest.fixture(params=OUTPUTS)
def problem(request, rng, dtype):
    output, loss = OUTPUTS[request.param]
    hidden = request.param if request.param in HIDDEN else "tanh"
    net = random_network(rng, [5, 20, 6, 3], [hidden, hidden, output], loss, dtype=dtype)
    x, y = rng.normal(size=(14, 5)), random_targets(rng, 14, 3, loss, output)
    return net, x.astype(dtype), y.astype(dtype)


def per_row(net, x, y):
    """Everything that belongs to one row each."""
    trace = net.trace(x, y)
    a, pullback = net.vjp(x)
    _, dC_dx = pullback(y)
    return [net.predict(x), a, dC_dx, *trace.a, *trace.z, *trace.g_prime, *trace.delta]


@pytest.mark.bits
@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("where", ["x", "y"])
def test_a_row_never_reaches_another(problem, where, bad):
    net, x, y = problem
    clean = per_row(net, x, y)
    for row in (0, 5, 13):
        spoilt = {"x": x.copy(), "y": y.copy()}
        spoilt[where][row, 1] = bad
        others = np.arange(len(x)) != row
        for before, after in zip(clean, per_row(net, **spoilt), strict=True):
            assert_same_bits(after[others], before[others])


@pytest.mark.bits
@pytest.mark.parametrize("n", [1, 2, 4, 7, 63, 65, 130, 257, 300])
@pytest.mark.parametrize("sizes", [[3, 2], [17, 9, 1], [40, 33, 64]], ids=str)
def test_a_row_never_reaches_another_in_any_tile(rng, sizes, n, dtype):
    net = random_network(rng, sizes, dtype=dtype)
    x, y = (rng.normal(size=(n, k)).astype(dtype) for k in (sizes[0], sizes[-1]))
    spoilt = x.copy()
    spoilt[::5] = NAN
    others = np.arange(n) % 5 != 0
    for threads in (1, 2):
        assert_same_bits(
            net.predict(spoilt, threads=threads)[others], net.predict(x, threads=threads)[others]
        )
    assert np.isnan(net.predict(spoilt)[::5]).all()
    assert_same_bits(net.vjp(spoilt)[1](y)[1][others], net.vjp(x)[1](y)[1][others])


@pytest.mark.bits
def test_nothing_is_left_for_the_next_call(problem):
    """Workspaces are used again, with what lies in their padding."""
    net, x, y = problem
    clean = [*per_row(net, x, y), net.gradients(x, y).flatten(), net.cost(x, y)]
    for bad in BAD:
        spoilt = np.full_like(x, bad)
        per_row(net, spoilt, y)
        net.gradients(spoilt, y)
        net.cost(x, np.full_like(y, bad))
        again = [*per_row(net, x, y), net.gradients(x, y).flatten(), net.cost(x, y)]
        for before, after in zip(clean, again, strict=True):
            assert_same_bits(after, before)


@pytest.mark.parametrize("where", ["x", "y"])
def test_nan_reaches_the_cost_and_every_gradient(problem, where):
    net, x, y = problem
    {"x": x, "y": y}[where][3, 1] = NAN
    assert np.isnan(net.cost(x, y))
    gradients = net.gradients(x, y)
    assert np.isnan(gradients.cost)
    last = np.concatenate([gradients.weights[-1].ravel(), gradients.biases[-1]])
    if where == "x":
        assert np.isnan(gradients.flatten()).all()
    else:
        assert np.isnan(last).any()
        assert np.isnan(gradients.weights[0]).all()
    trace = net.trace(x, y)
    assert np.isnan(trace.cost)
    assert np.isnan(trace.delta[-1][3]).any()


def test_a_weight_of_0_hides_no_nan(problem):
    net, x, y = problem
    x[3, 1] = NAN
    weight = np.ones(len(x))
    weight[3] = 0
    assert np.isnan(net.cost(x, y, weight))
    assert np.isnan(net.evaluate(x, y, weight)["cost"])


@pytest.mark.bits
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 9, 16, 17, 40])
def test_a_parameter_that_is_none_reaches_its_own_neuron_only(rng, width, dtype):
    """Narrow layers keep several rows of weights in one block, with padding."""
    net = random_network(rng, [7, width], "tanh", dtype=dtype)
    x = rng.normal(size=(9, 7)).astype(dtype)
    clean = net.predict(x)
    for j in {0, width // 2, width - 1}:
        for spoilt in (net.weights[0][j, 3:4], net.biases[0][j : j + 1]):
            kept = spoilt.copy()
            spoilt[:] = NAN
            others = np.arange(width) != j
            assert np.isnan(net.predict(x)[:, j]).all()
            assert_same_bits(net.predict(x)[:, others], clean[:, others])
            spoilt[:] = kept


@pytest.mark.parametrize(("output", "loss"), [("softmax", "cross_entropy"), ("tanh", "mse")])
def test_nan_is_no_right_answer(rng, output, loss):
    net = random_network(rng, [5, 4, 3], ["tanh", output], loss)
    x, y = rng.normal(size=(6, 5)), np.eye(3)[[0, 0, 1, 1, 2, 2]]
    x[:2] = NAN
    results = net.evaluate(x, y)
    assert np.isnan(results["cost"])
    if loss == "cross_entropy":
        assert results["accuracy"] == (net.predict(x[2:]).argmax(1) == [1, 1, 2, 2]).sum() / 6
    else:
        assert np.isnan(results["mae"])
        assert np.isnan(results["r2"])


# --- training ---------------------------------------------------------------------------------


@pytest.fixture
def net(rng):
    return random_network(rng, [5, 8, 3], loss="mse", dtype="float32")


@pytest.fixture
def data(rng):
    return {"x": rng.normal(size=(40, 5)), "y": rng.normal(size=(40, 3))}


KINDS = {
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "float64": lambda a: a,
    "longdouble": lambda a: a.astype(np.longdouble),
    "swapped": lambda a: a.astype(">f4"),
    "apart": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "rows apart": lambda a: np.repeat(a.astype(np.float32), 2, axis=0)[::2],
    "unaligned": lambda a: np.frombuffer(b"." + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "lists": np.ndarray.tolist,
}

TRAINING = {
    "fit": lambda net, x, y, **how: net.fit(x, y, batch_size=7, **how),
    "train_step": lambda net, x, y, **how: net.train_step(x, y, **how),
    "stream": lambda net, x, y, **how: net.fit([(x, y)], **how),
    "validation_data": lambda net, x, y, **how: net.fit(
        np.ones((3, 5)), np.ones((3, 3)), validation_data=(x, y), **how
    ),
}


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("where", ["x", "y"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("train", TRAINING)
def test_training_refuses_what_is_no_number_and_names_the_row(net, data, train, kind, where, bad):
    data[where][23, 2] = bad
    data[where][31] = NAN  # the first row counts
    data[where] = KINDS[kind](data[where])
    names = {"stream": ["batch 1"], "validation_data": ["validation_data"]}.get(train, [])
    with unchanged(net), pytest.raises(ValueError, match=says(f"row 23 of {where}", *names)):
        TRAINING[train](net, **data, learning_rate=0.1)
    assert net.epoch == 0


def test_the_row_is_counted_from_the_start_of_the_array():
    """Arrays that are converted are looked at in slices of a million numbers."""
    net = cr.Network([2**11, 1], seed=0)
    x, y = np.zeros((1200, 2**11), np.float16), np.zeros((1200, 1), np.float16)
    x[1100, 7] = INF
    with unchanged(net), pytest.raises(ValueError, match=says("row 1100 of x")):
        net.fit(x, y, learning_rate=0.1)


@pytest.mark.bits
@pytest.mark.parametrize("make", [lambda: cr.SGD(0.1, momentum=0.9), cr.Adam], ids=["SGD", "Adam"])
def test_refused_training_leaves_no_trace_in_the_optimizer(net, data, make):
    other, optimizers = copy.deepcopy(net), [make(), make()]
    spoilt = {"x": data["x"].copy(), "y": data["y"]}
    spoilt["x"][0, 0] = NAN
    for _ in range(3):
        for call in TRAINING.values():
            with pytest.raises(ValueError, match=says("row 0 of x")):
                call(net, **spoilt, optimizer=optimizers[0])
        net.train_step(**data, optimizer=optimizers[0])
        other.train_step(**data, optimizer=optimizers[1])
    assert optimizers[0].step == 3
    assert_same_bits(net.get_parameters(), other.get_parameters())


@pytest.mark.parametrize("train", ["fit", "stream"])
def test_parameters_that_are_none_are_a_divergence_that_changes_nothing(net, data, train):
    net.weights[1][2, 3] = NAN
    before = bits(net.get_parameters())
    with pytest.raises(cr.DivergenceError, match=says("layer 2")):
        TRAINING[train](net, **data, learning_rate=0.1)
    assert bits(net.get_parameters()) == before
    assert net.epoch == 0


@pytest.mark.parametrize("bad", [NAN, INF, -INF, -1.0], ids=str)
@pytest.mark.parametrize("kind", ["float64", "longdouble", "float16"])
def test_sample_weights_that_are_none_are_refused_by_name(net, data, bad, kind):
    weight = np.ones(40, kind)
    weight[23] = bad
    for call in (net.cost, net.gradients, net.evaluate):
        with pytest.raises(ValueError, match="sample_weight"):
            call(**data, sample_weight=weight)
    for train in ("fit", "train_step"):
        with unchanged(net), pytest.raises(ValueError, match="sample_weight"):
            TRAINING[train](net, **data, learning_rate=0.1, sample_weight=weight)
