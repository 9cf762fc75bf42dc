"""How ``fit(progress=True)`` shows where it is: a tqdm bar, or plain lines without tqdm."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chainrule.history import History


class Lines:
    """One line an epoch on stderr."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def poll(self, steps: int) -> None:
        """Show nothing within an epoch."""

    def epoch(self, history: History, steps: int) -> None:
        """Print the line of the epoch that took `steps` steps."""
        numbers = "  ".join(f"{name} {value:<10.6g}" for name, value in history.latest().items())
        rate = steps / max(history.seconds[-1], 1e-9)
        print(
            f"epoch {len(history):>{len(str(self.epochs))}}/{self.epochs}  {numbers}  "
            f"{rate:,.0f} batches/s",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """Nothing is held open."""


class Bar:
    """A tqdm bar over all batches of all epochs, which also moves within an epoch."""

    def __init__(self, tqdm: Any, epochs: int, batches: int | None) -> None:
        total = None if batches is None else epochs * batches
        self.epochs = epochs
        self.bar = tqdm(total=total, unit="batch", desc=f"epoch 1/{epochs}")
        self.shown = 0

    def poll(self, steps: int) -> None:
        """Move the bar to `steps` steps into the epoch."""
        self.bar.update(steps - self.shown)
        self.shown = steps

    def epoch(self, history: History, steps: int) -> None:
        """Move the bar to the epoch's end, and show its costs."""
        self.poll(steps)
        self.shown = 0
        self.bar.set_description(
            f"epoch {min(len(history) + 1, self.epochs)}/{self.epochs}", refresh=False
        )
        self.bar.set_postfix({name: f"{v:.4g}" for name, v in history.latest().items()})

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def open_progress(epochs: int, batches: int | None) -> Bar | Lines:
    """Return a bar if tqdm is installed, else plain lines; `batches` are those of an epoch."""
    try:
        tqdm = import_module("tqdm.auto").tqdm
    except ImportError:
        return Lines(epochs)
    return Bar(tqdm, epochs, batches)
