"""Sparse samples: SciPy's CSR matrices as three arrays, without an import of SciPy.

What the core reads is *canonical*: in every row the columns rise, none twice. Other matrices are
brought into this form, never made dense.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core

if TYPE_CHECKING:
    from typing import TypeGuard

    from numpy.typing import NDArray

    from chainrule.protocols import Sparse


@dataclass(frozen=True, eq=False)
class CSR:
    """Rows of a matrix of which only some elements are stored.

    Those of row r are ``data[indptr[r]:indptr[r + 1]]``, in the columns that `indices` has at the
    same places.
    """

    data: NDArray[Any]
    indices: NDArray[Any]
    indptr: NDArray[Any]
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored elements."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """2, or 1 for one sample."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def tocsr(self) -> CSR:
        """Return itself."""
        return self

    def as_row(self) -> CSR:
        """Return one sample as a matrix of one row."""
        return CSR(self.data, self.indices, self.indptr, (1, *self.shape))

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> CSR:
        """Return these rows: views of the arrays for a slice of neighbours, else copies."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                begin, end = self.indptr[start], self.indptr[max(start, stop)]
                return CSR(
                    self.data[begin:end],
                    self.indices[begin:end],
                    self.indptr[start : max(start, stop) + 1] - begin,
                    (max(start, stop) - start, self.shape[1]),
                )
            rows = np.arange(start, stop, step)
        begin, counts = self.indptr[:-1][rows], np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        places = np.arange(indptr[-1]) + np.repeat(begin - indptr[:-1], counts)
        shape = (len(counts), self.shape[1])
        return CSR(self.data[places], self.indices[places], indptr, shape)


def is_sparse(value: Any) -> TypeGuard[Sparse]:
    """Tell whether `value` is a matrix of SciPy's sparse kinds, or a `CSR`."""
    return not isinstance(value, np.ndarray) and hasattr(value, "tocsr")


def as_csr(value: Any, name: str = "x") -> CSR:
    """Return the rows of a sparse matrix, where they lie if it is CSR."""
    if isinstance(value, CSR):
        return value
    matrix = value if getattr(value, "format", None) == "csr" else _converted(value, name)
    data, indices, indptr = (
        np.ascontiguousarray(array) for array in (matrix.data, matrix.indices, matrix.indptr)
    )
    if data.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers, got a sparse matrix of dtype {data.dtype}; convert it "
            f"with {name}.astype(numpy.float32)"
        )
    return CSR(data, indices, indptr, tuple(map(int, matrix.shape)))


def _converted(value: Sparse, name: str) -> Any:
    """Return a CSR matrix of another format, whose indices SciPy would not look at."""
    kind = getattr(value, "format", None)
    if kind not in ("csc", "coo", "bsr"):
        return value.tocsr()
    try:
        own: Any = value.copy()  # type: ignore[attr-defined]  # that nobody else changes
    except ValueError as error:
        raise ValueError(
            f"{name} is a sparse matrix whose arrays SciPy refuses ({error}): build it again"
        ) from error
    if kind == "coo":
        places = getattr(own, "coords", None) or (own.row, own.col)
        for axis, length in zip(places, own.shape, strict=True):
            if len(axis) and not 0 <= axis.min() <= axis.max() < length:
                raise ValueError(
                    f"{name} is a sparse matrix whose coordinates go from {axis.min()} to "
                    f"{axis.max()}, expected 0 to {length - 1}: build it again"
                )
        return own.tocsr()
    rows, columns = own.shape if kind == "bsr" else own.shape[::-1]
    if kind == "bsr":
        rows, columns = rows // own.blocksize[0], columns // own.blocksize[1]
    # The core looks at the indices: of CSC as those of the transpose, of BSR as those of blocks.
    numbers = np.zeros(len(own.indices), np.float32)
    _core.is_canonical(CSR(numbers, own.indices, own.indptr, (rows, columns)))
    return own.tocsr()


def rows_of(value: Any, name: str = "x") -> CSR:
    """Return the rows of a sparse matrix in canonical form, checked by the core."""
    matrix = as_csr(value, name)
    return matrix if _core.is_canonical(matrix) else canonical(matrix)


def canonical(matrix: CSR) -> CSR:
    """Return the matrix with the columns of every row in order, duplicates summed.

    They are added in the order in which they are stored, in the matrix's own dtype, as its
    ``toarray()`` does.
    """
    matrix = replace(  # copies, looked at once more: the arrays may be changing
        matrix,
        data=matrix.data.copy(),
        indices=matrix.indices.copy(),
        indptr=matrix.indptr.copy(),
    )
    _core.is_canonical(matrix)
    rows = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    count = len(rows)
    order = np.lexsort((matrix.indices[:count], rows))  # stable
    rows, columns = rows[order], matrix.indices[:count][order]
    first = np.ones(count, bool)
    first[1:] = (np.diff(rows) != 0) | (np.diff(columns) != 0)
    data = np.zeros(int(first.sum()), matrix.dtype)
    with np.errstate(all="ignore"):
        np.add.at(data, np.cumsum(first) - 1, matrix.data[:count][order])
    indptr = np.zeros(len(matrix.indptr), np.int64)
    np.cumsum(np.bincount(rows[first], minlength=len(indptr) - 1), out=indptr[1:])
    return CSR(data, columns[first], indptr, matrix.shape)
