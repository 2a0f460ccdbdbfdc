"""The process behaviours of the installed command, with a component of a user behind it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf import json_format
from prometheus_client.parser import text_string_to_metric_families

from e2e.process_run import PORTS, Supervised, wait_for
from infergraph.wire import prediction

COMPONENT = """
import pathlib

class Doubler:
    def load(self):
        if pathlib.Path("broken").exists():
            raise ValueError("no weights here")

    def predict(self, X, names=None):
        return X * 2

    def metrics(self):
        return [{"type": "COUNTER", "key": "asked", "value": 1}]
"""
BODY = json.dumps({"data": {"ndarray": [[1, 2]]}})


@contextmanager
def served(folder: Path, *options: str, component: str = COMPONENT) -> Iterator[Supervised]:
    """`infergraph serve` of the component above, or of another one, listening."""
    (folder / "doubler.py").write_text(component)
    errors = folder / "errors"
    command = [str(Path(sys.executable).with_name("infergraph")), "serve", "doubler.py:Doubler", *options]
    settings = {f"INFERGRAPH_{name.upper()}": "0" for name in PORTS} | {"INFERGRAPH_TASKS": "false"}
    with errors.open("wb") as log:
        process = subprocess.Popen(command, stderr=log, cwd=folder, env={**os.environ, **settings})
    running = Supervised(process, errors)
    try:
        line = running.wait_event("listening")
        running.ports = {name: line[name] for name in PORTS}
        yield running
    finally:
        process.terminate()
        process.wait(60)


def predict(connection: http.client.HTTPConnection) -> int:
    """The status of one prediction; a wrong answer is an error."""
    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status == 200:
        assert json.loads(body)["data"]["ndarray"] == [[2, 4]]
    return answer.status


def test_predictions_go_on_while_the_service_is_reloaded(tmp_path: Path) -> None:
    """SIGHUP under load replaces both workers; no prediction is lost and every one is counted, also the component's."""
    with served(tmp_path, "--workers", "2") as running:
        running.wait_event("ready")
        before = running.worker_pids()
        statuses: list[int | str] = []
        stop = threading.Event()

        def ask(keep_alive: bool) -> None:
            connection = running.connect()
            while not stop.is_set():
                try:
                    statuses.append(predict(connection))
                except (OSError, http.client.HTTPException) as error:
                    statuses.append(repr(error))
                    connection.close()
                if not keep_alive:
                    connection.close()
            connection.close()

        clients = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(4)]
        for client in clients:
            client.start()
        try:
            wait_for("first answers", lambda: len(statuses) > 20)
            running.process.send_signal(signal.SIGHUP)
            running.wait_event("all workers have been replaced")
        finally:
            stop.set()
            for client in clients:
                client.join()
        assert set(statuses) == {200}
        assert not before & running.worker_pids()
        samples = {
            (sample.name, sample.labels.get("method")): sample.value
            for family in text_string_to_metric_families(running.get("/metrics")[1])
            for sample in family.samples
        }
        assert samples["infergraph_requests_total", "predict"] == len(statuses)
        assert samples["asked_total", "predict"] == len(statuses)


def test_no_grpc_call_is_lost_while_the_service_is_reloaded(tmp_path: Path) -> None:
    """SIGHUP under load tells the clients of each connection to go elsewhere; every call is answered."""
    message = json_format.ParseDict(json.loads(BODY), prediction.SeldonMessage()).SerializeToString()
    codes: list[str] = []
    stop = threading.Event()

    def ask(port: int) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
            predict = channel.unary_unary("/seldon.protos.Model/Predict")
            while not stop.is_set():
                try:
                    predict(message, timeout=30)
                    codes.append("OK")
                except grpc.RpcError as error:
                    codes.append(f"{error.code().name}: {error.details()}")

    with served(tmp_path) as running:
        running.wait_event("ready")
        clients = [threading.Thread(target=ask, args=(running.ports["grpc_port"],)) for _ in range(6)]
        for client in clients:
            client.start()
        try:
            for reloads in (1, 2, 3):
                asked = len(codes)
                wait_for("more answers", lambda asked=asked: len(codes) > asked + 20)
                running.process.send_signal(signal.SIGHUP)
                wait_for("a reload", lambda reloads=reloads: _reloads(running) == reloads)
        finally:
            stop.set()
            for client in clients:
                client.join()
    assert set(codes) == {"OK"}


def _reloads(running: Supervised) -> int:
    return sum(line["event"] == "all workers have been replaced" for line in running.log())


def test_a_component_that_cannot_be_loaded_ends_the_command(tmp_path: Path) -> None:
    """A load() that raises is exit code 3 with its traceback once."""
    (tmp_path / "broken").touch()
    with served(tmp_path) as running:
        assert running.wait_exit() == 3
        (line,) = [line for line in running.log() if "exception" in line]
        assert "ValueError: no weights here" in line["exception"]


def test_a_stopped_service_ends_with_0_and_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM ends the command, its workers and its folder of metrics."""
    with served(tmp_path) as running:
        running.wait_event("ready")
        folder = running.metrics_folder()
        connection = running.connect()
        assert predict(connection) == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.wait_exit() == 0
        connection.close()
        assert running.worker_pids() == set()
        assert not folder.exists()


WAITING = """
import os, pathlib, time

class Doubler:
    def load(self):
        own = os.getpid()
        pathlib.Path(f"loading-{own}").touch()
        while not pathlib.Path(f"go-{own}").exists():
            time.sleep(0.01)
        pathlib.Path(f"loaded-{own}").touch()

    def predict(self, X, names=None):
        return X * 2
"""


def test_ready_is_said_with_one_voice(tmp_path: Path) -> None:
    """Of two workers that load at different speeds none says "ready" while another would say "not yet"."""
    with served(tmp_path, "--workers", "2", component=WAITING) as running:
        wait_for("both load", lambda: len(list(tmp_path.glob("loading-*"))) == 2)
        marks = wait_for("the first one's mark", lambda: list(running.metrics_folder().glob("loading-*")))
        (first,) = (int(mark.name.removeprefix("loading-")) for mark in marks)
        (other,) = running.worker_pids() - {first}
        (tmp_path / f"go-{other}").touch()
        wait_for("the other is loaded", lambda: (tmp_path / f"loaded-{other}").exists())
        assert {running.get("/ready")[0] for _ in range(50)} == {503}
        (tmp_path / f"go-{first}").touch()
        wait_for("ready", lambda: running.get("/ready")[0] == 200)
        connection = running.connect()
        while not running.events("ready"):  # until the other has opened its ports as well
            assert running.get("/ready")[0] == 200
            assert predict(connection) == 200
        assert {running.get("/ready")[0] for _ in range(50)} == {200}
        connection.close()
