"""Metrics in shared memory: each process writes its own file, any process reads them all.

    <folder>/lock             held by the supervisor; a folder whose lock is free is abandoned, and deleted
    <folder>/<slot>.index     one JSON line for each series: the position and meaning of its cells
    <folder>/<slot>.cells     doubles in memory-mapped segments of 64 KiB; cell 0 is 1.0 while the slot is in use

Counting is an addition in shared memory (about 0.1 µs), there is nothing to flush, and the counts of a killed process
are preserved. A slot is written by one process at a time; its next owner continues with the same numbers, so that there
are never more files than slots. This is why we do not use the multi-process mode of prometheus-client, whose additions
cost 1.1 to 3.2 µs each and whose files are named by process id.
"""

from __future__ import annotations

import fcntl
import logging
import math
import mmap
import os
import shutil
import tempfile
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

SEGMENT_BYTES = 64 * 1024
CELL_BYTES = 8
SEGMENT_CELLS = SEGMENT_BYTES // CELL_BYTES
SEGMENTS_LIMIT = 64
FOLDER_PREFIX = "infergraph-metrics-"
log = logging.getLogger(__name__)


class Cells(Protocol):
    """The numbers of one series, in shared memory."""

    def __getitem__(self, at: int, /) -> float: ...

    def __setitem__(self, at: int, value: float, /) -> None: ...


class Shape(Enum):
    """The meaning of the cells of a series, and how the values of several metrics slots are merged."""

    COUNTER = "counter"  # [sum]; the sum over all slots
    GAUGE = "gauge"  # [value, time of setting]; the latest over all slots
    LIVE = "live"  # [value]; the sum over the slots in use
    HISTOGRAM = "histogram"  # [count of each bucket, +Inf last, then the sum]; the sum over all slots


class Bounds(Enum):
    """The upper bounds of a histogram's buckets, by name."""

    SECONDS = (
        1e-4,
        2.5e-4,
        5e-4,
        1e-3,
        2.5e-3,
        5e-3,
        0.01,
        0.025,
        0.05,
        0.1,
        0.25,
        0.5,
        1.0,
        2.5,
        5.0,
        10.0,
        30.0,
        60.0,
    )
    ORCHESTRATOR = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
    ROWS = tuple(float(2**power) for power in range(13))
    BYTES = tuple(float(256 * 4**power) for power in range(10))
    TIMER = tuple(
        10**power for power in (*(-3 + step * ((math.log10(30) + 3) / 49) for step in range(49)), math.log10(30))
    )
    NONE = ()


class Series(msgspec.Struct, frozen=True):
    """One line of an index.

    Args:
        at: the first cell.
        shape: the meaning of the cells.
        name: of the metric family, without the suffixes of its samples.
        help: one sentence.
        labels: names and values.
        bounds: the name of a histogram's bounds.
    """

    at: int
    shape: Shape
    name: str
    help: str
    labels: dict[str, str]
    bounds: str = Bounds.NONE.name

    @property
    def cells(self) -> int:
        """The number of its cells."""
        if self.shape is Shape.HISTOGRAM:
            return len(Bounds[self.bounds].value) + 2
        return 2 if self.shape is Shape.GAUGE else 1


class Histogram:
    """A histogram. Not thread-safe."""

    __slots__ = ("_bounds", "_cells", "_sum")

    def __init__(self, cells: Cells, bounds: Bounds) -> None:
        self._cells = cells
        self._bounds: Sequence[float] = bounds.value
        self._sum = len(bounds.value) + 1

    def observe(self, value: float) -> None:
        """Count one value."""
        cells = self._cells
        cells[bisect_left(self._bounds, value)] += 1.0
        cells[self._sum] += value


