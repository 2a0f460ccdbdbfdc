"""The answers of a task as a table: columns and types of all rows, whenever they come; reasons in their places."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infergraph.tasks import answer_files
from infergraph.wire.error_lines import error_line
from infergraph.wire.file_kind import FileFormat, FileKind


def table_of(folder: Path, answers: list[Any], format: FileFormat) -> list[dict[str, Any]]:
    """The rows that are written for answers; an exception among them is a failed row with its text as the reason."""
    lines = [
        error_line(number, str(answer), b'{"id": %d}' % number)
        if isinstance(answer, Exception)
        else json.dumps(answer).encode()
        for number, answer in enumerate(answers, 1)
    ]
    output, errors, target = folder / "output", folder / "errors", folder / "target"
    output.write_bytes(b"".join(line + b"\n" for line in lines))
    failed = [line for line, answer in zip(lines, answers, strict=True) if isinstance(answer, Exception)]
    errors.write_bytes(b"".join(line + b"\n" for line in failed))
    answer_files.write_answers(output, errors, FileKind(format), target)
    if format is FileFormat.CSV:
        with target.open(newline="") as file:
            return list(csv.DictReader(file))
    rows: list[dict[str, Any]] = pq.read_table(target).to_pylist()
    return rows


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_files, "_GROUP_BYTES", 16)


def test_a_column_that_comes_late_is_a_column_of_all(tmp_path: Path) -> None:
    """The file is begun anew, and the rows before have nothing there."""
    answers = [{"id": 1, "a": "x"}, {"id": 2, "a": "y"}, {"id": 3, "b": "z"}]
    assert table_of(tmp_path, answers, FileFormat.CSV) == [
        {"id": "1", "a": "x", "b": ""}, {"id": "2", "a": "y", "b": ""}, {"id": "3", "a": "", "b": "z"},
    ]  # fmt: skip
    assert table_of(tmp_path, answers, FileFormat.PARQUET) == [
        {"id": 1, "a": "x", "b": None}, {"id": 2, "a": "y", "b": None}, {"id": 3, "a": None, "b": "z"},
    ]  # fmt: skip


def test_a_type_that_comes_late_is_the_type_of_all(tmp_path: Path) -> None:
    """Numbers that turn out to be fractions, or texts."""
    rows = table_of(tmp_path, [{"n": 1}, {"n": 2}, {"n": 2.5}], FileFormat.PARQUET)
    assert [row["n"] for row in rows] == [1.0, 2.0, 2.5]
    rows = table_of(tmp_path, [{"n": 1}, {"n": None}, {"n": "many"}], FileFormat.PARQUET)
    assert [row["n"] for row in rows] == ["1", None, "many"]


def test_answers_that_are_no_objects_have_one_column(tmp_path: Path) -> None:
    """Lists and numbers."""
    assert table_of(tmp_path, [[1, 2], [3]], FileFormat.CSV) == [{"answer": "[1,2]"}, {"answer": "[3]"}]
    assert table_of(tmp_path, [[1, 2], [3]], FileFormat.PARQUET) == [{"answer": [1, 2]}, {"answer": [3]}]


@pytest.mark.parametrize("format", [FileFormat.CSV, FileFormat.PARQUET])
def test_reasons_have_a_column_of_their_own(tmp_path: Path, format: FileFormat) -> None:
    """Whether the failed rows come first or last, and even if the answers have such a column, early or late."""
    nothing = "" if format is FileFormat.CSV else None
    rows = table_of(tmp_path, [ValueError("no"), {"id": "b"}, ValueError("never")], format)
    assert [row["error"] for row in rows] == ["no", nothing, "never"]
    assert [row["id"] for row in rows][1] == "b"
    for answers in ([{"error": "mine"}, ValueError("no")], [{"id": "a"}, ValueError("no"), {"error": "mine"}]):
        rows = table_of(tmp_path, answers, format)
        assert [row["error"] for row in rows if row["error"]] == ["mine"]
        assert [row["row_error"] for row in rows if row["row_error"]] == ["no"]
