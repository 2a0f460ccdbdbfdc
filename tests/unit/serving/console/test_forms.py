"""The form of “Try it” begins with a request that fits the metadata."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.serving.console.forms import CELLS_LIMIT, EXAMPLE_TEXT, Pane, example_of, form_of
from infergraph.wire import json_codec
from infergraph_knowledge.authoring import EntityExtractor, RelationClassifier


def one(messagetype: str, **schema: Any) -> dict[str, Any]:
    """Metadata with one input."""
    return {"inputs": [{"messagetype": messagetype, "schema": schema} if schema else {"messagetype": messagetype}]}


TWO = {"tensor": {"shape": [1, 2], "values": [0, 0]}}


@pytest.mark.parametrize(
    ("metadata", "start", "pane"),
    [
        (one("tensor", shape=[4]), {"data": {"tensor": {"shape": [1, 4], "values": [0] * 4}}}, Pane.TABLE),
        (one("tensor", names=["a", "b"]), {"data": {"names": ["a", "b"], **TWO}}, Pane.TABLE),
        (one("ndarray", shape=[-1, 3]), {"data": {"ndarray": [[0, 0, 0]]}}, Pane.TABLE),
        (one("strData"), {"strData": EXAMPLE_TEXT}, Pane.TEXT),
        (one("binData"), {"binData": ""}, Pane.JSON),
        (one("jsonData", properties={"n": {"type": "null"}}), {"jsonData": {"n": None}}, Pane.JSON),
        (one("jsonData", properties={"s": {"enum": ["x", "y"]}}), {"jsonData": {"s": "x"}}, Pane.JSON),
        ({"graphinputs": [{"messagetype": "strData"}]}, {"strData": EXAMPLE_TEXT}, Pane.TEXT),
        (
            {"inputs": [{"name": "a", "datatype": "FP32"}, {"name": "b", "datatype": "INT32", "shape": [9]}]},
            {"data": {"names": ["a", "b"], "ndarray": [[0, 0]]}},
            Pane.TABLE,
        ),
        ({"inputs": [{"name": "in", "datatype": "FP32", "shape": [2, 2]}]}, {"data": TWO}, Pane.TABLE),
        (None, {"data": {"ndarray": [[0, 0]]}}, Pane.TABLE),
        ({"inputs": "nonsense"}, {"data": {"ndarray": [[0, 0]]}}, Pane.TABLE),
        (one("tensor", shape=[10**6]), {"data": TWO}, Pane.TABLE),
    ],
)  # fmt: skip
def test_the_form_fits_the_first_input(metadata: Any, start: dict[str, Any], pane: Pane) -> None:
    """Each kind of input has its own first request and its own editor."""
    form = form_of(metadata, "seldon")
    assert (form.start, form.pane) == (start, pane)


def test_a_unit_of_knowledge_is_asked_with_a_text() -> None:
    """NER, whose records need nothing but a text, takes a text box with a text of its language; RE takes JSON."""
    ner = form_of(EntityExtractor().init_metadata(), "seldon")
    assert (ner.pane, ner.text_key) == (Pane.TEXT, "data")
    assert ner.start == {"jsonData": [{"data": "鲁迅出生于浙江绍兴。"}]}
    re_ = form_of(RelationClassifier().init_metadata(), "seldon")
    assert (re_.pane, re_.text_key) == (Pane.JSON, "")
    assert set(re_.start["jsonData"]) >= {"data", "entity_pair"}


def test_other_protocols_have_their_own_requests() -> None:
    """A graph that speaks v2 or TensorFlow is asked in its own spelling."""
    metadata = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [2, 2]}]}
    [tensor] = form_of(metadata, "v2").start["inputs"]
    assert tensor == {"name": "x", "datatype": "INT32", "shape": [2, 2], "data": [0, 0, 0, 0]}
    assert form_of(metadata, "tensorflow").start == {"instances": [[0, 0]]}


KEYS = ("type", "properties", "items", "enum", "messagetype", "schema", "shape", "names", "inputs")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), below, max_size=4)
    ),
    max_leaves=20,
)  # fmt: skip


@given(JSON, st.sampled_from(["seldon", "v2", "tensorflow"]))
def test_no_metadata_breaks_the_form(metadata: Any, protocol: str) -> None:
    """Whatever a unit says of itself, there is a form, of a bounded size, that the codec can read."""
    form = form_of(metadata if isinstance(metadata, dict) else {"inputs": [metadata]}, protocol)
    assert isinstance(form.start, dict)
    if protocol == "seldon" and form.pane is Pane.TABLE:
        assert json_codec.JsonMessage.of_document(form.start).payload.size <= CELLS_LIMIT


def test_a_schema_that_contains_itself_ends() -> None:
    """An example of a recursive schema is cut off and not followed for ever."""
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    schema["properties"]["again"] = schema
    assert "again" in example_of(schema)
