"""What the HTTP libraries of other languages send, each with the answer that its user expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Served, served

BUGS = Path(__file__).parent / "cases" / "bugs"
FORM = {"Content-Type": "multipart/form-data; boundary=cut-here"}
SIZE = {"type": "str", "bytes": 5}


@pytest.fixture(scope="module")
def size() -> Iterator[Served]:
    """A component that answers with the type and length of what it got."""
    with served("size.py:Size", folder=BUGS / "b13-multipart-edges") as there:
        yield there


@pytest.mark.parametrize("name", ["preamble", "padding", "lf-only"])
@pytest.mark.parametrize("boundary", ["cut-here", '"cut-here"', '"cut-here"; charset=utf-8'])
def test_forms_of_all_clients_are_read(size: Served, name: str, boundary: str) -> None:
    """A preamble, padding behind the boundary, bare line feeds and a quoted boundary are no fault."""
    body = (BUGS / "b13-multipart-edges" / f"{name}.bin").read_bytes()
    reply = size.ask("POST", "/predict", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert (reply.status, reply.json["jsonData"]) == (200, SIZE)


@pytest.mark.parametrize("name", ["unpadded", "lines"])
def test_base64_of_all_encoders_is_read(size: Served, name: str) -> None:
    """Base64 without padding, or in lines, is the same bytes."""
    reply = size.ask("POST", "/predict", (BUGS / "b22-base64-forms" / f"{name}.json").read_bytes())
    assert (reply.status, reply.json["jsonData"]) == (200, {"type": "bytes", "bytes": 5})


def _part(charset: str, data: bytes, name: str = "strData") -> bytes:
    head = f'--cut-here\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset={charset}'
    return head.encode() + b"\r\n\r\n" + data + b"\r\n--cut-here--\r\n"


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("ISO-8859-1", "Zürich".encode("latin-1")),
        ("gb18030", "绍兴绍兴绍兴".encode("gb18030")),
        ("utf-16", "Zürich".encode("utf-16")),
        ("binary", b"Zurich"),
        ("utf8", "Zürich".encode()),
        ("ISO-8859-1", "绍兴绍兴绍兴".encode()),
    ],
)
def test_a_part_is_read_in_its_charset(size: Served, charset: str, data: bytes) -> None:
    """The charset that a part names is obeyed, and one that libraries name by default is not believed over UTF-8."""
    reply = size.ask("POST", "/predict", _part(charset, data), FORM)
    assert (reply.status, reply.json["jsonData"]) == (200, {"type": "str", "bytes": 6})


@pytest.mark.parametrize("charset", ["punycode", "undefined", "idna", "rot13", "zlib_codec", "utf-7", "klingon"])
@pytest.mark.parametrize("data", [b"x" * 60_000, b"\xff" * 60_000])
def test_a_charset_of_no_text_is_refused_by_name(size: Served, charset: str, data: bytes) -> None:
    """A codec that is no text encoding is the caller's fault, and the answer names it."""
    reply = size.ask("POST", "/predict", _part(charset, data), FORM)
    assert reply.status == 400
    assert f"'{charset}' is not a supported charset" in reply.json["status"]["info"]


@pytest.mark.parametrize("charset", ["gbk", "GB2312"])
def test_a_json_body_in_a_declared_charset_is_read(size: Served, charset: str) -> None:
    """JSON that is not Unicode is read in the charset of its content type; UTF-8 is UTF-8 whatever the label says."""
    kind = {"Content-Type": f"application/json; charset={charset}"}
    for data in ('{"strData": "绍兴市越城"}'.encode(charset), '{"strData": "绍兴市越城"}'.encode()):
        assert size.ask("POST", "/predict", data, kind).json["jsonData"] == SIZE


def test_a_json_body_in_no_charset_says_where(size: Served) -> None:
    """Bytes that are no text in any declared charset are refused with the place, or with the label."""
    reply = size.ask("POST", "/predict", b'{"strData": "\xff"}', {"Content-Type": "application/json"})
    assert (reply.status, reply.json["status"]["info"].endswith("not valid utf-8 at byte 13")) == (400, True)
    reply = size.ask("POST", "/predict", b'{"strData": "\xff"}', {"Content-Type": "application/json; charset=idna"})
    assert (reply.status, "'idna'" in reply.json["status"]["info"]) == (400, True)
