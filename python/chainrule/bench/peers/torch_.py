"""PyTorch, eager."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import Variant

if TYPE_CHECKING:
    from ..problem import Problem

PACKAGES = ("torch",)


def start(threads: int) -> None:
    """Use so many threads."""
    torch = import_module("torch")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


def variants(problem: Problem) -> list[Variant]:
    """Call a module or the operators without it; update with either implementation."""
    if problem.cell.training:
        return [
            Variant(name, "epoch()", {"epoch": epoch}, lambda model: _parameters(model))
            for name in ("foreach", "fused")
            for epoch in [_training(problem, name)]
        ]
    torch = import_module("torch")
    x = torch.from_numpy(problem.x)
    return [
        Variant(name, "model(x)", {"model": f, "x": x}, lambda a: [a], torch.inference_mode)
        for name, f in (("module", module(problem)), ("operators", _operators(problem)))
    ]


def module(problem: Problem, logits: bool = False) -> Any:
    """Return the network as a Sequential, with or without a last softmax."""
    torch = import_module("torch")
    nn = torch.nn
    classes = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}
    layers: list[Any] = []
    for layer, (w, b) in enumerate(zip(problem.weights, problem.biases, strict=True)):
        linear = nn.Linear(w.shape[1], w.shape[0], dtype=getattr(torch, problem.cell.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w))
            linear.bias.copy_(torch.from_numpy(b))
        layers.append(linear)
        name = problem.activation(layer)
        if name in classes:
            layers.append(classes[name]())
        elif name == "softmax" and not logits:
            layers.append(nn.Softmax(dim=1))
    return nn.Sequential(*layers)


def _operators(problem: Problem) -> Callable[[Any], Any]:
    """Return a function of the fewest operators, with outputs made once."""
    torch = import_module("torch")
    in_place = {"tanh": torch.tanh_, "sigmoid": torch.sigmoid_, "relu": torch.relu_}
    addmm, softmax = torch.addmm, torch.softmax
    layers = [
        (
            torch.from_numpy(w).T,
            torch.from_numpy(b),
            torch.empty(problem.cell.batch, len(b), dtype=getattr(torch, problem.cell.dtype)),
            in_place.get(problem.activation(layer)),
        )
        for layer, (w, b) in enumerate(zip(problem.weights, problem.biases, strict=True))
    ]
    with_softmax = problem.cell.output == "softmax"

    def predict(a: Any) -> Any:
        for w, b, z, activate in layers:
            addmm(b, a, w, out=z)
            if activate is not None:
                activate(z)
            a = z
        return softmax(a, 1) if with_softmax else a

    return predict


def _training(problem: Problem, implementation: str) -> Callable[[], Any]:
    """Return the usual loop; a mean squared error is twice the cost, which η or ε make up for."""
    torch = import_module("torch")
    cell = problem.cell
    model = module(problem, logits=True)
    classes = cell.loss == "cross_entropy"
    functional = torch.nn.functional
    loss = functional.cross_entropy if classes else functional.mse_loss
    factor = 1 if classes else 2
    how = {implementation: True}
    if cell.kind == "training-adam":
        optimizer = torch.optim.Adam(
            model.parameters(), cell.learning_rate, eps=factor * 1e-8, **how
        )
    else:
        optimizer = torch.optim.SGD(model.parameters(), cell.learning_rate / factor, **how)
    targets = problem.labels if classes else problem.y
    batches = [tuple(map(torch.from_numpy, b)) for b in problem.batches(problem.x, targets)]

    def epoch() -> Any:
        for x, y in batches:
            optimizer.zero_grad(set_to_none=True)
            loss(model(x), y).backward()
            optimizer.step()
        return model

    return epoch


def _parameters(model: Any) -> list[Any]:
    return [p.detach().numpy() for p in model.parameters()]
