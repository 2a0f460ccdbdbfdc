"""A serving worker's side of being a guest: it answers chunks with the unit it has loaded already."""

from __future__ import annotations

import asyncio
import logging
import struct
from pathlib import Path

import msgspec

from infergraph.message import PredictiveUnit
from infergraph.tasks.frames import Command, Dropped, Key, Order, Ready, frame
from infergraph.tasks.guests import lanes_address
from infergraph.tasks.worker import ChunkDesk

_log = logging.getLogger(__name__)

_AGAIN_S = 0.5
_LENGTH = struct.Struct(">Q")


async def work_as_guest(folder: Path, unit: PredictiveUnit) -> None:
    """Answer chunks with a loaded unit, for the driver of a data folder, until cancelled.

    Promises: a driver that ends is waited for; what it had ordered is forgotten, as its successor orders it again.
    """
    desk = ChunkDesk(unit)
    while True:
        try:
            with lanes_address(folder) as address:
                reader, writer = await asyncio.open_unix_connection(address)
        except OSError:
            await asyncio.sleep(_AGAIN_S)
            continue
        try:
            await _serve(desk, reader, writer)
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            _log.info("the task driver went away; waiting for the next one")
        finally:
            writer.close()


async def _serve(desk: ChunkDesk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Obey one driver until it goes away."""
    waiting: asyncio.Queue[Order] = asyncio.Queue()
    writer.write(frame(Ready(0.0)))

    async def listen() -> None:
        decoder = msgspec.msgpack.Decoder(Command)
        while True:
            (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            command = decoder.decode(await reader.readexactly(size))
            if isinstance(command, Order):
                waiting.put_nowait(command)
            else:
                writer.write(frame(Dropped(_forget(waiting, command.run))))

    async def work() -> None:
        while True:
            writer.write(frame(await desk.answer(await waiting.get())))
            await writer.drain()

    tasks = {asyncio.create_task(listen()), asyncio.create_task(work())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _forget(waiting: asyncio.Queue[Order], run: int) -> list[Key]:
    """Take the orders of a run out of the queue; their keys."""
    orders = [waiting.get_nowait() for _ in range(waiting.qsize())]
    for order in orders:
        if order.key.run != run:
            waiting.put_nowait(order)
    return [order.key for order in orders if order.key.run == run]
