"""The serving worker's half of the in-server engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infergraph.settings import Settings
from infergraph.tasks.engines.in_server import SOCKET
from infergraph.tasks.engines.in_server_worker import InServerWorker
from task_units import make, no_requests


def test_the_driver_is_found_whatever_the_working_folder_becomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data folder given by a relative path stays that folder when a component changes the working folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()

    async def connected() -> bool:
        arrived = asyncio.Event()

        async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            writer.close()
            await writer.wait_closed()

        driver = await asyncio.start_unix_server(accept, tmp_path / "data" / SOCKET)
        monkeypatch.chdir(tmp_path)
        worker = InServerWorker(Path("data"), make('{"unit": "Echo"}', Settings()), no_requests)
        monkeypatch.chdir(tmp_path / "elsewhere")
        worker.begin()
        await asyncio.wait_for(arrived.wait(), 20)
        await worker.leave(20)
        driver.close()
        await driver.wait_closed()
        return arrived.is_set()

    assert asyncio.run(connected())
