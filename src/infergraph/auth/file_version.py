"""The version of a file that is read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path


def file_version(file: str | Path) -> tuple[int, int, int] | None:
    """Equal as long as the file has not been changed or replaced; None for one that is not there."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
