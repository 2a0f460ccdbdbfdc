"""Fetches the files of tasks that came by reference: to the disk of the data folder, before any work on them.

    address ─▶ received ┊ is it still the version of the submission? ─▶ JSON lines ─▶ input of the task

A file that has changed is never worked on: its version is compared when all of it has been received. A crash begins
anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from infergraph.errors import PayloadError
from infergraph.net.backoff import Backoff
from infergraph.settings import Settings
from infergraph.tasks.conversion import Conversion, ConversionLimits
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.files import INPUT, RECEIVED, SCRATCH, DataFolder, LineCount, disk_faults, sync_folder
from infergraph.tasks.references import Reference, ReferenceAway, ReferenceFault, Version, check_uri, open_reference
from infergraph.tasks.task import Fetched, Task
from infergraph.wire import file_kind
from infergraph.wire.file_kind import LINES

_AT_ONCE = 2
_ATTEMPTS = 4
_BACKOFF = Backoff(first_s=0.5, limit_s=5.0)


class _Fetch(NamedTuple):
    task: Task
    future: Future[Fetched | None]
    dropped: threading.Event


class Fetching:
    """The files that are being fetched; used by the driver's thread.

    Args:
        wake: called from any thread when one is there, or cannot be had.
    """

    def __init__(self, data: DataFolder, settings: Settings, wake: Callable[[], None]) -> None:
        self._data = data
        self._settings = settings
        self._wake = wake
        self._running: dict[int, _Fetch] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch")

    @property
    def tasks(self) -> list[Task]:
        """Whose files are being fetched."""
        return [fetch.task for fetch in self._running.values()]

    def start(self, task: Task) -> None:
        """Fetch the file of a claimed task."""
        dropped = threading.Event()
        future = self._threads.submit(_fetched, self._data, self._settings, task, dropped)
        self._running[task.seq] = _Fetch(task, future, dropped)
        future.add_done_callback(lambda _: self._wake())

    def drop(self, seq: int) -> None:
        """Stop fetching. Idempotent."""
        fetch = self._running.pop(seq, None)
        if fetch is not None:
            fetch.dropped.set()

    def ended(self) -> Iterator[tuple[Task, Future[Fetched | None]]]:
        """The tasks whose files are there, or cannot be had; each once."""
        for seq, fetch in list(self._running.items()):
            if fetch.future.done():
                del self._running[seq]
                yield fetch.task, fetch.future

    def stop(self) -> None:
        """Stop fetching all of them."""
        for seq in list(self._running):
            self.drop(seq)
        self._threads.shutdown(cancel_futures=True)


def repeated(call: Callable[[], None], dropped: threading.Event | None = None) -> None:
    """Call again, after a while and a few times, while an address does not answer. Raises: ReferenceFault."""
    over = dropped or threading.Event()
    for attempt in range(_ATTEMPTS - 1):
        try:
            return call()
        except ReferenceAway:
            over.wait(_BACKOFF.wait_s(attempt + 1))
    return call()


def _fetched(data: DataFolder, settings: Settings, task: Task, dropped: threading.Event) -> Fetched | None:
    """Fetch the file of a task; it is durable when this returns. None if it was fetched before, on another machine.

    Raises: PayloadError if it cannot be had or read; UploadTooLarge; StorageFull; MissingExtra.
    """
    if not task.is_to_fetch:
        data.bring(task)
        return None
    check_uri(task.input_uri, settings.task_uris, "input_uri")
    home = data.tasks / task.folder
    with disk_faults():
        home.mkdir(exist_ok=True)
        sync_folder(data.tasks)
    reserve_bytes = settings.task_disk_reserve_bytes
    limits = ConversionLimits(settings.task_upload_limit_bytes, lambda: data.check_room(reserve_bytes))
    reference, pinned = open_reference(task.input_uri), task.input_version
    received = home / f"{RECEIVED}.{task.fence}"  # another driver may have taken over
    try:
        repeated(lambda: _receive(reference, pinned, received, limits, dropped), dropped)
        fetched = _converted(task, received, limits)
    finally:
        received.unlink(missing_ok=True)
        _beside(received, INPUT).unlink(missing_ok=True)
    with disk_faults():
        sync_folder(home)
    data.keep_input(task.folder)
    crash_point("input-fetched")
    return fetched


def _receive(
    reference: Reference, pinned: str, target: Path, limits: ConversionLimits, dropped: threading.Event
) -> None:
    """Raises: ReferenceFault if it is not the pinned version."""
    limits.begin()
    with disk_faults(), target.open("wb") as file:
        for block in reference.blocks():
            if dropped.is_set():
                raise ReferenceFault(f"{reference.uri}: no longer needed")
            limits.unpacked(block)
            file.write(block)
    check_version(reference.version(), pinned, reference.uri)


def check_version(found: Version, pinned: str, uri: str) -> None:
    """Raises: ReferenceFault if a file is not the one that was there at the submission."""
    if found.etag != pinned:
        raise ReferenceFault(f"{uri}: the file has changed since the task was submitted")


def _converted(task: Task, received: Path, limits: ConversionLimits) -> Fetched:
    """Make the input of what was received, under its name when it is complete."""
    with received.open("rb") as file:
        said = file_kind.of_word(task.input_format, "format") if task.input_format else LINES
        kind = file_kind.shown_by(file.read(file_kind.MAGIC_BYTES), said)
    conversion = Conversion(received, kind, None, scratch=_beside(received, SCRATCH))
    made = _beside(received, INPUT)
    lines = LineCount()
    limits.begin()
    with disk_faults(), made.open("wb") as target:
        for block in conversion.blocks(limits):
            lines.feed(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    lines.finish()
    if lines.fault:
        raise PayloadError(lines.fault)
    os.replace(made, received.with_name(INPUT))
    return Fetched(
        input_bytes=received.stat().st_size,
        input_end=lines.end,
        total=lines.lines,
        charset=conversion.charset,
        input_format=kind.stored,
    )


def _beside(received: Path, name: str) -> Path:
    return received.with_name(f"{received.name}.{name}")