class SharedMetrics:
    """The writer of one metrics slot.

    Promises: counts survive the death of the process; a slot that is taken over continues with its numbers, its LIVE
    series at zero. If there is no room left, a new series is not recorded and one warning is logged; nothing is raised.
    """

    def __init__(self, folder: Path, metrics_slot: str) -> None:
        self._cells_path = folder / f"{metrics_slot}.cells"
        self._index = os.open(
            folder / f"{metrics_slot}.index", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._file = os.open(self._cells_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._segments: dict[int, memoryview[float]] = {}
        self._known: dict[tuple[Shape, str, tuple[tuple[str, str], ...]], Series] = {}
        self._next = 1
        self._full = False
        self._take_over(folder / f"{metrics_slot}.index")

    def _take_over(self, index: Path) -> None:
        raw = index.read_bytes()
        os.ftruncate(self._index, raw.rfind(b"\n") + 1)  # a line cut short by the death of its writer
        for series in read_index(raw):
            self._known[key_of(series)] = series
            self._next = max(self._next, series.at + series.cells)
        self._header = self._room(0, 1)
        for series in self._known.values():
            if series.shape is Shape.LIVE:
                self._room(series.at, 1)[0] = 0.0
        self._header[0] = 1.0

    def counter(self, name: str, help: str, labels: Mapping[str, str]) -> Cells:
        """The one cell of a counter: add to it, never less than 0."""
        return self._open(Shape.COUNTER, name, help, labels)

    def gauge(self, name: str, help: str, labels: Mapping[str, str]) -> Cells:
        """The two cells of a gauge: its value and the time of setting (Unix seconds)."""
        return self._open(Shape.GAUGE, name, help, labels)

    def live(self, name: str, help: str, labels: Mapping[str, str]) -> Cells:
        """The one cell of a gauge that is summed over living processes, and dropped when its process dies."""
        return self._open(Shape.LIVE, name, help, labels)

    def histogram(self, name: str, help: str, labels: Mapping[str, str], bounds: Bounds) -> Histogram:
        """A histogram with these bounds."""
        return Histogram(self._open(Shape.HISTOGRAM, name, help, labels, bounds), bounds)

    def _open(
        self, shape: Shape, name: str, help: str, labels: Mapping[str, str], bounds: Bounds = Bounds.NONE
    ) -> Cells:
        wanted = Series(0, shape, name, help, dict(labels), bounds.name)
        series = self._known.get(key_of(wanted))
        if series is None:
            try:
                series = self._append(wanted)
            except OSError as error:
                return self._in_vain(wanted.cells, error)
        return self._room(series.at, series.cells)

    def _room(self, at: int, count: int) -> Cells:
        try:
            return self._cells(at, count)
        except OSError as error:
            return self._in_vain(count, error)

    def _append(self, wanted: Series) -> Series:
        at = self._next
        if at // SEGMENT_CELLS != (at + wanted.cells - 1) // SEGMENT_CELLS:
            at = (at // SEGMENT_CELLS + 1) * SEGMENT_CELLS
        series = msgspec.structs.replace(wanted, at=at)
        self._cells(at, series.cells)  # reserve the cells before the line that refers to them
        line = msgspec.json.encode(series) + b"\n"
        end = os.fstat(self._index).st_size
        if os.write(self._index, line) < len(line):
            os.ftruncate(self._index, end)
            raise OSError("no room for the index")
        self._known[key_of(series)] = series
        self._next = at + series.cells
        return series

    def _cells(self, at: int, count: int) -> memoryview[float]:
        number, start = divmod(at, SEGMENT_CELLS)
        if number not in self._segments:
            self._segments[number] = self._map(number)
        return self._segments[number][start : start + count]

    def _map(self, number: int) -> memoryview[float]:
        if number >= SEGMENTS_LIMIT:
            raise OSError(f"the metrics file {self._cells_path.name} has its {SEGMENTS_LIMIT} segments in use")
        start = number * SEGMENT_BYTES
        missing = start + SEGMENT_BYTES - os.fstat(self._file).st_size
        if missing > 0:  # written, not only extended: a full disk raises here, and not as SIGBUS while counting
            os.pwrite(self._file, bytes(missing), start + SEGMENT_BYTES - missing)
        return memoryview(mmap.mmap(self._file, SEGMENT_BYTES, offset=start)).cast("d")

    def _in_vain(self, cells: int, error: OSError) -> Cells:
        if not self._full:
            self._full = True
            log.warning("no room for more metrics; further series are not exported: %s", error)
        return array("d", bytes(CELL_BYTES * cells))

    def close(self) -> None:
        """Release the slot. Its numbers are kept; its cells may still be written to."""
        if self._file < 0:
            return
        self._header[0] = 0.0
        os.close(self._file)
        os.close(self._index)
        self._file = self._index = -1


class PrivateMetrics(SharedMetrics):
    """Metrics of this process alone, which are not exposed: for task workers and for graphs run from Python."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[Shape, str, tuple[tuple[str, str], ...]], Cells] = {}

    def _open(
        self, shape: Shape, name: str, help: str, labels: Mapping[str, str], bounds: Bounds = Bounds.NONE
    ) -> Cells:
        wanted = Series(0, shape, name, help, dict(labels), bounds.name)
        return self._arrays.setdefault(key_of(wanted), array("d", bytes(CELL_BYTES * wanted.cells)))

    def close(self) -> None:
        """Do nothing: there is no slot."""


def key_of(series: Series) -> tuple[Shape, str, tuple[tuple[str, str], ...]]:
    """The key that identifies a series."""
    return series.shape, series.name, tuple(sorted(series.labels.items()))


_index_line = msgspec.json.Decoder(Series)


def read_index(raw: bytes) -> list[Series]:
    """The complete lines of an index, without an incomplete last one."""
    return [_index_line.decode(line) for line in raw.split(b"\n")[:-1]]


class SeriesReading(msgspec.Struct, frozen=True):
    """The current values of one series in one slot.

    Args:
        series: its declaration.
        values: its cells.
        taken: whether a living process owns the slot.
    """

    series: Series
    values: list[float]
    taken: bool


def read(folder: Path) -> Iterator[SeriesReading]:
    """All series of all slots of a folder, slot by slot in the order of their names."""
    for path in sorted(folder.glob("*.index")):
        index = read_index(path.read_bytes())
        if not index:
            continue
        with open(path.with_suffix(".cells"), "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        cells = memoryview(mapped).cast("d")
        try:
            taken = cells[0] != 0.0
            for series in index:
                yield SeriesReading(series, list(cells[series.at : series.at + series.cells]), taken)
        finally:
            cells.release()


def vacate(folder: Path, metrics_slot: str) -> None:
    """Mark the slot of a process that died without releasing it."""
    with suppress(FileNotFoundError):
        file = os.open(folder / f"{metrics_slot}.cells", os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(file, bytes(CELL_BYTES), 0)
        os.close(file)


def shared_memory() -> Path:
    """A folder in memory, if the system has one; otherwise the temporary folder."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


class Folder:
    """The folder of one run's shared metrics, created below `parent`.

    Promises: `remove` deletes it; if the process is killed before, the next run does.
    """

    def __init__(self, parent: Path) -> None:
        sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Delete it. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


SWEEP_AGE_S = 10.0


def sweep(parent: Path) -> None:
    """Delete our folders whose owner is dead (their lock is free), except those just being created."""
    for folder in parent.glob(FOLDER_PREFIX + "*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime < SWEEP_AGE_S:
                continue
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
