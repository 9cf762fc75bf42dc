"""Several calls that no exception from elsewhere can come between.

The exceptions of Ctrl-C, of other signal handlers and of ``PyThreadState_SetAsyncExc`` arrive
between two bytecodes. Functions that are not written in Python have none, and neither have ``map``,
``starmap`` and ``chain``, by which they are called here: what they do is done as one. ::

    at_once(map(list.append, lists, values), setting(network, "_epoch", epoch))
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any


def at_once(*calls: Iterable[Any]) -> list[Any]:
    """Return the results of ``map`` or ``starmap`` of functions that are not Python's, in order.

    A call that raises is the last one.
    """
    return list(chain(*calls))


def setting(target: object, name: str, value: object) -> Iterable[None]:
    """Return the call that sets an attribute, past any ``__setattr__`` written in Python."""
    return map(object.__setattr__, (target,), (name,), (value,))
