"""What keeps a network from fitting its training data too closely."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chainrule import _core


class Regularization(NamedTuple):
    """What the steps of one ``fit`` have in common."""

    label_smoothing: float = 0.0

    def check(self, network: _core.Network) -> None:
        """Raise unless everything fits `network`."""
        network._check_label_smoothing(self.label_smoothing)
