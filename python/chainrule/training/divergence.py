"""The one exception of this package that Python does not already have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.training.history import History


class DivergenceError(ArithmeticError):
    """A training run left the finite numbers.

    When it is raised, the weights and the optimiser's state are again those at the start of
    ``epoch``, so that training can go on with other settings.

    Attributes
    ----------
    epoch, batch, layer : int
        Where numbers that are not finite were first found. All three count from 1; epochs are
        counted over the life of the network.
    history : History
        The epochs that ``fit`` had completed.
    resumed_at : int
        Batches of the epoch that were done when a checkpoint was resumed within it, and which are
        kept; 0 otherwise.
    """

    def __init__(
        self, epoch: int, batch: int, layer: int, history: History, resumed_at: int = 0
    ) -> None:
        super().__init__(epoch, batch, layer, history, resumed_at)
        self.epoch = epoch
        self.batch = batch
        self.layer = layer
        self.history = history
        self.resumed_at = resumed_at

    def __str__(self) -> str:
        done = self.resumed_at
        where = f"after batch {done} of" if done else "at the start of"
        return (
            f"training diverged in epoch {self.epoch}, batch {self.batch}: layer {self.layer} "
            "holds numbers that are not finite. The weights and the optimiser's state are again "
            f"those {where} epoch {self.epoch}. Try a lower learning rate, or scale the "
            "inputs to mean 0 and standard deviation 1"
        )
