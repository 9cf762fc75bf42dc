"""How gunicorn runs the service; it finds this file by its name."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import chainrule as cr

CORES = cr.get_num_threads()  # that affinity and the quota of a container leave

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", CORES))
worker_class = "uvicorn_worker.UvicornWorker"
preload_app = True  # the model is loaded once, and the workers share its memory
keepalive = 75  # seconds: longer than a load balancer keeps a connection that is not used
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a disk may stall heartbeats

# Where the workers leave their numbers for one another, named before prometheus_client is imported:
# one folder a master, the same when it reads this file again.
FOLDER, OURS = "PROMETHEUS_MULTIPROC_DIR", f"prometheus-{os.getpid()}-"
if not os.path.basename(os.environ.get(FOLDER, "")).startswith(OURS):
    os.environ[FOLDER] = tempfile.mkdtemp(prefix=OURS)


def post_fork(server: Any, worker: Any) -> None:
    """Share the cores out among the workers."""
    cr.set_num_threads(max(1, CORES // server.cfg.workers))


def child_exit(server: Any, worker: Any) -> None:
    """Let the gauges of a worker end with it, also where it was killed."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    """Remove the numbers."""
    shutil.rmtree(os.environ[FOLDER], ignore_errors=True)
