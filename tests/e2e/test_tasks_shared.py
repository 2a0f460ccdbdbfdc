"""One task queue for many machines: any of them answers, and what happens to one is nobody's loss."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

import object_store
from postgres_server import PostgresServer
from task_harness import ProductServer, TaskServer, is_alive, jsonl, wait_for
from task_machines import Machines

pytestmark = pytest.mark.servers
ROWS = [{"t": "t", "n": number} for number in range(600)]
ANSWERS = [{**row, "seen": True} for row in ROWS]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Machines]:
    """Two machines."""
    with ExitStack() as stack:
        pair = Machines(tmp_path_factory.mktemp("pair"), postgres, stack, line_s=0.005)
        pair.add()
        pair.add()
        yield pair


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test has started."""
    with ExitStack() as stack:
        yield stack


def worked(pair: Machines) -> list[int]:
    """The first line of each chunk that a unit worked on, in that order."""
    return [int(line.split()[1]) for line in pair.log.read_text().splitlines()]


def is_exact(server: TaskServer, id: str) -> bool:
    """Whether a task ends with all rows, in order, once."""
    assert server.ended(id)["state"] == "finished"
    return server.results(id) == ANSWERS


def versions(pair: Machines) -> int:
    """How many output files the finished tasks have."""
    return len(list((pair.files / "tasks").glob("*/output.*")))


def test_any_endpoint_answers_for_any_task(pair: Machines) -> None:
    """A task that one machine took in is known, streamed, listed and given out by the other."""
    here, there = (machine.server for machine in pair.all)
    assert here.submit("any", jsonl(ROWS)).status_code == 200
    wait_for(lambda: there.show("any")["done"], "progress")
    assert there.state("any") == 0
    assert there.submit("any", jsonl(ROWS)).status_code == 200, "the same again is the same task"
    assert there.submit("any", jsonl(ROWS[1:])).status_code == 409
    events = there.ask("GET", "/api/v1.0/tasks/any/events").text
    assert events.count("event: progress") >= 1
    assert '"state":"finished"' in events.rpartition("event: end")[2]
    for server in (here, there):
        assert server.state("any") == 2
        assert is_exact(server, "any")
        assert server.ask("GET", "/status").json() == {"status": 1}
        assert server.ask("GET", "/api/v1.0/task-engine").json()["drivers"] == 2
        assert "any" in [task["id"] for task in server.ask("GET", "/api/v1.0/tasks").json()["tasks"]]
        assert "any" in server.ask("GET", "/console/tasks").text


def test_a_task_is_stopped_from_anywhere(pair: Machines) -> None:
    """A DELETE at one machine is answered when the worker of the other one that worked on the task is dead."""
    pair.all[0].server.submit("long", jsonl(ROWS * 20))
    holder, other = pair.holder("long")
    (worker,) = holder.server.workers
    assert other.server.delete("long").status_code == 200
    assert not is_alive(worker)
    assert holder.server.is_gone("long")
    assert holder.server.delete("long").status_code == 404


def test_failed_lines_are_retried_anywhere(pair: Machines) -> None:
    """Another round of a task goes on with the answers of the one before, whichever machines wrote them."""
    here, there = (machine.server for machine in pair.all)
    here.submit("retried", jsonl(ROWS[:20]) + b"bad\n" + jsonl(ROWS[20:40]))
    assert there.ended("retried")["failed"] == 1
    answers = here.results("retried")
    assert there.ask("POST", "/api/v1.0/tasks/retried/retry").status_code == 200
    task = here.ended("retried")
    assert (task["state"], task["round"], task["failed"]) == ("finished", 1, 1)
    assert there.results("retried") == here.results("retried") == answers


def test_late_writes_of_a_frozen_machine_are_refused(pair: Machines) -> None:
    """A machine that is frozen beyond its lease and wakes up writes nothing more: rows are exact, in order, once."""
    pair.all[0].server.submit("late", jsonl(ROWS))
    frozen, other = pair.holder("late")
    processes = frozen.signal(signal.SIGSTOP)
    wait_for(lambda: other.server.show("late")["attempts"] > 1, "the succession")
    done = other.server.show("late")["done"]
    wait_for(lambda: other.server.show("late")["done"] > done, "progress of the successor")
    frozen.signal(signal.SIGCONT)
    assert is_exact(other.server, "late")
    assert is_exact(frozen.server, "late")
    assert all(map(is_alive, processes[:2]))


def test_a_machine_that_is_cut_off_is_succeeded(pair: Machines) -> None:
    """Without the database a machine says so at once after the first time, and another one goes on with its tasks."""
    pair.all[0].server.submit("cut", jsonl(ROWS))
    cut, other = pair.holder("cut")
    cut.proxy.cut()
    wait_for(lambda: cut.server.ask("GET", "/status").json() == {"status": 3}, "its notice")
    assert is_exact(other.server, "cut")
    cut.proxy.mend()
    wait_for(lambda: cut.server.ask("GET", "/status").json() == {"status": 1}, "its return")
    assert is_exact(cut.server, "cut")
    cut.server.submit("again", jsonl(ROWS))
    assert is_exact(cut.server, "again")


