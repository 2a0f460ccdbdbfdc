"""A task without a server: the same engine over one file, in this process, resumable.

input ─▶ <output>.infergraph/ (store, partial output) ─▶ output, atomically, at the end

A file of JSON lines is read in place; a pipe, or a file in another charset, is copied first, since resuming reads it
again. A file in another format is converted first, and so are the answers at the end.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import shutil
import signal
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from infergraph import process_lifetime
from infergraph.errors import PayloadError, StorageFull, TaskConflict, TaskState
from infergraph.output_file import OutputPlace
from infergraph.settings import Settings
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.conversion import Conversion, ConversionLimits, check_available
from infergraph.tasks.driver.driver import Driver, DriverConfig, make_engine
from infergraph.tasks.files import INPUT, RECEIVED, SCRATCH, DataFolder, LineCount, disk_faults, sync_folder
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Store
from infergraph.tasks.task import ENDED, NewTask, State, Task
from infergraph.wire import file_kind
from infergraph.wire.file_kind import LINES, FileKind
from infergraph.wire.transcoding import Transcoder

ENDING = ".infergraph"
STANDARD_INPUT = Path("-")
_ID = "batch"
_BLOCK_BYTES = 1 << 20
_LOOK_EVERY_BYTES = 64 << 20


class BatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done; factory, source and path as in `DriverConfig`.

    Args:
        input: `-` for standard input.
        output: `-` for standard output.
        owner: tag of the target: work that another target has begun is not resumed.
        charset: a codec's name; empty for UTF-8, or the encoding detected from the first bytes.
        input_kind: None for what the input's name says, or its first bytes show.
        output_kind: None for what the output's name says, else the format of the input.
    """

    input: Path
    output: Path
    factory: str
    source: str
    settings: Settings
    owner: str = ""
    charset: str = ""
    input_kind: FileKind | None = None
    output_kind: FileKind | None = None


def run_batch(
    config: BatchConfig,
    clocks: Clocks,
    *,
    counting: Callable[[int], None] = lambda _: None,
    working: Callable[[Task], None] = lambda _: None,
) -> Task:
    """Process the file; returns the task as it ended, or as it was at SIGINT or SIGTERM.

    Args:
        counting: called with the number of bytes scanned before the work begins.
        working: called with the task at intervals.
    Raises: PayloadError if the input cannot be read, is not JSONL or has no lines, or if the output cannot be written;
        TaskConflict if the work was begun with another input or target; TaskState if another process works on the
        same output.
    Promises: the output appears atomically; run again after a crash, the work is resumed. Refused input leaves no
        files behind.
    """
    place = OutputPlace.at(config.output, source=config.input)
    _check_input(config.input)
    with _folder_of(place) as root:
        data = DataFolder(root)
        data.prepare()
        lock = data.try_lock()
        if lock is None:
            raise TaskState(f"another process works on {config.output}")
        process_lifetime.keep_freed_memory()
        store = SqliteStore.open(data.database)
        task = None
        try:
            task = _begin(data, store, config, clocks, counting)
            if task.state is not State.FINISHED:
                task = _work(data, store, config, clocks, working)
            if task.state is State.FINISHED:
                _deliver(data, task, place)
        finally:
            is_needless = store.find(_ID) is None or (task is not None and _is_needless(task))
            store.close()
            lock.release()
            if is_needless:
                shutil.rmtree(data.root)
        return task


def _check_input(input: Path) -> None:
    """Raises: PayloadError if it is not readable."""
    try:
        if input != STANDARD_INPUT and stat.S_ISDIR(input.stat().st_mode):
            raise PayloadError(f"{input}: it is a folder; name a file in it")
    except OSError as error:
        raise PayloadError(f"{input}: {error.strerror}") from error


