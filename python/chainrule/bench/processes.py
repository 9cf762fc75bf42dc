"""Worker processes, as the runner sees them: an environment, two pipes, questions and answers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

# Variables of a user that change which kernels a library picks, or how it uses threads.
FOREIGN = (
    "ATEN_",
    "DNNL_",
    "GOMP_",
    "GOTO_",
    "JAX_",
    "KMP_",
    "MKL_",
    "NPY_",
    "NUMBA_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "OPENVINO_",
    "ORT_",
    "OV_",
    "TORCH",
    "XLA_",
)
THREADS = (
    "CHAINRULE_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# This folder is loaded as a package of its own, so that `import chainrule` is left to chainrule.
BOOT = """
import sys
from importlib import import_module
sys.path.insert(0, sys.argv[1])
main = import_module("bench." + sys.argv[2]).main
sys.path.remove(sys.argv[1])
main(sys.argv[3], int(sys.argv[4]))
"""


class WorkerError(Exception):
    """A worker raised an exception, or ended."""


def environment(threads: int) -> dict[str, str]:
    """Return what a worker finds in ``os.environ`` before it imports anything."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith(FOREIGN)}
    kept |= dict.fromkeys(THREADS, str(threads))
    if threads == 1:
        kept["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return kept


class Process:
    """One system with so many threads; started again when it has died.

    `worker` is the module of this package whose ``main`` the process runs.
    """

    def __init__(self, system: str, threads: int, worker: str = "worker") -> None:
        self.system, self.threads, self.worker = system, threads, worker
        self.popen: subprocess.Popen[bytes] | None = None

    def ask(self, method: str, *arguments: Any) -> Any:
        """Return the answer of the worker's method; WorkerError if there is none."""
        popen = self.popen = self.popen or self._start()
        assert popen.stdin is not None and popen.stdout is not None
        try:
            pickle.dump((method, arguments), popen.stdin)
            popen.stdin.flush()
            good, answer = pickle.load(popen.stdout)
        except (EOFError, OSError) as error:
            self.close()
            raise WorkerError(f"the process ended with status {popen.returncode}") from error
        if not good:
            raise WorkerError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.communicate()
            self.popen = None

    def _start(self) -> subprocess.Popen[bytes]:
        folder = str(Path(__file__).parent.parent)
        arguments = [folder, self.worker, self.system, str(self.threads)]
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", BOOT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(self.threads),
        )
