"""Triton's generate form: which member is a tensor, which shape it has, and what an answer looks like."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from infergraph.errors import PayloadError
from infergraph.wire.v2 import generate
from infergraph.wire.v2.metadata import TensorMetadata
from infergraph.wire.v2.records import InferRequest, InferResponse
from infergraph.wire.v2.tensors import Datatype, Tensor


def decoded(document: dict[str, Any], *declared: TensorMetadata) -> InferRequest:
    return generate.decode(document, declared, model="m", version="", puid="p")


def encoded(*outputs: Tensor, **more: Any) -> Any:
    return json.loads(generate.encode(InferResponse(model_name="m", outputs=outputs, **more)))


def texts(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)


def test_without_metadata_the_text_is_the_tensor() -> None:
    """Other members, and those of `parameters`, are parameters of the request; null is none."""
    request = decoded({"text_input": "hi", "id": "i", "stream": False, "n": None, "parameters": {"temperature": 0.5}})
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, tensor.array.tolist()) == ("text_input", Datatype.BYTES, ["hi"])
    assert (request.id, dict(request.parameters)) == ("i", {"temperature": 0.5, "stream": False})
    assert decoded({"text_input": "hi"}).id == "p"


def test_declared_tensors_are_found_in_the_body_and_in_its_parameters() -> None:
    """The body's own member goes before one of the parameters."""
    declared = TensorMetadata("a", "FP32", [-1]), TensorMetadata("b", "INT64", [1])
    request = decoded({"a": [1, 2.5], "parameters": {"b": 3, "a": [9], "c": "x"}}, *declared)
    found = {tensor.name: tensor.array for tensor in request.inputs}
    assert found["a"].tolist() == [1.0, 2.5]
    assert found["a"].dtype == np.float32
    assert found["b"].tolist() == [3]
    assert dict(request.parameters) == {"c": "x"}


def test_the_only_text_tensor_takes_the_text() -> None:
    """A model whose one input is a text under another name is given `text_input`."""
    request = decoded({"text_input": "hi"}, TensorMetadata("prompt", "BYTES", [-1], {"content_type": "str"}))
    assert request.inputs[0].name == "prompt"
    assert dict(request.inputs[0].parameters) == {"content_type": "str"}


@pytest.mark.parametrize(
    ("declared", "count", "shape"),
    [
        ([1], 1, [1]),
        ([-1], 4, [4]),
        ([-1, 3], 6, [2, 3]),
        ([2, -1], 6, [2, 3]),
        ([-1, -1], 6, [1, 6]),
        ([-1, 2, -1], 6, [1, 2, 3]),
        ([], 1, []),
        ([-1], 0, [0]),
        ([3, 2], 6, [3, 2]),
    ],
)
def test_the_shape_is_filled_from_the_declared_one(declared: list[int], count: int, shape: list[int]) -> None:
    """Fixed axes first; the innermost free axis takes the rest, other free axes are one."""
    request = decoded({"x": list(range(count))}, TensorMetadata("x", "INT32", declared))
    assert list(request.inputs[0].array.shape) == shape


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({}, "text_input"),
        ({"text_input": 3}, "text_input"),
        ({"text_input": [["a"]]}, "text_input"),
        ({"text_input": {"a": 1}}, "text_input"),
        ({"text_input": "a", "parameters": []}, "parameters"),
        ({"text_input": "a", "other": {"b": 1}}, "other"),
        ({"text_input": "a", "id": 3}, "id"),
        ({"text_input": ["a", "b"]}, "text_input"),
    ],
)
def test_a_wrong_member_is_named(document: dict[str, Any], names: str) -> None:
    """Each is refused, and the text has its name."""
    with pytest.raises(PayloadError, match=names):
        decoded(document)


def test_a_count_that_fits_no_shape_is_refused() -> None:
    """Five values are no rows of three."""
    with pytest.raises(PayloadError, match="'x'"):
        decoded({"x": [1, 2, 3, 4, 5]}, TensorMetadata("x", "INT32", [-1, 3]))


def test_one_element_is_a_value_and_several_are_a_list() -> None:
    """Outputs and parameters are members; the answer's own members cannot be replaced by them."""
    outputs = Tensor("a", Datatype.INT32, np.array([[7]], np.int32)), Tensor("b", Datatype.BYTES, texts("x", "y"))
    answer = encoded(*outputs, id="i", model_version="2", parameters={"t": 0.5, "id": "no", "model_name": "no"})
    assert answer == {"model_name": "m", "model_version": "2", "id": "i", "t": 0.5, "a": 7, "b": ["x", "y"]}
    assert list(answer)[:3] == ["model_name", "model_version", "id"]


def test_a_text_without_a_name_is_text_output() -> None:
    """Numbers without a name, and texts that have one, keep theirs."""
    assert encoded(Tensor("output-0", Datatype.BYTES, texts("hi"))) == {"model_name": "m", "text_output": "hi"}
    assert encoded(Tensor("said", Datatype.BYTES, texts("hi"))) == {"model_name": "m", "said": "hi"}
    assert encoded(Tensor("output-0", Datatype.FP32, np.float32([1.5]))) == {"model_name": "m", "output-0": 1.5}
