"""`serve --groups`: a cut graph as real processes, under load, killed, and stopped."""

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
from typing import Any

import pytest

from e2e.process_run import Front, children_of, command_of, is_alive, wait_for
from infergraph.graph import spec
from page_runner import clean_environment
from served import served

STEPS = '''
import os


class Clean:
    def transform_input(self, X, names=None):
        return X


class Best:
    def route(self, X, names=None):
        return int(X[0][0] > 0)


class Told:
    """Answers with what its process has in its environment."""

    def predict(self, X, names=None):
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "INFERGRAPH_WORKER_INDEX", "STEP")
        return {"pid": os.getpid(), **{name: os.environ.get(name) for name in names}}


class Broken:
    def load(self):
        raise ValueError("no weights")

    def predict(self, X, names=None):
        return X
'''
GRAPH = """
kind: SeldonDeployment
metadata: {name: flow}
spec:
  predictors:
  - name: default
    componentSpecs:
    - spec:
        containers:
        - {name: heavy, env: [{name: STEP, value: heavy}], resources: {requests: {cpu: 3}, limits: {nvidia.com/gpu: 2}}}
    graph:
      name: clean
      type: TRANSFORMER
      component: steps.py:Clean
      children:
      - name: best
        type: ROUTER
        component: steps.py:Best
        place: own
        replicas: 2
        children:
        - {name: light, type: MODEL, component: "steps.py:Told"}
        - {name: heavy, type: MODEL, component: "steps.py:Told"}
"""
SMALL = """
kind: SeldonDeployment
metadata: {name: small}
spec:
  predictors:
  - name: default
    graph: {name: first, type: TRANSFORMER, component: "steps.py:Clean", children: [
      {name: last, type: MODEL, component: "steps.py:Told", place: own}]}
"""
COMMAND = str(Path(sys.executable).with_name("infergraph"))
FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--log-format", "json")


class Running(Front):
    """A running `infergraph serve --groups`."""

    def __init__(self, folder: Path, graph: str, **environment: str) -> None:
        self.folder = folder
        (folder / "steps.py").write_text(STEPS)
        (folder / "graph.yaml").write_text(graph)
        errors = folder / "errors.log"
        with errors.open("wb") as log:
            process = subprocess.Popen(
                [COMMAND, "serve", "graph.yaml", "--groups", *FREE],
                cwd=folder,
                stderr=log,
                env={**clean_environment(), **environment},
            )
        super().__init__(process, errors)

    def told(self, branch: int) -> dict[str, Any]:
        """What the node at a branch answers."""
        status, answer = self.ask("/api/v1.0/predictions", {"data": {"ndarray": [[branch]]}})
        assert status == 200, answer
        found: dict[str, Any] = answer["jsonData"]
        return found

    def tree(self) -> set[int]:
        """All processes of it."""
        found, waiting = set(), {self.process.pid}
        while waiting:
            found |= waiting
            waiting = {child for pid in waiting for child in children_of(pid)}
        return found

    def servers(self, group: str) -> list[int]:
        """The supervisors of a group, by its log lines; the newest last."""
        pids = [line["pid"] for line in self.log() if line["event"] == "listening" and line.get("group") == group]
        return [pid for pid in pids if is_alive(pid)]


@contextmanager
def running(folder: Path, graph: str, **environment: str) -> Iterator[Running]:
    """A ready one; killed at the end."""
    found = Running(folder, graph, **environment)
    try:
        found.wait_ready()
        yield found
    finally:
        found.process.kill()
        found.process.wait()


class Load:
    """Clients that send one request after the other, and keep what went wrong."""

    def __init__(self, server: Running, clients: int = 4) -> None:
        self._server = server
        self._stop = threading.Event()
        self.failures: list[Any] = []
        self.answered = 0
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]

    def _send(self) -> None:
        while not self._stop.is_set():
            try:
                self._server.told(0)
                self.answered += 1
            except (AssertionError, OSError, http.client.HTTPException) as error:
                self.failures.append(error)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exit: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The graph of a front and two groups, one with two replicas; four GPUs are visible."""
    with running(tmp_path_factory.mktemp("flow"), GRAPH, CUDA_VISIBLE_DEVICES="4,5,6,7") as found:
        yield found


def test_answers_are_those_of_one_process(flow: Running) -> None:
    """A cut graph answers as the graph in one process does, routing and path included."""
    asked = {"data": {"ndarray": [[1]]}, "meta": {"puid": "p"}}
    with served(str(flow.folder / "graph.yaml")) as alone:
        whole = alone.post("/api/v1.0/predictions", asked).json
    _, cut = flow.ask("/api/v1.0/predictions", asked)
    assert cut["meta"] == whole["meta"]
    assert cut["jsonData"].keys() == whole["jsonData"].keys()


def test_groups_are_processes_of_their_own(flow: Running) -> None:
    """Each group, and each replica of one, has workers of its own; the groups' metrics are listed for Prometheus."""
    assert len({flow.told(0)["pid"], flow.told(1)["pid"]}) == 2
    targets = json.loads((flow.folder / ".infergraph/groups/targets.json").read_text())
    assert [target["labels"]["group"] for target in targets] == ["best.0", "best.1", "heavy"]
    for target in targets:
        host, _, port = target["targets"][0].partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", target["labels"]["__metrics_path__"])
        assert b"infergraph_" in connection.getresponse().read()
        connection.close()


