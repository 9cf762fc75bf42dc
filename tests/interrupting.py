"""Exceptions at every place of some modules where one can arrive, one per run.

Ctrl-C, a signal handler that raises and ``PyThreadState_SetAsyncExc`` raise between two bytecodes
of whatever runs. ``interrupt_everywhere`` calls a function again and again: in run k the k-th
traced event of the modules raises. ::

    points = interrupt_everywhere(
        lambda net: net.fit(x, y, learning_rate=0.1),
        ["chainrule.network", "chainrule.training"],
        setup=make_network,
        check=is_usable,
    )
"""

from __future__ import annotations

import dis
import faulthandler
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupt(BaseException):
    """What arrives; as KeyboardInterrupt, no ``except Exception`` catches it."""


def is_suspended(frame: FrameType) -> bool:
    """Tell whether a frame that "returns" awaits or yields: no exception can arrive just then.

    What a trace function raises there would leave the frame without its handlers being run.
    """
    name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return name in {"YIELD_VALUE", "YIELD_FROM"}


class Interrupter:
    """A trace function that raises once, at the k-th event in frames of some modules.

    Parameters
    ----------
    at : int
        The event, counted from 0, that raises.
    modules : sequence of str
        Names of modules; a package stands for its submodules too.
    opcodes : bool, default False
        Count bytecodes; otherwise calls, lines and returns.
    error : type of BaseException, default Interrupt

    Attributes
    ----------
    place : str or None
        Where it raised.
    """

    def __init__(
        self,
        at: int,
        modules: Sequence[str],
        *,
        opcodes: bool = False,
        error: type[BaseException] = Interrupt,
    ) -> None:
        self.at, self.opcodes, self.error = at, opcodes, error
        self.modules, self.packages = set(modules), tuple(f"{name}." for name in modules)
        self.counted = {"call", "opcode"} if opcodes else {"call", "line", "return"}
        self.seen = 0
        self.place: str | None = None

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """Count an event; for sys.settrace."""
        if not self.covers(frame) or self.place is not None:
            return None
        frame.f_trace_opcodes = self.opcodes
        if event in self.counted and not (event == "return" and is_suspended(frame)):
            self.seen += 1
            if self.seen > self.at:
                code = frame.f_code
                self.place = (
                    f"{code.co_filename}:{frame.f_lineno} in {code.co_name}, "
                    f"{event} at bytecode {frame.f_lasti}"
                )
                raise self.error(self.place)
        return self.trace

    def covers(self, frame: FrameType) -> bool:
        """Tell whether a frame belongs to the modules."""
        name = frame.f_globals.get("__name__", "")
        return name in self.modules or name.startswith(self.packages)

    def start(self) -> None:
        """Trace this thread from now on, the functions that are under way included."""
        sys.settrace(self.trace)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self.covers(frame):
                frame.f_trace, frame.f_trace_opcodes = self.trace, self.opcodes
            frame = frame.f_back

    def arm(self, state: object) -> None:
        """Trace this thread from its next call on."""
        sys.settrace(self.trace)

    def stop(self) -> None:
        """End tracing this thread."""
        sys.settrace(None)


def interrupt_everywhere(
    function: Callable[[Any], object],
    modules: Sequence[str],
    *,
    setup: Callable[[], Any] = lambda: None,
    check: Callable[[Any], object] = lambda state: None,
    opcodes: bool = False,
    error: type[BaseException] = Interrupt,
    start: Callable[[Interrupter, Any], object] | None = None,
) -> int:
    """Interrupt ``function(state)`` at every event in turn, until a run meets none.

    Parameters
    ----------
    function : callable
        Gets what `setup` returned. The interrupt may pass through it, or be caught inside.
    modules : sequence of str
        Modules and packages whose events count.
    setup : callable, optional
        Makes the state of one run; not traced.
    check : callable, optional
        Gets the state after the run, and raises if something was left behind; not traced.
    opcodes : bool, default False
        Interrupt before every bytecode rather than at every call, line and return.
    error : type of BaseException, default Interrupt
    start : callable, optional
        Gets the Interrupter and the state before `function` is called, and arranges that another
        thread calls `Interrupter.start`. By default this thread is traced during `function`.

    Returns
    -------
    int
        How many events there were, each of which raised in one run.

    Raises
    ------
    AssertionError
        If `check` fails; names the place of the interrupt.
    """
    for at in itertools.count():
        state = setup()
        interrupter = Interrupter(at, modules, opcodes=opcodes, error=error)
        try:
            (start or Interrupter.arm)(interrupter, state)
            function(state)
        except error:
            pass
        finally:
            interrupter.stop()
        try:
            check(state)
        except BaseException as failure:
            raise AssertionError(f"after an interrupt at {interrupter.place}") from failure
        if interrupter.place is None:
            return at
    raise AssertionError("unreachable")


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """End the process, with the stacks of all threads, if the block takes longer."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
