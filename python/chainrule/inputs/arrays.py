"""Arrays on their way to the core: conversion, checks, and slices of bounded size.

The core reads aligned arrays of bool, integers, float32 and float64 in native byte order where
they lie. Everything else that holds real numbers (float16, long double, swapped bytes) is
converted a few rows at a time, never whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from chainrule import _core
from chainrule.inputs.sparse import CSR, is_sparse, rows_of
from chainrule.inputs.targets import joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from chainrule.inputs.targets import Found
    from chainrule.protocols import Sparse

    Samples = NDArray[Any] | CSR
    # x, y and the weights of samples
    Batch = tuple[Samples, NDArray[Any], NDArray[np.float64] | None]

# Numbers a slice may hold: a few megabytes, so that a conversion stays in the cache.
SLICE_SIZE = 2**20


def real_array(value: ArrayLike, name: str) -> NDArray[Any]:
    """Return `value` as an array of real numbers, without a copy if it is one already."""
    # A masked array, told without numpy.ma, which NumPy loads only when it is asked for.
    if isinstance(value, np.ndarray) and hasattr(value, "mask"):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: fill it first")
    array = _from_dlpack(value, name) if _lends_by_dlpack_alone(value) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        if is_sparse(value):
            raise TypeError(
                f"{name} is a sparse matrix, which is not taken here: pass {name}.toarray()"
            )
        raise TypeError(
            f"{name} must hold real numbers (bool, integers or floats), got dtype {array.dtype}"
        )
    return array


def _lends_by_dlpack_alone(value: Any) -> bool:
    """Tell whether `value` has numbers that ``numpy.asarray`` would not see."""
    known = ("__array__", "__array_interface__", "__array_struct__")
    return hasattr(type(value), "__dlpack__") and not any(hasattr(value, name) for name in known)


def _from_dlpack(value: Any, name: str) -> NDArray[Any]:
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError) as error:
        raise TypeError(
            f"{name} is a {type(value).__name__} that NumPy cannot read ({error}), expected real "
            "numbers in the memory of the CPU"
        ) from error


def weight_array(value: ArrayLike | None, n: int) -> NDArray[np.float64] | None:
    """Return sample weights as float64 of shape (n,), all finite and >= 0, with a sum > 0."""
    if value is None:
        return None
    with np.errstate(all="ignore"):  # a long double or a sum that overflows is refused below
        array = np.ascontiguousarray(real_array(value, "sample_weight"), dtype=np.float64)
        valid = (np.isfinite(array) & (array >= 0)).all()
        total = array.sum()
    if array.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), got {np.shape(value)}")
    if not valid or not 0 < total < np.inf:
        raise ValueError("sample_weight must be finite and >= 0, with a finite sum above 0")
    return array


def as_batch(
    x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64] | None]:
    """Return x (n, n_0), y (n, …) and weights (n,) as arrays; a 1-D x is one sample."""
    x, y = real_array(x, "x"), real_array(y, "y")
    if x.ndim == 1:
        x, y = x[None], y[None]
    return x, *_beside(x, y, sample_weight)


def as_samples(x: ArrayLike | Sparse, y: ArrayLike, sample_weight: ArrayLike | None) -> Batch:
    """As `as_batch`, but x may be a sparse matrix, and stays one."""
    if not is_sparse(x):
        return as_batch(cast("ArrayLike", x), y, sample_weight)
    rows, y = rows_of(x), real_array(y, "y")
    if rows.ndim == 1:
        rows, y = rows.as_row(), y[None]
    return rows, *_beside(rows, y, sample_weight)


def _beside(
    x: Samples, y: NDArray[Any], sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return targets and weights; ValueError unless they fit x."""
    if x.ndim != 2:
        raise ValueError(f"x must have shape (n, features) or (features,), got {x.shape}")
    if y.ndim == 0 or len(y) != len(x):
        raise ValueError(f"y must have one entry per row of x: {len(x)} rows, y of shape {y.shape}")
    return y, weight_array(sample_weight, len(x))


def is_native(array: Samples) -> bool:
    """Tell whether the core can read `array` where it lies."""
    array = array.data if isinstance(array, CSR) else array
    dtype = array.dtype
    readable = dtype.kind != "f" or dtype.itemsize in (4, 8)
    return bool(readable and dtype.isnative and array.flags.aligned)


@overload
def native(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]: ...
@overload
def native(array: CSR, dtype: np.dtype[Any]) -> CSR: ...
def native(array: Samples, dtype: np.dtype[Any]) -> Samples:
    """Return `array` if the core can read it, else a copy: floats as `dtype`, the rest as is."""
    if is_native(array):
        return array
    if isinstance(array, CSR):
        return replace(array, data=native(array.data, dtype))
    wanted = dtype if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    with np.errstate(all="ignore"):  # a long double may become infinite: the checks say so
        return np.array(array, wanted)


@overload
def apart(network: _core.Network, array: NDArray[Any]) -> NDArray[Any]: ...
@overload
def apart(network: _core.Network, array: CSR) -> CSR: ...
def apart(network: _core.Network, array: Samples) -> Samples:
    """Return `array`, or a copy if it lies in the network's parameters, which training changes."""
    if isinstance(array, CSR):
        return replace(array, data=apart(network, array.data))
    views = (*network.weights, *network.biases)
    return array.copy() if any(np.may_share_memory(array, view) for view in views) else array


def row_slices(n: int, width: int) -> Iterator[slice]:
    """Cut n rows of `width` numbers into slices of at most `SLICE_SIZE` numbers (or one row)."""
    rows = max(1, SLICE_SIZE // width)
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def check(
    network: _core.Network,
    x: Samples,
    y: NDArray[Any],
    sample_weight: NDArray[np.float64] | None,
    first_row: int = 0,
) -> Found | None:
    """Raise ValueError unless the data fit the network and its loss, and are finite.

    Rows count from `first_row`. Returns what the user is to be warned of.
    """
    if is_native(x) and is_native(y) or not len(x):
        whole = native(x, network.dtype), native(y, network.dtype)
        return _core.check_data(network, *whole, sample_weight, first_row)
    found = None
    for part in row_slices(len(x), max(network.sizes)):
        x_part, y_part = native(x[part], network.dtype), native(y[part], network.dtype)
        found = joined(
            found, _core.check_data(network, x_part, y_part, None, first_row + part.start)
        )
    return found
