"""One result, whatever computes it: rows in any batch, sums on any number of threads, any array."""

from __future__ import annotations

import copy
import functools
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
import reference
from chainrule import _core
from support import HIDDEN, assert_same_bits, bits, random_network, random_targets

pytestmark = pytest.mark.bits

DTYPES = ["float32", "float64"]

#: One network a path through the kernels: interleaved chains of narrow layers, whole and ragged
#: vectors, panels of wide weights that are packed for many rows and resumed after 256 terms.
NETS = {
    "one output": ([2, 3, 1], "silu", "mse"),
    "narrow": ([5, 7, 3], "softmax", "cross_entropy"),
    "middle": ([48, 64, 12], "gelu", "huber"),
    "odd widths": ([33, 17, 65, 9], "softmax", "mse"),
    "wide": ([260, 258, 3], "silu", "half_mse"),
}

THREADS = [1, 2, 3, 4]
CHUNK = 256  # samples whose gradients are summed before the sums are
AROUND_CHUNKS = [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1]


def problem(rng, sizes, output, loss, dtype, n, hidden="tanh"):
    """A network, and n rows of samples, targets and derivatives ∂C/∂a^L."""
    net = random_network(rng, sizes, [hidden] * (len(sizes) - 2) + [output], loss, dtype=dtype)
    x, y = rng.normal(size=(n, sizes[0])), random_targets(rng, n, sizes[-1], loss, output)
    return net, tuple(part.astype(dtype) for part in (x, y, rng.normal(size=y.shape)))


def of_each_row(net, x, y, dC_da):
    """What belongs to one sample alone: a^L, every z, a and δ, ∂C/∂x."""
    trace = net.trace(x, y)
    a, pullback = net.vjp(x)
    return [net.predict(x), *trace.z, *trace.a, *trace.delta, a, pullback(dC_da)[1]]


def of_all_rows(net, x, y, dC_da, weight=None):
    """What sums over samples: cost, gradients, a pullback's sums, an update."""
    gradients = net.gradients(x, y, weight)
    stepped = copy.deepcopy(net)
    before = stepped.train_step(x, y, learning_rate=0.1, sample_weight=weight)
    return [
        net.cost(x, y, weight),
        gradients.cost,
        before,
        gradients.flatten(),
        net.vjp(x)[1](dC_da)[0].flatten(),
        stepped.get_parameters(),
    ]


