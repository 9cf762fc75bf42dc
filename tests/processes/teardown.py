"""Calls at the end of the interpreter: python teardown.py CASE. Prints "right" if they hold."""

from __future__ import annotations

import atexit
import signal
import sys
import threading
from types import ModuleType

stop = threading.Event()
signal.alarm(30)


def say_whether(right: bool) -> None:
    print("right" if right else "wrong", flush=True)


def predict_at_exit() -> None:
    say_whether(work.is_right())


def fork_at_exit() -> None:
    child = fork(work.is_right)
    say_whether(exit_code(child) == 0 and work.is_right())


def wait_for_thread() -> None:
    stop.set()
    thread.join(20)
    say_whether(not thread.is_alive())


class PredictsWhenDropped:
    """Refers to all it needs: the names of the module are gone by then."""

    def __init__(self, work: Work) -> None:
        self.work, self.say_whether = work, say_whether

    def __del__(self) -> None:
        self.say_whether(self.work.predicts_right())


def predict_until_stopped() -> None:
    while not stop.is_set():
        work.net.predict(work.x, threads=2)


HANDLERS = {"predict": predict_at_exit, "fork": fork_at_exit, "wait": wait_for_thread}

if __name__ == "__main__":
    what, when, others = sys.argv[1:]
    if when == "before the import":
        atexit.register(HANDLERS[what])  # runs after the handlers of the package
    from problem import Work, exit_code, fork

    work = Work()
    assert work.is_right()
    if when == "after the import":
        atexit.register(HANDLERS[what])
    if when == "when modules are cleared":
        # The frame of a daemon thread keeps this module's names alive, but not another module's.
        sys.modules["holder"] = ModuleType("holder")
        sys.modules["holder"].dropped = PredictsWhenDropped(work)
    if others == "beside a thread":
        thread = threading.Thread(target=predict_until_stopped, daemon=True)
        thread.start()
