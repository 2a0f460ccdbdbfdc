"""Loading and unloading the model in several workers at once, by the installed command."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from e2e.process_run import PORTS, Supervised, supervised, wait_for
from e2e.test_process_served import served
from infergraph.cli.launch import plan_of
from infergraph.settings import LogFormat, Settings

COMPONENT = """
import os
import pathlib

class Doubler:
    def load(self):
        if pathlib.Path("broken").exists():
            raise ValueError("no weights here")
        self.generation = pathlib.Path("generation").read_text()

    def predict(self, X, names=None):
        return [f"{os.getpid()} {self.generation}"]
"""
INFER = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]})
ASKED = 40


def ask(running: Supervised, path: str, body: str = "") -> tuple[int, str]:
    """POST on a connection of its own, so that any worker may answer."""
    connection = running.connect()
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def infer(running: Supervised) -> tuple[str, str] | int:
    """The worker that answered and the generation of its model, or the status."""
    status, body = ask(running, "/v2/models/Doubler/infer", INFER)
    if status != 200:
        return status
    worker, generation = json.loads(body)["outputs"][0]["data"][0].split()
    return worker, generation


def answers(running: Supervised) -> set[tuple[str, str] | int]:
    """Different answers, until every worker has had its chance."""
    return {infer(running) for _ in range(ASKED)}


def act(running: Supervised, action: str) -> int:
    return ask(running, f"/v2/repository/models/Doubler/{action}")[0]


def test_all_workers_load_and_unload_together(tmp_path: Path) -> None:
    """Each answer comes when all have done it; what is lost is nothing, and a new worker starts in the same state."""
    (tmp_path / "generation").write_text("1")
    options = ("--workers", "3", "--model-control", "on")
    with served(tmp_path, *options, component=COMPONENT) as running:
        running.wait_event("ready")
        workers = running.worker_pids()
        answered: list[str] = []
        lost: list[int | str] = []
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                try:
                    found = infer(running)
                    if isinstance(found, int):
                        lost.append(found)
                    else:
                        answered.append(found[1])
                except (OSError, http.client.HTTPException) as error:
                    lost.append(repr(error))

        clients = [threading.Thread(target=go_on) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            wait_for("first answers", lambda: len(answered) > 20 or lost)
            (tmp_path / "generation").write_text("2")
            assert act(running, "load") == 200
            found = answers(running)
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert {each[1] for each in found if isinstance(each, tuple)} == {"2"}
        assert not lost
        assert running.worker_pids() == workers

        (tmp_path / "generation").write_text("3")
        (tmp_path / "broken").touch()
        assert act(running, "load") == 400
        assert {each[1] for each in answers(running) if isinstance(each, tuple)} == {"2"}
        (tmp_path / "broken").unlink()

        assert act(running, "unload") == 200
        assert answers(running) == {404}
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        wait_for("new workers", lambda: len(running.worker_pids() - workers) == len(workers))
        assert answers(running) == {404}
        assert act(running, "load") == 200
        found = answers(running)
        assert {each[1] for each in found if isinstance(each, tuple)} == {"3"}
        assert 404 not in found


def test_a_target_is_served_under_the_name_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME=TARGET is the model's name in the open inference protocol, of a class and of a graph alike."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generation").write_text("1")
    (tmp_path / "named_unit.py").write_text(COMPONENT)
    node = {"name": "only", "type": "MODEL", "component": "named_unit.py:Doubler"}
    document = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "metadata": {"name": "flow"},
                "spec": {"predictors": [{"name": "main", "graph": node}]}}  # fmt: skip
    (tmp_path / "flow.json").write_text(json.dumps(document))
    settings = Settings(**PORTS, tasks=False, log_format=LogFormat.JSON)
    for target in ("named_unit.py:Doubler", "flow.json"):
        with supervised(plan_of(f"given={target}", settings), tmp_path) as running:
            assert ask(running, "/v2/models/given/infer", INFER)[0] == 200
            assert ask(running, "/v2/models/flow/infer", INFER)[0] == 404
            assert json.loads(running.get("/v2/models")[1]) == {"models": ["given"]}
