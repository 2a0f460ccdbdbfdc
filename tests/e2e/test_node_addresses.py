"""Replicas of a node as processes of their own, killed and started again while a graph calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from e2e.process_run import PORTS, Supervised, wait_for
from page_runner import free_ports

REPLICA = """
import os, time

class Replica:
    def predict(self, X, names=None, meta=None):
        time.sleep(float(os.environ["DELAY_S"]))
        return [[int(os.environ["REPLICA"])]]
"""
SLOW = 2
BODY = json.dumps({"data": {"ndarray": [[1, 2]]}})


@contextmanager
def serving(folder: Path, target: str, **variables: str) -> Iterator[Supervised]:
    """`infergraph serve`, started."""
    errors = folder / f"errors-{variables.get('REPLICA', 'front')}"
    command = [str(Path(sys.executable).with_name("infergraph")), "serve", target]
    settings = {f"INFERGRAPH_{name.upper()}": "0" for name in PORTS} | {"INFERGRAPH_TASKS": "false"}
    with errors.open("wb") as log:
        process = subprocess.Popen(command, stderr=log, cwd=folder, env={**os.environ, **settings, **variables})
    running = Supervised(process, errors)
    try:
        yield running
    finally:
        process.kill()
        process.wait()


def replica(folder: Path, number: int, port: int, kind: str) -> AbstractContextManager[Supervised]:
    """A replica that answers its number, at this port."""
    port_name = "INFERGRAPH_GRPC_PORT" if kind == "GRPC" else "INFERGRAPH_HTTP_PORT"
    delay_s = "0.1" if number == SLOW else "0.002"
    return serving(folder, "replica.py:Replica", REPLICA=str(number), DELAY_S=delay_s, **{port_name: str(port)})


class Load:
    """Clients that ask until the end of the block, and what they got."""

    def __init__(self, front: Supervised) -> None:
        self._front = front
        self._is_over = False
        self._threads = [threading.Thread(target=self._ask) for _ in range(6)]
        self._lock = threading.Lock()
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = self._front.connect()
        while not self._is_over:
            connection.request("POST", "/api/v1.0/predictions", BODY, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            with self._lock:
                if answer.status == 200:
                    self.answers[json.loads(body)["data"]["ndarray"][0][0]] += 1
                else:
                    self.failures.append(body.decode())
        connection.close()

    def more(self, count: int, *of: int) -> Counter[int]:
        """Wait until these replicas have each given more answers; all answers since."""
        before = self.answers.copy()
        wait_for("answers", lambda: all(self.answers[each] >= before[each] + count for each in of))
        return self.answers - before


@pytest.mark.parametrize("kind", ["REST", "GRPC"])
def test_no_request_fails_while_replicas_come_and_go(tmp_path: Path, kind: str) -> None:
    """Under load one replica is killed and comes back, one is slow and gets fewer, one is stopped: no request fails."""
    (tmp_path / "replica.py").write_text(REPLICA)
    ports = free_ports(3)
    endpoint = {"service_hosts": [f"127.0.0.1:{port}" for port in ports], "type": kind}
    graph = {"name": "node", "type": "MODEL", "endpoint": endpoint}
    (tmp_path / "flow.json").write_text(json.dumps({"name": "main", "graph": graph}))
    with ExitStack() as stack:
        replicas = [stack.enter_context(replica(tmp_path, number, ports[number], kind)) for number in range(3)]
        front = stack.enter_context(serving(tmp_path, "flow.json"))
        line = front.wait_event("listening")
        front.ports = {name: line[name] for name in PORTS}
        for each in (*replicas, front):
            each.wait_event("ready")
        with Load(front) as load:
            shares = load.more(50, 0, 1)
            assert shares[SLOW] < min(shares[0], shares[1])
            replicas[0].process.kill()
            wait_for("its ejection", lambda: states(front)["ejected"] == 1)
            load.more(50, 1)
            assert front.get("/ready")[0] == 200
            stack.enter_context(replica(tmp_path, 0, ports[0], kind))
            wait_for("its return", lambda: states(front)["up"] == 3)
            load.more(50, 0, 1)
            replicas[1].process.terminate()
            replicas[1].wait_exit()
            load.more(50, 0)
        assert load.failures == []
    told = [line["event"].split(": ")[1] for line in front.log() if "node node: " in line["event"]]
    address = f"127.0.0.1:{ports[0]}"
    told = [line.partition(" for ")[0] for line in told if address in line]
    assert told == [f"{address} is ejected", f"{address} is in use again"]


def states(front: Supervised) -> dict[str, int]:
    """The node's addresses by state."""
    text = urlopen(f"http://127.0.0.1:{front.ports['metrics_port']}/metrics").read().decode()
    lines = [line for line in text.splitlines() if line.startswith("infergraph_node_addresses{")]
    return {line.split('state="')[1].split('"')[0]: int(float(line.rsplit(" ", 1)[1])) for line in lines}
