"""Tasks in processes: stopping, bad units, limits, fairness, a full disk, housekeeping."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from standardwebhooks.webhooks import Webhook

from http_server import answering
from task_harness import ProductServer, TaskServer, is_alive, jsonl, wait_for

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def numbered(count: int, **more: Any) -> list[dict[str, Any]]:
    """Rows with their numbers."""
    return [{"n": number, **more} for number in range(count)]


def seen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Echo and its like answer."""
    return [{**row, "seen": True} for row in rows]


# ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stopping_ends_c_code_and_nothing_else(tmp_path: Path) -> None:
    """DELETE of a task in a C loop that never looks up answers when its process is dead; another task is unharmed."""
    mark = tmp_path / "mark"
    with TaskServer(tmp_path, "Burner", mark=str(mark)) as server:
        server.submit("burns", jsonl([{"burn": 1}]))
        wait_for(mark.exists, "the fire")
        server.submit("other", jsonl(numbered(3000)))
        wait_for(lambda: server.state("other") == 0, "the other task's start")
        burner = int(wait_for(mark.read_text, "its process"))
        assert is_alive(burner)
        assert server.delete("burns").json() == {"status": 200}
        assert not is_alive(burner)
        assert server.is_gone("burns")
        assert server.ended("other")["state"] == "finished"
        assert server.results("other") == seen(numbered(3000))
        assert server.ask("GET", "/status").json() == {"status": 1}
        assert [path.name for path in (server.data / "trash").iterdir()] == []


def test_stopping_a_waiting_task_takes_it_off_the_queue(tmp_path: Path) -> None:
    """A task that waits is stopped without ever being worked; its id is free at once."""
    settings = {"task_active_limit": 1}
    with TaskServer(tmp_path, "Recording", settings=settings, log=str(tmp_path / "log"), line_s=0.01) as server:
        server.submit("first", jsonl(numbered(2000)))
        wait_for(lambda: server.state("first") == 0, "the first task's start")
        big = jsonl(numbered(10, pad="x" * 1_000_000))
        server.submit("second", big)
        assert server.state("second") == 1
        assert server.show("second")["queue_position"] == 1
        assert server.delete("second").json() == {"status": 200}
        assert server.is_gone("second")
        assert server.submit("second", jsonl(numbered(5))).json() == {"status": 200}
        assert server.delete("first").json() == {"status": 200}
        assert server.ended("second")["state"] == "finished"


def test_a_queued_order_of_a_stopped_task_is_never_begun(tmp_path: Path) -> None:
    """Stopping a task that shares a worker with another one costs the other nothing: no death, no second loading."""
    log = tmp_path / "log"
    with TaskServer(tmp_path, "Recording", log=str(log), line_s=0.002) as server:
        server.submit("a", jsonl(numbered(1500, task="a")))
        server.submit("b", jsonl(numbered(1500, task="b")))
        wait_for(lambda: server.show("a")["done"] > 100 and server.show("b")["done"] > 100, "both at work")
        (worker,) = server.workers
        for _ in range(3):
            if server.workers == [worker] and server.state("b") == 0:
                server.delete("b")
                break
        assert server.is_gone("b")
        assert server.ended("a")["state"] == "finished"
        assert server.results("a") == seen(numbered(1500, task="a"))


def test_stopping_works_while_no_driver_lives(tmp_path: Path) -> None:
    """A task is stopped and forgotten also in the moment between two drivers."""
    with TaskServer(tmp_path, "Tired", line_s=0.01) as server:
        server.submit("t", jsonl(numbered(5000)))
        wait_for(lambda: server.state("t") == 0, "its start")
        os.kill(server.driver, signal.SIGKILL)
        assert server.delete("t").json() == {"status": 200}
        assert server.is_gone("t")


def test_what_a_worker_started_dies_with_it(tmp_path: Path) -> None:
    """Processes that user code started go when the task is stopped, and when the driver is killed."""
    mark = tmp_path / "mark"
    with TaskServer(tmp_path, "Parent", mark=str(mark)) as server:
        server.submit("t", jsonl([{"n": 1}]))
        grandchild = int(wait_for(lambda: mark.exists() and mark.read_text(), "a grandchild"))
        assert is_alive(grandchild)
        server.delete("t")
        wait_for(lambda: not is_alive(grandchild), "its end")
        mark.unlink()
        server.submit("t", jsonl([{"n": 1}]))
        grandchild = int(wait_for(lambda: mark.exists() and mark.read_text(), "another grandchild"))
        os.kill(server.driver, signal.SIGKILL)
        wait_for(lambda: not is_alive(grandchild), "its end after the driver's")


