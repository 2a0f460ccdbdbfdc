"""Death at every named step, and at random moments: nothing is lost, doubled, worked again or left behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from infergraph.tasks.failpoints import POINTS
from task_chaos import Chaos
from task_harness import TaskServer, jsonl, wait_for

ROWS = [{"n": number} for number in range(800)]
ANSWERS = [{**row, "seen": True} for row in ROWS]
BY_CALLERS = {"upload-written", "upload-synced", "upload-renamed", "accepted", "stop-marked", "retry-marked"}
BY_TABLES = ("upload-converted", "answers-written")
ELSEWHERE = {"input-fetched", "answers-copied", "parts-kept", "answers-kept"}  # in test_task_{references,objects}.py
BY_STOP = {"stop-marked", "stop-killed", "trashed", "erased"}


def test_every_point_is_tested_once() -> None:
    """The list of named places has no doubles, and the tests below know all of them."""
    assert len(set(POINTS)) == len(POINTS)
    assert set(POINTS) >= BY_CALLERS | BY_STOP | set(BY_TABLES) | ELSEWHERE


@pytest.mark.parametrize("point", [point for point in POINTS if point not in {*BY_TABLES, *ELSEWHERE}])
def test_death_at_a_named_step(tmp_path: Path, point: str) -> None:
    """Whoever dies there: after a restart every accepted task is exact, every stopped one gone, nothing is left."""
    flag = tmp_path / "died"
    server = TaskServer(tmp_path, "Tired", line_s=0.01 if point in BY_STOP else 0.0004)
    server.start(CRASH_POINT=f"{point}@{flag}")
    with server:
        accepted = _submit(server)
        if point in BY_STOP:
            wait_for(lambda: server.show("t")["done"] > 0, "its start")
            _without_answer(lambda: server.delete("t"))
        elif point == "retry-marked":
            server.submit("r", jsonl(ROWS) + b"bad\n")
            server.ended("r")
            _without_answer(lambda: server.ask("POST", "/api/v1.0/tasks/r/retry"))
        wait_for(flag.exists, f"a death at {point}")
        _revive(server)
        if point in BY_STOP:
            wait_for(lambda: server.is_gone("t"), "the end of the stop")
        else:
            if not accepted and server.is_gone("t"):
                assert point != "accepted"
                assert server.submit("t", jsonl(ROWS)).status_code == 200
            assert server.ended("t")["state"] == "finished"
            assert server.results("t") == ANSWERS
            server.submit("u", jsonl(ROWS))
            assert server.ended("u")["state"] == "finished"
            assert server.results("u") == ANSWERS
        _assert_tidy(server)


@pytest.mark.parametrize("point", [*BY_TABLES, "output-written", "output-synced", "committed", "finished"])
def test_death_in_a_task_over_a_table(tmp_path: Path, point: str) -> None:
    """The rows of a CSV file are all answered once, in order and in their places, whoever dies, and whenever."""
    rows = [["n", "text"], *([str(number), "a\nb" if number % 7 else "raise"] for number in range(800))]
    rows[400] = ["ragged"]
    flag, file = tmp_path / "died", tmp_path / "rows.csv"
    with file.open("w", newline="") as written:
        csv.writer(written).writerows(rows)
    server = TaskServer(tmp_path, "Tired", line_s=0.0004)
    server.start(CRASH_POINT=f"{point}@{flag}")
    with server:
        _submit(server, file.read_bytes(), format="csv")
        wait_for(flag.exists, f"a death at {point}")
        _revive(server)
        if server.is_gone("t"):
            assert server.submit("t", file.read_bytes(), format="csv").status_code == 200
        assert server.ended("t")["failed"] == 1
        answers = server.ask("GET", "/tasks/t/results").content.decode()
        written = list(csv.DictReader(io.StringIO(answers, newline="")))
        assert [row["n"] for row in written] == ["" if len(row) == 1 else row[0] for row in rows[1:]]
        assert [row["text"] for row in written] == ["" if len(row) == 1 else row[1] for row in rows[1:]]
        assert [place for place, row in enumerate(written, 1) if row["error"]] == [400]
        _assert_tidy(server)


def _submit(server: TaskServer, file: bytes = jsonl(ROWS), **fields: str) -> bool:
    """Submit; whether it was answered."""
    try:
        return server.submit("t", file, **fields).status_code == 200
    except requests.RequestException:
        return False


def _without_answer(call: Callable[[], object]) -> None:
    """A call whose answer may never come."""
    with suppress(requests.RequestException):
        call()


def _revive(server: TaskServer) -> None:
    process = server.process
    assert process is not None
    with suppress(AssertionError):
        wait_for(lambda: process.poll() is not None, "the server's death", within_s=0.3)
    if process.poll() is not None:
        server.process = None
        server.start()


def _assert_tidy(server: TaskServer) -> None:
    """The driver that took over has swept: no upload, folder or trash is left that no task owns."""
    known = len(server.ask("GET", "/api/v1.0/tasks").json()["tasks"])
    wait_for(lambda: not list((server.data / "incoming").iterdir()), "the sweep")
    wait_for(lambda: len(list((server.data / "tasks").iterdir())) == known, "the sweep")
    wait_for(lambda: not list((server.data / "trash").iterdir()), "the sweep")


def test_random_kills(tmp_path: Path) -> None:
    """Twenty kills of server, driver and workers at random moments of upload, work, commit, stop and pruning."""
    with Chaos(tmp_path, seed=20261122) as chaos:
        while chaos.kills < 20:
            chaos.round()
        chaos.judge()
        assert chaos.accepted
