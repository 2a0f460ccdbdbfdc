"""Uploads of tasks: any source becomes the same form; and rows out of a download's blocks."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from python_multipart.multipart import MultipartParser, parse_options_header

from infergraph.client.download import Download
from infergraph.client.upload import Upload
from infergraph.errors import PayloadError, RemoteError
from infergraph.net.http_stream import StreamReply

LINES = b'{"data":"a"}\n{"data":"\xe4\xb8\xad"}\n'
ROWS: list[Any] = [{"data": "a"}, {"data": "中"}]


async def whole(upload: Upload) -> bytes:
    return b"".join([block async for block in upload.blocks()])


def parts(upload: Upload, body: bytes) -> dict[str, bytes]:
    """The form's parts by name, as a parser of forms reads them."""
    found: dict[str, bytes] = {}
    names: list[str] = []

    def value(data: bytes, start: int, end: int) -> None:
        _, options = parse_options_header(data[start:end])
        if b"name" in options:
            names.append(options[b"name"].decode())
            found[names[-1]] = b""

    def content(data: bytes, start: int, end: int) -> None:
        found[names[-1]] += data[start:end]

    _, options = parse_options_header(upload.content_type)
    parser = MultipartParser(options[b"boundary"], cast(Any, {"on_header_value": value, "on_part_data": content}))
    parser.write(body)
    parser.finalize()
    return found


def a_path(folder: Path) -> Any:
    (folder / "rows.jsonl").write_bytes(LINES)
    return folder / "rows.jsonl"


def a_text_path(folder: Path) -> Any:
    return str(a_path(folder))


def a_file(folder: Path) -> Any:
    return io.BytesIO(LINES)


def a_file_begun(folder: Path) -> Any:
    file = io.BytesIO(b"head\n" + LINES)
    file.readline()
    return file


def a_generator(folder: Path) -> Any:
    return (row for row in ROWS)


async def an_async_generator_() -> AsyncIterator[Any]:
    for row in ROWS:
        yield row


def an_async_generator(folder: Path) -> Any:
    return an_async_generator_()


def a_list(folder: Path) -> Any:
    return ROWS


def lines(folder: Path) -> Any:
    return [LINES.split(b"\n")[0], LINES.split(b"\n")[1].decode() + "\n"]


@pytest.mark.parametrize(
    ("make", "is_repeatable", "has_length"),
    [
        (a_path, True, True),
        (a_text_path, True, True),
        (a_file, True, True),
        (a_file_begun, True, True),
        (a_list, True, False),
        (lines, True, False),
        (a_generator, False, False),
        (an_async_generator, False, False),
    ],
)
def test_sources(tmp_path: Path, make: Callable[[Path], Any], is_repeatable: bool, has_length: bool) -> None:
    """Every source gives the same form, with its length where it is known; what can be sent twice is the same twice."""
    upload = Upload(make(tmp_path), {"task_id": "a/中", "rows": "object"})
    body = asyncio.run(whole(upload))
    assert parts(upload, body) == {"task_id": "a/中".encode(), "rows": b"object", "task_file": LINES}
    assert upload.length == (len(body) if has_length else None)
    assert upload.is_repeatable is is_repeatable
    if is_repeatable:
        assert asyncio.run(whole(upload)) == body


@pytest.mark.parametrize(
    ("make", "encoding", "expected"),
    [
        (a_path, "", b'filename="rows.jsonl"\r\n\r\n'),
        (a_file, "", b'filename="task.jsonl"\r\n\r\n'),
        (a_path, "gb18030", b'filename="rows.jsonl"\r\nContent-Type: application/x-ndjson; charset=gb18030\r\n\r\n'),
        (a_list, "", b'filename="task.jsonl"\r\nContent-Type: application/x-ndjson\r\n\r\n'),
    ],
)
def test_nothing_is_said_of_a_file_but_what_is_known(
    tmp_path: Path, make: Callable[[Path], Any], encoding: str, expected: bytes
) -> None:
    """A file goes under its own name and with the encoding that was given; only of our own rows the type is known."""
    upload = Upload(make(tmp_path), {"task_id": "t"}, encoding=encoding)
    assert expected in asyncio.run(whole(upload))


def test_a_pipe_has_no_length() -> None:
    """What cannot be measured is sent once, in chunks."""
    reader, writer = os.pipe()
    os.write(writer, LINES)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        upload = Upload(file, {"task_id": "t"})
        assert (upload.length, upload.is_repeatable) == (None, False)
        assert parts(upload, asyncio.run(whole(upload)))["task_file"] == LINES


