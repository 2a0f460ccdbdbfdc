"""The data folder: incoming files, one folder for each task and for each stored file, and trash.

    incoming/<ours>/input.jsonl ──rename──▶ tasks/<ours>/{input,output.<round>,errors.<round>}.jsonl ──rename──▶ trash/
                                └─rename──▶ files/<ours>/input.jsonl ──link──▶ tasks/…

All names are generated; a client's task id is never part of a path. A folder is moved with one rename, and every
rename is made durable by a sync of both parents. An upload holds a lock on its file until its row is in the store, so
a sweep can distinguish an abandoned upload from one still being received, by whichever process.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from infergraph.errors import StorageFull, TaskFault
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.task import Task
from infergraph.wire.file_format import HEAD_BYTES, whole_fault
from infergraph.wire.file_kind import LINES

INPUT = "input.jsonl"
RECEIVED = "received"
SCRATCH = "unpacked"
BOM = b"\xef\xbb\xbf"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BALLAST_BYTES = 256 * 1024
_BLANK = b" \t\r\n"


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A received file: sizes in bytes, lines without trailing blank ones, checksum of the received bytes.

    Args:
        charset: of the received file; empty for UTF-8.
        fault: why the file is not JSONL at all; empty if it may be.
        version: of a file that is not here yet, but at an address; see `Task.input_version`.
    """

    folder: str
    bytes: int
    end: int
    lines: int
    sha256: str
    charset: str = ""
    fault: str = ""
    version: str = ""


class LineCount:
    """Counts the lines of a streamed file, and finds the end of the last one that is not blank.

    Promises: constant memory; the result does not depend on the block boundaries.
    """

    def __init__(self) -> None:
        self._first = b""
        self.lines = 0
        self.end = 0
        self._bytes = 0
        self._newlines = 0
        self._head: bytes | None = b""

    def feed(self, block: bytes) -> None:
        """Add the next block, of any size."""
        if len(self._first) < HEAD_BYTES:
            self._first += block[: HEAD_BYTES - len(self._first)]
        if self._head is not None:
            self._head += block
            if len(self._head) < len(BOM) and BOM.startswith(self._head):
                return
            block, self._head = self._head, None
            if block.startswith(BOM):
                self._bytes, block = len(BOM), block[len(BOM) :]
        solid = len(block.rstrip(_BLANK))
        newlines = block.count(b"\n", 0, solid)
        if solid:
            self.end = self._bytes + solid
            self.lines = self._newlines + newlines + 1
        self._newlines += newlines + block.count(b"\n", solid)
        self._bytes += len(block)

    def finish(self) -> None:
        """End of the file; from now on `lines` and `end` (a byte offset) are final."""
        if self._head:
            self.end, self.lines = len(self._head), 1

    @property
    def head(self) -> bytes:
        """The first bytes, at most `HEAD_BYTES`."""
        return self._first

    @property
    def fault(self) -> str:
        """Why the finished file is not JSONL at all; empty if it may be."""
        return whole_fault(self._first, self.lines) if self.lines else "the file is empty"


