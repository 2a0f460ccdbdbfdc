"""Components that depend on their thread, or misuse it, are answered rightly wherever they run and are asked.

unit, node of a graph, task    ×    a thread of its own, inline    ×    REST, gRPC
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import json_format

from infergraph.settings import Execution, RowMode, Settings
from infergraph.tasks.batch import BatchConfig, run_batch
from infergraph.tasks.clocks import Clocks
from infergraph.unit_source import UnitSource
from infergraph.wire import prediction
from served import Served, served

HERE = Path(__file__).parent / "microservice"
SOURCE = HERE / "hostile_components.py"
ND = {"data": {"ndarray": [[1, 2]]}}
TIMES = 12
"""More than the threads of a pool, or the calls after which an object's behaviour could change."""

BOUND = ("GlobalSqlite", "LateSqlite", "GlobalLocal", "LateLoop", "LateRun", "Precision", "Forks")
EXECUTIONS = pytest.mark.parametrize("execution", ["auto", "inline"])
SHAPES = pytest.mark.parametrize("shape", ["unit", "graph"])


class Servers:
    """One worker for each component, shape and setting that is asked, kept for the module."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._known: dict[str, Served] = {}

    def __call__(self, name: str, shape: str = "unit", **settings: Any) -> Served:
        key = json.dumps([name, shape, settings], sort_keys=True)
        if key not in self._known:
            folder = self._folder / str(len(self._known))
            folder.mkdir()
            file = shutil.copy(SOURCE, folder / f"hostile{len(self._known)}.py")  # a module of its own, as in a process
            target = f"{file}:{name}" if shape == "unit" else str(chain_of(f"{file}:{name}", folder))
            self._known[key] = self._stack.enter_context(served(target, folder=folder, **settings))
        return self._known[key]


def chain_of(component: str, folder: Path) -> Path:
    """A deployment file with two of them, asked one after the other."""
    second = {"name": "second", "type": "MODEL", "component": component, "children": []}
    first = {"name": "first", "type": "TRANSFORMER", "component": component, "children": [second]}
    spec = {"predictors": [{"name": "p", "graph": first}]}
    path = folder / "deployment.json"
    path.write_text(json.dumps({"kind": "SeldonDeployment", "metadata": {"name": "hostile"}, "spec": spec}))
    return path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp("graphs"))


def message() -> Any:
    return json_format.ParseDict(ND, prediction.SeldonMessage())


def by_rest(there: Served, shape: str) -> list[Any]:
    reply = there.post("/predict" if shape == "unit" else "/api/v1.0/predictions", ND)
    assert reply.status == 200, reply.body
    data = reply.json["data"]
    return data["ndarray"] if "ndarray" in data else data["tensor"]["values"]


def by_grpc(there: Served) -> Any:
    return json_format.MessageToDict(there.call("Seldon/Predict", message()))["data"]["ndarray"]


@EXECUTIONS
@SHAPES
@pytest.mark.parametrize("name", BOUND)
def test_what_is_bound_to_a_thread_stays_in_it(servers: Servers, name: str, shape: str, execution: str) -> None:
    """Whatever a component opens in its thread, when ever, is there for all of its requests, over both protocols."""
    there = servers(name, shape, execution=execution)
    first = by_rest(there, shape)
    for _ in range(TIMES):
        assert by_rest(there, shape) == first == [[7]]
        assert by_grpc(there) == [[7.0]]


@EXECUTIONS
def test_hooks_beside_the_answer_run_in_the_same_thread(servers: Servers, execution: str) -> None:
    """Tags, health and metadata find what `load` has set up in its thread."""
    there = servers("GlobalLocal", execution=execution)
    assert there.post("/predict", ND).json["meta"]["tags"] == {"model": 7}
    assert there.get("/health/status").json["strData"] == "model 7"
    assert there.get("/metadata").json["name"] == "model 7"


@EXECUTIONS
@SHAPES
@pytest.mark.parametrize("name", ["Recursive", "Exits"])
def test_what_would_end_a_program_is_an_error_of_its_request(
    servers: Servers, name: str, shape: str, execution: str
) -> None:
    """SystemExit, KeyboardInterrupt, an endless recursion and the like are 500 and INTERNAL, and end nothing else."""
    there = servers(name, shape, execution=execution)
    path = "/predict" if shape == "unit" else "/api/v1.0/predictions"
    for _ in range(12):
        assert there.post(path, ND).status == 500
        with pytest.raises(grpc.RpcError) as caught:
            there.call("Seldon/Predict", message())
        assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert there.get("/live").status == 200


def test_a_signal_handler_is_refused_by_python_and_told(servers: Servers) -> None:
    """In a thread of its own a component cannot set signal handlers: its caller gets Python's words and the way out."""
    reply = servers("Alarm").post("/predict", ND)
    assert reply.status == 500
    assert reply.json["status"]["info"].endswith("main interpreter; with execution=inline a component runs there")


def test_a_component_may_ask_its_own_server(servers: Servers) -> None:
    """A component that calls the server it runs in is answered, since it does not hold up the event loop."""
    there = servers("AsksItsServer")
    request = {"data": {"ndarray": [[there.http_port, 0]]}}
    for _ in range(TIMES):
        assert there.post("/predict", request).json["data"] == {"names": ["t:0"], "ndarray": [[7]]}


def test_a_component_that_stalls_holds_up_nobody_else(tmp_path: Path) -> None:
    """However long it was fast, a component that suddenly waits leaves probes and other callers alone."""
    stall, go = tmp_path / "stall", tmp_path / "go"
    parameters = json.dumps(
        [{"name": name, "value": str(path), "type": "STRING"} for name, path in (("stall", stall), ("go", go))]
    )
    with served(f"{SOURCE}:Stalls", folder=HERE, parameters=parameters) as there:
        for _ in range(300):
            assert there.post("/predict", ND).status == 200
        stall.touch()
        stalled = threading.Thread(target=there.post, args=("/predict", ND))
        stalled.start()
        while not (tmp_path / "stalled").exists():
            pass
        for path in ("/live", "/ready", "/health/ping", "/metrics"):
            assert there.get(path).status == 200
        assert stalled.is_alive()
        go.touch()
        stalled.join()


@EXECUTIONS
@pytest.mark.parametrize(("name", "answered"), [("GlobalSqlite", True), ("LateLoop", True), ("Exits", False)])
def test_lines_of_a_task_run_in_one_thread_too(name: str, answered: bool, execution: str, tmp_path: Path) -> None:
    """A task answers each line of a component that is bound to its thread; what raises is an error line each."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{json.dumps(ND)}\n" * TIMES)
    settings = Settings(execution=Execution(execution), task_rows=RowMode.MESSAGE)
    source = UnitSource(target=f"{SOURCE.name}:{name}", folder=str(HERE))
    config = BatchConfig(
        input=rows,
        output=tmp_path / "answers.jsonl",
        factory="infergraph.assembly:build_for_tasks",
        source=msgspec.json.encode(source).decode(),
        settings=settings,
    )
    task = run_batch(config, Clocks())
    assert (task.done, task.failed) == (TIMES, 0 if answered else TIMES)
