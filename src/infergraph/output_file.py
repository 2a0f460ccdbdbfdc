"""The output path of a command: a file that is replaced atomically, or a stream that is written to.

    path ──OutputPlace.at──▶ checked, before any work ──put(finished file)──▶ replaced, atomically

The target of a symbolic link is replaced, not the link; a file keeps its mode and owner, a new one gets the umask's
mode. Pipes and devices cannot be replaced: they are written to when the work is finished.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from infergraph.errors import PayloadError

STANDARD_OUTPUT = "-"
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_NAMED = {STANDARD_OUTPUT: 1, "/dev/stdout": 1, "/dev/stderr": 2}


class OutputPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the output goes.

    Args:
        path: the file, with links resolved; for a stream as given.
        is_stream: whether it is a pipe or a device.
        descriptor: the file descriptor, if the stream was given as one of this process's.
    """

    path: Path
    is_stream: bool = False
    descriptor: int | None = None

    @classmethod
    def at(cls, path: str | os.PathLike[str], *, source: Path | None = None) -> OutputPlace:
        """The output place at `path`.

        Args:
            source: the input file.
        Raises: PayloadError if it cannot be written to: a folder, a block device, the source itself.
        """
        named = os.fspath(path)
        descriptor = _descriptor(named)
        if descriptor is not None:
            return cls(path=Path(named), is_stream=True, descriptor=descriptor)
        target = Path(os.path.realpath(named))
        mode = _mode(target)
        if mode is None:
            return cls(path=target)
        if stat.S_ISDIR(mode):
            raise PayloadError(f"{named}: it is a folder; name a file in it")
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise PayloadError(f"{named}: it is neither a file nor a pipe, and is not written to")
        if source is not None and source.exists() and target.samefile(source):
            raise PayloadError(f"{named}: it is the input itself; name another file for the answers")
        return cls(path=target, is_stream=not stat.S_ISREG(mode))

    def put(self, finished: Path) -> None:
        """Move a finished file there; atomic unless it is a stream."""
        if self.is_stream:
            with finished.open("rb") as file, self.open_stream() as stream:
                shutil.copyfileobj(file, stream, 1 << 20)
            finished.unlink()
            return
        _take_after(finished, self.path)
        os.replace(finished, self.path)

    @contextmanager
    def open_stream(self) -> Iterator[BinaryIO]:
        """The stream, open for writing. For a pipe, waits until it has a reader."""
        fd = os.open(self.path, os.O_WRONLY) if self.descriptor is None else os.dup(self.descriptor)
        with os.fdopen(fd, "wb") as stream:
            yield stream


def _descriptor(named: str) -> int | None:
    if named in _NAMED:
        return _NAMED[named]
    match = _DESCRIPTOR.fullmatch(named)
    return int(match[1]) if match else None


def _mode(path: Path) -> int | None:
    """Type and permissions of the existing file; None if there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PayloadError(f"{path}: {error.strerror}") from error


def _take_after(finished: Path, target: Path) -> None:
    """Copy mode and owner from the file that is replaced; without one, set the mode of a new file."""
    try:
        before = target.stat()
    except FileNotFoundError:
        finished.chmod(_new_mode(finished.parent))
        return
    with suppress(PermissionError):
        os.chown(finished, before.st_uid, before.st_gid)
    finished.chmod(stat.S_IMODE(before.st_mode))


def _new_mode(folder: Path) -> int:
    """The mode of a new file under the umask; found by creating one, since reading the umask sets it."""
    probe = folder / ".mode"
    fd = os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
        probe.unlink()
