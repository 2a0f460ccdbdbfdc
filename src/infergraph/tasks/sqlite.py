"""SQLite connections of the task store, and the translation of SQLite's errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infergraph.errors import StorageFull, TaskFault

_BUSY_S = 15.0


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection for any thread, in WAL mode, `synchronous` as SQLite calls it."""
    connection = sqlite3.connect(os.fspath(path), isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
    connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {synchronous}")
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """Translate SQLite's errors to faults."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
            raise StorageFull(f"no room on the disk for the task store: {error}") from error
        raise TaskFault(f"the task store cannot be used: {error}", reason="TASK_STORE") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise TaskFault(f"the task store cannot be read: {error}", reason="TASK_STORE") from error
