"""What a tensor of the graph is while it still is rows: which rows, and in which shape.

Every such tensor holds the same N rows in the same order, each of them the outputs of one stack
of layers. `lead` are the axes that count rows, `row` those that hold one row's elements; the rank
is the length of both. An operator over an axis, or over two tensors, is exact only for some ranks:
where these are not known, it is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.onnx.constants import exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.stack import Stack

#: One axis that counts all N rows.
ALL = "rows"
# A length, or the name of a length that only a call decides.
Length = int | str


@dataclass(frozen=True, eq=False)
class Rows:
    """A tensor whose axes are `lead`, then `row`, and whose rows are the outputs of `stack`.

    `lead` is None where the rank is unknown. `kind` is the name of the elements' type, or "maps"
    (from labels to probabilities, as ZipMap gives them).
    """

    stack: Stack
    lead: tuple[Length, ...] | None
    row: tuple[int, ...]
    kind: str

    @property
    def width(self) -> int:
        """Elements in a row."""
        return self.stack.width

    @property
    def shape(self) -> str:
        """The shape, for messages."""
        lead = ("…",) if self.lead is None else self.lead
        return f"({', '.join(map(str, (*lead, *self.row)))}{',' * (len(lead + self.row) == 1)})"

    def holding(self, stack: Stack) -> Rows:
        """Return the same shape with the outputs of another stack of the same width."""
        return replace(self, stack=stack)

    def alike(self, other: Rows) -> bool:
        """Tell whether both have one shape, so that elementwise operators pair equal places."""
        return (self.lead, self.row, self.kind) == (other.lead, other.row, other.kind)

    def axis_of_row(self, axis: int) -> bool:
        """Tell whether `axis` is the last one and holds all elements of a row."""
        last = -1 if self.lead is None else len(self.lead) + len(self.row) - 1
        return axis in (-1, last) and bool(self.row) and self.row[-1] == self.width

    def matrix(self) -> Rows:
        """Return what an operator sees that takes matrices alone: (N, width)."""
        if (self.lead is not None and len(self.lead) != 1) or len(self.row) != 1:
            raise ValueError(f"takes matrices, got the shape {self.shape}")
        return replace(self, lead=(ALL,)) if self.lead is None else self

    def multiplied(self, stack: Stack) -> Rows:
        """Return the shape after a matrix over the last axis."""
        if not self.axis_of_row(-1):
            raise ValueError(f"multiplies only a part of each row: it gets the shape {self.shape}")
        return replace(self, stack=stack, row=(*self.row[:-1], stack.width))

    def with_constant(
        self, value: NDArray[Any], *, roots: bool = False
    ) -> tuple[Rows, NDArray[np.float64]]:
        """Return the shape that `value` broadcasts to, and what it holds for each element of a row.

        The latter has one element, or `width`. A constant that differs between rows is refused.
        With `roots`, a rounding of √2 or √½ stands for that.
        """
        if value.dtype.name != self.kind:
            raise ValueError(f"has a constant of {value.dtype.name} for rows of {self.kind}")
        extra = max(value.ndim - len(self.row), 0)
        outer, inner = value.shape[:extra], value.shape[extra:]
        fitting = self.row[len(self.row) - len(inner) :]
        fits = all(n in (1, m) for n, m in zip(inner, fitting, strict=True))
        if not fits or any(n != 1 for n in outer):
            raise ValueError(f"has a constant of shape {value.shape} for rows of {self.width}")
        lead = self.lead
        if lead is not None:
            lead = (1,) * (extra - len(lead)) + lead
        numbers = exact(value) if roots else value.astype(np.float64)
        if numbers.size != 1:
            numbers = np.broadcast_to(numbers.reshape(inner), self.row)
        return replace(self, lead=lead), numbers.reshape(-1)

    def flattened(self, axis: int) -> Rows:
        """Return the shape after Flatten: (all before the axis, all from the axis on)."""
        if self.lead is None:
            if axis == -1 and len(self.row) == 1:
                return replace(self, lead=(ALL,))
            raise ValueError("flattens a tensor of unknown rank: state the shape of the input")
        lengths = (*self.lead, *self.row)
        at = axis + len(lengths) if axis < 0 else axis
        between = self.lead[at:] if at <= len(self.lead) else self.row[: at - len(self.lead)]
        if not 0 <= at <= len(lengths) or any(n != 1 for n in between):
            raise ValueError(f"at axis {axis} does not keep the rows of shape {self.shape}")
        return replace(self, lead=(_rows(self.lead),), row=(self.width,))

    def reshaped(self, target: Sequence[int], allow_zero: bool) -> Rows:
        """Return the shape after Reshape, if the last axes still hold one row each."""
        lengths: list[Length] = [*target]
        if not allow_zero and 0 in target:
            if self.lead is None or len(target) > len(self.lead) + len(self.row):
                raise ValueError(f"to {list(target)} copies an axis that is not known")
            old = (*self.lead, *self.row)
            lengths = [old[i] if n == 0 else n for i, n in enumerate(target)]
        lengths = self._resolved(lengths)
        # As few of the last axes as hold a row.
        size, at = 1, len(lengths)
        while at > 0 and (at == len(lengths) or size != self.width):
            at -= 1
            length = lengths[at]
            if not isinstance(length, int) or length < 1:
                break
            size *= length
        else:
            lead, row = tuple(lengths[:at]), tuple(lengths[at:])
            if size == self.width and row and self._counts_rows(lead):
                return replace(
                    self,
                    lead=tuple(_rows(self.lead or (ALL,)) if n == -1 else n for n in lead),
                    row=tuple(int(n) for n in row),
                )
        raise ValueError(f"to {list(target)} does not keep rows of {self.width} as they are")

    def _resolved(self, lengths: list[Length]) -> list[Length]:
        """Replace a -1 that is provably one number; one that counts rows stays."""
        if lengths.count(-1) != 1 or self.lead is None:
            return lengths
        others = tuple(n for n in lengths if n != -1)
        total, known = _number(self.lead) * self.width, _number(others)
        if _named(others) != _named(self.lead) or known < 1 or total % known:
            return lengths
        return [total // known if n == -1 else n for n in lengths]

    def _counts_rows(self, lead: tuple[Length, ...]) -> bool:
        """Tell whether the axes before a row count all rows, for any number that there may be."""
        if -1 in lead:
            return lead.count(-1) == 1 and all(n == 1 for n in lead if n != -1)
        old = (ALL,) if self.lead is None else self.lead
        return _named(lead) == _named(old) and _number(lead) == _number(old)


def _named(lead: tuple[Length, ...]) -> list[str]:
    return sorted(n for n in lead if isinstance(n, str))


def _number(lead: tuple[Length, ...]) -> int:
    """Return the product of the lengths that are numbers."""
    return math.prod(n for n in lead if isinstance(n, int))


def _rows(lead: tuple[Length, ...]) -> Length:
    """Return the length of one axis in place of several that count rows."""
    if not _named(lead):
        return _number(lead)
    others = [n for n in lead if n != 1]
    return others[0] if len(others) == 1 else ALL
