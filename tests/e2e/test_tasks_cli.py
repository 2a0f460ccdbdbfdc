"""The commands for tasks as a person uses them: submit, look, come back, and the same without a server."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from infergraph.cli.tasks import duration_text, progress_text, read_duration
from infergraph.client import Client
from infergraph.client.task import Task
from task_harness import TaskServer, jsonl, wait_for

ROWS = [{"n": number} for number in range(500)]
COMMAND = str(Path(sys.executable).with_name("infergraph"))
COMPONENT = """
import time
from pathlib import Path

class Slow:
    def predict(self, X, names=None, meta=None):
        with Path("worked").open("a") as log:
            log.write(f"{X[0]['n']}\\n")
        time.sleep(0.001 * len(X))
        if any("refuse" in row for row in X):
            raise ValueError("not this one")
        return [{**row, "seen": True} for row in X]
"""


def start(*arguments: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """A command as a process in a session of its own, so that an interrupt reaches it alone."""
    return subprocess.Popen(
        [COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
    )


def run(*arguments: str, code: int = 0, folder: Path | None = None) -> tuple[str, str]:
    """Standard output and error of a command that ends with this exit code."""
    with start(*arguments, folder=folder) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    return out, err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskServer]:
    """A server whose unit takes a millisecond a row."""
    with TaskServer(tmp_path_factory.mktemp("cli"), "Tired", line_s=0.001) as running:
        yield running


def test_submit_waits_and_fetches(server: TaskServer, tmp_path: Path) -> None:
    """With an output the command returns when the answers are there, and tells how it went."""
    (tmp_path / "in.jsonl").write_bytes(jsonl(ROWS) + b"bad\n")
    out, err = run("submit", "in.jsonl", "-u", server.url, "-o", "out.jsonl", "--id", "中/文", folder=tmp_path)
    assert out == ""
    assert "task 中/文 is finished: 501 lines" in err
    assert "1 of them failed (infergraph tasks errors '中/文')" in err
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [json.loads(line).get("n") for line in lines] == [*range(500), None]


def test_submit_in_a_script_prints_the_id(server: TaskServer, tmp_path: Path) -> None:
    """Off a terminal the command returns as soon as the task is accepted, and prints its id alone; also from stdin."""
    (tmp_path / "in.jsonl").write_bytes(jsonl(ROWS))
    out, _ = run("submit", "in.jsonl", "-u", server.url, "--id", "quick", folder=tmp_path)
    assert out == "quick\n"
    piped = subprocess.run([COMMAND, "submit", "-", "-u", server.url, "--wait"], input=jsonl(ROWS), capture_output=True)
    assert piped.returncode == 0
    assert server.show(piped.stdout.decode().strip())["state"] == "finished"


def test_an_interrupt_leaves_the_task_and_says_how_to_come_back(server: TaskServer, tmp_path: Path) -> None:
    """Ctrl-C while watching: the task goes on, and the printed command comes back to it."""
    (tmp_path / "in.jsonl").write_bytes(jsonl(ROWS * 10))
    with start("submit", "in.jsonl", "-u", server.url, "--id", "left", "--wait", folder=tmp_path) as process:
        wait_for(lambda: server.state("left") == 0 and server.show("left")["done"] > 0, "its start")
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    command = err.strip().splitlines()[-1].partition("resume with: infergraph ")[2]
    assert command == f"tasks watch left --url {server.url}"
    assert server.state("left") == 0
    run(*command.split(), "-o", str(tmp_path / "out.jsonl"))
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 5000


def test_tasks_are_looked_at_and_steered(server: TaskServer, tmp_path: Path) -> None:
    """List, show, results, errors, cancel, retry, delete and prune do what they say."""
    at = ("-u", server.url)
    server.submit("steer", jsonl(ROWS) + b"bad\n", immediate=None)
    assert "steer" in run("tasks", "list", *at)[0]
    listed = json.loads(run("tasks", "list", *at, "--json", "--prefix", "steer")[0])
    assert [task["state"] for task in listed] == ["finished"]
    assert "failed          1" in run("tasks", "show", "steer", *at)[0]
    assert json.loads(run("tasks", "show", "steer", "--json", *at)[0])["total"] == 501
    assert len(run("tasks", "results", "steer", *at)[0].splitlines()) == 501
    assert json.loads(run("tasks", "errors", "steer", *at)[0])["error"]["line"] == 501
    run("tasks", "retry", "steer", *at)
    assert server.ended("steer")["failed"] == 1
    server.submit("endless", jsonl(ROWS * 100))
    assert "stopped" in run("tasks", "cancel", "endless", *at)[1]
    assert server.is_gone("endless")
    run("tasks", "delete", "steer", *at)
    assert server.is_gone("steer")
    assert "pruned" in run("tasks", "prune", "--older-than", "0", *at)[1]
    assert run("tasks", "show", "steer", *at, code=1)[1].startswith("infergraph: there is no task 'steer'")
    assert "is not a duration" in run("tasks", "prune", "--older-than", "soon", *at, code=2)[1]


def test_a_task_that_fails_is_exit_code_1(server: TaskServer, tmp_path: Path) -> None:
    """A failed task is told with its reason; a server that is away has an exit code of its own."""
    (tmp_path / "in.jsonl").write_bytes(b"bad\n")
    _, err = run("submit", "in.jsonl", "-u", server.url, "--id", "fails", "--wait", code=1, folder=tmp_path)
    assert "task fails failed: every line failed" in err
    run("submit", "in.jsonl", "-u", "http://127.0.0.1:9", code=3, folder=tmp_path)


def test_progress_in_words() -> None:
    """Lines, failures, rate, time left, or the position in the queue."""
    task = Task(id="t", state="running", done=50, total=200, failed=2, rate=12345.678, eta_s=61.0)
    assert progress_text(task) == "50/200 lines, 2 failed, 1.235e+04 lines/s, 1 min 01 s left"
    assert progress_text(Task(id="t", state="waiting", queue_position=3)) == "position 3 in the queue"
    assert "paused: no room" in progress_text(Task(id="t", state="running", paused="no room", rate=1.0))
    assert [duration_text(seconds) for seconds in (0.4, 59.4, 60, 7260)] == ["0 s", "59 s", "1 min 00 s", "2 h 01 min"]


def test_durations_are_read() -> None:
    """Numbers with and without a unit; anything else is refused."""
    assert [read_duration(text) for text in ("90", "1.5m", "12 h", "7d")] == [90, 90, 43200, 604800]
    for text in ("", "x", "-1", "1w"):
        with pytest.raises(ValueError, match="duration"):
            read_duration(text)


# ── without a server ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a component and a file."""
    (tmp_path / "slow.py").write_text(COMPONENT)
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl(ROWS * 4))
    return tmp_path