class Incoming:
    """A file being received.

    Promises: it never becomes a task unless it was sealed, moved and accepted; while this object is open, no sweep of
    any process removes it.
    Raises: StorageFull from every method that writes.
    Promises: `write` and `sync` may run in threads while another one discards the file.
    """

    def __init__(self, data: DataFolder, name: str, fd: int) -> None:
        self.name = name
        self.charset = ""
        """See `Received`."""
        self.kind = LINES
        """What is said of the file."""
        self.codec: codecs.CodecInfo | None = None
        """Of a file that is stored as received, since it is compressed."""
        self._data = data
        self._folder = data.incoming / name
        self._fd = fd
        self._count = LineCount()
        self._digest = hashlib.sha256()
        self._stored = 0
        self._lock = threading.Lock()

    @classmethod
    def open(cls, data: DataFolder) -> Incoming:
        """A new, empty file. Raises: StorageFull; TaskFault if the data folder cannot be used."""
        while True:
            name = uuid.uuid4().hex
            fd = _create_locked(data.incoming / name)
            if fd >= 0:
                return cls(data, name, fd)

    def digest(self, raw: bytes) -> None:
        """Add received bytes to the checksum."""
        self._digest.update(raw)

    def write(self, block: bytes) -> None:
        """Write the next block of the file, in UTF-8."""
        self._count.feed(block)
        self._stored += len(block)
        with self._lock, disk_faults():
            write_all(self._open_fd(), block)

    def sync(self) -> None:
        """Sync to disk what was written so far. Blocking."""
        with disk_faults():
            with self._lock:
                fd = os.dup(self._open_fd())
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise OSError(errno.EBADF, "the file is closed")
        return self._fd

    @property
    def head(self) -> bytes:
        """The first bytes, as far as they are received."""
        return self._count.head

    @contextmanager
    def rewritten(self) -> Iterator[tuple[Path, Path]]:
        """Write the file anew, from what was received: the paths of that, and of a file for scratch. Blocking.

        Promises: the lock is held all the time.
        """
        received = self._folder / RECEIVED
        with disk_faults():
            os.rename(self._folder / INPUT, received)
            fd = os.open(self._folder / INPUT, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
        with self._lock:
            before, self._fd = self._fd, fd
        os.close(before)
        self._count, self._stored = LineCount(), 0
        yield received, self._folder / SCRATCH
        received.unlink()
        crash_point("upload-converted")

    def seal(self, home: Path | None = None) -> Received:
        """End of the file: it is complete and durable, under the name that its task will have. Blocking.

        Args:
            home: where its folder goes; the tasks' by default.
        """
        home = home or self._data.tasks
        crash_point("upload-written")
        self._count.finish()
        with disk_faults():
            os.fsync(self._fd)
            sync_folder(self._folder)
            crash_point("upload-synced")
            os.rename(self._folder, home / self.name)
            self._folder = home / self.name
            sync_folder(home)
            sync_folder(self._data.incoming)
        crash_point("upload-renamed")
        return Received(
            folder=self.name,
            bytes=self._stored,
            end=self._count.end,
            lines=self._count.lines,
            sha256=self._digest.hexdigest(),
            charset=self.charset,
            fault=self._count.fault,
        )

    def close(self) -> None:
        """Release the lock: the file belongs to a task now. Idempotent."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def discard(self) -> None:
        """Remove the partial file. Idempotent."""
        if self._fd >= 0:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.close()


def _create_locked(folder: Path) -> int:
    """A new, locked input file in its own folder, or -1 if a sweep removed it before it was locked."""
    with disk_faults():
        folder.mkdir()
        try:
            fd = os.open(folder / INPUT, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            return -1
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)
        return -1


class Lock:
    """A lock that its holder's death releases."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Release it. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Part(NamedTuple):
    """Bytes of an output file, from `start` to `end`, that a watermark is about to cover."""

    path: Path
    start: int
    end: int


class DataFolder:
    """The folder of all task data. Touches nothing outside `root` and `shared`.

    Args:
        root: of this machine: the lock and the wake-up of its driver, and the store if it is a file.
        shared: of the tasks' files; machines that share a store share it. None for `root`.
    """

    is_local = True
    """Whether nothing but the folder keeps the files."""
    commit_s = 0.25
    """How often watermarks advance."""

    def __init__(self, root: Path, shared: Path | None = None) -> None:
        self.root = root.absolute()
        self.shared = self.root if shared is None else shared.absolute()
        self.incoming = self.shared / "incoming"
        self.tasks = self.shared / "tasks"
        self.files = self.shared / "files"
        self.trash = self.shared / "trash"
        self.ballast = self.shared / "ballast"
        self.database = self.root / "tasks.db"
        self.wake = self.root / "driver.wake"
        self.lock = self.root / "driver.lock"

    def prepare(self) -> None:
        """Create missing folders.

        Raises: TaskFault if the folder cannot be written.
        """
        with disk_faults():
            for folder in (self.root, self.shared, self.incoming, self.tasks, self.files, self.trash):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.wake.exists():
                with suppress(FileExistsError):
                    os.mkfifo(self.wake, 0o600)
            sync_folder(self.root)
            sync_folder(self.shared)
        self.create_ballast()

    def create_ballast(self) -> None:
        """Reserve a little disk space, so that a task can be stopped on a full disk. Best effort."""
        with suppress(OSError, TaskFault):
            if not self.ballast.exists() and self.free_bytes() > 4 * _BALLAST_BYTES:
                self.ballast.write_bytes(b"\0" * _BALLAST_BYTES)

    def free_ballast(self) -> None:
        """Free the ballast's disk space, to stop a task."""
        self.ballast.unlink(missing_ok=True)

    def try_lock(self) -> Lock | None:
        """The lock of this folder's driver; None while another process holds it."""
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return Lock(fd)

    def open_wake(self) -> int:
        """A descriptor that becomes readable when `wake_driver` is called."""
        return os.open(self.wake, os.O_RDWR | os.O_NONBLOCK)

    def wake_driver(self) -> None:
        """Wake the driver, if there is one; never waits."""
        try:
            fd = os.open(self.wake, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return  # no driver is running; the next one scans the store anyway
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(fd, b"w")
        os.close(fd)

    def input(self, folder: str) -> Path:
        """The input of the task with this folder."""
        return self.tasks / folder / INPUT

    def content(self, folder: str) -> Path:
        """The content of the stored file with this folder."""
        return self.files / folder / INPUT

    def output(self, folder: str, round: int, writer: int = 0) -> Path:
        """The answers, one line for each line of the input; see `Task` for `round` and `writer`."""
        return self.tasks / folder / f"output.{_version(round, writer)}.jsonl"

    def errors(self, folder: str, round: int, writer: int = 0) -> Path:
        """The error lines among the answers."""
        return self.tasks / folder / f"errors.{_version(round, writer)}.jsonl"

    def answers(self, folder: str, fence: int, format: str) -> Path:
        """The finished answers in another format than JSON lines, as the claim with this fence wrote them."""
        return self.tasks / folder / f"answers.{fence}.{format}"

    def keep_input(self, folder: str) -> None:
        """Keep a new task's input where other machines find it; durable when this returns. Blocking."""

    def keep_content(self, folder: str) -> None:
        """Keep a stored file where other machines find it; durable when this returns. Blocking."""

    def bring_content(self, folder: str) -> None:
        """Bring a stored file into the folder. Blocking. Raises: FileNotFoundError if it is gone; StoreAway."""

    def keep_parts(self, folder: str, parts: Iterable[Part]) -> None:
        """Keep synced parts of output files; durable when this returns. Blocking."""

    def keep_ended(self, folder: str, paths: Iterable[Path]) -> None:
        """Keep finished output files as a whole; durable when this returns. Blocking."""

    def is_here(self, task: Task) -> bool:
        """Whether the files that an attempt at a task reads are in the folder."""
        return True

    def bring(self, task: Task) -> None:
        """Bring the files that an attempt at a task reads into the folder. Blocking. Raises: OSError, StoreAway."""

    def bring_file(self, folder: str, path: Path, size: int) -> None:
        """Bring an output file into the folder. Blocking. Raises: OSError, StoreAway.

        Args:
            size: how much of it, at least; -1 for all there is.
        """

    def forget_versions(self, folder: str, round: int, writer: int, fence: int) -> None:
        """Remove the output files but for this version, which has replaced them. Idempotent.

        Args:
            fence: of the claim that wrote the answers in another format, if there are any.
        """
        home = self.tasks / folder
        kept = {self.output(folder, round, writer), self.errors(folder, round, writer), home / INPUT}
        for path in home.iterdir():
            if path not in kept and not path.name.startswith(f"answers.{fence}."):
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Free disk space. Raises: TaskFault if the folder is gone."""
        try:
            disk = os.statvfs(self.shared)
        except FileNotFoundError as error:
            raise TaskFault(f"the data folder {self.shared} was taken away", reason="TASK_STORE_GONE") from error
        except OSError as error:
            raise TaskFault(f"the data folder cannot be used: {error}", reason="TASK_STORE") from error
        return disk.f_bavail * disk.f_frsize

    def check_room(self, reserve_bytes: int, more_bytes: int = 0) -> None:
        """Raises: StorageFull if less disk space than this is free, or would be with so many more bytes."""
        if (free := self.free_bytes()) - more_bytes < reserve_bytes:
            raise StorageFull(f"the disk of the data folder has {free} bytes left; {reserve_bytes} are reserved")

    def discard(self, folder: str) -> None:
        """Move a task's folder to the trash, to be removed by `empty_trash`. Idempotent."""
        self._discard(self.tasks, folder)

    def discard_file(self, folder: str) -> None:
        """Move a stored file's folder to the trash, to be removed by `empty_trash`. Idempotent."""
        self._discard(self.files, folder)

    def _discard(self, home: Path, folder: str) -> None:
        with suppress(FileNotFoundError):
            os.rename(home / folder, self.trash / folder)
            sync_folder(home)

    def empty_trash(self) -> None:
        """Delete the trash. Blocking while large files are freed."""
        for folder in self.trash.iterdir():
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, is_known: Callable[[str], bool]) -> int:
        """Remove abandoned uploads, and folders that nobody owns; returns how many.

        Args:
            is_known: whether a task or a stored file owns the folder of this name.
        Promises: safe while any process receives uploads.
        """
        owned = (*self.tasks.iterdir(), *self.files.iterdir())
        folders = [*self.incoming.iterdir(), *(folder for folder in owned if not is_known(folder.name))]
        swept = sum(_remove_abandoned(folder, self.trash, is_known) for folder in folders)
        self.empty_trash()
        return swept


def _version(round: int, writer: int) -> str:
    return f"{round}.{writer}" if writer else f"{round}"


def _remove_abandoned(folder: Path, trash: Path, is_known: Callable[[str], bool]) -> bool:
    """Trash a folder unless a process receives its file, or it is owned by now; the lock is held meanwhile."""
    try:
        fd = os.open(folder / INPUT, os.O_RDWR)  # over NFS an exclusive lock needs a file open for writing
    except FileNotFoundError:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty: another process may be about to create the file
            return True
        return False
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_known(folder.name):
            return False  # accepted between the check and the lock
        os.rename(folder, trash / folder.name)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def write_all(fd: int, block: bytes) -> None:
    """Write the complete block at the file's position."""
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that the names in it are durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def disk_faults() -> Iterator[None]:
    """Translate the operating system's errors to faults; FileNotFoundError is not translated."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"no room on the disk of the data folder: {error.strerror}") from error
        raise TaskFault(f"the data folder cannot be used: {error}", reason="TASK_STORE") from error
