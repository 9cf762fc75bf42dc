"""What ``Network.fit`` returns: a few numbers an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


class History:
    """The course of one call of ``fit``; every list has one entry an epoch.

    ``network.history`` is the same object while ``fit`` runs, and stays when an exception, Ctrl-C
    included, ends it. It can be pickled, and be made JSON by ``to_dict``.

    Attributes
    ----------
    epochs : list of int
        Numbers of the epochs, counted from 1 over the life of the network.
    cost : list of float
        Training cost: the sample-weighted mean of the batches' costs, each taken before the
        batch's update.
    metrics : dict of str to list of float
        Metrics of the training data after the epoch, by name; empty unless ``fit`` was given
        ``metrics`` and no validation data.
    validation_cost : list of float
        Cost of the validation data after the epoch; empty if there is none.
    validation_metrics : dict of str to list of float
        Metrics of the validation data after the epoch, by name.
    learning_rate : list of float
        Learning rate of the epoch's last update.
    seconds : list of float
        Time spent on training, validation excluded.
    best_epoch : int or None
        With early stopping, the epoch of the best monitored value.
    """

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.cost: list[float] = []
        self.metrics: dict[str, list[float]] = {}
        self.validation_cost: list[float] = []
        self.validation_metrics: dict[str, list[float]] = {}
        self.learning_rate: list[float] = []
        self.seconds: list[float] = []
        self.best_epoch: int | None = None

    def columns(self) -> dict[str, list[float]]:
        """Return costs and metrics by name, those of the validation data as ``validation_…``."""
        found = {"cost": self.cost, **self.metrics, "validation_cost": self.validation_cost}
        found |= {f"validation_{name}": v for name, v in self.validation_metrics.items()}
        return {name: values for name, values in found.items() if values}

    def latest(self) -> dict[str, float]:
        """Return costs and metrics of the last epoch, by name as in `columns`."""
        return {name: values[-1] for name, values in self.columns().items()}

    def monitored(self, name: str | None = None) -> float:
        """Return the last value of a cost or metric, of the validation data if there is one.

        Parameters
        ----------
        name : str, optional
            "cost" (or None) or a metric; with ``validation_`` in front of it, that of the
            validation data alone.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        return monitored(self.latest(), name or "cost")

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as lists, numbers and strings, which JSON can hold."""
        return {
            name: _copied(value) if isinstance(value, (list, dict)) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> History:
        """Return the history that gave `found` with ``to_dict``."""
        history = cls()
        if found.keys() != vars(history).keys():
            raise ValueError(
                f"expected the entries {', '.join(vars(history))}, got {', '.join(found)}"
            )
        for name, value in found.items():
            setattr(history, name, _copied(value) if isinstance(value, (list, dict)) else value)
        if any(len(values) != len(history) for values in by_name(history).values() if values):
            raise ValueError("the lists are not all as long as that of the epochs")
        return history

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with one row an epoch.

        The index is the epoch's number; columns are those of `columns`, then "learning_rate" and
        "seconds".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = require("pandas", "pandas")
        columns = {
            **self.columns(),
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }
        return pandas.DataFrame(columns, index=pandas.Index(self.epochs, name="epoch"))

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


def by_name(history: History) -> dict[str, list[Any]]:
    """Return every list that has one entry per epoch; those of metrics as "metrics.NAME"."""
    found: dict[str, list[Any]] = {}
    for name, value in vars(history).items():
        if isinstance(value, dict):
            found |= {f"{name}.{metric}": values for metric, values in value.items()}
        elif isinstance(value, list):
            found[name] = value
    return found


def added(
    history: History,
    epoch: int,
    cost: float,
    learning_rate: float,
    seconds: float,
    *,
    metrics: Mapping[str, float],
    validation: Mapping[str, float],
) -> Iterable[None]:
    """Return the calls that append an epoch, for ``at_once``.

    `validation` has a cost among its metrics, or is empty.
    """
    lists: list[list[Any]] = [
        history.epochs,
        history.cost,
        history.learning_rate,
        history.seconds,
    ]
    values: list[Any] = [epoch, cost, learning_rate, seconds]
    for name, value in metrics.items():
        lists.append(history.metrics.setdefault(name, []))
        values.append(value)
    for name, value in validation.items():
        of_metric = history.validation_metrics.setdefault
        lists.append(history.validation_cost if name == "cost" else of_metric(name, []))
        values.append(value)
    return map(list.append, reversed(lists), reversed(values))  # the epoch's number last


def cut(history: History, n: int) -> None:
    """Keep the first n epochs, also of lists that a lack of memory left longer than others."""
    for values in by_name(history).values():
        del values[n:]


def monitored(found: Mapping[str, float], name: str) -> float:
    """Return the cost or metric of that name, of the validation data if there is one."""
    for key in (f"validation_{name}", name):
        if key in found:
            return found[key]
    raise ValueError(f"there is no {name!r} to monitor, only {', '.join(found)}")


def _copied(value: Any) -> Any:
    """Return a copy of lists, or of lists by name."""
    if isinstance(value, dict):
        return {name: list(values) for name, values in value.items()}
    return list(value)
