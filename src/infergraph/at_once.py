"""Coroutines that wait for nothing, run to their end without an event loop.

What may have to wait is written once, as a coroutine; where it is known that nothing in it will wait, it is driven: in
a thread, or by an edge that needs no task for it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def drive(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing.

    Raises: what it raises; RuntimeError if it waits after all, which ends it.
    """
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("what was to be done at once waited for something")