# ── bad units ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_poison_rows_fail_alone(tmp_path: Path) -> None:
    """Rows that kill the worker, again and again, become error lines; every other row is answered."""
    rows = numbered(100)
    for place in (7, 81):
        rows[place]["poison"] = True
    with TaskServer(tmp_path, "Poisoned") as server:
        server.submit("t", jsonl(rows))
        task = server.ended("t")
        assert (task["state"], task["failed"], task["total"]) == ("finished", 2, 100)
        assert task["kills"] >= 4
        answers = server.results("t")
        for place, answer in enumerate(answers):
            if place in (7, 81):
                assert answer["error"] == {"line": place + 1, "reason": "the worker was killed by SIGKILL on this line"}
            else:
                assert answer == {**rows[place], "seen": True}


def test_a_row_that_takes_too_long_fails_alone(tmp_path: Path) -> None:
    """A line over its time limit is found among its neighbours and fails; the task goes on."""
    rows = numbered(60)
    rows[33]["hang"] = True
    with TaskServer(tmp_path, "Poisoned", settings={"task_row_timeout_s": 0.4}) as server:
        server.submit("t", jsonl(rows))
        task = server.ended("t")
        assert (task["state"], task["failed"]) == ("finished", 1)
        answers = server.results("t")
        assert answers[33]["error"] == {"line": 34, "reason": "took longer than 0.4 s"}
        assert [answer["n"] for place, answer in enumerate(answers) if place != 33] == [
            number for number in range(60) if number != 33
        ]


def test_a_task_that_takes_too_long_fails(tmp_path: Path) -> None:
    """A task over its time limit is failed with the limit named, and the worker is free for the next."""
    with TaskServer(tmp_path, "Tired", settings={"task_timeout_s": 1.0}, line_s=0.01) as server:
        server.submit("slow", jsonl(numbered(5000)))
        task = server.ended("slow")
        assert (task["state"], task["error"]) == ("failed", "the task took longer than 1 s")
        assert 0 < task["done"] < 5000
        server.submit("quick", jsonl(numbered(5)))
        assert server.ended("quick")["state"] == "finished"


def test_too_many_errors_fail_the_task(tmp_path: Path) -> None:
    """Over the limit of failed lines a task is failed, and says so."""
    with TaskServer(tmp_path, "Echo", settings={"task_errors_limit": 3}) as server:
        server.submit("few", jsonl(numbered(50)) + b"x\n" * 3)
        assert server.ended("few")["state"] == "finished"
        server.submit("many", b"x\n" * 5 + jsonl(numbered(50)))
        task = server.ended("many")
        assert task["state"] == "failed"
        assert "more than the limit of 3" in task["error"]


def test_a_unit_that_cannot_be_loaded_fails_its_tasks_and_shows(tmp_path: Path) -> None:
    """The task fails with the reason, /status is 3 until the cause is gone, and then the work can go on."""
    cure = tmp_path / "cure"
    with TaskServer(tmp_path, "Unloadable", cure=str(cure)) as server:
        server.submit("t", jsonl(numbered(20)))
        task = server.ended("t")
        assert task["state"] == "failed"
        assert "the model file is missing" in task["error"]
        assert server.ask("GET", "/status").json() == {"status": 3}
        cure.touch()
        assert server.ask("POST", "/api/v1.0/tasks/t/retry").json()["state"] == "waiting"
        assert server.ended("t")["state"] == "finished"
        assert server.results("t") == seen(numbered(20))
        wait_for(lambda: server.ask("GET", "/status").json() == {"status": 1}, "health")


def test_workers_that_are_killed_from_outside_cost_nothing(tmp_path: Path) -> None:
    """A worker that somebody else kills is replaced; no line fails for it."""
    with TaskServer(tmp_path, "Tired", settings={"task_workers": "2"}, line_s=0.002) as server:
        server.submit("t", jsonl(numbered(1500)))
        for at in (100, 500, 900):
            wait_for(lambda at=at: server.show("t")["done"] > at and server.workers, "progress")
            for worker in server.workers[:1]:
                os.kill(worker, signal.SIGKILL)
        task = server.ended("t")
        assert (task["state"], task["failed"]) == ("finished", 0)
        assert task["retries"] >= 3
        assert server.results("t") == seen(numbered(1500))


