"""Fate for a task server: callers who submit, stop and prune while server, driver and workers are killed at random.

What must hold afterwards, whatever was killed when: every accepted task has ended; every input line has exactly one
output line, in its place; nothing that was committed was worked again; what was stopped is gone; no process and no
file is left over; nothing outside the data folder was touched.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from task_harness import WAIT_S, ProductServer, TaskServer, is_alive, jsonl, wait_for

SETTINGS = {"task_workers": "2", "task_chunk_target_s": 0.05, "task_active_limit": 3, "task_queue_limit": 100_000}
LINE_S = 0.0004


class Callers:
    """Callers who submit, stop and delete tasks, and what they know of each.

    Args:
        seed: makes the choices repeatable; the moments are those of the machine.
    """

    pads: tuple[int, ...] = (0,)
    """How many spaces may follow the rows of a task."""
    not_taken: tuple[int, ...] = ()
    """The statuses that say as little of a submission as no answer."""
    not_stopped: tuple[int, ...] = ()
    """The same, of a task that is to be stopped."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.accepted: dict[str, int] = {}
        self.perhaps: dict[str, int] = {}
        self.stopped: set[str] = set()
        self.stopped_perhaps: set[str] = set()
        self._number = 0

    def door(self) -> TaskServer:
        """The server that the next caller asks."""
        raise NotImplementedError

    def submit(self) -> None:
        """Submit a task; who gets no answer does not know whether it was accepted."""
        self._number += 1
        id, lines = f"t{self._number}", self.random.choice([1, 20, 400, 2000])
        pad = b" " * self.random.choice(self.pads)
        try:
            answer = self.door().submit(id, jsonl(rows(id, lines)) + pad)
        except requests.RequestException:
            self.perhaps[id] = lines
            return
        assert answer.status_code in (200, *self.not_taken), answer.text
        known = self.accepted if answer.status_code == 200 else self.perhaps
        known[id] = lines

    def stop(self) -> None:
        """Stop, or forget, any task."""
        known = [id for id in self.accepted if id not in self.stopped | self.stopped_perhaps]
        if not known:
            return
        id = self.random.choice(known)
        self.stopped_perhaps.add(id)
        with suppress(requests.RequestException):
            path = self.random.choice([f"/tasks/{id}", f"/api/v1.0/tasks/{id}"])
            code = self.door().ask("DELETE", path).status_code
            assert code in (200, 409, *self.not_stopped), code
            if code in (200, 409):
                self.stopped_perhaps.discard(id)
            if code == 200:
                self.stopped.add(id)
                self.counts["stops"] += 1

    def judge_tasks(self, server: TaskServer, *, within_s: float = WAIT_S) -> int:
        """Every task that was accepted has ended, with every row once and in order; how many lines they had."""
        for id in self.stopped:
            assert server.state(id) == -1, f"{id} was stopped"
        expected = {id: lines for id, lines in self.accepted.items() if id not in self.stopped}
        judged = 0
        for id, lines in [*expected.items(), *self.perhaps.items()]:
            if (id in self.perhaps or id in self.stopped_perhaps) and server.state(id) == -1:
                continue
            task = server.ended(id, within_s=within_s)
            assert (task["state"], task["failed"]) == ("finished", 0), task
            assert self.door().results(id) == [{**row, "seen": True} for row in rows(id, lines)], id
            judged += lines
        return judged


