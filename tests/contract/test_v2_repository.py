"""The model repository: loading again beside what answers, unloading, and who may."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from served import Served, served

MODEL = """
import pathlib
import weakref
from words import WORD

LIVING = weakref.WeakSet()

class Model:
    def __init__(self):
        LIVING.add(self)
        self.cycle = self

    def load(self):
        if pathlib.Path(__file__).with_name("broken").exists():
            raise RuntimeError("no weights today")

    def predict(self, X, names, meta=None):
        return [WORD]
"""
INFER = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}
FACES = ("", "/ready", "/config", "/stats")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "reloaded_model.py").write_text(MODEL)
    (tmp_path / "words.py").write_text("WORD = 'old'\n")
    yield tmp_path
    for name in ("reloaded_model", "words"):  # workers of the next test are in this process too
        sys.modules.pop(name, None)


@pytest.fixture
def there(folder: Path) -> Iterator[Served]:
    with served("reloaded_model.py:Model", folder=folder, model_control="on") as there:
        yield there


def word(there: Served) -> str:
    answer = there.post("/v2/models/Model/infer", INFER)
    assert answer.status == 200, answer
    return str(answer.json["outputs"][0]["data"][0])


def act(there: Served, action: str, model: str = "Model") -> Any:
    return there.ask("POST", f"/v2/repository/models/{model}/{action}", b"")


def test_a_load_takes_changed_code_of_all_its_files(there: Served, folder: Path) -> None:
    """A loaded model is loaded again, with the modules that it imports from its folder."""
    assert word(there) == "old"
    (folder / "words.py").write_text("WORD = 'newer'\n")
    answer = act(there, "load")
    assert (answer.status, answer.json) == (200, {"name": "Model", "load": True})
    assert word(there) == "newer"


def test_a_load_that_fails_leaves_what_answers(there: Served, folder: Path) -> None:
    """The answer is 400 and says why; requests are answered by the model that was there, and a later load succeeds."""
    (folder / "words.py").write_text("WORD = 'newer'\n")
    (folder / "broken").touch()
    answer = act(there, "load")
    assert answer.status == 400
    assert answer.json["error"].startswith("failed to load 'Model', ")
    assert "no weights today" in answer.json["error"]
    assert word(there) == "old"
    (folder / "broken").unlink()
    assert act(there, "load").status == 200
    assert word(there) == "newer"


def test_an_unloaded_model_is_unknown_in_v2_and_not_ready_in_seldons(there: Served) -> None:
    """Its V2 paths are 404, Seldon's paths 503, the server stays ready; a load brings all of it back."""
    assert act(there, "unload").status == 200
    assert [there.get(f"/v2/models/Model{face}").status for face in FACES] == [404] * len(FACES)
    assert there.post("/v2/models/Model/infer", INFER).status == 404
    assert there.get("/v2/models").json == {"models": []}
    assert there.get("/v2/models/stats").json == {"model_stats": []}
    assert there.post("/predict", {"data": {"ndarray": [[1]]}}).status == 503
    assert there.get("/ready").status == 503
    assert there.get("/v2/health/ready").json == {"ready": True}
    assert act(there, "unload").status == 404
    assert act(there, "load").status == 200
    assert word(there) == "old"
    assert [there.get(f"/v2/models/Model{face}").status for face in FACES] == [200] * len(FACES)
    assert there.get("/ready").status == 200


def living(folder: Path) -> Any:
    """The components of the module that was imported last from the folder."""
    file = str(folder / "reloaded_model.py")
    return next(module.LIVING for module in sys.modules.values() if getattr(module, "__file__", None) == file)


def test_an_unloaded_model_is_no_longer_in_memory(there: Served, folder: Path) -> None:
    """Nothing holds the component, nor its predecessor after a load, cycles included."""
    assert word(there) == "old"
    first = living(folder)
    assert len(first) == 1
    act(there, "load")
    assert len(first) == 0
    second = living(folder)
    assert len(second) == 1
    act(there, "unload")
    assert len(second) == 0


def test_the_index_tells_the_state(there: Served) -> None:
    """READY, and UNAVAILABLE with a reason once unloaded; then it is not among those that are ready."""
    index = there.ask("POST", "/v2/repository/index", b"").json
    assert index == [{"name": "Model", "state": "READY", "reason": ""}]
    act(there, "unload")
    assert there.ask("POST", "/v2/repository/index", b"{}").json == [
        {"name": "Model", "state": "UNAVAILABLE", "reason": "unloaded"}
    ]
    assert there.post("/v2/repository/index", {"ready": True}).json == []
    assert [each.state for each in there.rpc("RepositoryIndex").models] == ["UNAVAILABLE"]
    assert not there.rpc("RepositoryIndex", ready=True).models


