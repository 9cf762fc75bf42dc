"""PyTorch's ``nn.Sequential`` to a network, and back (``pip install torch``).

>>> import torch
>>> import chainrule.torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> net = chainrule.torch.from_torch(model)
>>> net.sizes, net.activations
((4, 8, 3), ('relu', 'identity'))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.extras import require
from chainrule.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.network import Network

# The modules whose result is that of our activation of the name, in the order to look them up.
ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "Softplus": "softplus",
    "SiLU": "silu",
    "GELU": "gelu",
    "Softmax": "softmax",
}
# What their arguments must be.
ARGUMENTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "leaky_relu": {"negative_slope": (0.01,)},
    "elu": {"alpha": (1.0,)},
    "softplus": {"beta": (1.0,)},
    "gelu": {"approximate": ("none",)},
    "softmax": {"dim": (1, -1)},
}
# Modules that change nothing when a model answers.
TRANSPARENT = ("Identity", "Dropout", "AlphaDropout", "Flatten")


def from_torch(
    sequential: Any, *, output_activation: str | None = None, loss: str | None = None
) -> Network:
    """Return a network with the architecture and a copy of the weights of a PyTorch model.

    Parameters
    ----------
    sequential : torch.nn.Sequential
        Of Linear, the activations of chainrule with their parameters (LeakyReLU(0.01), ELU(1),
        GELU with the error function, Softmax over the last axis, …), BatchNorm1d (as it answers
        in evaluation, folded into the layers beside it), Dropout and Flatten (without effect on
        rows), and nn.Sequential of these.
    output_activation : str, optional
        An activation to append, where the model ends in logits: "softmax" or "sigmoid" for one
        that was trained with CrossEntropyLoss or BCEWithLogitsLoss.
    loss : str, optional
        The network's loss; by default cross_entropy after softmax, binary_cross_entropy after
        sigmoid, else half_mse.

    Returns
    -------
    Network
        In float64 if the model is, else in float32. Its outputs equal the model's within rounding.

    Raises
    ------
    TypeError, ValueError
        If `sequential` is no nn.Sequential, or holds something else; the message names it.
    """
    torch = require("torch", "torch")
    if not isinstance(sequential, torch.nn.Sequential):
        raise TypeError(
            f"from_torch takes an nn.Sequential, got {type(sequential).__name__}: "
            "wrap the layers in the order in which they run"
        )
    stack: Stack | None = None
    dtypes = {parameter.dtype for parameter in sequential.parameters()}
    for name, module in _modules(sequential):
        try:
            if stack is None and isinstance(module, torch.nn.Linear):
                stack = Stack(module.in_features)
            if stack is None and isinstance(module, torch.nn.BatchNorm1d):
                stack = Stack(module.num_features)
            stack = _follow(stack, module, torch)
        except ValueError as error:
            raise ValueError(f"module {name}, {module}: {error}") from None
    if stack is None:
        raise ValueError("the model has no Linear")
    if output_activation is not None:
        stack = stack.activation(output_activation)
    dtype = "float64" if torch.float64 in dtypes else "float32"
    return stack.network(dtype, loss)


def to_torch(network: Network) -> Any:
    """Return a ``torch.nn.Sequential`` with the architecture and a copy of the weights.

    Every layer becomes a Linear (without bias where the network has none), followed by the
    activation's module unless it is the identity. The model is in evaluation mode, of the
    network's dtype, and its outputs equal the network's within rounding.
    """
    torch = require("torch", "torch")
    modules = []
    with torch.no_grad():
        for layer, name in enumerate(network.activations):
            n_out, n_in = network.weights[layer].shape
            linear = torch.nn.Linear(n_in, n_out, bias=network.has_bias)
            linear = linear.to(getattr(torch, network.dtype.name))
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(network.weights[layer])))
            if network.has_bias:
                linear.bias.copy_(torch.from_numpy(network.biases[layer].copy()))
            modules.append(linear)
            if name != "identity":
                kind = next(kind for kind, ours in ACTIVATIONS.items() if ours == name)
                arguments = {k: values[-1] for k, values in ARGUMENTS.get(name, {}).items()}
                modules.append(getattr(torch.nn, kind)(**arguments))
    return torch.nn.Sequential(*modules).eval()


def _modules(sequential: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, module in sequential.named_children():
        if type(module).__name__ == "Sequential":
            yield from _modules(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _follow(stack: Stack | None, module: Any, torch: Any) -> Stack | None:
    kind = type(module).__name__
    if kind in TRANSPARENT and type(module) is getattr(torch.nn, kind):
        return stack
    if stack is None:
        raise ValueError("does not follow a Linear")
    if type(module) is torch.nn.Linear:
        return stack.linear(_array(module.weight), _array(module.bias))
    if type(module) is torch.nn.BatchNorm1d:
        return _batch_norm(stack, module)
    if kind not in ACTIVATIONS or type(module) is not getattr(torch.nn, kind):
        known = ", ".join(["Linear", "BatchNorm1d", *ACTIVATIONS, *TRANSPARENT])
        raise ValueError(f"is not one of {known}")
    name = ACTIVATIONS[kind]
    for argument, allowed in ARGUMENTS.get(name, {}).items():
        value = getattr(module, argument)
        if value not in allowed:
            raise ValueError(f"{argument} must be {allowed[-1]!r}, got {value!r}")
    return stack.activation(name)


def _batch_norm(stack: Stack, module: Any) -> Stack:
    """Follow with (x - mean)/√(variance + ε) · γ + β."""
    if module.running_mean is None:
        raise ValueError("without running statistics its answers depend on the batch")
    mean, variance = _array(module.running_mean), _array(module.running_var)
    scale = 1 / np.sqrt(variance + module.eps)
    if module.affine:
        scale = scale * _array(module.weight)
        return stack.affine(scale, _array(module.bias) - mean * scale)
    return stack.affine(scale, -mean * scale)


def _array(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().cpu().double().numpy()
