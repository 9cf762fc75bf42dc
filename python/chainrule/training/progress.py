"""How ``fit(progress=True)`` shows where it is: a tqdm bar, or plain lines.

Lines where tqdm is not installed, and where stderr is no terminal but a log file, in which a bar
would leave thousands of its states. In notebooks tqdm draws its own widget.
"""

from __future__ import annotations

import sys
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from chainrule.training.run import Listener

if TYPE_CHECKING:
    from chainrule import _core
    from chainrule.training.history import History
    from chainrule.training.run import Run
    from chainrule.training.sources import Source

# Seconds after which an epoch that is still under way gets a line of its own.
PATIENCE = 30.0


class Progress(Listener):
    """Opens a display when there is something to train, and closes it in any case."""

    display: Display | None = None

    def begin(self, run: Run) -> None:
        """Open the display."""
        self.display = open_progress(run.epochs, run.source, run.at.epochs)

    def poll(self, run: Run) -> None:
        """Show how far the epoch is."""
        if self.display is not None:
            self.display.poll(run.at.position)

    def measured(self, run: Run, position: _core.Position) -> None:
        """Show the epoch that has ended."""
        if self.display is not None:
            self.display.epoch(run.history, position)

    def close(self) -> None:
        """Close the display."""
        if self.display is not None:
            self.display.close()


class Display(Protocol):
    """What shows the course of a run."""

    def poll(self, position: _core.Position) -> None:
        """Show how far the epoch is."""

    def epoch(self, history: History, position: _core.Position) -> None:
        """Show the epoch that has ended."""

    def close(self) -> None:
        """End the display; called again where an exception interrupted it."""


class Lines:
    """One line an epoch on stderr, and one now and then within long epochs."""

    def __init__(self, epochs: int, source: Source, done: int) -> None:
        self.epochs, self.source, self.done = epochs, source, done
        self.before = done
        self.start = self.printed = self.began = monotonic()

    def poll(self, position: _core.Position) -> None:
        """Print a line if there was none for long."""
        now = monotonic()
        if now - self.printed < PATIENCE:
            return
        n, batches = self.source.n, self.source.batches
        part = position.samples / n if n else position.steps / batches if batches else None
        where = f"batch {position.steps:,}" if part is None else f"{part:.0%}"
        rate = position.samples / (now - self.began)
        self._print(f"{where}  cost {position.mean:<10.6g}  {_scaled(rate)} samples/s")

    def epoch(self, history: History, position: _core.Position) -> None:
        """Print costs, metrics, speed and remaining time."""
        self.done += 1
        numbers = "  ".join(f"{name} {value:<10.6g}" for name, value in shown(history).items())
        rate = position.samples / max(history.seconds[-1], 1e-9)
        left = (monotonic() - self.start) / (self.done - self.before) * (self.epochs - self.done)
        self._print(f"{numbers}  {_scaled(rate)} samples/s  {_clock(left)} left", self.done)
        self.began = monotonic()

    def _print(self, text: str, epoch: int | None = None) -> None:
        epoch = self.done + 1 if epoch is None else epoch
        count = f"{epoch:>{len(str(self.epochs))}}/{self.epochs}"
        print(f"epoch {count}  {text}", file=sys.stderr, flush=True)
        self.printed = monotonic()

    def close(self) -> None:
        """Nothing is held open."""


class Bar:
    """A tqdm bar over all samples (or batches, of a stream) of all epochs."""

    FORMAT = "{desc} {percentage:3.0f}%|{bar:10}| {elapsed}<{remaining}{postfix}"
    FORMAT_WITHOUT_TOTAL = "{desc}, batch {n_fmt}, {elapsed}{postfix}"

    def __init__(self, tqdm: Any, epochs: int, source: Source, done: int) -> None:
        self.epochs, self.done = epochs, done
        self.by_sample = source.n is not None
        size = source.n if self.by_sample else source.batches
        self.bar = tqdm(
            total=None if size is None else epochs * size,
            initial=0 if size is None else done * size,
            desc=self._title(),
            bar_format=self.FORMAT if size is not None else self.FORMAT_WITHOUT_TOTAL,
            miniters=1,
            dynamic_ncols=True,
            file=sys.stderr,
        )
        self.shown = 0  # of this epoch
        self.samples, self.start = 0, monotonic()
        self.measured = ""

    def poll(self, position: _core.Position) -> None:
        """Move the bar to `position`."""
        self._move(position, f"cost {position.mean:.4g}{self.measured}")

    def epoch(self, history: History, position: _core.Position) -> None:
        """Move the bar to the epoch's end, and show its costs."""
        cost, *measured = (f"{name} {value:.4g}" for name, value in shown(history).items())
        self.measured = "".join(f", {text}" for text in measured)
        self.done += 1
        self.bar.set_description_str(self._title(), refresh=False)
        self._move(position, f"{cost}{self.measured}")
        self.samples += position.samples
        self.shown = 0

    def _move(self, position: _core.Position, text: str) -> None:
        rate = (self.samples + position.samples) / max(monotonic() - self.start, 1e-9)
        self.bar.set_postfix_str(f"{_scaled(rate)} samples/s, {text}", refresh=False)
        now = position.samples if self.by_sample else position.steps
        self.bar.update(now - self.shown)
        self.shown = now

    def _title(self) -> str:
        return f"epoch {min(self.done + 1, self.epochs)}/{self.epochs}"

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def open_progress(epochs: int, source: Source, done: int) -> Display:
    """Return a bar or lines for a run of `epochs` epochs, of which some are done."""
    try:
        tqdm = import_module("tqdm.auto").tqdm
    except ImportError:
        return Lines(epochs, source, done)
    in_notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)
    if in_notebook or (sys.stderr is not None and sys.stderr.isatty()):
        return Bar(tqdm, epochs, source, done)
    return Lines(epochs, source, done)


def shown(history: History) -> dict[str, float]:
    """Return the last costs and metrics under short names."""
    names = {"cost": "cost", "validation_cost": "validation"}
    return {
        names.get(name, name.removeprefix("validation_")): value
        for name, value in history.latest().items()
    }


def _scaled(number: float) -> str:
    """Return three digits and a prefix: 12.3k."""
    for prefix in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{prefix}"
        number /= 1000
    return f"{number:.3g}G"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
