"""Conversions between documents, protobuf and numpy, and the construction of answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf import any_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infergraph import compat

compat.install()

from seldon_core import utils  # noqa: E402
from seldon_core.flask_utils import SeldonMicroserviceException  # noqa: E402
from seldon_core.proto import prediction_pb2  # noqa: E402
from seldon_core.user_model import SeldonComponent  # noqa: E402

FLOATS = arrays.arrays(np.float64, arrays.array_shapes(min_dims=1, max_dims=3), elements=st.floats(allow_nan=False))


@given(FLOATS, st.sampled_from(["tensor", "ndarray", "tftensor"]))
def test_an_array_survives_protobuf(array: Any, form: str) -> None:
    """Any array of doubles comes back from each protobuf form with its shape and values."""
    back = utils.grpc_datadef_to_array(utils.array_to_grpc_datadef(form, array, ["n"]))
    assert back.shape == array.shape
    assert np.array_equal(back, array)


@given(FLOATS, st.sampled_from(["tensor", "ndarray"]))
def test_an_array_survives_a_document(array: Any, form: str) -> None:
    """Any array of doubles comes back from each JSON form, through real JSON."""
    document = json.loads(json.dumps({"data": utils.array_to_rest_datadef(form, array, ["n"])}))
    back, meta, datadef, kind = utils.extract_request_parts_json(document)
    assert (meta, kind, datadef["names"]) == (None, "data", ["n"])
    assert np.array_equal(back, array)


def test_integers_stay_integers_in_documents() -> None:
    """A document of an array of integers has integers, and so has the array read from it."""
    document = {"data": utils.array_to_rest_datadef("tensor", np.array([[1, 2]]))}
    assert document == {"data": {"names": [], "tensor": {"shape": [1, 2], "values": [1, 2]}}}
    assert utils.extract_request_parts_json(document)[0].dtype == np.int64


def test_array_to_list_value_adds_to_the_list_given() -> None:
    """Rows go into a new ListValue, or into the one given."""
    made = utils.array_to_list_value(np.array([["a", "b"]]))
    assert [value.string_value for value in made.values[0].list_value.values] == ["a", "b"]
    assert utils.array_to_list_value(np.array([1.0]), made) is made
    assert made.values[1].number_value == 1.0


@pytest.mark.parametrize(
    ("document", "payload"),
    [
        ({"strData": "é"}, "é"),
        ({"binData": "aGVsbG8="}, b"hello"),
        ({"jsonData": {"a": [1, None]}}, {"a": [1, None]}),
        ({"jsonData": 5}, 5),
    ],
)
def test_parts_of_a_request_without_array(document: dict[str, Any], payload: Any) -> None:
    """Document and protobuf of the same message give the same payload and the same field name."""
    assert utils.extract_request_parts_json(document)[0] == payload
    message = utils.json_to_seldon_message(document)
    found, meta, _, kind = utils.extract_request_parts(message)
    assert (found, meta, kind) == (payload, {}, next(iter(document)))
    assert utils.seldon_message_to_json(message) == document


def test_an_any_is_given_as_it_is() -> None:
    """customData reaches user code as protobuf's own Any."""
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="x"))
    assert utils.get_data_from_proto(prediction_pb2.SeldonMessage(customData=packed)) == packed


def test_meta_as_a_document() -> None:
    """The meta of a protobuf message reads as its document; a message without meta has an empty one."""
    meta = {"puid": "p", "tags": {"a": "x"}, "routing": {"r": 1}, "requestPath": {"m": "i"}}
    assert utils.get_meta_from_proto(utils.json_to_seldon_message({"meta": meta})) == meta
    assert utils.get_meta_from_proto(prediction_pb2.SeldonMessage()) == {}


@pytest.mark.parametrize(
    "call",
    [
        lambda: utils.json_to_seldon_message({"foo": 1}),
        lambda: utils.json_to_seldon_message([1]),
        lambda: utils.json_to_feedback({"reward": "zz"}),
        lambda: utils.json_to_seldon_messages([{"foo": 1}]),
        lambda: utils.extract_request_parts_json({"foo": 1}),
        lambda: utils.extract_request_parts_json({"data": {"tensor": {"shape": [2, 2], "values": [1]}}}),
        lambda: utils.extract_request_parts_json({"data": {"ndarray": [[1], [1, 2]]}}),
        lambda: utils.get_data_from_proto(prediction_pb2.SeldonMessage()),
        lambda: utils.extract_request_parts(utils.json_to_seldon_message({"data": {"tensor": {"values": [1, 2]}}})),
    ],
)
def test_unreadable_requests_are_bad_data(call: Any) -> None:
    """What cannot be read is the exception that user code knows: 400, MICROSERVICE_BAD_DATA, and a text."""
    with pytest.raises(SeldonMicroserviceException) as caught:
        call()
    assert (caught.value.status_code, caught.value.reason) == (400, "MICROSERVICE_BAD_DATA")
    assert str(caught.value)


def test_unknown_members_of_metadata_are_left_out() -> None:
    """Metadata is read leniently, every other message strictly."""
    assert utils.json_to_seldon_model_metadata({"name": "n", "other": 1}).name == "n"


def test_message_lists_and_feedback_go_there_and_back() -> None:
    """A list document, a bare list and a feedback keep what they hold."""
    messages = [{"strData": "a"}, {"data": {"ndarray": [1.0]}}]
    assert utils.seldon_messages_to_json(utils.json_to_seldon_messages(messages)) == {"seldonMessages": messages}
    feedback = {"request": {"data": {"ndarray": [[1.0]]}}, "reward": 0.25}
    message = utils.json_to_feedback(feedback)
    assert utils.feedback_to_json(message) == feedback
    datadef, features, truth, reward = utils.extract_feedback_request_parts(message)
    assert (features.tolist(), truth.tolist(), reward) == ([[1.0]], [], 0.25)
    assert datadef == message.request.data