# ── second rounds ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_failed_lines_are_worked_again(tmp_path: Path) -> None:
    """A retry asks the unit for the failed lines alone; good answers stay as they are, in their places."""
    switch, log = tmp_path / "switch", tmp_path / "log"
    rows = numbered(3000)
    bad = {0, 1, 2, 500, 2999, *range(1000, 1100)}
    with TaskServer(tmp_path, "Moody", switch=str(switch), log=str(log), bad=sorted(bad)) as server:
        server.submit("t", jsonl(rows) + b"no json\n")
        first = server.ended("t")
        assert (first["failed"], first["round"]) == (len(bad) + 1, 0)
        switch.touch()
        log.unlink()
        server.ask("POST", "/api/v1.0/tasks/t/retry")
        second = wait_for(lambda: (task := server.ended("t"))["round"] == 1 and task, "the second round")
        assert (second["state"], second["failed"], second["total"]) == ("finished", 1, 3001)
        answers = server.results("t")
        assert answers[:-1] == seen(rows)
        assert answers[-1]["error"]["line"] == 3001
        worked = [number for line in log.read_text().splitlines() for number in json.loads(line)]
        assert sorted(worked) == sorted(bad)
        names = {path.name for folder in (server.data / "tasks").iterdir() for path in folder.iterdir()}
        assert names == {"input.jsonl", "output.1.jsonl", "errors.1.jsonl"}
        fine = server.ask("POST", "/api/v1.0/tasks/t/retry")
        assert fine.json()["state"] in ("waiting", "running")
        server.ended("t")


# ── order, load, memory ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_huge_task_does_not_starve_a_small_one(tmp_path: Path) -> None:
    """Small tasks that come later finish while the huge ones that fill all places go on."""
    with TaskServer(tmp_path, "Tired", settings={"task_active_limit": 2}, line_s=0.002) as server:
        for number in range(2):
            server.submit(f"huge-{number}", jsonl(numbered(100_000)))
        wait_for(lambda: server.show("huge-1")["done"] > 0, "the huge ones' start")
        server.submit("small", jsonl(numbered(20)))
        assert server.ended("small")["state"] == "finished"
        for number in range(2):
            assert server.state(f"huge-{number}") == 0


def test_a_full_queue_says_so_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    """At the bound /status is 2 and a POST gets 503 with Retry-After; a stop makes room."""
    settings = {"task_queue_limit": 2, "task_active_limit": 1}
    with TaskServer(tmp_path, "Tired", settings=settings, line_s=0.01) as server:
        for number in range(2):
            assert server.submit(f"t{number}", jsonl(numbered(5000))).status_code == 200
        assert server.ask("GET", "/status").json() == {"status": 2}
        refused = server.submit("t2", jsonl(numbered(5)))
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["status"]["reason"] == "OVERLOADED"
        server.delete("t1")
        assert server.ask("GET", "/status").json() == {"status": 1}
        assert server.submit("t2", jsonl(numbered(5))).status_code == 200


def test_a_full_queue_still_knows_what_is_in_it(tmp_path: Path) -> None:
    """A POST that is repeated while the queue is full is as harmless as ever; one with other bytes is a conflict."""
    settings = {"task_queue_limit": 1}
    with TaskServer(tmp_path, "Tired", settings=settings, line_s=0.05) as server:
        rows, key = jsonl(numbered(500)), {"Idempotency-Key": "once"}
        native = "/api/v1.0/tasks?id=here"
        assert server.ask("POST", native, data=rows, headers=key).status_code == 201
        assert server.ask("GET", "/status").json() == {"status": 2}
        assert server.submit("here", rows).json() == {"status": 200}
        assert server.submit("here", rows + b"{}\n").status_code == 409
        assert server.ask("POST", native, data=rows).status_code == 201
        assert server.ask("POST", "/api/v1.0/tasks?id=other", data=rows, headers=key).json()["id"] == "here"
        for refused in (server.submit("new", rows), server.ask("POST", "/api/v1.0/tasks?id=new", data=rows)):
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
        assert list((server.data / "incoming").iterdir()) == []


