"""Gradients and updates against PyTorch in float64; install the [test-peers] extra to run it."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from support import HIDDEN, OUTPUT_PAIRS, flat, random_network, relative, smooth_problem

pytestmark = [pytest.mark.peers, pytest.mark.unsanitized]

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install .[test-peers]")

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