class Named(SeldonComponent):
    """Names and tags of its own."""

    def class_names(self) -> list[str]:
        return ["x", "y"]

    def tags(self) -> dict[str, Any]:
        return {"own": 1, "shared": "own"}


REQUEST: dict[str, Any] = {
    "meta": {
        "puid": "P",
        "tags": {"asked": 1, "shared": "asked"},
        "metrics": [{"key": "up", "type": "GAUGE", "value": 3}],
        "requestPath": {"a": "b"},
        "routing": {"r": 2},
    },
    "data": {"names": ["f"], "ndarray": [[1]]},
}
METRICS = [{"key": "k", "type": "GAUGE", "value": 1}]


@pytest.mark.parametrize(
    ("result", "request_data", "answer"),
    [
        (np.array([[1, 2]]), {"ndarray": [1]}, {"data": {"names": ["x", "y"], "ndarray": [[1, 2]]}}),
        (
            np.array([[1, 2]]),
            {"tensor": {"shape": [1], "values": [1]}},
            {"data": {"names": ["x", "y"], "tensor": {"shape": [1, 2], "values": [1, 2]}}},
        ),
        (
            np.array([["a"]]),
            {"tensor": {"shape": [1], "values": [1]}},
            {"data": {"names": ["x", "y"], "ndarray": [["a"]]}},
        ),
        ([1.5], {"ndarray": [1]}, {"data": {"names": [], "ndarray": [1.5]}}),
        ("s", {"ndarray": [1]}, {"strData": "s"}),
        (b"hi", {"ndarray": [1]}, {"binData": "aGk="}),
        ({"a": 1}, {"ndarray": [1]}, {"jsonData": {"a": 1}}),
    ],
)
def test_an_answer_takes_the_requests_form(result: Any, request_data: Any, answer: dict[str, Any]) -> None:
    """Arrays mirror the request's form, other results go by their type, and protobuf says the same."""
    request = {"data": request_data}
    document = utils.construct_response_json(Named(), False, request, result)
    assert document == answer | {"meta": {"tags": {"own": 1, "shared": "own"}}}
    message = utils.construct_response(Named(), False, utils.json_to_seldon_message(request), result)
    for kind, value in answer.items():
        expected = value if kind != "data" else {name: part for name, part in value.items() if part != []}
        assert utils.seldon_message_to_json(message)[kind] == expected


def test_meta_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The puid always returns; tags, metrics and path only with the meta given; own tags win, the call's over all."""
    monkeypatch.setenv("PREDICTIVE_UNIT_ID", "unit")
    monkeypatch.setenv("PREDICTIVE_UNIT_IMAGE", "img:1")
    full = utils.construct_response_json(
        Named(), False, REQUEST, np.array([[1]]), REQUEST["meta"], METRICS, {"call": 1, "own": 2}
    )
    assert full["meta"] == {
        "puid": "P",
        "tags": {"asked": 1, "shared": "own", "own": 2, "call": 1},
        "metrics": [{"key": "up", "type": "GAUGE", "value": 3}, *METRICS],
        "requestPath": {"unit": "img:1", "a": "b"},
    }
    bare = utils.construct_response_json(Named(), False, REQUEST, np.array([[1]]))
    assert bare["meta"] == {"puid": "P", "tags": {"own": 1, "shared": "own"}, "requestPath": {"unit": "img:1"}}
    message = utils.construct_response(
        Named(),
        False,
        utils.json_to_seldon_message(REQUEST),
        np.array([[1]]),
        REQUEST["meta"],
        METRICS,
        {"call": 1, "own": 2},
    )
    assert utils.get_meta_from_proto(message) == full["meta"]
    assert REQUEST["meta"]["metrics"] == [{"key": "up", "type": "GAUGE", "value": 3}], "the request was changed"


def test_a_request_passed_on_keeps_its_feature_names() -> None:
    """With is_request the columns are named by the request, not by class_names."""
    answer = utils.construct_response_json(Named(), True, REQUEST, np.array([[1]]))
    assert answer["data"]["names"] == ["f"]


@pytest.mark.parametrize("construct", ["construct_response", "construct_response_json"])
def test_a_result_that_cannot_be_sent_is_named(construct: str) -> None:
    """An unsupported type is a 500 that names it, in both forms."""
    request: Any = REQUEST if construct.endswith("json") else utils.json_to_seldon_message(REQUEST)
    with pytest.raises(SeldonMicroserviceException, match="complex 5j") as caught:
        getattr(utils, construct)(Named(), False, request, 5j)
    assert caught.value.status_code == 500


def test_environment_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first name that is set counts; 1, true and t are true in any case; a node without name has no path."""
    monkeypatch.setenv("COMPAT_A", "True")
    monkeypatch.setenv("COMPAT_B", "yes")
    monkeypatch.delenv("PREDICTIVE_UNIT_ID", raising=False)
    assert utils.getenv("COMPAT_NONE", "COMPAT_A", default="d") == "True"
    assert utils.getenv("COMPAT_NONE", default="d") == "d"
    assert utils.getenv_as_bool("COMPAT_NONE", "COMPAT_A") is True
    assert utils.getenv_as_bool("COMPAT_B", default=True) is False
    assert utils.getenv_as_bool("COMPAT_NONE", default=True) is True
    assert utils.get_request_path() == {}
