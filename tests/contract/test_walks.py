"""The walks of the house: how many files a request enters, and how often it crosses from one to another.

The budgets are what the code does today: a change that needs more of them says so here (docs/decisions/0024-walks.md).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import msgspec
import pytest

import served
from contract import nodes
from infergraph.settings import Settings
from infergraph.tasks.batch import BatchConfig, run_batch
from infergraph.tasks.clocks import Clocks
from infergraph.wire import prediction
from walk import Walk

BODY = b'{"data":{"ndarray":[[1,2]]}}'
V2_BODY = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}'
PARTS = """
import numpy as np

class Double:
    execution = "inline"
    def predict(self, X, names=None): return np.asarray(X) * 2

class Threaded(Double):
    execution = "thread"

class Step:
    execution = "inline"
    def transform_input(self, X, names=None): return np.asarray(X) * 2
    def transform_output(self, X, names=None): return np.asarray(X) * 2
"""
GRAPH = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: flow}
spec:
  predictors:
  - name: default
    graph:
      name: first
      type: TRANSFORMER
      component: walk_parts.py:Step
      children:
      - name: last
        type: OUTPUT_TRANSFORMER
        component: walk_parts.py:Step
        children:
        - {name: model, type: MODEL, component: "walk_parts.py:Double"}
"""


class Budget(NamedTuple):
    """What a walk may take at most."""

    files: int
    crossings: int
    pairs: int = 0


class Walker:
    """Asks one thing over a kept connection."""

    def __init__(self, path: str) -> None:
        self._path = path

    def connect(self, there: served.Served) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", there.http_port, timeout=30)

    def ask(self) -> None:
        self._connection.request("POST", self._path, BODY, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        assert (reply.status, reply.read()[:8]) == (200, b'{"data":')

    def close(self) -> None:
        self._connection.close()


class V2Walker(Walker):
    """A request of the open inference protocol."""

    def ask(self) -> None:
        self._connection.request("POST", self._path, V2_BODY, {"Content-Type": "application/json"})
        reply = self._connection.getresponse()
        assert (reply.status, reply.read()[:13]) == (200, b'{"model_name"')


class GrpcWalker(Walker):
    """The same over gRPC."""

    def connect(self, there: served.Served) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{there.grpc_port}")
        self._call = self._channel.unary_unary(self._path)
        array = prediction.Tensor(shape=[1, 2], values=[1.0, 2.0])
        self._request = prediction.SeldonMessage(data=prediction.DefaultData(tensor=array)).SerializeToString()

    def ask(self) -> None:
        assert self._call(self._request, timeout=30)

    def close(self) -> None:
        self._channel.close()


class UploadWalker(Walker):
    """A task, each under a name of its own."""

    def connect(self, there: served.Served) -> None:
        super().connect(there)
        self._number = 0

    def ask(self) -> None:
        self._number += 1
        parts = {"task_id": f"t{self._number}", "immediate": "true", "task_file": "{}"}
        form = "".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in parts.items())
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        self._connection.request("POST", self._path, f"{form}--b--\r\n", kind)
        reply = self._connection.getresponse()
        assert (reply.status, reply.read()) == (200, b'{"status":200}')


WALKS = {
    "REST": ("walk_parts.py:Double", Walker("/predict"), Budget(20, 37)),
    "REST, event loop's part": ("walk_parts.py:Threaded", Walker("/predict"), Budget(7, 13, 2)),
    "gRPC": ("walk_parts.py:Double", GrpcWalker("/seldon.protos.Model/Predict"), Budget(18, 35, 1)),
    "REST, open inference protocol": ("walk_parts.py:Double", V2Walker("/v2/models/Double/infer"), Budget(27, 55)),
    "graph of three": ("flow.yaml", Walker("/api/v1.0/predictions"), Budget(24, 95, 2)),
    "task upload": ("walk_parts.py:Double", UploadWalker("/tasks"), Budget(14, 45, 1)),
}