def test_the_encoding_of_a_file_is_declared(tmp_path: Path) -> None:
    """A file goes as it is, with the charset of its part; rows are UTF-8, and other words are no encoding."""
    file = tmp_path / "gbk.jsonl"
    file.write_bytes('{"text": "北京"}\n'.encode("gbk"))
    form = asyncio.run(whole(Upload(file, {}, encoding="GBK")))
    assert b"Content-Type: application/x-ndjson; charset=gbk\r\n\r\n" + file.read_bytes() in form
    assert b"charset" not in asyncio.run(whole(Upload(file, {}, encoding="utf-8")))
    with pytest.raises(PayloadError, match="rows are sent in UTF-8"):
        Upload([{"a": 1}], {}, encoding="gbk")
    with pytest.raises(PayloadError, match="not a supported charset"):
        Upload(file, {}, encoding="rot13")


def test_a_named_pipe_is_sent_and_a_folder_is_not(tmp_path: Path) -> None:
    """A pipe's length is not known, and it can be read once; a folder is refused by name."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(LINES,), daemon=True)
    writer.start()
    upload = Upload(pipe, {})
    assert (upload.length, upload.is_repeatable) == (None, False)
    assert LINES in asyncio.run(whole(upload))
    writer.join(60)
    with pytest.raises(PayloadError, match="it is a folder"):
        Upload(tmp_path, {})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("/nowhere/at/all", "No such file"),
        (io.StringIO("{}"), "open as text"),
        ([{"a": 1}, {"a": object()}], "row 2: it holds a object at a"),
        ([{"a": float("nan")}], "row 1"),
        (["{}\n{}"], "row 1: the row contains a line break"),
    ],
)
def test_sources_that_are_none(source: Any, text: str) -> None:
    """A source that cannot be sent is refused, and the text names the file or the row."""
    with pytest.raises(PayloadError, match=text):
        asyncio.run(whole(Upload(source, {})))


async def blocks_of(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Server:
    """Answers a file, and breaks off after so many bytes of each answer.

    Args:
        breaks: after how many bytes each answer ends; None for whole ones.
        ranges: whether it can begin in the middle.
    """

    def __init__(self, file: bytes, breaks: list[int | None], *, ranges: bool = True, etag: str = '"e"') -> None:
        self.file = file
        self.breaks = breaks
        self.ranges = ranges
        self.etag = etag
        self.asked: list[bytes] = []

    @asynccontextmanager
    async def fetch(self, head: bytes) -> AsyncIterator[Any]:
        self.asked.append(head)
        start = 0
        if self.ranges and head:
            start = int(head.split(b"bytes=")[1].split(b"-")[0])
        yield Answer(206 if start else 200, self.file[start:], self.breaks.pop(0), self.etag)


class Answer(StreamReply):
    """One answer of that server."""

    def __init__(self, status: int, data: bytes, end: int | None, etag: str) -> None:
        self.status = status
        self.headers = {b"etag": etag.encode()} if etag else {}
        self.data, self.end = data, end

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        async for block in blocks_of(self.data[: self.end], 5):
            yield block
        if self.end is not None:
            raise RemoteError("the connection was closed early")


async def rows(download: Download) -> list[Any]:
    return [row async for several in download.rows() for row in several]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", ['"e"', ""])
def test_downloads_go_on_where_they_broke_off(ranges: bool, etag: str) -> None:
    """A file whose connection breaks is whole all the same, whether the server begins in the middle or again."""
    server = Server(LINES, [9, 14, None], ranges=ranges, etag=etag)
    assert asyncio.run(rows(Download(server.fetch, "it", 2))) == ROWS
    assert len(server.asked) == 3
    assert server.asked[0] == b""
    assert server.asked[1].startswith(b"range: bytes=9-\r\n")
    assert (b"if-range" in server.asked[1]) is bool(etag)


def test_downloads_that_never_get_further() -> None:
    """A connection that breaks again and again without a byte is given up after the retries."""
    server = Server(LINES, [5, 0, 0, 0])
    with pytest.raises(RemoteError, match="closed early"):
        asyncio.run(rows(Download(server.fetch, "it", 2)))
    assert len(server.asked) == 3


def test_downloads_of_a_file_that_changed() -> None:
    """A file that is another one after a break is refused rather than mixed."""
    server = Server(LINES, [5, None])

    async def run() -> None:
        download = Download(server.fetch, "it", 2)
        async for _ in download.blocks():
            server.etag = '"other"'

    with pytest.raises(RemoteError, match="changed"):
        asyncio.run(run())


def test_a_wrong_checksum_leaves_the_target_alone(tmp_path: Path) -> None:
    """Bytes whose checksum is not the server's never reach the path they were meant for."""
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"before")
    with pytest.raises(RemoteError, match="checksum"):
        asyncio.run(Download(Server(LINES, [None], etag=f'"{"0" * 64}"').fetch, "it", 0).save(target))
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_lines_that_are_no_json() -> None:
    """A line of results that is no JSON is a fault and not a row."""
    with pytest.raises(RemoteError, match="a line is not an answer"):
        asyncio.run(rows(Download(Server(b"{}\n<html>\n", [None]).fetch, "it", 0)))
