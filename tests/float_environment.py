"""The control bits of the floating-point environment of the calling thread, through libm.

Rounding mode, exception masks, flush-to-zero and denormals-are-zero; not the flags, which
arithmetic raises as it goes. Known for Linux on x86-64 (SSE and x87) and on aarch64 (FPCR).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import struct
import sys

MACHINE = platform.machine() if sys.platform == "linux" else ""
KNOWN = MACHINE in ("x86_64", "aarch64")

if KNOWN:
    LIBM = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")

#: Where fenv_t keeps the control register that flushes, and its bits: (FTZ and DAZ), (FZ).
OFFSET, FLUSH = {"x86_64": (28, 0x8040), "aarch64": (0, 1 << 24)}.get(MACHINE, (0, 0))
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}.get(MACHINE, 0)

MXCSR_FLAGS = 0x3F


def _read() -> ctypes.Array[ctypes.c_char]:
    environment = ctypes.create_string_buffer(64)
    if LIBM.fegetenv(environment) != 0:
        raise OSError("fegetenv failed")
    return environment


def control() -> tuple[int, ...]:
    environment = _read()
    (register,) = struct.unpack_from("<I", environment, OFFSET)
    if MACHINE == "x86_64":
        (x87,) = struct.unpack_from("<H", environment, 0)
        return register & ~MXCSR_FLAGS, x87
    return (register,)


def flush_subnormals() -> None:
    """Set flush-to-zero (and denormals-are-zero) in the calling thread."""
    environment = _read()
    (register,) = struct.unpack_from("<I", environment, OFFSET)
    struct.pack_into("<I", environment, OFFSET, register | FLUSH)
    if LIBM.fesetenv(environment) != 0:
        raise OSError("fesetenv failed")


def round_upward() -> None:
    if LIBM.fesetround(UPWARD) != 0:
        raise OSError("fesetround failed")