class Chaos(Callers):
    """One server and its fate.

    Args:
        folder: where everything lives.
        seed: makes the choices repeatable; the moments are those of the machine.
        product: the installed command, instead of the small server of the tests.
    """

    pads = (0, 0, 3_000_000)

    def __init__(self, folder: Path, seed: int, *, product: bool = False) -> None:
        super().__init__(seed)
        self.folder = folder
        self.log = folder / "worked.log"
        self.outside = folder / "outside"
        self.outside.write_text("untouched")
        kind = ProductServer if product else TaskServer
        self.server: TaskServer = kind(folder, "Recorder", settings=SETTINGS, log=str(self.log), line_s=LINE_S)
        self.committed: list[tuple[int, dict[str, int]]] = []

    def __enter__(self) -> Chaos:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    # ── what callers do meanwhile ───────────────────────────────────────────────────────────────────────────────

    def door(self) -> TaskServer:
        """The only server."""
        return self.server

    def look(self) -> None:
        """Read what there is: partial results are whole lines in order."""
        with suppress(requests.RequestException):
            for task in self.server.ask("GET", "/api/v1.0/tasks?limit=5").json()["tasks"]:
                answer = self.server.ask("GET", f"/api/v1.0/tasks/{task['id']}/results?partial=true")
                if answer.status_code == 200:
                    assert answer.content.count(b"\n") == len(answer.content.splitlines())

    # ── fate ────────────────────────────────────────────────────────────────────────────────────────────────────

    def round(self) -> None:
        """Callers act, and after a random moment somebody is killed."""
        acts: list[Callable[[], None]] = [self.submit, self.random.choice([self.submit, self.stop, self.look])]
        thread = threading.Thread(target=lambda: [act() for act in acts])
        kills = [self.kill_server, self.kill_driver, self.kill_worker, self.kill_worker]
        if isinstance(self.server, ProductServer):
            kills.append(self.kill_serving)
        kill = self.random.choice(kills)
        thread.start()
        time.sleep(self.random.uniform(0.0, 0.5))
        kill()
        thread.join()
        self.revive()

    def kill_server(self) -> None:
        """SIGKILL for the server; its family must follow."""
        self.counts["server"] += 1
        process = self.server.process
        assert process is not None
        family = self.server.family()
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_alive, family)), "the end of the family", within_s=10)
        self.note_committed()

    def kill_driver(self) -> None:
        """SIGKILL for the driver, while the server cannot start another one yet."""
        self.counts["driver"] += 1
        self.server.pause()
        for driver in self.server.drivers():
            family = [driver, *self.server.children(driver)]
            with suppress(ProcessLookupError):
                os.kill(driver, signal.SIGKILL)
            wait_for(lambda family=family: not any(map(is_alive, family)), "the end of the workers", within_s=10)
            self.note_committed()
        self.server.go_on()

    def kill_serving(self) -> None:
        """SIGKILL for the serving worker; the supervisor starts another one."""
        assert isinstance(self.server, ProductServer)
        serving = self.server.serving()
        if serving:
            self.counts["serving"] += 1
            with suppress(ProcessLookupError):
                os.kill(serving[0], signal.SIGKILL)
            wait_for(lambda: not is_alive(serving[0]), "its end", within_s=10)
            wait_for(lambda: self.server.listens(Path()), "the next serving worker")

    def kill_worker(self) -> None:
        """SIGKILL for one worker."""
        workers = [worker for driver in self.server.drivers() for worker in self.server.children(driver)]
        if workers:
            self.counts["worker"] += 1
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(workers), signal.SIGKILL)

    def revive(self) -> None:
        """Start the server again if it is dead."""
        process = self.server.process
        if process is None or process.poll() is not None:
            self.server.process = None
            self.server.start()

    def note_committed(self) -> None:
        """What is committed at this moment, when nobody lives, must never be worked again."""
        if not (self.server.data / "tasks.db").exists():
            return
        connection = sqlite3.connect(self.server.data / "tasks.db")
        with suppress(sqlite3.OperationalError):
            done = dict(connection.execute("select id, done from task").fetchall())
            self.committed.append((self.log.stat().st_size if self.log.exists() else 0, done))
        connection.close()

    @property
    def kills(self) -> int:
        """How many there were."""
        return sum(self.counts[who] for who in ("server", "driver", "worker", "serving"))

    # ── the judgement ───────────────────────────────────────────────────────────────────────────────────────────

    def judge(self) -> None:
        """All that must hold."""
        self.judge_tasks(self.server)
        self.judge_committed()
        self.judge_files()
        assert self.outside.read_text() == "untouched"

    def judge_committed(self) -> None:
        """Nothing that was committed when everybody was dead was worked after that."""
        log = self.log.read_bytes() if self.log.exists() else b""
        for position, done in self.committed:
            later = log[position:]
            for line in later.split(b"\n"):
                if line:
                    id, first = line.decode().split()
                    assert int(first) >= done.get(id, 0), f"{id}: row {first} was worked again, {done[id]} were done"

    def judge_files(self) -> None:
        """No upload, no folder without a task and no trash is left."""
        data = self.server.data
        connection = sqlite3.connect(data / "tasks.db")

        def tidy() -> bool:
            folders = {row[0] for row in connection.execute("select folder from task")}
            there = {path.name for path in (data / "tasks").iterdir()}
            return there == folders and not list((data / "trash").iterdir())

        self.server.kill()
        self.server.start()
        wait_for(tidy, "tidiness")
        wait_for(lambda: not list((data / "incoming").iterdir()), "the sweep of uploads")
        connection.close()


def rows(id: str, lines: int) -> list[dict[str, Any]]:
    """The input of a task."""
    return [{"t": id, "n": number} for number in range(lines)]
