"""Operation in the open inference protocol: metrics, statistics, documents, limits, and KServe's first protocol."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.process_run import wait_for
from infergraph.protocol.services import INFERENCE
from infergraph.wire.prediction import SERVICES, message_class
from served import Served, served

UNITS = """
import asyncio
import numpy as np

class Scores:
    def init_metadata(self):
        return {"name": "scores", "versions": ["3"], "platform": "numpy",
                "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 2]},
                           {"name": "word", "datatype": "BYTES", "shape": [1]}],
                "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1, 3]}]}

    def class_names(self):
        return ["cat", "dog", "owl"]

    def predict(self, X, names, meta=None):
        rows = X["rows"] if isinstance(X, dict) else X
        scores = np.array([0.1, 0.7, 0.2], dtype=np.float32)
        return np.repeat(scores[None], len(rows), axis=0)

class Plain:
    def predict(self, X, names, meta=None):
        return X

class Several:
    def predict(self, X, names, meta=None):
        return {"flat": np.array([3, 1, 2]), "deep": np.arange(8.0).reshape(2, 2, 2), "text": np.array(["a"])}

class Waits:
    async def predict(self, X, names, meta=None):
        await asyncio.Event().wait()
"""


def tensor(name: str = "x", **members: Any) -> dict[str, Any]:
    return {"name": name, "shape": [1, 2], "datatype": "FP32", "data": [1, 2], **members}


ROWS, WORD = tensor("rows"), tensor("word", shape=[1], datatype="BYTES", data=["w"])
INFER = {"inputs": [ROWS, WORD]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units")
    (folder / "v2_units.py").write_text(UNITS)
    return folder


@pytest.fixture(scope="module")
def scores(folder: Path) -> Iterator[Served]:
    with served("v2_units.py:Scores", folder=folder, v2_server_name="triton") as there:
        yield there


@pytest.fixture(scope="module")
def strict(folder: Path) -> Iterator[Served]:
    with served("v2_units.py:Scores", folder=folder, strict=True) as there:
        yield there


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Served]:
    with served("v2_units.py:Plain", folder=folder) as there:
        yield there


def infer_over_grpc(there: Served, **members: Any) -> Any:
    contents = {"fp32_contents": [1, 2]}
    entry = {"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": contents}
    return there.rpc("ModelInfer", inputs=[entry], **members)


def counted(there: Served) -> Counter[tuple[str, str, str]]:
    """How many requests by method, protocol and transport."""
    families = text_string_to_metric_families(there.get("/metrics").body.decode())
    samples = [each for family in families for each in family.samples if each.name == "infergraph_requests_total"]
    found: Counter[tuple[str, str, str]] = Counter()
    for each in samples:
        found[each.labels["method"], each.labels["protocol"], each.labels["transport"]] += int(each.value)
    return found


def statistics(there: Served) -> dict[str, Any]:
    [entry] = there.get("/v2/models/stats").json["model_stats"]
    found: dict[str, Any] = entry
    return found


# ── metrics and statistics ──────────────────────────────────────────────────────────────────────────────────────────


def test_requests_are_counted_by_protocol(folder: Path) -> None:
    """The label says which protocol; an unknown model's name is no label."""
    with served("v2_units.py:Plain", folder=folder) as there:
        there.post("/predict", {"data": {"ndarray": [[1]]}})
        there.post("/v2/models/Plain/infer", {"inputs": [tensor()]})
        there.post("/v2/models/nobody/infer", {"inputs": [tensor()]})
        infer_over_grpc(there, model_name="Plain")
        there.get("/v2/models/Plain")
        there.ask("POST", "/v2/repository/index", b"")
        found = counted(there)
        assert found["predict", "seldon", "rest"] == 1
        assert found["infer", "v2", "rest"] == 2
        assert found["infer", "v2", "grpc"] == 1
        assert found["metadata", "v2", "rest"] == found["index", "v2", "rest"] == 1
        assert b"nobody" not in there.get("/metrics").body


