"""Chunks: whole lines, none lost, and as many as suit the unit's speed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infergraph.tasks.driver.chunks import Chunk, ChunkSizer, LineReader

LINES = st.lists(st.integers(0, 40).map(lambda size: b"x" * size) | st.just(b"y" * 5000), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.booleans(), st.integers(1, 9), st.integers(1, 300))
def test_pieces_are_the_file_line_by_line(
    tmp_path: Path, lines: list[bytes], closed: bool, most: int, size: int
) -> None:
    """Chunks meet without gaps, hold whole lines, at most as many as asked, and carry their line numbers."""
    content = b"\n".join(lines) + (b"\n" if closed else b"")
    end = len(content)
    if not content:
        return
    path = tmp_path / "input"
    path.write_bytes(content)
    reader = LineReader.open(path, end)
    offset, line = 0, 1
    total = content.count(b"\n") + (not content.endswith(b"\n"))
    while offset < end:
        chunk = reader.cut(offset, line, lines=most, bytes=size)
        block = reader.read(chunk)
        assert 1 <= chunk.lines <= most
        assert block.endswith(b"\n") or chunk.end == end
        assert chunk.lines == block.count(b"\n") + (not block.endswith(b"\n"))
        assert (chunk.offset, chunk.line) == (offset, line)
        parts = reader.split(chunk, 3)
        assert [part.offset for part in parts] == [chunk.offset, *(part.end for part in parts[:-1])]
        assert sum(part.lines for part in parts) == chunk.lines
        assert parts[-1].end == chunk.end
        offset, line = chunk.end, line + chunk.lines
    assert line == total + 1
    assert reader.take(0, 1, total + 5) == Chunk(0, end, 1, total)
    reader.close()


def test_a_file_that_was_cut_short_is_noticed(tmp_path: Path) -> None:
    """Input that vanished under a task is an error, never an endless loop or a shorter answer."""
    path = tmp_path / "input"
    path.write_bytes(b"{}\n")
    reader = LineReader.open(path, 10)
    assert reader.cut(0, 1, lines=5).lines == 1
    with pytest.raises(OSError, match="7 bytes early"):
        reader.cut(3, 2, lines=5)
    reader.close()


def test_the_chunk_size_settles_on_the_target() -> None:
    """Chunks grow fast for a fast unit, to the limit; shrink at once for a slow one, to a single line."""
    sizer = ChunkSizer(0.25, 8192)
    sizes = []
    for _ in range(9):
        sizes.append(sizer.lines)
        sizer.seen(sizer.lines, sizer.lines * 1e-6)
    assert sizes[0] == 4
    assert all(later <= 4 * earlier for earlier, later in pairwise(sizes))
    assert sizer.lines == 8192
    for _ in range(40):
        sizer.seen(sizer.lines, sizer.lines * 1e-3)
    assert 200 <= sizer.lines <= 260
    sizer.seen(sizer.lines, sizer.lines * 10.0)
    assert sizer.lines == 1


def test_the_chunk_size_begins_with_what_is_known() -> None:
    """A speed seen in another task is a start; with a time limit a line is first tried alone; limits may widen."""
    assert ChunkSizer(0.25, 8192, line_s=0.1).lines == 2
    assert ChunkSizer(0.25, 8192, line_s=1e-6).lines == 64
    assert ChunkSizer(0.25, 8192, alone=True).lines == 1
    narrow = ChunkSizer(0.25, 1)
    narrow.seen(1, 1e-6)
    assert narrow.lines == 1
    narrow.widen(8192)
    assert narrow.lines == 4
