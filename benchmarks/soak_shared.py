"""Faults of machines that share their tasks, at random moments, until there were enough; then the judgement.

python -m benchmarks.soak_shared [--faults 200] [--machines 3] [--s3] [--seed N] [--folder DIR]

Machines are killed, frozen beyond their lease and cut off from the database; their drivers, task workers and serving
workers are killed; the database is killed, and frozen. Meanwhile callers submit, stop and delete at any machine.
Afterwards every task that was accepted has ended, with every row once and in order, and nothing is left over. With --s3
the files are in object storage, a local server of it.

The seed is printed, and repeats the choices of a run (its moments are those of the machine). Exit code 1 and the
finding if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import requests

import object_store
from postgres_server import PostgresServer
from task_chaos import Callers
from task_harness import TaskServer, wait_for
from task_machines import LEASE_S, Machine, Machines

LINE_S = 0.0005
_OUTAGE_S = (0.2, 2.5 * LEASE_S)
_END_S = 300.0


class SharedChaos(Callers):
    """Machines, their database, and the fate of both.

    Args:
        folder: where everything lives.
        given: the options of the command line.
    """

    not_taken = (503,)
    not_stopped = (500, 503)

    def __init__(self, folder: Path, postgres: PostgresServer, stack: ExitStack, given: argparse.Namespace) -> None:
        super().__init__(given.seed)
        self._postgres = postgres
        files = ""
        if given.s3:
            stack.enter_context(object_store.s3())
            files = f"s3://{object_store.BUCKET}/shared"
        self._has_folder = not files
        self._machines = Machines(folder, postgres, stack, line_s=LINE_S, files=files)
        for _ in range(given.machines):
            self._machines.add()

    def door(self) -> TaskServer:
        """Any of them."""
        return self.random.choice(self._machines.all).server

    # ── fate ────────────────────────────────────────────────────────────────────────────────────────────────────

    def round(self) -> None:
        """Callers act, and after a random moment something happens."""
        acts = [self.submit, self.random.choice([self.submit, self.stop])]
        thread = threading.Thread(target=lambda: [act() for act in acts])
        fault = self.random.choice(
            [
                *(self.kill_machine, self.freeze, self.cut, self.kill_driver, self.kill_worker, self.kill_serving),
                *(self.kill_database, self.freeze_database),
            ]
        )
        thread.start()
        time.sleep(self.random.uniform(0.0, 0.5))
        self.counts[fault.__name__] += 1
        fault()
        thread.join()

    def _some(self) -> Machine:
        return self.random.choice(self._machines.all)

    def _wait(self) -> None:
        time.sleep(self.random.uniform(*_OUTAGE_S))

    def kill_machine(self) -> None:
        """All its processes at once; it comes back after a while."""
        machine = self._some()
        machine.signal(signal.SIGKILL)
        self._wait()
        machine.revive()

    def freeze(self) -> None:
        """All its processes; it wakes up before or after its lease is over."""
        machine = self._some()
        machine.signal(signal.SIGSTOP)
        self._wait()
        machine.signal(signal.SIGCONT)

    def cut(self) -> None:
        """Its way to the database."""
        machine = self._some()
        machine.proxy.cut()
        self._wait()
        machine.proxy.mend()

    def kill_driver(self) -> None:
        """Its supervisor starts another one."""
        self._kill(self._some().server.drivers())

    def kill_worker(self) -> None:
        """Its driver starts another one."""
        server = self._some().server
        self._kill([worker for driver in server.drivers() for worker in server.children(driver)])

    def kill_serving(self) -> None:
        """Its supervisor starts another one."""
        machine = self._some()
        self._kill(machine.server.serving())  # type: ignore[attr-defined]

    def _kill(self, candidates: list[int]) -> None:
        if candidates:
            with suppress(ProcessLookupError):  # it has ended already
                os.kill(self.random.choice(candidates), signal.SIGKILL)

    def kill_database(self) -> None:
        """It recovers from its log."""
        self._postgres.kill()
        self._wait()
        self._postgres.restart()

    def freeze_database(self) -> None:
        """It keeps its connections, and says nothing."""
        for number in (signal.SIGSTOP, signal.SIGCONT):
            self._postgres.signal(number)
            if number is signal.SIGSTOP:
                self._wait()

    # ── the judgement ───────────────────────────────────────────────────────────────────────────────────────────

    def judge(self) -> None:
        """All that must hold."""
        server = self._machines.all[0].server
        for machine in self._machines.all:
            wait_for(lambda machine=machine: available(machine.server), "the return of a machine", within_s=_END_S)
        self.counts["lines"] += self.judge_tasks(server, within_s=_END_S)
        if self._has_folder:
            self._judge_files(server)

    def _judge_files(self, server: TaskServer) -> None:
        """No upload, no folder without a task and no trash is left, once a driver has started anew."""
        files = self._machines.files
        for machine in self._machines.all:
            self._kill(machine.server.drivers())

        def is_tidy() -> bool:
            tasks = server.ask("GET", "/api/v1.0/tasks?limit=1000").json()["tasks"]
            folders = [path for name in ("tasks", "incoming", "trash") for path in (files / name).iterdir()]
            return len(folders) == len(tasks)

        wait_for(is_tidy, "tidiness")


def available(server: TaskServer) -> bool:
    """Whether a machine takes tasks."""
    with suppress(requests.RequestException):
        return bool(server.ask("GET", "/status").json() == {"status": 1})
    return False


def main() -> int:
    """Soak as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {given.seed}, folder {folder}", flush=True)
    with PostgresServer() as postgres, ExitStack() as stack:
        chaos = SharedChaos(folder, postgres, stack, given)
        try:
            for number in range(given.faults):
                chaos.round()
                if number % 20 == 19:
                    print(f"{number + 1} faults, {len(chaos.accepted)} tasks accepted", flush=True)
            chaos.judge()
        except AssertionError as lost:
            print(f"LOST: {lost}\nthe folder {folder} is kept; so far {dict(chaos.counts)}", file=sys.stderr)
            return 1
    print(
        f"{given.faults} faults {dict(chaos.counts)}, {len(chaos.accepted)} tasks accepted, {len(chaos.perhaps)} "
        "submissions without an answer: nothing lost, nothing doubled"
    )
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
