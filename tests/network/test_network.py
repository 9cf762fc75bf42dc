"""The constructor, its random numbers, and the calls around training: vjp, evaluate, freeze."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import chainrule as cr
import reference
from chainrule import _core
from support import HIDDEN, assert_same_bits, flat, random_network, relative, says

# --- Philox4x32-10, known answers of Random123's kat_vectors ----------------------------------

PHILOX = {
    "zeros": ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": (
        (0xFFFFFFFF,) * 2,
        (0xFFFFFFFF,) * 4,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    "digits of pi": (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


@pytest.mark.parametrize("name", PHILOX)
def test_philox_gives_the_published_numbers(name):
    key, counter, expected = PHILOX[name]
    assert tuple(_core.philox4x32(key, counter)) == expected


# --- the constructor --------------------------------------------------------------------------


def test_defaults_are_those_of_the_contract():
    net = cr.Network([4, 3, 2])
    assert net.sizes == (4, 3, 2)
    assert net.activations == ("sigmoid", "sigmoid")
    assert net.loss == "half_mse"
    assert net.dtype == np.float32
    assert net.n_parameters == 4 * 3 + 3 + 3 * 2 + 2
    assert not any(b.any() for b in net.biases)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_sizes_may_be_any_sequence_of_integers(kind):
    assert cr.Network(kind([4, 3, 2])).sizes == (4, 3, 2)


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float64"), float])
def test_dtype_may_be_anything_numpy_takes_for_it(dtype):
    assert cr.Network([2, 1], dtype=dtype).dtype == np.dtype(dtype)


@pytest.mark.parametrize("output", reference.ACTIVATIONS)
def test_every_permitted_pair_is_accepted(output):
    for loss in reference.permitted_losses(output):
        net = cr.Network([3, 2], output, loss)
        assert (net.activations, net.loss) == ((output,), loss)


def test_the_core_lists_what_the_oracle_knows():
    assert set(_core.ACTIVATIONS) == set(reference.ACTIVATIONS)
    assert set(_core.LOSSES) == set(reference.LOSSES) | set(reference.FUSED)


def test_repr_shows_the_architecture():
    text = repr(cr.Network([4, 3, 2], ["relu", "softmax"], "cross_entropy", seed=5))
    for part in ("Network", "[4, 3, 2]", "relu", "softmax", "cross_entropy", "float32", "5"):
        assert part in text


def test_summary_prints_layers_shapes_parameters_and_memory(capsys):
    net = cr.Network([784, 128, 10], ["tanh", "softmax"], "cross_entropy", seed=0)
    net.summary()
    printed = capsys.readouterr().out.replace(",", "").replace("_", "")
    for part in ("784", "128", "10", "tanh", "softmax", "cross", str(net.n_parameters), "bytes"):
        assert part in printed


# --- initial weights --------------------------------------------------------------------------

#: name: (distribution, its variance from fan_in and fan_out)
SCHEMES = {
    "glorot_uniform": ("uniform", lambda i, o: 2 / (i + o)),
    "glorot_normal": ("normal", lambda i, o: 2 / (i + o)),
    "he_uniform": ("uniform", lambda i, o: 2 / i),
    "he_normal": ("normal", lambda i, o: 2 / i),
    "lecun_normal": ("normal", lambda i, o: 1 / i),
}

AUTO = {name: "he_uniform" for name in ("relu", "leaky_relu", "elu", "silu", "gelu", "softplus")}
AUTO["selu"] = "lecun_normal"


@pytest.mark.parametrize("name", SCHEMES)
def test_initial_weights_have_the_moments_of_their_scheme(name):
    kind, variance = SCHEMES[name]
    net = cr.Network([300, 200, 100], init=name, dtype="float64", seed=3)
    for w in net.weights:
        sigma = np.sqrt(variance(w.shape[1], w.shape[0]))
        assert abs(w.mean()) < 5 * sigma / np.sqrt(w.size)
        assert w.std() == pytest.approx(sigma, rel=0.02)
        kurtosis = ((w - w.mean()) ** 4).mean() / w.var() ** 2
        assert kurtosis == pytest.approx({"uniform": 1.8, "normal": 3.0}[kind], rel=0.06)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_weights_fill_their_interval_and_stay_in_it(name, dtype):
    net = cr.Network([200, 300], init=name, dtype=dtype, seed=1)
    bound = np.sqrt(3 * SCHEMES[name][1](200, 300))
    largest = np.abs(net.weights[0]).max()
    assert largest <= np.dtype(dtype).type(bound)
    assert largest > 0.999 * bound


@pytest.mark.bits
@pytest.mark.parametrize("name", [*HIDDEN, "softmax"])
def test_auto_chooses_by_activation(name):
    net = cr.Network([5, 4], name, seed=2)
    named = cr.Network([5, 4], name, seed=2, init=AUTO.get(name, "glorot_uniform"))
    assert_same_bits(net.get_parameters(), named.get_parameters())


@pytest.mark.bits
@pytest.mark.parametrize("name", [*SCHEMES, "auto"])
def test_weights_are_drawn_in_float64_then_rounded(name):
    single, double = (
        cr.Network([50, 40, 3], init=name, dtype=d, seed=9) for d in ("float32", "float64")
    )
    rounded = double.get_parameters().astype(np.float32)
    assert_same_bits(single.get_parameters(), rounded)


def test_zeros_are_zeros():
    assert not cr.Network([5, 4, 3], init="zeros").get_parameters().any()


def test_an_init_function_is_called_for_every_layer():
    calls = []

    def init(fan_out, fan_in, layer):
        calls.append((fan_out, fan_in, layer))
        return np.full((fan_out, fan_in), layer)

    net = cr.Network([5, 4, 3], init=init)
    assert calls == [(4, 5, 1), (3, 4, 2)]
    assert [set(w.ravel().tolist()) for w in net.weights] == [{1.0}, {2.0}]


@pytest.mark.bits
def test_a_seed_fixes_the_weights_and_different_seeds_differ():
    one, same, other = (cr.Network([20, 10, 5], seed=s).get_parameters() for s in (7, 7, 8))
    assert_same_bits(one, same)
    assert (one != other).mean() > 0.9


def test_layers_of_one_shape_differ():
    net = cr.Network([10, 10, 10], seed=0)
    assert not np.array_equal(*net.weights)


def test_no_seed_draws_one_and_keeps_it():
    nets = [cr.Network([10, 10]) for _ in range(2)]
    assert nets[0].seed != nets[1].seed
    for net in nets:
        again = cr.Network([10, 10], seed=net.seed)
        assert_same_bits(net.get_parameters(), again.get_parameters())


def test_numpy_integers_and_large_seeds_are_seeds():
    assert cr.Network([2, 1], seed=np.int64(3)).seed == 3
    assert cr.Network([2, 1], seed=2**64 - 1).seed == 2**64 - 1


# --- vjp --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ["identity", "softmax", "gelu"])
def test_vjp_sums_over_rows(rng, output, dtype):
    net = random_network(rng, [5, 8, 3], ["silu", output], "sse", dtype=dtype)
    x = rng.normal(size=(40, 5)).astype(dtype)
    dC_da = rng.normal(size=(40, 3)).astype(dtype)
    a, pullback = net.vjp(x)
    gradients, dC_dx = pullback(dC_da)
    expected, expected_dC_dx = reference.Net.of(net).vjp(x, dC_da)
    tolerance = {"float32": 1e-5, "float64": 1e-13}[dtype]
    assert_same_bits(a, net.predict(x))
    assert gradients.cost is None
    assert relative(flat(gradients), flat(expected)) < tolerance
    assert relative(dC_dx, expected_dC_dx) < tolerance
    assert dC_dx.dtype == net.dtype


def test_vjp_of_a_vector_has_no_batch_axis(rng):
    net = random_network(rng, [5, 8, 3])
    x, dC_da = rng.normal(size=5), rng.normal(size=3)
    a, pullback = net.vjp(x)
    gradients, dC_dx = pullback(dC_da)
    batch_gradients, batch_dC_dx = net.vjp(x[None])[1](dC_da[None])
    assert a.shape == (3,)
    assert_same_bits(dC_dx, batch_dC_dx[0])
    assert_same_bits(gradients.flatten(), batch_gradients.flatten())


def test_a_pullback_may_be_called_again(rng):
    net = random_network(rng, [5, 8, 3])
    _, pullback = net.vjp(rng.normal(size=(4, 5)))
    dC_da = rng.normal(size=(4, 3))
    first, second = pullback(dC_da), pullback(dC_da)
    assert_same_bits(first[0].flatten(), second[0].flatten())
    assert_same_bits(first[1], second[1])


def test_a_pullback_does_not_see_later_changes_of_x(rng):
    net = random_network(rng, [5, 8, 3])
    x, dC_da = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    expected = net.vjp(x.copy())[1](dC_da)[0].flatten()
    _, pullback = net.vjp(x)
    x[:] = 0
    assert_same_bits(pullback(dC_da)[0].flatten(), expected)


def test_a_pullback_outlives_its_network(rng):
    net = random_network(rng, [5, 8, 3])
    x, dC_da = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    expected = reference.Net.of(net).vjp(x, dC_da)[1]
    _, pullback = net.vjp(x)
    del net
    gc.collect()
    assert relative(pullback(dC_da)[1], expected) < 1e-13


CHANGES = {
    "train_step": lambda net, x, y: net.train_step(x, y, learning_rate=0.1),
    "fit": lambda net, x, y: net.fit(x, y, learning_rate=0.1),
    "apply": lambda net, x, y: net.apply(net.gradients(x, y), cr.SGD(0.1)),
    "set_parameters": lambda net, x, y: net.set_parameters(net.get_parameters()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_pullback_refuses_after_the_weights_changed(rng, name):
    net = random_network(rng, [5, 8, 3])
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 3))
    _, pullback = net.vjp(x)
    pullback(y)
    CHANGES[name](net, x, y)
    with pytest.raises(RuntimeError, match=says("changed")):
        pullback(y)


def test_a_loss_of_the_users_own_trains(rng):
    """half_mse by hand, through vjp and apply, gives the network that fit gives."""
    net = random_network(rng, [5, 8, 3])
    other = copy.deepcopy(net)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    optimizer = cr.SGD(0.1)
    for _ in range(20):
        a, pullback = net.vjp(x)
        gradients, _ = pullback((a - y) / y.size)
        net.apply(gradients, optimizer)
        other.train_step(x, y, learning_rate=0.1)
    assert relative(net.get_parameters(), other.get_parameters()) < 1e-13


# --- evaluate ---------------------------------------------------------------------------------


def test_evaluate_gives_cost_and_accuracy(rng):
    net = random_network(rng, [5, 8, 3], ["tanh", "softmax"], "cross_entropy")
    x, y = rng.normal(size=(50, 5)), rng.integers(0, 3, 50)
    result = net.evaluate(x, y)
    assert result["cost"] == pytest.approx(net.cost(x, y), rel=1e-12)
    assert result["accuracy"] == pytest.approx((net.predict(x).argmax(axis=1) == y).mean())


def test_evaluate_of_a_regression_gives_cost(rng):
    net = random_network(rng, [5, 8, 1])
    x, y = rng.normal(size=(50, 5)), rng.normal(size=50)
    assert net.evaluate(x, y)["cost"] == pytest.approx(net.cost(x, y), rel=1e-12)


def test_evaluate_changes_nothing(rng):
    net = random_network(rng, [5, 8, 1])
    before = net.get_parameters()
    net.evaluate(rng.normal(size=(50, 5)), rng.normal(size=50))
    assert_same_bits(net.get_parameters(), before)


# --- freeze -----------------------------------------------------------------------------------


class Serve(cr.Predictor):
    """What a user's class may be."""


