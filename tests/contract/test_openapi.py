"""OpenAPI that is true: the document is valid, and the server does what it says and nothing else.

Driven by schemathesis: requests that fit the document and requests that do not, against a component, a graph and the
task endpoint. Every answer must have a documented status, content type and body; nothing may be a server error.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from contract.open_inference_document import DOCUMENT
from infergraph.auth import keys
from infergraph.protocol.callers import Scope
from infergraph.serving.openapi.schemas import Described, is_plain
from infergraph.settings import Settings
from served import Served, served
from task_server import start_driver

FOLDER = Path(__file__).parent
EXAMPLES = 8
ADDRESS_LIMIT = 60_000
ACCEPTING = "client_units.py:Accepting"
GRAPH = {
    "name": "café",
    "type": "TRANSFORMER",
    "component": ACCEPTING,
    "children": [
        {
            "name": "choose",
            "type": "ROUTER",
            "component": ACCEPTING,
            "children": [{"name": "model", "type": "MODEL", "component": ACCEPTING}],
        }
    ],
}
# A schema cannot say that a tensor's shape and values fit together, or what protobuf makes of feedback; and of a
# message that has several payloads only one is looked at (negative_data_rejection, below).
TOO_STRICT = [positive_data_acceptance]
# A task that is waited for and fails is 500; so is a node that is not there, as the orchestrator answers it.
FAILS_BY_PROTOCOL = {"POST /tasks"}


def deployment(folder: Path, protocol: str = "") -> Path:
    """The graph as a file, with its components beside it."""
    (folder / "client_units.py").write_bytes((FOLDER / "client_units.py").read_bytes())
    specification = {"predictors": [{"name": "p", "graph": GRAPH}]} | ({"protocol": protocol} if protocol else {})
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "d"},
        "spec": specification,
    }
    (folder / "deployment.json").write_text(json.dumps(document))
    return folder


@contextmanager
def a_component(folder: Path) -> Iterator[Served]:
    with served(ACCEPTING, folder=FOLDER, grpc=False) as there:
        yield there


@contextmanager
def a_graph(folder: Path) -> Iterator[Served]:
    with served("deployment.json", folder=deployment(folder), grpc=False) as there:
        yield there


@contextmanager
def a_task_endpoint(folder: Path) -> Iterator[Served]:
    """A component that is served with tasks, and the driver that works on them."""
    options = {"data_dir": str(folder / "data"), "task_disk_reserve_bytes": 0, "tasks": True}
    config = {"settings": msgspec.to_builtins(Settings(**options)), "source": {"unit": "Echo"}}
    driver: subprocess.Popen[bytes] | None = None
    try:
        with served(ACCEPTING, folder=FOLDER, grpc=False, **options) as there:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PYTHONPATH", str(FOLDER.parent))  # where the driver's workers find its units
                driver = start_driver(config)
            yield there
    finally:
        if driver is not None:
            assert driver.stdin is not None
            driver.stdin.close()
            driver.kill()
            driver.wait()


SERVED = {"component": a_component, "graph": a_graph, "tasks": a_task_endpoint}


@pytest.fixture(scope="module", params=list(SERVED))
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with SERVED[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def document(there: Served) -> dict[str, Any]:
    reply = there.get("/openapi.json")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = reply.json
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            if verb != "parameters":
                yield path, verb, operation


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    """It is OpenAPI 3.1 by its specification; every operation has a summary, a tag and an id of its own."""
    validate(document)
    found = [operation for _, _, operation in operations(document)]
    assert all(operation["summary"] and operation["tags"] for operation in found)
    ids = [operation["operationId"] for operation in found]
    assert len(set(ids)) == len(ids)
    assert {tag for operation in found for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


def test_every_documented_path_is_served(there: Served, document: dict[str, Any]) -> None:
    """No documented path is one where nothing is served."""
    for path, _, _ in operations(document):
        reply = there.ask("OPTIONS", path.replace("{model}", "model").replace("{id}", "x"))
        assert reply.status != 404 or "/tasks/" in path, path


def drive(operation: Any, mode: GenerationMode, excluded: list[Any], headers: dict[str, str] | None = None) -> set[int]:
    """Send requests to one operation and check the answers; returns their statuses."""
    statuses: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        # Beyond this the HTTP parser itself refuses the request.
        assume(len(urlencode(dict(case.query or {}))) < ADDRESS_LIMIT)
        statuses.add(case.call_and_validate(headers=headers, excluded_checks=excluded).status_code)

    check()
    return statuses


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.timeout(300)
def test_the_server_does_what_the_document_says(there: Served, document: dict[str, Any], mode: GenerationMode) -> None:
    """Requests that fit the document, and requests that do not, get documented answers and no server error."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{there.http_port}")
    tried = 0
    has_tasks = "/tasks" in document["paths"]
    for found in schema.get_all_operations():
        operation = found.ok()
        (tag,) = operation.definition.raw["tags"]
        if has_tasks and not tag.startswith("Tasks"):
            continue  # the component without tasks is driven on its own
        excluded = list(TOO_STRICT)
        if tag == "Ask":
            excluded.append(negative_data_rejection)
        if operation.label in FAILS_BY_PROTOCOL or ("{model}" in operation.path and mode is GenerationMode.NEGATIVE):
            excluded.append(not_a_server_error)
        try:
            drive(operation, mode, excluded)
        except Unsatisfiable:  # nothing can be wrong with a request that has no parameters
            assert mode is GenerationMode.NEGATIVE
            assert not operation.body
            continue
        tried += 1
    assert tried > 3


