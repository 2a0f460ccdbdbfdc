"""The check of a batch's input."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infergraph.tasks.driver import request_file
from infergraph.tasks.driver.request_file import ERRORS_LIMIT, CheckedFile, Interrupted


def line(id: str, **more: Any) -> bytes:
    """A request."""
    return json.dumps({"custom_id": id, "method": "POST", "url": "/predict", "body": {}, **more}).encode()


def check(folder: Path, content: bytes, **more: Any) -> CheckedFile:
    """What the check of a file finds."""
    path = folder / "input.jsonl"
    path.write_bytes(content)
    return request_file.check(
        path, len(content.rstrip()), "/predict", **{"base_path": "/base", "limit_bytes": 0, **more}
    )


def told(found: CheckedFile) -> list[tuple[int | None, str]]:
    """The lines and codes of its errors."""
    return [(error.line, error.code) for error in found.errors]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_good_file(tmp_path: Path, end: bytes) -> None:
    """All its requests are counted, whatever ends its last line, and a byte order mark at its start is none of it."""
    content = b"\xef\xbb\xbf" + b"\n".join([line("a"), line("b", url="/base/predict")]) + end
    found = check(tmp_path, content)
    assert (found.total, found.errors) == (2, [])


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    """In order of the lines, those that repeat an id among them."""
    found = check(tmp_path, b"\n".join([line("a"), line("b", url="/other"), b"", line("a"), b"{", line("a")]))
    assert told(found) == [
        (2, "invalid_url"),
        (3, "invalid_json_line"),
        (4, "duplicate_custom_id"),
        (5, "invalid_json_line"),
        (6, "duplicate_custom_id"),
    ]
    assert [error.message for error in found.errors if error.line in (4, 6)] == [
        "custom_id is that of line 1",
        "custom_id is that of line 4",
    ]


def test_ids_are_compared_across_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted in many parts, no double is missed."""
    monkeypatch.setattr(request_file, "_SORTED_AT_ONCE", 3)
    ids = [f"id-{number % 40}" for number in range(50)]
    found = check(tmp_path, b"\n".join(map(line, ids)))
    assert told(found) == [(number + 1, "duplicate_custom_id") for number in range(40, 50)]


def test_a_line_over_the_limit_is_skipped(tmp_path: Path) -> None:
    """It is a fault of its own, and the next line is read from its start."""
    content = b"\n".join([line("a", body={"x": "y" * 200_000}), line("b", url="/other")])
    assert told(check(tmp_path, content, limit_bytes=1000)) == [(1, "request_too_large"), (2, "invalid_url")]


def test_so_many_errors_are_enough(tmp_path: Path) -> None:
    """A file of nothing but faults tells a bounded number of them."""
    assert len(check(tmp_path, b"\n".join([b"{"] * 1000)).errors) == ERRORS_LIMIT
    assert len(check(tmp_path, b"\n".join([line("a")] * 1000)).errors) == ERRORS_LIMIT


def test_nothing_stays_beside_the_file(tmp_path: Path) -> None:
    """The digests are gone with the check, also if it is ended early."""
    with pytest.raises(Interrupted):
        check(tmp_path, b"\n".join([line("a")] * request_file._LOOK_EVERY_LINES), is_over=lambda: True)
    assert os.listdir(tmp_path) == ["input.jsonl"]
