"""The package against the specification, bit for bit.

docs/arithmetic.md describes every operation in words and formulas; specification.py,
specification_functions.py and specification_random.py carry them out. Networks are small: the
specification is slow.
"""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest

import chainrule as cr
import specification as spec
from chainrule import _core
from specification_functions import ELEMENTARY, Float32, Float64, dyadic, fma, rounded
from specification_random import Dropout, initial_weights, permutation, philox4x32
from support import HIDDEN, OUTPUT_PAIRS, assert_same_bits, random_network, random_targets

pytestmark = pytest.mark.bits

FORMATS = {"float32": Float32, "float64": Float64}

#: On both sides of every border: float32 layers are narrow up to 8, float64 layers up to 4, and a
#: sum over outputs has 16 or 8 lanes.
WIDTHS = [1, 2, 3, 4, 5, 8, 9, 16, 17, 33]


@pytest.fixture(params=FORMATS)
def dtype(request):
    return request.param


def specified(net):
    """The network of the specification with these parameters."""
    T = FORMATS[net.dtype.name]
    layers = [
        spec.Layer(
            [[T(v) for v in row] for row in w.tolist()],
            [T(v) for v in net.biases[i].tolist()] if net.biases else None,
            net.activations[i],
        )
        for i, w in enumerate(net.weights)
    ]
    return spec.Network(T, layers, net.loss)


def assert_specified(actual, expected):
    """`expected` holds numbers of the specification, in lists."""
    actual = np.asarray(actual)
    expected = np.array(expected, actual.dtype).reshape(actual.shape)
    assert not np.isnan(expected).any()  # whose bits are not specified
    assert_same_bits(actual, expected)


def assert_same_derivatives(net, x, y, weights=None):
    """Cost, gradients, and the pullback of a derivative that comes from outside."""
    twin, dC_da = specified(net), np.cos(np.arange(y.size)).reshape(y.shape).astype(net.dtype)
    cost, gradient = spec.mean_gradient(
        twin, x.tolist(), y.tolist(), None if weights is None else weights.tolist()
    )
    gradients = net.gradients(x, y, weights)
    assert gradients.cost == net.cost(x, y, weights) == cost
    assert_specified(gradients.flatten(), gradient)

    a, pullback = net.vjp(x)
    sums, dC_dx = spec.pullback(twin, x.tolist(), dC_da.tolist())
    ours = pullback(dC_da)
    assert_specified(a, spec.predict(twin, x.tolist()))
    assert_specified(ours[0].flatten(), sums)
    assert_specified(ours[1], dC_dx)
    assert_same_bits(net.predict(x), a)


def problem(rng, sizes, activations, loss, n, dtype, **options):
    net = random_network(rng, sizes, activations, loss, dtype=dtype, **options)
    x = rng.normal(size=(n, sizes[0])).astype(dtype)
    return net, x, random_targets(rng, n, sizes[-1], loss, net.activations[-1]).astype(dtype)


# --- the numbers of the specification ---------------------------------------------------------


def test_the_specification_rounds_to_nearest_even(rng):
    x = np.exp2(rng.uniform(-152, 130, 2000)) * rng.choice([-1.0, 1.0], 2000)
    single = np.exp2(rng.uniform(-150, 127, 2000)).astype(np.float32)
    halfway = (single.astype(float) + np.nextafter(single, np.float32(np.inf)).astype(float)) / 2
    x = np.concatenate([x, halfway, [2.0**128 - 2.0**103, np.nextafter(2.0**128 - 2.0**103, 0)]])
    with np.errstate(over="ignore"):
        expected = x.astype(np.float32)
    for number in (Float32, lambda v: rounded(Float32, *dyadic(v))):
        assert_same_bits(np.array([number(v) for v in x.tolist()], np.float32), expected)


