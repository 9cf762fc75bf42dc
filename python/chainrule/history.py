"""What ``Network.fit`` returns: a few numbers an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


class History:
    """The course of one call of ``fit``; every list has one entry an epoch.

    Attributes
    ----------
    epochs : list of int
        Numbers of the epochs, counted from 1 over the life of the network.
    cost : list of float
        Training cost: the sample-weighted mean of the batches' costs, each taken before the
        batch's update.
    validation_cost : list of float
        Cost of the validation data after the epoch; empty if there is none.
    validation_metrics : dict of str to list of float
        The other results of ``Network.evaluate`` on the validation data, by name.
    learning_rate : list of float
        Learning rate of the epoch's last update.
    seconds : list of float
        Time spent on training, validation excluded.
    best_epoch : int or None
        With early stopping, the epoch of the lowest monitored cost.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.cost: list[float] = []
        self.validation_cost: list[float] = []
        self.validation_metrics: dict[str, list[float]] = {}
        self.learning_rate: list[float] = []
        self.seconds: list[float] = []
        self.best_epoch: int | None = None

    def add_validation(self, results: dict[str, float]) -> None:
        """Append what ``Network.evaluate`` returned for the validation data."""
        for name, value in results.items():
            if name == "cost":
                self.validation_cost.append(value)
            else:
                self.validation_metrics.setdefault(name, []).append(value)

    def latest(self) -> dict[str, float]:
        """Costs and metrics of the last epoch, by name; empty before the first."""
        columns = {"cost": self.cost, "validation_cost": self.validation_cost}
        columns |= self.validation_metrics
        return {name: values[-1] for name, values in columns.items() if values}

    def plot(self, names: Any = None, **options: Any) -> NDArray[Any]:
        """Draw the learning curves with matplotlib; see ``chainrule.plot.learning_curves``."""
        from chainrule.plot import learning_curves

        return learning_curves(self, names, **options)

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        parts = [f"epochs={len(self)}"]
        parts += [f"{name}={value:.6g}" for name, value in self.latest().items()]
        if self.best_epoch is not None:
            parts.append(f"best_epoch={self.best_epoch}")
        parts.append(f"seconds={sum(self.seconds):.3g}")
        return f"History({', '.join(parts)})"