def test_statistics_count_both_protocols(folder: Path) -> None:
    """Predictions of Seldon's protocol count like inferences; what fails is counted as such, an unknown model not."""
    with served("v2_units.py:Plain", folder=folder) as there:
        there.post("/predict", {"data": {"ndarray": [[1]]}})
        there.post("/v2/models/Plain/infer", {"inputs": [tensor()]})
        there.post("/v2/models/Plain/infer", {"inputs": []})
        there.post("/v2/models/nobody/infer", {"inputs": [tensor()]})
        found = statistics(there)
        assert (found["name"], found["version"]) == ("Plain", "")
        stats = found["inference_stats"]
        assert (stats["success"]["count"], stats["fail"]["count"]) == (2, 1)
        assert stats["compute_infer"]["count"] == found["execution_count"] == found["inference_count"] == 2
        assert stats["compute_infer"]["ns"] > 0
        [other] = there.rpc("ModelStatistics").model_stats
        assert other.inference_stats.success.count == 2
        assert there.get("/v2/models/nobody/stats").status == 404


def test_the_configuration_is_the_metadata_in_tritons_form(scores: Served) -> None:
    """Names, data types and dims of inputs and outputs; BYTES is called STRING."""
    found = scores.get("/v2/models/Scores/config").json
    assert found == {
        "name": "Scores",
        "platform": "numpy",
        "backend": "python",
        "max_batch_size": 0,
        "input": [
            {"name": "rows", "data_type": "TYPE_FP32", "dims": [-1, 2]},
            {"name": "word", "data_type": "TYPE_STRING", "dims": [1]},
        ],
        "output": [{"name": "score", "data_type": "TYPE_FP32", "dims": [-1, 3]}],
    }
    config = scores.rpc("ModelConfig", name="Scores", version="3").config
    assert (config.name, config.backend, [each.data_type for each in config.input]) == ("Scores", "python", [11, 13])
    assert scores.get("/v2/models/Scores/versions/9/config").status == 404


# ── server metadata and documents ───────────────────────────────────────────────────────────────────────────────────


def test_the_server_has_the_name_that_it_was_given(scores: Served, plain: Served) -> None:
    """`v2_server_name` over both transports; infergraph without it; the extensions are the same list."""
    assert scores.get("/v2").json["name"] == scores.rpc("ServerMetadata").name == "triton"
    found = plain.get("/v2/").json
    assert found["name"] == "infergraph"
    assert found["extensions"] == list(plain.rpc("ServerMetadata").extensions)


@pytest.mark.parametrize("prefix", ["/v2", "/v2/models/Scores", "/v2/models/Scores/versions/3"])
def test_the_documents_are_there_under_the_protocols_paths(scores: Served, prefix: str) -> None:
    """The OpenAPI document, and a way to the page from any depth."""
    assert scores.get(f"{prefix}/docs/dataplane.json").json == scores.get("/openapi.json").json
    moved = scores.get(f"{prefix}/docs")
    assert moved.status == 302
    depth = prefix.count("/")
    assert moved.headers["location"] == "../" * depth + "docs"


@pytest.mark.parametrize("path", ["/v2/models/nobody/docs", "/v2/models/Scores/versions/1/docs/dataplane.json"])
def test_documents_of_an_unknown_model_are_not_there(scores: Served, path: str) -> None:
    """404 in the protocol's form."""
    answer = scores.get(path)
    assert answer.status == 404
    assert "unknown model" in answer.json["error"]


