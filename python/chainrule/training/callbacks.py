"""What ``fit`` calls after an epoch, and after a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from chainrule import _core
    from chainrule.training.history import History

# The type of the network that a callback is given: any class of networks.
N = TypeVar("N", contravariant=True)


class OnEpochEnd(Protocol[N]):
    """A callback with a method that is called after every epoch."""

    def on_epoch_end(self, network: N, history: History) -> bool | None:
        """Look at the epoch that `history` ends with; return True to end the training."""


class OnBatchEnd(Protocol[N]):
    """A callback with a method that is called after every step."""

    def on_batch_end(self, network: N, epoch: int, step: int, cost: float) -> bool | None:
        """Look at a step; return True to end the training.

        Parameters
        ----------
        network : Network
            After the update.
        epoch : int
            Counted from 1 over the life of the network.
        step : int
            Counted from 1 in every epoch.
        cost : float
            Cost of the batch before its update.
        """


class Callbacks:
    """The callbacks of one ``fit``.

    Every one sees every epoch and step, also those at which another one ends the training.
    """

    def __init__(self, callbacks: Iterable[object]) -> None:
        listed = tuple(callbacks) if hasattr(callbacks, "__iter__") else (callbacks,)
        self.after_epoch: list[Callable[[Any, History], bool | None]] = []
        self.after_step: list[Callable[[Any, int, int, float], bool | None]] = []
        for callback in listed:
            of_epoch = getattr(callback, "on_epoch_end", None)
            of_step = getattr(callback, "on_batch_end", None)
            if of_epoch is None and of_step is None:
                of_epoch = callback
            if isinstance(callback, type) or not callable(of_epoch or of_step):
                raise TypeError(
                    "callbacks must be functions (network, history), or objects with "
                    f"on_epoch_end or on_batch_end, got {callback!r}. An EarlyStopping goes to "
                    "early_stopping=, a Checkpoint to checkpoint="
                )
            if of_epoch is not None:
                self.after_epoch.append(of_epoch)
            if of_step is not None:
                self.after_step.append(of_step)
        self.stateful: list[Any] = [
            callback
            for callback in listed
            if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")
        ]

    def epoch_ended(self, network: _core.Network, history: History) -> bool:
        """Call what is called after an epoch; return whether one ends the training."""
        return any([callback(network, history) for callback in self.after_epoch])

    def step_ended(self, network: _core.Network, step: int, cost: float) -> bool:
        """Call what is called after a step; return whether one ends the training."""
        epoch = network.epoch + 1
        return any([callback(network, epoch, step, cost) for callback in self.after_step])

    def kinds(self) -> list[str]:
        """Return the classes of the callbacks that have a state."""
        return [type(callback).__name__ for callback in self.stateful]

    def states(self) -> list[Any]:
        """Return what ``state_dict`` gives, for checkpoints."""
        return [callback.state_dict() for callback in self.stateful]

    def load_states(self, states: Iterable[Any]) -> None:
        """Give back what `states` returned."""
        for callback, state in zip(self.stateful, states, strict=True):
            callback.load_state_dict(state)
