"""Targets that the core takes, and that the user is warned of.

What a loss refuses is refused by the core (core/targets.cpp). Of the rest it tells the first that
is doubtful, here put into words.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from chainrule import _core
from chainrule.warning import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    Found = tuple[int, int | None, str, int, str]


_quiet = ContextVar("chainrule_quiet_about_targets", default=False)


class Concern(NamedTuple):
    """The first doubtful row of targets: a value outside what the output gives, or a sum."""

    row: int
    column: int | None  # None where there is one column, and of a sum
    value: str
    rows: int  # whose sum is not 1; 0: it is a value
    activation: str

    def __str__(self) -> str:
        if self.rows:
            those = "is the only row" if self.rows == 1 else f"is the first of {self.rows} rows"
            return (
                f"row {self.row} of y sums to {self.value}, and {those} off 1 by more than 0.001: "
                "cross_entropy takes rows of probabilities; divide amounts by their sum, as in "
                "y / y.sum(axis=1, keepdims=True)"
            )
        low, high = _core.output_range(self.activation)
        column = "" if self.column is None else f", column {self.column}"
        allowed = f"[{low:g}, {high:g}]" if high < float("inf") else f"{low:g} and above"
        return (
            f"row {self.row}{column} of y is {self.value}, which the output activation "
            f"{self.activation} never gives (its range is {allowed}): scale the targets into that "
            'range, or take "identity" as the last of the activations'
        )


def joined(first: Found | None, later: Found | None) -> Found | None:
    """Return the concern of two slices of one array: the first, with the rows of both."""
    if first is None or later is None:
        return first or later
    row, column, value, rows, activation = first
    return row, column, value, rows + later[3], activation


class Notice:
    """Warns of the first concern that it is told, and of no other."""

    def __init__(self) -> None:
        self.given = False

    def __call__(self, found: Found | None, where: str = "") -> None:
        """Warn of `found`, in the data that `where` says."""
        if found is not None and not self.given:
            self.given = True
            warn(f"{where}{Concern(*found)}")


def warn_of(found: Found | None) -> None:
    """Warn of what the core found, if it is anything and nobody has warned of it before."""
    if found is not None and not _quiet.get():
        warn(str(Concern(*found)))


@contextmanager
def quiet() -> Iterator[None]:
    """Let `warn_of` be silent in this thread: the user has been warned of these targets."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)
