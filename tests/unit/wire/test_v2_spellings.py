"""Spellings of a tensor: JSON flat and nested, raw bytes behind JSON, typed and raw contents of gRPC are one array."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infergraph.errors import PayloadError
from infergraph.wire.v2 import json as rest
from infergraph.wire.v2 import proto, remote, tensors
from infergraph.wire.v2.records import InferRequest, InferResponse
from infergraph.wire.v2.tensors import Datatype, Tensor

_DTYPES = {kind: tensors.dtype_of(kind) for kind in Datatype if kind not in (Datatype.BYTES, Datatype.BF16)}
_SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def numbers(draw: st.DrawFn) -> Tensor:
    """A tensor of any datatype of numbers, NaN and infinities included."""
    datatype = draw(st.sampled_from(sorted(_DTYPES, key=lambda each: each.value)))
    return Tensor(draw(_TEXTS), datatype, draw(arrays.arrays(_DTYPES[datatype], _SHAPES)))


@st.composite
def elements(draw: st.DrawFn) -> Tensor:
    """A tensor of BYTES: all texts, or bytes of which not all need to be texts."""
    shape = draw(_SHAPES)
    kind = draw(st.sampled_from([_TEXTS.map(str.encode), st.binary(max_size=8)]))
    size = int(np.prod(shape))
    values = draw(st.lists(kind, min_size=size, max_size=size))
    return Tensor(draw(_TEXTS), Datatype.BYTES, tensors.of_elements(values).reshape(shape))


@st.composite
def halves(draw: st.DrawFn) -> Tensor:
    """A tensor of BF16: the upper halves of float32."""
    wide = draw(arrays.arrays(np.uint32, _SHAPES)) & np.uint32(0xFFFF0000)
    return Tensor(draw(_TEXTS), Datatype.BF16, wide.view(np.float32))


ANY = numbers() | elements() | halves()


def same(found: Tensor, wanted: Tensor) -> None:
    assert (found.name, found.datatype) == (wanted.name, wanted.datatype)
    assert found.array.dtype == wanted.array.dtype
    assert found.array.shape == wanted.array.shape
    assert bytes(tensors.raw_of(found)) == bytes(tensors.raw_of(wanted))


def whole(body: rest.Body) -> tuple[bytes, str | None]:
    return b"".join((body.head, *body.blobs)), None if body.header_length is None else str(body.header_length)


@given(ANY)
def test_raw_bytes_over_rest_are_the_same_both_ways(tensor: Tensor) -> None:
    """A tensor as raw bytes behind the JSON, in a request and in an answer."""
    asked = InferRequest(inputs=[tensor], parameters={"binary_data_output": True})
    read = rest.decode(*whole(remote.encode_rest(asked, is_binary=True)))
    same(read.inputs[0], tensor)
    answer = InferResponse(model_name="m", outputs=read.inputs)
    same(remote.decode_rest(*whole(rest.encode(answer, asked))).outputs[0], tensor)


@given(ANY)
def test_raw_contents_over_grpc_are_the_same_both_ways(tensor: Tensor) -> None:
    """A tensor in raw_input_contents and raw_output_contents."""
    read = proto.decode(remote.encode_grpc(InferRequest(inputs=[tensor], is_raw=True)))
    same(read.inputs[0], tensor)
    written = proto.encode(InferResponse(model_name="m", outputs=read.inputs), read)
    same(remote.decode_grpc(written).outputs[0], tensor)


@given(ANY)
def test_typed_contents_over_grpc_are_the_same_both_ways(tensor: Tensor) -> None:
    """A tensor in typed contents; what has none goes raw."""
    read = proto.decode(remote.encode_grpc(InferRequest(inputs=[tensor])))
    same(read.inputs[0], tensor)
    written = proto.encode(InferResponse(model_name="m", outputs=read.inputs), read)
    same(remote.decode_grpc(written).outputs[0], tensor)


def is_json(tensor: Tensor) -> bool:
    if tensor.datatype is Datatype.BYTES:
        return all(isinstance(each, str) for each in tensor.array.flat)
    if tensor.array.dtype.kind != "f":
        return True
    return bool(np.isfinite(tensor.array).all())


@given((numbers() | elements()).filter(is_json), st.data())
def test_json_lists_are_the_same_both_ways(tensor: Tensor, data: st.DataObject) -> None:
    """A tensor as a JSON list, flat or nested in any way, in a request and in an answer."""
    body = json.loads(remote.encode_rest(InferRequest(inputs=[tensor]), is_binary=False).head)
    if data.draw(st.booleans()):
        body["inputs"][0]["data"] = _nested(body["inputs"][0]["data"], data)
    asked = rest.decode(json.dumps(body).encode())
    same(asked.inputs[0], tensor)
    answer = rest.encode(InferResponse(model_name="m", outputs=asked.inputs), asked)
    same(remote.decode_rest(*whole(answer)).outputs[0], tensor)


def _nested(flat: list[Any], data: st.DataObject) -> list[Any]:
    cut = data.draw(st.integers(0, len(flat)))
    return [flat[:cut], *flat[cut:]] if data.draw(st.booleans()) else [flat[:cut], [flat[cut:]]]


@given(numbers().filter(lambda each: each.array.size > 0), st.integers(-3, 3).filter(bool))
def test_another_number_of_elements_is_refused_by_the_name_of_the_tensor(tensor: Tensor, more: int) -> None:
    """Elements and bytes that do not fit the shape, in each spelling."""
    shape = [tensor.array.size + more, 1] if tensor.array.size + more >= 0 else [tensor.array.size + 1, 1]
    json_body = json.loads(remote.encode_rest(InferRequest(inputs=[_finite(tensor)]), is_binary=False).head)
    json_body["inputs"][0]["shape"] = shape
    body, length = whole(remote.encode_rest(InferRequest(inputs=[tensor]), is_binary=True))
    assert length is not None
    head = json.loads(body[: int(length)])
    head["inputs"][0]["shape"] = shape
    packed = json.dumps(head).encode()
    for is_raw in (True, False):
        message = proto.ModelInferRequest.FromString(remote.encode_grpc(InferRequest(inputs=[tensor], is_raw=is_raw)))
        message.inputs[0].shape[:] = shape
        with pytest.raises(PayloadError) as told:
            proto.decode(message.SerializeToString())
        assert f"input {tensor.name!r}" in told.value.text
    for spelt in ((json.dumps(json_body).encode(), None), (packed + body[int(length) :], str(len(packed)))):
        with pytest.raises(PayloadError) as told:
            rest.decode(*spelt)
        assert f"input {tensor.name!r}" in told.value.text


def _finite(tensor: Tensor) -> Tensor:
    return tensor._replace(array=np.zeros_like(tensor.array)) if tensor.array.dtype.kind == "f" else tensor


@given(st.binary(max_size=200), st.none() | st.integers(-2, 220).map(str) | st.text(max_size=3))
def test_any_bytes_are_a_request_or_a_payload_error(body: bytes, length: str | None) -> None:
    """What cannot be read is refused with PayloadError and nothing else, over REST and gRPC."""
    with suppress(PayloadError):
        rest.decode(body, length)
    with suppress(PayloadError):
        remote.decode_rest(body, length)
    with suppress(PayloadError):
        proto.decode(body)


def test_an_answer_with_empty_contents_beside_raw_ones_is_read() -> None:
    """MLServer sets the message of contents in any case; a request with both is refused."""
    message = proto.ModelInferResponse(model_name="m", raw_output_contents=[b"\x01"])
    message.outputs.add(name="y", datatype="INT8", shape=[1]).contents.SetInParent()
    (output,) = remote.decode_grpc(message.SerializeToString()).outputs
    assert output.array.tolist() == [1]