def test_a_dead_machine_is_succeeded_at_its_watermark(pair: Machines) -> None:
    """When all processes of a machine are killed, another goes on after the lease, and repeats nothing committed."""
    pair.all[0].server.submit("dead", jsonl(ROWS))
    dead, other = pair.holder("dead")
    dead.signal(signal.SIGKILL)
    seen, done = len(worked(pair)), other.server.show("dead")["done"]
    assert is_exact(other.server, "dead")
    assert all(first_line >= done for first_line in worked(pair)[seen:])
    assert versions(pair) == len(other.server.ask("GET", "/api/v1.0/tasks?state=finished").json()["tasks"])
    dead.revive()


def test_machines_that_share_a_bucket(tmp_path: Path, postgres: PostgresServer, stack: ExitStack) -> None:
    """With their files in object storage: one is frozen, another goes on at the watermark, late writes are nothing."""
    stack.enter_context(object_store.s3())
    bucket = f"s3://{object_store.BUCKET}/shared"
    both = Machines(tmp_path, postgres, stack, line_s=0.01, files=bucket)
    both.add()
    both.add().submit("t", jsonl(ROWS))
    first, second = both.holder("t")
    first.signal(signal.SIGSTOP)
    wait_for(lambda: second.server.show("t")["attempts"] > 1, "the succession")
    done = second.server.show("t")["done"]
    wait_for(lambda: second.server.show("t")["done"] > done, "progress")
    first.signal(signal.SIGCONT)
    assert is_exact(second.server, "t")
    assert is_exact(first.server, "t")


def test_a_batch_is_every_machines(pair: Machines, stack: ExitStack) -> None:
    """Uploaded at one, created at the other, worked on where one dies: its answers are exact, in order, at both."""
    clients = [
        stack.enter_context(openai.OpenAI(base_url=f"{machine.server.url}/v1", api_key="none", max_retries=0))
        for machine in pair.all
    ]
    lines = [
        {"custom_id": str(row["n"]), "method": "POST", "url": "/predict", "body": {"jsonData": [row]}} for row in ROWS
    ]
    file = clients[0].files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    batch = clients[1].batches.create(input_file_id=file.id, endpoint="/predict", completion_window="24h")
    wait_for(lambda: clients[0].batches.retrieve(batch.id).status == "in_progress", "the validation")
    dead, _ = pair.holder(batch.id)
    dead.signal(signal.SIGKILL)
    client = clients[1 - pair.all.index(dead)]
    wait_for(lambda: client.batches.retrieve(batch.id).status == "completed", "the end of the batch")
    dead.revive()
    client = stack.enter_context(openai.OpenAI(base_url=f"{dead.server.url}/v1", api_key="none", max_retries=0))
    output = client.batches.retrieve(batch.id).output_file_id
    assert output is not None
    answers = [json.loads(line) for line in client.files.content(output).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [line["custom_id"] for line in lines]
    assert [answer["response"]["body"]["data"]["ndarray"] for answer in answers] == [[row] for row in ANSWERS]


def test_a_database_that_is_killed_loses_nothing(tmp_path: Path, stack: ExitStack) -> None:
    """While the database is away /status is 3 and an upload gets 503; then the work goes on in the same workers."""
    with PostgresServer() as postgres:
        one = Machines(tmp_path, postgres, stack, line_s=0.005).add()
        one.submit("t", jsonl(ROWS))
        wait_for(lambda: one.show("t")["done"], "progress")
        workers = one.workers
        postgres.kill()
        assert one.ask("GET", "/status").json() == {"status": 3}
        refused = one.submit("u", jsonl(ROWS))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "hidden-word" not in refused.text
        postgres.restart()
        assert is_exact(one, "t")
        assert one.workers == workers
        assert one.ask("GET", "/status").json() == {"status": 1}
        one.kill()
    assert "hidden-word" not in (one.folder / "server.log").read_text()


@pytest.mark.parametrize("point", ["claimed", "output-synced", "committed"])
def test_death_in_each_window(tmp_path: Path, postgres: PostgresServer, stack: ExitStack, point: str) -> None:
    """A driver that dies after the claim, before or after the commit is succeeded, and every row is there once."""
    flag = tmp_path / "died"
    one = Machines(tmp_path, postgres, stack, line_s=0.001).add(CRASH_POINT=f"{point}@{flag}")
    one.submit("t", jsonl(ROWS))
    wait_for(flag.exists, f"a death at {point}")
    assert is_exact(one, "t")


def _refused(folder: Path, **settings: Any) -> str:
    """What a server says that cannot start."""
    server = ProductServer(folder, "Recorder", settings=settings)
    with pytest.raises(AssertionError) as caught:
        server.start()
    return str(caught.value)


def test_what_does_not_belong_together_is_refused(tmp_path: Path, pair: Machines) -> None:
    """No folder, another folder, no database, no URL: one line says which, without the password."""
    files, other = str(pair.files), str(tmp_path / "other")
    for number, (settings, text) in enumerate(
        (
            ({"task_store": pair.url}, "task_store needs task_files"),
            ({"task_store": pair.url, "task_files": other}, "is not the folder that the other servers"),
            ({"task_store": "mysql://hidden-word@h/d", "task_files": files}, "takes a URL"),
            ({"task_store": "postgresql://u:hidden-word@127.0.0.1:1/d", "task_files": files}, "cannot be reached"),
            ({"task_store": "postgresql://u:hidden-word%zz@h/d", "task_files": files}, "not a valid URL"),
        )
    ):
        folder = tmp_path / f"refused-{number}"
        folder.mkdir()
        said = _refused(folder, **settings)
        assert text in said
        assert "hidden-word" not in said