def test_the_specification_rounds_an_fma_once(rng, dtype):
    T, info, kind = FORMATS[dtype], np.finfo(dtype), np.dtype(dtype).type
    a, b = rng.normal(size=(2, 300)).astype(dtype)
    scale = np.exp2(rng.integers(-2 * info.nmant, info.nmant, 300)).astype(dtype)
    c = -(a * b) * np.where(rng.random(300) < 0.5, 1, scale)  # near cancellation, and far from it
    for numbers in zip(*(v.astype(dtype).tolist() for v in (a, b, c)), strict=True):
        p, q, r = map(Fraction, numbers)
        exact, result = p * q + r, fma(*map(T, numbers))
        for side in (-np.inf, np.inf):
            neighbour = np.nextafter(kind(result), kind(side)).item()
            assert abs(Fraction(result) - exact) <= abs(Fraction(neighbour) - exact)


def test_the_specification_knows_the_published_random_words():
    """From the known answers that its authors give with Philox."""
    assert philox4x32((0, 0), (0, 0, 0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = 0xFFFFFFFF
    assert philox4x32((ones, ones), (ones, ones, ones, ones)) == (
        *(0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    )


# --- elementary functions ---------------------------------------------------------------------


def points(dtype, rng):
    """Every magnitude, the usual range, and the neighbours of every bound in the formulas."""
    T, info, dtype = FORMATS[dtype], np.finfo(dtype), np.dtype(dtype).type
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    bounds = [T.exp_high, T.exp_low, T.expm1_low, T.logistic_end, T.normal_end, T.tanh_end]
    bounds += [0.5, 1, 40, math.sqrt(0.5), math.sqrt(2), math.log(2) / 2, 2.0 ** (-T.digits - 1)]
    bounds = np.abs(np.array([*bounds, info.smallest_subnormal, info.tiny, info.max], dtype))
    with np.errstate(over="ignore"):
        near = [np.nextafter(bounds, dtype(side)) for side in (0, np.inf)]
    usual = [np.abs(rng.normal(0, scale, 25)) for scale in (0.1, 1, 5, 40)]
    x = np.concatenate([np.exp(rng.uniform(low, high, 50)), *usual, bounds, *near])
    x = np.concatenate([x, [0.0, np.nan]]).astype(dtype)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions(name, dtype, rng):
    x = points(dtype, rng)
    expected = np.array([ELEMENTARY[name](FORMATS[dtype](v)) for v in x.tolist()], dtype)
    actual = _core.elementary(name, x)
    assert_same_bits(np.isnan(actual), np.isnan(expected))
    assert_same_bits(actual[~np.isnan(actual)], expected[~np.isnan(expected)])


# --- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "loss"), OUTPUT_PAIRS)
def test_every_activation_and_loss(rng, output, loss, dtype):
    hidden = output if output in HIDDEN else "gelu"
    assert_same_derivatives(*problem(rng, [3, 6, 5], [hidden, output], loss, 2, dtype))


@pytest.mark.parametrize("rows", [2, 9])
@pytest.mark.parametrize("width", WIDTHS)
def test_layers_of_every_width(rng, width, rows, dtype):
    """Two ways to Wᵀδ, for few rows and for many, and layers with and without biases."""
    sizes, activations = [4, width, width, 3], ["leaky_relu", "relu", "identity"]
    assert_same_derivatives(
        *problem(rng, sizes, activations, "sse", rows, dtype, bias=width % 2 == 1)
    )


@pytest.mark.parametrize("inputs", WIDTHS)
def test_inputs_of_every_width(rng, inputs, dtype):
    """Chains of a narrow layer that end before others do."""
    for width in (1, 2, 3, 6):
        assert_same_derivatives(*problem(rng, [inputs, width], "identity", "mse", 1, dtype))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "cross_entropy"),
        ("softmax", "huber"),
        ("sigmoid", "binary_cross_entropy"),
        ("relu", "mae"),
        ("identity", "half_mse"),
    ],
)
def test_sums_over_outputs_of_every_width(rng, width, output, loss, dtype):
    assert_same_derivatives(*problem(rng, [2, width], output, loss, 2, dtype))


