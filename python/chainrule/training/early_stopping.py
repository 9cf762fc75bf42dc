"""When ``fit`` stops before its last epoch, and the weights it goes back to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from chainrule import _core
from chainrule.inputs.numbers import count
from chainrule.metrics import rises
from chainrule.training.history import monitored

if TYPE_CHECKING:
    from collections.abc import Mapping


class EarlyStopping:
    """When ``fit`` stops before its last epoch.

    Parameters
    ----------
    patience : int, default 5
        Stop after so many epochs in a row without improvement.
    min_delta : float, default 0
        An epoch improves on the best one if its value is better by more than this.
    restore_best : bool, default True
        At the end of ``fit``, stopped early or not, go back to the weights (and the optimiser's
        state) of the best epoch. The network's epoch counter stays. An exception that ends ``fit``,
        Ctrl-C included, leaves the weights of the last step.
    monitor : str, default "cost"
        "cost", or one of the metrics that ``fit`` evaluates: that of the validation data if there
        is one, else that of the training data.
    mode : {"auto", "min", "max"}
        Whether less or more is better. "auto" knows the cost and the metrics of
        ``chainrule.metrics``; a metric of your own needs "min" or "max".
    """

    def __init__(
        self,
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        *,
        monitor: str = "cost",
        mode: str = "auto",
    ) -> None:
        self.patience = count(patience, "patience")
        if not (math.isfinite(min_delta) and min_delta >= 0):
            raise ValueError(f"min_delta must be finite and >= 0, got {min_delta}")
        self.min_delta = float(min_delta)
        self.restore_best = bool(restore_best)
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a cost or metric, got {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
        rising = rises(monitor) if mode == "auto" else mode == "max"
        if rising is None:
            raise ValueError(
                f"whether more or less of {monitor!r} is better is not known: "
                "give mode='min' or mode='max'"
            )
        self.monitor = monitor
        self.mode = "max" if rising else "min"

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(patience={self.patience}, min_delta={self.min_delta}, "
            f"restore_best={self.restore_best}, monitor={self.monitor!r}, mode={self.mode!r})"
        )


class Standing(NamedTuple):
    """How early stopping stands after an epoch."""

    best: float  # lower is better: the negative of a value that should rise
    best_epoch: int | None
    waited: int


class Monitor:
    """Follows the monitored value through one call of ``fit``."""

    def __init__(
        self, rule: EarlyStopping, network: _core.Network, state: _core.OptimizerState
    ) -> None:
        self.rule, self.network, self.state = rule, network, state
        self.standing = Standing(math.inf, None, 0)
        self.snapshot: _core.Snapshot | None = None

    def after(self, epoch: int, found: Mapping[str, float]) -> Standing:
        """Return how it stands after an epoch with these costs and metrics; keep the best weights.

        To do it again after an interruption changes nothing.
        """
        best, best_epoch, waited = self.standing
        value = monitored(found, self.rule.monitor)
        if self.rule.mode == "max":
            value = -value
        if value < best - self.rule.min_delta:
            if self.rule.restore_best:
                self.keep()
            return Standing(value, epoch, 0)
        return Standing(best, best_epoch, waited + 1)

    def keep(self) -> None:
        """Keep the weights and the optimiser's state as they are now."""
        if self.snapshot is not None:
            self.snapshot.retake()
        else:
            self.snapshot = _core.Snapshot(self.network, self.state)

    @property
    def stops(self) -> bool:
        """Whether training has waited long enough."""
        return self.standing.waited >= self.rule.patience

    def finish(self) -> None:
        """Go back to the best epoch, if that is wanted and there was one."""
        if self.snapshot is not None:
            self.snapshot.restore()
