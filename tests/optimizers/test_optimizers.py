"""Update rules, 100 steps each in float64: against the oracle, and against Optax."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import chainrule as cr
import reference
from support import assert_same_bits, flat, random_network, relative

SIZES = [5, 7, 3]
STEPS = 100

#: name: (rule, hyperparameters under PyTorch's names)
RULES = {
    "sgd": ("SGD", {"learning_rate": 0.05}),
    "momentum": ("SGD", {"learning_rate": 0.02, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True}),
    "decay": ("SGD", {"learning_rate": 0.05, "weight_decay": 0.01}),
    "everything": (
        "SGD",
        {"learning_rate": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": ("Adam", {}),
    "adam_betas": ("Adam", {"learning_rate": 0.01, "betas": (0.8, 0.95), "eps": 1e-4}),
    "adam_decay": ("Adam", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "adamw": ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {"learning_rate": 1e-3, "alpha": 0.9, "eps": 1e-6}),
    "rmsprop_momentum": ("RMSprop", {"learning_rate": 1e-3, "momentum": 0.9}),
    "rmsprop_centered": ("RMSprop", {"centered": True, "weight_decay": 0.1, "eps": 1e-3}),
    "adagrad": ("Adagrad", {"learning_rate": 0.1}),
    "adagrad_decay": (
        "Adagrad",
        {"learning_rate": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5},
    ),
    "l1": ("SGD", {"learning_rate": 0.05, "l1": 0.01}),
    "l2": ("Adam", {"learning_rate": 0.01, "l2": 0.1}),
    "clip_value": ("SGD", {"learning_rate": 0.05, "clip_value": 0.3}),
    "clip_norm": ("Adagrad", {"learning_rate": 0.05, "clip_norm": 0.5, "weight_decay": 0.1}),
    "penalties_and_clipping": (
        "AdamW",
        {"learning_rate": 0.01, "l1": 0.01, "l2": 0.1, "clip_value": 0.3, "clip_norm": 0.5},
    ),
}

#: Optax divides by sqrt(s + eps) in Adagrad, and knows no penalty of the weights alone and no
#: clipping as PyTorch does it.
OTHERS_IN_OPTAX = ("adagrad", "adagrad_decay", "l1", "l2", "clip_norm", "penalties_and_clipping")


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.fixture(params=[name for name in RULES if name not in OTHERS_IN_OPTAX])
def optax_rule(request):
    """(name, hyperparameters, the rule of Optax)."""
    return *RULES[request.param], as_in_optax(*RULES[request.param])


@pytest.fixture
def net(rng):
    return random_network(rng, SIZES, "tanh")


@pytest.fixture
def data(rng):
    return rng.normal(size=(20, SIZES[0])), rng.uniform(-1, 1, size=(20, SIZES[-1]))


@pytest.fixture
def given_gradients(rng, net):
    """STEPS gradients that do not depend on the weights: errors cannot feed back."""
    return [
        cr.Gradients(
            None,
            tuple(rng.normal(size=w.shape) for w in net.weights),
            tuple(rng.normal(size=b.shape) for b in net.biases),
        )
        for _ in range(STEPS)
    ]


def as_in_optax(name, options):
    optax = pytest.importorskip("optax")
    options = dict(options)
    rate = options.pop("learning_rate", 1e-2 if name == "RMSprop" else 1e-3)
    if name == "AdamW":
        return optax.adamw(rate, **options)
    decay = optax.add_decayed_weights(options.pop("weight_decay", 0.0))
    if name == "Adam":
        b1, b2 = options.pop("betas", (0.9, 0.999))
        return optax.chain(decay, optax.adam(rate, b1=b1, b2=b2, **options))
    if name == "RMSprop":
        options = {"decay": options.pop("alpha", 0.99), "eps_in_sqrt": False, **options}
        return optax.chain(decay, optax.rmsprop(rate, **options))
    clip = optax.clip(options.pop("clip_value", np.inf))
    return optax.chain(clip, decay, optax.sgd(rate, **options))


def test_given_gradients_move_the_weights_as_the_oracle_says(rule, net, given_gradients):
    name, options = rule
    twin, judge = reference.Net.of(net), getattr(reference, name)(**options)
    optimizer = getattr(cr, name)(**options)
    for gradients in given_gradients:
        net.apply(gradients, optimizer)
        judge.step(twin.parameters, reference.interleave(gradients))
        np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)


@pytest.mark.unsanitized
def test_given_gradients_move_the_weights_as_optax_does(optax_rule, net, given_gradients):
    name, options, judge = optax_rule
    import optax

    import jax_twin

    theta = jax_twin.parameters(net)
    state = judge.init(theta)
    update = jax_twin.jax.jit(judge.update)
    optimizer = getattr(cr, name)(**options)
    for g in given_gradients:
        net.apply(g, optimizer)
        layers = [list(pair) for pair in zip(g.weights, g.biases, strict=True)]
        updates, state = update(layers, state, theta)
        theta = optax.apply_updates(theta, updates)
    theirs = np.concatenate([np.ravel(p) for layer in theta for p in layer])
    np.testing.assert_allclose(net.get_parameters(), theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.unsanitized
def test_training_follows_optax_with_autograd(optax_rule, net, data):
    name, options, judge = optax_rule
    import optax

    import jax_twin

    x, y = data
    theta = jax_twin.parameters(net)
    state = judge.init(theta)

    def cost(theta):
        return jax_twin.cost(theta, x, y, None, net.activations, net.loss)

    @jax_twin.jax.jit
    def step(theta, state):
        value, gradients = jax_twin.jax.value_and_grad(cost)(theta)
        updates, state = judge.update(gradients, state, theta)
        return value, optax.apply_updates(theta, updates), state

    optimizer = getattr(cr, name)(**options)
    for _ in range(STEPS):
        ours = net.train_step(x, y, optimizer=optimizer)
        theirs, theta, state = step(theta, state)
        assert ours == pytest.approx(float(theirs), rel=1e-12)
    theirs = np.concatenate([np.ravel(p) for layer in theta for p in layer])
    np.testing.assert_allclose(net.get_parameters(), theirs, rtol=1e-12, atol=1e-12)


def test_training_follows_the_oracle(rule, net, data):
    name, options = rule
    x, y = data
    twin, judge = reference.Net.of(net), getattr(reference, name)(**options)
    optimizer = getattr(cr, name)(**options)
    for _ in range(STEPS):
        gradients = twin.gradients(x, y)
        assert net.train_step(x, y, optimizer=optimizer) == pytest.approx(gradients.cost, rel=1e-12)
        judge.step(twin.parameters, reference.interleave(gradients))
        np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)


def test_float32_updates_agree_with_the_oracle_to_rounding(rule, rng):
    name, options = rule
    net = random_network(rng, SIZES, dtype="float32")
    twin, judge = reference.Net.of(net), getattr(reference, name)(**options)
    optimizer = getattr(cr, name)(**options)
    for _ in range(STEPS):
        g = cr.Gradients(
            None,
            tuple(rng.normal(size=w.shape).astype(np.float32) for w in net.weights),
            tuple(rng.normal(size=b.shape).astype(np.float32) for b in net.biases),
        )
        net.apply(g, optimizer)
        judge.step(twin.parameters, reference.interleave(g))
    assert relative(net.get_parameters(), twin.flat()) < 1e-5  # 100 roundings of 6e-8


def test_networks_without_bias_are_updated_too(rule, rng):
    name, options = rule
    net = random_network(rng, SIZES, bias=False)
    x, y = rng.normal(size=(9, SIZES[0])), rng.normal(size=(9, SIZES[-1]))
    twin, judge = reference.Net.of(net), getattr(reference, name)(**options)
    optimizer = getattr(cr, name)(**options)
    for _ in range(10):
        judge.step(twin.parameters, reference.interleave(twin.gradients(x, y)))
        net.train_step(x, y, optimizer=optimizer)
    np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 7, 300])
@pytest.mark.parametrize("sizes", [[3, 2], [40, 33, 10]], ids=str)
@pytest.mark.bits
def test_apply_of_the_gradients_gives_the_bits_of_train_step(rule, rng, batch, sizes):
    name, options = rule
    net = random_network(rng, sizes, dtype="float32")
    other = copy.deepcopy(net)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    y = rng.normal(size=(batch, sizes[-1])).astype(np.float32)
    one, two = getattr(cr, name)(**options), getattr(cr, name)(**options)
    for _ in range(5):
        net.train_step(x, y, optimizer=one)
        other.apply(other.gradients(x, y), two)
    assert_same_bits(net.get_parameters(), other.get_parameters())


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_schedule_is_asked_for_every_step_from_zero(net, data, name):
    asked = []

    def schedule(step):
        asked.append(int(step))
        return 0.1 / (1 + step)

    optimizer = getattr(cr, name)(schedule)
    for _ in range(3):
        net.train_step(*data, optimizer=optimizer)
    net.fit(*data, epochs=2, batch_size=8, optimizer=optimizer)
    assert sorted(set(asked)) == list(range(3 + 2 * 3))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_schedule_moves_the_weights_as_its_values_do(net, data, name):
    twin, judge = reference.Net.of(net), getattr(reference, name)(learning_rate=0.0)
    optimizer = getattr(cr, name)(lambda step: 0.1 / (1 + step))
    for step in range(10):
        judge.learning_rate = 0.1 / (1 + step)
        judge.step(twin.parameters, reference.interleave(twin.gradients(*data)))
        net.train_step(*data, optimizer=optimizer)
    np.testing.assert_allclose(net.get_parameters(), twin.flat(), rtol=1e-12, atol=1e-12)


@pytest.mark.bits
@pytest.mark.parametrize("sizes", [[300, 400, 10], [20, 1500, 30]], ids=str)
def test_clipping_by_the_norm_gives_the_same_bits_with_any_number_of_threads(rng, sizes):
    net = random_network(rng, sizes, dtype="float32")
    x = rng.normal(size=(300, sizes[0])).astype(np.float32)
    y = rng.normal(size=(300, sizes[-1])).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 4):
        twin = copy.deepcopy(net)
        optimizer = cr.Adam(0.01, l1=1e-3, clip_value=0.1, clip_norm=0.01)
        twin.fit(x, y, epochs=2, batch_size=150, optimizer=optimizer, threads=threads)
        results.append(twin.get_parameters())
    for result in results[1:]:
        assert_same_bits(result, results[0])


def test_penalties_move_the_weights_and_not_the_biases(rng, net):
    before = [b.copy() for b in net.biases], [w.copy() for w in net.weights]
    zero = cr.Gradients(
        None,
        tuple(np.zeros(w.shape) for w in net.weights),
        tuple(np.zeros(b.shape) for b in net.biases),
    )
    net.weights[0][0, 0] = before[1][0][0, 0] = 0.0  # has no sign
    net.apply(zero, cr.SGD(0.1, l1=0.02, l2=0.3))
    for b, old in zip(net.biases, before[0], strict=True):
        assert_same_bits(b, old)
    for w, old in zip(net.weights, before[1], strict=True):
        np.testing.assert_allclose(w, old - 0.1 * (0.3 * old + 0.02 * np.sign(old)), rtol=1e-14)


def test_a_gradient_is_clipped_to_the_norm_that_was_asked_for(net, data):
    before, gradient = net.get_parameters(), net.gradients(*data).flatten()
    net.train_step(*data, optimizer=cr.SGD(1.0, clip_norm=0.01))
    step = before - net.get_parameters()
    norm = float(np.linalg.norm(gradient))
    assert norm > 0.01
    np.testing.assert_allclose(step, gradient * (0.01 / (norm + 1e-6)), rtol=1e-9)


def test_a_gradient_within_the_norm_is_left_alone(net, data):
    twin = copy.deepcopy(net)
    net.train_step(*data, optimizer=cr.SGD(0.1, clip_norm=1e3))
    twin.train_step(*data, optimizer=cr.SGD(0.1))
    assert_same_bits(net.get_parameters(), twin.get_parameters())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("clipping", [{"clip_value": 0.1}, {"clip_norm": 0.1}], ids=str)
def test_clipping_hides_no_number_that_is_not_finite(net, clipping, bad):
    weights = tuple(np.zeros(w.shape) for w in net.weights)
    biases = tuple(np.zeros(b.shape) for b in net.biases)
    weights[0][1, 2] = bad
    net.apply(cr.Gradients(None, weights, biases), cr.SGD(0.1, **clipping))
    assert not np.isfinite(net.weights[0][1, 2])


@pytest.mark.parametrize("clipping", [{"clip_value": 0.1}, {"clip_norm": 0.1}], ids=str)
def test_a_gradient_that_overflows_is_a_divergence_in_spite_of_clipping(rng, clipping):
    net = random_network(rng, [2, 2, 1], ["identity", "identity"], "mae", dtype="float32")
    net.weights[1][...] = 3e38  # the cost is finite, and the error of the first layer is not
    net.weights[0][...] = 0
    net.biases[0][...] = 0
    before = net.get_parameters()
    x, y = np.full((2, 2), 10, np.float32), np.zeros((2, 1), np.float32)
    with pytest.raises(cr.DivergenceError):
        net.fit(x, y, optimizer=cr.SGD(0.1, **clipping))
    assert_same_bits(net.get_parameters(), before)


def test_centered_rmsprop_survives_a_gradient_that_never_changes(rng, net):
    gradients = cr.Gradients(
        None,
        tuple(rng.normal(size=w.shape) for w in net.weights),
        tuple(rng.normal(size=b.shape) for b in net.biases),
    )
    optimizer = cr.RMSprop(alpha=0.5, centered=True)  # s - m² ends within rounding of 0
    for _ in range(200):
        net.apply(gradients, optimizer)
    assert np.isfinite(net.get_parameters()).all()


@pytest.mark.bits
def test_reset_makes_an_optimizer_as_new(net, data):
    optimizer = cr.Adam(0.01)
    start = net.get_parameters()
    net.fit(*data, epochs=1, batch_size=None, optimizer=optimizer)
    first = net.get_parameters()
    net.set_parameters(start)
    net.fit(*data, epochs=1, batch_size=None, optimizer=optimizer)
    assert net.get_parameters().tobytes() != first.tobytes()  # the moments were kept
    net.set_parameters(start)
    optimizer.reset()
    net.fit(*data, epochs=1, batch_size=None, optimizer=optimizer)
    assert_same_bits(net.get_parameters(), first)


def test_reset_lets_an_optimizer_serve_another_network(net, data, rng):
    optimizer = cr.Adam(0.01)
    net.train_step(*data, optimizer=optimizer)
    optimizer.reset()
    other = random_network(rng, SIZES)
    before = other.get_parameters()
    other.train_step(*data, optimizer=optimizer)
    assert flat(other.gradients(*data)).shape == before.shape
    assert not np.array_equal(other.get_parameters(), before)