@pytest.mark.parametrize("loss", ["half_mse", "cross_entropy"])
def test_sample_weights(rng, loss, dtype):
    net, x, y = problem(rng, [3, 4, 3], ["tanh", "softmax"], loss, 10, dtype)
    weights = rng.random(10) * [0, 1, 1, 1e-3, 1e6, 1, 0, 1, 1, 1]
    assert_same_derivatives(net, x, y, weights)


@pytest.mark.filterwarnings(r"ignore:row \d of y sums to:UserWarning")
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_smoothed_targets(rng, loss, dtype):
    output = "softmax" if loss == "cross_entropy" else "sigmoid"
    net, x, y = problem(rng, [3, 4, 19], ["tanh", output], loss, 3, dtype)
    twin, y = specified(net), y.round(2)
    cost, gradient = spec.mean_gradient(twin, x.tolist(), y.tolist(), smoothing=0.1)
    gradients = net.gradients(x, y, label_smoothing=0.1)
    assert gradients.cost == net.cost(x, y, label_smoothing=0.1) == cost
    assert_specified(gradients.flatten(), gradient)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_fit_with_smoothed_labels(rng, batch_size, dtype):
    net, x, _ = problem(rng, [3, 4], "softmax", "cross_entropy", 9, dtype)
    twin, rule, labels = specified(net), spec.SGD(0.1), rng.integers(0, 4, 9)
    cost = spec.train_epoch(
        twin, rule, x.tolist(), labels.tolist(), batch_size, range(9), smoothing=0.3
    )
    history = net.fit(
        x, labels, batch_size=batch_size, learning_rate=0.1, shuffle=False, label_smoothing=0.3
    )
    assert history.cost == [cost]
    assert_specified(net.get_parameters(), twin.parameters())


@pytest.mark.parametrize(
    "hidden", ["sigmoid", "relu", pytest.param("gelu", marks=pytest.mark.slow), "identity"]
)
@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_fit_with_dropout(rng, rules, hidden, batch_size, dtype):
    net, x, y = problem(rng, [3, 19, 5, 4], [hidden, "tanh", "softmax"], "mse", 5, dtype)
    (ours, theirs), twin = rules, specified(net)
    history = net.fit(
        x, y, epochs=2, batch_size=batch_size, optimizer=ours, dropout=[0.3, 0.6], shuffle=False
    )
    costs = []
    for epoch in range(2):
        dropout = Dropout([0.3, 0.6], net.seed, epoch)
        costs.append(
            spec.train_epoch(
                twin, theirs, x.tolist(), y.tolist(), batch_size or 5, range(5), dropout=dropout
            )
        )
    assert history.cost == costs
    assert_specified(net.get_parameters(), twin.parameters())


@pytest.mark.parametrize("rates", [[0.5, 0], [0, 0.5], [1e-12, 1 - 2.0**-40]])
def test_dropout_of_one_layer_and_at_the_ends_of_its_range(rng, rates, dtype):
    net, x, y = problem(rng, [2, 4, 4, 2], "tanh", "sse", 3, dtype)
    twin, dropout = specified(net), Dropout(rates, net.seed, 0)
    history = net.fit(x, y, batch_size=None, learning_rate=1e-3, dropout=rates)
    costs = spec.train_step(twin, spec.SGD(1e-3), x.tolist(), y.tolist(), dropout=dropout)
    assert history.cost == [costs]
    assert_specified(net.get_parameters(), twin.parameters())


@pytest.mark.parametrize("width", WIDTHS)
def test_dropout_of_every_width_and_in_two_chunks(rng, width, dtype):
    net, x, y = problem(rng, [1, width, 1], ["tanh", "identity"], "mse", 258, dtype)
    twin, dropout = specified(net), Dropout([0.4], net.seed, 0)
    history = net.fit(x, y, batch_size=None, learning_rate=0.1, dropout=0.4)
    cost = spec.train_step(twin, spec.SGD(0.1), x.tolist(), y.tolist(), dropout=dropout)
    assert history.cost == [cost]
    assert_specified(net.get_parameters(), twin.parameters())


