"""One task queue for many machines: servers with a data folder each, one PostgreSQL and one folder of task files."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import psycopg
import pytest

from postgres_server import PostgresServer
from task_harness import ProductServer, TaskServer, is_alive, jsonl, wait_for

pytestmark = pytest.mark.servers
ROWS = [{"t": "t", "n": number} for number in range(600)]
ANSWERS = [{**row, "seen": True} for row in ROWS]
LEASE_S = 2.0
SETTINGS = {"task_lease_s": LEASE_S, "task_chunk_target_s": 0.05}


class Machines:
    """Servers that share their tasks; each has a folder of its own, as if it were a machine.

    Args:
        line_s: how long a line takes.
    """

    def __init__(self, folder: Path, url: str, stack: ExitStack, *, line_s: float, kind: type[TaskServer]) -> None:
        self._folder = folder
        self.url = url
        self._stack = stack
        self._kind = kind
        self._options = {"log": str(folder / "worked.log"), "line_s": line_s}
        self._settings = {**SETTINGS, "task_store": url, "task_files": str(folder / "files")}
        self.servers: list[TaskServer] = []

    def add(self, **environment: str) -> TaskServer:
        """Start another one."""
        folder = self._folder / f"machine-{len(self.servers)}"
        folder.mkdir()
        server = self._kind(folder, "Recorder", settings=self._settings, **self._options)
        server.start(**environment)
        self._stack.enter_context(server)
        self.servers.append(server)
        return server

    def holder(self, id: str) -> tuple[TaskServer, TaskServer]:
        """The one of two that works on a task, as soon as some lines are committed, and the other one."""
        wait_for(lambda: self.servers[0].show(id).get("done", 0) > 0, f"progress of {id}")
        with psycopg.connect(self.url) as connection:
            ((driver,),) = connection.execute("select driver from task where id = %s", [id]).fetchall()
        one, other = self.servers
        return (one, other) if (one.data / "folder-id").read_text() in driver else (other, one)


def machines(folder: Path, url: str, stack: ExitStack, *, line_s: float = 0.005) -> Machines:
    """No servers yet, over a new database."""
    return Machines(folder, url, stack, line_s=line_s, kind=ProductServer)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test has started."""
    with ExitStack() as stack:
        yield stack


def progressed(server: TaskServer, id: str, done: int = 1) -> None:
    """Wait until some lines of a task are committed."""
    wait_for(lambda: server.show(id).get("done", 0) >= done, f"progress of {id}")


def pid_of(server: TaskServer) -> int:
    """Of the supervisor."""
    assert server.process is not None
    return server.process.pid


def worked(folder: Path) -> list[int]:
    """The first line of each chunk that a unit worked on, in that order."""
    return [int(line.split()[1]) for line in (folder / "worked.log").read_text().splitlines()]


def test_any_endpoint_answers_for_any_task(tmp_path: Path, postgres: PostgresServer, stack: ExitStack) -> None:
    """A task that one machine took in is known, streamed, listed, stopped and given out by the other."""
    both = machines(tmp_path, postgres.database(), stack)
    here, there = both.add(), both.add()
    assert here.submit("t", jsonl(ROWS)).status_code == 200
    progressed(there, "t")
    assert there.state("t") == 0
    assert there.submit("t", jsonl(ROWS)).status_code == 200, "the same again is the same task"
    assert there.submit("t", jsonl(ROWS[1:])).status_code == 409
    events = there.ask("GET", "/api/v1.0/tasks/t/events").text
    assert events.count("event: progress") >= 1
    assert events.endswith("\n\n")
    assert '"state":"finished"' in events.rpartition("event: end")[2]
    for server in both.servers:
        assert server.state("t") == 2
        assert server.results("t") == ANSWERS
        assert server.ask("GET", "/status").json() == {"status": 1}
        engine = server.ask("GET", "/api/v1.0/task-engine").json()
        assert engine["drivers"] == 2
        assert engine["counts"]["finished"] == 1
        assert [task["id"] for task in server.ask("GET", "/api/v1.0/tasks").json()["tasks"]] == ["t"]
        assert "t" in server.ask("GET", "/console/tasks").text

    here.submit("long", jsonl(ROWS * 20))
    holder, other = both.holder("long")
    (worker,) = holder.workers
    assert other.delete("long").status_code == 200
    assert not is_alive(worker)
    assert holder.is_gone("long")
    assert holder.delete("long").status_code == 404


def test_a_dead_machine_is_succeeded_at_its_watermark(
    tmp_path: Path, postgres: PostgresServer, stack: ExitStack
) -> None:
    """When all processes of a machine are killed, another goes on after the lease, and repeats nothing committed."""
    both = machines(tmp_path, postgres.database(), stack)
    both.add()
    both.add().submit("t", jsonl(ROWS))
    first, second = both.holder("t")
    for pid in (pid_of(first), *first.family()):
        os.kill(pid, signal.SIGKILL)
    seen, done = len(worked(tmp_path)), second.show("t")["done"]
    assert second.ended("t")["state"] == "finished"
    assert second.results("t") == ANSWERS
    assert second.show("t")["attempts"] == 2
    assert all(first_line >= done for first_line in worked(tmp_path)[seen:])
    assert len(list((tmp_path / "files" / "tasks").glob("*/output.*"))) == 1


