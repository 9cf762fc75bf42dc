"""Sparse samples give the bits of their dense copies, wherever samples may stand."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import _core
from chainrule.inputs.sparse import CSR
from support import TESTS, assert_same_bits, random_network, random_targets, run_python

pytestmark = pytest.mark.bits

#: The optimisers, with what makes each of them touch every parameter.
OPTIMIZERS = {
    "sgd": lambda: cr.SGD(0.1),
    "decay": lambda: cr.SGD(0.1, weight_decay=0.01),
    "momentum": lambda: cr.SGD(0.01, momentum=0.9, nesterov=True),
    "l1": lambda: cr.SGD(0.1, l1=0.01, l2=0.01, clip_value=0.1),
    "norm": lambda: cr.SGD(0.1, clip_norm=0.05),
    "adam": lambda: cr.Adam(0.01),
    "adamw": lambda: cr.AdamW(0.01),
    "rmsprop": lambda: cr.RMSprop(0.01, centered=True, momentum=0.5),
    "adagrad": lambda: cr.Adagrad(0.05),
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def sparse_rows(rng, rows, columns, density, dtype="float32"):
    """A canonical CSR matrix with some explicit zeros, -0 among them."""
    matrix = sp.random(rows, columns, density, "csr", dtype, rng)
    matrix.data[...] = rng.normal(size=matrix.nnz)
    matrix.data[rng.random(matrix.nnz) < 0.1] = 0.0
    matrix.data[rng.random(matrix.nnz) < 0.1] = -0.0
    matrix.sort_indices()
    return matrix


def problem(rng, sizes, rows, density, dtype="float32", loss="mse", output="identity", **options):
    activations = ["tanh"] * (len(sizes) - 2) + [output]
    net = random_network(rng, sizes, activations, loss, dtype=dtype, **options)
    x = sparse_rows(rng, rows, sizes[0], density, dtype)
    y = random_targets(rng, rows, sizes[-1], loss, output).astype(dtype)
    return net, x, y


class Watch:
    """Looks at every batch, which then comes to the core alone."""

    def __init__(self):
        self.costs = []

    def on_batch_end(self, network, epoch, step, cost):
        self.costs.append(cost)


def twins(net):
    return copy.deepcopy(net), copy.deepcopy(net)


# --- the same bits ------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 70),
    columns=st.integers(1, 140),
    width=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 33, 100, 130]),
    density=st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    bias=st.booleans(),
)
def test_any_shape(seed, rows, columns, width, density, dtype, bias):
    rng = np.random.default_rng(seed)
    net, x, y = problem(rng, [columns, width, 2], rows, density, dtype, bias=bias)
    dense, w = x.toarray(), rng.random(rows)
    assert_same_bits(net.predict(x), net.predict(dense))
    assert_same_bits(net.freeze().predict(x), net.predict(dense))
    assert net.cost(x, y, w) == net.cost(dense, y, w)
    assert_same_bits(net.gradients(x, y, w).flatten(), net.gradients(dense, y, w).flatten())
    middle = rows // 2
    parts = [net.predict(part) for part in (x[:middle], x[middle:]) if part.shape[0]]
    assert_same_bits(np.concatenate(parts), net.predict(dense))


@pytest.mark.parametrize("rows", [1, 40, 600])
@pytest.mark.parametrize("width", [3, 12, 40])
def test_pullbacks(rng, rows, width, dtype):
    net, x, _ = problem(rng, [90, width, 2], rows, 0.1, dtype)
    (ours, pull), (theirs, pull_dense) = net.vjp(x), net.vjp(x.toarray())
    assert_same_bits(ours, theirs)
    for _ in range(2):
        dC_da = rng.normal(size=(rows, 2))
        (gradients, dC_dx), (expected, dC_dx_dense) = pull(dC_da), pull_dense(dC_da)
        assert_same_bits(gradients.flatten(), expected.flatten())
        assert_same_bits(dC_dx, dC_dx_dense)


def test_a_pullback_without_the_gradient_of_x(rng):
    """As the estimators' Poisson loss asks for it: nothing of the size of a dense x is made."""
    net, x, _ = problem(rng, [90, 5, 2], 40, 0.1)
    dC_da = rng.normal(size=(40, 2))
    (_, tape), (_, whole) = (_core.record(net, x, wanted) for wanted in (False, True))
    *ours, missing = tape.pullback(dC_da)
    *theirs, _ = whole.pullback(dC_da)
    assert missing is None
    for mine, other in zip(sum(ours, ()), sum(theirs, ()), strict=True):
        assert_same_bits(mine, other)


