"""Watch source files during development: a change wakes the supervisor, which restarts its workers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from infergraph.errors import MissingExtra, SettingsError

IGNORED = frozenset({"__pycache__", ".git", ".venv", "node_modules", "site-packages"})
SUFFIXES = frozenset({".py", ".yaml", ".yml", ".json", ".toml"})


class SourceWatch:
    """Watches files and folders in its own thread, which the constructor starts.

    Args:
        paths: files, and folders with everything below them.
    Raises:
        MissingExtra: without the package watchfiles.
        SettingsError: a path that does not exist.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        try:
            from watchfiles import watch
        except ImportError as error:
            raise MissingExtra.of("watchfiles", "reload", "--reload") from error
        for path in paths:
            if not Path(path).exists():
                raise SettingsError(f"--reload: there is no file or folder {path!r}")
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        self._stop = threading.Event()
        changes = watch(*paths, watch_filter=is_source, stop_event=self._stop, debounce=200, step=20)
        self._thread = threading.Thread(target=self._follow, args=(changes,), name="source-watch", daemon=True)
        self._thread.start()

    def _follow(self, changes: Iterable[set[tuple[Any, str]]]) -> None:
        for changed in changes:
            lines = "".join(f"{path}\n" for path in sorted({path for _, path in changed}))
            with suppress(OSError):
                os.write(self._writable, lines.encode(errors="replace")[: 4 * 1024])

    def fileno(self) -> int:
        """Readable when something changed."""
        return self._readable

    def changed(self) -> list[str]:
        """The files that changed since the last call."""
        with suppress(BlockingIOError):
            return os.read(self._readable, 64 * 1024).decode(errors="replace").splitlines()
        return []

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._stop.set()


def is_source(_change: object, path: str) -> bool:
    """Whether a changed path may be a source file of a served unit."""
    changed = Path(path)
    return changed.suffix in SUFFIXES and not changed.name.startswith(".") and IGNORED.isdisjoint(changed.parts)
