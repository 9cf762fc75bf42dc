"""What all optimisers share. Their state and arithmetic live in the C++ core."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from itertools import chain
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.inputs.numbers import nonnegative, positive
from chainrule.schedules import LearningRate, Schedule
from chainrule.uninterrupted import at_once, setting

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SHARED = ("l1", "l2", "clip_value", "clip_norm")


class Optimizer(ABC):
    """A learning rate, penalties, clipping, and a state bound to one network.

    With the gradient ∇W of a batch, a rule receives g, made in this order::

        g ← ∇W + l2 · W + l1 · sign(W)          penalties, of the weights only
        g ← min(max(g, -clip_value), clip_value)
        g ← g · min(1, clip_norm / (‖g‖ + 1e-6))

    ‖g‖ is the norm over all weights and biases, as in ``torch.nn.utils.clip_grad_norm_``. Clipping
    hides no infinity and no NaN: they reach the weights, and ``fit`` raises DivergenceError. The
    `weight_decay` of a rule acts after clipping, on weights and biases alike, as in PyTorch. Costs
    are reported without penalties.

    The state (momenta, count of updates) is made when the optimiser first meets a network,
    belongs to that network from then on, keeps it alive, and lasts over calls of ``fit``,
    ``train_step`` and ``apply`` until ``reset()``. A copy or a pickle of an optimiser takes its
    hyperparameters only and starts without state.

    Parameters
    ----------
    learning_rate : float or callable
        η, finite and >= 0; or a schedule, a function of the step: the count of updates this
        optimiser has done before, from 0, see `chainrule.schedules`. It may be assigned to between
        calls. The other hyperparameters are fixed.
    l1, l2 : float, keyword-only, default 0
        Factors of the penalties l1 Σ|w| + ½ l2 Σ w² of all weights, >= 0.
    clip_value : float, keyword-only, optional
        The largest size of one entry of a gradient, above 0.
    clip_norm : float, keyword-only, optional
        The largest norm of a gradient, above 0.
    """

    _rule: str
    _powers: tuple[str, ...] = ()
    _state: _core.OptimizerState | None
    _network: weakref.ref[_core.Network] | None

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        l1: float,
        l2: float,
        clip_value: float | None,
        clip_norm: float | None,
    ) -> None:
        self.l1 = nonnegative(l1, "l1")  # fixed: an __init__ called again ends here
        self.l2 = nonnegative(l2, "l2")
        self.clip_value = None if clip_value is None else positive(clip_value, "clip_value")
        self.clip_norm = None if clip_norm is None else positive(clip_norm, "clip_norm")
        self.learning_rate = learning_rate
        self._forget()

    @property
    def learning_rate(self) -> LearningRate:
        """η, or the schedule that gives it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        self._learning_rate = value if callable(value) else nonnegative(value, "learning_rate")

    @property
    def step(self) -> int:
        """Updates done since the optimiser was made or reset."""
        return self._state.step if self._state is not None else 0

    def reset(self) -> None:
        """Drop the state, the schedule's too; the optimiser may then meet another network."""
        if isinstance(self._learning_rate, Schedule):
            self._learning_rate.reset()
        self._forget()

    def observe(self, cost: float) -> None:
        """Tell the schedule the monitored cost of an epoch; ``fit`` does so after each one."""
        if isinstance(self._learning_rate, Schedule):
            self._learning_rate.observe(cost)

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
            at_once(owning(self, network, fresh_state(self, network)))
        elif owner is not network:
            raise ValueError(
                f"this {type(self).__name__} holds state of another network: "
                "make a new optimizer, or call reset() first"
            )
        return self._state  # type: ignore[return-value]  # at_once has set it

    def state_dict(self) -> dict[str, Any]:
        """Return the state: all that `load_state_dict` needs to go on with the same bits.

        Returns
        -------
        dict
            "optimizer", the name of the class; "step", the count of updates done; for Adam
            "beta1_power" and "beta2_power", β₁ᵗ and β₂ᵗ. Then a copy of each buffer under
            PyTorch's name, such as "exp_avg" or "momentum_buffer": shape (n_parameters,), in the
            order of ``Network.get_parameters``. Before the first update there are no buffers.
            "schedule" is the state of a schedule that has one. All but the arrays can be written
            as JSON. Hyperparameters are not part of the state.
        """
        state: dict[str, Any] = {"optimizer": type(self).__name__, "step": 0}
        if self._state is not None and self._state.step:
            state.update(self._state.get())
        if seen := schedule_state(self):
            state["schedule"] = seen
        return state

    def load_state_dict(self, network: _core.Network, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, and belong to `network` from now on.

        Training that goes on from the same parameters with the same hyperparameters gives the
        bits of training that was never interrupted. A state that this optimiser held before is
        lost. Buffers are copied, rounded to the network's dtype if it is another one. The state of
        a schedule goes to this optimiser's schedule, if it keeps one.

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
        fresh = fresh_state(self, network)
        fill_state(self, fresh, rest)
        set_schedule(self, rest)
        at_once(owning(self, network, fresh))

    def _forget(self) -> None:
        at_once(setting(self, "_state", None), setting(self, "_network", None))

    @abstractmethod
    def _hyperparameters(self) -> dict[str, float]:
        """Return what the core needs to know of the rule, by its names."""

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
        return described(self, learning_rate=self.learning_rate)


def described(optimizer: Optimizer, **arguments: object) -> str:
    """Return class and arguments: these, then the hyperparameters that are fixed."""
    public = {name: v for name, v in vars(optimizer).items() if not name.startswith("_")}
    shared = {name: v for name in _SHARED if (v := public.pop(name))}
    given = {**arguments, **public, **shared}
    listed = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return f"{type(optimizer).__name__}({listed})"


def schedule_state(optimizer: Optimizer) -> dict[str, Any]:
    """Return what the optimiser's schedule has observed; empty if it keeps nothing."""
    rate = optimizer.learning_rate
    return rate.state_dict() if isinstance(rate, Schedule) else {}


def set_schedule(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Set the optimiser's schedule to what it had observed in a state, if it keeps that."""
    seen, rate = state.get("schedule"), optimizer.learning_rate
    if seen and isinstance(rate, Schedule) and schedule_state(optimizer):
        rate.load_state_dict(seen)


def fresh_state(optimizer: Optimizer, network: _core.Network) -> _core.OptimizerState:
    """Return a state without updates."""
    given = {name: v for name in _SHARED if (v := getattr(optimizer, name)) is not None}
    rule, own = optimizer._rule, optimizer._hyperparameters()
    return _core.OptimizerState(network, rule, {**given, **own})


def fill_state(
    optimizer: Optimizer, target: _core.OptimizerState, state: Mapping[str, Any]
) -> None:
    """Check what ``state_dict`` gave, and set `target`, the optimiser's or a new one, to it."""
    others = ("optimizer", "schedule")
    rest = {name: value for name, value in state.items() if name not in others}
    step = _step(rest.pop("step", None))
    if step:
        powers = {key: _power(rest.pop(key, None), key) for key in optimizer._powers}
        target.set(step, vectors=rest, **powers)


def owning(
    optimizer: Optimizer, network: _core.Network, state: _core.OptimizerState
) -> Iterable[None]:
    """Return the calls that set an optimiser's state and network, for ``at_once``."""
    return chain(
        setting(optimizer, "_state", state), setting(optimizer, "_network", weakref.ref(network))
    )


def setting_rate(optimizer: Optimizer, rate: float) -> Iterable[None]:
    """Return the call that sets a learning rate."""
    return setting(optimizer, "_learning_rate", nonnegative(rate, "learning_rate"))


def rate_at(learning_rate: LearningRate, step: int) -> float:
    """Return η of the update that `step` updates precede."""
    if callable(learning_rate):
        return nonnegative(learning_rate(step), f"the schedule's learning rate at step {step}")
    return nonnegative(learning_rate, "learning_rate")


def _step(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value < 2**63:
        raise ValueError(f"the state's step must be an integer >= 0, got {value!r}")
    return index(value)


def _power(value: Any, name: str) -> float:
    if value is None:
        raise ValueError(f"the state lacks '{name}'")
    if nonnegative(value, name) > 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return float(value)