OPEN = {
    "/v1/models/Accepting",
    "/live",
    "/ready",
    "/health/ping",
    "/health/status",
    "/api/v1.0/status",
    "/api/v1.0/health/status",
}


@pytest.mark.parametrize("is_known", [True, False], ids=["with a key", "without"])
@pytest.mark.timeout(300)
def test_keys_change_nothing_but_who_is_answered(tmp_path: Path, *, is_known: bool) -> None:
    """With a key the document holds as it does without any; a stranger is asked for one at every path but probes."""
    file = tmp_path / "keys.toml"
    key = keys.create(file, "all", list(Scope))
    headers = {"X-API-Key": key, "Authorization": f"Bearer {key}"}
    with served(ACCEPTING, folder=FOLDER, grpc=False, keys=str(file)) as there:
        document = there.ask("GET", "/openapi.json", headers=headers).json
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=f"http://127.0.0.1:{there.http_port}")
        for found in schema.get_all_operations():
            operation = found.ok()
            excluded = [*TOO_STRICT, negative_data_rejection, ignored_auth]  # the valid key is in another header
            statuses = drive(operation, GenerationMode.POSITIVE, excluded, headers if is_known else None)
            if is_known:
                assert 401 not in statuses, operation.label
            elif operation.path not in OPEN and not operation.path.endswith(("/ready", "/live")):
                assert statuses == {401}, operation.label


def test_the_examples_work(there: Served, document: dict[str, Any]) -> None:
    """The example of every body is answered, and what answers it has the documented status."""
    tried = 0
    for path, verb, operation in operations(document):
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if "example" in media and kind == "application/json":
                reply = there.ask(verb.upper(), path, media["example"])
                assert reply.status == 200, (path, reply.body)
                tried += 1
    assert tried


def test_what_metadata_tells(there: Served, document: dict[str, Any]) -> None:
    """Names and shapes of the component's metadata are in the document, as text and as an example."""
    assert "age, height, shape [-1, 2]" in document["info"]["description"]
    media = document["paths"]["/api/v1.0/predictions"]["post"]["requestBody"]["content"]["application/json"]
    assert media["example"] == {"data": {"names": ["age", "height"], "tensor": {"shape": [1, 2], "values": [0.0, 0.0]}}}
    models = [path for path in document["paths"] if "{model}" in path]
    for path in models:
        assert document["paths"][path]["parameters"][0]["schema"] == {"enum": ["café", "choose", "model"]}


@pytest.mark.parametrize("protocol", ["v2", "tensorflow"])
def test_other_protocols(tmp_path: Path, protocol: str) -> None:
    """A graph of another protocol has a valid document; TensorFlow's paths stand instead of Seldon's, V2's beside."""
    with served("deployment.json", folder=deployment(tmp_path, protocol), grpc=False) as there:
        document = there.get("/openapi.json").json
        validate(document)
        assert ("/v1/models/{model}:predict" in document["paths"]) == (protocol == "tensorflow")
        assert ("/api/v1.0/predictions" in document["paths"]) == (protocol == "v2")


TYPED = """
class Typed:
    def init_metadata(self):
        return {"name": "t", "versions": ["v1"],
                "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 2]},
                           {"name": "words", "datatype": "BYTES", "shape": [1]}],
                "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1]}]}

    def predict(self, X, names, meta=None):
        return X
"""


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "typed_unit.py").write_text(TYPED)
    with served("typed_unit.py:Typed", folder=tmp_path, grpc=False) as there:
        yield there