BATCH = ("batch", "slow.py:Slow", "in.jsonl", "-o", "out.jsonl", "--task-chunk-target-s", "0.05")


def assert_whole(folder: Path) -> None:
    """The output is complete and in order, and nothing else is left."""
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]
    assert rows == [{**row, "seen": True} for row in ROWS * 4]
    assert not (folder / "out.jsonl.infergraph").exists()


def test_a_batch_is_the_file_answered(folder: Path) -> None:
    """The output has an answer for each line, in order; the input is not touched and nothing else is left."""
    before = (folder / "in.jsonl").read_bytes()
    _, err = run(*BATCH, folder=folder)
    assert "out.jsonl: 2000 lines" in err
    assert_whole(folder)
    assert (folder / "in.jsonl").read_bytes() == before


def test_a_batch_goes_on_after_a_kill_and_after_an_interrupt(folder: Path) -> None:
    """Killed, interrupted, run again: it goes on where it was, and the output appears only when it is whole."""
    for number, (signum, code) in enumerate([(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)], 1):
        with start(*BATCH, folder=folder) as process:
            wait_for(lambda number=number: _lines(folder / "worked") > 4 * number, "progress")
            process.send_signal(signum)
            _, err = process.communicate(timeout=30)
        assert process.returncode == code, err
        assert not (folder / "out.jsonl").exists()
    assert "run the same command to continue" in err
    (folder / "worked").unlink()
    run(*BATCH, folder=folder)
    assert int((folder / "worked").read_text().split()[0]) > 0
    assert_whole(folder)


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_a_batch_over_a_changed_file_is_refused(folder: Path) -> None:
    """What was begun with one file is not gone on with another."""
    with start(*BATCH, folder=folder) as process:
        wait_for(lambda: _lines(folder / "worked") > 3, "progress")
        process.kill()
    (folder / "in.jsonl").write_bytes(jsonl(ROWS))
    assert "is not what" in run(*BATCH, code=1, folder=folder)[1]


