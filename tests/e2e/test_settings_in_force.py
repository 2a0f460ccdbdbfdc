"""Settings as their users meet them: given, and then seen to be in force."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from infergraph import settings
from page_runner import clean_environment, free_ports
from served import served
from task_harness import TaskServer, is_alive, jsonl, wait_for

COMPONENT = """
import pathlib, threading, time

class Counting:
    calls = 0

    def predict(self, X, names=None):
        self.calls += 1
        return X

    def metrics(self):
        return [{"type": "COUNTER", "key": f"mine_{self.calls}", "value": 1}]

class Late:
    def load(self):
        while not pathlib.Path("loaded").exists():
            time.sleep(0.01)

    def predict(self, X, names=None):
        return X
"""
ROWS = [{"n": number} for number in range(40)]
MESSAGE = {"data": {"ndarray": [[1]]}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with components, which is the working folder."""
    (tmp_path / "parts.py").write_text(COMPONENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cors_headers_are_named_to_a_browser(folder: Path) -> None:
    """A pre-flight is told the headers of `cors_headers`; without the setting, those that it asks for."""
    asked = {"Origin": "https://a.example", "Access-Control-Request-Headers": "X-Other"}
    for given, named in ({"cors_headers": "X-One, X-Two"}, "X-One, X-Two"), ({}, "X-Other"):
        with served("parts.py:Counting", folder=folder, **given) as there:
            reply = there.ask("OPTIONS", "/predict", headers=asked)
        assert reply.headers["access-control-allow-headers"] == named


def test_series_of_a_component_are_bounded(folder: Path) -> None:
    """Beyond `user_metrics_series_limit` a component's new series are dropped, counted, and harm no answer."""
    with served("parts.py:Counting", folder=folder, user_metrics_series_limit=2) as there:
        assert [there.post("/predict", MESSAGE).status for _ in range(4)] == [200] * 4
        metrics = there.get("/metrics").body.decode()
    assert len(re.findall(r"(?m)^mine_\d+(?:_total)?\{", metrics)) == 2
    assert re.search(r'(?m)^infergraph_user_metrics_dropped_total\{[^}]*why="limit"[^}]*\} 2(\.0)?$', metrics)


def test_a_request_waits_for_the_load_if_it_may(folder: Path) -> None:
    """With `load_wait_s` a request that comes too early is answered once the unit is loaded; without it, 503."""
    with served("parts.py:Late", folder=folder, wait=False) as there:
        assert there.post("/predict", MESSAGE).status == 503
        (folder / "loaded").touch()
    (folder / "loaded").unlink()
    with served("parts.py:Late", folder=folder, wait=False, load_wait_s=60) as there:
        waiting = subprocess.Popen(
            ["curl", "-s", "-d", json.dumps(MESSAGE), f"http://127.0.0.1:{there.http_port}/predict"],
            stdout=subprocess.PIPE,
        )
        assert there.get("/live").status == 200
        (folder / "loaded").touch()
        answer, _ = waiting.communicate(timeout=60)
    assert json.loads(answer)["data"]["ndarray"] == [[1]]


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_chunks_have_at_most_so_many_lines(tmp_path: Path) -> None:
    """`task_chunk_lines_limit` bounds what a unit is asked with at once, however fast it is."""
    log = tmp_path / "log"
    with TaskServer(tmp_path, "Recording", settings={"task_chunk_lines_limit": 3}, log=str(log)) as server:
        server.submit("t", jsonl(ROWS))
        server.ended("t")
    sizes = [len(json.loads(line)) for line in log.read_text().splitlines()]
    assert max(sizes) == 3
    assert sum(sizes) == len(ROWS)


@pytest.mark.parametrize("limit", [1, 3])
def test_a_line_may_cause_so_many_deaths(tmp_path: Path, limit: int) -> None:
    """`task_attempts_limit`: a line that kills its worker is given up after so many deaths."""
    with TaskServer(tmp_path, "Poisoned", settings={"task_attempts_limit": limit}) as server:
        server.submit("t", jsonl([{"poison": 1}]))
        ended = server.ended("t")
        errors = server.ask("GET", "/api/v1.0/tasks/t/errors").json()
    assert (ended["failed"], ended["kills"]) == (1, limit)
    assert "killed by SIGKILL on this line" in errors["error"]["reason"]


def test_the_meaning_of_immediate_can_be_turned_round(tmp_path: Path) -> None:
    """With `task_immediate_means=sync` a POST with immediate=true is answered when the task has ended."""
    with TaskServer(tmp_path, "Tired", settings={"task_immediate_means": "sync"}, line_s=0.001) as server:
        assert server.submit("t", jsonl(ROWS * 5), immediate="true").json() == {"status": 200}
        assert server.state("t") == 2
        server.submit("u", jsonl(ROWS * 100), immediate=None)
        assert server.state("u") in (0, 1)


def test_finished_tasks_are_kept_so_long_and_so_large(tmp_path: Path) -> None:
    """Beyond `task_keep_s` or `task_keep_bytes` a finished task is pruned with its files, and is unknown then."""
    with ExitStack() as running:
        servers = []
        for name, limits in (("age", {"task_keep_s": 0.5}), ("size", {"task_keep_bytes": 1})):
            (tmp_path / name).mkdir()
            servers.append(running.enter_context(TaskServer(tmp_path / name, "Echo", settings=limits)))
        for server in servers:
            server.submit("t", jsonl(ROWS), immediate=None)
            server.kill()
            server.start()  # a driver prunes when it starts, and then every half minute
        for server in servers:
            wait_for(lambda server=server: server.is_gone("t"), "its end")
            assert not list(server.data.rglob("output*"))


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_custom_service_runs_beside_the_server_and_ends_with_it(tmp_path: Path) -> None:
    """A component's `custom_service()` has a process of its own, constructed with the parameters, and dies with us."""
    (tmp_path / "mine.py").write_text(
        "import os, pathlib, time\n\nclass Mine:\n    def __init__(self, word='none'):\n        self.word = word\n\n"
        "    def predict(self, X, names=None):\n        return [os.getpid()]\n\n"
        "    def custom_service(self):\n        pathlib.Path('beside.new').write_text(f'{os.getpid()} {self.word}')\n"
        "        pathlib.Path('beside.new').rename('beside')\n        time.sleep(1000)\n"
    )
    http, grpc, metrics = map(str, free_ports(3))
    command = [str(Path(sys.executable).with_name("infergraph")), "serve", "mine.py:Mine", "--tasks", "off"]
    command += ["--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics]
    command += ["--parameters", '[{"name": "word", "value": "hello", "type": "STRING"}]', "--workers", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.DEVNULL)
    try:
        beside = tmp_path / "beside"
        pid, word = wait_for(lambda: beside.exists() and beside.read_text(), "the service").split()
        assert word == "hello"
        assert is_alive(int(pid))
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
    wait_for(lambda: not is_alive(int(pid)), "its end")


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_setting_is_without_a_test() -> None:
    """Every setting is named in a test, by its name, its option, or a variable that it is read from."""
    tests = Path(__file__).parents[1]
    words = set()
    for path in [*tests.rglob("*.py"), *tests.rglob("*.json")]:
        words |= set(re.findall(r"[\w-]+", path.read_text("utf-8")))
    unnamed = [
        row.name for row in settings.describe() if not words & {row.name, "--" + row.name.replace("_", "-"), *row.env}
    ]
    assert unnamed == []
