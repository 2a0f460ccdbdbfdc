"""The open inference protocol, case by case, over both transports: what its servers do and what its texts demand."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from infergraph.protocol.services import INFERENCE
from infergraph.wire.prediction import SERVICES, message_class
from served import Served, Servers, served

FOLDER = Path(__file__).parent / "cases" / "v2"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text())
HEADER = "inference-header-content-length"
_SIZES = {"BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H",
          "UINT32": "I", "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d"}  # fmt: skip


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers("oip_components.py", folder=FOLDER) as servers:
        yield servers


def component(servers: Servers, name: str, model: str, *, control: bool = False) -> Served:
    settings = {"model_control": "on"} if control else {}
    return servers(name, environment={"PREDICTIVE_UNIT_ID": model}, **settings)


@contextmanager
def asked(servers: Servers, case: Mapping[str, Any], folder: Path) -> Iterator[Served]:
    """The worker of a case's graph, or that of its component, which cases share."""
    if "graph" not in case:
        yield component(servers, case["component"], case["model"], control=case.get("control", False))
        return
    text = json.dumps(case["graph"]).replace("oip_components.py", str(FOLDER / "oip_components.py"))
    for node, name in case.get("servers", {}).items():
        remote = component(servers, name, node)
        text = text.replace(f'"@{node}:http"', str(remote.http_port))
        text = text.replace(f'"@{node}:grpc"', str(remote.grpc_port))
    (folder / "graph.json").write_text(text)
    with served("graph.json", folder=folder) as there:
        yield there


@pytest.mark.parametrize("case", CASES, ids=[f"{case['id']}-{case['title']}" for case in CASES])
def test_the_case_holds(servers: Servers, tmp_path: Path, case: dict[str, Any]) -> None:
    """Each step of the case is answered as expected."""
    check = _check_grpc if case["transport"] == "grpc" else _check_rest
    with asked(servers, case, tmp_path) as there:
        for step in case["steps"]:
            check(there, step["request"], step["expect"])


# ── REST ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_rest(there: Served, request: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    body = base64.b64decode(request["body_b64"]) if "body_b64" in request else (request["body"] or "").encode()
    reply = there.ask(request["method"], request["path"], body, request["headers"])
    if "alternatives" in expect:
        assert any(_holds(reply, alternative) for alternative in expect["alternatives"]), reply
    else:
        _check_reply(reply, expect)


def _holds(reply: Any, expect: Mapping[str, Any]) -> bool:
    try:
        _check_reply(reply, expect)
    except AssertionError:
        return False
    return True


def _check_reply(reply: Any, expect: Mapping[str, Any]) -> None:
    assert reply.status in _listed(expect["status"]), reply
    for name, value in expect.get("headers", {}).items():
        if value is None:
            assert name not in reply.headers, reply.headers
        else:
            assert value in reply.headers[name], reply.headers
    if expect.get("error"):
        assert list(reply.json) == ["error"], reply.body
        assert isinstance(reply.json["error"], str)
        assert HEADER not in reply.headers
        assert reply.headers["content-type"] == "application/json"
    for text in expect.get("contains", ()):
        assert text in reply.body.decode(), reply.body
    if "json" in expect:
        _match(reply.json, expect["json"])
    if "names" in expect:
        assert [entry["name"] for entry in reply.json] == expect["names"]
    if "infer" in expect:
        _check_answer(_answer_of(reply), expect["infer"])
    if "events" in expect:
        events = [json.loads(event.removeprefix("data: ")) for event in reply.body.decode().split("\n\n") if event]
        assert len(events) == len(expect["events"]), events
        for event, wanted in zip(events, expect["events"], strict=True):
            if wanted.get("error"):
                assert list(event) == ["error"], event
            else:
                _check_answer(event, wanted)


def _match(found: Any, wanted: Any) -> None:
    """Compare the members that are wanted; `{"any": kind}` is any value of a kind."""
    if isinstance(wanted, dict) and wanted.keys() == {"any"}:
        assert isinstance(found, {"str": str, "list": list}[wanted["any"]]), found
    elif isinstance(wanted, dict):
        for key, value in wanted.items():
            if value == {"absent": True}:
                assert not found.get(key), found
            else:
                _match(found[key], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), found
        for each, value in zip(found, wanted, strict=True):
            _match(each, value)
    else:
        assert found == wanted


def _answer_of(reply: Any) -> dict[str, Any]:
    """The answer, with the elements of its blobs as `data`, and `binary` where there was one."""
    if HEADER not in reply.headers:
        answer: dict[str, Any] = reply.json
        return answer
    size = int(reply.headers[HEADER])
    answer, blobs = json.loads(reply.body[:size]), reply.body[size:]
    for output in answer["outputs"]:
        length = output.get("parameters", {}).pop("binary_data_size", None)
        if length is not None:
            assert "data" not in output
            output["data"], output["binary"] = _elements(blobs[:length], output["datatype"]), True
            blobs = blobs[length:]
    assert not blobs
    return answer