def test_workers_come_with_the_first_task_and_leave_when_idle(tmp_path: Path) -> None:
    """No worker before a task, none after the idle time, and a new one for the next task."""
    with TaskServer(tmp_path, "Echo", settings={"task_idle_s": 0.3}) as server:
        assert server.workers == []
        for id in ("a", "b"):
            server.submit(id, jsonl(numbered(5)))
            assert server.ended(id)["state"] == "finished"
            wait_for(lambda: not server.workers, "their leaving")


def test_two_workers_share_a_task_and_keep_its_order(tmp_path: Path) -> None:
    """Answers of several workers stand in the order of the input."""
    with TaskServer(tmp_path, "Uneven", settings={"task_workers": "3"}) as server:
        server.submit("t", jsonl(numbered(3000)))
        assert server.ended("t")["state"] == "finished"
        assert server.results("t") == seen(numbered(3000))


def test_a_line_larger_than_every_buffer(tmp_path: Path) -> None:
    """Lines far larger than a chunk travel whole."""
    rows = [{"n": 0, "text": "大" * 3_000_000}, {"n": 1}, {"n": 2, "text": "x" * 5_000_000}]
    with TaskServer(tmp_path, "Echo") as server:
        server.submit("t", jsonl(rows))
        server.ended("t")
        assert server.results("t") == seen(rows)


def test_the_serving_worker_s_own_unit_answers(tmp_path: Path) -> None:
    """Without workers of their own, tasks are answered by the serving process; a stop takes effect at a chunk's end."""
    with TaskServer(tmp_path, "Tired", settings={"task_workers": "0"}, line_s=0.002) as server:
        server.submit("t", jsonl(numbered(300)) + b"bad\n")
        task = server.ended("t")
        assert (task["state"], task["failed"]) == ("finished", 1)
        assert server.results("t")[:-1] == seen(numbered(300))
        assert server.workers == []
        server.submit("long", jsonl(numbered(100_000)))
        wait_for(lambda: server.show("long")["done"] > 0, "its start")
        assert server.delete("long").json() == {"status": 200}
        assert server.is_gone("long")
        assert server.ask("GET", "/api/v1.0/task-engine").json()["driver"]["can_kill"] is False
        server.submit("u", jsonl(numbered(300)))
        os.kill(server.driver, signal.SIGKILL)
        assert server.ended("u")["state"] == "finished"
        assert server.results("u") == seen(numbered(300))


def test_the_installed_command_answers_by_its_serving_workers(tmp_path: Path) -> None:
    """`--task-workers 0`: serving workers answer; replaced meanwhile, they leave in order, and no line is to blame."""
    settings = {"task_workers": "0", "workers": 2, "task_chunk_target_s": 0.1}
    log = tmp_path / "log"
    with ProductServer(tmp_path, "Recorder", settings=settings, log=str(log), line_s=0.002) as server:
        rows = [{"t": "t", "n": number} for number in range(2000)]
        server.submit("t", jsonl(rows))
        wait_for(lambda: server.show("t")["done"] > 100, "its start")
        engine = "/api/v1.0/task-engine"
        wait_for(lambda: server.ask("GET", engine).json()["driver"]["ready"] == 2, "word of both")
        before = server.serving()
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        task = server.ended("t")
        assert (task["state"], task["failed"], task["kills"]) == ("finished", 0, 0)
        assert server.results("t") == [{**row, "seen": True} for row in rows]
        wait_for(lambda: len(server.serving()) == 2 and not set(before) & set(server.serving()), "new workers")
        server.submit("u", jsonl(rows[:50]))
        assert server.ended("u")["state"] == "finished"
        assert server.workers == []


def test_the_driver_comes_with_the_first_upload(tmp_path: Path) -> None:
    """Without a task there is no driver, and the endpoint is available; with the first upload it comes and stays."""
    with ProductServer(tmp_path, "Echo") as server:
        assert server.ask("GET", "/status").json() == {"status": 1}
        assert server.ask("GET", "/api/v1.0/task-engine").json()["driver"] is None
        assert server.submit("empty", b"").status_code == 400
        assert server.state("nobody") == -1
        server.submit("t", jsonl(numbered(10)))
        assert server.ask("GET", "/status").json() == {"status": 1}
        assert server.ended("t")["state"] == "finished"
        first = server.driver
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: server.drivers() not in ([], [first]), "another driver")


