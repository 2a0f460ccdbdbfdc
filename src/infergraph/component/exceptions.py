"""Exceptions of user code: the HTTP status and message that they stand for."""

from __future__ import annotations

import asyncio
import os

_NOT_IMPLEMENTED = "SeldonNotImplementedError"


def is_not_implemented(error: BaseException) -> bool:
    """Whether an exception means that the hook is not implemented; by name, to include seldon_core's own class."""
    return type(error).__name__ == _NOT_IMPLEMENTED


def declared_status(error: BaseException) -> int | None:
    """The HTTP status that the class of an error declares; 500 if it is not an error status, None for none.

    An HTTP client's error has a status on the instance only: that of another server's response.
    """
    if not isinstance(getattr(type(error), "status_code", None), int):
        return None
    status = getattr(error, "status_code", None)
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    return status if isinstance(status, int) and 200 <= status <= 599 else 500


def ends_request(error: BaseException) -> bool:
    """Whether an exception in a coroutine is the cancellation of its request, and not an error of the user code."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def text_of(error: BaseException) -> str:
    """The message of an exception; its class if the message is empty, or raises itself."""
    try:
        return str(error) or type(error).__name__
    except Exception:  # noqa: BLE001 - user code may raise anything, here too
        return type(error).__name__


def place_of(error: BaseException) -> str:
    """` (looked for in FOLDER)` if a file opened by a relative path does not exist; else an empty string."""
    name = getattr(error, "filename", None)
    is_relative = isinstance(error, FileNotFoundError) and isinstance(name, str) and not os.path.isabs(name)
    return f" (looked for in {os.getcwd()})" if is_relative else ""
