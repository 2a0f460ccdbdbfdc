"""A task worker: a process that loads the unit once and answers chunks until its driver exits.

python -m infergraph.tasks.engines.worker ORDERS_FD REPLIES_FD LIFE_FD PARENT_PID
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import time

import msgspec

from infergraph import lifetime
from infergraph.errors import Fault, traceback_text
from infergraph.message import PredictiveUnit
from infergraph.observe import logs
from infergraph.settings import NanPolicy, RowMode, Settings
from infergraph.tasks.engines.inbox import Inbox
from infergraph.tasks.engines.messages import Answer, LoadFailed, Order, Plan, Ready, frame
from infergraph.tasks.engines.rows import RowReader, row_reader
from infergraph.tasks.files import write_all

_log = logging.getLogger("infergraph.tasks.engines.worker")  # __name__ is __main__ here

LOAD_FAILED = 3
"""Exit code of a worker whose unit could not be loaded."""


def make_unit(plan: Plan) -> PredictiveUnit:
    """Construct the unit of a plan, without starting it."""
    settings = msgspec.convert(plan.settings, Settings)
    module, _, function = plan.factory.partition(":")
    unit: PredictiveUnit = getattr(importlib.import_module(module), function)(plan.source, settings)
    return unit


class ChunkWorker:
    """Answers orders with a unit, one at a time.

    Args:
        nan: what NaN and the infinities in an answer become.
    """

    def __init__(self, unit: PredictiveUnit, nan: NanPolicy) -> None:
        self._unit = unit
        self._nan = nan
        self._readers: dict[str, RowReader] = {}

    async def answer(self, order: Order) -> Answer:
        """Answer all lines of an order. Whatever the unit does, there is one output line for each input line."""
        began = time.perf_counter()
        reader = self._readers.get(order.rows)
        if reader is None:
            reader = self._readers[order.rows] = row_reader(self._unit, RowMode(order.rows), nan=self._nan)
        block = _lines(order) if order.data is None else order.data
        lines = await reader.answer(block, order.line, order.charset)
        if lines.lines != order.lines:
            raise RuntimeError(f"{lines.lines} lines where {order.lines} were cut: the input changed on the disk")
        return Answer(order.key, lines.output, lines.errors, lines.failed, time.perf_counter() - began)


def _lines(order: Order) -> bytes:
    fd = os.open(order.path, os.O_RDONLY)
    try:
        block = os.pread(fd, order.size, order.offset)
    finally:
        os.close(fd)
    if len(block) != order.size:
        raise RuntimeError(f"{order.path} is shorter than it was: the input changed on the disk")
    return block


async def work(plan: Plan, settings: Settings, orders_fd: int, replies_fd: int) -> None:
    """Load the unit, report ready, and answer orders until the driver exits."""
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
    desk = ChunkWorker(unit, settings.task_nan)
    # If the driver has exited, there is no recipient.
    inbox = Inbox(orders_fd, lambda word: write_all(replies_fd, frame(word)), gone=lambda: os._exit(0))
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
    orders_fd, replies_fd, life_fd, parent = map(int, arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lifetime.die_with_parent(parent, life_fd)
    lifetime.keep_freed_memory()
    plan = read_plan(orders_fd)
    settings = msgspec.convert(plan.settings, Settings)
    logs.configure(settings)
    # Each failed row has its error in the results: a million of them must not log a million tracebacks.
    logging.getLogger("infergraph.component.component").addFilter(logs.Sparing())
    sys.path[:] = plan.path
    os.set_blocking(orders_fd, False)
    asyncio.run(work(plan, settings, orders_fd, replies_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
