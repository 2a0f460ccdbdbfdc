"""A replica of a group: a Ray actor that runs the group's server on free ports of its machine.

    controller ─start─▶ graph file, ServePlan ─▶ process.supervisor ─ready─▶ host and ports
    the actor's process dies ▶ its server dies ┊ the server ends ▶ `ended` returns

Requests never come through the actor.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
from collections import deque
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from infergraph.net import ray_cluster
from infergraph.process.child import Child
from infergraph.process.ray.plan import REPLICA_FOLDER, CannotStart, Listening, Order, RayGroup, write_hosts
from infergraph.process.supervisor import EXIT_STARTUP, ServePlan

_POLL_S = 0.1
_WATCH_S = 1.0
_SAID_LINES = 20


class Replica:
    """The actor. Its methods run on one event loop, in a thread that lives as long as the process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="infergraph-replica-")
        self._child: Child | None = None
        self._raylet = os.getppid()
        self._watch: asyncio.Task[None] | None = None
        self._said: deque[str] = deque(maxlen=_SAID_LINES)

    @property
    def is_running(self) -> bool:
        """Whether the server runs."""
        return self._child is not None and not self._child.poll()

    async def start(self, order: bytes) -> bytes:
        """Where the server listens, once all its workers are ready. Raises: CannotStart if it ended before."""
        told = msgspec.msgpack.decode(order, type=Order)
        if told.version != (ours := version("infergraph")):
            text = f"the cluster has infergraph {ours}, and the graph is served by {told.version}"
            raise CannotStart(EXIT_STARTUP, text)
        self._watch = asyncio.create_task(self._end_with_raylet())
        await self.follow(msgspec.msgpack.encode(told.hosts))
        host = ray_cluster.package("a replica").util.get_node_ip_address()
        ours_fd, theirs_fd = os.pipe()
        try:
            self._child = self._started(self._plan(told.group, host, theirs_fd), theirs_fd, told.group)
        finally:
            os.close(theirs_fd)
        with os.fdopen(ours_fd, "rb") as pipe:
            ports = await asyncio.to_thread(pipe.read)
        if not ports:
            how = await self.ended()
            raise CannotStart(self._child.exit_code or 0, f"{self._last_words()} ({how})")
        numbers: dict[str, int | None] = msgspec.json.decode(ports)
        return msgspec.msgpack.encode(
            Listening(
                host=host,
                http_port=numbers["http_port"] or 0,
                grpc_port=numbers["grpc_port"] or 0,
            )
        )

    async def _end_with_raylet(self) -> None:
        """End this process, and with it the server, when its Ray node is gone: Ray lets it run on (seen with 2.60)."""
        while os.getppid() == self._raylet:  # noqa: ASYNC110 - a change of the parent is no event
            await asyncio.sleep(_WATCH_S)
        os._exit(1)

    async def follow(self, hosts: bytes) -> None:
        """Write the addresses of the groups that are called: the text of the file, by group."""
        for name, text in msgspec.msgpack.decode(hosts, type=dict[str, str]).items():
            write_hosts(Path(self._folder.name), name, text)

    async def ended(self) -> str:
        """How the server ended, once it has."""
        child = self._child
        while child is not None and not child.poll():  # noqa: ASYNC110 - the end of a process is no event
            await asyncio.sleep(_POLL_S)
        return "not started" if child is None else child.how_it_ended()

    async def stop(self) -> str:
        """End the server, which finishes its requests first; returns how it ended."""
        if self._child is not None:
            self._child.signal(signal.SIGTERM)
        return await self.ended()

    def _plan(self, group: RayGroup, host: str, ready_fd: int) -> ServePlan:
        """The plan of the server, on this machine."""
        folder = Path(self._folder.name)
        file = folder / "graph.yaml"
        file.write_text(group.graph.replace(REPLICA_FOLDER, str(folder)), "utf-8")
        settings = {
            **group.plan.settings,
            "host": host,
            "http_port": 0,
            "grpc_port": 0,
            "metrics_port": 0,
            "data_dir": str(folder / "data"),
        }
        source: dict[str, Any] = {
            **group.plan.source,
            "target": str(file),
            "folder": os.getcwd(),
            "files": os.getcwd(),
        }
        plan = replace(group.plan, settings=settings, source=source)
        return replace(plan, parent_pid=os.getpid(), ready_fd=ready_fd)

    def _started(self, plan: ServePlan, ready_fd: int, group: RayGroup) -> Child:
        ours, theirs = os.pipe()
        try:
            child = Child(
                "infergraph.process.supervisor",
                msgspec.json.encode(plan) + b"\n",
                pass_fds=(ready_fd,),
                hold_stdin=True,
                environment=group.environment,
                stderr=theirs,
            )
        finally:
            os.close(theirs)
        threading.Thread(target=self._pass_on, args=(ours,), name="stderr", daemon=True).start()
        return child

    def _pass_on(self, fd: int) -> None:
        """Pass the server's lines on to the log of the Ray worker, and keep the last ones."""
        with os.fdopen(fd, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._said.append(line.rstrip())
                sys.stderr.write(line)
                sys.stderr.flush()

    def _last_words(self) -> str:
        """Why the server could not start, by the last of its lines that tells an error, else by its last."""
        lines = [line for line in reversed(self._said) if line]
        errors = (_error_in(line) for line in lines)
        return next(filter(None, errors), lines[0] if lines else "it said nothing")


def _error_in(line: str) -> str:
    """What a line of a log in JSON tells of an error, or any other line; empty for one that tells none."""
    try:
        told = msgspec.json.decode(line, type=_LogLine)
    except msgspec.DecodeError:
        return line
    if told.level != "ERROR":
        return ""
    return told.exception.rpartition("\n")[2] or told.event


class _LogLine(msgspec.Struct):
    """What is looked at in a line of a log."""

    level: str
    event: str
    exception: str = ""
