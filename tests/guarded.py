"""Arrays beside memory that may not be touched: one byte outside them, and the process dies."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from itertools import accumulate
from operator import mul

import numpy as np
from numpy.typing import DTypeLike

#: The flag of mprotect(2) that forbids reading, writing and executing.
PROT_NONE = 0

ENDS = ("start", "end")


class Room:
    """At least `size` bytes between two pages that can be neither read nor written."""

    def __init__(self, size: int, fill: int = 0) -> None:
        page = mmap.PAGESIZE
        inside = -(-size // page) * page
        whole = mmap.mmap(-1, page + inside + page)
        first = ctypes.addressof(ctypes.c_char.from_buffer(whole))
        for address in (first, first + page + inside):
            protect(address, page)
        self.memory = np.frombuffer(whole, np.uint8)[page:-page]
        self.memory[:] = fill

    def array(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        end: str,
        strides: Sequence[int] | None = None,
    ) -> np.ndarray:
        """An array of what is in the room that touches the forbidden page at its `end`."""
        dtype = np.dtype(dtype)
        if strides is None:
            strides = [*accumulate(shape[:0:-1], mul, initial=dtype.itemsize)][::-1]
        reach = [(n - 1) * stride for n, stride in zip(shape, strides, strict=True)]
        before = -sum(distance for distance in reach if distance < 0)
        after = sum(distance for distance in reach if distance > 0) + dtype.itemsize
        offset = before if end == "start" else self.memory.nbytes - after
        return np.ndarray(shape, dtype, self.memory, offset, strides)


def protect(address: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), PROT_NONE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
