"""Metadata of a model: what is read of what a unit tells, and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.wire.v2.metadata import TensorMetadata, metadata_of

KEYS = ("name", "datatype", "shape", "parameters", "messagetype", "schema", "names", "inputs", "outputs", "versions")
WORDS = st.sampled_from(["FP32", "tensor", "jsonData", "BYTES"]) | st.text(max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(KEYS), below, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6))
def test_whatever_a_unit_tells_there_is_metadata(told: dict[str, Any]) -> None:
    """What cannot be read is left out; document, configuration and examples can be made of the rest."""
    found = metadata_of("m", told)
    assert found.document()["name"] == found.configuration()["name"] == "m"
    for tensor in (*found.inputs, *found.outputs):
        assert tensor.example()["datatype"] == tensor.datatype


@pytest.mark.parametrize(
    ("declared", "shape", "data"),
    [
        (TensorMetadata("x", "FP32", [-1, 3]), [1, 3], [0, 0, 0]),
        (TensorMetadata("x", "BOOL", [2]), [2], [False, False]),
        (TensorMetadata("x", "BYTES", [1]), [1], ["text"]),
        (TensorMetadata("x", "BYTES", [1], {"content_type": "json"}), [1], ["{}"]),
        (TensorMetadata("x", "UINT8", [1, 224, 224]), [1, 1, 1], [0]),
        (TensorMetadata("x", "FP64", []), [], [0]),
    ],
)
def test_an_example_has_the_declared_form(declared: TensorMetadata, shape: list[int], data: list[Any]) -> None:
    """Free axes have size 1, elements are of the datatype; a large tensor is made small."""
    assert (declared.example()["shape"], declared.example()["data"]) == (shape, data)
