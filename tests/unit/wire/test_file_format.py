"""A file that is not lines of JSON is told as what it is; what may be lines of JSON is not."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infergraph.wire.file_format import HEAD_BYTES, whole_fault

ROWS = [{"id": number, "text": "北京" * (number % 7), "list": [1, {"a": []}]} for number in range(2000)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def fault(file: bytes) -> str:
    """What is told of a whole file."""
    return whole_fault(file[:HEAD_BYTES], len(file.rstrip(b" \t\r\n").split(b"\n")))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (b'[\n  {"id": 1},\n  {"id": 2}\n]\n', "one JSON array over several lines"),
        (b'[{"id": 1},\n{"id": 2}]', "one JSON array over several lines"),
        (b'[\n{"id": 1}\n]\n', "one JSON array over several lines"),
        (b"[\n 1,\n 2\n]\n", "one JSON array over several lines"),
        (json.dumps(ROWS, indent=1).encode(), "one JSON array over several lines"),
        (b"[\n" + b",\n".join(LINES.splitlines()) + b"\n]\n", "one JSON array over several lines"),
        (b'\xef\xbb\xbf \n[{"id": 1}, {"id": 2}]\n', "one JSON array; a line for each"),
        (json.dumps(ROWS).encode(), "one JSON array; a line for each"),
        (b'{\n  "id": 1\n}\n{\n  "id": 2\n}\n', "objects over several lines"),
        (b'{"id": 1,\n "b": 2}\n{"id": 2}\n', "objects over several lines"),
        (b'{"id": 1},\n{"id": 2},\n{"id": 3}\n', "end in commas"),
        (b"[1, 2] ,\r\n\r\n[3, 4]\r\n", "end in commas"),
        (LINES.replace(b"\n", b",\n"), "end in commas"),
        (b'\x1e{"id": 1}\n\x1e{"id": 2}\n', "JSON text sequence"),
        (b'<?xml version="1.0"?>\n<rows/>\n', "XML"),
        (b"<!DOCTYPE html>\n<html></html>\n", "HTML page"),
        (b'{"id": 1}\r{"id": 2}\r', "end in CR alone"),
        (gzip.compress(LINES), "gzip"),
        (bz2.compress(LINES), "bzip2"),
        (lzma.compress(LINES), "xz"),
        (b"PK\x03\x04....\n\n", "zip"),
        (b"PAR1....\n", "Parquet"),
        (b"a,b\n1,2\n3,4\n", "looks like CSV"),
        (b'text,label\n"Hello, world",1\n"a ""b""",0\n', "looks like CSV"),
        (b"1,2\n3,4\n", "looks like CSV"),
        ("名称;数量\r\n茶;2\r\n".encode(), "looks like CSV"),
    ],
)
def test_a_file_of_another_format_is_named(file: bytes, told: str) -> None:
    """Arrays, objects over several lines, lines that end in CR, archives and tables: each by its name, at any size."""
    assert told in fault(file)


@pytest.mark.parametrize(
    "file",
    [
        LINES,
        LINES.replace(b"\n", b"\r\n"),
        b'{"a": 1}',
        b'{"a":\r1}\n',
        b"[1, 2, 3]\n[4, 5, 6]\n",
        b"[[1, 2], [3, 4]]\n",
        b"[]",
        b'{"id": 1\n{"id": 2}\n{"id": 3}\n',
        b'{"id": 1, "text": "cut\n{"id": 2}\n',
        b'{"id": 1},\n{"id": 2}\n{"id": 3}\n',
        b"not JSON\n" + LINES,
        b"x\n[]\n\ny\n",
        b"a, b\n" + LINES,
        b"\xff\xfe\xfd\n" + LINES,
        b"\n\n\n{}\n",
        b"",
    ],
)
def test_lines_with_faults_of_their_own_are_no_fault_of_the_file(file: bytes) -> None:
    """A cut line, text among the lines, rows that are lists, any line ends: answered line by line."""
    assert fault(file) == ""


@given(
    st.lists(
        st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
        min_size=2,
    )
)
def test_lines_of_json_are_never_refused(values: list[object]) -> None:
    """Whatever JSON stands in the lines, a file of two or more is read as lines."""
    assert fault(b"".join(json.dumps(value).encode() + b"\n" for value in values)) == ""


@example(b"a,b\rc\nd,e\rf\n", 2)
@given(st.binary(max_size=300), st.integers(0, 5))
def test_any_bytes_can_be_looked_at(head: bytes, lines: int) -> None:
    """No beginning of a file makes the look fail."""
    assert isinstance(whole_fault(head, lines), str)
