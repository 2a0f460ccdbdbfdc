"""Starting a supervisor as a real process, and waiting for what it does."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from infergraph.process.supervisor import ServePlan

TESTS = Path(__file__).parent.parent
WAIT_S = 60.0
T = TypeVar("T")

PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def plan_of(settings: dict[str, Any] | None = None, source: dict[str, Any] | None = None, **more: Any) -> ServePlan:
    """A plan over the small test server, on free ports, without tasks."""
    return ServePlan(
        settings={**PORTS, "tasks": False, "watchdog_s": 0.0, "log_format": "json", **(settings or {})},
        source=source or {},
        serve=more.pop("serve", "e2e.process_target:serve"),
        **more,
    )


def wait_for(what: str, condition: Callable[[], T | None], within_s: float = WAIT_S) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {within_s} s in vain for {what}")


class Supervised:
    """A running supervisor."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process = process
        self.errors = errors
        self.ports: dict[str, int] = {}

    def log(self) -> list[dict[str, Any]]:
        """Its whole JSON lines so far."""
        lines = []
        for line in self.errors.read_text(errors="replace").split("\n")[:-1]:
            with suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def events(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        return [line for line in self.log() if line["event"] == event]

    def wait_event(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait for the count-th log line of an event."""

        def seen() -> dict[str, Any] | None:
            events = self.events(event)
            if len(events) < count and self.process.poll() is not None:
                raise AssertionError(f"it ended without {event!r}:\n{self.errors.read_text()}")
            return events[count - 1] if len(events) >= count else None

        return wait_for(f"event {event!r}", seen)

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to the HTTP port."""
        return http.client.HTTPConnection("127.0.0.1", self.ports["http_port"], timeout=WAIT_S)

    def get(self, path: str) -> tuple[int, str]:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def worker_pids(self) -> set[int]:
        """Its living children that are serving workers."""
        return {pid for pid in children_of(self.process.pid) if "infergraph.process.worker" in command_of(pid)}

    def metrics_folder(self) -> Path:
        """The folder in which its workers count."""
        pid = min(self.worker_pids())
        links = [Path(f"/proc/{pid}/fd/{fd}").resolve() for fd in os.listdir(f"/proc/{pid}/fd")]
        return next(link.parent for link in links if link.suffix == ".cells")

    def wait_exit(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(WAIT_S)


class Front(Supervised):
    """A running `infergraph serve` of a cut graph."""

    def wait_ready(self, within_s: float = WAIT_S) -> None:
        """Wait until it says where it answers, which it does when it is ready."""

        def rest() -> str:
            assert self.process.poll() is None, self.errors.read_text()
            return next((line["rest"] for line in self.log() if "rest" in line), "")

        self.ports["http_port"] = urlsplit(wait_for("the front", rest, within_s)).port or 0

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """One request: GET, or POST of a body as JSON."""
        connection = self.connect()
        try:
            connection.request("GET" if body is None else "POST", path, body and json.dumps(body))
            reply = connection.getresponse()
            text = reply.read().decode()
            return reply.status, json.loads(text) if text.startswith("{") else text
        finally:
            connection.close()


def children_of(pid: int) -> set[int]:
    """The living children of a process."""
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_of(pid: int) -> str:
    """The command line of a process; empty if it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def variables_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty if it is gone."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def environment(*first: Path) -> dict[str, str]:
    """Ours, with the tests' own modules importable, after those of the folders `first`."""
    path = [*map(str, first), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def start(plan: ServePlan, folder: Path, *import_first: Path) -> Supervised:
    """Start a supervisor and return at once."""
    errors = Path(tempfile.mkstemp(suffix=".log", dir=folder)[1])
    with tempfile.TemporaryFile() as file, errors.open("wb") as log:
        file.write(msgspec.json.encode(plan))
        file.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "infergraph.process.supervisor", "--plan-fd", str(file.fileno())],
            pass_fds=[file.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=log,
            cwd=folder,
            env=environment(*import_first),
        )
    return Supervised(process, errors)


@contextmanager
def supervised(plan: ServePlan, folder: Path, *, ready: bool = True) -> Iterator[Supervised]:
    """A supervisor that listens, and is ready; killed at the end with all its workers."""
    running = start(plan, folder)
    try:
        line = running.wait_event("listening")
        running.ports = {name: line[name] for name in PORTS if line[name] is not None}
        if ready:
            running.wait_event("ready")
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                running.process.wait(5)
        running.process.kill()
        running.process.wait()
