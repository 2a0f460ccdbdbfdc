"""A file that is not lines of JSON is told as what it is; what may be lines of JSON is not."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infergraph.wire.file_format import HEAD_BYTES, whole_fault

ROWS = [{"id": number, "text": "北京" * (number % 7), "list": [1, {"a": []}]} for number in range(2000)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def tarred(name: str, content: bytes) -> bytes:
    """An archive of one file."""
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        return out.getvalue()


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
        (tarred("in.jsonl", LINES), "a tar archive"),
        (tarred("in.jsonl", b'{"id": 1}\n{"id": 2}\n'), "a tar archive"),
        *[(pickle.dumps(ROWS, protocol), "a pickle") for protocol in (2, 3, 4, 5)],
        (b"---\nid: 1\n---\nid: 2\n", "YAML"),
        (b"- id: 1\n  text: one\n- id: 2\n  text: two\n", "YAML"),
        ("标题: 一\n文本: 二\n".encode(), "YAML"),
        (b"- one\n- two\n", "YAML"),
        (b'{"id": 1}\r\n{"id": 2}\r{"id": 3}\r\n', "some of the file's lines end in CR alone"),
        (b'{"id": 1}\r{"id": 2}\n{"id": 3}\n', "some of the file's lines end in CR alone"),
        (b"ARROW1\0\0..\n", "Arrow"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\n\0\n", "not text"),
        ("鲁迅在绍兴。\n".encode() * 9, "no line of the file is JSON; texts are sent as objects"),
        (b"It is so.\n" * 20_000, "no line of the file is JSON"),
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
        b"bad\nworse\n",
        b"note: this\n" + LINES,
        b"one\ntwo\nthree\nfour\nfive\nsix\n" + LINES,
        b'{"id": 1, "text": "a\\r\\nb"}\r\n{"id": 2}\r\n',
        b"{}\rnot JSON\n{}\n",
        b"1\n2\n3\n4\n5\n6\n",
        b'"a"\n"b"\n"c"\n"d"\n"e"\n"f"\n',
        b"null\n" * 9,
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