def test_work_that_was_left_calls_the_driver(tmp_path: Path) -> None:
    """A task that a dead server left is worked by the next one unasked; so is one whose serving worker died at once."""
    with ProductServer(tmp_path, "Recorder", log=str(tmp_path / "log"), line_s=0.002) as server:
        rows = [{"t": "t", "n": number} for number in range(500)]
        server.submit("t", jsonl(rows))
        wait_for(lambda: server.show("t")["done"] > 0, "its start")
        server.kill()
        server.start()
        assert server.ended("t")["state"] == "finished"
        assert server.results("t") == [{**row, "seen": True} for row in rows]


def test_an_upload_that_was_cut_off_calls_the_driver_to_sweep(tmp_path: Path) -> None:
    """A serving worker that dies in the middle of the very first upload leaves nothing behind for long."""
    with ProductServer(tmp_path, "Echo") as server:
        with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port)) as connection:
            connection.sendall(
                b"POST /api/v1.0/tasks?id=cut HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"{}\n"
            )
            incoming = wait_for(lambda: list((server.data / "incoming").iterdir()), "the upload")
            os.kill(server.serving()[0], signal.SIGKILL)
            wait_for(lambda: not incoming[0].exists(), "the sweep")
        assert server.state("cut") == -1


@pytest.mark.parametrize("has_driver", [True, False])
def test_a_data_folder_that_is_taken_away_is_created_again(tmp_path: Path, has_driver: bool) -> None:
    """Whoever removes the folder of a running server loses its tasks, but no task that is accepted afterwards."""
    with ProductServer(tmp_path, "Echo") as server:
        if has_driver:
            server.submit("old", jsonl(numbered(10)))
            server.ended("old")
        before = server.serving()
        shutil.rmtree(server.data)

        def is_replaced() -> bool:
            with suppress(requests.RequestException):
                is_open = server.ask("GET", "/status").json() == {"status": 1}
                return is_open and server.state("old") == -1 and not set(before) & set(server.serving())
            return False

        wait_for(is_replaced, "another serving worker")
        for number in range(3):
            assert server.submit(f"t{number}", jsonl(numbered(10))).status_code == 200
            assert server.ended(f"t{number}")["state"] == "finished"
            assert server.results(f"t{number}") == seen(numbered(10))


def test_answers_that_are_gone_from_the_disk_are_an_error(tmp_path: Path) -> None:
    """A result file that somebody removed is answered by an error, and not by a short file."""
    with TaskServer(tmp_path, "Echo") as server:
        server.submit("t", jsonl(numbered(10)))
        server.ended("t")
        for path in server.data.glob("tasks/*/output.*"):
            path.unlink()
        for path in ("/tasks/t/results", "/api/v1.0/tasks/t/results?partial=true"):
            answer = server.ask("GET", path)
            assert (answer.status_code, answer.json()["status"]["reason"]) == (500, "TASK_FILES")