def test_a_graph_is_asked_and_counted_as_under_seldons_protocol(folder: Path) -> None:
    """A pre-flight allows the header that says where raw tensors begin too; the orchestrator's metrics count infer."""
    node = {"name": "only", "type": "MODEL", "component": "v2_units.py:Plain"}
    document = {"metadata": {"name": "flow"}, "spec": {"predictors": [{"name": "main", "graph": node}]}}
    (folder / "flow.json").write_text(json.dumps({"kind": "SeldonDeployment", **document}))
    with served("flow.json", folder=folder) as there:
        asked = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}
        answer = there.ask("OPTIONS", "/v2/models/flow/infer", None, asked)
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert "inference-header-content-length" in allowed
        assert "content-type" in allowed
        there.post("/v2/models/flow/infer", {"inputs": [tensor()]})
        families = text_string_to_metric_families(there.get("/metrics").body.decode())
        name = "seldon_api_executor_server_requests_seconds_count"
        labels = [each.labels for family in families for each in family.samples if each.name == name]
        assert [(each["method"], each["code"]) for each in labels if each["service"] == "predictions"] == [
            ("post", "200")
        ]


def test_probes_and_control_are_no_load(folder: Path) -> None:
    """While the concurrency limit is reached, probes and the index are answered over both transports, infer is not."""
    with served("v2_units.py:Waits", folder=folder, concurrency_limit=1) as there, there.channel() as channel:
        asked, _ = map(message_class, SERVICES[INFERENCE]["ModelInfer"])
        entry = {"name": "x", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1]}}
        ask = channel.unary_unary(f"/{INFERENCE}/ModelInfer", lambda message: message.SerializeToString())
        request = asked(model_name="Waits", inputs=[entry])
        waiting = ask.future(request)

        def is_full() -> bool:
            nonlocal waiting
            with pytest.raises(grpc.RpcError) as refused:
                infer_over_grpc(there, model_name="Waits", parameters={"timeout": {"int64_param": 50_000}})
            if waiting.done():  # refused, since the call that asks whether it is full was there first
                waiting = ask.future(request)
            return bool(refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED)

        wait_for("the limit", is_full)
        assert there.rpc("ServerReady").ready
        assert there.rpc("ModelReady", name="Waits").ready
        assert there.rpc("RepositoryIndex").models
        assert there.get("/v2/health/ready").status == 200
        assert there.ask("POST", "/v2/repository/index", b"").status == 200
        waiting.cancel()


def test_a_page_of_another_origin_may_read_the_header_of_blobs(plain: Served) -> None:
    """The size of the JSON before the blobs is exposed to scripts."""
    infer = {"inputs": [tensor()], "parameters": {"binary_data_output": True}}
    answer = plain.post("/v2/models/Plain/infer", infer, Origin="http://page.example")
    assert "inference-header-content-length" in answer.headers["access-control-expose-headers"].lower()


# ── classification ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_classes_are_the_largest_with_their_labels(scores: Served) -> None:
    """k texts a row, the largest first, labelled by class_names()."""
    wanted = {"outputs": [{"name": "score", "parameters": {"classification": 2}}]}
    [output] = scores.post("/v2/models/Scores/infer", INFER | wanted).json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    assert output["data"] == ["0.7:1:dog", "0.2:2:owl"]


@pytest.mark.parametrize(
    ("output", "count", "shape", "data"),
    [
        ("flat", 2, [2], ["3:0", "2:2"]),
        ("flat", 9, [3], ["3:0", "2:2", "1:1"]),
        ("deep", 1, [2, 2, 1], ["1.0:1", "3.0:1", "5.0:1", "7.0:1"]),
        ("flat", 0, [3], [3, 1, 2]),
    ],
)
def test_classes_of_any_axes(folder: Path, output: str, count: int, shape: list[int], data: list[Any]) -> None:
    """The last axis is that of the classes; more than there are is all of them, 0 leaves the output as it is."""
    with served("v2_units.py:Several", folder=folder) as there:
        wanted = [{"name": output, "parameters": {"classification": count}}]
        answer = there.post("/v2/models/Several/infer", {"inputs": [tensor()], "outputs": wanted})
        [found] = answer.json["outputs"]
        assert (found["shape"], found["data"]) == (shape, data)


