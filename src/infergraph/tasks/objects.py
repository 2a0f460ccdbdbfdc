"""The files of tasks in object storage: worked on in the folder of a machine, kept in a bucket.

    <prefix>/tasks/<folder>/input.jsonl             kept before the task is accepted
                           /output.….jsonl.parts/…  parts, each kept before the watermark that covers it
                           /output.….jsonl          the whole, before the task is finished; errors, answers alike
            /files/<folder>/input.jsonl             a stored file

A machine without a file brings it from the bucket: the input, and of the parts what the watermark covers. What it does
not cover does not exist.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from infergraph.errors import MissingExtra, SettingsError, StoreAway
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.files import INPUT, DataFolder, Part, disk_faults, sync_folder
from infergraph.tasks.task import Task

SCHEMES = ("s3://", "gs://", "abfs://", "az://")
_COMMIT_S = 2.0
_BLOCK_BYTES = 8 << 20
_MERGED_BYTES = 5 << 20
"""Of a part that S3 composes, but for the last."""
_DOOMED = ".doomed"
_SLASH = "@"
"""Stands for a slash of a key in the name of a mark."""
_ABANDONED_S = 86_400.0


class Bucket:
    """The objects below an address.

    Raises: StoreAway from every method if the storage cannot be used; MissingExtra.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    @contextmanager
    def _files(self, key: str) -> Iterator[tuple[Any, str]]:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtra.of("fsspec", "storage", f"task_files {self.uri}") from error
        try:
            yield fsspec.core.url_to_fs(f"{self.uri}/{key}")
        except FileNotFoundError:
            raise
        except ImportError as error:
            raise MissingExtra(f"task_files {self.uri} needs another package: {error}") from error
        except Exception as error:  # the packages' own exceptions have no common class
            raise StoreAway(
                f"the storage of the task files, {self.uri}, cannot be used: {type(error).__name__}"
            ) from error

    def put(self, key: str, path: Path) -> None:
        """Keep a file; it appears whole."""
        with self._files(key) as (files, target):
            files.put_file(os.fspath(path), target)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Keep bytes."""
        with self._files(key) as (files, target):
            files.pipe_file(target, data)

    def compose(self, key: str, parts: str, size: int) -> bool:
        """Make one object of parts, named by their offsets, where the storage does it itself; False if it does not.

        Args:
            size: of them all; other objects among them, or gaps, are not composed.
        """
        with self._files(parts) as (files, folder):
            if not hasattr(files, "merge"):
                return False
            files.invalidate_cache()
            try:
                found = sorted(files.ls(folder, detail=True), key=lambda part: str(part["name"]))
            except FileNotFoundError:
                return False
            end = 0
            for part in found:
                if part["name"].rpartition("/")[2] != f"{end:020}":
                    return False
                end += part["size"]
            if end != size or len(found) < 2 or any(part["size"] < _MERGED_BYTES for part in found[:-1]):
                return False
            files.merge(f"{folder.rpartition('/')[0]}/{key.rpartition('/')[2]}", [part["name"] for part in found])
            return True

    def append_to(self, file: BinaryIO, key: str) -> None:
        """Append an object to a file. Raises: FileNotFoundError if there is none."""
        with self._files(key) as (files, target), files.open(target, "rb", block_size=_BLOCK_BYTES) as source:
            while block := source.read(_BLOCK_BYTES):
                file.write(block)

    def names(self, key: str) -> list[str]:
        """The names directly below a key."""
        with self._files(key) as (files, target):
            files.invalidate_cache()
            try:
                return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in files.ls(target, detail=False))
            except FileNotFoundError:
                return []

    def remove(self, key: str) -> None:
        """Remove all objects below a key. Idempotent."""
        with self._files(key) as (files, target), suppress(FileNotFoundError):
            files.invalidate_cache()
            files.rm(target, recursive=True)

    def age_s(self, key: str) -> float:
        """Seconds since an object was kept; infinite if there is none."""
        with self._files(key) as (files, target):
            files.invalidate_cache()
            try:
                kept = files.modified(target)
            except FileNotFoundError:
                return math.inf
            return float((datetime.now(UTC) - kept).total_seconds())


class ObjectFolder(DataFolder):
    """A data folder whose tasks are kept in a bucket."""

    is_local = False
    commit_s = _COMMIT_S

    def __init__(self, root: Path, uri: str) -> None:
        super().__init__(root)
        self.bucket = Bucket(uri)

    def keep_input(self, folder: str) -> None:
        """See `DataFolder.keep_input`."""
        self.bucket.put(_key(folder, INPUT), self.input(folder))

    def keep_content(self, folder: str) -> None:
        """See `DataFolder.keep_content`."""
        self.bucket.put(_content_key(folder), self.content(folder))

    def bring_content(self, folder: str) -> None:
        """See `DataFolder.bring_content`."""
        path = self.content(folder)
        if not path.exists():
            self._bring(path, lambda file: self.bucket.append_to(file, _content_key(folder)))

    def keep_parts(self, folder: str, parts: Iterable[Part]) -> None:
        """See `DataFolder.keep_parts`."""
        for part in parts:
            with part.path.open("rb") as file:
                file.seek(part.start)
                data = file.read(part.end - part.start)
            self.bucket.put_bytes(f"{_parts(folder, part.path)}/{part.start:020}", data)
        crash_point("parts-kept")

    def keep_ended(self, folder: str, paths: Iterable[Path]) -> None:
        """See `DataFolder.keep_ended`."""
        for path in paths:
            if not self.bucket.compose(_key(folder, path.name), _parts(folder, path), path.stat().st_size):
                self.bucket.put(_key(folder, path.name), path)
        crash_point("answers-kept")
        for path in paths:
            self.bucket.remove(_parts(folder, path))

    def is_here(self, task: Task) -> bool:
        """See `DataFolder.is_here`."""
        return all(_size(path) >= max(size, 0) for path, size in self._needed(task))

    def bring(self, task: Task) -> None:
        """See `DataFolder.bring`."""
        home = self.tasks / task.folder
        with disk_faults():
            home.mkdir(exist_ok=True)
        for path, size in self._needed(task):
            self.bring_file(task.folder, path, size)
        with disk_faults():
            sync_folder(home)
            sync_folder(self.tasks)

    def _needed(self, task: Task) -> Iterator[tuple[Path, int]]:
        """What an attempt reads, and how much of it; -1 for all."""
        yield self.input(task.folder), task.input_end
        yield self.output(task.folder, task.round, task.writer), task.out_off
        yield self.errors(task.folder, task.round, task.writer), task.err_off
        if task.round:
            yield self.output(task.folder, task.round - 1, task.writer_before), -1
            yield self.errors(task.folder, task.round - 1, task.writer_before), -1

    def bring_file(self, folder: str, path: Path, size: int) -> None:
        """See `DataFolder.bring_file`."""
        if _size(path) < max(size, 0):
            self._bring(path, lambda file: self._gather(folder, path, size, file))

    def _bring(self, path: Path, write: Callable[[BinaryIO], None]) -> None:
        """Write a file, which appears whole."""
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        with disk_faults():
            path.parent.mkdir(exist_ok=True)
            try:
                with draft.open("wb") as file:
                    write(file)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)

    def _gather(self, folder: str, path: Path, size: int, file: BinaryIO) -> None:
        """Write the whole object, or the parts of it in order, as far as they are covered."""
        with suppress(FileNotFoundError):
            self.bucket.append_to(file, _key(folder, path.name))
            return
        key = _parts(folder, path)
        starts = {int(name) for name in self.bucket.names(key) if name.isdecimal()}
        while (size < 0 or file.tell() < size) and file.tell() in starts:
            self.bucket.append_to(file, f"{key}/{file.tell():020}")
        if file.tell() < size:
            raise OSError(f"{path.name} has {file.tell()} bytes in the storage, but {size} were committed")

    def sweep(self, is_known: Callable[[str], bool]) -> int:
        """See `DataFolder.sweep`; of the objects those that no task has owned for a day."""
        with suppress(StoreAway):  # the next driver sweeps too
            for folder in self.bucket.names("tasks"):
                if not is_known(folder) and self.bucket.age_s(_key(folder, INPUT)) > _ABANDONED_S:
                    self.discard(folder)
            for folder in self.bucket.names("files"):
                if not is_known(folder) and self.bucket.age_s(_content_key(folder)) > _ABANDONED_S:
                    self.discard_file(folder)
        return super().sweep(is_known)

    def discard(self, folder: str) -> None:
        """See `DataFolder.discard`; the objects are removed with the trash."""
        self._doom(_key(folder, ""))
        super().discard(folder)

    def discard_file(self, folder: str) -> None:
        """See `DataFolder.discard_file`; the object is removed with the trash."""
        self._doom(f"files/{folder}")
        super().discard_file(folder)

    def _doom(self, key: str) -> None:
        with disk_faults():
            (self.trash / f"{key.replace('/', _SLASH)}{_DOOMED}").touch()

    def empty_trash(self) -> None:
        """See `DataFolder.empty_trash`."""
        for mark in self.trash.glob(f"*{_DOOMED}"):
            with suppress(StoreAway):  # the next one tries again
                self.bucket.remove(mark.name.removesuffix(_DOOMED).replace(_SLASH, "/"))
                mark.unlink(missing_ok=True)
        super().empty_trash()

    def forget_versions(self, folder: str, round: int, writer: int, fence: int) -> None:
        """See `DataFolder.forget_versions`."""
        super().forget_versions(folder, round, writer, fence)
        kept = {self.output(folder, round, writer).name, self.errors(folder, round, writer).name, INPUT}
        for name in self.bucket.names(_key(folder, "")):
            if name not in kept and not name.startswith(f"answers.{fence}."):
                self.bucket.remove(_key(folder, name))


def _key(folder: str, name: str) -> str:
    return f"tasks/{folder}/{name}".rstrip("/")


def _content_key(folder: str) -> str:
    return f"files/{folder}/{INPUT}"


def _parts(folder: str, path: Path) -> str:
    return _key(folder, f"{path.name}.parts")


def _size(path: Path) -> int:
    """The size of a file; -1 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def check_bucket(uri: str) -> None:
    """Raises: SettingsError if it is no folder of a bucket, has credentials in it, or cannot be used; MissingExtra."""
    address = uri.partition("://")[2]
    if "@" in address or "?" in address or not address.strip("/"):
        raise SettingsError(
            "task_files takes a folder, or an address such as s3://bucket/folder; credentials belong into the "
            "environment"
        )
    try:
        Bucket(uri).names("tasks")
    except StoreAway as fault:
        raise SettingsError(fault.text) from fault
