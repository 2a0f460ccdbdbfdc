"""A small server of tasks for the tests: the routes, and a driver that is started again when it ends.

python -m task_server '{"settings": {...}, "source": {...}, "port_file": "..."}'
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette

from infergraph import process_lifetime
from infergraph.serving.tasks import gbuilder
from infergraph.settings import Settings
from infergraph.tasks.driver.driver import DriverConfig
from infergraph.tasks.engines.in_server_worker import InServerWorker
from infergraph.tasks.service import TaskService
from task_units import make, no_requests


def start_driver(config: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A driver process that dies with this one; called from the main thread."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infergraph.tasks.driver.driver"], stdin=subprocess.PIPE, process_group=0
    )
    told = DriverConfig(
        data_dir=config["settings"]["data_dir"],
        settings=config["settings"],
        factory="task_units:make",
        source=json.dumps(config["source"]),
        parent=os.getpid(),
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(told) + b"\n")
    process.stdin.flush()
    return process


async def keep_driver(config: dict[str, Any]) -> None:
    """Start the driver again whenever it ends."""
    while True:
        process = start_driver(config)
        while process.poll() is None:  # noqa: ASYNC110 - a child's end has no event here
            await asyncio.sleep(0.02)
        assert process.stdin is not None
        process.stdin.close()


async def serve(config: dict[str, Any]) -> None:
    """Serve until killed."""
    settings = msgspec.convert(config["settings"], Settings)
    service = TaskService.open(settings)
    app = Starlette(routes=gbuilder.routes(service, settings))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", config.get("port", 0)))
        listener.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning"))
        running = asyncio.create_task(server.serve([listener]))
        keeping = asyncio.create_task(keep_driver(config)) if config.get("driver", True) else None
        in_server = InServerWorker(Path(settings.data_dir), make(json.dumps(config["source"]), settings), no_requests)
        if settings.task_worker_bounds.most == 0:
            in_server.begin()
        port_file = Path(config["port_file"])
        port_file.with_suffix(".new").write_text(str(listener.getsockname()[1]))
        port_file.with_suffix(".new").rename(port_file)
        await running
        await in_server.leave(1.0)
        if keeping is not None:
            keeping.cancel()


if __name__ == "__main__":
    parent_read, _ = os.pipe()
    process_lifetime.die_with_parent(os.getppid(), parent_read)
    asyncio.run(serve(json.loads(sys.argv[1])))