@pytest.mark.parametrize("rows", [300, 1100])
@pytest.mark.parametrize("width", [3, 12, 40])
def test_several_chunks(rng, rows, width, dtype):
    net, x, y = problem(rng, [200, width, 2], rows, 0.05, dtype)
    dense = x.toarray()
    assert net.cost(x, y) == net.cost(dense, y)
    assert_same_bits(net.gradients(x, y).flatten(), net.gradients(dense, y).flatten())
    assert net.evaluate(x, y) == net.evaluate(dense, y)


def test_metrics_of_many_slices(rng):
    net, x, y = problem(rng, [30_000, 5, 2], 400, 0.001)
    w = rng.random(400)
    assert net.evaluate(x, y, w) == net.evaluate(x.toarray(), y, w)


@pytest.mark.parametrize("batch_size", [1, 7, 200, 256, 300, None])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training(rng, name, batch_size, dtype):
    net, x, y = problem(rng, [60, 20, 3], 601, 0.1, dtype)
    ours, theirs = twins(net)
    w = rng.random(601)
    options = {"epochs": 2, "batch_size": batch_size, "sample_weight": w}
    histories = [
        one.fit(samples, y, optimizer=OPTIMIZERS[name](), **options)
        for one, samples in ((ours, x), (theirs, x.toarray()))
    ]
    assert histories[0].cost == histories[1].cost
    assert_same_bits(ours.get_parameters(), theirs.get_parameters())


def test_a_dense_epoch_leaves_nothing_behind(rng):
    """The gradient's memory is the same: of a dense batch, every row of it is written."""
    net, x, y = problem(rng, [300, 20, 3], 64, 0.01)
    ours, theirs = twins(net)
    for one, samples in ((ours, x), (theirs, x.toarray())):
        adam = cr.Adam(0.01)
        for batch in (x.toarray(), samples, samples[:7], np.ones_like(x.toarray()), samples):
            one.train_step(batch, y[: batch.shape[0]], optimizer=adam)
    assert_same_bits(ours.get_parameters(), theirs.get_parameters())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads(rng, threads):
    net, x, y = problem(rng, [5000, 300, 10], 700, 0.02)
    dense = x.toarray()
    expected = net.predict(dense, threads=1)
    assert_same_bits(net.predict(x, threads=threads), expected)
    ours, theirs = twins(net)
    for one, samples, n in ((ours, x, threads), (theirs, dense, 1)):
        one.fit(samples, y, batch_size=256, learning_rate=0.1, threads=n)
    assert_same_bits(ours.get_parameters(), theirs.get_parameters())


def test_labels_smoothing_dropout_and_weights(rng):
    net, x, _ = problem(rng, [80, 20, 4], 90, 0.1, loss="cross_entropy", output="softmax")
    labels = rng.integers(0, 4, 90)
    ours, theirs = twins(net)
    for one, samples in ((ours, x), (theirs, x.toarray())):
        one.fit(
            samples,
            labels,
            epochs=3,
            batch_size=16,
            optimizer=cr.Adam(0.01),
            dropout=0.3,
            label_smoothing=0.1,
            class_weight="balanced",
            validation_split=0.2,
            metrics=["accuracy"],
            early_stopping=2,
        )
    assert_same_bits(ours.get_parameters(), theirs.get_parameters())
    assert ours.history.validation_cost == theirs.history.validation_cost
    assert ours.history.metrics == theirs.history.metrics


def test_validation_data_streams_and_watched_batches(rng):
    net, x, y = problem(rng, [80, 20, 4], 90, 0.1)
    ours, theirs = twins(net)
    for one, samples in ((ours, x), (theirs, x.toarray())):
        one.fit(
            samples, y, batch_size=16, learning_rate=0.1, validation_data=(samples[:20], y[:20])
        )
        one.fit([(samples[:50], y[:50]), (samples[50:], y[50:])], learning_rate=0.1)
        watch = Watch()
        one.fit(samples, y, batch_size=16, learning_rate=0.1, callbacks=[watch])
        assert len(watch.costs) == 6
    assert_same_bits(ours.get_parameters(), theirs.get_parameters())


def test_a_checkpoint_knows_its_data(rng, tmp_path):
    net, x, y = problem(rng, [80, 20, 4], 90, 0.1)
    whole, path = copy.deepcopy(net), tmp_path / "run.safetensors"
    whole.fit(x, y, epochs=4, batch_size=16, learning_rate=0.1)
    net.fit(x, y, epochs=2, batch_size=16, learning_rate=0.1, checkpoint=path)
    other = x.copy()
    other.data[3] += 1
    with pytest.raises(ValueError, match="data"):
        copy.deepcopy(net).fit(
            other, y, epochs=4, batch_size=16, learning_rate=0.1, checkpoint=path, resume=True
        )
    net.fit(x, y, epochs=4, batch_size=16, learning_rate=0.1, checkpoint=path, resume=True)
    assert_same_bits(net.get_parameters(), whole.get_parameters())


