"""Several calls that no exception from elsewhere can come between.

The exceptions of Ctrl-C, of other signal handlers and of ``PyThreadState_SetAsyncExc`` arrive
between two bytecodes. Functions that are not written in Python have none, and neither have
``map`` and ``partial``, by which they are called here. So what these functions do is done as one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def at_once(*calls: partial[Any]) -> list[Any]:
    """Call functions that are not Python's, one after the other, and return what they return.

    A call that raises is the last one.
    """
    return list(map(partial.__call__, calls))


def setting(target: object, name: str, value: object) -> partial[None]:
    """Return the call that sets an attribute, past any ``__setattr__`` written in Python."""
    return partial(object.__setattr__, target, name, value)


def handed_on(first: partial[Any], second: Callable[[Any], T]) -> T:
    """Return ``second(first())`` of functions that are not Python's.

    What the first one returns, a file descriptor for instance, cannot get lost on the way.
    """
    return next(map(second, map(partial.__call__, (first,))))
