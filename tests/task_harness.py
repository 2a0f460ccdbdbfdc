"""A task server as processes, for tests that call it like its clients, and kill it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests

TESTS = Path(__file__).parent
WAIT_S = 60.0
T = TypeVar("T")


def wait_for(look: Callable[[], T], what: str, *, within_s: float = WAIT_S) -> T:
    """The value of `look` as soon as it is true."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within_s} s")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether this process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _runs(pid: int, module: str) -> bool:
    """Whether a process runs this module."""
    with suppress(OSError):
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def jsonl(rows: Iterable[Any]) -> bytes:
    """Rows as lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


class TaskServer:
    """A server over a data folder, which can be killed and restarted.

    Args:
        folder: of the data folder and all other files.
        unit: a class of `task_units`, with its options.
    """

    def __init__(
        self, folder: Path, unit: str = "Echo", *, settings: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.folder = folder
        self.data = Path((settings or {}).get("data_dir", folder / "data"))
        self._settings = {
            "data_dir": str(self.data),
            "task_disk_reserve_bytes": 0,
            "log_format": "human",
            **(settings or {}),
        }
        self._source = {"unit": unit, **options}
        self._log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.http = requests.Session()

    def __enter__(self) -> TaskServer:
        if self.process is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.http.close()

    def command(self, port_file: Path) -> list[str]:
        """The command that starts the server."""
        told = {"settings": self._settings, "source": self._source, "port_file": str(port_file)}
        return [sys.executable, "-m", "task_server", json.dumps(told)]

    # ── start and kill ──────────────────────────────────────────────────────────────────────────────────────────

    def start(self, **environment: str) -> None:
        """Start, and wait until it listens."""
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(port_file),
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, **environment},
            )
        process = self.process

        def listens() -> bool:
            assert process.poll() is None, self._log.read_text()[-4000:]
            return self.listens(port_file)

        wait_for(listens, "the server's start")

    def listens(self, port_file: Path) -> bool:
        """Whether the server listens; `url` is known then."""
        if not port_file.exists():
            return False
        self.url = f"http://127.0.0.1:{port_file.read_text()}"
        return True

    def kill(self) -> None:
        """Kill the server, and wait until its driver and workers have exited too. Idempotent."""
        if self.process is None:
            return
        family = self.family()
        self.process.kill()
        self.process.wait()
        self.process = None
        wait_for(lambda: not any(map(is_alive, family)), "the end of driver and workers")

    def children(self, pid: int) -> list[int]:
        """Process ids of the children of a process."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    @property
    def driver(self) -> int:
        """Process id of the driver, as soon as there is one."""
        return wait_for(self.drivers, "a driver")[0]

    def drivers(self) -> list[int]:
        """Process id of the driver, if there is one."""
        assert self.process is not None
        return [pid for pid in self.children(self.process.pid) if _runs(pid, "infergraph.tasks.driver.driver")]

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return self.children(self.driver)

    def family(self) -> list[int]:
        """Process ids of driver and workers, if any."""
        drivers = self.drivers()
        return [*drivers, *(worker for driver in drivers for worker in self.children(driver))]

    def pause(self) -> None:
        """Suspend the server: it neither answers nor starts a new driver."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """One request."""
        return self.http.request(method, self.url + path, timeout=WAIT_S, **more)

    def submit(
        self, id: str, lines: bytes, *, field: str = "task_file", immediate: str | None = "true", **fields: str
    ) -> requests.Response:
        """Submit a task by the gBuilder route."""
        form = {"task_id": id, **fields}
        if immediate is not None:
            form["immediate"] = immediate
        return self.ask("POST", "/tasks", data=form, files={field: ("input.jsonl", lines)})

    def state(self, id: str) -> int:
        """The task's state, as gBuilder's number."""
        answer = self.ask("GET", f"/tasks/{quote(id, safe='')}")
        assert answer.status_code == 200
        assert list(answer.json()) == ["status"]
        status: int = answer.json()["status"]
        return status

    def show(self, id: str) -> dict[str, Any]:
        """The task, from the native API."""
        document: dict[str, Any] = self.ask("GET", f"/api/v1.0/tasks/{quote(id, safe='')}").json()
        return document

    def ended(self, id: str, *, within_s: float = WAIT_S) -> dict[str, Any]:
        """The task, when it has ended."""

        def look() -> dict[str, Any] | None:
            task = self.show(id)
            return task if task.get("state") in ("finished", "failed") else None

        return wait_for(look, f"the end of {id}", within_s=within_s) or {}

    def results(self, id: str) -> list[Any]:
        """The answers of a finished task, in order."""
        answer = self.ask("GET", f"/tasks/{quote(id, safe='')}/results")
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.content.split(b"\n")[:-1]]

    def delete(self, id: str) -> requests.Response:
        """Stop a task by the gBuilder route."""
        return self.ask("DELETE", f"/tasks/{quote(id, safe='')}")

    def is_gone(self, id: str) -> bool:
        """Whether the task is unknown."""
        return self.state(id) == -1


class ProductServer(TaskServer):
    """The same with the installed command: supervisor, serving workers, driver and task workers.

    Args:
        unit: a class of `task_components`; its options are its parameters.
    """

    def command(self, port_file: Path) -> list[str]:
        """`infergraph serve`."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        options = dict(self._source)
        target = f"{TESTS / 'task_components.py'}:{options.pop('unit')}"
        parameters = [{"name": name, "value": str(value), "type": "STRING"} for name, value in options.items()]
        command = [str(Path(sys.executable).parent / "infergraph"), "serve", target, "--grpc", "off"]
        command += ["--parameters", json.dumps(parameters), "--http-port", str(port), "--metrics-port", "0"]
        for name, value in self._settings.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        return command

    def listens(self, port_file: Path) -> bool:
        """Whether it answers."""
        with suppress(requests.RequestException):
            return self.ask("GET", "/status").status_code == 200
        return False

    def serving(self) -> list[int]:
        """Process ids of the serving workers."""
        assert self.process is not None
        return [pid for pid in self.children(self.process.pid) if _runs(pid, "infergraph.process.worker")]

    def family(self) -> list[int]:
        """Process ids of driver, task workers and serving workers, in this order."""
        return [*super().family(), *self.serving()]
