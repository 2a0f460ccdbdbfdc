"""The serving worker's side of the in-server engine: it answers chunks with the unit it has loaded already.

begin ─▶ connect ─▶ serve one driver until it disconnects ─▶ connect …      leave ─▶ the current chunk, then no more
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infergraph.message import PredictiveUnit
from infergraph.settings import NanPolicy
from infergraph.tasks.engines.in_server import lanes_address
from infergraph.tasks.engines.inbox import Inbox
from infergraph.tasks.engines.messages import Leaving, Ready, Reply, frame
from infergraph.tasks.engines.request_rows import Requests
from infergraph.tasks.engines.worker import ChunkWorker

_log = logging.getLogger(__name__)

_AGAIN_S = 0.5


class InServerWorker:
    """Answers chunks with a loaded unit, for the driver of a data folder. Used on one event loop.

    Args:
        requests: see `ChunkWorker`.
    Promises: when a driver exits, reconnects to its successor, which sends pending assignments again; they are
    dropped here.
    """

    def __init__(
        self,
        folder: Path,
        unit: PredictiveUnit,
        requests: Callable[[], Requests],
        nan: NanPolicy = NanPolicy.ERROR,
    ) -> None:
        self._folder = folder.absolute()  # a node may change the working directory
        self._desk = ChunkWorker(unit, nan, requests)
        self._leaving = asyncio.Event()
        self._busy = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Connect to the driver, and to its successors, from now on."""
        self._leaving.clear()
        self._work = asyncio.create_task(self._serve_drivers())

    async def leave(self, within_s: float) -> None:
        """Finish the current chunk, within at most `within_s`, and accept no more. Idempotent.

        Promises: the driver reassigns the remaining assignments, and blames no line.
        """
        self._leaving.set()
        if self._work is None:
            return
        with suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(self._work, within_s)

    async def _serve_drivers(self) -> None:
        while not self._leaving.is_set():
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.setblocking(False)
            try:
                with lanes_address(self._folder) as address:
                    await asyncio.get_running_loop().sock_connect(connection, address)
                await self._serve(connection)
                _log.info("the task driver has disconnected")
            except OSError:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._leaving.wait(), _AGAIN_S)
            except Exception:  # noqa: BLE001 - the driver sees the connection close, and isolates the line
                _log.exception("a chunk of a task could not be answered")
            finally:
                connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        """Answer the assignments of one driver until it disconnects, or this worker leaves."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        replies: asyncio.Queue[Reply] = asyncio.Queue()
        replies.put_nowait(Ready(0.0))
        inbox = Inbox(connection.fileno(), replies.put_nowait, gone.set)

        async def send() -> None:
            while True:
                await loop.sock_sendall(connection, frame(await replies.get()))
                replies.task_done()

        async def work() -> None:
            while True:
                assignment = await inbox.next()
                async with self._busy:
                    replies.put_nowait(await self._desk.answer(assignment))
                    await replies.join()  # backpressure if the driver does not read

        async def leave() -> None:
            await self._leaving.wait()
            replies.put_nowait(Leaving())
            async with self._busy:
                await replies.join()

        tasks = {asyncio.create_task(part) for part in (gone.wait(), send(), work(), leave())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            inbox.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