@pytest.mark.parametrize(("output", "count"), [("text", 1), ("flat", -1), ("flat", "2"), ("flat", True), ("flat", 1.5)])
def test_what_cannot_be_classified_is_refused(folder: Path, output: str, count: Any) -> None:
    """Texts, and numbers of classes that are none: 400 that names the output."""
    with served("v2_units.py:Several", folder=folder) as there:
        wanted = [{"name": output, "parameters": {"classification": count}}]
        answer = there.post("/v2/models/Several/infer", {"inputs": [tensor()], "outputs": wanted})
        assert answer.status == 400
        assert output in answer.json["error"]


# ── the parameter timeout ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_ends_when_its_own_timeout_has_passed(folder: Path) -> None:
    """504 and DEADLINE_EXCEEDED that name the parameter."""
    with served("v2_units.py:Waits", folder=folder) as there:
        answer = there.post("/v2/models/Waits/infer", {"inputs": [tensor()], "parameters": {"timeout": 20_000}})
        assert answer.status == 504
        assert "parameter timeout" in answer.json["error"]
        with pytest.raises(grpc.RpcError) as late:
            infer_over_grpc(there, model_name="Waits", parameters={"timeout": {"int64_param": 20_000}})
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("timeout", "status"), [(60_000_000, 200), (0, 200), (1, 504), (-1, 400), ("5", 400)])
def test_the_timeout_is_in_microseconds(plain: Served, timeout: Any, status: int) -> None:
    """0 is none; what is no whole number of them is refused."""
    answer = plain.post("/v2/models/Plain/infer", {"inputs": [tensor()], "parameters": {"timeout": timeout}})
    assert answer.status == status


# ── strict ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ([ROWS], "word"),
        ([ROWS, WORD, tensor("more")], "more"),
        ([tensor("rows", datatype="FP64"), WORD], "rows"),
        ([tensor("rows", shape=[2, 1]), WORD], "rows"),
        ([tensor("rows", shape=[2]), WORD], "rows"),
    ],
)
def test_strict_holds_requests_to_the_metadata(strict: Served, scores: Served, inputs: Any, named: str) -> None:
    """Name, datatype and fixed axes: 400 that names the tensor; without the setting they are the component's affair."""
    answer = strict.post("/v2/models/Scores/infer", {"inputs": inputs})
    assert answer.status == 400
    assert repr(named) in answer.json["error"]
    assert scores.post("/v2/models/Scores/infer", {"inputs": inputs}).status == 200


def test_strict_lets_pass_what_fits(strict: Served) -> None:
    """A free axis takes any size."""
    rows = tensor("rows", shape=[3, 2], data=[1, 2, 3, 4, 5, 6])
    answer = strict.post("/v2/models/Scores/infer", {"inputs": [WORD, rows]})
    assert answer.json["outputs"][0]["shape"] == [3, 3]


# ── KServe's first protocol ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("instances", [[[1, 2], [3, 4]], [1.5, 2.5], [["a", "b"]], [{"a": 1}, {"a": 2}], [[[1], [2]]]])
def test_instances_come_back_as_predictions(plain: Served, instances: Any) -> None:
    """The component gets the array of instances, or their list where they are objects."""
    answer = plain.post("/v1/models/Plain:predict", {"instances": instances})
    assert (answer.status, answer.json) == (200, {"predictions": instances})


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"instances": 3}, 400), ([1], 400), (b"{", 400), ({"instances": [[1], [2, 3]]}, 400)],
)
def test_what_is_no_instances_is_refused(plain: Served, body: Any, status: int) -> None:
    """400 in the protocol's form."""
    answer = plain.post("/v1/models/Plain:predict", body)
    assert answer.status == status
    assert list(answer.json) == ["error"]


def test_kserves_paths_of_models(plain: Served) -> None:
    """The list, the state of a model, unknown ones, wrong verbs and wrong paths."""
    assert plain.get("/v1/models").json == {"models": ["Plain"]}
    assert plain.get("/v1/models/Plain").json == {"name": "Plain", "ready": True}
    assert [plain.get(path).status for path in ("/v1/models/nobody", "/v1/models/Plain/more")] == [404, 404]
    assert plain.post("/v1/models/nobody:predict", {"instances": []}).status == 404
    assert plain.get("/v1/models/Plain:predict").status == 405
