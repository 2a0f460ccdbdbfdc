"""A serving worker's side of being a guest: it answers chunks with the unit it has loaded already."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from pathlib import Path

from infergraph.message import PredictiveUnit
from infergraph.tasks.frames import Ready, Reply, frame
from infergraph.tasks.guests import lanes_address
from infergraph.tasks.inbox import Inbox
from infergraph.tasks.worker import ChunkDesk

_log = logging.getLogger(__name__)

_AGAIN_S = 0.5


async def work_as_guest(folder: Path, unit: PredictiveUnit) -> None:
    """Answer chunks with a loaded unit, for the driver of a data folder, until cancelled.

    Promises: a driver that ends is waited for; what it had ordered is forgotten, as its successor orders it again.
    """
    desk = ChunkDesk(unit)
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            with lanes_address(folder) as address:
                await asyncio.get_running_loop().sock_connect(connection, address)
        except OSError:
            connection.close()
            await asyncio.sleep(_AGAIN_S)
            continue
        try:
            await _serve(desk, connection)
        finally:
            connection.close()
        _log.info("the task driver went away; waiting for the next one")


async def _serve(desk: ChunkDesk, connection: socket.socket) -> None:
    """Obey one driver until it goes away."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    replies: asyncio.Queue[Reply] = asyncio.Queue()
    replies.put_nowait(Ready(0.0))
    inbox = Inbox(connection.fileno(), replies.put_nowait, gone.set)

    async def send() -> None:
        with suppress(OSError):
            while True:
                await loop.sock_sendall(connection, frame(await replies.get()))
                replies.task_done()

    async def work() -> None:
        while True:
            replies.put_nowait(await desk.answer(await inbox.next()))
            await replies.join()  # a driver that does not read gets no more

    tasks = {asyncio.create_task(gone.wait()), asyncio.create_task(send()), asyncio.create_task(work())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        inbox.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
