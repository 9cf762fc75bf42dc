"""Rules that turn gradients into updates. Their state and arithmetic live in the C++ core."""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

LearningRate = float | Callable[[int], float]


class Optimizer(ABC):
    """What all optimisers share: a learning rate, and a state bound to one network.

    The state (momenta, count of updates) is made when the optimiser first meets a network,
    belongs to that network from then on, keeps it alive, and lasts over calls of ``fit``,
    ``train_step`` and ``apply`` until ``reset()``. A copy or a pickle of an optimiser takes its
    hyperparameters only and starts without state.

    Parameters
    ----------
    learning_rate : float or callable
        η, finite and >= 0; or a schedule, a function of the step: the count of updates this
        optimiser has done before, from 0. It may be assigned to between calls. The other
        hyperparameters are fixed.
    """

    _rule: str
    _powers: tuple[str, ...] = ()
    _state: _core.OptimizerState | None
    _network: weakref.ref[_core.Network] | None

    def __init__(self, learning_rate: LearningRate) -> None:
        self.learning_rate = learning_rate
        self._forget()

    @property
    def learning_rate(self) -> LearningRate:
        """η, or the schedule that gives it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        self._learning_rate = value if callable(value) else _rate(value, "learning_rate")

    @property
    def step(self) -> int:
        """Updates done since the optimiser was made or reset."""
        return self._state.step if self._state is not None else 0

    def reset(self) -> None:
        """Drop the state; the optimiser may then meet another network."""
        self._forget()

    def rate_at(self, step: int) -> float:
        """Return the learning rate of the update that `step` updates precede."""
        if callable(self._learning_rate):
            return rate_at(self._learning_rate, step)
        return self._learning_rate

    def rates(self, n: int) -> NDArray[np.float64]:
        """Return the learning rates of the next n updates: shape (n,), or (1,) if constant."""
        if not callable(self._learning_rate):
            return np.array([self._learning_rate])
        return np.array([self.rate_at(step) for step in range(self.step, self.step + n)])

    def bind(self, network: _core.Network) -> _core.OptimizerState:
        """Return the state for `network`; ValueError if it belongs to another network."""
        owner = self._network() if self._network is not None else None
        # A state without updates holds nothing: the call that made it was refused.
        if self._state is None or (owner is not network and not self._state.step):
            self._state = _core.OptimizerState(network, self._rule, self._hyperparameters())
            self._network = weakref.ref(network)
        elif owner is not network:
            raise ValueError(
                f"this {type(self).__name__} holds state of another network: "
                "make a new optimizer, or call reset() first"
            )
        return self._state

    def state_dict(self) -> dict[str, Any]:
        """Return the state: all that `load_state_dict` needs to go on with the same bits.

        Returns
        -------
        dict
            "optimizer", the name of the class; "step", the count of updates done; for Adam
            "beta1_power" and "beta2_power", β₁ᵗ and β₂ᵗ. Then a copy of each buffer under
            PyTorch's name, such as "exp_avg" or "momentum_buffer": shape (n_parameters,), in the
            order of ``Network.get_parameters``. Before the first update there are no buffers.
            All but the arrays can be written as JSON. Hyperparameters are not part of the state.
        """
        name = type(self).__name__
        if self._state is None or not self._state.step:
            return {"optimizer": name, "step": 0}
        return {"optimizer": name, **self._state.get()}

    def load_state_dict(self, network: _core.Network, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, and belong to `network` from now on.

        Training that goes on from the same parameters with the same hyperparameters gives the
        bits of training that was never interrupted. A state that this optimiser held before is
        lost. Buffers are copied, rounded to the network's dtype if it is another one.

        Raises
        ------
        ValueError
            If the state is that of another class or of other hyperparameters (momentum or not),
            or has not one number a parameter. Nothing has changed then.
        """
        name = type(self).__name__
        if not isinstance(network, _core.Network):
            raise TypeError(f"network must be a Network, got {network!r}")
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict from state_dict(), got {type(state).__name__}")
        rest = dict(state)
        if rest.pop("optimizer", None) != name:
            raise ValueError(
                f"expected the state of {name}, got that of {state.get('optimizer')!r}: "
                "give what state_dict() returned"
            )
        fresh = _core.OptimizerState(network, self._rule, self._hyperparameters())
        self._fill(fresh, rest)
        self._state, self._network = fresh, weakref.ref(network)

    def _fill(self, target: _core.OptimizerState, state: Mapping[str, Any]) -> None:
        """Check what ``OptimizerState.get`` gave, and set `target` to it."""
        rest = {name: value for name, value in state.items() if name != "optimizer"}
        step = _step(rest.pop("step", None))
        if step:
            powers = {key: _power(rest.pop(key, None), key) for key in self._powers}
            target.set(step, vectors=rest, **powers)

    def _forget(self) -> None:
        self._state = None
        self._network = None

    @abstractmethod
    def _hyperparameters(self) -> dict[str, float]:
        """Return what the core needs to know, by its names."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The state holds copies of the hyperparameters: a change here would go unnoticed.
        if name in vars(self) and not name.startswith("_"):
            raise AttributeError(
                f"{type(self).__name__}.{name} is fixed; only learning_rate can be changed"
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_state", "_network")
        return {name: value for name, value in vars(self).items() if name not in hidden}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def __repr__(self) -> str:
        return self._described(learning_rate=self.learning_rate)

    def _described(self, **arguments: object) -> str:
        """Return class and arguments: these, then the hyperparameters that are fixed."""
        public = {name: v for name, v in vars(self).items() if not name.startswith("_")}
        listed = ", ".join(f"{name}={value!r}" for name, value in {**arguments, **public}.items())
        return f"{type(self).__name__}({listed})"


class SGD(Optimizer):
    """Gradient descent; with the defaults it is W ← W - η ∇W.

    As in PyTorch, with g = ∇W + weight_decay · W at every update::

        v ← momentum · v + g                  (v = g at the first update)
        W ← W - η v                           or, with nesterov,
        W ← W - η (g + momentum · v)

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule; see `Optimizer`.
    momentum : float, default 0
        In [0, 1).
    nesterov : bool, default False
        Look one step ahead; needs a momentum above 0.
    weight_decay : float, default 0
        Factor of the L2 term, >= 0; it acts on weights and biases alike.
    """

    _rule = "sgd"

    def __init__(
        self,
        learning_rate: LearningRate,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = _fraction(momentum, "momentum")
        self.nesterov = bool(nesterov)
        self.weight_decay = _rate(weight_decay, "weight_decay")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")

    def _hyperparameters(self) -> dict[str, float]:
        return {
            "momentum": self.momentum,
            "nesterov": float(self.nesterov),
            "weight_decay": self.weight_decay,
        }


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    As in PyTorch, with g = ∇W + weight_decay · W at update t = 1, 2, …::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        W ← W - η / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps)

    Parameters
    ----------
    learning_rate : float or callable, default 1e-3
        η, or a schedule; see `Optimizer`.
    betas : tuple of float, default (0.9, 0.999)
        β₁ and β₂, both in [0, 1).
    eps : float, default 1e-8
        Above 0.
    weight_decay : float, default 0
        Factor of the L2 term, >= 0; it acts on weights and biases alike.
    """

    _rule = "adam"
    _powers = ("beta1_power", "beta2_power")

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers, got {betas!r}") from None
        self.betas = (_fraction(beta1, "betas[0]"), _fraction(beta2, "betas[1]"))
        self.eps = _rate(eps, "eps")
        self.weight_decay = _rate(weight_decay, "weight_decay")
        if self.eps == 0:
            raise ValueError("eps must be above 0")

    def _hyperparameters(self) -> dict[str, float]:
        return {
            "beta1": self.betas[0],
            "beta2": self.betas[1],
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }


def choose(learning_rate: LearningRate | None, optimizer: Optimizer | None) -> Optimizer:
    """Return the optimiser that exactly one of the two arguments asks for."""
    if (learning_rate is None) == (optimizer is None):
        raise ValueError("give exactly one of learning_rate and optimizer")
    if learning_rate is not None:
        return SGD(learning_rate)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be a chainrule optimizer, got {optimizer!r}")
    return optimizer


def rate_at(learning_rate: LearningRate, step: int) -> float:
    """Return η of the update that `step` updates precede."""
    if callable(learning_rate):
        return _rate(learning_rate(step), f"the schedule's learning rate at step {step}")
    return _rate(learning_rate, "learning_rate")


def _rate(value: float, name: str) -> float:
    """Return `value` as a float, finite and >= 0."""
    if type(value) is float and 0 <= value < math.inf:  # most are: Real is slow to ask
        return value
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return float(value)


def _step(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value < 2**63:
        raise ValueError(f"the state's step must be an integer >= 0, got {value!r}")
    return index(value)


def _power(value: Any, name: str) -> float:
    if value is None:
        raise ValueError(f"the state lacks '{name}'")
    if _rate(value, name) > 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return float(value)


def _fraction(value: float, name: str) -> float:
    if _rate(value, name) >= 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return float(value)
