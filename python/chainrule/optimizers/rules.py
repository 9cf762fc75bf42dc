"""Rules that turn gradients into updates. Their state and arithmetic live in the C++ core."""

from __future__ import annotations

from chainrule.inputs.numbers import fraction, nonnegative, positive
from chainrule.optimizers.base import Optimizer
from chainrule.schedules import LearningRate


class SGD(Optimizer):
    """Gradient descent; with the defaults it is W ← W - η ∇W.

    As in PyTorch, with g ← g + weight_decay · W at every update::

        v ← momentum · v + g                  (v = g at the first update)
        W ← W - η v                           or, with nesterov,
        W ← W - η (g + momentum · v)

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule; see `Optimizer`, also for `l1`, `l2`, `clip_value` and `clip_norm`.
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
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, l1=l1, l2=l2, clip_value=clip_value, clip_norm=clip_norm)
        self.momentum = fraction(momentum, "momentum")
        self.nesterov = bool(nesterov)
        self.weight_decay = nonnegative(weight_decay, "weight_decay")
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

    As in PyTorch, with g ← g + weight_decay · W at update t = 1, 2, …::

        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        W ← W - η / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + eps)

    Parameters
    ----------
    learning_rate : float or callable, default 1e-3
        η, or a schedule; see `Optimizer`, also for `l1`, `l2`, `clip_value` and `clip_norm`.
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
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, l1=l1, l2=l2, clip_value=clip_value, clip_norm=clip_norm)
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise ValueError(f"betas must be two numbers, got {betas!r}") from None
        self.betas = (fraction(beta1, "betas[0]"), fraction(beta2, "betas[1]"))
        self.eps = positive(eps, "eps")
        self.weight_decay = nonnegative(weight_decay, "weight_decay")

    def _hyperparameters(self) -> dict[str, float]:
        return {
            "beta1": self.betas[0],
            "beta2": self.betas[1],
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    As in PyTorch: first W ← W - η · weight_decay · W, then Adam's update of g itself. The decay
    does not pass through m and v, as that of `Adam` does.

    Parameters
    ----------
    learning_rate, betas, eps
        As for `Adam`.
    weight_decay : float, default 0.01
        Factor of the decay, >= 0; it acts on weights and biases alike.
    """

    _rule = "adamw"

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate,
            betas,
            eps,
            weight_decay,
            l1=l1,
            l2=l2,
            clip_value=clip_value,
            clip_norm=clip_norm,
        )


class RMSprop(Optimizer):
    """RMSprop (Hinton 2012), centered by choice (Graves 2013).

    As in PyTorch, with g ← g + weight_decay · W at every update::

        s ← α s + (1 - α) g²
        d = g / (√s + eps)                    or, centered,
        m ← α m + (1 - α) g,  d = g / (√(s - m²) + eps)
        W ← W - η d                           or, with momentum,
        v ← momentum · v + d,  W ← W - η v

    Where rounding leaves s - m² below 0, it is taken as 0.

    Parameters
    ----------
    learning_rate : float or callable, default 1e-2
        η, or a schedule; see `Optimizer`, also for `l1`, `l2`, `clip_value` and `clip_norm`.
    alpha : float, default 0.99
        Share of the past in the means, in [0, 1).
    eps : float, default 1e-8
        Above 0.
    momentum : float, default 0
        In [0, 1).
    weight_decay : float, default 0
        Factor of the L2 term, >= 0; it acts on weights and biases alike.
    centered : bool, default False
        Divide by the deviation from the mean gradient.
    """

    _rule = "rmsprop"

    def __init__(
        self,
        learning_rate: LearningRate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        centered: bool = False,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, l1=l1, l2=l2, clip_value=clip_value, clip_norm=clip_norm)
        self.alpha = fraction(alpha, "alpha")
        self.eps = positive(eps, "eps")
        self.momentum = fraction(momentum, "momentum")
        self.weight_decay = nonnegative(weight_decay, "weight_decay")
        self.centered = bool(centered)

    def _hyperparameters(self) -> dict[str, float]:
        return {
            "alpha": self.alpha,
            "eps": self.eps,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "centered": float(self.centered),
        }


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011).

    As in PyTorch, with g ← g + weight_decay · W at update t = 1, 2, …::

        s ← s + g²
        W ← W - η / (1 + (t - 1) · lr_decay) · g / (√s + eps)

    Parameters
    ----------
    learning_rate : float or callable, default 1e-2
        η, or a schedule; see `Optimizer`, also for `l1`, `l2`, `clip_value` and `clip_norm`.
    eps : float, default 1e-10
        Above 0.
    lr_decay : float, default 0
        How fast η falls, >= 0.
    weight_decay : float, default 0
        Factor of the L2 term, >= 0; it acts on weights and biases alike.
    initial_accumulator_value : float, default 0
        s before the first update, >= 0.
    """

    _rule = "adagrad"

    def __init__(
        self,
        learning_rate: LearningRate = 1e-2,
        eps: float = 1e-10,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        super().__init__(learning_rate, l1=l1, l2=l2, clip_value=clip_value, clip_norm=clip_norm)
        self.eps = positive(eps, "eps")
        self.lr_decay = nonnegative(lr_decay, "lr_decay")
        self.weight_decay = nonnegative(weight_decay, "weight_decay")
        self.initial_accumulator_value = nonnegative(
            initial_accumulator_value, "initial_accumulator_value"
        )

    def _hyperparameters(self) -> dict[str, float]:
        return {
            "eps": self.eps,
            "lr_decay": self.lr_decay,
            "weight_decay": self.weight_decay,
            "initial_accumulator_value": self.initial_accumulator_value,
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
