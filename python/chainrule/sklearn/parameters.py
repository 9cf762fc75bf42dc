"""The estimators' parameters: what each may be, and what it means for network and optimiser."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from chainrule.schedules import LearningRate, Schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray


Rule = tuple[Callable[[Any], bool], str]

# scikit-learn's names; chainrule's own are understood, too.
ACTIVATIONS = {"logistic": "sigmoid"} | {
    name: name for name in _core.ACTIVATIONS if name != "softmax"
}
LOSSES = {"squared_error": "half_mse", "absolute_error": "mae"} | {
    name: name for name in _core.LOSSES if "cross_entropy" not in name
}
OPTIMIZERS = ("adam", "sgd", "adamw", "rmsprop", "adagrad")


def number(low: float, high: float = math.inf, least: bool = True) -> Rule:
    """Return the rule that a value is a number from `low` (itself only if `least`) below `high`."""
    bounds = f"in {'[' if least else '('}{low}, {high})"

    def test(value: Any) -> bool:
        number = isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
        return number and (value >= low if least else value > low) and bool(value < high)

    return test, f"a number {bounds}"


def _integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _boolean(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def one_of(*names: str) -> Rule:
    """Return the rule that a value is one of these names."""
    return lambda value: isinstance(value, str) and value in names, f"one of {', '.join(names)}"


def _or(rule: Rule, test: Callable[[Any], bool], meaning: str) -> Rule:
    return lambda value: rule[0](value) or test(value), f"{rule[1]}, or {meaning}"


COUNT: Rule = _integer, "an integer >= 1"
SWITCH: Rule = _boolean, "True or False"

RULES: dict[str, Rule] = {
    "solver": _or(
        one_of("lbfgs", *OPTIMIZERS), lambda v: isinstance(v, Optimizer), "a chainrule optimizer"
    ),
    "alpha": number(0),
    "batch_size": _or(COUNT, lambda v: isinstance(v, str) and v == "auto", "'auto'"),
    "learning_rate": _or(
        one_of("constant", "invscaling", "adaptive"), callable, "a function of the step"
    ),
    "learning_rate_init": number(0, least=False),
    "power_t": number(0),
    "max_iter": COUNT,
    "shuffle": SWITCH,
    "tol": number(0),
    "verbose": (
        lambda v: _boolean(v) or isinstance(v, Integral) and int(v) >= 0,
        "True, False or >= 0",
    ),
    "warm_start": SWITCH,
    "momentum": number(0, 1),
    "nesterovs_momentum": SWITCH,
    "early_stopping": SWITCH,
    "validation_fraction": number(0, 1),
    "beta_1": number(0, 1),
    "beta_2": number(0, 1),
    "epsilon": number(0, least=False),
    "n_iter_no_change": _or(COUNT, lambda v: isinstance(v, float) and v == math.inf, "inf"),
    "max_fun": COUNT,
    "init": _or(
        one_of("sklearn", "auto", *_core.INITIALIZERS), callable, "a function (see Network)"
    ),
    "progress": SWITCH,
    "callbacks": (lambda v: isinstance(v, Iterable), "a sequence of functions"),
    "dropout": _or(number(0, 1), lambda v: isinstance(v, Iterable), "one for every hidden layer"),
    "threads": _or(COUNT, lambda v: v is None, "None"),
}


def check_parameters(estimator: Any, **special: Rule) -> None:
    """Raise ValueError unless every parameter is what it may be."""
    for name, (test, expected) in {**RULES, **special}.items():
        value = getattr(estimator, name)
        if not test(value):
            kind = type(estimator).__name__
            raise ValueError(f"{name} of {kind} must be {expected}, got {value!r}")


def hidden_sizes(value: Any) -> list[int]:
    """Return the widths of the hidden layers."""
    sizes = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be integers > 0, got {value!r}")
    return [int(size) for size in sizes]


def hidden_activations(value: Any, layers: int) -> list[str]:
    """Return chainrule's name of each hidden layer's activation."""
    names = [value] * layers if isinstance(value, str) else list(value)
    if len(names) != layers:
        raise ValueError(
            f"activation must be one name, or one a hidden layer: {layers}, got {value!r}"
        )
    for name in names if layers else [value]:
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return [ACTIVATIONS[name] for name in names]


def glorot(
    rng: np.random.RandomState, sizes: list[int], logistic: bool
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Draw scikit-learn's initial weights and biases, uniform in ±√(6 / (n_{l-1} + n_l)).

    With logistic units it is ±√(2 / …). The numbers are those that scikit-learn's perceptrons
    draw from the same generator; they are made of IEEE operations alone, so that they are the
    same on every machine.
    """
    drawn = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        bound = math.sqrt((2.0 if logistic else 6.0) / (fan_in + fan_out))
        w, b = (
            -bound + (bound + bound) * rng.random_sample(shape)
            for shape in ((fan_in, fan_out), fan_out)
        )
        drawn.append((w, b))
    return drawn


def make_optimizer(estimator: Any, penalty: float, scale: float) -> Optimizer:
    """Return a new optimiser for the estimator's parameters.

    Parameters
    ----------
    penalty : float
        λ of the penalty ½ λ Σ w².
    scale : float
        By how much scikit-learn's cost is greater than the network's: the update has to be that
        of the gradient times this. A rule that divides by the gradient's magnitude needs it for
        eps and the penalty only.
    """
    solver = estimator.solver
    if isinstance(solver, Optimizer):
        optimizer = copy.deepcopy(solver)
        optimizer.reset()
        return optimizer
    rate: LearningRate = estimator.learning_rate_init
    if callable(estimator.learning_rate):
        rate = copy.deepcopy(estimator.learning_rate)
        if isinstance(rate, Schedule):
            rate.reset()
    betas, eps, l2 = (
        (estimator.beta_1, estimator.beta_2),
        estimator.epsilon / scale,
        penalty / scale,
    )
    if solver == "sgd":
        momentum = float(estimator.momentum)
        nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
        return SGD(_scaled(rate, scale), momentum, nesterov, l2=l2)
    if solver == "rmsprop":
        return RMSprop(rate, eps=eps, l2=l2)
    if solver == "adagrad":
        return Adagrad(rate, eps, l2=l2)
    return (Adam if solver == "adam" else AdamW)(rate, betas, eps, l2=l2)


def _scaled(rate: LearningRate, factor: float) -> LearningRate:
    if factor == 1.0:
        return rate
    return ScaledSchedule(rate, factor) if callable(rate) else float(rate) * factor


class ScaledSchedule(Schedule):
    """A schedule times a factor."""

    def __init__(self, schedule: Callable[[int], float], factor: float) -> None:
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: int) -> float:
        """Return the schedule's rate, times the factor."""
        return self.schedule(step) * self.factor

    def observe(self, cost: float) -> None:
        """Hand the monitored cost on."""
        if isinstance(self.schedule, Schedule):
            self.schedule.observe(cost)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule itself."""
        return self.schedule.state_dict() if isinstance(self.schedule, Schedule) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give the schedule itself its state back."""
        if isinstance(self.schedule, Schedule):
            self.schedule.load_state_dict(state)
