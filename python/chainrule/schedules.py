"""Learning rates that change from step to step, for the `learning_rate` of an optimiser.

A schedule is a function of the step: the count of updates done before, from 0. Any function will
do. Those here have PyTorch's formulas, counted in updates rather than epochs, and use nothing but
+ - × ÷: a rate has the same bits on every machine.

>>> schedule = Cosine(1e-3, total_steps=1000, warmup_steps=100)
>>> schedule(50), schedule(100), schedule(1000)
(0.0005, 0.001, 0.0)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from chainrule.inputs.numbers import count, fraction, nonnegative, positive

LearningRate = float | Callable[[int], float]


class Schedule(ABC):
    """A learning rate as a function of the step.

    Those that follow the training beside the step override the other methods too; optimisers
    call them.
    """

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Return η of the update that `step` updates precede."""

    def observe(self, cost: float) -> None:  # noqa: B027
        """Take note of the monitored cost of an epoch; ``fit`` calls it after each one."""

    def reset(self) -> None:  # noqa: B027
        """Forget what was observed."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was observed, for a checkpoint: numbers that can be written as JSON."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take over what `state_dict` gave."""


class _Function(Schedule):
    """A schedule that is a function of the step and of its arguments, which are fixed."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in vars(self):
            raise AttributeError(f"{type(self).__name__}.{name} is fixed: make a new schedule")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        arguments = (f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({', '.join(arguments)})"


class StepDecay(_Function):
    """η = learning_rate · gamma^⌊step / step_size⌋, as PyTorch's ``StepLR``.

    Parameters
    ----------
    learning_rate : float
        The first rate.
    step_size : int
        Updates from one change to the next.
    gamma : float, default 0.1
        Factor of a change, above 0.
    """

    def __init__(
        self,
        learning_rate: float,
        step_size: int,
        gamma: float = 0.1,
    ) -> None:
        self.learning_rate = nonnegative(learning_rate, "learning_rate")
        self.step_size = count(step_size, "step_size")
        self.gamma = positive(gamma, "gamma")

    def __call__(self, step: int) -> float:
        """Return η of the update that `step` updates precede."""
        return self.learning_rate * _power(self.gamma, step // self.step_size)


class ExponentialDecay(_Function):
    """η = learning_rate · gamma^step, as PyTorch's ``ExponentialLR``.

    Parameters
    ----------
    learning_rate : float
        The first rate.
    gamma : float
        Factor from one update to the next, above 0. A rate that is to fall to r times the first
        one within n updates has gamma = r^(1/n).
    """

    def __init__(
        self,
        learning_rate: float,
        gamma: float,
    ) -> None:
        self.learning_rate = nonnegative(learning_rate, "learning_rate")
        self.gamma = positive(gamma, "gamma")

    def __call__(self, step: int) -> float:
        """Return η of the update that `step` updates precede."""
        return self.learning_rate * _power(self.gamma, step)


class Cosine(_Function):
    """Half a cosine from `learning_rate` down to `final`, after a linear warm-up if wanted.

    From the end of the warm-up, t going from 0 to 1::

        η = final + (learning_rate - final) · (1 + cos πt) / 2

    as PyTorch's ``CosineAnnealingLR``, without its rise after the end: there η stays at `final`
    (Loshchilov and Hutter 2017).

    Parameters
    ----------
    learning_rate : float
        The highest rate.
    total_steps : int
        Updates until `final` is reached, those of the warm-up included.
    final : float, default 0
        The last rate.
    warmup_steps : int, default 0
        Updates in which η grows linearly from `warmup_start` to `learning_rate`; fewer than
        `total_steps`.
    warmup_start : float, default 0
        The rate of the first update, where there is a warm-up.
    """

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        final: float = 0.0,
        warmup_steps: int = 0,
        warmup_start: float = 0.0,
    ) -> None:
        self.learning_rate = nonnegative(learning_rate, "learning_rate")
        self.total_steps = count(total_steps, "total_steps")
        self.final = nonnegative(final, "final")
        self.warmup_steps = count(warmup_steps, "warmup_steps", least=0)
        self.warmup_start = nonnegative(warmup_start, "warmup_start")
        if self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"warmup_steps must be less than total_steps, got {self.warmup_steps} "
                f"and {self.total_steps}"
            )

    def __call__(self, step: int) -> float:
        """Return η of the update that `step` updates precede."""
        if step < self.warmup_steps:
            return _linear(self.warmup_start, self.learning_rate, step / self.warmup_steps)
        t = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return _cosine(self.learning_rate, self.final, min(t, 1.0))


class OneCycle(_Function):
    """Up to `max_rate`, then down to almost nothing, as PyTorch's ``OneCycleLR``.

    With initial = max_rate / div_factor and final = initial / final_div_factor, η goes from
    initial to max_rate until step pct_start · total_steps - 1, and from there to final until step
    total_steps - 1. In three phases it goes down to initial in as many steps as it went up, and
    only then to final. After the last step it stays there. Momentum is not cycled
    (Smith and Topin 2018).

    Parameters
    ----------
    max_rate : float
        The highest rate.
    total_steps : int
        Updates of the whole cycle, such as epochs · ⌈n / batch_size⌉.
    pct_start : float, default 0.3
        Share of the cycle in which η grows, in [0, 1]; at most 0.5 in three phases.
    anneal : {"cos", "linear"}, default "cos"
        The way from one rate to the other.
    div_factor, final_div_factor : float, default 25 and 1e4
        See above; above 0.
    three_phase : bool, default False
        See above.
    """

    def __init__(
        self,
        max_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal: Literal["cos", "linear"] = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        self.max_rate = nonnegative(max_rate, "max_rate")
        self.total_steps = count(total_steps, "total_steps")
        self.pct_start = nonnegative(pct_start, "pct_start")
        self.div_factor = positive(div_factor, "div_factor")
        self.final_div_factor = positive(final_div_factor, "final_div_factor")
        self.three_phase = bool(three_phase)
        limit = 0.5 if self.three_phase else 1.0
        if self.pct_start > limit:
            raise ValueError(f"pct_start must lie in [0, {limit:g}], got {self.pct_start}")
        if anneal not in ("cos", "linear"):
            raise ValueError(f"anneal must be 'cos' or 'linear', got {anneal!r}")
        self.anneal = anneal

    def __call__(self, step: int) -> float:
        """Return η of the update that `step` updates precede."""
        rise = self.pct_start * self.total_steps
        initial = self.max_rate / self.div_factor
        rates = [initial, self.max_rate, initial / self.final_div_factor]
        ends = [rise - 1.0, self.total_steps - 1.0]
        if self.three_phase:
            rates.insert(2, initial)
            ends.insert(1, 2.0 * rise - 2.0)
        way = _cosine if self.anneal == "cos" else _linear
        begin = 0.0
        for start, stop, end in zip(rates, rates[1:], ends, strict=False):
            if step <= end:
                return way(start, stop, (step - begin) / (end - begin) if end > begin else 1.0)
            begin = end
        return rates[-1]


class Warmup(_Function):
    """A linear warm-up before any other rate.

    For the first `steps` updates η grows from `start` to the first rate of `then`; after that it is
    ``then(step - steps)``.

    Parameters
    ----------
    then : float or callable
        The rate after the warm-up: a number, a schedule, or a function of the step.
    steps : int
        Updates of the warm-up, at least 1.
    start : float, default 0
        The rate of the first update.
    """

    def __init__(
        self,
        then: LearningRate,
        steps: int,
        start: float = 0.0,
    ) -> None:
        self.then = then if callable(then) else nonnegative(then, "then")
        self.steps = count(steps, "steps")
        self.start = nonnegative(start, "start")

    def __call__(self, step: int) -> float:
        """Return η of the update that `step` updates precede."""
        after = max(step - self.steps, 0)
        rate = self.then(after) if callable(self.then) else self.then
        return _linear(self.start, rate, step / self.steps) if step < self.steps else rate

    def observe(self, cost: float) -> None:
        """Tell `then`."""
        if isinstance(self.then, Schedule):
            self.then.observe(cost)

    def reset(self) -> None:
        """Reset `then`."""
        if isinstance(self.then, Schedule):
            self.then.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `then`."""
        return self.then.state_dict() if isinstance(self.then, Schedule) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Give `then` its state."""
        if isinstance(self.then, Schedule):
            self.then.load_state_dict(state)


class ReduceOnPlateau(Schedule):
    """η times `factor` whenever the monitored cost has stopped falling, as ``ReduceLROnPlateau``.

    ``fit`` passes the cost of each epoch to `observe`: that of the validation data, or the training
    cost if there is none. In a loop of one's own over ``train_step``, call `observe` oneself.

    >>> rate = ReduceOnPlateau(0.1, factor=0.5, patience=0)
    >>> for cost in (1.0, 0.9, 0.9):
    ...     rate.observe(cost)
    >>> rate.rate
    0.05

    Parameters
    ----------
    learning_rate : float
        The first rate.
    factor : float, default 0.1
        In (0, 1).
    patience : int, default 10
        η falls after more than so many epochs in a row without improvement.
    threshold : float, default 1e-4
        What counts as an improvement: a cost below best · (1 - threshold), or, in mode "abs",
        below best - threshold.
    threshold_mode : {"rel", "abs"}, default "rel"
        See `threshold`.
    cooldown : int, default 0
        Epochs after a fall in which none is counted.
    min_rate : float, default 0
        η does not fall below it.
    eps : float, default 1e-8
        A fall by no more than this is left out.

    Attributes
    ----------
    rate : float
        η now.
    best : float
        The lowest cost so far; infinite before the first.
    """

    def __init__(
        self,
        learning_rate: float,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_rate: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.learning_rate = nonnegative(learning_rate, "learning_rate")
        self.factor = fraction(positive(factor, "factor"), "factor")
        self.patience = count(patience, "patience", least=0)
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}")
        self.threshold_mode = threshold_mode
        in_range = fraction if threshold_mode == "rel" else nonnegative
        self.threshold = in_range(threshold, "threshold")
        self.cooldown = count(cooldown, "cooldown", least=0)
        self.min_rate = nonnegative(min_rate, "min_rate")
        self.eps = nonnegative(eps, "eps")
        self.rate: float
        self.best: float
        self._bad_epochs: int
        self._cooldown_left: int
        self.reset()

    def __call__(self, step: int) -> float:
        """Return η now, whatever the step."""
        return self.rate

    def observe(self, cost: float) -> None:
        """Take note of the monitored cost of an epoch, and lower η if it is time. NaN is worse."""
        rate, best = self.rate, self.best
        bad_epochs, cooldown_left = self._bad_epochs, self._cooldown_left
        if cost < self._limit():
            best, bad_epochs = float(cost), 0
        else:
            bad_epochs += 1
        if cooldown_left > 0:
            cooldown_left -= 1
            bad_epochs = 0
        if bad_epochs > self.patience:
            cooldown_left, bad_epochs = self.cooldown, 0
            lower = max(rate * self.factor, self.min_rate)
            if rate - lower > self.eps:
                rate = lower
        self._set(rate, best, bad_epochs, cooldown_left)

    def reset(self) -> None:
        """Begin again, at the first rate."""
        self._set(self.learning_rate, math.inf, 0, 0)

    def _set(self, rate: float, best: float, bad_epochs: int, cooldown_left: int) -> None:
        # In one call, so that no interruption can come between two of them.
        vars(self).update(
            rate=rate, best=best, _bad_epochs=bad_epochs, _cooldown_left=cooldown_left
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the rate and what was observed, as numbers; best is None before the first cost."""
        return {
            "rate": self.rate,
            "best": self.best if self.best < math.inf else None,
            "bad_epochs": self._bad_epochs,
            "cooldown_left": self._cooldown_left,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; ValueError, and nothing changes, if it does not fit."""
        if set(state) != set(self.state_dict()):
            raise ValueError(
                f"expected the entries {', '.join(self.state_dict())} of a ReduceOnPlateau, "
                f"got {', '.join(map(str, state)) or 'none'}"
            )
        rate = nonnegative(state["rate"], "rate")
        bad_epochs = count(state["bad_epochs"], "bad_epochs", least=0)
        cooldown_left = count(state["cooldown_left"], "cooldown_left", least=0)
        best = math.inf if state["best"] is None else float(state["best"])
        self._set(rate, best, bad_epochs, cooldown_left)

    def _limit(self) -> float:
        """Return the cost below which there is an improvement."""
        if self.threshold_mode == "rel":
            return self.best * (1.0 - self.threshold)
        return self.best - self.threshold

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReduceOnPlateau):
            return NotImplemented
        return vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        seen = ("rate", "best", "_bad_epochs", "_cooldown_left")
        arguments = [f"{name}={value!r}" for name, value in vars(self).items() if name not in seen]
        return f"ReduceOnPlateau({', '.join(arguments)})"


def _linear(start: float, stop: float, t: float) -> float:
    return start + (stop - start) * t


def _cosine(start: float, stop: float, t: float) -> float:
    """Return start for t = 0, stop for t = 1, and half a cosine between."""
    return stop + (start - stop) / 2.0 * (1.0 + cos_pi(t))


def _power(base: float, n: int) -> float:
    """Return base^n for n >= 0 by repeated squaring: multiplications alone."""
    result = 1.0
    while n:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


#: The Taylor series of cos πt and of sin πt / t, from t² and t⁰ on, rounded; what is left out is
#: below 1e-17 for |t| <= 1/4.
_COSINE = (
    -4.934802200544679,
    4.0587121264167685,
    -1.3352627688545895,
    0.2353306303588932,
    -0.02580689139001406,
    0.0019295743094039231,
    -0.0001046381049248457,
    4.303069587032947e-06,
    -1.3878952462213771e-07,
)
_SINE = (
    3.141592653589793,
    -5.16771278004997,
    2.5501640398773455,
    -0.5992645293207921,
    0.08214588661112823,
    -0.0073704309457143504,
    0.00046630280576761255,
    -2.1915353447830217e-05,
    7.952054001475513e-07,
)


def cos_pi(t: float) -> float:
    """Return cos πt for t in [0, 1], to 2 ulp, from + - × alone.

    1/2 - t and 1 - t are exact where they are used.
    """
    if t < 0.25:
        return 1.0 + t * t * _polynomial(_COSINE, t * t)
    if t > 0.75:
        return -cos_pi(1.0 - t)
    u = 0.5 - t
    return u * _polynomial(_SINE, u * u)


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    result = 0.0
    for coefficient in reversed(coefficients):
        result = result * x + coefficient
    return result