@pytest.fixture(
    params=[([5, 7, 3], "float32"), ([100, 65, 33, 10], "float32"), ([100, 65, 33, 10], "float64")],
    ids=str,
)
def trained(request, rng):
    sizes, dtype = request.param
    activations = ["gelu"] * (len(sizes) - 2) + ["softmax"]
    net = random_network(rng, sizes, activations, "cross_entropy", dtype=dtype)
    x = rng.normal(size=(70, sizes[0])).astype(dtype)
    return net, x, rng.integers(0, sizes[-1], 70)


@pytest.mark.bits
def test_a_predictor_gives_the_same_bits(trained):
    net, x, _ = trained
    serve = net.freeze()
    assert isinstance(serve, cr.Predictor)
    for rows in (x, x[:1], x[0], x[::-3], x[:33]):
        expected = net.predict(rows)
        assert_same_bits(serve(rows), expected)
        assert_same_bits(serve.predict(rows), expected)
        out = np.empty_like(expected)
        assert serve(rows, out=out) is out
        assert_same_bits(out, expected)


@pytest.mark.bits
def test_a_predictor_is_not_touched_by_later_changes(trained):
    net, x, y = trained
    serve, before = net.freeze(), net.predict(x)
    net.fit(x, y, learning_rate=0.5)
    net.weights[0][...] = 0
    assert_same_bits(serve(x), before)
    assert net.predict(x).tobytes() != before.tobytes()


