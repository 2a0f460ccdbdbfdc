"""The request that is shown when serving begins, and sent by the doctor."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from infergraph.process.supervisor import fill
from infergraph.serving.example_request import component_request, graph_request, message_for, tensors_request
from infergraph_knowledge import About, EntityExtractor, RelationClassifier


class Chinese(RelationClassifier):
    """Labels in Chinese."""

    about = About(labels=("出生地",))


class English(EntityExtractor):
    """Labels in English."""

    about = About(labels=("PERSON", "GPE"))


class Route:
    """A router."""

    def route(self, X: Any) -> int:
        return 0


class Combine:
    """A combiner."""

    def aggregate_raw(self, messages: Any) -> Any:
        return messages[0]


class Nothing:
    """No method at all."""


def inputs(**item: Any) -> dict[str, Any]:
    return {"inputs": [item]}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, None),
        ({"inputs": []}, None),
        (inputs(messagetype="strData"), {"strData": "text"}),
        (
            inputs(messagetype="ndarray", schema={"names": ["a", "b"]}),
            {"data": {"names": ["a", "b"], "ndarray": [[0.0, 0.0]]}},
        ),
        (
            inputs(messagetype="ndarray", schema={"names": ["a", "b"], "shape": [2]}),
            {"data": {"names": ["a", "b"], "ndarray": [[0.0, 0.0]]}},
        ),
        (
            inputs(messagetype="tensor", schema={"shape": [-1, 3]}),
            {"data": {"tensor": {"shape": [1, 3], "values": [0.0] * 3}}},
        ),
        (inputs(messagetype="jsonData"), None),
        (
            inputs(messagetype="jsonData", schema={"type": "object", "properties": {"n": {"type": "integer"}}}),
            {"jsonData": {"n": 0}},
        ),
        ({"graphinputs": [{"messagetype": "strData"}]}, {"strData": "text"}),
    ],
)
def test_a_message_is_made_as_the_metadata_tells(metadata: Any, message: Any) -> None:
    """The message has the input's kind, columns and shape; nothing is made up where nothing is told."""
    assert message_for(metadata) == message


def test_records_get_a_sentence_in_the_language_of_the_labels() -> None:
    """Units with Chinese labels are asked in Chinese, others in English; every key they need is there."""
    chinese = message_for(Chinese().init_metadata())["jsonData"]
    assert chinese.keys() == {"data", "entity_pair", "entity_type_pair"}
    assert all(entity in chinese["data"] for entity in chinese["entity_pair"][0])
    assert message_for(English().init_metadata())["jsonData"]["data"].isascii()
    of_graph = {"graphinputs": English().init_metadata()["inputs"], "models": {"ner": English().init_metadata()}}
    assert graph_request(of_graph)[1]["jsonData"]["data"].isascii()


@pytest.mark.parametrize(
    ("user_object", "path"),
    [(English(), "/predict"), (Route(), "/route"), (Combine(), "/aggregate"), (Nothing(), "/predict")],
)
def test_the_path_is_that_of_a_method_the_component_has(user_object: object, path: str) -> None:
    """Routers and combiners are not asked for predictions; a combiner gets a list of messages."""
    found, body = component_request(user_object, None)
    assert found == path
    assert (path == "/aggregate") == ("seldonMessages" in body)


def test_a_banner_is_filled() -> None:
    """Ports, path and body take their places, the body quoted for a shell; without a request its line goes."""
    banner = "REST {host}:{http_port}\ntry curl {host}:{http_port}{path} -d {body}"
    body = {"strData": "it's {host}"}
    text = fill(banner, {"host": "h", "http_port": 1}, json.dumps(["/predict", body]))
    assert text.startswith("REST h:1\ntry curl h:1/predict -d ")
    assert json.loads(shlex.split(text)[-1]) == body
    assert fill(banner, {"host": "h", "http_port": 1}, "") == "REST h:1"


def test_a_graph_of_the_open_inference_protocol_is_asked_in_it() -> None:
    """The example has a tensor for each declared input, or two numbers, and the graph's name in the path."""
    declared = {"graphinputs": [{"name": "rows", "datatype": "INT32", "shape": [-1, 2]}]}
    path, body = tensors_request("my flow", declared)
    assert path == "/v2/models/my%20flow/infer"
    assert body == {"inputs": [{"name": "rows", "shape": [1, 2], "datatype": "INT32", "data": [0, 0]}]}
    (tensor,) = tensors_request("flow", {})[1]["inputs"]
    assert (tensor["name"], tensor["shape"], len(tensor["data"])) == ("input-0", [1, 2], 2)