# ── a full disk ─────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def server_on_small_disk(folder: Path, size: str, line_s: float) -> Iterator[tuple[TaskServer, Path]]:
    """A server on a real file system of this size, and the path of a file that may fill it.

    Where mounting is not permitted the test cannot be made true, and fails: it needs root or a user namespace.
    """
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        with TaskServer(folder, "Tired", line_s=line_s) as server:
            yield server, folder / "filler"
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(filler: Path) -> None:
    """Write until there is no room."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_pauses_tasks_and_refuses_uploads(tmp_path: Path) -> None:
    """On a full disk an upload gets 507 and leaves nothing; a running task pauses, can be watched, and goes on."""
    with server_on_small_disk(tmp_path / "disk", "12m", 0.0005) as (server, filler):
        server.submit("t", jsonl(numbered(6000, pad="x" * 400)))
        wait_for(lambda: server.show("t")["done"] > 500, "its start")
        fill(filler)
        paused = wait_for(lambda: (task := server.show("t"))["paused"] and task, "the pause")
        assert paused["state"] == "running"
        assert server.ask("GET", "/status").json() == {"status": 2}
        refused = server.submit("more", jsonl(numbered(2000, pad="x" * 400)))
        assert refused.status_code == 507
        assert refused.json()["status"]["reason"] == "STORAGE_FULL"
        assert list((server.data / "incoming").iterdir()) == []
        filler.unlink()
        assert server.ended("t")["state"] == "finished"
        assert [row["n"] for row in server.results("t")] == list(range(6000))


def test_an_upload_that_fills_the_disk_leaves_nothing(tmp_path: Path) -> None:
    """An upload that runs out of room on its way gets 507, and its room is free again."""
    with server_on_small_disk(tmp_path / "disk", "4m", 0.0) as (server, _):
        body = iter(
            [b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n', *[b"{}\n" * 9999] * 300]
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert server.ask("POST", "/tasks", data=body, headers=headers).status_code == 507
        assert list((server.data / "incoming").iterdir()) == []
        assert server.submit("t", jsonl(numbered(10)), immediate=None).status_code == 200


def test_a_task_can_be_stopped_on_a_full_disk(tmp_path: Path) -> None:
    """Of all times, then: DELETE works without a byte of room, and gives the room back."""
    with server_on_small_disk(tmp_path / "disk", "8m", 0.001) as (server, filler):
        server.submit("t", jsonl(numbered(5000, pad="x" * 400)))
        wait_for(lambda: server.show("t")["done"] > 200, "its start")
        fill(filler)
        wait_for(lambda: server.show("t")["paused"], "the pause")
        assert server.delete("t").json() == {"status": 200}
        assert server.is_gone("t")


# ── housekeeping ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_retention_by_count(tmp_path: Path) -> None:
    """Ended tasks beyond the number that is kept are pruned, the oldest first, files and all."""
    with TaskServer(tmp_path, "Echo", settings={"task_keep_count": 2}) as server:
        for number in range(5):
            server.submit(f"t{number}", jsonl(numbered(5)), immediate=None)
        server.kill()
        server.start()
        wait_for(lambda: server.is_gone("t2"), "the pruning")
        assert [server.state(f"t{number}") for number in range(5)] == [-1, -1, -1, 2, 2]
        assert len(list((server.data / "tasks").iterdir())) == 2
        gone = server.ask("GET", "/api/v1.0/tasks/t0").json()
        assert "it was pruned" in gone["status"]["info"]


class _Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 500 once, then 200."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.calls.append((self.headers["webhook-id"], Webhook(SECRET).verify(body, dict(self.headers))))
        self.send_response(500 if len(self.calls) == 1 else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_word_of_the_end_arrives_in_the_end(tmp_path: Path) -> None:
    """A webhook that fails is sent again under the same id, signed; one to a dead host delays nothing."""
    with answering(_Receiver) as url:
        hosts = f"{urlsplit(url).netloc}, 127.0.0.1:9"
        settings = {"task_webhook_hosts": hosts, "task_webhook_secrets": SECRET}
        with TaskServer(tmp_path, "Echo", settings=settings) as server:
            server.submit("dead", jsonl(numbered(5)), webhook="http://127.0.0.1:9/")
            server.submit("t", jsonl(numbered(5)) + b"x\n", webhook=f"{url}/done")
            wait_for(lambda: len(_Receiver.calls) >= 2, "the second delivery")
            (first, body), (second, again) = _Receiver.calls[:2]
            assert first == second
            assert body == again
            assert (body["id"], body["type"]) == ("t", "task.finished")
            assert (body["state"], body["done"], body["failed"], body["total"]) == ("finished", 6, 1, 6)
            refused = server.submit("x", jsonl(numbered(5)), webhook="http://127.0.0.2/")
            assert refused.status_code == 400


class _Collector(http.server.BaseHTTPRequestHandler):
    """Takes what OTLP sends."""

    spans: ClassVar[list[Any]] = []
    figures: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        body = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
        if self.path == "/v1/traces":
            sent = ExportTraceServiceRequest.FromString(body)
            self.spans.extend(span for r in sent.resource_spans for s in r.scope_spans for span in s.spans)
        else:
            told = ExportMetricsServiceRequest.FromString(body)
            self.figures.update(m.name for r in told.resource_metrics for s in r.scope_metrics for m in s.metrics)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_tasks_are_traced(tmp_path: Path) -> None:
    """With tracing on a task and its chunks are spans of the trace that the submission came from; figures go, too."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    with answering(_Collector) as url:
        settings = {"tracing": "on", "tracing_endpoint": f"{url}/v1/traces"}
        server = ProductServer(tmp_path, "Echo", settings=settings)
        server.start(OTEL_BSP_SCHEDULE_DELAY="50", OTEL_METRIC_EXPORT_INTERVAL="100")
        with server:
            server.http.headers["traceparent"] = f"00-{trace}-b7ad6b7169203331-01"
            server.submit("t", jsonl(numbered(5)) + b"x\n", immediate=None)
            wait_for(lambda: "infergraph.task.ends" in _Collector.figures, "the figures")
            wait_for(lambda: {"task", "chunk"} <= {span.name for span in _Collector.spans}, "both spans")
    found = {span.name: span for span in _Collector.spans}
    assert {found[name].trace_id.hex() for name in ("task", "chunk")} == {trace}
    assert found["chunk"].parent_span_id == found["task"].span_id
    events = [event.name for span in _Collector.spans if span.name == "chunk" for event in span.events]
    assert events == ["row failed"]


