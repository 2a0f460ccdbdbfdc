"""Ways of Seldon's wrapper that components rely on beside its hooks, wherever their code runs and whoever asks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.wrappers_pb2 import StringValue

from infergraph.wire import prediction
from served import Served, served

BUGS = Path(__file__).parent / "cases" / "bugs"
ROWS = {"data": {"ndarray": [[1, 2]]}}


@pytest.fixture(params=["thread", "inline"])
def execution(request: pytest.FixtureRequest) -> str:
    """Where plain hooks run."""
    return str(request.param)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """A process in which nobody has imported seldon_core yet."""
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "seldon_core"}
    for name in ours:
        del sys.modules[name]
    yield
    sys.modules.update(ours)


def _asked(there: Served, transport: str, document: Any, **headers: str) -> dict[str, Any]:
    """The answer to a message, over either transport, in protobuf's JSON."""
    if transport == "rest":
        reply = there.ask("POST", "/predict?colour=red", document, headers)
        assert reply.status == 200, reply.body
        return dict(reply.json)
    message = ParseDict(document, prediction.SeldonMessage())
    return MessageToDict(there.call("Model/Predict", message, **{name.lower(): v for name, v in headers.items()}))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_flask_request_is_the_request(execution: str, transport: str, tmp_path: Path) -> None:
    """A component that imports Flask sees the headers of each request, and none of another's."""
    folder = BUGS / "b07-flask-request"
    with served("tenant.py:Tenant", folder=folder, execution=execution, data_dir=str(tmp_path)) as there:
        for tenant in ("acme", "globex"):
            assert _asked(there, transport, ROWS, **{"X-Tenant": tenant})["jsonData"] == {"tenant": tenant}
        assert _asked(there, transport, ROWS)["jsonData"] == {"tenant": "nobody"}


FLASK = """
class Asked:
    def predict(self, X, names=None):
        from flask import current_app, g, request
        g.seen = request.args.get("colour", "none")
        body = request.get_json(silent=True)
        return {"path": request.path, "colour": g.seen, "body": body, "app": current_app.name, "type": request.mimetype}

    async def transform_input(self, X, names=None):
        import asyncio
        from flask import request
        first = request.headers["X-Tenant"]
        await asyncio.sleep(0)
        return {"tenants": [first, request.headers["X-Tenant"]]}

    def health_status(self):
        from flask import request
        return {"tenant": request.headers["X-Tenant"]}
"""


def test_flask_imported_in_a_hook(execution: str, tmp_path: Path) -> None:
    """Path, query, body and application are there from the first call on, in async hooks and the health hook too."""
    (tmp_path / "asked.py").write_text(FLASK)
    with served("asked.py:Asked", folder=tmp_path, execution=execution, data_dir=str(tmp_path)) as there:
        told = _asked(there, "rest", ROWS)["jsonData"]
        assert told == {
            "path": "/predict",
            "colour": "red",
            "body": ROWS,
            "app": "infergraph.compat",
            "type": "application/json",
        }
        reply = there.ask("POST", "/transform-input", ROWS, {"X-Tenant": "acme"})
        assert reply.json["jsonData"] == {"tenants": ["acme", "acme"]}
        assert there.get("/health/status", **{"X-Tenant": "acme"}).json["jsonData"] == {"tenant": "acme"}


WHO = """
from flask import request


def who():
    return request.headers["X-Tenant"]
"""
LATE = """
class Late:
    def predict(self, X):
        import who

        return who.who()
"""


