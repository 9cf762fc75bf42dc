"""What ``fit`` measures after every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from chainrule.metrics import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule import _core
    from chainrule.inputs.arrays import Batch
    from chainrule.metrics import Metric


class Measures:
    """What is measured after every epoch."""

    def __init__(
        self,
        network: _core.Network,
        training: Batch | None,
        validation: Batch | None,
        metrics: Sequence[Metric],
    ) -> None:
        self.network, self.training, self.validation = network, training, validation
        self.metrics = metrics

    def after_epoch(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return metrics of the training data, and cost and metrics of the validation data."""
        if self.validation is not None:
            return {}, self._of(self.validation)
        if not self.metrics:
            return {}, {}
        found = self._of(cast("Batch", self.training))
        del found["cost"]
        return found, {}

    def _of(self, data: Batch) -> dict[str, float]:
        # Doubtful targets were warned of before the first epoch.
        with np.errstate(all="ignore"):
            return evaluate(self.network, *data, self.metrics)[0]

    def check_name(self, monitor: str, names: Sequence[str]) -> None:
        """Raise ValueError unless there will be a cost or metric `monitor`."""
        known = ["cost"]
        if self.validation is not None:
            known = [*known, *names, "validation_cost", *(f"validation_{name}" for name in names)]
        elif self.metrics:
            known += names
        if monitor not in known:
            raise ValueError(
                f"early_stopping monitors {monitor!r}, which is none of {', '.join(known)}: "
                "add it to metrics, or give validation_data"
            )