def test_a_batch_is_every_machines(tmp_path: Path, postgres: PostgresServer, stack: ExitStack) -> None:
    """Uploaded at one, created at the other, worked on where one dies: its answers are exact, in order, at both."""
    both = machines(tmp_path, postgres.database(), stack)
    clients = [
        stack.enter_context(openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0))
        for server in (both.add(), both.add())
    ]
    lines = [
        {"custom_id": str(row["n"]), "method": "POST", "url": "/predict", "body": {"jsonData": [row]}} for row in ROWS
    ]
    file = clients[0].files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    batch = clients[1].batches.create(input_file_id=file.id, endpoint="/predict", completion_window="24h")
    wait_for(lambda: clients[0].batches.retrieve(batch.id).status == "in_progress", "the validation")
    dies, _ = both.holder(batch.id)
    for pid in (pid_of(dies), *dies.family()):
        os.kill(pid, signal.SIGKILL)
    client = clients[1 - both.servers.index(dies)]
    wait_for(lambda: client.batches.retrieve(batch.id).status == "completed", "the end of the batch")
    dies.start()
    client = stack.enter_context(openai.OpenAI(base_url=f"{dies.url}/v1", api_key="none", max_retries=0))
    output = client.batches.retrieve(batch.id).output_file_id
    assert output is not None
    answers = [json.loads(line) for line in client.files.content(output).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [line["custom_id"] for line in lines]
    assert [answer["response"]["body"]["jsonData"] for answer in answers] == [[row] for row in ANSWERS]


def test_late_writes_of_a_stopped_driver_are_refused(
    tmp_path: Path, postgres: PostgresServer, stack: ExitStack
) -> None:
    """A machine that is frozen beyond its lease and wakes up writes nothing more: rows are exact, in order, once."""
    both = machines(tmp_path, postgres.database(), stack, line_s=0.01)
    both.add()
    both.add().submit("t", jsonl(ROWS))
    first, second = both.holder("t")
    frozen = [pid_of(first), *first.family()]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: second.show("t")["attempts"] == 2, "the succession")
    progressed(second, "t", second.show("t")["done"] + 1)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert second.ended("t")["state"] == "finished"
    assert second.results("t") == first.results("t") == ANSWERS
    assert second.show("t")["attempts"] == 2
    assert all(map(is_alive, frozen[:2]))
    first.submit("u", jsonl(ROWS[:20]))
    assert second.ended("u")["state"] == "finished"


def test_a_database_that_is_killed_loses_nothing(tmp_path: Path, stack: ExitStack) -> None:
    """While the database is away /status is 3 and an upload gets 503; then the work goes on in the same workers."""
    with PostgresServer() as postgres:
        one = machines(tmp_path, postgres.database(), stack, line_s=0.01).add()
        one.submit("t", jsonl(ROWS))
        progressed(one, "t")
        workers = one.workers
        postgres.kill()
        assert one.ask("GET", "/status").json() == {"status": 3}
        refused = one.submit("u", jsonl(ROWS))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "hidden-word" not in refused.text
        postgres.restart()
        assert one.ended("t")["state"] == "finished"
        assert one.results("t") == ANSWERS
        assert one.workers == workers
        assert one.ask("GET", "/status").json() == {"status": 1}
        one.kill()
    assert "hidden-word" not in (one.folder / "server.log").read_text()


@pytest.mark.parametrize("point", ["claimed", "output-synced", "committed"])
def test_death_in_each_window(tmp_path: Path, postgres: PostgresServer, stack: ExitStack, point: str) -> None:
    """A driver that dies after the claim, before or after the commit is succeeded, and every row is there once."""
    both = machines(tmp_path, postgres.database(), stack, line_s=0.001)
    flag = tmp_path / "died"
    first, second = both.add(CRASH_POINT=f"{point}@{flag}"), both.add(CRASH_POINT=f"{point}@{flag}")
    first.submit("t", jsonl(ROWS))
    wait_for(flag.exists, f"a death at {point}")
    assert second.ended("t")["state"] == "finished"
    assert second.results("t") == first.results("t") == ANSWERS


def _refused(folder: Path, **settings: Any) -> str:
    """What a server says that cannot start."""
    server = ProductServer(folder, "Recorder", settings=settings)
    with pytest.raises(AssertionError) as caught:
        server.start()
    return str(caught.value)


def test_what_does_not_belong_together_is_refused(tmp_path: Path, postgres: PostgresServer, stack: ExitStack) -> None:
    """No folder, another folder, another target, no database, no URL: one line says which, without the password."""
    url = postgres.database()
    shared = machines(tmp_path, url, stack).add()
    shared.submit("t", jsonl(ROWS[:1]))
    for number, (settings, text) in enumerate(
        (
            ({"task_store": url}, "task_store needs task_files"),
            ({"task_store": url, "task_files": str(tmp_path / "other")}, "is not the folder that the other servers"),
            ({"task_store": "mysql://hidden-word@h/d", "task_files": str(tmp_path)}, "takes a URL"),
            (
                {"task_store": "postgresql://u:hidden-word@127.0.0.1:1/d", "task_files": str(tmp_path)},
                "cannot be reached",
            ),
            ({"task_store": "postgresql://u:hidden-word%zz@h/d", "task_files": str(tmp_path)}, "not a valid URL"),
        )
    ):
        folder = tmp_path / f"refused-{number}"
        folder.mkdir()
        said = _refused(folder, **settings)
        assert text in said
        assert "hidden-word" not in said