def test_a_load_of_an_unloaded_model_that_fails_says_so_in_the_index(there: Served, folder: Path) -> None:
    """The model stays unavailable, with the reason of the failure."""
    act(there, "unload")
    (folder / "broken").touch()
    assert act(there, "load").status == 400
    [entry] = there.ask("POST", "/v2/repository/index", b"").json
    assert entry["state"] == "UNAVAILABLE"
    assert "no weights today" in entry["reason"]
    assert there.post("/v2/models/Model/infer", INFER).status in (404, 503)
    (folder / "broken").unlink()
    assert act(there, "load").status == 200
    assert word(there) == "old"


def test_the_calls_of_grpc_do_the_same(there: Served) -> None:
    """Unload, ask, load, over gRPC: NOT_FOUND and not ready in between."""
    there.rpc("RepositoryModelUnload", model_name="Model")
    assert not there.rpc("ModelReady", name="Model").ready
    assert there.rpc("ServerReady").ready
    with pytest.raises(grpc.RpcError) as unknown:
        there.rpc("ModelMetadata", name="Model")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    there.rpc("RepositoryModelLoad", model_name="Model")
    assert there.rpc("ModelReady", name="Model").ready


@pytest.mark.parametrize(
    ("parameters", "status"),
    [({"config": "{}"}, 400), ({"file:1/model.py": "eA=="}, 400), ({"unload_dependents": True}, 200), ("x", 400)],
)
def test_parameters_of_a_load(there: Served, parameters: Any, status: int) -> None:
    """Those that would change the model are refused, others are taken."""
    assert there.post("/v2/repository/models/Model/load", {"parameters": parameters}).status == status


def test_without_the_setting_nobody_loads_or_unloads(folder: Path) -> None:
    """403 and PERMISSION_DENIED name the setting; the index is there."""
    with served("reloaded_model.py:Model", folder=folder) as there:
        for action in ("load", "unload"):
            answer = act(there, action)
            assert answer.status == 403
            assert "model_control=on" in answer.json["error"]
        with pytest.raises(grpc.RpcError) as denied:
            there.rpc("RepositoryModelUnload", model_name="Model")
        assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "model_control=on" in denied.value.details()
        assert there.ask("POST", "/v2/repository/index", b"").json[0]["state"] == "READY"


@pytest.fixture
def graph(folder: Path) -> Path:
    (folder / "second.py").write_text("class Second:\n    def predict(self, X, names):\n        return [f'{X[0]}!']\n")
    file = folder / "flow.json"
    node = {"name": "second", "component": "second.py:Second", "type": "MODEL"}
    root = {"name": "first", "component": "reloaded_model.py:Model", "type": "MODEL", "children": [node]}
    document = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "metadata": {"name": "flow"},
                "spec": {"predictors": [{"name": "main", "graph": root}]}}  # fmt: skip
    file.write_text(json.dumps(document))
    return file


def test_a_graph_is_one_entry_and_its_nodes_follow(graph: Path) -> None:
    """The graph is loaded again as a whole, with its nodes' code; a node cannot be loaded alone."""
    with served("flow.json", folder=graph.parent, model_control="on") as there:
        index = there.ask("POST", "/v2/repository/index", b"").json
        assert [entry["name"] for entry in index] == ["flow", "flow/first", "flow/second"]
        assert there.post("/v2/models/flow/infer", INFER).json["outputs"][0]["data"] == ["old!"]
        (graph.parent / "words.py").write_text("WORD = 'newer'\n")
        assert act(there, "load", "flow").status == 200
        assert there.post("/v2/models/flow/infer", INFER).json["outputs"][0]["data"] == ["newer!"]
        assert act(there, "load", "first").status == 404
        assert act(there, "unload", "flow").status == 200
        assert there.post("/api/v1.0/predictions", {"data": {"ndarray": [[1]]}}).status == 503
        faces = ("flow", "flow/ready", "flow/config", "flow/stats", "first", "first/ready")
        assert [there.get(f"/v2/models/{face}").status for face in faces] == [404] * len(faces)
        assert act(there, "load", "flow").status == 200
        assert there.post("/v2/models/flow/infer", INFER).json["outputs"][0]["data"] == ["newer!"]