def test_resources_are_dealt_out(flow: Running) -> None:
    """A group sees the GPUs of its limits, one that asks for none sees none; threads are as many as its CPUs."""
    heavy, light = flow.told(1), flow.told(0)
    assert (heavy["CUDA_VISIBLE_DEVICES"], heavy["OMP_NUM_THREADS"]) == ("4,5", "3")
    assert (heavy["STEP"], heavy["INFERGRAPH_WORKER_INDEX"]) == ("heavy", "0")
    assert (light["CUDA_VISIBLE_DEVICES"], light["STEP"]) == ("", None)


def test_graph_files_are_those_of_a_cluster(flow: Running) -> None:
    """What runs is cut as on a cluster; only addresses are of this machine."""
    folder = flow.folder / ".infergraph" / "groups"
    (front,) = spec.read((folder / "front.yaml").read_text(), source="front.yaml")
    (best,) = spec.read((folder / "best.yaml").read_text(), source="best.yaml")
    (leaf,) = front.predictors[0].graph.children
    assert (leaf.name, leaf.type, leaf.component, leaf.children) == ("best", "MODEL", "", ())
    assert leaf.endpoint is not None
    assert (leaf.endpoint.service_host, leaf.endpoint.service_hosts) == ("127.0.0.1", ("127.0.0.2",))
    assert [child.name for child in best.predictors[0].graph.children] == ["light", "heavy"]
    assert best.predictors[0].graph.placing == []


def test_killed_replica_loses_no_request(flow: Running) -> None:
    """While one of two replicas is killed and comes back, every request is answered."""
    (victim,) = flow.servers("best.0")
    with Load(flow) as load:
        wait_for("requests", lambda: load.answered > 20)
        os.kill(victim, signal.SIGKILL)
        before = load.answered
        wait_for("a new replica", lambda: flow.servers("best.0") not in ([], [victim]))
        wait_for("more requests", lambda: load.answered > before + 50)
    assert load.failures == []
    assert flow.told(0)


def test_front_is_not_ready_without_a_group(flow: Running) -> None:
    """While its only server is away the front is not ready; it is again when the new one is."""
    (victim,) = flow.servers("heavy")
    os.kill(victim, signal.SIGKILL)
    wait_for("not ready", lambda: flow.ask("/ready")[0] == 503)
    wait_for("ready again", lambda: flow.ask("/ready")[0] == 200)
    assert flow.told(1)["STEP"] == "heavy"


def test_stop_answers_what_was_begun_and_leaves_nothing(tmp_path: Path) -> None:
    """At SIGTERM every request that was taken is answered, the exit code is 0, and no process is left."""
    with running(tmp_path, SMALL) as small:
        processes = small.tree()
        assert sum("infergraph.process.worker" in command_of(pid) for pid in processes) == 2
        with Load(small) as load:
            wait_for("requests", lambda: load.answered > 20)
            small.process.send_signal(signal.SIGTERM)
            assert small.process.wait(60) == 0
        refused = (ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected)
        assert [each for each in load.failures if not isinstance(each, refused)] == []
        wait_for("the end", lambda: not any(map(is_alive, processes)))


def test_killed_parent_leaves_nothing(tmp_path: Path) -> None:
    """A kill -9 of the process that keeps the groups ends them all."""
    with running(tmp_path, SMALL) as small:
        processes = small.tree()
        small.process.kill()
        wait_for("the end", lambda: not any(map(is_alive, processes - {small.process.pid})))


@pytest.mark.parametrize(("component", "code", "text"), [("Broken", 3, "no weights"), ("None", 2, "None")])
def test_what_cannot_start_says_why(tmp_path: Path, component: str, code: int, text: str) -> None:
    """A group that cannot start ends all, with its exit code and its reason."""
    found = Running(tmp_path, SMALL.replace("steps.py:Told", f"steps.py:{component}"))
    assert found.process.wait(60) == code
    assert text in found.errors.read_text()
