"""Sparse samples: SciPy's CSR matrices as three arrays, without an import of SciPy.

What the core reads is *canonical*: in every row the columns rise, none twice. Other matrices are
brought into this form, never made dense.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        indptr = np.concatenate([[0], np.cumsum(counts, dtype=self.indptr.dtype)])
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
    matrix = value if getattr(value, "format", None) == "csr" else value.tocsr()
    data, indices, indptr = (
        np.ascontiguousarray(array) for array in (matrix.data, matrix.indices, matrix.indptr)
    )
    if data.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers, got a sparse matrix of dtype {data.dtype}; convert it "
            f"with {name}.astype(numpy.float32)"
        )
    return CSR(data, indices, indptr, tuple(map(int, matrix.shape)))


def rows_of(value: Any, name: str = "x") -> CSR:
    """Return the rows of a sparse matrix in canonical form, checked by the core."""
    matrix = as_csr(value, name)
    return matrix if _core.is_canonical(matrix) else canonical(matrix)


def canonical(matrix: CSR) -> CSR:
    """Return the matrix with the columns of every row in order, duplicates summed.

    They are added in the order in which they are stored, in the matrix's own dtype, as its
    ``toarray()`` does.
    """
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
