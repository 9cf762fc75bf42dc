"""PyTorch's ``nn.Sequential`` to a network, and back (``pip install torch``).

>>> import torch
>>> import chainrule.torch
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> net = chainrule.torch.from_torch(model)
>>> net.sizes, net.activations
((4, 8, 3), ('relu', 'identity'))
"""

from __future__ import annotations

import copy
import logging
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.activations import ACTIVATIONS
from chainrule.agreement import Original, verify
from chainrule.extras import require
from chainrule.network import Network
from chainrule.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import DTypeLike, NDArray


logger = logging.getLogger("chainrule")

# The activation of the name of its module.
MODULES = {row.torch.name: name for name, row in ACTIVATIONS.items() if name != "identity"}
# Modules that change no row when a model answers, and what their arguments must be.
TRANSPARENT: dict[str, dict[str, tuple[Any, ...]]] = {
    "Identity": {},
    "Dropout": {},
    "AlphaDropout": {},
    "Flatten": {"start_dim": (-1, 1), "end_dim": (1, -1)},
}
# Above its threshold PyTorch's Softplus returns x. The least threshold, by the type of the model:
# from 15 on softplus(x) rounds to x in float32, and from GUARD on in float64. But 20 is PyTorch's
# default, where softplus(x) is x + 2.1e-9.
GUARDS = {"float32": 15.0, "float64": 20.0}
GUARD = 40.0
# What decides what a call of a module does, and of the modules in an nn.Sequential.
CALLED = ("forward", "__call__", "_call_impl", "_wrapped_call_impl", "__iter__")
PRECISIONS = ("float16", "bfloat16", "float32", "float64")

OTHER_WAY = (
    "put its steps into an nn.Sequential as modules, or export the model with torch.onnx.export "
    "and use chainrule.onnx.from_onnx"
)