def test_a_batch_that_fails_says_why(folder: Path) -> None:
    """Failed lines stand in their places; if all fail, or the file is empty or missing, it is exit code 1."""
    (folder / "in.jsonl").write_bytes(jsonl([{"n": 0}, {"n": 1, "refuse": 1}, {"n": 2}]))
    assert "1 of them failed" in run(*BATCH, folder=folder)[1]
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]
    assert "not this one" in rows[1]["error"]["reason"]
    assert [rows[0]["n"], rows[2]["n"]] == [0, 2]
    (folder / "in.jsonl").write_bytes(jsonl([{"n": 1, "refuse": 1}]))
    assert "every line failed" in run(*BATCH, code=1, folder=folder)[1]
    (folder / "empty.jsonl").write_bytes(b"\n\n")
    assert "is empty" in run("batch", "slow.py:Slow", "empty.jsonl", "-o", "o", code=1, folder=folder)[1]
    assert "No such file" in run("batch", "slow.py:Slow", "none.jsonl", "-o", "o", code=1, folder=folder)[1]


@pytest.mark.parametrize(("given", "output"), [("parquet", "parquet"), ("csv.gz", "csv"), ("csv", "jsonl.zst")])
def test_a_batch_over_a_table_goes_on_after_a_kill(folder: Path, given: str, output: str) -> None:
    """Killed and run again, it goes on where it was: the rows come once, in order, as the output's name says."""
    _write_table(folder / f"in.{given}", [{"n": str(number)} for number in range(1000)])
    command = ("batch", "slow.py:Slow", f"in.{given}", "-o", f"out.{output}", "--task-chunk-target-s", "0.05")
    with start(*command, folder=folder) as process:
        wait_for(lambda: _committed(folder / f"out.{output}.infergraph" / "tasks.db"), "a watermark")
        process.kill()
    (folder / "worked").unlink()
    _, err = run(*command, folder=folder)
    assert f"out.{output}: 1000 lines" in err
    assert int((folder / "worked").read_text().split()[0]) > 0
    assert [int(row["n"]) for row in _read_table(folder / f"out.{output}")] == list(range(1000))
    assert sorted(path.name for path in folder.glob("out*")) == [f"out.{output}"]


def _committed(database: Path) -> int:
    """The rows below the watermark of the one task in a store."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as store, suppress(sqlite3.OperationalError):
        for (done,) in store.execute("select done from task"):
            return int(done)
    return 0


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=300)
        return
    text = "n\n" + "".join(f"{row['n']}\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _read_table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text().splitlines()))
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as lines:
        return [json.loads(line) for line in lines.read().splitlines()]


def test_a_batch_names_what_it_cannot_read_or_write(folder: Path) -> None:
    """A broken table by its line, an unknown format by its option; and nothing is left behind."""
    (folder / "in.csv").write_bytes(b'n\n1\n"2\n')
    assert "in.csv: line 3: a quote" in run("batch", "slow.py:Slow", "in.csv", "-o", "o.csv", code=1, folder=folder)[1]
    assert "--format: 'xml' is not" in run(*BATCH, "--format", "xml", code=2, folder=folder)[1]
    assert "compressed inside" in run(*BATCH[:4], "o.parquet.gz", code=1, folder=folder)[1]
    command = [COMMAND, "batch", "slow.py:Slow", "-", "--format", "csv", "-o", "-"]
    piped = subprocess.run(command, input=b"n\n1\n", capture_output=True, cwd=folder)
    assert piped.stdout == b"n,seen\n1,true\n"
    assert sorted(path.name for path in folder.iterdir() if path.name[0] == "o") == []


def test_submit_answers_a_table_in_the_format_of_the_output(server: TaskServer, tmp_path: Path) -> None:
    """CSV by CSV, or by what the output's name says."""
    _write_table(tmp_path / "in.csv", [{"n": "1"}, {"n": "2"}])
    run("submit", "in.csv", "-u", server.url, "-o", "out.csv", folder=tmp_path)
    assert (tmp_path / "out.csv").read_text() == "n,seen\n1,true\n2,true\n"
    run("submit", "in.csv", "-u", server.url, "-o", "out.parquet", folder=tmp_path)
    assert _read_table(tmp_path / "out.parquet") == [{"n": "1", "seen": True}, {"n": "2", "seen": True}]
    with Client(server.url) as client:
        task = client.tasks.submit(tmp_path / "in.csv", output_format="jsonl.gz")
        assert client.tasks.wait(task).output_format == "jsonl.gz"
        assert list(client.tasks.results(task)) == [{"n": "1", "seen": True}, {"n": "2", "seen": True}]
