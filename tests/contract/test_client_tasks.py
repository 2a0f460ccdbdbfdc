"""The client's tasks against a task server of real processes, which is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.client_servers import reply, scripted
from infergraph.client import AsyncClient, Client, Task
from infergraph.errors import (
    PayloadError,
    RemoteError,
    SettingsError,
    TaskConflict,
    TaskState,
    UnknownTask,
    UploadTooLarge,
)
from task_harness import ProductServer, TaskServer, jsonl

ROWS: list[Any] = [{"data": f"第{number}句", "id": number} for number in range(50)]
SEEN = [{**row, "seen": True} for row in ROWS]
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    """A server whose unit adds `seen` to each row."""
    settings = {"task_upload_limit_bytes": 40 * MEGABYTE}
    with TaskServer(tmp_path_factory.mktemp("client"), "Echo", settings=settings) as running:
        yield running


@pytest.fixture
def client(server: TaskServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def slow_server(folder: Path) -> TaskServer:
    """A server that takes a while for each row."""
    return TaskServer(folder, "Tired", line_s=0.02, settings={"task_chunk_target_s": 0.05})


@contextlib.contextmanager
def relay(server: TaskServer, breaks: int = 0) -> Iterator[int]:
    """A relay to wherever the server listens, which cuts the first connections after some kilobytes of a request.

    Args:
        breaks: how many it cuts.
    """
    left = [breaks]

    def serve(caller: socket.socket) -> None:
        cut, left[0] = left[0] > 0, left[0] - 1
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        with caller, contextlib.suppress(OSError), socket.create_connection(address) as there:
            back = threading.Thread(target=pump, args=(there, caller, None), daemon=True)
            back.start()
            pump(caller, there, 4096 if cut else None)
            there.shutdown(socket.SHUT_RDWR if cut else socket.SHUT_WR)
            back.join()

    def pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while (data := source.recv(4096)) and (limit is None or passed < limit):
                target.sendall(data)
                passed += len(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


@pytest.mark.parametrize("kind", ["path", "file", "rows", "generator", "lines"])
def test_a_task_from_rows_to_answers(client: Client, tmp_path: Path, kind: str) -> None:
    """Whatever the rows come from, each is answered in its place."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(jsonl(ROWS))
    source: dict[str, Any] = {
        "path": file,
        "file": io.BytesIO(jsonl(ROWS)),
        "rows": ROWS,
        "generator": (row for row in ROWS),
        "lines": [json.dumps(row) for row in ROWS],
    }
    task = client.tasks.submit(source[kind], id=f"from {kind}/中", priority=3, rows="object")
    assert (task.id, task.priority, task.rows, task.total) == (f"from {kind}/中", 3, "object", len(ROWS))
    ended = client.tasks.wait(task)
    assert (ended.state, ended.done, ended.failed, ended.has_ended) == ("finished", 50, 0, True)
    assert list(client.tasks.results(task)) == SEEN
    assert list(client.tasks.errors(task)) == []
    assert client.tasks.show(task.id) == ended


def test_the_same_with_await(server: TaskServer) -> None:
    """The asynchronous client submits rows as they come, watches, and reads answers as they come."""

    async def rows() -> AsyncIterator[Any]:
        for row in ROWS:
            yield row

    async def run() -> list[Any]:
        async with AsyncClient(server.url) as client:
            task = await client.tasks.submit(rows())
            seen = [each async for each in client.tasks.watch(task)]
            assert all(each.done <= each.total for each in seen)
            assert seen[-1].state == "finished"
            return [row async for row in client.tasks.results(task)]

    assert asyncio.run(run()) == SEEN


def test_a_made_up_name(client: Client) -> None:
    """Two tasks without a name are two tasks."""
    first, second = client.tasks.submit(ROWS[:1]), client.tasks.submit(ROWS[:1])
    assert first.id != second.id


def test_the_same_task_again(client: Client) -> None:
    """The same rows under the same name are one task; other rows under it are a conflict."""
    first, second = (client.tasks.submit(ROWS, id="again") for _ in range(2))
    assert first.seq == second.seq
    with pytest.raises(TaskConflict):
        client.tasks.submit(ROWS[1:], id="again")