def test_a_predictor_outlives_its_network(rng):
    net = random_network(rng, [5, 7, 3])
    x = rng.normal(size=(4, 5))
    serve, expected = net.freeze(), net.predict(x)
    del net
    gc.collect()
    assert_same_bits(serve(x), expected)


# Network([1, 1], activations="tanh", dtype="float64", seed=2**63 + 5) after three epochs, pickled
# when Python attributes held the seed and the count of epochs.
EARLIER_PICKLE = bytes.fromhex(
    "8004952e010000000000008c086275696c74696e73948c07676574617474729493948c11636861696e72756c"
    "652e6e6574776f726b948c074e6574776f726b9493948c085f726573746f72659486945294284b014b018694"
    "8c0474616e689485948c0868616c665f6d7365948c07666c6f61743634948874948c166e756d70792e5f636f"
    "72652e6d756c74696172726179948c0c5f7265636f6e7374727563749493948c056e756d7079948c076e6461"
    "727261799493944b0085944301629487945294284b014b02859468128c0564747970659493948c0266389489"
    "8887945294284b038c013c944e4e4e4affffffff4affffffff4b007494628943100adeac0173b5ef3f000000"
    "000000000094749462869452947d94288c055f73656564948a090500000000000080008c065f65706f636894"
    "4b0375622e"
)