def test_the_open_inference_protocol_is_described(typed: Served) -> None:
    """Its paths are there with the model's name and version; the request's schema has names and datatypes."""
    document = typed.get("/openapi.json").json
    validate(document)
    post = document["paths"]["/v2/models/Typed/infer"]["post"]
    assert "/v2/models/Typed/versions/v1/infer" in document["paths"]
    assert {"/v2", "/v2/models", "/v2/repository/index", "/v1/models/Typed:predict"} <= document["paths"].keys()
    inputs = document["components"]["schemas"]["V2Request"]["properties"]["inputs"]["items"]["anyOf"]
    found = [(each["properties"]["name"]["const"], each["properties"]["datatype"]["const"]) for each in inputs]
    assert found == [("rows", "FP32"), ("words", "BYTES")]
    example = post["requestBody"]["content"]["application/json"]["example"]
    assert [(each["name"], each["shape"], each["data"]) for each in example["inputs"]] == [
        ("rows", [1, 2], [0, 0]),
        ("words", [1], ["text"]),
    ]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.timeout(300)
def test_the_standards_own_document_drives_the_server(typed: Served, mode: GenerationMode) -> None:
    """Requests made from the protocol's public document get answers that it has, and no server error."""
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=f"http://127.0.0.1:{typed.http_port}")
    driven = 0
    for found in schema.get_all_operations():
        try:
            drive(found.ok(), mode, [positive_data_acceptance, negative_data_rejection])
            driven += 1
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE
    assert driven >= 2


def test_before_the_unit_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the unit loads there is a valid document already, without what only the unit can tell."""
    gate = tmp_path / "gate"
    monkeypatch.setenv("CLIENT_TEST_GATE", str(gate))
    with served("client_units.py:Loading", folder=FOLDER, grpc=False, wait=False) as there:
        document = there.get("/openapi.json").json
        gate.write_text("open")
    validate(document)
    assert document["info"]["title"] == "Loading"


def test_the_page(there: Served) -> None:
    """/docs is a page that asks for nothing from elsewhere."""
    reply = there.get("/docs")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    for outside in (b"https://", b"http://", b"//cdn"):
        assert outside not in reply.body.replace(b"http://www.w3.org", b"")


@pytest.mark.parametrize(
    ("items", "text", "example"),
    [
        (None, "", None),
        ("nonsense", "", None),
        ([{}], "any", None),
        ([{"messagetype": "strData"}], "strData", {"strData": "text"}),
        ([{"messagetype": "binData"}], "binData", {"binData": "Ynl0ZXM="}),
        ([{"messagetype": "ndarray"}], "ndarray", {"data": {"ndarray": [[0.0, 0.0]]}}),
        (
            [{"messagetype": "ndarray", "schema": {"names": ["a"], "shape": [2, 1]}}],
            "ndarray of a, shape [2, 1]",
            {"data": {"names": ["a"], "ndarray": [[0.0], [0.0]]}},
        ),
        (
            [{"messagetype": "tensor", "schema": {"shape": [1, 28, 28]}}],
            "tensor, shape [1, 28, 28]",
            {"data": {"tensor": {"shape": [1, 1, 1], "values": [0.0]}}},
        ),
        (
            [{"name": "x", "datatype": "FP32", "shape": [1]}, {"datatype": "INT8"}],
            "x: FP32, shape [1]; INT8",
            {"data": {"names": ["x", "x1"], "ndarray": [[0.0, 0.0]]}},
        ),
        ([{"messagetype": "odd", "schema": [1]}], "odd", None),
        ([{"messagetype": "tensor", "schema": {"names": 5, "shape": "x"}}], "tensor", None),
    ],
)
def test_what_items_of_metadata_say(items: Any, text: str, example: Any) -> None:
    """Items of metadata become a line and an example; what cannot be read is left out and breaks nothing."""
    described = Described(items)
    assert described.text == text
    if example is not None or items is None:
        assert described.example() == example
    assert described.schema("Request")


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}, True),
        ({"type": "array", "items": {"enum": [1, 2]}, "minItems": 1}, True),
        ({"anyOf": [{"type": "string"}, True], "description": "d", "default": None}, True),
        ({"type": "strange"}, False),
        ({"type": []}, False),
        ({"required": ["a", "a"]}, False),
        ({"$ref": "#/nowhere"}, False),
        ({"properties": {"a": 5}}, False),
        ({"minItems": -1}, False),
        ("text", False),
    ],
)
def test_schemas_of_components(schema: Any, plain: bool) -> None:
    """A component's own JSON schema stands in the document only if it is surely valid."""
    assert is_plain(schema) is plain
    described = Described([{"messagetype": "jsonData", "schema": schema}]).schema("Request")
    assert ("properties" in described) is (plain and isinstance(schema, dict))