def test_failed_rows(client: Client) -> None:
    """A row that is none fails alone; its error stands in its place and among the errors."""
    task = client.tasks.wait(client.tasks.submit(['{"data": 1}', "nonsense", '{"data": 2}']))
    assert (task.state, task.done, task.failed) == ("finished", 3, 1)
    errors = list(client.tasks.errors(task))
    assert [(error["error"]["line"], error["input"]) for error in errors] == [(2, "nonsense")]
    assert list(client.tasks.results(task))[1] == errors[0]
    assert client.tasks.retry(task).round == 1
    assert client.tasks.wait(task).failed == 1


def test_downloads(client: Client, tmp_path: Path) -> None:
    """The answers are written to a path or a file, all of them; a task that is not there leaves no file."""
    task = client.tasks.wait(client.tasks.submit(ROWS))
    assert client.tasks.download(task, tmp_path / "out.jsonl") == task.output_bytes
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()] == SEEN
    file = io.BytesIO()
    client.tasks.download(task, file)
    assert file.getvalue() == (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(UnknownTask):
        client.tasks.download("nobody's", tmp_path / "none.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl"]


def test_the_list(client: Client) -> None:
    """Tasks are listed newest first, page by page, by state and by prefix, at most as many as asked for."""
    ids = [f"list-{number:02}" for number in range(7)]
    for id in ids:
        client.tasks.wait(client.tasks.submit(ROWS[:1], id=id))
    assert [task.id for task in client.tasks.list(prefix="list-")] == ids[::-1]
    assert [task.id for task in client.tasks.list(prefix="list-", limit=3)] == ids[:3:-1]
    assert [task.id for task in client.tasks.list(prefix="list-", state=["finished", "failed"])] == ids[::-1]
    assert list(client.tasks.list(prefix="list-", state="running")) == []
    with pytest.raises(PayloadError, match="state"):
        list(client.tasks.list(state="odd"))


def test_pages_of_the_list(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list longer than a page goes on where the page before ended."""
    monkeypatch.setattr("infergraph.client.tasks._PAGE_LIMIT", 2)
    for number in range(5):
        client.tasks.submit(ROWS[:1], id=f"page-{number}")
    assert [task.id for task in client.tasks.list(prefix="page-")] == [f"page-{number}" for number in (4, 3, 2, 1, 0)]


def test_a_task_that_is_watched_and_stopped(tmp_path: Path) -> None:
    """Progress comes as it is made; a stopped task ends the watching with UnknownTask, and nothing of it is left."""
    with slow_server(tmp_path) as server, Client(server.url) as client:
        task = client.tasks.submit(ROWS * 20, id="long")
        with pytest.raises(TaskState, match=r"is (waiting|running)"):
            list(client.tasks.results(task))
        seen: list[Task] = []
        watching = client.tasks.watch(task)
        while len(seen) < 3 or not seen[-1].done:
            seen.append(next(watching))
        partial = list(client.tasks.results(task, partial=True))
        assert partial == (SEEN * 20)[: len(partial)]
        assert len(partial) >= seen[-1].done
        client.tasks.cancel(task)
        with pytest.raises(UnknownTask):
            list(watching)
        assert [task.done for task in seen] == sorted(task.done for task in seen)
        with pytest.raises(UnknownTask, match="stopped"):
            client.tasks.show("long")


def test_a_server_that_is_killed_while_it_is_watched(tmp_path: Path) -> None:
    """Whoever watches a task sees its end although the server died and came again meanwhile."""
    with slow_server(tmp_path) as server, relay(server) as port, Client(f"http://127.0.0.1:{port}") as client:
        watching = client.tasks.watch(client.tasks.submit(ROWS * 3))
        begun = next(task for task in watching if task.done)
        server.kill()
        server.start()
        assert [task.state for task in watching][-1] == "finished"
        assert list(client.tasks.results(begun)) == SEEN * 3


def test_what_cannot_be_done(client: Client) -> None:
    """A task that has ended cannot be stopped, one without failed rows not retried, a deleted one is unknown."""
    task = client.tasks.wait(client.tasks.submit(ROWS[:2]))
    with pytest.raises(TaskState):
        client.tasks.cancel(task)
    with pytest.raises(TaskState):
        client.tasks.retry(task)
    client.tasks.delete(task)
    for ask in (client.tasks.show, client.tasks.wait, client.tasks.cancel, client.tasks.delete):
        with pytest.raises(UnknownTask):
            ask(task)


def test_pruning_and_the_engine(client: Client) -> None:
    """Ended tasks are forgotten when told; the engine says that it is available."""
    client.tasks.wait(client.tasks.submit(ROWS[:1]))
    assert client.tasks.prune(older_than_s=0) >= 1
    assert list(client.tasks.list(state="finished")) == []
    assert client.tasks.engine()["status"] == 1


def test_large_files_take_little_memory(server: TaskServer, tmp_path: Path) -> None:
    """A file of many megabytes goes up and comes down through a few."""
    file = tmp_path / "large.jsonl"
    line = json.dumps({"data": "x" * 10_000}).encode() + b"\n"
    file.write_bytes(line * (32 * MEGABYTE // len(line)))
    sent: list[int] = []
    with Client(server.url) as client:
        client.ready()
        tracemalloc.start()
        try:
            task = client.tasks.submit(file, on_sent=sent.append)
            client.tasks.wait(task)
            client.tasks.download(task, tmp_path / "out.jsonl")
            rows = sum(1 for _ in client.tasks.results(task))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert rows == file.stat().st_size // len(line)
    assert sent[-1] > file.stat().st_size
    assert sent == sorted(sent)
    assert peak < 12 * MEGABYTE


def test_an_upload_that_is_refused_early(tmp_path: Path) -> None:
    """An upload over the limit is refused while it is sent, with the server's own reason."""
    file = tmp_path / "larger.jsonl"
    file.write_bytes(jsonl([{"data": "x" * 10_000}]) * 8000)
    settings = {"task_upload_limit_bytes": 40 * MEGABYTE}
    # The server of the others resets the connection while the client still sends, which may lose the answer.
    with (
        ProductServer(tmp_path, "Echo", settings=settings) as server,
        Client(server.url, retries=0) as client,
        pytest.raises(UploadTooLarge, match="task_upload_limit_bytes"),
    ):
        client.tasks.submit(file)


def test_an_upload_that_breaks_off(server: TaskServer, tmp_path: Path) -> None:
    """A file whose upload breaks is sent again and is one task; rows that cannot be read again are a fault."""
    many = jsonl(ROWS * 1000)
    with relay(server, breaks=1) as port, Client(f"http://127.0.0.1:{port}") as client:
        task = client.tasks.submit(io.BytesIO(many), id="broken off")
        assert client.tasks.wait(task).total == len(ROWS) * 1000
    with relay(server, breaks=1) as port, Client(f"http://127.0.0.1:{port}") as client:
        rows = (row for row in ROWS * 1000)
        with pytest.raises(RemoteError):
            client.tasks.submit(rows)


def test_answers_that_are_no_tasks() -> None:
    """A server that answers what is no task is a fault."""
    for answer in (reply(200, b"[]"), reply(200, b"{}"), reply(200, b"<html>")):
        with scripted(answer) as (_, port):
            client = Client(f"http://127.0.0.1:{port}", retries=0)
            with client, pytest.raises(RemoteError):
                client.tasks.show("x")


def test_tasks_go_over_http() -> None:
    """A client of a gRPC address says that tasks need an HTTP one."""
    with Client("grpc://127.0.0.1:1") as client, pytest.raises(SettingsError, match="http://"):
        client.tasks.submit(ROWS)


def test_iterators_that_are_left(client: Client) -> None:
    """Answers that nobody reads to the end hold nothing up, also when their client is closed first."""
    task = client.tasks.wait(client.tasks.submit(ROWS * 2000))
    rows = client.tasks.results(task)
    assert next(rows) == SEEN[0]
    rows.close()  # type: ignore[attr-defined]
    other = client.tasks.result_blocks(task)
    next(other)
    client.close()
    with pytest.raises(StopIteration):
        next(other)
    assert client.tasks.show(task).state == "finished"
