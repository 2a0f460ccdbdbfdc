"""Workers that die, hang, grow, are replaced; over real processes and sockets."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.process_run import Supervised, is_alive, plan_of, supervised, variables_of, wait_for
from infergraph.worker_environment import DEVICES, SERVING_INDEX, THREAD_VARIABLES, processors


def counted(running: Supervised, path: str) -> float:
    """How many requests for a path all workers have counted together."""
    _, text = running.get("/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "infergraph_requests_total" and sample.labels["method"] == path
    )


class Load:
    """Clients that ask without a pause, half of them on kept-alive connections; every answer but 200 is a loss."""

    def __init__(self, running: Supervised) -> None:
        self._running = running
        self._stop = threading.Event()
        self.answers = 0
        self.pids: set[str] = set()
        self.losses: list[str] = []

    def ask(self, keep_alive: bool) -> None:
        connection = self._running.connect()
        while not self._stop.is_set():
            try:
                connection.request("GET", "/pid")
                answer = connection.getresponse()
                self.pids.add(answer.read().decode())
                if answer.status != 200:
                    self.losses.append(f"status {answer.status}")
                self.answers += 1
            except (OSError, http.client.HTTPException) as error:
                self.losses.append(repr(error))
                connection.close()
            if not keep_alive:
                connection.close()
        connection.close()


@contextmanager
def load_on(running: Supervised) -> Iterator[Load]:
    """Four clients for as long as the block lasts."""
    load = Load(running)
    threads = [threading.Thread(target=load.ask, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for("first answers", lambda: load.answers > 20 or load.losses)
        yield load
    finally:
        load._stop.set()
        for thread in threads:
            thread.join()


def test_a_killed_worker_is_replaced_and_its_counts_are_kept(tmp_path: Path) -> None:
    """After kill -9 of a worker the other answers, a new one comes, and the sum of requests has not fallen."""
    with supervised(plan_of({"workers": 2}), tmp_path) as running:
        before = running.worker_pids()
        for _ in range(20):
            assert running.get("/pid")[0] == 200
        wait_for("all counts", lambda: counted(running, "pid") == 20)  # an answer is counted once it is sent
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_for("a new worker", lambda: len(running.worker_pids() - before) == 1 and not is_alive(victim))
        new = running.worker_pids() - before
        wait_for("an answer of the new worker", lambda: int(running.get("/other")[1]) in new)
        assert counted(running, "pid") == 20
        assert running.get("/pid")[0] == 200
        wait_for("one more", lambda: counted(running, "pid") == 21)
        assert running.wait_event("a worker died")["how"] == "signal 9 (SIGKILL)"
        assert 'infergraph_worker_restarts_total{why="died"} 1.0' in running.get("/metrics")[1]


def test_what_a_dead_worker_started_ends_with_it(tmp_path: Path) -> None:
    """A process that user code left running does not outlive its worker."""
    with supervised(plan_of(), tmp_path) as running:
        started = int(running.get("/spawn")[1])
        assert is_alive(started)
        (worker,) = running.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_for("the end of the process", lambda: not is_alive(started))


def test_reload_under_load_loses_no_request(tmp_path: Path) -> None:
    """SIGHUP replaces every worker while clients keep asking, and each request is answered."""
    with supervised(plan_of({"workers": 2}), tmp_path) as running:
        before = running.worker_pids()
        with load_on(running) as load:
            running.process.send_signal(signal.SIGHUP)
            running.wait_event("all workers have been replaced")
            after = running.worker_pids()
            wait_for("answers of new workers", lambda: load.pids >= {str(pid) for pid in after} or load.losses)
        assert load.losses == []
        assert not before & after
        assert len(after) == 2
        assert counted(running, "pid") == load.answers


def test_recycling_under_load_loses_no_request_and_no_count(tmp_path: Path) -> None:
    """Workers replaced after max_requests lose no request, and the counters hold them all in a bounded set of files."""
    settings = {"workers": 2, "max_requests": 100, "max_requests_jitter": 20}
    with supervised(plan_of(settings), tmp_path) as running:
        with load_on(running) as load:
            wait_for("six workers or more", lambda: len(load.pids) >= 6 or load.losses)
        assert load.losses == []
        assert counted(running, "pid") == load.answers
        folder = running.metrics_folder()
        assert len(list(folder.glob("worker-*.cells"))) <= 4
    assert not folder.exists()


def test_a_worker_above_its_memory_is_replaced(tmp_path: Path) -> None:
    """A worker that grows past rss_limit_bytes gives way to a new one."""
    with supervised(plan_of({"rss_limit_bytes": 150 * 1024 * 1024}), tmp_path) as running:
        before = running.worker_pids()
        assert running.get("/eat")[0] == 200
        event = running.wait_event("a worker will be replaced")
        assert "rss_limit_bytes" in event["why"]
        wait_for("a new worker alone", lambda: len(running.worker_pids()) == 1 and not running.worker_pids() & before)
        assert running.get("/pid")[0] == 200


def test_a_hanging_worker_is_replaced_and_shows_where_it_hung(tmp_path: Path) -> None:
    """A worker whose event loop stands still for watchdog_s is ended, with its stack in the log, and replaced."""
    with supervised(plan_of({"watchdog_s": 1.0}), tmp_path) as running:
        (before,) = running.worker_pids()
        connection = running.connect()
        connection.request("GET", "/hang")
        wait_for("its end", lambda: not is_alive(before))
        connection.close()
        wait_for("an answer", lambda: running.get("/pid")[0] == 200)
        assert "process_target.py" in running.errors.read_text()
        assert running.events("a worker hangs: its event loop is blocked")


def test_a_worker_told_to_stop_by_somebody_else_is_drained_and_replaced(tmp_path: Path) -> None:
    """SIGTERM to a worker itself lets its request finish; then another takes its place."""
    with supervised(plan_of(), tmp_path) as running:
        (before,) = running.worker_pids()
        connection = running.connect()
        connection.request("GET", f"/slow?mark={tmp_path}/mark&until={tmp_path}/until")
        wait_for("the request", (tmp_path / "mark").exists)
        os.kill(before, signal.SIGTERM)
        (tmp_path / "until").touch()
        assert connection.getresponse().status == 200
        connection.close()
        wait_for("a new worker", lambda: running.worker_pids() - {before} and not is_alive(before))
        wait_for("an answer", lambda: running.get("/pid")[0] == 200)


def test_a_changed_source_file_replaces_the_workers(tmp_path: Path) -> None:
    """With reload_paths, writing a source file brings new workers; other files do not."""
    watched = tmp_path / "source"
    watched.mkdir()
    with supervised(plan_of(reload_paths=(str(watched),)), tmp_path) as running:
        before = running.worker_pids()
        (watched / "notes.txt").write_text("no source")
        (watched / "model.py").write_text("x = 1")
        event = running.wait_event("replacing all workers")
        assert event["files"] == [str(watched / "model.py")]
        running.wait_event("all workers have been replaced")
        assert not running.worker_pids() & before
        assert len(running.events("replacing all workers")) == 1


def test_a_broken_reload_keeps_the_old_workers(tmp_path: Path) -> None:
    """SIGHUP with a unit that no longer loads leaves the old workers serving, and says so."""
    flag = tmp_path / "flag"
    flag.write_text("ok")
    with supervised(plan_of(source={"load": "flag", "flag": str(flag)}), tmp_path) as running:
        before = running.worker_pids()
        flag.write_text("raise")
        running.process.send_signal(signal.SIGHUP)
        running.wait_event("reload failed: the previous workers keep serving")
        assert running.get("/ready")[0] == 200
        wait_for("the old worker alone", lambda: running.worker_pids() == before)


def test_workers_have_their_index_devices_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker has its index, its share of the visible GPUs, and its share of the threads; so has its successor."""
    monkeypatch.setenv(DEVICES, "4,5,6")
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    threads = str(max(1, processors() // 2))
    wanted = {("0", "4,5", threads), ("1", "6", threads)}

    def seen() -> set[tuple[str, ...]]:
        found = [variables_of(pid) for pid in running.worker_pids()]
        return {tuple(each.get(name, "") for name in (SERVING_INDEX, DEVICES, THREAD_VARIABLES[0])) for each in found}

    with supervised(plan_of({"workers": 2, "gpus": "0+1,2"}), tmp_path) as running:
        assert seen() == wanted
        victim = min(running.worker_pids())
        os.kill(victim, signal.SIGKILL)
        wait_for("a successor", lambda: victim not in running.worker_pids() and seen() == wanted)
