"""`serve --on`: a cut graph whose groups run on a Ray cluster, killed, moved, scaled and stopped under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e2e.process_run import Front, is_alive, parent_of, wait_for
from infergraph.cli.launch import plan_of
from infergraph.cli.ray_groups import ray_plan_of
from infergraph.process.groups import GroupsPlan
from infergraph.settings import Settings
from page_runner import clean_environment
from ray_nodes import RayNodes

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

STEPS = """
import os
import time


class First:
    def transform_input(self, X, names=None):
        return X


class Middle:
    def transform_input(self, X, names=None):
        time.sleep(float(X[0][0]))
        return X

    def tags(self):
        return {"middle": os.getpid()}


class Last:
    def predict(self, X, names=None):
        return X

    def tags(self):
        return {"last": os.getpid()}


class Broken:
    def load(self):
        raise ValueError("no weights")
"""
GRAPH = """
kind: SeldonDeployment
metadata: {name: flow}
spec:
  predictors:
  - name: default
    graph:
      name: first
      type: TRANSFORMER
      component: steps.py:First
      children:
      - name: middle
        type: TRANSFORMER
        component: steps.py:Middle
        MIDDLE
        resources: {requests: {cpu: 100m}}
        children:
        - {name: last, type: MODEL, component: "steps.py:Last", place: own, resources: {requests: {cpu: 100m}}}
