"""What an exception of user code means."""

from __future__ import annotations

import asyncio
import os

_NOT_IMPLEMENTED = "SeldonNotImplementedError"


def is_not_implemented(error: BaseException) -> bool:
    """Whether a hook says that it is not there after all; by name, since seldon_core's own class counts as well."""
    return type(error).__name__ == _NOT_IMPLEMENTED


def declared_status(error: BaseException) -> int | None:
    """The HTTP status that the class of an error declares; 500 for one that is no answer's, None for none.

    An HTTP client's error has a status on the instance alone: it is that of somebody else's answer.
    """
    if not isinstance(getattr(type(error), "status_code", None), int):
        return None
    status = getattr(error, "status_code", None)
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    return status if isinstance(status, int) and 200 <= status <= 599 else 500


def ends_request(error: BaseException) -> bool:
    """Whether an exception in a coroutine is the end of its request, not of the user's making."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def text_of(error: BaseException) -> str:
    """What an exception says; its class where it says nothing, or fails to."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - user code may raise anything, here too
        return type(error).__name__


def place_of(error: BaseException) -> str:
    """` (looked for in FOLDER)` for a file that was opened by a relative path and is not there; else nothing."""
    name = getattr(error, "filename", None)
    is_relative = isinstance(error, FileNotFoundError) and isinstance(name, str) and not os.path.isabs(name)
    return f" (looked for in {os.getcwd()})" if is_relative else ""