@contextmanager
def _folder_of(place: OutputPlace) -> Iterator[Path]:
    """The work folder: next to the output; for a stream, which cannot be resumed, a temporary one."""
    if not place.is_stream:
        yield place.path.with_name(place.path.name + ENDING)
        return
    root = Path(tempfile.mkdtemp(prefix="infergraph-batch-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _is_needless(task: Task) -> bool:
    """Whether a task has nothing worth resuming."""
    return task.state is State.FINISHED or (task.state is State.FAILED and not task.done)


def _begin(
    data: DataFolder, store: Store, config: BatchConfig, clocks: Clocks, counting: Callable[[int], None]
) -> Task:
    task = store.find(_ID)
    kind, answers = _kinds_of(config)
    wanted = NewTask(
        id=_ID,
        folder="",
        input_bytes=0,
        input_end=0,
        input_sha256=_fingerprint(config),
        total=0,
        rows=config.settings.task_rows.value,
        owner=config.owner,
        input_format=kind.stored,
        output_format=answers.stored,
    )
    if task is None or not wanted.input_sha256:  # an input that cannot be read twice is read now, to compare it
        wanted = _received(data, wanted, config, counting)
    if task is None:
        return store.accept(wanted, now=clocks.wall(), queue_limit=1).task
    differs = _differences(task, wanted)
    if differs and (task.state is not State.FAILED or task.done > task.failed):
        raise TaskConflict(
            f"{' and '.join(differs)} is not what {data.root} was begun with; remove that folder to start over, or "
            "name another output"
        )
    if differs:
        _erase(data, store, task, clocks)
        return _begin(data, store, config, clocks, counting)
    if task.state is State.FAILED:
        store.retry(_ID)
    return task


def _differences(task: Task, wanted: NewTask) -> list[str]:
    """The options that differ from those the task was begun with, as on the command line."""
    return [
        name
        for name, before, now in (
            ("the input", task.input_sha256, wanted.input_sha256),
            ("the target", task.owner or wanted.owner, wanted.owner),
            ("--task-rows", task.rows, wanted.rows),
            ("--format", task.input_format, wanted.input_format),
            ("--output-format", task.output_format, wanted.output_format),
        )
        if before != now
    ]


def _erase(data: DataFolder, store: Store, task: Task, clocks: Clocks) -> None:
    """Start over: the task has no results worth keeping."""
    store.stop(_ID, tuple(State))
    store.erase(task.seq, why="started over", now=clocks.wall())
    data.discard(task.folder)
    data.empty_trash()


def _kinds_of(config: BatchConfig) -> tuple[FileKind, FileKind]:
    """The kinds of the input and of the output. Raises: PayloadError; MissingExtra."""
    said = _said_of(config)
    kind = said if config.input == STANDARD_INPUT else file_kind.shown_by(_head_of(config.input), said)
    answers = config.output_kind or file_kind.of_name(config.output.name) or FileKind(kind.format)
    for each in (kind, answers):
        check_available(each)
    return kind, file_kind.answer_kind(answers.name, os.fspath(config.output))


def _said_of(config: BatchConfig) -> FileKind:
    """The kind that is said of the input."""
    return config.input_kind or file_kind.of_name(config.input.name) or LINES


def _head_of(input: Path) -> bytes:
    """The first bytes of a file; none of a pipe, which is read once."""
    try:
        if not input.is_file():
            return b""
        with input.open("rb") as file:
            return file.read(file_kind.MAGIC_BYTES)
    except OSError as error:
        raise PayloadError(f"{input}: {error.strerror}") from error


def _fingerprint(config: BatchConfig) -> str:
    """The identity of the input, which must match to resume: file and modification time; empty for a stream."""
    if config.input == STANDARD_INPUT:
        return ""
    found = config.input.stat()
    if not stat.S_ISREG(found.st_mode):
        return ""
    return f"{config.input.resolve()} {found.st_size} {found.st_mtime_ns} {config.charset}".rstrip()


def _received(data: DataFolder, new: NewTask, config: BatchConfig, counting: Callable[[int], None]) -> NewTask:
    """The new task, its input scanned, in its own folder."""
    folder = uuid.uuid4().hex
    home = data.tasks / folder
    home.mkdir()
    name = "standard input" if config.input == STANDARD_INPUT else str(config.input)
    try:
        with _opened(config.input) as file:
            kind = file_kind.shown_by(file.peek(file_kind.MAGIC_BYTES), _said_of(config))
            if kind.is_lines:
                new = _looked_through(data, new, config, file, home / INPUT, counting)
            else:
                new = _converted(data, new, config, file, home, kind, counting)
    except OSError as error:
        shutil.rmtree(home)
        raise PayloadError(f"{name}: {error.strerror}") from error
    except PayloadError as fault:
        shutil.rmtree(home)
        raise PayloadError(f"{name}: {fault.text}") from fault
    except BaseException:
        shutil.rmtree(home)
        raise
    sync_folder(home)
    sync_folder(data.tasks)
    return msgspec.structs.replace(new, folder=folder)


@contextmanager
def _opened(input: Path) -> Iterator[BufferedReader]:
    if input == STANDARD_INPUT:
        yield cast(BufferedReader, sys.stdin.buffer)
        return
    with input.open("rb") as file:
        yield file


def _looked_through(
    data: DataFolder,
    new: NewTask,
    config: BatchConfig,
    file: BinaryIO,
    target: Path,
    counting: Callable[[int], None],
) -> NewTask:
    """Scan the input: count its lines, and copy them to `target` if they cannot be read in place.

    Raises: PayloadError if there are no lines; OSError; StorageFull.
    """
    transcoder = Transcoder(_codec_of(config))
    lines, digest, seen = LineCount(), hashlib.sha256(), 0
    block = file.read(_BLOCK_BYTES)
    text = transcoder.feed(block, is_last=len(block) < _BLOCK_BYTES)
    copy = _Copy(data, target, config.settings) if transcoder.charset or not new.input_sha256 else None
    while block or text:
        seen += len(block)
        counting(seen)
        digest.update(block)
        lines.feed(text)
        if copy is not None:
            copy.write(text)
        block = file.read(_BLOCK_BYTES)
        text = transcoder.feed(block, is_last=not block)
    lines.finish()
    if lines.fault:
        raise PayloadError(lines.fault)
    if copy is None:
        target.symlink_to(config.input.resolve())
    else:
        copy.close()
    return msgspec.structs.replace(
        new,
        input_bytes=seen,
        input_end=lines.end,
        input_sha256=new.input_sha256 or digest.hexdigest(),
        total=lines.lines,
        charset=transcoder.charset,
    )


def _codec_of(config: BatchConfig) -> codecs.CodecInfo | None:
    return codecs.lookup(config.charset) if config.charset else None


def _converted(
    data: DataFolder,
    new: NewTask,
    config: BatchConfig,
    file: BinaryIO,
    home: Path,
    kind: FileKind,
    counting: Callable[[int], None],
) -> NewTask:
    """Write an input of another kind as JSON lines; one that cannot be read twice is copied first.

    Raises: PayloadError naming the line or the row group that cannot be read; OSError; StorageFull; MissingExtra.
    """
    path, digest = config.input, hashlib.sha256()
    if not new.input_sha256:
        path, received = home / RECEIVED, _Copy(data, home / RECEIVED, config.settings)
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            digest.update(block)
            received.write(block)
    conversion = Conversion(path, kind, _codec_of(config), scratch=home / SCRATCH)
    lines, copy, size = LineCount(), _Copy(data, home / INPUT, config.settings), path.stat().st_size
    for text in conversion.blocks(ConversionLimits(0, lambda: None)):
        lines.feed(text)
        copy.write(text)
        counting(copy.size)
    lines.finish()
    if lines.fault:
        raise PayloadError(lines.fault)
    copy.close()
    (home / RECEIVED).unlink(missing_ok=True)
    return msgspec.structs.replace(
        new,
        input_bytes=size,
        input_end=lines.end,
        input_sha256=new.input_sha256 or digest.hexdigest(),
        total=lines.lines,
        charset=conversion.charset,
        input_format=kind.stored,
    )


def _work(data: DataFolder, store: Store, config: BatchConfig, clocks: Clocks, working: Callable[[Task], None]) -> Task:
    settings = msgspec.structs.replace(config.settings, task_workers=_lanes(config.settings))
    told = DriverConfig(
        data_dir=os.fspath(data.root),
        settings=msgspec.to_builtins(settings),
        factory=config.factory,
        source=config.source,
        parent=os.getppid(),
    )
    driver = Driver(data, store, make_engine(told, settings, data, clocks), settings, clocks, pid=os.getpid())
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        process_lifetime.handle_signal(number, driver.stop)

    def tell() -> bool:
        task = _found(store)
        working(task)
        return task.state in ENDED

    try:
        driver.run(until=tell)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return _found(store)


def _lanes(settings: Settings) -> str:
    """The setting task_workers; there is no serving worker here that could answer in their place."""
    return settings.task_workers if settings.task_worker_bounds.most else "1"


def _found(store: Store) -> Task:
    task = store.find(_ID)
    assert task is not None
    return task


def _deliver(data: DataFolder, task: Task, place: OutputPlace) -> None:
    """Move the finished output into place, durably. Idempotent."""
    finished = data.output(task.folder, task.round, task.writer)
    if task.output_format:
        finished = data.answers(task.folder, task.fence, task.output_format)
    if not finished.exists():
        return
    try:
        place.put(finished)
        if not place.is_stream:
            sync_folder(place.path.parent)
    except OSError as error:
        raise PayloadError(f"{place.path}: {error.strerror}") from error


class _Copy:
    """A copy of an input that cannot be read again. Raises: StorageFull from every method."""

    def __init__(self, data: DataFolder, path: Path, settings: Settings) -> None:
        self._data = data
        self._reserve_bytes = settings.task_disk_reserve_bytes
        self._path = path
        self._looked_bytes = self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._bytes

    def write(self, text: bytes) -> None:
        """Append."""
        if self._bytes - self._looked_bytes >= _LOOK_EVERY_BYTES:
            self._looked_bytes = self._bytes
            if self._data.free_bytes() < self._reserve_bytes:
                raise StorageFull(f"the disk of {self._data.root} has less than {self._reserve_bytes} bytes left")
        self._bytes += len(text)
        with disk_faults(), self._path.open("ab") as file:
            file.write(text)

    def close(self) -> None:
        """Sync to disk and close."""
        with disk_faults(), self._path.open("rb") as file:
            os.fdatasync(file.fileno())
