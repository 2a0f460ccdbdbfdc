"""The worker that answers before anybody has loaded, and those that wait until it has.

supervisor: mark the first worker ─▶ it opens its ports ─▶ loads ─▶ removes the mark
            the others: load ─▶ wait while there is a mark ─▶ open their ports

All share their ports. Were another one ready before the first, callers would be told "ready" by the one and "not yet"
by the other, as chance has it. So the service is ready when the first worker is, and each that opens later is loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

_PREFIX = "loading-"


class LoadingMark:
    """The mark of a worker that answers while it loads.

    Args:
        folder: which the workers of a run share.
        pid: the worker's.
    """

    def __init__(self, folder: Path, pid: int) -> None:
        self._path = folder / f"{_PREFIX}{pid}"

    def set(self) -> None:
        """Let workers that load behind closed ports wait for that one."""
        self._path.touch()

    def remove(self) -> None:
        """It has loaded, or failed to. Idempotent."""
        self._path.unlink(missing_ok=True)


def is_any_loading(folder: Path) -> bool:
    """Whether a worker that lives answers and has not loaded."""
    return any(_lives(mark.name.removeprefix(_PREFIX)) for mark in folder.glob(f"{_PREFIX}*"))


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
