"""Exceptions of user code: the HTTP status and message that they stand for."""

from __future__ import annotations

import asyncio
import os
from typing import Any

_NOT_IMPLEMENTED = "SeldonNotImplementedError"


def is_not_implemented(error: BaseException) -> bool:
    """Whether an exception means that the hook is not implemented; by name, to include seldon_core's own class."""
    return type(error).__name__ == _NOT_IMPLEMENTED


def declared_status(error: BaseException) -> int | None:
    """The HTTP status that an error declares, on its class or on itself; None for none.

    An invalid HTTP status, or one that is neither an error nor an answer, becomes 500. The status of an HTTP client's
    error is that of another server's response, and is not used, unless its class declares one.
    """
    on_class = isinstance(getattr(type(error), "status_code", None), int)
    declared = _status_code(error)
    if declared is None or (not on_class and _attribute(error, "response") is not None):
        return 500 if on_class else None
    return declared if 200 <= declared <= 599 else 500


def _status_code(error: BaseException) -> int | None:
    """`status_code` of an error, or `code` of Werkzeug's own (`flask.abort`), as a number."""
    status = _attribute(error, "code" if _is_werkzeugs(error) else "status_code")
    if isinstance(status, str) and status.isdecimal():
        return int(status)
    return int(status) if isinstance(status, int) and not isinstance(status, bool) else None


def _is_werkzeugs(error: BaseException) -> bool:
    """By name, since Werkzeug is optional."""
    bases = type(error).__mro__
    return any((base.__module__, base.__name__) == ("werkzeug.exceptions", "HTTPException") for base in bases)


def _attribute(error: BaseException, name: str) -> Any:
    """An attribute of an error; None if it has none, or computing it raises."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 - user code may raise anything, here too
        return None


def ends_request(error: BaseException) -> bool:
    """Whether an exception in a coroutine is the cancellation of its request, and not an error of the user code."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, GeneratorExit)


def text_of(error: BaseException) -> str:
    """The message of an exception; its class if the message is empty, or raises itself; both of `sys.exit`."""
    try:
        text = str(error) or type(error).__name__
        return f"SystemExit: {text}" if isinstance(error, SystemExit) and error.code is not None else text
    except Exception:  # noqa: BLE001 - user code may raise anything, here too
        return type(error).__name__


def hint_of(error: BaseException) -> str:
    """What a component may do about an error of Python's that comes of where it runs; else an empty string."""
    if isinstance(error, ValueError | RuntimeError) and _MAIN_THREAD in text_of(error):
        return "; with execution=inline a component runs there"
    return ""


_MAIN_THREAD = "main thread"
"""In the words of Python's signal module, and of asyncio's signal handlers."""


def place_of(error: BaseException) -> str:
    """` (looked for in FOLDER)` if a file opened by a relative path does not exist; else an empty string."""
    name = getattr(error, "filename", None)
    is_relative = isinstance(error, FileNotFoundError) and isinstance(name, str) and not os.path.isabs(name)
    return f" (looked for in {os.getcwd()})" if is_relative else ""
