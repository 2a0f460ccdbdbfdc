"""Requests of the open inference protocol, most of them with something wrong, from a seed."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from infergraph.wire.v2 import proto

DATATYPES = ("BOOL", "INT8", "INT32", "INT64", "UINT8", "UINT64", "FP16", "FP32", "FP64", "BYTES", "BYTES", "BF16")
SHAPES: tuple[list[int], ...] = ([1], [2], [1, 2], [2, 1], [2, 2], [], [0], [0, 3], [1] * 40)
ODD_SHAPES: tuple[Any, ...] = (
    [10**30], [0, 10**30], [0, 2**62, 2**62], [10**18, 10**18], [1] * 65, [-1], [1.0], ["1"], [True], 1, None, {},
)  # fmt: skip
CONTENT_TYPES = (
    "np", "str", "pd", "pd_json", "base64", "bytes", "datetime", "nplist", "json", "hg_json", "dict", "hf", "",
    "\ud800",
)  # fmt: skip
TEXTS = ("a", "", "1", "[1]", '{"a":1}', "null", "2026-01-01", "aGk=", "ü", "\x00", "\ud800")
NAMES = ("x", "y", "", "ü", "a\x00b", "\ud800", "x" * 300)
ODD: tuple[Any, ...] = (
    None, True, -1, 2**63, 2**64, 10**30, 1.5, 1e308, "", "a", "\ud800", [], [[]], [1, [2, [3]]], {}, {"a": [1]},
    [None], float("nan"), float("inf"),
)  # fmt: skip
LENGTHS = ("0", "-1", "x", "1e3", "99999999", " 5", "+3", "٣", "")
BLOBS = (b"", b"\0\0\x80\x3f", b"\x01\0\0\0a", b"\xff" * 8, b"\x05\0\0\0a", b"\x02")


class Asked(NamedTuple):
    """A REST request."""

    body: bytes
    headers: dict[str, str]


def rest_requests(seed: int, count: int) -> Iterator[Asked]:
    """Bodies of `infer` and their headers."""
    chance = random.Random(seed)
    for _ in range(count):
        request = _request(chance)
        if chance.random() < 0.4:
            _break(request, chance)
        yield _encoded(json.dumps(request).encode(), chance)


def _encoded(body: bytes, chance: random.Random) -> Asked:
    headers = {"Content-Type": "application/json"}
    if chance.random() < 0.2:
        length = chance.choice([str(len(body)), str(len(body)), str(len(body) - 1), *LENGTHS])
        headers["Inference-Header-Content-Length"] = length.encode().decode("latin-1")
        body += chance.choice(BLOBS)
    if chance.random() < 0.05:
        headers["Content-Encoding"] = chance.choice(["gzip", "deflate", "br", "identity"])
        body = chance.choice([body, zlib.compress(body)])
    return Asked(body, headers)


def _request(chance: random.Random) -> dict[str, Any]:
    request: dict[str, Any] = {"inputs": [_tensor(chance) for _ in range(chance.choice([1, 1, 1, 2, 3, 0]))]}
    if chance.random() < 0.4:
        request["parameters"] = _parameters(chance, "content_type", "binary_data_output", "priority", "mine")
    if chance.random() < 0.2:
        request["id"] = chance.choice(["7", "ü", "\ud800", "\n"])
    if chance.random() < 0.2:
        request["outputs"] = [
            {"name": chance.choice(NAMES), "parameters": _parameters(chance, "classification", "binary_data")}
        ]
    return request


def _tensor(chance: random.Random) -> dict[str, Any]:
    datatype, shape = chance.choice(DATATYPES), chance.choice(SHAPES)
    size = 1
    for axis in shape:
        size *= axis
    elements: tuple[Any, ...] = (0, 1)
    if datatype == "BYTES":
        elements = TEXTS
    elif datatype.startswith("FP"):
        elements = (0.5, 1, None)
    tensor: dict[str, Any] = {"name": chance.choice(NAMES), "datatype": datatype, "shape": shape}
    tensor["data"] = [chance.choice(elements) for _ in range(size)]
    if chance.random() < 0.4:
        tensor["parameters"] = _parameters(chance, "content_type", "column_names", "mine")
    return tensor


def _parameters(chance: random.Random, *keys: str) -> dict[str, Any]:
    key = chance.choice(keys)
    if key == "content_type":
        return {key: chance.choice(CONTENT_TYPES)}
    if key == "column_names":
        return {key: chance.choice(['["a","b"]', "[", "[1]", '{"a":1}', "\ud800"])}
    return {key: chance.choice([True, 1, 0, -1, "a", 0.5, 10**30])}


def _break(request: dict[str, Any], chance: random.Random) -> None:
    """Make one member of the request, or of a tensor, what it must not be."""
    target = chance.choice([request, *request["inputs"]])
    key = chance.choice([*target, "parameters", "shared"])
    if chance.random() < 0.2:
        target.pop(key, None)
    else:
        target[key] = chance.choice(ODD_SHAPES if key == "shape" else ODD)


def grpc_payloads(seed: int, count: int) -> Iterator[bytes]:
    """Serialized messages for ModelInfer."""
    chance = random.Random(seed)
    for _ in range(count):
        raw = _message(chance).SerializeToString()
        if chance.random() < 0.1:
            raw = raw[: chance.randrange(len(raw) + 1)]
        if chance.random() < 0.05:
            raw = chance.randbytes(20)
        yield raw


_FIELDS = ("bool", "int", "int64", "uint", "uint64", "fp32", "fp64", "bytes")
_WIRE_SHAPES = ([1], [1], [2], [1, 2], [], [0], [-1], [2**62, 2**62], [0, 2**62, 2**62], [1] * 65)


def _message(chance: random.Random) -> Any:
    name = "Hooks" if chance.random() < 0.95 else "other"
    message = proto.ModelInferRequest(model_name=name, id=chance.choice(["", "ü", "\0"]))
    for _ in range(chance.choice([1, 1, 1, 2, 3, 0])):
        _add_input(message, chance)
    if chance.random() < 0.15:
        for _ in message.inputs:
            message.raw_input_contents.append(chance.choice(BLOBS))
    if chance.random() < 0.1:
        output = message.outputs.add(name=chance.choice(["x", "", "q"]))
        output.parameters["classification"].int64_param = chance.choice([1, -1, 0])
    return message


def _add_input(message: Any, chance: random.Random) -> None:
    field, shape = chance.choice(_FIELDS), chance.choice(_WIRE_SHAPES[:6])
    datatype = {"int": "INT8", "uint": "UINT8"}.get(field, field.upper())
    size = 0 if 0 in shape else 2 if 2 in shape else 1
    if chance.random() < 0.1:
        datatype = chance.choice([*DATATYPES, "fp32"])
    if chance.random() < 0.1:
        shape = chance.choice(_WIRE_SHAPES)
    if chance.random() < 0.1:
        size = chance.choice([0, 1, 2, 3])
    name = f"{chance.choice(NAMES[:4])}{len(message.inputs)}" if chance.random() < 0.9 else "x"
    tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
    elements: list[Any] = [b"a", b"\xff", b"[1]"] if field == "bytes" else [0, 1]
    getattr(tensor.contents, f"{field}_contents").extend([chance.choice(elements) for _ in range(size)])
    if chance.random() < 0.3:
        _add_parameter(tensor, chance)


def _add_parameter(tensor: Any, chance: random.Random) -> None:
    parameter = tensor.parameters[
        chance.choice(["content_type", "content_type", "column_names", "mine", "shared_memory_x"])
    ]
    if chance.random() < 0.8:
        parameter.string_param = chance.choice([*CONTENT_TYPES[:-1], "[", '["a"]'])
    elif chance.random() < 0.5:
        parameter.int64_param = 5