def test_workers_come_with_the_work(tmp_path: Path) -> None:
    """One is enough for little; more are started while the known work would take too long, up to the bound."""
    settings = {"task_workers": "1..3", "task_finish_s": 2.0, "task_chunk_target_s": 0.1}
    with TaskServer(tmp_path, "Tired", settings=settings, line_s=0.02) as server:
        server.submit("little", jsonl(numbered(5)), immediate=None)
        assert len(server.workers) == 1
        server.submit("much", jsonl(numbered(5000)))
        wait_for(lambda: len(server.workers) == 3, "more workers")
        server.delete("much")


def test_two_servers_over_one_folder_make_one_driver(tmp_path: Path) -> None:
    """A second server over the same folder serves the same tasks; its driver waits and takes over after a death."""
    (tmp_path / "two").mkdir()
    with TaskServer(tmp_path, "Echo") as first:
        shared = {"data_dir": str(first.data)}
        with TaskServer(tmp_path / "two", "Echo", settings=shared) as second:
            second.submit("t", jsonl(numbered(10)), immediate=None)
            assert first.results("t") == second.results("t") == seen(numbered(10))
            assert second.workers == []
            first.kill()
            second.submit("u", jsonl(numbered(10)), immediate=None)
            assert second.results("u") == seen(numbered(10))


def test_an_orderly_end_commits_and_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM to the driver: everything answered so far is committed, and the next driver goes on from there."""
    log = tmp_path / "log"
    with TaskServer(tmp_path, "Recording", log=str(log), line_s=0.001) as server:
        server.submit("t", jsonl(numbered(3000)))
        wait_for(lambda: server.show("t")["done"] > 300, "its start")
        driver = server.driver
        os.kill(driver, signal.SIGTERM)
        wait_for(lambda: not is_alive(driver), "its end")
        task = server.ended("t")
        assert (task["state"], task["attempts"]) == ("finished", 2)
        assert server.results("t") == seen(numbered(3000))


def test_a_damaged_folder_fails_its_task_alone(tmp_path: Path) -> None:
    """Output that is shorter than what was committed is never extended: that task fails, others are worked."""
    with TaskServer(tmp_path, "Tired", line_s=0.001) as server:
        server.submit("t", jsonl(numbered(3000)))
        wait_for(lambda: server.show("t")["done"] > 100, "its start")
        server.kill()
        (output,) = (server.data / "tasks").glob("*/output.0.jsonl")
        os.truncate(output, 10)
        server.start()
        task = server.ended("t")
        assert task["state"] == "failed"
        assert "damaged" in task["error"]
        server.submit("u", jsonl(numbered(5)), immediate=None)
        assert server.state("u") == 2


def test_torn_output_is_cut_back(tmp_path: Path) -> None:
    """Half a line behind the watermark, as a power loss leaves it, is cut off and written again."""
    with TaskServer(tmp_path, "Tired", line_s=0.001) as server:
        server.submit("t", jsonl(numbered(2000)))
        wait_for(lambda: server.show("t")["done"] > 100, "its start")
        server.kill()
        (output,) = (server.data / "tasks").glob("*/output.0.jsonl")
        with output.open("ab") as file:
            file.write(b'{"n": 1, "se' + b"\0" * 5000)
        shutil.rmtree(server.data / "trash")
        server.start()
        assert server.ended("t")["state"] == "finished"
        assert server.results("t") == seen(numbered(2000))


@pytest.mark.parametrize("orders", [b"no json\n", b"{}\n"])
def test_a_driver_without_sense_ends_at_once(orders: bytes) -> None:
    """Orders that cannot be read give exit code 2 and one line, not a restart for ever."""
    done = subprocess.run([sys.executable, "-m", "infergraph.tasks.driver.driver"], input=orders, capture_output=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