def test_flask_imported_by_a_module_that_a_hook_imports(tmp_path: Path) -> None:
    """The first request is there as well where a file beside the component's imports Flask, and that late."""
    (tmp_path / "who.py").write_text(
        "from flask import request\n\ndef who():\n    return request.headers['X-Tenant']\n"
    )
    (tmp_path / "late.py").write_text(
        "class Late:\n    def predict(self, X):\n        import who\n        return who.who()\n"
    )
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from served import served
folder = {str(tmp_path)!r}
with served("late.py:Late", folder=Path(folder), data_dir=folder) as there:
    print([there.post("/predict", {ROWS}, **{{"X-Tenant": "acme"}}).status for _ in range(2)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[200, 200]\n", done.stderr


HANDLED = """
from flask import Blueprint, jsonify, request


class Refused(Exception):
    pass


class Handled:
    model_error_handler = Blueprint("errors", __name__)

    @model_error_handler.errorhandler(Refused)
    def refused(error):
        return jsonify({"for": request.headers["X-Tenant"]}), 418

    def predict(self, X, names=None):
        raise Refused
"""


def test_an_error_handler_sees_the_request(execution: str, tmp_path: Path) -> None:
    """The blueprint that turns the component's exceptions into answers knows whom it answers."""
    (tmp_path / "handled.py").write_text(HANDLED)
    with served("handled.py:Handled", folder=tmp_path, execution=execution, data_dir=str(tmp_path)) as there:
        reply = there.ask("POST", "/predict", ROWS, {"X-Tenant": "acme"})
        assert (reply.status, reply.json) == (418, {"for": "acme"})


OWN_WAY = """
from infergraph.request import current_request


class Tenant:
    def load(self):
        self.at_load = current_request().headers.get("x-tenant", "nobody")

    def predict(self, X, names=None):
        asked = current_request()
        told = {"by": asked.transport.value, "tenant": asked.headers["X-Tenant"], "path": asked.path}
        return told | {"query": asked.query, "all": asked.headers.all("x-tenant"), "at_load": self.at_load}

    def tags(self):
        return {"tenant": current_request().headers["x-TENANT"]}
"""


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_our_own_way_to_the_request(execution: str, transport: str, tmp_path: Path) -> None:
    """`current_request()` has headers or metadata, path, query and id, in every hook that a request calls."""
    (tmp_path / "tenant.py").write_text(OWN_WAY)
    with served("tenant.py:Tenant", folder=tmp_path, execution=execution, data_dir=str(tmp_path)) as there:
        answer = _asked(there, transport, ROWS, **{"X-Tenant": "acme"})
        assert answer["jsonData"] == {
            "by": transport,
            "tenant": "acme",
            "path": "/predict" if transport == "rest" else "/seldon.protos.Model/Predict",
            "query": "colour=red" if transport == "rest" else "",
            "all": ["acme"],
            "at_load": "nobody",
        }
        assert answer["meta"]["tags"] == {"tenant": "acme"}


GRAPH = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: two}
spec:
  predictors:
  - name: default
    graph:
      name: first
      type: TRANSFORMER
      component: "node.py:Node"
      children:
      - {name: second, type: MODEL, component: "node.py:Node"}
"""
NODE = """
from infergraph.request import current_request


class Node:
    def transform_input(self, X, names=None):
        return [current_request().headers["x-tenant"]]

    def predict(self, X, names=None):
        return [*X, current_request().headers["x-tenant"]]
"""


def test_the_nodes_of_a_graph_see_the_graphs_request(execution: str, tmp_path: Path) -> None:
    """Each node of a graph in one process has the headers that the graph was asked with."""
    (tmp_path / "node.py").write_text(NODE)
    (tmp_path / "graph.yaml").write_text(GRAPH)
    with served("graph.yaml", folder=tmp_path, execution=execution, data_dir=str(tmp_path)) as there:
        reply = there.ask("POST", "/api/v1.0/predictions", ROWS, {"X-Tenant": "acme"})
        assert reply.json["data"]["ndarray"] == ["acme", "acme"]


RAW_NODE = """
class Node:
    def transform_input(self, X, names=None):
        return X

    def predict_raw(self, message):
        return {"strData": type(message).__module__}
"""


def test_a_raw_hook_gets_the_messages_of_the_transport(tmp_path: Path) -> None:
    """Behind another node of the process a raw hook gets what it would get alone: a dict, or protobuf over gRPC."""
    (tmp_path / "raw_node.py").write_text(RAW_NODE)
    (tmp_path / "graph.yaml").write_text(GRAPH.replace("node.py", "raw_node.py"))
    with served("graph.yaml", folder=tmp_path, data_dir=str(tmp_path)) as there:
        assert there.post("/api/v1.0/predictions", ROWS).json["strData"] == "builtins"
        answer = there.call("Seldon/Predict", ParseDict(ROWS, prediction.SeldonMessage()))
        assert answer.strData == "seldon_core.proto.prediction_pb2"


@pytest.mark.usefixtures("forgotten")
def test_messages_have_the_users_class_from_the_first_call_on(execution: str, tmp_path: Path) -> None:
    """A raw hook over gRPC gets the class that it imports, though it imports it only when it is called."""
    folder = BUGS / "b09-late-proto-import"
    message = ParseDict(ROWS, prediction.SeldonMessage())
    with served("late.py:Late", folder=folder, execution=execution, data_dir=str(tmp_path)) as there:
        assert [there.call("Model/Predict", message).meta.tags["seen"].bool_value for _ in range(3)] == [True] * 3


def test_custom_data_is_protobufs_own_any(execution: str, tmp_path: Path) -> None:
    """`customData` reaches a hook as google.protobuf's Any, which fits into messages of the user's own."""
    sent, back = any_pb2.Any(), StringValue()
    sent.Pack(StringValue(value="hello"))
    message = prediction.SeldonMessage.FromString(prediction.SeldonMessage().SerializeToString())
    message.customData.MergeFromString(sent.SerializeToString())
    folder = BUGS / "b10-any-class"
    with served("packed.py:Packed", folder=folder, execution=execution, data_dir=str(tmp_path)) as there:
        answer = there.call("Model/Predict", message)
    assert any_pb2.Any.FromString(answer.customData.SerializeToString()).Unpack(back)
    assert back.value == "HELLO"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_plain_number_is_an_answer(execution: str, transport: str, tmp_path: Path) -> None:
    """A number is answered as an array without axes; protobuf's lists have at least one, so there it is a tensor."""
    folder = BUGS / "b15-plain-number"
    with served("mean.py:Mean", folder=folder, execution=execution, data_dir=str(tmp_path)) as there:
        data = _asked(there, transport, ROWS)["data"]
    assert data == ({"names": [], "ndarray": 1.5} if transport == "rest" else {"tensor": {"values": [1.5]}})


NUMBERS = """
from decimal import Decimal
from fractions import Fraction

NUMBERS = {"float": 1.5, "int": 3, "large": 10**20, "bool": True, "half": Fraction(1, 2), "money": Decimal("1.25")}


class Number:
    def predict(self, X, names=None):
        return NUMBERS[X[0][0]]
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [("float", 1.5), ("int", 3), ("large", 10**20), ("half", 0.5), ("money", 1.25)],
)
def test_every_kind_of_number_is_an_answer(name: str, value: Any, tmp_path: Path) -> None:
    """Python's numbers are answers, and whole ones stay whole."""
    (tmp_path / "number.py").write_text(NUMBERS)
    with served("number.py:Number", folder=tmp_path, data_dir=str(tmp_path)) as there:
        reply = there.ask("POST", "/predict", {"data": {"ndarray": [[name]]}})
        assert (reply.status, reply.json["data"]["ndarray"]) == (200, value)
        assert type(reply.json["data"]["ndarray"]) is type(value)


def test_a_truth_value_is_an_answer_of_one_row(tmp_path: Path) -> None:
    """A bool has an axis, since over gRPC only a number can be without."""
    (tmp_path / "number.py").write_text(NUMBERS)
    with served("number.py:Number", folder=tmp_path, data_dir=str(tmp_path)) as there:
        reply = there.ask("POST", "/predict", {"data": {"ndarray": [["bool"]]}})
        assert (reply.status, reply.json["data"]["ndarray"]) == (200, [True])
