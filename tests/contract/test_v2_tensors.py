"""Tensors through a server: any of them in any spelling comes back in the same bytes, any malformed one is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infergraph.protocol.services import INFERENCE
from infergraph.wire.v2 import proto, remote, tensors
from infergraph.wire.v2.records import InferRequest
from infergraph.wire.v2.tensors import Datatype, Tensor
from served import Served, served
from unit.wire.test_v2_spellings import ANY, is_json, same

COMPONENTS = Path(__file__).parent / "cases" / "v2"
PATH = "/v2/models/Echo/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def echo() -> Iterator[Served]:
    with served("oip_components.py:Echo", folder=COMPONENTS) as there:
        yield there


def rest(there: Served, request: InferRequest, *, is_binary: bool) -> Tensor:
    body = remote.encode_rest(request, is_binary=is_binary)
    headers = {} if body.header_length is None else {LENGTH: str(body.header_length)}
    reply = there.ask("POST", PATH, b"".join((body.head, *body.blobs)), headers)
    assert reply.status == 200, reply
    return remote.decode_rest(reply.body, reply.headers.get(LENGTH.lower())).outputs[0]


def infer(channel: grpc.Channel, raw: bytes) -> bytes:
    return channel.unary_unary(f"/{INFERENCE}/ModelInfer")(raw, timeout=30)  # type: ignore[no-any-return]


@settings(max_examples=60, deadline=None)
@given(ANY, st.booleans())
def test_any_tensor_comes_back_in_the_same_bytes(echo: Served, tensor: Tensor, wants_binary: bool) -> None:
    """JSON, binary, typed and raw, each asked for each way, give one array to the component and one answer."""
    wanted = tensor if tensor.array.ndim else tensor._replace(array=tensor.array.reshape(1))  # an answer has an axis
    if tensor.datatype is Datatype.BF16:  # which the component is handed as the float32 that it is, and answers so
        wanted = wanted._replace(datatype=Datatype.FP32)
    parameters = {"binary_data_output": True} if wants_binary or not is_json(wanted) else {}
    request = InferRequest(inputs=[tensor], parameters=parameters, model_name="Echo")
    same(rest(echo, request, is_binary=True), wanted)
    if is_json(tensor):
        same(rest(echo, request, is_binary=False), wanted)
    with echo.channel() as channel:
        for is_raw in (True, False):
            asked = remote.encode_grpc(InferRequest(inputs=[tensor], model_name="Echo", is_raw=is_raw))
            same(remote.decode_grpc(infer(channel, asked)).outputs[0], wanted)


# ── malformed ones ──────────────────────────────────────────────────────────────────────────────────────────────────

NUMBERS = [kind for kind in Datatype if kind not in (Datatype.BYTES, Datatype.BF16)]
GOOD = {"name": "the tensor", "shape": [2], "datatype": "FP32", "data": [1, 2]}


def _json_faults() -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in NUMBERS:
        yield f"{kind.value} one too few", {"datatype": kind.value, "data": [1]}
        yield f"{kind.value} one too many", {"datatype": kind.value, "data": [1, 0, 1]}
        yield f"{kind.value} a text", {"datatype": kind.value, "data": ["1", "0"]}
        yield f"{kind.value} an object", {"datatype": kind.value, "data": [{}, {}]}
        if np.issubdtype(tensors.dtype_of(kind), np.integer):
            limits = np.iinfo(tensors.dtype_of(kind))
            yield f"{kind.value} too large", {"datatype": kind.value, "data": [int(limits.max) + 1, 0]}
            yield f"{kind.value} too small", {"datatype": kind.value, "data": [int(limits.min) - 1, 0]}
            yield f"{kind.value} a fraction", {"datatype": kind.value, "data": [0.5, 0]}
            yield f"{kind.value} true", {"datatype": kind.value, "data": [True, 0]}
            yield f"{kind.value} null", {"datatype": kind.value, "data": [None, 0]}
    yield "BOOL 2", {"datatype": "BOOL", "data": [2, 0]}
    yield "BYTES a number", {"datatype": "BYTES", "data": ["a", 1]}
    yield "BYTES null", {"datatype": "BYTES", "data": ["a", None]}
    yield "BYTES one too few", {"datatype": "BYTES", "data": ["a"]}
    yield "BF16", {"datatype": "BF16"}
    for name in ("fp32", "FLOAT", "STRING", "", None, 1, [], {}):
        yield f"datatype {name!r}", {"datatype": name}
    for shape in (None, 2, "2", [-2], ["2"], [2.5], [None], [[2]], {}, [1] * 65, [2**70], [0, 2**70], [2**40, 2**40]):
        yield f"shape {shape!r:.30}", {"shape": shape}
    for data in (None, 1, "ab", {}, True):
        yield f"data {data!r}", {"data": data}
    yield "data and a size", {"parameters": {"binary_data_size": 8}}
    yield "a size without the header", {"parameters": {"binary_data_size": 8}, "data": None}
    yield "shared memory", {"parameters": {"shared_memory_region": "r"}, "data": None}
    yield "parameters that are no object", {"parameters": [1]}
    yield "a parameter that is a list", {"parameters": {"p": [1]}}
    yield "a content type that is no text", {"parameters": {"content_type": 5}}


JSON_FAULTS = dict(_json_faults())


@pytest.mark.parametrize("fault", JSON_FAULTS)
def test_a_malformed_tensor_in_json_is_named(echo: Served, fault: str) -> None:
    """400 with the name of the tensor in one sentence."""
    first = {"name": "good", "shape": [1], "datatype": "BYTES", "data": ["x"]}
    reply = echo.post(PATH, {"inputs": [first, GOOD | JSON_FAULTS[fault]]})
    assert reply.status == 400, reply
    assert list(reply.json) == ["error"]
    assert "'the tensor'" in reply.json["error"]


def _binary_faults() -> Iterator[tuple[str, tuple[dict[str, Any], bytes]]]:
    for kind in NUMBERS:
        size = 2 * tensors.dtype_of(kind).itemsize
        for wrong in (size - 1, size + 1, 0):
            yield f"{kind.value} of {wrong} bytes", ({"datatype": kind.value, "size": wrong}, bytes(wrong))
        yield f"{kind.value} beyond the body", ({"datatype": kind.value, "size": size}, bytes(size - 1))
    yield "BF16 of 3 bytes", ({"datatype": "BF16", "size": 3}, bytes(3))
    yield "BOOL of 2", ({"datatype": "BOOL", "size": 2}, b"\0\2")
    for name, raw in {
        "beyond the end": b"\x01\0\0\0a\x09\0\0\0b",
        "half a length": b"\x01\0\0\0a\x01\0",
        "one too few": b"\x01\0\0\0a",
        "one too many": b"\0\0\0\0" * 3,
    }.items():
        yield f"BYTES {name}", ({"datatype": "BYTES", "size": len(raw)}, raw)
    for size in (-1, 1.5, "8", None, True, 2**70):
        yield f"a size of {size!r}", ({"size": size}, bytes(8))


BINARY_FAULTS = dict(_binary_faults())


@pytest.mark.parametrize("fault", BINARY_FAULTS)
def test_a_malformed_tensor_in_binary_is_named(echo: Served, fault: str) -> None:
    """400 with the name of the tensor, as JSON without the header, though blobs were asked for."""
    changes, raw = BINARY_FAULTS[fault]
    entry = {key: value for key, value in (GOOD | changes).items() if key not in ("data", "size")}
    entry["parameters"] = {"binary_data_size": changes["size"]}
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    reply = echo.ask("POST", PATH, head + raw, {LENGTH: str(len(head))})
    assert reply.status == 400, reply
    assert LENGTH.lower() not in reply.headers
    assert "'the tensor'" in reply.json["error"]


FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


def _message(datatype: str, shape: list[int], *contents: tuple[str, list[Any]]) -> Any:
    message = proto.ModelInferRequest(model_name="Echo")
    tensor = message.inputs.add(name="the tensor", datatype=datatype, shape=shape)
    for field, values in contents:
        getattr(tensor.contents, field).extend(values)
    return message


def _grpc_faults() -> Iterator[tuple[str, Any]]:
    for datatype, field in FIELDS.items():
        element: Any = b"a" if datatype == "BYTES" else 1
        other = "fp64_contents" if datatype != "FP64" else "int_contents"
        yield f"{datatype} one too few", _message(datatype, [2], (field, [element]))
        yield f"{datatype} one too many", _message(datatype, [2], (field, [element] * 3))
        yield f"{datatype} no contents", _message(datatype, [2])
        yield f"{datatype} in another field", _message(datatype, [1], (other, [1]))
        yield f"{datatype} in two fields", _message(datatype, [1], (field, [element]), (other, [1]))
    for datatype, value in {"INT8": 128, "INT16": -(2**15) - 1, "UINT8": 256, "UINT16": 2**16}.items():
        yield f"{datatype} {value}", _message(datatype, [1], (FIELDS[datatype], [value]))
    for datatype in ("FP16", "BF16"):
        yield f"{datatype} typed", _message(datatype, [1], ("fp32_contents", [1]))
    for datatype in ("fp32", "", "STRING"):
        yield f"datatype {datatype!r}", _message(datatype, [1], ("fp32_contents", [1]))
    for shape in ([-1], [2**40, 2**40], [1] * 65, [0, 2**62, 2**62]):
        yield f"shape {shape!r:.30}", _message("FP32", shape, ("fp32_contents", [] if 0 in shape else [1]))
    for raw in (b"", bytes(7), bytes(9)):
        message = _message("FP32", [2])
        message.raw_input_contents.append(raw)
        yield f"{len(raw)} raw bytes", message
    both = _message("FP32", [1], ("fp32_contents", [1]))
    both.raw_input_contents.append(bytes(4))
    yield "contents beside raw ones", both


GRPC_FAULTS = dict(_grpc_faults())


@pytest.mark.parametrize("fault", GRPC_FAULTS)
def test_a_malformed_tensor_over_grpc_is_named(echo: Served, fault: str) -> None:
    """INVALID_ARGUMENT with the name of the tensor."""
    with echo.channel() as channel, pytest.raises(grpc.RpcError) as told:
        infer(channel, GRPC_FAULTS[fault].SerializeToString())
    assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'the tensor'" in told.value.details()


# ── hostile ones ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("depth", [900, 960, 1000, 1030, 2000, 100_000])
@pytest.mark.parametrize("where", ["data", "shape", "parameters", "datatype", "name", "unknown"])
def test_what_is_nested_too_deeply_is_refused_or_read(echo: Served, where: str, depth: int) -> None:
    """Never a fault of ours, wherever it stands and however deep it is."""
    deep = "[" * depth + "1" + "]" * depth
    entry = json.dumps(GOOD | {where: "DEEP"}).replace('"DEEP"', deep)
    for body in (f'{{"inputs": [{entry}]}}', f'{{"id": {deep}}}', f'{{"parameters": {deep}}}', deep):
        for path in (PATH, "/v2/models/Echo/generate", "/v2/models/Echo/aggregate", "/v2/repository/index"):
            assert echo.ask("POST", path, body.encode()).status in (200, 400)


def test_an_unknown_model_is_not_found_whatever_its_tensors_are(echo: Served) -> None:
    """NOT_FOUND over gRPC too, where the name stands in the message."""
    message = _message("FP32", [2])
    message.model_name = "other"
    with echo.channel() as channel, pytest.raises(grpc.RpcError) as told:
        infer(channel, message.SerializeToString())
    assert told.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("length", [200, 20_000, 100_000])
def test_an_id_too_long_for_a_header_is_given_back(echo: Served, length: int) -> None:
    """Any text is an id; clients limit the size of headers."""
    request = proto.ModelInferRequest(model_name="Echo", id="x" * length)
    request.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(1)
    with echo.channel() as channel:
        answer = infer(channel, request.SerializeToString())
    assert proto.ModelInferResponse.FromString(answer).id == request.id
    assert echo.post(PATH, {"inputs": [GOOD], "id": request.id}).json["id"] == request.id


def test_an_output_requested_twice_is_answered_once(echo: Served) -> None:
    """A request cannot have one output sent any number of times."""
    outputs = [{"name": "b"}, {"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}]
    reply = echo.post(PATH, {"inputs": [GOOD | {"name": "a"}, GOOD | {"name": "b"}], "outputs": outputs})
    assert [each["name"] for each in reply.json["outputs"]] == ["b", "a"]


@pytest.mark.parametrize("value", [1, 0, "true", 1.0])
def test_a_spelling_that_is_no_boolean_is_refused(echo: Served, value: object) -> None:
    """400 that names the parameter, at the request and at an output."""
    output = {"name": GOOD["name"], "parameters": {"binary_data": value}}
    for member in ({"parameters": {"binary_data_output": value}}, {"outputs": [output]}):
        reply = echo.post(PATH, {"inputs": [GOOD], **member})
        assert reply.status == 400
        assert "binary_data" in reply.json["error"]
