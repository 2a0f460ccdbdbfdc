"""CSV as JSON lines: every row in its place, or a reason with the line of the file; and JSON rows as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.errors import PayloadError
from infergraph.wire import csv_rows, jsonl
from infergraph.wire.jsonl import Bad

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def rows_of(file: bytes, *, block: int = 1 << 16) -> list[Any]:
    """The value of each line, read from blocks of this size."""
    blocks = (file[at : at + block] for at in range(0, len(file), block))
    return jsonl.read(b"".join(csv_rows.read(blocks)))[1]


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1), block=st.integers(1, 50))
def test_what_python_writes_is_read_back(rows: list[tuple[str, str]], block: int) -> None:
    """Quotes, commas and line breaks within fields, in every dialect of line ends and whatever the blocks."""
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    assert rows_of(file.getvalue().encode(), block=block) == [dict(zip("ab", row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        (b"a,b\n1,007\n", [{"a": "1", "b": "007"}]),
        (b"a\r\n1\r\n\r\n2", [{"a": "1"}, {"a": "2"}]),
        (b"a,b\r1,2\r3,4\r", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b'\xef\xbb\xbf"a",b\n,\n', [{"a": "", "b": ""}]),
        (b',b\n0,"x ""y"" z"\n', [{"": "0", "b": 'x "y" z'}]),
        (b'a\n5" disk\n', [{"a": '5" disk'}]),
        ("名称\n绍兴\u2028茶\n".encode(), [{"名称": "绍兴\u2028茶"}]),
    ],
)
def test_files_as_they_are_found(file: bytes, rows: list[Any]) -> None:
    """Values are texts as they stand there; a byte order mark and blank lines are skipped."""
    assert rows_of(file) == rows


class Name(str):
    """A name that counts with how many others it was compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str(self) == str(other)


def test_the_names_of_many_columns_are_looked_through_once() -> None:
    """A header with a thousand columns takes not a million comparisons to find the name that stands there twice."""
    names = [Name(number) for number in range(1000)]
    assert csv_rows.repeated(names) is None
    assert csv_rows.repeated([*names, Name(7), Name(3)]) == "7"
    assert Name.compared < 100


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "line 4 of the file: 1 field, the header has 2"),
        (b"1,2,3", "line 4 of the file: 3 fields, the header has 2"),
        (b'"1"2,3', "line 4 of the file: not CSV: ',' expected after '\"'"),
        (b"1,\xff", "line 4 of the file: not UTF-8"),
        (b"1,\xed\xb2\x80", "line 4 of the file: not UTF-8"),
    ],
)
def test_a_bad_row_keeps_its_place(row: bytes, reason: str) -> None:
    """Its line says what is wrong, and in which line of the file; the rows around it are read."""
    first, bad, last = rows_of(b'a,b\n"two\nlines",0\n' + row + b"\n5,6\n")
    assert (first, last) == ({"a": "two\nlines", "b": "0"}, {"a": "5", "b": "6"})
    assert isinstance(bad, Bad)
    assert bad.reason.startswith(reason)


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a,b\n", "the file has a header, but no rows"),
        (b"a,a\n1,2\n", "line 1: two columns are called 'a'"),
        (b"a;b\n1;2\n", "line 1: the columns are separated by semicolons; commas are expected"),
        (b'{"a": 1}\n', "line 1: the file looks like JSON, not CSV"),
        (b'"a"b,c\n1,2\n', "line 1: the header is not CSV"),
        (b"\xff,b\n1,2\n", "line 1: not UTF-8"),
        (b'a,b\n1,2\n3,"4\n5,6\n7,8\n', "line 3: a quote is opened and not closed"),
    ],
)
def test_a_broken_file_is_refused(file: bytes, reason: str) -> None:
    """Where no row could be told from the next, or from the header, the whole file is refused."""
    with pytest.raises(PayloadError) as refused:
        rows_of(file)
    assert refused.value.text.startswith(reason)


def test_a_quote_that_is_not_closed_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not take the rest of a large file into memory, and neither does a line without an end."""
    monkeypatch.setattr(csv_rows, "FIELD_LIMIT", 1000)
    with pytest.raises(PayloadError, match="line 2: a quote is opened and not closed"):
        rows_of(b'a,b\n"1,2\n' + b"3,4\n" * 1000)
    with pytest.raises(PayloadError, match="line 2 is longer than 1000 characters"):
        rows_of(b"a,b\n" + b"1" * 5000)


def test_json_values_as_fields() -> None:
    """Texts as they are, null as nothing, all else as JSON."""
    table, file = csv_rows.CsvTable(), io.BytesIO()
    rows: list[dict[str, Any]] = [{"a": "x,y", "b": None, "c": True}, {"a": 1.5, "d": {"k": ["中"]}}]
    table.learn(rows)
    writer = table.writer(file)
    writer.write(rows)
    writer.close()
    header, *written = csv.reader(io.StringIO(file.getvalue().decode()))
    assert header == ["a", "b", "c", "d"]
    assert written == [["x,y", "", "true", ""], ["1.5", "", "", '{"k":["中"]}']]
