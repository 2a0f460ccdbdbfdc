"""Multipart forms: what a parser of forms reads back."""

from __future__ import annotations

from typing import Any, cast

import pytest
from python_multipart.multipart import MultipartParser, parse_options_header

from infergraph.net.form import Form


def headers_and_bodies(form: Form, file: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a form: each one's headers by name, and its bytes."""
    found: list[tuple[dict[str, str], bytes]] = []
    names: list[str] = []
    _, options = parse_options_header(form.content_type)

    def add(data: bytes, start: int, end: int) -> None:
        found[-1] = (found[-1][0], found[-1][1] + data[start:end])

    parser = MultipartParser(
        options[b"boundary"],
        cast(
            Any,
            {
                "on_part_begin": lambda: found.append(({}, b"")),
                "on_header_field": lambda data, start, end: names.append(data[start:end].decode()),
                "on_header_value": lambda data, start, end: found[-1][0].update({names[-1]: data[start:end].decode()}),
                "on_part_data": add,
            },
        ),
    )
    parser.write(form.head + file + form.tail)
    parser.finalize()
    return found


def test_fields_and_file() -> None:
    """Every field and the file come out as they went in; a file of no known type has none."""
    form = Form.of({"task_id": "a/中", "rows": "object"}, file_field="file", file_name="rows.jsonl")
    first, second, file = headers_and_bodies(form, b"{}\r\n--x\r\n")
    assert (first[1], second[1], file[1]) == ("a/中".encode(), b"object", b"{}\r\n--x\r\n")
    assert file[0] == {"Content-Disposition": 'form-data; name="file"; filename="rows.jsonl"'}


def test_a_type_that_is_known() -> None:
    """The file's type stands beside its name."""
    form = Form.of({}, file_field="file", file_type="application/x-ndjson")
    ((headers, _),) = headers_and_bodies(form, b"")
    assert headers["Content-Type"] == "application/x-ndjson"


@pytest.mark.parametrize("name", ['a"b', "a\r\nX: y", 'a"; name="task_id'])
def test_a_name_stays_within_its_quotes(name: str) -> None:
    """No file name ends the header or adds a parameter to it."""
    ((headers, _),) = headers_and_bodies(Form.of({}, file_field="file", file_name=name), b"")
    assert list(headers) == ["Content-Disposition"]
    _, options = parse_options_header(headers["Content-Disposition"])
    assert options[b"name"] == b"file"
