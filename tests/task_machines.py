"""Machines that share their tasks: servers with a data folder each, one PostgreSQL, one folder of task files."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg

from postgres_server import PostgresServer
from task_harness import ProductServer, TaskServer, wait_for
from tcp_proxy import CutProxy

LEASE_S = 2.0
SETTINGS = {"task_lease_s": LEASE_S, "task_chunk_target_s": 0.05}


class Machine:
    """One of the machines: its server, and its way to the database."""

    def __init__(self, server: TaskServer, proxy: CutProxy) -> None:
        self.server = server
        self.proxy = proxy

    @property
    def processes(self) -> list[int]:
        """Process ids of all its processes, the supervisor first."""
        assert self.server.process is not None
        return [self.server.process.pid, *self.server.family()]

    def signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to all its processes; returns which they were."""
        found = self.processes
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return found

    def revive(self) -> None:
        """Start it again, after its processes were killed."""
        assert self.server.process is not None
        self.server.process.wait()
        self.server.process = None
        self.server.start()


class Machines:
    """Machines over one new database.

    Args:
        folder: for everything that they have.
        stack: ends them.
        line_s: how long a line takes.
        files: where the task files are; empty for a folder.
    """

    def __init__(
        self, folder: Path, postgres: PostgresServer, stack: ExitStack, *, line_s: float, files: str = ""
    ) -> None:
        self._place = files or str(folder / "files")
        self.files = folder / "files"
        self.url = postgres.database()
        self._folder = folder
        self._postgres = postgres
        self._stack = stack
        self.log = folder / "worked.log"
        self._line_s = line_s
        self.all: list[Machine] = []

    def add(self, **environment: str) -> TaskServer:
        """Start another one."""
        folder = self._folder / f"machine-{len(self.all)}"
        folder.mkdir()
        proxy = self._stack.enter_context(CutProxy(self._postgres.port))
        url = self.url.replace(f":{self._postgres.port}/", f":{proxy.port}/")
        settings = {**SETTINGS, "task_store": url, "task_files": self._place}
        server = ProductServer(folder, "Recorder", settings=settings, log=str(self.log), line_s=self._line_s)
        server.start(**environment)
        self._stack.enter_context(server)
        self.all.append(Machine(server, proxy))
        return server

    def holder(self, id: str) -> tuple[Machine, Machine]:
        """The one of two that works on a task, as soon as some lines are committed, and the other one."""
        one, other = self.all
        wait_for(lambda: one.server.show(id).get("done", 0) > 0, f"progress of {id}")
        with psycopg.connect(self.url) as connection:
            ((driver,),) = connection.execute("select driver from task where id = %s", [id]).fetchall()
        return (one, other) if (one.server.data / "folder-id").read_text() in driver else (other, one)