def on_loop(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call a function on a loop of another thread, and wait until it has been called."""
    called = threading.Event()
    loop.call_soon_threadsafe(lambda: (function(), called.set()))
    assert called.wait(30)


@pytest.mark.parametrize(("target", "walker", "budget"), WALKS.values(), ids=WALKS)
def test_a_request_stays_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, walker: Walker, budget: Budget
) -> None:
    """On the thread of the event loop a request enters no more files, and crosses no more often, than its budget."""
    (tmp_path / "walk_parts.py").write_text(PARTS)
    (tmp_path / "flow.yaml").write_text(GRAPH)
    settings = {"tasks": True, "data_dir": str(tmp_path / "data")} if isinstance(walker, UploadWalker) else {}
    check(walked(tmp_path, monkeypatch, target, walker, **settings), budget)


HOPS = {"a fixed address": (1, Budget(20, 35, 2)), "three addresses": (3, Budget(21, 37, 3))}


@pytest.mark.parametrize(("addresses", "budget"), HOPS.values(), ids=HOPS)
def test_a_hop_stays_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: int, budget: Budget
) -> None:
    """A remote node at a fixed address is called without what balancing needs, which costs a few crossings."""
    kind = {"kind": "const", "body": BODY}
    with nodes.serving({str(number): kind for number in range(addresses)}) as there:
        hosts = [f"127.0.0.1:{port}" for port in there.ports.values()]
        one = {"service_host": "127.0.0.1", "service_port": there.ports["0"]}
        endpoint = {"type": "REST", **(one if addresses == 1 else {"service_hosts": hosts})}
        graph = {"name": "node", "type": "MODEL", "endpoint": endpoint}
        (tmp_path / "hop.json").write_text(json.dumps({"name": "main", "graph": graph}))
        # so many, that chance has come to each address, and a connection is kept to it
        walk = walked(tmp_path, monkeypatch, "hop.json", Walker("/api/v1.0/predictions"), asked_before=30)
    check(walk, budget)
    assert ("net/members.py" in walk.files) is (addresses > 1)


def walked(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    walker: Walker,
    *,
    asked_before: int = 3,
    **settings: Any,
) -> Walk:
    """The walk of one request on the event loop's thread, after some others."""
    monkeypatch.delitem(sys.modules, "flask", raising=False)  # which an earlier test's component may have imported
    loops: list[asyncio.AbstractEventLoop] = []
    serve = served.serve

    async def noting(context: object) -> None:
        loops.append(asyncio.get_running_loop())
        await serve(context)  # type: ignore[arg-type]

    monkeypatch.setattr(served, "serve", noting)
    walk = Walk()
    recording = walk.recording()
    with served.served(target, folder=folder, **settings) as there:
        walker.connect(there)
        for _ in range(asked_before):  # what is done once, is not counted
            walker.ask()
        on_loop(loops[0], recording.__enter__)
        walker.ask()
        on_loop(loops[0], lambda: recording.__exit__(None, None, None))
        walker.close()
    return walk


def check(walk: Walk, budget: Budget) -> None:
    assert len(walk.files) <= budget.files, str(walk)
    assert walk.crossings.total() <= budget.crossings, str(walk)
    assert len(walk.pairs) <= budget.pairs, str(walk)


def test_the_drivers_loop_has_no_pair(tmp_path: Path) -> None:
    """No two files of the task driver call each other both ways, but for a seam's base class and what fills it in."""
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    config = BatchConfig(
        input=tmp_path / "rows.jsonl",
        output=tmp_path / "out.jsonl",
        settings=Settings(task_workers="1"),
        factory="task_units:make",
        source=msgspec.json.encode({"unit": "Echo"}).decode(),
    )
    walk = Walk()
    with walk.recording():
        task = run_batch(config, Clocks())
    assert task.done == 2
    expected = {
        ("tasks/engines/engine.py", "tasks/engines/local.py"),  # the base class calls what an engine fills in
        ("tasks/batch.py", "tasks/driver/driver.py"),  # a batch is told of each round, to count what is done
    }
    assert walk.pairs <= expected, str(walk)