# --- every kind of matrix -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("array", [sp.csr_array, sp.csr_matrix])
def test_formats(rng, kind, array):
    net, x, _ = problem(rng, [30, 5, 2], 12, 0.2)
    assert_same_bits(net.predict(array(x).asformat(kind)), net.predict(x.toarray()))


@pytest.mark.parametrize(
    "kind", ["?", "b", "B", "h", "i", "q", "Q", "f4", "f8", ">f4", ">f8", "f2", "g"]
)
@pytest.mark.parametrize("index", ["int32", "int64", ">i4"])
def test_element_types(rng, kind, index):
    net = random_network(rng, [30, 5, 2], loss="mse")
    x = sp.random(12, 30, 0.2, "csr", "float64", rng)
    x.data = np.round(100 * x.data).astype(kind)
    x.indices, x.indptr = x.indices.astype(index), x.indptr.astype(index)
    rows = np.zeros((12, 30), kind)
    for r in range(12):
        for at in range(x.indptr[r], x.indptr[r + 1]):
            rows[r, x.indices[at]] = x.data[at]
    assert_same_bits(net.predict(x), net.predict(rows))
    y = rng.normal(size=(12, 2))
    assert_same_bits(net.gradients(x, y).flatten(), net.gradients(rows, y).flatten())


@pytest.mark.parametrize("kind", ["float32", "float64", "int8", "bool"])
def test_duplicates_are_summed_as_they_are_stored(rng, kind):
    """In the matrix's own type: 1e8 + 1 - 1e8 is 0 in float32, 100 + 100 is -56 in int8."""
    net = random_network(rng, [4, 3, 2], loss="mse")
    values = np.array([1e8, 1, -1e8, 3, 5] if kind.startswith("f") else [100, 100, 1, 3, 5])
    data = values.astype(kind)
    x = sp.csr_matrix((data, [2, 2, 2, 3, 0], [0, 3, 5]), shape=(2, 4))
    assert not x.has_canonical_format
    before = x.data.copy(), x.indices.copy()
    assert_same_bits(net.predict(x), net.predict(x.toarray()))
    assert_same_bits(x.data, before[0])
    assert_same_bits(x.indices, before[1])


def test_one_sample(rng):
    net, x, y = problem(rng, [30, 5, 2], 12, 0.2)
    row = sp.csr_array(x)[3]
    assert row.shape == (30,)
    assert net.predict(row).shape == (2,)
    assert_same_bits(net.predict(row), net.predict(x.toarray()[3]))
    assert net.cost(row, y[3]) == net.cost(x.toarray()[3], y[3])


def test_canonical_arrays_are_read_where_they_lie(rng):
    x = sparse_rows(rng, 12, 30, 0.2)
    rows = cr.inputs.sparse.rows_of(x)
    assert rows.data is x.data and rows.indices is x.indices and rows.indptr is x.indptr


def test_rows_of_rows(rng):
    x = sparse_rows(rng, 12, 30, 0.3)
    rows, dense = cr.inputs.sparse.rows_of(x), x.toarray()
    for part in (slice(2, 7), slice(None), slice(7, 2), slice(None, None, -3), np.array([5, 5, 0])):
        taken = rows[part]
        assert isinstance(taken, CSR) and len(taken) == len(dense[part])
        assert_same_bits(
            sp.csr_matrix((taken.data, taken.indices, taken.indptr), taken.shape).toarray(),
            dense[part],
        )


# --- refusals -----------------------------------------------------------------------------------


def broken(x, **parts):
    """A matrix whose arrays were changed by hand, past SciPy's own checks."""
    return CSR(
        *({"data": x.data, "indices": x.indices, "indptr": x.indptr} | parts).values(), x.shape
    )


def change(array, at, value):
    array = array.copy()
    array[at] = value
    return array


HOSTILE = {
    "negative": lambda x: broken(x, indices=change(x.indices, 4, -1)),
    "beyond": lambda x: broken(x, indices=change(x.indices, 4, x.shape[1])),
    "huge": lambda x: broken(x, indices=change(x.indices.astype(np.int64), 4, 2**62)),
    "falls": lambda x: broken(x, indptr=change(x.indptr, 3, 0)),
    "too far": lambda x: broken(x, indptr=change(x.indptr, -1, x.nnz + 1)),
    "far too far": lambda x: broken(x, indptr=change(x.indptr.astype(np.int64), -1, 2**62)),
    "starts late": lambda x: broken(x, indptr=change(x.indptr, 0, 1)),
    "few rows": lambda x: broken(x, indptr=x.indptr[:-1]),
    "few elements": lambda x: broken(x, data=x.data[:-1]),
    "few indices": lambda x: broken(x, indices=x.indices[:-1]),
    "float indices": lambda x: broken(x, indices=x.indices.astype(float)),
    "a matrix of data": lambda x: broken(x, data=x.data[None]),
    "no indices": lambda x: broken(x, indices=None),
}


