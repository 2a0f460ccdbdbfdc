"""A task worker: a process that loads the unit once and answers chunks until its driver exits.

python -m infergraph.tasks.engines.worker COMMANDS_FD REPLIES_FD LIFE_FD PARENT_PID
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from infergraph import process_lifetime
from infergraph.errors import Fault, traceback_text
from infergraph.message import PredictiveUnit
from infergraph.observe import logs
from infergraph.settings import NanPolicy, RowMode, Settings
from infergraph.tasks.engines.inbox import Inbox
from infergraph.tasks.engines.messages import Answer, Assignment, LoadFailed, Plan, Ready, frame
from infergraph.tasks.engines.request_rows import RequestRows, Requests
from infergraph.tasks.engines.rows import RowReader, retry_of, row_reader
from infergraph.tasks.files import write_all

_log = logging.getLogger("infergraph.tasks.engines.worker")  # __name__ is __main__ here

LOAD_FAILED = 3
"""Exit code of a worker whose unit could not be loaded."""


def make_unit(plan: Plan) -> PredictiveUnit:
    """Construct the unit of a plan, without starting it."""
    unit: PredictiveUnit = _named(plan.factory)(plan.source, msgspec.convert(plan.settings, Settings))
    return unit


def make_requests(plan: Plan, unit: PredictiveUnit) -> Requests:
    """What answers the rows of a plan that are requests, with its started unit."""
    requests: Requests = _named(plan.requests)(unit, plan.source, msgspec.convert(plan.settings, Settings))
    return requests


def _named(name: str) -> Callable[..., Any]:
    """The function of a name, `module:function`."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


class ChunkWorker:
    """Answers assignments with a unit, one at a time.

    Args:
        nan: what NaN and the infinities in an answer become.
        requests: makes what answers rows that are requests; called with the first of them.
    """

    def __init__(self, unit: PredictiveUnit, nan: NanPolicy, requests: Callable[[], Requests]) -> None:
        self._unit = unit
        self._nan = nan
        self._requests = requests
        self._readers: dict[tuple[str, bool], RowReader | RequestRows] = {}

    async def answer(self, assignment: Assignment) -> Answer:
        """Answer all lines of an assignment. Whatever the unit does, there is one output line for each input line."""
        began = time.perf_counter()
        kind = assignment.rows, assignment.is_table
        reader = self._readers.get(kind)
        if reader is None:
            reader = self._readers[kind] = self._reader(RowMode(assignment.rows), is_table=assignment.is_table)
        block = _lines(assignment) if assignment.data is None else assignment.data
        lines = await reader.answer(block, assignment.line, assignment.charset)
        if lines.lines != assignment.lines:
            raise RuntimeError(f"{lines.lines} lines where {assignment.lines} were cut: the input changed on the disk")
        return Answer(assignment.key, lines.output, lines.errors, lines.failed, time.perf_counter() - began)

    def _reader(self, mode: RowMode, *, is_table: bool) -> RowReader | RequestRows:
        if mode is RowMode.REQUEST:
            return RequestRows(self._requests, retry_of())
        return row_reader(self._unit, mode, nan=self._nan, is_table=is_table)


def _lines(assignment: Assignment) -> bytes:
    fd = os.open(assignment.path, os.O_RDONLY)
    try:
        block = os.pread(fd, assignment.size, assignment.offset)
    finally:
        os.close(fd)
    if len(block) != assignment.size:
        raise RuntimeError(f"{assignment.path} is shorter than it was: the input changed on the disk")
    return block


async def work(plan: Plan, settings: Settings, commands_fd: int, replies_fd: int) -> None:
    """Load the unit, report ready, and answer assignments until the driver exits."""
    began = time.perf_counter()
    try:
        unit = make_unit(plan)
        await unit.start()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the unit raises
        if trace := traceback_text(error):
            _log.error("a task worker cannot load the unit", extra={"exception": trace})
        text = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        write_all(replies_fd, frame(LoadFailed(text)))
        os._exit(LOAD_FAILED)
    desk = ChunkWorker(unit, settings.task_nan, functools.partial(make_requests, plan, unit))
    # If the driver has exited, there is no recipient.
    inbox = Inbox(commands_fd, lambda word: write_all(replies_fd, frame(word)), gone=lambda: os._exit(0))
    gc.collect()
    gc.freeze()  # a loaded model is never garbage: exclude it from collections during chunks
    write_all(replies_fd, frame(Ready(time.perf_counter() - began)))
    while True:
        answer = await desk.answer(await inbox.next())
        write_all(replies_fd, frame(answer))


def read_plan(fd: int) -> Plan:
    """Read only the first frame; what follows stays in the pipe."""
    size = int.from_bytes(_exactly(fd, 8), "big")
    return msgspec.msgpack.decode(_exactly(fd, size), type=Plan)


def _exactly(fd: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        block = os.read(fd, size - len(parts))
        if not block:
            os._exit(0)
        parts += block
    return bytes(parts)


def main(arguments: list[str]) -> None:
    """Run a worker; the arguments are three inherited descriptors and the parent's process id."""
    commands_fd, replies_fd, life_fd, parent = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process_lifetime.die_with_parent(parent, life_fd)
    process_lifetime.keep_freed_memory()
    plan = read_plan(commands_fd)
    settings = msgspec.convert(plan.settings, Settings)
    logs.configure(settings)
    # Each failed row has its error in the results: a million of them must not log a million tracebacks.
    logging.getLogger("infergraph.component.component").addFilter(logs.Sparing())
    sys.path[:] = plan.path
    os.set_blocking(commands_fd, False)
    asyncio.run(work(plan, settings, commands_fd, replies_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
