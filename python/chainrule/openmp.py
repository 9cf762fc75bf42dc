"""How the core's threads wait for one another. Nothing but the core's first import needs it."""

from __future__ import annotations

import os
from importlib import import_module

# Pauses of a thread that waits, before it sleeps: 0.05 to 0.2 ms. libgomp's own default is 300,000,
# up to 17 ms: where a thread has no core for itself, as beside other processes, the others then
# wait for it on the core that it could have.
_PAUSES = "3000"


def load_core() -> None:
    """Import the core, whose OpenMP reads the environment as it is loaded.

    ``OMP_WAIT_POLICY`` and ``GOMP_SPINCOUNT`` are obeyed where they are set, and the environment is
    left as it was.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        import_module("chainrule._core")
        return
    os.environ["GOMP_SPINCOUNT"] = _PAUSES
    try:
        import_module("chainrule._core")
    finally:
        del os.environ["GOMP_SPINCOUNT"]
