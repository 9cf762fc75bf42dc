"""The same networks as JAX functions: autograd derives what the engine states by hand.

Import this after `pytest.importorskip("jax")`. Formulas are those of the public documentation of
each activation and loss, never those of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # compiling takes most of the time

ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.01),
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "hardswish": jax.nn.hard_swish,
    "softmax": lambda z: jax.nn.softmax(z, axis=-1),
}


def huber(r: Any) -> Any:
    return jnp.where(jnp.abs(r) <= 1, r * r / 2, jnp.abs(r) - 0.5)


#: Cost of every row, from the last pre-activation z and the output a.
LOSSES = {
    "half_mse": lambda z, a, y: ((a - y) ** 2).mean(1) / 2,
    "sse": lambda z, a, y: ((a - y) ** 2).sum(1),
    "mse": lambda z, a, y: ((a - y) ** 2).mean(1),
    "mae": lambda z, a, y: jnp.abs(a - y).mean(1),
    "huber": lambda z, a, y: huber(a - y).mean(1),
    "cross_entropy": lambda z, a, y: -(y * jax.nn.log_softmax(z, axis=-1)).sum(1),
    "binary_cross_entropy": lambda z, a, y: (
        -(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z)).mean(1)
    ),
}

Parameters = list[list[Any]]  # [W] or [W, b] of every layer


def parameters(net: Any) -> Parameters:
    """Float64 copies of the parameters of anything with `weights` and `biases`."""
    columns = [net.weights, net.biases] if len(net.biases) else [net.weights]
    return [[jnp.array(p, jnp.float64) for p in layer] for layer in zip(*columns, strict=True)]


def forward(
    theta: Parameters, x: Any, activations: Sequence[str], factors: Sequence[Any] = ()
) -> tuple[Any, Any]:
    """z^L and a^L; `factors` are those of dropout, for the activations of each hidden layer."""
    a = z = x
    for i, (layer, name) in enumerate(zip(theta, activations, strict=True)):
        z = a @ layer[0].T + (layer[1] if len(layer) == 2 else 0.0)
        a = ACTIVATIONS[name](z) * (factors[i] if i < len(factors) else 1.0)
    return z, a


def cost(
    theta: Parameters,
    x: Any,
    y: Any,
    sample_weight: Any,
    activations: Sequence[str],
    loss: str,
    factors: Sequence[Any] = (),
) -> Any:
    z, a = forward(theta, x, activations, factors)
    return jnp.average(LOSSES[loss](z, a, y), weights=sample_weight)


@partial(jax.jit, static_argnames=("activations", "loss"))
def cost_and_gradients(
    theta: Parameters,
    x: Any,
    y: Any,
    sample_weight: Any,
    activations: tuple[str, ...],
    loss: str,
    factors: Sequence[Any] = (),
) -> tuple[Any, Parameters]:
    return jax.value_and_grad(cost)(theta, x, y, sample_weight, activations, loss, factors)


@partial(jax.jit, static_argnames="activations")
def outputs_and_vjp(
    theta: Parameters, x: Any, dC_da: Any, activations: tuple[str, ...]
) -> tuple[Any, Parameters, Any]:
    """a^L, the sums over rows of the gradients for a given dC/da^L, and dC/dx."""
    a, pullback = jax.vjp(lambda t, u: forward(t, u, activations)[1], theta, x)
    return a, *pullback(dC_da)


def flat(theta: Parameters) -> Any:
    """W^1 row-major, b^1, W^2, ... in one vector."""
    return jnp.concatenate([p.ravel() for layer in theta for p in layer])