def assert_all_same_bits(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert_same_bits(one, other)


@contextmanager
def default_threads(n):
    before = cr.get_num_threads()
    cr.set_num_threads(n)
    try:
        yield
    finally:
        cr.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Which the tests of threads compare with: the others need not wait for busy cores."""
    with default_threads(1):
        yield


# --- a row, whatever the batch ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETS)
def test_a_row_has_the_same_bits_in_a_batch_of_every_size(rng, name, dtype):
    net, data = problem(rng, *NETS[name], dtype, 300)
    whole = of_each_row(net, *data)
    for n in range(1, 301):
        start = 7 * n % (301 - n)
        rows = slice(start, start + n)
        assert_all_same_bits(
            of_each_row(net, *(part[rows] for part in data)), [part[rows] for part in whole]
        )


WIDTHS = st.one_of(st.integers(1, 9), st.integers(10, 70), st.integers(257, 280))


@st.composite
def problems(draw, n):
    """A network of any shape with n rows of data."""
    sizes = draw(st.lists(WIDTHS, min_size=2, max_size=4))
    output = draw(st.sampled_from([*HIDDEN, "softmax"]))
    loss = draw(st.sampled_from(reference.permitted_losses(output)))
    hidden, dtype = draw(st.sampled_from(HIDDEN)), draw(st.sampled_from(DTYPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return problem(rng, sizes, output, loss, dtype, n, hidden)


@given(st.data())
def test_any_choice_of_rows_cut_into_any_parts_keeps_its_bits(data):
    net, arrays = data.draw(problems(60))
    whole = of_each_row(net, *arrays)
    choice = np.array(data.draw(st.lists(st.integers(0, 59), min_size=1, max_size=60)))
    cuts = data.draw(st.sets(st.integers(1, 60), max_size=5))
    for rows in np.split(choice, sorted(cut for cut in cuts if cut < len(choice))):
        if len(rows) == 1 and data.draw(st.booleans()):
            rows = rows[0]  # a vector: one sample without a batch axis
        assert_all_same_bits(
            of_each_row(net, *(part[rows] for part in arrays)), [part[rows] for part in whole]
        )


@given(st.data())
def test_out_and_a_predictor_change_no_bits(data):
    n = data.draw(st.integers(1, 60))
    net, (x, *_) = data.draw(problems(n))
    serve, expected = net.freeze(), net.predict(x)
    for predict in (net.predict, net, serve.predict, serve):
        out = np.full_like(expected, np.nan)
        assert predict(x, out=out) is out
        assert_same_bits(out, expected)
        assert_same_bits(predict(x), expected)


# --- any array --------------------------------------------------------------------------------


@st.composite
def laid_out(draw, values):
    """The same numbers with any strides: steps of either sign, rows or columns first."""
    steps = [draw(st.sampled_from([-3, -2, -1, 1, 2, 3])) for _ in values.shape]
    room = np.zeros(
        [n * abs(step) for n, step in zip(values.shape, steps, strict=True)],
        values.dtype,
        order=draw(st.sampled_from("CF")),
    )
    view = room[tuple(slice(None, None, step) for step in steps)]
    view[...] = values
    return view


KINDS = ["bool", "uint8", "int16", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(st.data())
def test_any_array_counts_as_its_converted_copy(kind, data):
    net, (x, y, dC_da) = data.draw(problems(data.draw(st.integers(1, 40))))
    x = x if kind.startswith("float") else np.round(30 * np.abs(x) % 100)
    x = x.astype(kind)
    weight = np.linspace(0.1, 1, len(x))
    copies = (x.astype(net.dtype), y, dC_da)
    arrays = [data.draw(laid_out(part)) for part in (x, y, dC_da)]
    assert_all_same_bits(of_each_row(net, *arrays), of_each_row(net, *copies))
    assert_all_same_bits(of_all_rows(net, *arrays), of_all_rows(net, *copies))
    weighted = of_all_rows(net, *arrays, data.draw(laid_out(weight)))
    assert_all_same_bits(weighted, of_all_rows(net, *copies, weight))


# --- any number of threads --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", AROUND_CHUNKS)
@pytest.mark.parametrize("name", NETS)
def test_threads_change_no_bits(rng, name, n, dtype):
    net, data = problem(rng, *NETS[name], dtype, n)
    weight = rng.random(n) + 0.1
    results = []
    for threads in THREADS:
        with default_threads(threads):
            alone = of_each_row(net, *data)
            sums = of_all_rows(net, *data) + of_all_rows(net, *data, weight)
            results.append([*alone, *sums, net.predict(data[0], threads=threads)])
    for other in results[1:]:
        assert_all_same_bits(other, results[0])


# --- any way to train -------------------------------------------------------------------------

RATE = 0.05
RULES = {
    "SGD": lambda: cr.SGD(RATE),
    "weight decay": lambda: cr.SGD(RATE, weight_decay=0.01),
    "momentum": lambda: cr.SGD(RATE, momentum=0.9),
    "Nesterov": lambda: cr.SGD(RATE, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda: cr.Adam(0.01),
    "Adam with decay": lambda: cr.Adam(0.01, weight_decay=0.01),
    "AdamW": lambda: cr.AdamW(0.01, clip_norm=0.1),
    "RMSprop": lambda: cr.RMSprop(momentum=0.9, centered=True, l1=1e-3),
    "Adagrad": lambda: cr.Adagrad(0.1, lr_decay=0.1, clip_value=0.01),
}
EPOCHS = 2


def batches_of(net, epoch, x, y, batch_size, shuffle):
    """The batches of one epoch of fit, by the documented order."""
    n = len(x)
    shuffled = shuffle and batch_size is not None
    order = _core.permutation(net.seed, epoch, n) if shuffled else np.arange(n)
    size = batch_size or n
    return [(x[order[i : i + size]], y[order[i : i + size]]) for i in range(0, n, size)]


def fit(net, optimizer, x, y, batch_size, shuffle, epochs=EPOCHS, **options):
    options |= {"batch_size": batch_size, "shuffle": shuffle, "epochs": epochs}
    return net.fit(x, y, optimizer=optimizer, **options).cost


def fit_on_threads(n):
    return lambda *problem: fit(*problem, threads=n)


def fit_by_default_threads(*problem):
    with default_threads(3):
        return fit(*problem)


def fit_an_epoch_a_call(*problem):
    return [cost for _ in range(EPOCHS) for cost in fit(*problem, epochs=1)]


def fit_strided(net, optimizer, x, y, *how):
    return fit(net, optimizer, np.repeat(x, 2, axis=0)[::-2][::-1], np.repeat(y, 3)[1::3], *how)


def fit_by_columns(net, optimizer, x, y, *how):
    return fit(net, optimizer, np.asfortranarray(x), y.astype(np.uint8), *how)


def fit_converted(net, optimizer, x, y, *how):
    return fit(net, optimizer, x.astype(np.longdouble), y, *how)


def fit_a_stream(net, optimizer, *how):
    streams = [batches_of(net, epoch, *how) for epoch in range(EPOCHS)]
    return [cost for stream in streams for cost in net.fit(stream, optimizer=optimizer).cost]


def train_step_by_step(net, optimizer, *how):
    for epoch in range(EPOCHS):
        for batch in batches_of(net, epoch, *how):
            net.train_step(*batch, optimizer=optimizer)


def apply_gradients(net, optimizer, *how):
    for epoch in range(EPOCHS):
        for batch in batches_of(net, epoch, *how):
            net.apply(net.gradients(*batch), optimizer)


def fit_by_rate(net, optimizer, x, y, batch_size, shuffle):
    options = {"batch_size": batch_size, "shuffle": shuffle, "epochs": EPOCHS}
    return net.fit(x, y, learning_rate=optimizer.learning_rate, **options).cost


WAYS = {
    **{f"{n} threads": fit_on_threads(n) for n in THREADS[1:]},
    "default threads": fit_by_default_threads,
    "an epoch a call": fit_an_epoch_a_call,
    "rows apart": fit_strided,
    "columns together": fit_by_columns,
    "converted": fit_converted,
    "a stream": fit_a_stream,
    "step by step": train_step_by_step,
    "gradients applied": apply_gradients,
}

#: sizes, dtype, samples, batch sizes: of one row, of less than a chunk, of chunks and a rest,
#: and of one row that a team shares.
RUNS = [
    ([5, 7, 3], "float32", 40, [1, 7]),
    ([5, 7, 3], "float64", 40, [1, 7]),
    ([40, 60, 30, 5], "float32", 520, [*AROUND_CHUNKS, None]),
    ([40, 60, 30, 5], "float64", 520, [CHUNK + 1]),
    ([270, 290, 4], "float32", 260, [CHUNK]),
    ([820, 830, 17, 5], "float32", 4, [1]),
]


@functools.cache
def start_of(run):
    """The network and the data that every way to train starts from."""
    sizes, dtype, n, _ = RUNS[run]
    rng = np.random.default_rng(n)
    activations = ["relu"] * (len(sizes) - 2) + ["softmax"]
    net = random_network(rng, sizes, activations, "cross_entropy", dtype=dtype)
    return net, rng.normal(size=(n, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], n)


@functools.cache
def end_of(rule, run, batch_size, shuffle):
    """The parameters and the costs that fit gives on one thread."""
    start, x, y = start_of(run)
    net = copy.deepcopy(start)
    costs = fit(net, RULES[rule](), x, y, batch_size, shuffle, threads=1)
    assert bits(net.get_parameters()) != bits(start.get_parameters())
    return net.get_parameters(), costs


def assert_trains_as_fit(way, rule):
    for run, (*_, batch_sizes) in enumerate(RUNS):
        start, x, y = start_of(run)
        for batch_size in batch_sizes:
            for shuffle in (True, False):
                parameters, expected = end_of(rule, run, batch_size, shuffle)
                net = copy.deepcopy(start)
                costs = way(net, RULES[rule](), x, y, batch_size, shuffle)
                assert_same_bits(net.get_parameters(), parameters)
                if costs is not None:
                    assert costs == expected


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_gives_the_bits_of_fit(way, rule):
    assert_trains_as_fit(WAYS[way], rule)


def test_a_learning_rate_alone_is_plain_descent():
    assert_trains_as_fit(fit_by_rate, "SGD")


# --- copies -----------------------------------------------------------------------------------


def through_file(net, path):
    pytest.importorskip("safetensors")
    net.save(path)
    return cr.Network.load(path)


ROUND_TRIPS = {
    "file": through_file,
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "copy": lambda net, path: copy.copy(net),
    "deepcopy": lambda net, path: copy.deepcopy(net),
}


@pytest.mark.parametrize("kind", ROUND_TRIPS)
@settings(max_examples=20)
@given(st.data())
def test_a_run_goes_on_through_copies_as_it_would_without(tmp_path_factory, kind, data):
    path = tmp_path_factory.mktemp("bits") / "net.safetensors"
    net, (x, y, _) = data.draw(problems(20))
    batch_size = data.draw(st.sampled_from([1, 6, 20, None]))
    other = cr.Network(net.sizes, net.activations, net.loss, dtype=net.dtype, seed=net.seed)
    other.set_parameters(net.get_parameters())
    net.fit(x, y, epochs=3, batch_size=batch_size, learning_rate=1e-6)
    for _ in range(3):
        other.fit(x, y, batch_size=batch_size, learning_rate=1e-6)
        other = ROUND_TRIPS[kind](other, path)
    assert_same_bits(other.get_parameters(), net.get_parameters())
    assert_same_bits(other.predict(x), net.predict(x))
    assert_same_bits(pickle.loads(pickle.dumps(other.freeze()))(x), net.predict(x))
