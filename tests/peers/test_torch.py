"""Gradients and updates against PyTorch in float64; install the [test-peers] extra to run it."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
import given_updates
from chainrule import schedules
from support import HIDDEN, OUTPUT_PAIRS, flat, random_network, relative, smooth_problem

pytestmark = [pytest.mark.peers, pytest.mark.unsanitized]

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install .[test-peers]")

torch.set_num_threads(1)  # the networks are tiny

ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.nn.functional.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "selu": torch.nn.functional.selu,
    "softplus": torch.nn.functional.softplus,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "hardswish": torch.nn.functional.hardswish,
    "softmax": lambda z: torch.softmax(z, dim=-1),
}

#: Mean costs, from the last pre-activation z and the output a.
LOSSES = {
    "half_mse": lambda z, a, y: torch.nn.functional.mse_loss(a, y) / 2,
    "sse": lambda z, a, y: torch.nn.functional.mse_loss(a, y, reduction="sum") / len(y),
    "mse": lambda z, a, y: torch.nn.functional.mse_loss(a, y),
    "mae": lambda z, a, y: torch.nn.functional.l1_loss(a, y),
    "huber": lambda z, a, y: torch.nn.functional.huber_loss(a, y),
    "cross_entropy": lambda z, a, y: torch.nn.functional.cross_entropy(z, y),
    "binary_cross_entropy": lambda z, a, y: torch.nn.functional.binary_cross_entropy_with_logits(
        z, y
    ),
}

RULES = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "sgd_decay": ("SGD", {"momentum": 0.5, "weight_decay": 0.01}),
    "adam": ("Adam", {}),
    "adam_decay": ("Adam", {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.05}),
    "adamw": ("AdamW", {}),
    "adamw_decay": ("AdamW", {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.3}),
    "rmsprop": ("RMSprop", {"alpha": 0.9, "eps": 1e-2}),
    "rmsprop_momentum": ("RMSprop", {"eps": 1e-4, "momentum": 0.9, "weight_decay": 0.05}),
    "rmsprop_centered": ("RMSprop", {"eps": 1e-2, "momentum": 0.5, "centered": True}),
    "adagrad": ("Adagrad", {}),
    "adagrad_decay": (
        "Adagrad",
        {"lr_decay": 0.1, "weight_decay": 0.05, "initial_accumulator_value": 0.1, "eps": 1e-6},
    ),
}

#: Penalties and clipping, which PyTorch leaves to its user.
TREATMENTS = {
    "l1": {"l1": 0.01},
    "l2": {"l2": 0.1},
    "clip_value": {"clip_value": 0.02},
    "clip_norm": {"clip_norm": 0.05},
    "all": {"l1": 0.01, "l2": 0.1, "clip_value": 0.02, "clip_norm": 0.05},
}


def tensors(net):
    """W^1, b^1, W^2, ... as float64 leaves that require a gradient."""
    columns = [net.weights, net.biases] if net.biases else [net.weights]
    return [
        torch.tensor(np.array(p), dtype=torch.float64, requires_grad=True)
        for layer in zip(*columns, strict=True)
        for p in layer
    ]


def cost(net, theta, x, y):
    a = z = torch.tensor(x, dtype=torch.float64)
    stride = 2 if net.biases else 1
    for i, name in enumerate(net.activations):
        z = a @ theta[stride * i].T
        if net.biases:
            z = z + theta[stride * i + 1]
        a = ACTIVATIONS[name](z)
    return LOSSES[net.loss](z, a, torch.tensor(y, dtype=torch.float64))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize(("seed", "pair"), list(enumerate(OUTPUT_PAIRS)), ids=str)
def test_gradients_equal_autograd(seed, pair, bias):
    output, loss = pair
    hidden = [HIDDEN[seed % len(HIDDEN)], HIDDEN[(seed + 3) % len(HIDDEN)]]
    net, x, y = smooth_problem(seed, [6, 9, 8, 5], [*hidden, output], loss, 7, bias=bias)
    theta = tensors(net)
    value = cost(net, theta, x, y)
    value.backward()
    ours = net.gradients(x, y)
    assert ours.cost == pytest.approx(value.item(), rel=1e-10)
    assert relative(flat(ours), np.concatenate([p.grad.numpy().ravel() for p in theta])) < 1e-10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hardswish_has_torchs_values_and_slopes_at_its_kinks(dtype):
    kinks = np.array([-3, 3], dtype)
    z = np.concatenate([kinks, np.nextafter(kinks, 0), np.nextafter(kinks, 10 * kinks)])
    net = cr.Network([1, len(z)], "hardswish", "mse", dtype=dtype)
    net.weights[0][:] = 0
    net.biases[0][:] = z
    trace = net.trace(np.ones(1, dtype), np.zeros(len(z), dtype))
    theirs = torch.tensor(z, requires_grad=True)
    value = torch.nn.functional.hardswish(theirs)
    value.sum().backward()
    np.testing.assert_array_equal(trace.g_prime[0][:2], theirs.grad.numpy()[:2])  # 0 and 1
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(trace.g_prime[0], theirs.grad.numpy(), rtol=tolerance)
    np.testing.assert_allclose(trace.a[1], value.detach().numpy(), rtol=tolerance, atol=0)


def penalty(theta, l1=0.0, l2=0.0, **_):
    weights = [p for p in theta if p.ndim == 2]
    return sum(l1 * p.abs().sum() + l2 / 2 * (p * p).sum() for p in weights)


def clip(theta, clip_value=None, clip_norm=None, **_):
    if clip_value is not None:
        torch.nn.utils.clip_grad_value_(theta, clip_value)
    if clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(theta, clip_norm)


@pytest.mark.parametrize("rule", ["momentum", "adam", "adamw_decay", "rmsprop", "adagrad_decay"])
@pytest.mark.parametrize("treatment", TREATMENTS)
def test_a_hundred_penalized_and_clipped_updates_equal_those_of_torch(rule, treatment, rng):
    (name, options), treated = RULES[rule], TREATMENTS[treatment]
    net = random_network(rng, [6, 9, 4], ["tanh", "softmax"], "cross_entropy")
    x, y = rng.normal(size=(30, 6)), rng.dirichlet(np.ones(4), 30)
    theta = tensors(net)
    theirs = getattr(torch.optim, name)(theta, lr=0.01, **options)
    ours = getattr(cr, name)(0.01, **options, **treated)
    for _ in range(100):
        theirs.zero_grad()
        value = cost(net, theta, x, y)
        (value + penalty(theta, **treated)).backward()
        clip(theta, **treated)
        theirs.step()
        assert net.train_step(x, y, optimizer=ours) == pytest.approx(value.item(), rel=1e-12)
        expected = np.concatenate([p.detach().numpy().ravel() for p in theta])
        np.testing.assert_allclose(net.get_parameters(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", given_updates.CASES)
def test_the_recorded_updates_are_those_of_this_pytorch(name):
    np.testing.assert_allclose(
        given_updates.by_torch(name), given_updates.recorded()[name], rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("rule", RULES)
def test_a_hundred_updates_equal_those_of_torch_optim(rule, rng):
    name, options = RULES[rule]
    net = random_network(rng, [6, 9, 4], ["tanh", "softmax"], "cross_entropy")
    x, y = rng.normal(size=(30, 6)), rng.dirichlet(np.ones(4), 30)
    theta = tensors(net)
    theirs = getattr(torch.optim, name)(theta, lr=0.01, **options)
    ours = getattr(cr, name)(0.01, **options)
    for _ in range(100):
        theirs.zero_grad()
        value = cost(net, theta, x, y)
        value.backward()
        theirs.step()
        assert net.train_step(x, y, optimizer=ours) == pytest.approx(value.item(), rel=1e-12)
        expected = np.concatenate([p.detach().numpy().ravel() for p in theta])
        np.testing.assert_allclose(net.get_parameters(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.05, 0.5])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
def test_label_smoothing_equals_that_of_cross_entropy_loss(rng, kind, smoothing):
    net = random_network(rng, [6, 9, 4], ["tanh", "softmax"], "cross_entropy")
    x = rng.normal(size=(30, 6))
    y = rng.integers(0, 4, 30) if kind == "labels" else rng.dirichlet(np.ones(4), 30)
    w1, b1, w2, b2 = theta = tensors(net)
    z = torch.tanh(torch.tensor(x) @ w1.T + b1) @ w2.T + b2
    value = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(z, torch.tensor(y))
    value.backward()
    ours = net.gradients(x, y, label_smoothing=smoothing)
    assert ours.cost == pytest.approx(value.item(), rel=1e-12)
    assert relative(flat(ours), np.concatenate([p.grad.numpy().ravel() for p in theta])) < 1e-12


# --- schedules --------------------------------------------------------------------------------

#: name: (schedule of a rate of 0.1, the same in PyTorch)
SCHEDULES = {
    "step": (
        schedules.StepDecay(0.1, 7, 0.5),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5),
    ),
    "exponential": (
        schedules.ExponentialDecay(0.1, 0.97),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.97),
    ),
    "cosine": (
        schedules.Cosine(0.1, 60, final=0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 60, 0.01),
    ),
    "warm-up": (
        schedules.Warmup(0.1, 20, start=0.03),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.3, total_iters=20),
    ),
    "one cycle": (
        schedules.OneCycle(0.1, 60),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, 60),
    ),
    "one cycle, linear": (
        schedules.OneCycle(0.1, 60, 0.4, "linear", 10, 100),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, 0.1, 60, pct_start=0.4, anneal_strategy="linear", div_factor=10, final_div_factor=100
        ),
    ),
    "one cycle, three phases": (
        schedules.OneCycle(0.1, 60, three_phase=True),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, 60, three_phase=True),
    ),
}


def torch_optimizer():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_gives_the_rates_of_torch(name):
    ours, make = SCHEDULES[name]
    optimizer = torch_optimizer()
    theirs = make(optimizer)
    for step in range(60):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=1e-17)
        optimizer.step()
        if step < 59:
            theirs.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 0.5, "patience": 2, "threshold": 0.05},
        {"patience": 1, "threshold_mode": "abs", "threshold": 0.02, "cooldown": 3},
        {"factor": 0.3, "patience": 0, "eps": 1e-3},
    ],
    ids=str,
)
def test_a_plateau_is_met_as_in_torch(options, rng):
    optimizer = torch_optimizer()
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=1e-4, **options)
    ours = schedules.ReduceOnPlateau(0.1, min_rate=1e-4, **options)
    for cost in np.maximum(0.2, np.linspace(1, 0, 120)) + 0.1 * rng.random(120):
        theirs.step(cost)
        ours.observe(cost)
        assert ours.rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-15)
