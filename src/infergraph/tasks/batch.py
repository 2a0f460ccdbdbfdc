"""A task without a server: the same engine over one file, in this process, resumable.

input ─▶ <output>.infergraph/ (store, output so far) ─▶ output, at the very end, by one rename
"""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from infergraph import allocator
from infergraph.errors import PayloadError, TaskConflict, TaskState
from infergraph.settings import Settings
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.driver.driver import Driver, DriverOrders, make_engine
from infergraph.tasks.files import INPUT, DataFolder, LineCount, sync_folder
from infergraph.tasks.store import Store
from infergraph.tasks.task import ENDED, NewTask, State, Task

ENDING = ".infergraph"
_ID = "batch"
_BLOCK_BYTES = 1 << 20


class BatchOrders(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done; factory, source and path as in `DriverOrders`."""

    input: Path
    output: Path
    factory: str
    source: str
    settings: Settings


def run_batch(
    orders: BatchOrders,
    clocks: Clocks,
    *,
    counting: Callable[[int], None] = lambda _: None,
    working: Callable[[Task], None] = lambda _: None,
) -> Task:
    """Work the file; the task as it ended, or as it was left when SIGINT or SIGTERM came.

    Args:
        counting: told how many bytes are looked through before the work begins.
        working: told of the task now and then.
    Raises: PayloadError if the input cannot be read, or has no lines; TaskConflict if it changed since it was begun;
        TaskState if another process works on the same output.
    Promises: the output is there whole or not at all; run again after any death it goes on where it was.
    """
    data = DataFolder(orders.output.with_name(orders.output.name + ENDING))
    data.prepare()
    lock = data.try_lock()
    if lock is None:
        raise TaskState(f"another process works on {orders.output}")
    allocator.keep_freed_memory()
    store = Store(data.database)
    try:
        task = _begin(data, store, orders, clocks, counting)
        if task.state is not State.FINISHED:
            task = _work(data, store, orders, clocks, working)
        if task.state is State.FINISHED:
            _deliver(data, task, orders.output)
    finally:
        store.close()
        lock.release()
    if task.state is State.FINISHED:
        shutil.rmtree(data.root)
    return task


def _begin(
    data: DataFolder, store: Store, orders: BatchOrders, clocks: Clocks, counting: Callable[[int], None]
) -> Task:
    fingerprint = _fingerprint(orders)
    task = store.find(_ID)
    if task is not None and task.input_sha256 != fingerprint:
        raise TaskConflict(
            f"the input is not what {data.root} was begun with; remove that folder to begin anew, "
            "or name another output"
        )
    if task is None:
        task = store.accept(_new(data, orders.input, fingerprint, counting), now=clocks.wall(), queue_limit=1).task
    elif task.state is State.FAILED:
        store.retry(_ID)
    return task


def _fingerprint(orders: BatchOrders) -> str:
    """What must be the same for work to go on: the file, and when it was last changed."""
    try:
        stat = orders.input.stat()
    except OSError as error:
        raise PayloadError(f"{orders.input}: {error.strerror}") from error
    return f"{orders.input.resolve()} {stat.st_size} {stat.st_mtime_ns}"


def _new(data: DataFolder, input: Path, fingerprint: str, counting: Callable[[int], None]) -> NewTask:
    lines = LineCount()
    seen = 0
    try:
        with input.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                lines.feed(block)
                seen += len(block)
                counting(seen)
    except OSError as error:
        raise PayloadError(f"{input}: {error.strerror}") from error
    lines.finish()
    if not lines.lines:
        raise PayloadError(f"{input}: the file is empty")
    folder = uuid.uuid4().hex
    (data.tasks / folder).mkdir()
    (data.tasks / folder / INPUT).symlink_to(input.resolve())
    sync_folder(data.tasks / folder)
    sync_folder(data.tasks)
    return NewTask(
        id=_ID, folder=folder, input_bytes=seen, input_end=lines.end, input_sha256=fingerprint, total=lines.lines
    )


def _work(data: DataFolder, store: Store, orders: BatchOrders, clocks: Clocks, working: Callable[[Task], None]) -> Task:
    # There is no serving worker here whose unit could answer instead of workers of our own.
    settings = msgspec.structs.replace(orders.settings, task_workers=orders.settings.task_workers or 1)
    told = DriverOrders(
        data_dir=os.fspath(data.root),
        settings=msgspec.to_builtins(settings),
        factory=orders.factory,
        source=orders.source,
        parent=os.getppid(),
    )
    driver = Driver(data, store, make_engine(told, settings, data, clocks), settings, clocks, pid=os.getpid())
    before = {number: signal.signal(number, lambda *_: driver.stop()) for number in (signal.SIGINT, signal.SIGTERM)}

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


def _found(store: Store) -> Task:
    task = store.find(_ID)
    assert task is not None
    return task


def _deliver(data: DataFolder, task: Task, output: Path) -> None:
    """The finished output takes its place, durably; done before, it stays done."""
    finished = data.output(task.folder, task.round)
    if finished.exists():
        os.replace(finished, output)
        sync_folder(output.absolute().parent)
