"""PyTorch, eager."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import Learner, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..problem import Problem


def start(threads: int) -> None:
    """Use so many threads."""
    torch = import_module("torch")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


#: PyTorch's implementations of an update on a CPU.
UPDATES = ("foreach", "fused")


def inference(problem: Problem) -> list[Variant]:
    """Call a module, or the operators without it."""
    models = {"module": module(problem), "operators": _operators(problem)}
    return [prediction(name, model, problem) for name, model in models.items()]


def prediction(name: str, model: Callable[[Any], Any], problem: Problem) -> Variant:
    """Return the variant that calls a model without recording gradients."""
    torch = import_module("torch")
    names = {"model": model, "x": torch.from_numpy(problem.x)}
    return Variant(name, "model(x)", lambda: names, lambda a, _: [a], torch.inference_mode)


def training(problem: Problem) -> list[Variant]:
    """Update with either implementation."""
    return [
        Variant(
            name,
            "epoch()",
            partial(dict, epoch=_training(problem, name)),
            lambda model, _: parameters(model),
        )
        for name in UPDATES
    ]


def accuracy(problem: Problem) -> list[Learner]:
    """Update with either implementation of Adam."""
    return [Loop(name, problem) for name in UPDATES]


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
    """Return an epoch of the usual loop."""
    torch = import_module("torch")
    model = module(problem, logits=True)
    optimizer = _optimizer(model, problem, implementation)
    functional, classes = torch.nn.functional, problem.cell.loss == "cross_entropy"
    loss = functional.cross_entropy if classes else functional.mse_loss
    targets = problem.labels if classes else problem.y
    batches = [tuple(map(torch.from_numpy, b)) for b in problem.batches(problem.x, targets)]

    def epoch() -> Any:
        _descend(optimizer, lambda x, y: loss(model(x), y), batches)
        return model

    return epoch


def _optimizer(model: Any, problem: Problem, implementation: str) -> Any:
    """Return the cell's optimiser.

    PyTorch's mean squared error is twice the cost, which η makes up for, or ε in Adam.
    """
    optim, cell = import_module("torch").optim, problem.cell
    factor = 2 if cell.loss == "half_mse" else 1
    how = {implementation: True}
    if cell.kind == "training-adam":
        return optim.Adam(model.parameters(), cell.learning_rate, eps=factor * 1e-8, **how)
    return optim.SGD(model.parameters(), cell.learning_rate / factor, **how)


class Loop:
    """The usual loop, batch by batch; `name` is the implementation of Adam."""

    def __init__(self, name: str, problem: Problem) -> None:
        self.torch = torch = import_module("torch")
        self.name, self.problem = name, problem
        self.x, self.y = torch.from_numpy(problem.x), torch.from_numpy(problem.labels)
        self.model = module(problem, logits=True)
        self.first = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.reset()

    def reset(self) -> None:
        """Go back to the first weights."""
        self.model.load_state_dict(self.first)
        self.optimizer = _optimizer(self.model, self.problem, self.name)

    def cost(self, x: Any, y: Any) -> Any:
        """Return the mean cost of a batch."""
        return self.torch.nn.functional.cross_entropy(self.model(x), y)

    def epoch(self, order: NDArray[Any]) -> None:
        """Train on all samples in this order."""
        rows = self.torch.from_numpy(order).split(self.problem.cell.batch)
        _descend(self.optimizer, self.cost, ((self.x[r], self.y[r]) for r in rows))

    def labels(self, x: NDArray[Any]) -> Any:
        """Return the most likely class of every row."""
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(x)).argmax(dim=1).numpy()

    def parameters(self) -> list[Any]:
        """Return W^1, b^1, W^2, …."""
        return parameters(self.model)


def _descend(optimizer: Any, cost: Callable[[Any, Any], Any], batches: Iterable[Any]) -> None:
    """Update once for every batch."""
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        cost(x, y).backward()
        optimizer.step()


def parameters(model: Any) -> list[Any]:
    """Return W^1, b^1, W^2, …."""
    return [p.detach().numpy() for p in model.parameters()]