def test_a_pickle_of_an_earlier_version_loads():
    net = pickle.loads(EARLIER_PICKLE)
    assert (net.sizes, net.activations, net.seed, net.epoch) == ((1, 1), ("tanh",), 2**63 + 5, 3)
    assert net.get_parameters().tolist() == [0.990899565956114, 0.0]
    assert not vars(net)


@pytest.mark.bits
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_predictor_can_be_pickled(trained, protocol):
    net, x, _ = trained
    serve = pickle.loads(pickle.dumps(net.freeze(), protocol))
    assert_same_bits(serve(x), net.predict(x))
    assert (serve.sizes, serve.activations, serve.dtype) == (net.sizes, net.activations, net.dtype)


def test_a_predictor_has_no_weights_to_change(rng):
    serve = random_network(rng, [5, 7, 3]).freeze()
    assert not hasattr(serve, "weights")
    assert not hasattr(serve, "set_parameters")


@pytest.mark.parametrize("name", ["predict", "sizes", "activations", "threshold"])
def test_a_predictor_has_no_attributes_to_set(rng, name):
    serve = random_network(rng, [5, 7, 3]).freeze()
    with pytest.raises(AttributeError):
        setattr(serve, name, None)


@pytest.mark.bits
def test_a_subclass_of_a_predictor_is_pickled_as_itself(rng):
    net, x = random_network(rng, [5, 7, 3]), rng.normal(size=(4, 5))
    serve = pickle.loads(pickle.dumps(Serve(net)))
    assert type(serve) is Serve
    assert_same_bits(serve(x), net.predict(x))