def raw(x, kind, attribute, at, value):
    """A matrix of another format, of which one index is changed past SciPy's checks."""
    matrix = x.asformat(kind)
    array = getattr(matrix, attribute)
    array[at] = value
    return matrix


HOSTILE |= {
    "of csc": lambda x: raw(x, "csc", "indices", 5, 10**9),
    "of csc, negative": lambda x: raw(x, "csc", "indices", 5, -7),
    "of csc, far too far": lambda x: raw(x, "csc", "indptr", -1, 10**9),
    "of coo": lambda x: raw(x, "coo", "row", 5, 10**9),
    "of coo, negative": lambda x: raw(x, "coo", "col", 5, -(10**9)),
    "of bsr": lambda x: raw(x, "bsr", "indices", 1, 10**9),
    "more rows than memory": lambda x: CSR(x.data, x.indices, x.indptr[:0], (2**64 - 1, 30)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_arrays_that_describe_no_matrix(rng, name):
    net, x, y = problem(rng, [30, 5, 2], 12, 0.3)
    hostile, before = HOSTILE[name](x), net.get_parameters()
    for call in (
        lambda: net.predict(hostile),
        lambda: net.cost(hostile, y),
        lambda: net.gradients(hostile, y),
        lambda: net.train_step(hostile, y, learning_rate=0.1),
        lambda: net.fit(hostile, y, learning_rate=0.1),
        lambda: net.evaluate(hostile, y),
    ):
        with pytest.raises(ValueError, match="x is a sparse matrix wh.*build it.*again"):
            call()
    assert_same_bits(net.get_parameters(), before)


def test_strides_are_minded(rng):
    net, x, _ = problem(rng, [30, 5, 2], 12, 0.3)
    expected = net.predict(x)
    assert_same_bits(net.predict(broken(x, data=np.repeat(x.data, 2)[::2])), expected)
    assert_same_bits(net.predict(broken(x, data=x.data[::-1].copy()[::-1])), expected)
    assert_same_bits(net.predict(broken(x, data=list(x.data))), expected)
    with pytest.raises(TypeError, match="real numbers"):
        net.predict(broken(x, data=x.data.astype(complex)))


def test_shapes_types_and_numbers(rng):
    net, x, y = problem(rng, [30, 5, 2], 12, 0.3)
    with pytest.raises(ValueError, match=re.escape("expected (n, 30) for n samples")):
        net.predict(x[:, :29])
    with pytest.raises(ValueError, match="one entry per row of x: 12 rows"):
        net.fit(x, y[:-1], learning_rate=0.1)
    with pytest.raises(TypeError, match=r"must hold real numbers.*complex"):
        net.predict(x.astype(complex))
    bad = x.copy()
    bad.data[-1] = np.nan
    row = np.flatnonzero(np.diff(x.indptr))[-1]
    with pytest.raises(ValueError, match=f"row {row} of x holds NaN"):
        net.fit(bad, y, learning_rate=0.1)
    assert np.isnan(net.predict(bad)[row]).all()
    out = np.empty((12, 2), np.float32)
    assert net.predict(x, out=out) is out
    with pytest.raises(ValueError, match="out overlaps x"):
        memory = np.zeros(x.nnz + 24, np.float32)
        net.predict(broken(x, data=memory[: x.nnz]), out=memory[x.nnz - 1 :][:24].reshape(12, 2))


def test_gradients_are_checked(rng, dtype):
    net, x, y = problem(rng, [12, 5, 2], 6, 0.3, dtype)
    assert net.check_gradients(x, y) == net.check_gradients(x.toarray(), y) < 1e-9


@pytest.mark.parametrize("call", ["trace", "explain"])
def test_what_takes_dense_samples_says_so(rng, call):
    net, x, y = problem(rng, [30, 5, 2], 12, 0.3)
    arguments = (x[:1], y[0]) if call == "explain" else (x, y)
    options = {"layer": 1, "to": 0, "from_": 0} if call == "explain" else {}
    with pytest.raises(TypeError, match=r"x is a sparse matrix.*pass x.toarray\(\)"):
        getattr(net, call)(*arguments, **options)


@pytest.mark.slow
def test_arrays_that_change_during_calls():
    assert run_python(str(TESTS / "change_sparse.py")) == "survived\n"