"""
SCALED = "hpaSpec: {minReplicas: 1, maxReplicas: 3}"
READY_S = 120.0


class Served(Front):
    """A graph that is served, its groups on a cluster."""

    def predict(self, seconds: float = 0.0) -> tuple[int, Any]:
        """A prediction that takes so long, and its tags."""
        status, answer = self.ask("/api/v1.0/predictions", {"data": {"ndarray": [[seconds]]}})
        return status, answer["meta"]["tags"] if status == 200 else answer

    def pids(self, node: str) -> set[int]:
        """The processes that have answered at a node, of some requests."""
        answers = [self.predict() for _ in range(8)]
        assert {status for status, _ in answers} == {200}, answers
        return {tags[node] for _, tags in answers}

    def answering(self, node: str) -> set[int]:
        """The same, of the requests that succeed."""
        return {tags[node] for status, tags in [self.predict() for _ in range(8)] if status == 200}

    def listed(self, group: str) -> list[str]:
        """The addresses of a group."""
        file = self.errors.parent / f".infergraph/groups/{group}.hosts"
        return file.read_text().split() if file.exists() else []


@contextmanager
def started(command: list[str], folder: Path, stdin: Any = None, **more: Any) -> Iterator[Served]:
    """A process that serves from `folder`; it is stopped at the end of the block."""
    errors = folder / "errors.log"
    with errors.open("wb") as log:
        environment = {**clean_environment(), "RAY_AUTH_MODE": "disabled"}
        process = subprocess.Popen(command, cwd=folder, stdin=stdin, stderr=log, env=environment, **more)
    try:
        yield Served(process, errors)
    finally:
        process.terminate()
        process.wait(60)


def written(folder: Path, middle: str, steps: str = STEPS) -> None:
    """Write the graph and its code."""
    (folder / "steps.py").write_text(steps)
    (folder / "graph.yaml").write_text(GRAPH.replace("MIDDLE", middle))


@contextmanager
def load(served: Served, clients: int, seconds: float) -> Iterator[list[tuple[int, Any]]]:
    """Clients that ask again and again during the block; what was no success."""
    failed: list[tuple[int, Any]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = served.predict(seconds)
            if answer[0] != 200:
                failed.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """A cluster whose head takes no work."""
    with RayNodes(0) as cluster:
        cluster.add(1)
        yield cluster


COMMAND = str(Path(sys.executable).with_name("infergraph"))
FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--log-format", "json", "--tasks", "off")


def test_replicas_are_killed_and_moved_and_end_with_the_front(nodes: RayNodes, tmp_path: Path) -> None:
    """A killed replica costs no request, one on a node that is gone moves, and the end of the front ends them all."""
    nodes.add(1)
    written(tmp_path, "replicas: 2")
    with started([COMMAND, "serve", "graph.yaml", "--on", nodes.address, *FREE], tmp_path) as served:
        served.wait_ready(READY_S)
        before = wait_for(
            "both to answer", lambda: found if len(found := served.pids("middle")) == 2 else None, READY_S
        )
        with load(served, 4, 0.02) as failed:
            os.kill(min(before), signal.SIGKILL)  # the worker; its supervisor starts another one
            wait_for("another worker", lambda: len(served.pids("middle") - before) == 1, READY_S)
            replica = parent_of(parent_of(max(before)))
            os.kill(replica, signal.SIGKILL)  # the actor, and with it its server
            wait_for("its server's end", lambda: not is_alive(max(before)))
            wait_for("another replica", lambda: len(served.pids("middle") - before) == 2, READY_S)
        assert failed == []
        lost = min(served.pids("middle"))
        nodes.kill(parent_of(parent_of(parent_of(lost))))  # the Ray node that its actor is on
        wait_for("its server's end", lambda: not is_alive(lost))
        wait_for("its successor elsewhere", lambda: len(served.answering("middle") - {lost}) == 2, READY_S)
        pids = served.pids("middle") | served.pids("last")
        served.process.terminate()
        assert served.process.wait(60) == 0
        wait_for("the end of all replicas", lambda: not any(map(is_alive, pids)))


def test_replicas_follow_the_load_and_lose_nothing(nodes: RayNodes, tmp_path: Path) -> None:
    """More requests in flight are more replicas; fewer are fewer, and no request is lost on the way."""
    written(tmp_path, SCALED)
    plan = scaled(tmp_path, nodes.address)
    with tempfile.TemporaryFile() as stdin:
        stdin.write(msgspec.json.encode(plan))
        stdin.seek(0)
        command = [sys.executable, "-P", "-m", "infergraph.process.groups"]
        with started(command, tmp_path, stdin, pass_fds=plan.held) as served:
            served.wait_ready(READY_S)
            with load(served, 1, 0.05) as failed:
                with load(served, 8, 0.05) as failed_beside:
                    wait_for("three replicas", lambda: len(served.listed("middle")) == 3, READY_S)
                wait_for("one replica", lambda: len(served.listed("middle")) == 1)
                wait_for("the end of one that left", lambda: len(served.pids("middle")) == 1)
            assert failed + failed_beside == []


def test_what_cannot_start_is_said(nodes: RayNodes, tmp_path: Path) -> None:
    """A component that cannot be loaded ends it all with its exit code, and with the words of the replica."""
    written(
        tmp_path, "replicas: 1", STEPS.replace("class Middle:", "class Unused:").replace("class Broken", "class Middle")
    )
    with started([COMMAND, "serve", "graph.yaml", "--on", nodes.address, *FREE], tmp_path) as served:
        assert served.process.wait(READY_S) == 3
        (line,) = [line for line in served.log() if line["event"] == "a replica cannot start"]
        assert line["group"] == "middle"
        assert "no weights" in line["how"]


def scaled(folder: Path, address: str) -> GroupsPlan:
    """The plan of the graph in `folder`, whose middle follows its load within seconds."""
    settings = Settings(http_port=0, grpc_port=0, metrics_port=0, tasks=False, data_dir=str(folder / ".infergraph"))
    settings = msgspec.structs.replace(settings, log_format="json")
    target = str(folder / "graph.yaml")
    plan = ray_plan_of(plan_of(target, msgspec.convert(msgspec.to_builtins(settings), Settings)), target, address)
    assert plan.ray is not None
    groups = [
        msgspec.structs.replace(group, scaling=msgspec.structs.replace(group.scaling, up_s=0.5, down_s=2.0))
        for group in plan.ray.groups
    ]
    return msgspec.structs.replace(plan, ray=msgspec.structs.replace(plan.ray, groups=tuple(groups)))
