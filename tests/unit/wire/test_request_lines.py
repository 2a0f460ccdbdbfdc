"""Lines that are requests, and the lines that answer them."""

from __future__ import annotations

import json

import pytest

from infergraph.wire import request_lines
from infergraph.wire.request_lines import InvalidLine, RequestLine

GOOD = b'{"custom_id": "a", "method": "POST", "url": "/predict", "body": {"x": 1.10, "n": 12345678901234567890123}}'


def test_the_body_stays_as_it_stands_in_the_line() -> None:
    """Digits, spaces and the order of members reach the served path unchanged."""
    request = request_lines.read(GOOD + b"\r")
    assert isinstance(request, RequestLine)
    assert (request.custom_id, request.url) == ("a", "/predict")
    assert bytes(request.body) == b'{"x": 1.10, "n": 12345678901234567890123}'


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"", "invalid_json_line", None),
        (b"{", "invalid_json_line", None),
        (b"\xff", "invalid_json_line", None),
        (b'"text"', "invalid_type", None),
        (b'{"custom_id": "a", "body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json_line", None),
        (GOOD.replace(b'"a"', b'""'), "invalid_value", "custom_id"),
        (GOOD.replace(b'"a"', b"1"), "invalid_type", "custom_id"),
        (GOOD.replace(b"custom_id", b"custom"), "missing_required_parameter", "custom_id"),
        (GOOD.replace(b'"url"', b'"uri"'), "missing_required_parameter", "url"),
        (GOOD.replace(b"POST", b"GET"), "invalid_method", "method"),
        (GOOD.replace(b'{"x": 1.10, "n": 12345678901234567890123}', b"3"), "invalid_type", "body"),
    ],
)
def test_what_is_no_request_says_why(line: bytes, code: str, param: str | None) -> None:
    """A stable code, and the member at fault."""
    fault = request_lines.read(line)
    assert isinstance(fault, InvalidLine)
    assert (fault.code, fault.param) == (code, param)
    assert fault.message


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/predict", "/predict"),
        ("/base/predict", "/predict"),
        ("/base", "/base"),
        ("/basement/predict", "/basement/predict"),
        ("/v2/models/a%20b/infer?x=1", "/v2/models/a b/infer"),
    ],
)
def test_the_path_of_a_request(url: str, path: str) -> None:
    """Decoded, without query, and without the base path, which it need not have."""
    assert request_lines.path_of(url, "/base") == path


@pytest.mark.parametrize(
    ("body", "is_json", "written"),
    [
        (b'{"y": [1,\n 2]}', True, {"y": [1, 2]}),
        (b"404 page not found", False, "404 page not found"),
        (b"not what it says", True, "not what it says"),
        (b"\xff", False, "\ufffd"),
        (b"", True, None),
    ],
)
def test_an_answer_is_one_line_of_json(body: bytes, is_json: bool, written: object) -> None:
    """Whatever the path answers."""
    line = request_lines.answer("a", "id-1", 200, body, is_json=is_json)
    assert b"\n" not in line
    assert json.loads(line) == {
        "id": "batch_req_id-1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "id-1", "body": written},
        "error": None,
    }


def test_a_failure_names_its_request_or_shows_the_line() -> None:
    """A request that could not be asked has its id; of what is no request the line itself is told."""
    known = json.loads(request_lines.failure_of(GOOD, "server_error", "the worker died"))
    assert known | {"id": ""} == {
        "id": "",
        "custom_id": "a",
        "response": None,
        "error": {"code": "server_error", "message": "the worker died"},
    }
    unknown = json.loads(request_lines.failure_of(b"{not json", "invalid_json_line", "no JSON"))
    assert (unknown["custom_id"], unknown["error"]["message"]) == ("", "no JSON: {not json")


def test_the_reason_of_a_failure_is_told_in_a_line() -> None:
    """Of a status its body, of none the error."""
    refused = request_lines.answer("a", "1", 400, b'{"info": "no data"}', is_json=True)
    assert request_lines.reason_of(refused) == 'request \'a\': 400 {"info": "no data"}'
    assert request_lines.reason_of(request_lines.failure("b", "x", "gone")) == "request 'b': gone"