def _elements(raw: bytes, datatype: str) -> list[Any]:
    if datatype == "BYTES":
        elements: list[Any] = []
        while raw:
            (size,) = struct.unpack_from("<I", raw)
            elements.append(raw[4 : 4 + size])
            raw = raw[4 + size :]
        return elements
    if datatype == "BF16":
        return [struct.unpack("<f", b"\0\0" + raw[at : at + 2])[0] for at in range(0, len(raw), 2)]
    return [value for (value,) in struct.iter_unpack("<" + _SIZES[datatype], raw)]


def _check_answer(answer: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for member in ("model_name", "model_version", "id"):
        if member in wanted:
            assert answer[member] == wanted[member]
    if "parameters" in wanted:
        _match(answer["parameters"], wanted["parameters"])
    outputs = answer["outputs"]
    assert [output["name"] for output in outputs] == [output["name"] for output in wanted["outputs"]], answer
    for output, expected in zip(outputs, wanted["outputs"], strict=True):
        if "datatype" in expected:
            assert output["datatype"] == expected["datatype"], output
        if "shape" in expected:
            assert [int(size) for size in output["shape"]] == expected["shape"], output
        if "binary" in expected:
            assert bool(output.get("binary")) == expected["binary"], output
        if "data" in expected:
            is_base64 = output.get("parameters", {}).get("content_type") == "base64"
            _check_data(output["data"], expected["data"], output["datatype"], is_base64=is_base64)


def _check_data(found: list[Any], wanted: list[Any], datatype: str, *, is_base64: bool) -> None:
    assert len(found) == len(wanted), found
    for each, value in zip(found, wanted, strict=True):
        if datatype == "BYTES":
            raw = each if isinstance(each, bytes) else base64.b64decode(each) if is_base64 else each.encode()
            assert raw == (base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode())
        elif isinstance(value, float) and datatype in ("FP16", "FP32", "BF16"):
            assert each == pytest.approx(value, rel=1e-2 if datatype != "FP32" else 1e-6)
        elif value == "NaN" or (isinstance(value, float) and math.isnan(value)):
            assert math.isnan(each)
        elif isinstance(value, str):
            assert each == float(value)
        else:
            assert each == value
            assert isinstance(each, bool) == isinstance(value, bool)


# ── gRPC ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_grpc(there: Served, request: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    try:
        answers, code, details = _ask_grpc(there, request), "OK", ""
    except grpc.RpcError as error:
        answers, code, details = [], error.code().name, error.details()
    alternatives = expect.get("alternatives", [expect])
    wanted = next((each for each in alternatives if code in _listed(each["code"])), None)
    assert wanted is not None, (code, details)
    for text in wanted.get("contains", ()):
        assert text in details
    if "message" in wanted:
        shown = json_format.MessageToDict(
            answers[0], preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        _match(shown, wanted["message"])
    if "infer" in wanted:
        _check_answer(_grpc_answer(answers[0]), wanted["infer"])
    if "stream" in wanted:
        assert len(answers) == len(wanted["stream"]), answers
        for answer, each in zip(answers, wanted["stream"], strict=True):
            assert bool(answer.error_message) == bool(each.get("error")), answer
            if not each.get("error"):
                _check_answer(_grpc_answer(answer.infer_response), each)


def _ask_grpc(there: Served, request: Mapping[str, Any]) -> list[Any]:
    call = request["rpc"]
    asked, answered = map(message_class, SERVICES[INFERENCE].get(call, SERVICES[INFERENCE]["ServerLive"]))
    metadata = [(name.lower(), value) for name, value in request.get("metadata", ())]
    is_stream = "messages" in request
    given = [json_format.ParseDict(each, asked()) for each in request.get("messages", [request.get("message", {})])]
    with there.channel() as channel:
        kind = channel.stream_stream if is_stream else channel.unary_unary
        ask = kind(f"/{INFERENCE}/{call}", lambda message: message.SerializeToString(), answered.FromString)
        if is_stream:
            return list(ask(iter(given), metadata=metadata, timeout=30))
        return [ask(given[0], metadata=metadata, timeout=30)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _grpc_answer(answer: Any) -> dict[str, Any]:
    outputs = []
    for place, output in enumerate(answer.outputs):
        entry = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if answer.raw_output_contents:
            assert not output.HasField("contents")
            entry |= {"data": _elements(answer.raw_output_contents[place], output.datatype), "binary": True}
        else:
            fields = output.contents.ListFields()
            entry["data"] = list(fields[0][1]) if fields else []
        outputs.append(entry)
    parameters = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in answer.parameters.items()}
    return {
        "model_name": answer.model_name,
        "model_version": answer.model_version,
        "id": answer.id,
        "parameters": parameters,
        "outputs": outputs,
    }