@pytest.mark.parametrize("seed", [0, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("first", [0, 2**32 - 1, 2**40])
def test_dropout_of_any_seed_epoch_and_sample(rng, seed, first, dtype):
    net, x, y = problem(rng, [2, 5, 2], "tanh", "sse", 3, dtype)
    for epoch in (1, 2**33 + 1):
        twin = specified(net)
        dropout = Dropout([0.5], seed, epoch, first)
        spec.train_step(twin, spec.SGD(0.1), x.tolist(), y.tolist(), dropout=dropout)
        _core.step(net, x, y, None, None, 0.1, dropout=([0.5], seed, epoch, first))
        assert_specified(net.get_parameters(), twin.parameters())


@pytest.mark.parametrize("rows", [256, 257, 600, 4 * 256, 6 * 256 + 1])
def test_chunks_of_256_samples(rng, rows, dtype):
    """Up to seven, whose sums are added as a tree: ((0 1) (2 3)) ((4 5) 6)."""
    net, x, y = problem(rng, [1, 2, 1], ["relu", "identity"], "mse", rows, dtype)
    assert_same_derivatives(net, x, y, rng.random(rows))


@pytest.mark.parametrize("n_in", [15, 16, 31, 32, 33, 47, 48, 63, 64, 65, 100])
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_chains_over_parts_of_the_inputs(rng, n_in, rows, dtype):
    """Layers one block wide: up to four chains; then descent one by one."""
    lanes = FORMATS[dtype].lanes
    for width in (lanes // 2 + 1, lanes):
        net, x, y = problem(rng, [n_in, width, 1], ["tanh", "identity"], "mse", rows, dtype)
        assert_specified(net.predict(x), spec.predict(specified(net), x.tolist()))
        twin = specified(net)
        history = net.fit(x, y, batch_size=1, shuffle=False, learning_rate=0.1)
        cost = spec.train_epoch(twin, spec.SGD(0.1), x.tolist(), y.tolist(), 1, range(rows))
        assert history.cost == [cost]
        assert_specified(net.get_parameters(), twin.parameters())


def test_a_trace_and_an_explanation(rng, dtype):
    net, x, y = problem(rng, [3, 6, 4], ["silu", "softmax"], "mse", 2, dtype)
    twin, trace = specified(net), net.trace(x, y)
    for i in range(len(x)):
        a, z = spec.forward(twin, twin.sample(x[i].tolist()))
        _, delta = spec.output_error(twin, z[-1], a[-1], twin.target(y[i].tolist()), twin.T(1))
        deltas = spec.backward(twin, a, z, delta)
        primes = [spec.slopes(*layer) for layer in zip(net.activations, z, a[1:], strict=True)]
        for ours, theirs in zip(
            [*trace.a, *trace.z, *trace.delta, *trace.g_prime], a + z + deltas + primes, strict=True
        ):
            assert_specified(ours[i], theirs)
        explanation = net.explain(x[i], y[i], layer=1, to=5, from_=2)
        assert_specified(explanation.gradient, fma(a[0][2], deltas[0][5], 0))


# --- zeros, and the ends of the range ---------------------------------------------------------


def tiny_product(n_in, n_out, dtype):
    """A network and a sample all of whose products underflow to -0."""
    net = cr.Network([n_in, n_out], "identity", dtype=dtype, bias=False, init="zeros")
    net.weights[0][...] = np.finfo(dtype).smallest_subnormal
    return net, np.full((1, n_in), -0.25, dtype)


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_that_underflow_end_as_plus_zero(width, dtype):
    """The last operation of z and Wᵀδ is + (+0), so that no sign tells which zeros took part."""
    for n_in in (1, 5, 40):
        net, x = tiny_product(n_in, width, dtype)
        assert not np.signbit(net.predict(x)).any()
        a, pullback = net.vjp(x)
        _, dC_dx = pullback(np.full(a.shape, -0.25, dtype))
        assert not np.signbit(dC_dx).any()
        assert_specified(a, spec.predict(specified(net), x.tolist()))


@pytest.mark.parametrize("width", WIDTHS)
def test_of_chunks_those_of_one_sample_keep_a_minus_zero(width, dtype):
    """a δ underflows to -0. Sums of several samples end in + (+0)."""
    net = cr.Network([3, width], "identity", dtype=dtype, init="zeros")
    for n, negative in ((1, True), (2, False), (257, False)):
        _, pullback = net.vjp(np.full((n, 3), np.finfo(dtype).smallest_subnormal, dtype))
        gradients, _ = pullback(np.full((n, width), -0.25, dtype))
        assert (np.signbit(gradients.weights[0]) == negative).all()


@pytest.mark.filterwarnings(r"ignore:row \d, column \d of y is -1:UserWarning")
@pytest.mark.parametrize("activation", HIDDEN)
def test_signs_of_zeros(rng, activation, dtype):
    net = random_network(rng, [3, 2, 2], activation, "sse", dtype=dtype)
    zeros = np.array([0.0, -0.0, 1.0, -1.0, 0.25])
    for parameter in (*net.weights, *net.biases):
        parameter[...] = rng.choice(zeros, parameter.shape)
    x, y = (rng.choice(zeros, (6, n)).astype(dtype) for n in (3, 2))
    assert_same_derivatives(net, x, y)


def test_an_explanation_keeps_the_sign_of_a_product_that_underflows(dtype):
    net, x = tiny_product(1, 1, dtype)
    net.weights[0][...] = 1
    x[...] = -np.finfo(dtype).smallest_subnormal
    y = np.full((1, 1), -0.25, dtype)  # δ = 2 (a - y) = 1/2
    assert_same_bits(net.explain(x, y, 1, 0, 0).gradient, net.gradients(x, y).weights[0][0, 0])


def test_softmax_sums_only_the_outputs_that_there_are():
    """Every term of Σ ∂C/∂a_i a_i underflows to -0 in its lane, and stays so in lanes that the
    last two of 18 outputs do not reach."""
    net = cr.Network([1, 18], "softmax", "half_mse", init="zeros")
    net.biases[0][...] = -100
    net.biases[0][1] = 0
    x = np.zeros((1, 1), np.float32)
    y = net.predict(x) + np.float32(1e-43)
    y[0, :2] = net.predict(x)[0, :2] + np.array([1e-45, 0], np.float32)
    twin = specified(net)
    a, z = spec.forward(twin, twin.sample([0.0]))
    _, delta = spec.output_error(twin, z[0], a[1], twin.sample(y[0].tolist()), Float32(1))
    assert_specified(net.trace(x, y).delta[0], [delta])


def test_no_update_reaches_the_padding(rng, dtype):
    """A step too large for the dtype may be refused. If not, NaN must not stay beside the weights,
    where no view can overwrite it."""
    net = random_network(rng, [2, 2], "identity", "sse", dtype=dtype)
    x, kept = np.ones((1, 2), dtype), [p.copy() for p in (*net.weights, *net.biases)]
    before = net.predict(x)
    with suppress(ValueError):
        net.train_step(x, x, optimizer=cr.Adam(float(np.finfo(dtype).max) / 2))
    broken = cr.Gradients(None, (np.full((2, 2), np.nan),), (np.full(2, np.inf),))
    for make in (cr.SGD, cr.AdamW, cr.RMSprop, cr.Adagrad):
        net.apply(broken, make(0.1, l1=0.1, l2=0.1, clip_value=0.1, clip_norm=0.1))
    for parameter, values in zip((*net.weights, *net.biases), kept, strict=True):
        parameter[...] = values
    assert_same_bits(net.predict(x), before)


@pytest.mark.parametrize("output", ["softmax", "identity", "tanh"])
def test_subnormal_and_huge_numbers(rng, output, dtype):
    info = np.finfo(dtype)
    for size in (float(info.tiny), math.sqrt(float(info.max)) / 1e3):
        net, x, y = problem(rng, [3, 4, 5], ["leaky_relu", output], "mae", 3, dtype)
        assert_same_derivatives(net, (x * size).astype(dtype), y)


# --- descent ----------------------------------------------------------------------------------

RULES = {
    "SGD": (cr.SGD, spec.SGD, {"learning_rate": 0.1}),
    "decay": (cr.SGD, spec.SGD, {"learning_rate": 0.1, "weight_decay": 0.03}),
    "momentum": (cr.SGD, spec.SGD, {"learning_rate": 0.1, "momentum": 0.9}),
    "nesterov": (
        cr.SGD,
        spec.SGD,
        {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.03},
    ),
    "Adam": (cr.Adam, spec.Adam, {"learning_rate": 0.01}),
    "Adam_decay": (
        cr.Adam,
        spec.Adam,
        {"learning_rate": 0.01, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.03},
    ),
    "AdamW": (cr.AdamW, spec.AdamW, {"learning_rate": 0.01, "weight_decay": 0.3}),
    "RMSprop": (cr.RMSprop, spec.RMSprop, {"alpha": 0.8, "weight_decay": 0.03}),
    "RMSprop_centered": (cr.RMSprop, spec.RMSprop, {"momentum": 0.7, "centered": True}),
    "Adagrad": (cr.Adagrad, spec.Adagrad, {"learning_rate": 0.1}),
    "Adagrad_decay": (
        cr.Adagrad,
        spec.Adagrad,
        {"lr_decay": 0.3, "weight_decay": 0.03, "initial_accumulator_value": 0.1},
    ),
    "penalties": (cr.SGD, spec.SGD, {"learning_rate": 0.1, "l1": 0.02, "l2": 0.3}),
    "clip_value": (cr.Adam, spec.Adam, {"learning_rate": 0.01, "clip_value": 0.1}),
    "clip_norm": (cr.SGD, spec.SGD, {"learning_rate": 0.1, "clip_norm": 0.2}),
    "treated": (
        cr.SGD,
        spec.SGD,
        {
            **{"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.03},
            **{"l1": 0.02, "l2": 0.3, "clip_value": 0.1, "clip_norm": 0.2},
        },
    ),
}


@pytest.fixture(params=RULES)
def rules(request):
    """The optimiser of the package, and that of the specification."""
    ours, theirs, options = RULES[request.param]
    return ours(**options), theirs(**options)


def assert_fit_follows(net, x, y, rules, batch_size, weights=None, epochs=2):
    ours, theirs = rules
    twin, n = specified(net), len(x)
    history = net.fit(
        x, y, epochs=epochs, batch_size=batch_size, optimizer=ours, sample_weight=weights
    )
    costs = []
    for epoch in range(epochs):
        order = range(n) if batch_size is None else permutation(net.seed, epoch, n)
        w = None if weights is None else weights.tolist()
        costs.append(
            spec.train_epoch(twin, theirs, x.tolist(), y.tolist(), batch_size or n, order, w)
        )
    assert_specified(net.get_parameters(), twin.parameters())
    assert history.cost == costs


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_fit_with_every_optimizer(rng, rules, batch_size, dtype):
    net, x, y = problem(rng, [2, 3, 2], ["tanh", "softmax"], "cross_entropy", 17, dtype)
    assert_fit_follows(net, x, y, rules, batch_size)


def test_fit_with_batches_of_two_chunks(rng, rules, dtype):
    net, x, y = problem(rng, [1, 2, 1], ["relu", "identity"], "mse", 260, dtype)
    assert_fit_follows(net, x, y, rules, 258, rng.random(260), epochs=1)


def test_train_step_follows(rng, rules, dtype):
    net, x, y = problem(rng, [2, 3, 2], ["selu", "identity"], "sse", 5, dtype)
    (ours, theirs), twin, weights = rules, specified(net), rng.random(5)
    for w in (None, weights):
        cost = spec.train_step(
            twin, theirs, x.tolist(), y.tolist(), None if w is None else w.tolist()
        )
        assert net.train_step(x, y, optimizer=ours, sample_weight=w) == cost
        assert_specified(net.get_parameters(), twin.parameters())


def test_apply_follows(rng, rules, dtype):
    net, x, y = problem(rng, [2, 3, 2], "tanh", "mse", 3, dtype)
    (ours, theirs), twin = rules, specified(net)
    for _ in range(3):
        net.apply(net.gradients(x, y), ours)
        spec.train_step(twin, theirs, x.tolist(), y.tolist())
    assert_specified(net.get_parameters(), twin.parameters())


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("SGD", {"learning_rate": 0.5, "momentum": 0.5}),
        ("SGD", {"learning_rate": 0.5, "momentum": 0.5, "nesterov": True}),
        ("Adam", {"learning_rate": 0.5, "betas": (0.5, 0.5)}),
        ("RMSprop", {"learning_rate": 0.5, "alpha": 0.5, "momentum": 0.5, "centered": True}),
        ("Adagrad", {"learning_rate": 0.5}),
    ],
)
def test_states_that_decay_below_the_normal_numbers_are_zero(rng, rule, options, dtype):
    net, *_ = problem(rng, [2, 3, 1], "tanh", "mse", 1, dtype)
    net.set_parameters(np.zeros(net.n_parameters))
    ours, theirs, twin = (
        getattr(cr, rule)(**options),
        getattr(spec, rule)(**options),
        specified(net),
    )
    tiny = float(np.finfo(dtype).tiny)
    g = np.geomspace(tiny / 2, 64 * tiny**0.5, net.n_parameters) * rng.choice([-1, 1], 13)
    for values in (g, g, *[0 * g] * 12):
        w1, b1, w2, b2 = np.split(values.astype(dtype), [6, 9, 12])
        net.apply(cr.Gradients(None, (w1.reshape(3, 2), w2.reshape(1, 3)), (b1, b2)), ours)
        exact = [type(w)(float(v)) for w, v in zip(twin.parameters(), values, strict=True)]
        twin.set_parameters(theirs.update(twin.parameters(), exact))
        assert_specified(net.get_parameters(), twin.parameters())
    buffers = [a for a in ours.state_dict().values() if isinstance(a, np.ndarray)]
    assert all(np.all((a == 0) | (np.abs(a) >= tiny)) for a in buffers)


@pytest.mark.parametrize("sizes", [[70, 3, 20], [130, 1], [65, 17, 6], [3, 9, 2]], ids=str)
def test_the_norm_of_layers_of_every_width(rng, sizes, dtype):
    net, x, y = problem(rng, sizes, "tanh", "mse", 2, dtype)
    rules = (rule(0.1, clip_norm=1e-3) for rule in (cr.SGD, spec.SGD))
    assert_fit_follows(net, x, y, rules, 2, epochs=1)


def test_the_norm_of_a_network_without_biases(rng, dtype):
    net, x, y = problem(rng, [5, 9, 2], "tanh", "mse", 2, dtype, bias=False)
    rules = (rule(0.1, clip_norm=1e-3, l1=0.1) for rule in (cr.SGD, spec.SGD))
    assert_fit_follows(net, x, y, rules, 2, epochs=1)


@pytest.mark.parametrize("readable", [True, False])
def test_a_batch_without_weight_moves_by_momentum_alone(rng, readable, dtype):
    net, x, y = problem(rng, [2, 3, 1], "tanh", "mse", 6, dtype)
    twin, rule = specified(net), spec.SGD(0.1, momentum=0.9, weight_decay=0.03)
    weights = np.array([1.0, 2.0, 0.0, 0.0, 0.5, 1.0])
    swapped = x if readable else x.astype(x.dtype.newbyteorder("S"))
    options = {"batch_size": 2, "shuffle": False, "sample_weight": weights}
    history = net.fit(swapped, y, optimizer=cr.SGD(0.1, 0.9, weight_decay=0.03), **options)
    cost = spec.train_epoch(twin, rule, x.tolist(), y.tolist(), 2, range(6), weights.tolist())
    assert_specified(net.get_parameters(), twin.parameters())
    assert history.cost == [cost]


def test_a_schedule_is_rounded_at_every_step(rng, dtype):
    net, x, y = problem(rng, [2, 2], "identity", "mse", 3, dtype)
    twin = specified(net)
    net.fit(x, y, batch_size=1, shuffle=False, learning_rate=lambda step: 0.1 / (step + 3))
    for step in range(3):
        row = slice(step, step + 1)
        spec.train_step(twin, spec.SGD(0.1 / (step + 3)), x[row].tolist(), y[row].tolist())
    assert_specified(net.get_parameters(), twin.parameters())


# --- data -------------------------------------------------------------------------------------


def test_integer_labels_are_one_hot_rows(rng, dtype):
    net, x, _ = problem(rng, [3, 4], "softmax", "cross_entropy", 5, dtype)
    labels = np.array([0, 3, 1, 3, 2], np.uint8)
    cost, gradient = spec.mean_gradient(specified(net), x.tolist(), labels.tolist())
    assert net.cost(x, labels) == cost
    assert_specified(net.gradients(x, labels).flatten(), gradient)
    history = net.fit(x, labels, batch_size=None, learning_rate=0.1)
    assert history.cost == [cost]


@pytest.mark.parametrize(
    "x",
    [
        np.array([[0, 255, 7]], np.uint8),
        np.array([[-(2**63), 2**63 - 1, 2**24 + 1]], np.int64),
        np.array([[2**64 - 1, 2**63 + 2**10 + 1, 2**25 + 3]], np.uint64),
        np.array([[True, False, True]]),
        np.array([[0.1, 1e-46, 2.0**24 + 1]], np.float64),
        np.array([[0.1, 1e-7, 65504]], np.float16),
        np.array([[0.1, 1e-7, 65504]], np.dtype(np.float64).newbyteorder("S")),
    ],
    ids=lambda x: x.dtype.str,
)
def test_every_number_of_the_data_is_rounded_once_and_not_scaled(x, dtype):
    net = cr.Network([3, 3], "identity", "mae", dtype=dtype)
    net.weights[0][...] = np.eye(3)
    twin, y = specified(net), x / 2
    expected = [twin.sample(x[0].tolist())]
    assert_specified(net.predict(x), expected)
    assert_specified(net.vjp(x)[0], expected)
    assert_specified(net.trace(x, y).a[0], expected)
    cost = spec.train_step(twin, spec.SGD(1e-3), x.tolist(), y.tolist())
    assert net.fit(x, y, learning_rate=1e-3).cost == [cost]
    assert_specified(net.get_parameters(), twin.parameters())


# --- random numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("scheme", _core.INITIALIZERS)
def test_initial_weights(scheme, seed, dtype):
    net = cr.Network([7, 5, 3], "tanh", dtype=dtype, init=scheme, seed=seed)
    for layer, w in enumerate(net.weights, start=1):
        if scheme == "zeros":
            assert_same_bits(w, np.zeros(w.shape, dtype))
        else:
            drawn = initial_weights(FORMATS[dtype], scheme, seed, layer, *w.shape)
            assert_specified(w, drawn)


@pytest.mark.parametrize("n", [1, 2, 1000])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (3, 1), (2**40 + 1, 7), (2**64 - 1, 2**33)])
def test_permutations(seed, epoch, n):
    assert _core.permutation(seed, epoch, n).tolist() == permutation(seed, epoch, n)
