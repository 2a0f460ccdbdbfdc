"""The startup gate: one worker answers while it loads, the others open their ports only when it is done.

first worker: marked by the supervisor ─▶ opens its ports ─▶ loads ─▶ removes the mark
the others:   load ─▶ wait while there is a mark ─▶ open their ports

Workers share their ports. If another one became ready first, a readiness probe would be answered "ready" or "not ready"
depending on which worker accepted it. So the service becomes ready when its first worker does.
"""

from __future__ import annotations

import os
from pathlib import Path

_PREFIX = "loading-"


class LoadingMark:
    """The mark of a worker that answers while it loads.

    Args:
        folder: shared by the workers of a run.
        pid: of the worker.
    """

    def __init__(self, folder: Path, pid: int) -> None:
        self._path = folder / f"{_PREFIX}{pid}"

    def set(self) -> None:
        """Make workers that load behind closed ports wait for this one."""
        self._path.touch()

    def remove(self) -> None:
        """Open the gate: the worker has loaded, or failed to. Idempotent."""
        self._path.unlink(missing_ok=True)


def is_any_loading(folder: Path) -> bool:
    """Whether a living worker answers and has not loaded yet."""
    return any(_lives(mark.name.removeprefix(_PREFIX)) for mark in folder.glob(f"{_PREFIX}*"))


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