def from_torch(
    sequential: Any,
    *,
    output_activation: str | None = None,
    loss: str | None = None,
    dtype: DTypeLike | None = None,
) -> Network:
    """Return a network with the architecture and a copy of the weights of a PyTorch model.

    The result is verified by running: a copy of the model answers rows in evaluation mode, and
    every module's outputs are compared with the network's, in float64. The model, its mode and
    the state of the random generators stay as they are.

    Parameters
    ----------
    sequential : torch.nn.Sequential
        Of Linear, the activations of chainrule with their parameters (LeakyReLU(0.01), ELU(1),
        GELU with the error function, Softmax over the last axis, …), BatchNorm1d (as it answers
        in evaluation, folded into the layers beside it), Dropout and Flatten (without effect on
        rows), and nn.Sequential of these. A module may occur several times. Where a Softplus
        returns x above its threshold, that must be within the rounding of softplus(x), or be
        PyTorch's own threshold of 20 (which in float64 is off by up to 2.1e-9).
    output_activation : str, optional
        An activation to append, where the model ends in logits: "softmax" or "sigmoid" for one
        that was trained with CrossEntropyLoss or BCEWithLogitsLoss.
    loss : str, optional
        The network's loss; by default cross_entropy after softmax, binary_cross_entropy after
        sigmoid, else half_mse.
    dtype : {"float32", "float64"}, optional
        By default float64 if the model is, else float32.

    Returns
    -------
    Network
        Its outputs equal those of ``sequential.eval()`` within rounding.

    Raises
    ------
    TypeError, ValueError
        If `sequential` is no nn.Sequential, or holds something else, or something that changes
        what its modules do (a hook, a parametrization, a method that was replaced); or if it
        answers otherwise than the network. The message names the module.

    Warns
    -----
    UserWarning
        If the model cannot be run, and the result is therefore not verified.
    """
    torch = require("torch", "torch")
    if not isinstance(sequential, torch.nn.Sequential):
        # torch.compile and DataParallel keep the model in these.
        inner = [n for n in ("_orig_mod", "module") if hasattr(sequential, n)]
        way = f"pass its attribute {inner[0]}" if inner else OTHER_WAY
        name = type(sequential).__name__
        raise TypeError(f"from_torch takes an nn.Sequential, got {name}: {way}")
    if output_activation is not None and output_activation not in _core.ACTIVATIONS:
        raise ValueError(
            f"output_activation must be one of {', '.join(_core.ACTIVATIONS)}, "
            f"got {output_activation!r}"
        )
    _check_hooks_of_all_modules(torch)
    precision = _precision(sequential, torch)
    stack: Stack | None = None
    titles, tensors = [], {}
    for name, module in _leaves(sequential, torch):
        title = f"module {name}, {_one_line(module)}"
        before = stack
        try:
            stack = _follow(stack, module, precision, torch)
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from None
        titles.append(title)
        if stack is not None:
            tensors[title] = stack
        logger.info("%s: %s", title, _fate(before, stack, module))
    if stack is None:
        raise ValueError("the model has no Linear")
    result = stack if output_activation is None else stack.activation(output_activation)
    network = Network.from_arrays(
        *result.arrays(), loss, rows="outputs", dtype=precision if dtype is None else dtype, seed=0
    )

    def run(rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return _outputs(sequential, titles, rows, torch)

    runs = {"float64": run} | ({"float32": run} if precision == "float32" else {})
    mend = f"Undo what changes the model besides its modules' arguments, or {OTHER_WAY}"
    verify(network, result, tensors, Original("the model", runs, mend))
    return network


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
                kind, allowed = ACTIVATIONS[name].torch
                arguments = {argument: values[-1] for argument, values in allowed.items()}
                if name == "softplus":
                    arguments["threshold"] = GUARD
                modules.append(getattr(torch.nn, kind)(**arguments))
    return torch.nn.Sequential(*modules).eval()


def _check_hooks_of_all_modules(torch: Any) -> None:
    every = torch.nn.modules.module
    if every._global_forward_hooks or every._global_forward_pre_hooks:
        raise ValueError(
            "forward hooks are registered for all modules (register_module_forward_hook or "
            "register_module_forward_pre_hook), and may change what the model does: remove them "
            "while the model is imported"
        )


def _leaves(
    sequential: Any, torch: Any, prefix: str = "", around: tuple[Any, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """Yield the modules in the order in which they run, those that occur twice twice."""
    where = f"module {prefix[:-1]}" if prefix else "the model"
    try:
        if any(sequential is outer for outer in around):
            raise ValueError("contains itself")
        _check_calls(sequential, torch.nn.Sequential)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for name, module in sequential._modules.items():
        if isinstance(module, torch.nn.Sequential):
            yield from _leaves(module, torch, f"{prefix}{name}.", (*around, sequential))
        else:
            yield f"{prefix}{name}", module


def _check_calls(module: Any, kind: Any) -> None:
    """Raise ValueError unless a call of the module runs ``kind.forward`` and nothing else."""
    name = type(module).__name__
    for method in CALLED:
        if getattr(type(module), method, None) is not getattr(kind, method, None):
            raise ValueError(
                f"{name} has its own {method}, which from_torch cannot read: {OTHER_WAY}"
            )
    replaced = [n for n in vars(module) if callable(getattr(kind, n, None))]
    if replaced:
        raise ValueError(f"{replaced[0]} is replaced on this object: del it there, or {OTHER_WAY}")
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(
            f"{name} has forward hooks, which may change what it does: remove them from the model "
            "or a copy of it (handle.remove(); torch.nn.utils.remove_weight_norm, "
            "remove_spectral_norm or prune.remove where these put them there)"
        )


def _follow(stack: Stack | None, module: Any, precision: str, torch: Any) -> Stack | None:
    kind = type(module).__name__
    known = ("Linear", "BatchNorm1d", *MODULES, *TRANSPARENT)
    if kind not in known or type(module) is not getattr(torch.nn, kind):
        _explain(module, kind, torch)
        whose = type(module).__module__
        raise ValueError(f"of {whose} is not one of torch.nn's {', '.join(known)}: {OTHER_WAY}")
    _check_calls(module, type(module))
    if kind in TRANSPARENT:
        _check_arguments(module, TRANSPARENT[kind])
        return stack
    if kind == "Linear":
        w = _array(getattr(module, "weight", None), torch)
        b = None if module.bias is None else _array(module.bias, torch)
        if b is not None and b.size not in (1, len(w)):
            raise ValueError(f"has a bias of shape {b.shape} for weights of shape {w.shape}")
        return (stack or Stack(w.shape[-1])).linear(w, None if b is None else b.ravel())
    if kind == "BatchNorm1d":
        return _batch_norm(stack, module, torch)
    if stack is None:
        raise ValueError("does not follow a Linear")
    name = MODULES[kind]
    _check_arguments(module, ACTIVATIONS[name].torch.arguments)
    if name == "softplus":
        _check_guard(module.threshold, precision)
    return stack.activation(name)


def _explain(module: Any, kind: str, torch: Any) -> None:
    """Raise ValueError if it is known why a module is not of the type that it seems to be of."""
    if isinstance(module, torch.nn.Module) and torch.nn.utils.parametrize.is_parametrized(module):
        raise ValueError(
            "its parameters are parametrized: call "
            "torch.nn.utils.parametrize.remove_parametrizations(module, name) on the model or a "
            "copy of it"
        )
    if kind.startswith("Lazy"):
        raise ValueError("has no weights yet: run the model on a batch before it is imported")


def _check_arguments(module: Any, arguments: Mapping[str, tuple[Any, ...]]) -> None:
    for argument, allowed in arguments.items():
        value = getattr(module, argument)
        if not isinstance(value, (int, float, str)) or value not in allowed:
            raise ValueError(f"{argument} must be {allowed[-1]!r}, got {value!r}")


def _check_guard(threshold: Any, precision: str) -> None:
    least, most = GUARDS[precision], log(np.finfo(precision).max)
    if not isinstance(threshold, (int, float)) or not least <= threshold <= most:
        raise ValueError(
            f"threshold must lie between {least:g}, from where on Softplus is its argument in "
            f"{precision}, and {most:.1f}, where exp overflows, got {threshold!r}"
        )


def _batch_norm(stack: Stack | None, module: Any, torch: Any) -> Stack:
    """Follow with (x - mean)/√(variance + ε) · γ + β."""
    if module.running_mean is None or module.running_var is None:
        raise ValueError(
            "without running statistics its answers depend on the batch: train it with "
            "track_running_stats=True"
        )
    tensors = (module.running_mean, module.running_var, module.weight, module.bias)
    mean, variance, gamma, beta = (None if t is None else _array(t, torch) for t in tensors)
    assert mean is not None and variance is not None
    stack = stack or Stack(len(mean))
    shapes = [v.shape for v in (mean, variance, gamma, beta) if v is not None]
    if any(shape != (stack.width,) for shape in shapes):
        raise ValueError(f"holds tensors of shapes {shapes}, but {stack.width} features come in")
    with np.errstate(all="ignore"):  # the network refuses what is not finite
        scale = 1 / np.sqrt(variance + module.eps)
        if gamma is not None:
            scale = scale * gamma
        shift = -mean * scale
    return stack.affine(scale, shift if beta is None else beta + shift)


def _array(tensor: Any, torch: Any) -> NDArray[np.float64]:
    """Return a parameter or buffer in float64, which holds the numbers of every other type."""
    if tensor is None:
        raise ValueError("has no weight")
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise ValueError(
            f"holds a {type(tensor).__name__}, expected a plain tensor: load the model without "
            "what wraps its weights (a quantisation, a distribution over devices)"
        )
    if tensor.is_meta:
        raise ValueError("is on the meta device, which holds no numbers: load its weights first")
    precision = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout is not torch.strided or precision not in PRECISIONS:
        raise ValueError(
            f"holds a tensor of {precision}, {tensor.layout}, expected one of "
            f"{', '.join(PRECISIONS)} that is torch.strided"
        )
    return np.asarray(tensor.detach().cpu().double().numpy())


def _precision(sequential: Any, torch: Any) -> str:
    """Return the type of a network that holds the model's numbers."""
    tensors = [*sequential.parameters(), *sequential.buffers()]
    found = sorted({str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()})
    if "float64" not in found:
        return "float32"
    if len(found) > 1:
        raise ValueError(
            f"the model holds numbers of {' and '.join(found)}, which PyTorch does not run: "
            "convert it with .float() or .double()"
        )
    return "float64"


def _one_line(module: Any) -> str:
    text = str(module)
    return type(module).__name__ if "\n" in text else text


def _fate(before: Stack | None, after: Stack | None, module: Any) -> str:
    if after is before:
        return "dropped, since it changes no row in evaluation mode"
    if type(module).__name__ == "BatchNorm1d":
        return "folded, in evaluation mode, into the weights beside it"
    return "taken"


def _outputs(
    sequential: Any, titles: list[str], rows: NDArray[Any], torch: Any
) -> dict[str, NDArray[Any]]:
    """Return what every module gives for rows, by title, run by a copy of the model in their type.

    The last one is what the model as a whole gives.
    """
    found: list[NDArray[Any]] = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        twin = copy.deepcopy(sequential).to("cpu", getattr(torch, rows.dtype.name)).eval()
        for module in {module for _, module in _leaves(twin, torch)}:
            if type(module) is torch.nn.Softplus:
                module.threshold = GUARD  # the same function in the model's own type
            module.register_forward_hook(
                # A copy: the next module may work in place.
                lambda module, inputs, output: found.append(output.numpy().copy())
            )
        output = twin(torch.from_numpy(rows.copy())).numpy()
    if len(found) != len(titles):
        return {titles[-1]: output}
    return dict(zip(titles, [*found[:-1], output], strict=True))
