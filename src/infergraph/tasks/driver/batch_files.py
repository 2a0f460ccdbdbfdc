"""The files of a batch: its input as that of a task, and the task's answers as stored files.

    files/<input> ──link──▶ tasks/<folder>/input.jsonl
    tasks/<folder>/output.0.jsonl ─┬─ good answers ──────────────────────▶ files/<batch>-output
                                   └─ failed ones, and who was never asked ▶ files/<batch>-errors

A folder is locked until its owner is in the store, as an upload is, so that no sweep removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from infergraph.tasks.files import INPUT, DataFolder, disk_faults, sync_folder
from infergraph.tasks.task import Task
from infergraph.wire import request_lines

_COPY_BYTES = 1 << 20


@contextmanager
def linked_input(data: DataFolder, folder: str) -> Iterator[str]:
    """The folder of a new task, with the content of a stored file as its input; locked meanwhile.

    Raises: FileNotFoundError if the file is gone; StorageFull, TaskFault.
    """
    data.bring_content(folder)
    name = uuid.uuid4().hex
    home = data.tasks / name
    with data.content(folder).open("rb") as content, disk_faults():
        fcntl.flock(content, fcntl.LOCK_SH)
        home.mkdir()
        os.link(data.content(folder), home / INPUT)
        sync_folder(home)
        sync_folder(data.tasks)
        data.keep_input(name)
        yield name


class _Target:
    """The content of a stored file while it is written; renamed into place, complete and durable, by `put`.

    Drivers of several machines may write the same file at the same time: the first that is complete remains.
    """

    def __init__(self, data: DataFolder, folder: str) -> None:
        self._data = data
        self._final = data.files / folder
        self._folder = data.files / f"{folder}.{uuid.uuid4().hex}.part"
        self._folder.mkdir()
        self.path = self._folder / INPUT
        self.file: BinaryIO = self.path.open("wb+")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def link(self, path: Path) -> None:
        """Make it the same file as another."""
        self.file.close()
        self.path.unlink()
        os.link(path, self.path)
        self.file = self.path.open("rb+")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def put(self) -> int:
        """Put it into place, unless it is there already; returns its size there. The lock remains."""
        self.file.flush()
        os.fsync(self.file.fileno())
        sync_folder(self._folder)
        try:
            os.rename(self._folder, self._final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        sync_folder(self._data.files)
        self._data.keep_content(self._final.name)
        return (self._final / INPUT).stat().st_size

    def discard(self) -> None:
        """Remove it, unless it is in place."""
        self.file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def _target(data: DataFolder, folder: str) -> Iterator[_Target]:
    with disk_faults():
        target = _Target(data, folder)
        try:
            yield target
        finally:
            target.discard()


@contextmanager
def good_answers(data: DataFolder, folder: str, task: Task) -> Iterator[int]:
    """Write the good answers of an ended task as a stored file; its size in bytes. Locked meanwhile.

    Raises: StorageFull, TaskFault; FileNotFoundError if the answers are gone.
    """
    version = task.folder, task.round, task.writer
    output, errors = data.output(*version), data.errors(*version)
    data.bring_file(task.folder, output, task.out_off)
    data.bring_file(task.folder, errors, task.err_off)
    with _target(data, folder) as target:
        if not task.failed and output.stat().st_size == task.out_off:
            target.link(output)
        else:
            with output.open("rb") as answers, errors.open("rb") as failed:
                for line in _good(answers, task.out_off, failed, task.err_off):
                    target.file.write(line)
        yield target.put()


def _good(answers: BinaryIO, answers_end: int, failed: BinaryIO, failed_end: int) -> Iterator[bytes]:
    """The answers without the failed ones, which are in the same order."""
    bad = _lines(failed, failed_end)
    next_bad = next(bad, b"")
    for line in _lines(answers, answers_end):
        if line == next_bad:
            next_bad = next(bad, b"")
        else:
            yield line


@contextmanager
def failed_answers(data: DataFolder, folder: str, task: Task, code: str, message: str) -> Iterator[int]:
    """Write the failed answers of an ended task, and a failure for each request that was never asked.

    Args:
        code, message: of the latter.
    Raises: as `good_answers`.
    """
    errors = data.errors(task.folder, task.round, task.writer)
    data.bring_file(task.folder, errors, task.err_off)
    data.bring_file(task.folder, data.input(task.folder), task.input_end)
    with _target(data, folder) as target:
        if errors.exists():
            with errors.open("rb") as failed:
                _copy(failed, target.file, task.err_off)
        with data.input(task.folder).open("rb") as requests:
            requests.seek(task.in_off)
            for line in _lines(requests, task.input_end - task.in_off):
                request = line.removesuffix(b"\n")
                target.file.write(request_lines.failure_of(request, code, message, task.charset) + b"\n")
        yield target.put()


def _lines(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The lines in the next `size` bytes."""
    while size > 0 and (line := file.readline(size)):
        size -= len(line)
        yield line


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0 and (block := source.read(min(size, _COPY_BYTES))):
        size -= len(block)
        target.write(block)
