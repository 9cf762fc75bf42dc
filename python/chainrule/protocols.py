"""What arguments must have where neither Python nor NumPy has a name for it."""

from __future__ import annotations

from typing import Any, Protocol


class Sparse(Protocol):
    """SciPy's sparse matrices and arrays, of any format."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns; of one sample its columns alone."""
        ...

    def tocsr(self) -> Any:
        """Return the matrix in the format CSR."""
        ...
