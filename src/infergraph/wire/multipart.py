"""Multipart forms, parsed incrementally and leniently: for messages and for task uploads.

    block ──MultipartReader.feed──▶ Part, data, data, Part, data …

Preamble and epilogue are skipped, white space may follow a boundary, and lines end in CRLF or LF: the first boundary
line determines which, so that the other one is data.

Source: RFC 2046 section 5.1.1, RFC 7578 (forms), RFC 8187 (`filename*`).
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from infergraph.errors import PayloadError

MULTIPART_TYPE = "multipart/form-data"

_PARTS_LIMIT = 1000
_HEAD_LIMIT_BYTES = 16 * 1024
_BOUNDARY_LIMIT_BYTES = 256
_PADDING_LIMIT_BYTES = 256
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_CONTINUED = re.compile(rb"\*[0-9]+\*?$|\*$")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_FOLD = re.compile(rb"\r?\n[ \t]+")
_PLAIN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


class Part(NamedTuple):
    """The head of a part; its data follows.

    Args:
        name: of its field.
        filename: as received; None for a field that is no file.
        content_type: as received, possibly with a charset; empty for none.
        transfer_encoding: in lower case; empty if the data is not encoded.
    """

    name: str
    filename: str | None
    content_type: str
    transfer_encoding: str

    def decoded(self, data: bytes) -> bytes:
        """The part's complete data, with its transfer encoding decoded.

        Raises: PayloadError for an unknown encoding, or invalid data.
        """
        if not self.transfer_encoding:
            return data
        if self.transfer_encoding == "quoted-printable":
            return quopri.decodestring(data)
        if self.transfer_encoding != "base64":
            text = f"the multipart part {self.name!r} has the unknown transfer encoding {self.transfer_encoding!r:.60}"
            raise PayloadError(text)
        try:
            return binascii.a2b_base64(data)
        except binascii.Error as error:
            raise PayloadError(f"the multipart part {self.name!r} is not valid base64: {error}") from error


class _State(Enum):
    PREAMBLE = 1
    HEAD = 2
    DATA = 3
    EPILOGUE = 4


def parameters_of(header: bytes) -> dict[bytes, bytes]:
    """The parameters of a header's value by their names in lower case, without quotes; `filename*` is `filename`."""
    found: dict[bytes, bytes] = {}
    for name, value in _PARAMETER.findall(header):
        value = value.strip()
        if value[:1] == b'"' and value[-1:] == b'"' and len(value) > 1:
            value = _ESCAPED.sub(rb"\1", value[1:-1])
        else:
            value = value.strip(b'"')
        name, extended = _CONTINUED.subn(b"", name.lower())
        if extended and value.count(b"'") >= 2:
            value = unquote_to_bytes(value.split(b"'", 2)[2])
        found.setdefault(name, value)
    return found


def is_multipart(content_type: str) -> bool:
    """Whether a Content-Type header declares a multipart form."""
    return MULTIPART_TYPE in content_type.lower()


class MultipartReader:
    """Parses one body.

    Args:
        content_type: the received header, which contains the boundary.
    Raises: PayloadError if it contains none.
    """

    def __init__(self, content_type: str) -> None:
        boundary = parameters_of(content_type.encode("utf-8", "surrogateescape")).get(b"boundary", b"")
        if not 0 < len(boundary) <= _BOUNDARY_LIMIT_BYTES:
            raise PayloadError("the multipart body cannot be read: its content type names no boundary")
        self._boundary = boundary
        self._set_mark(b"\n--" + boundary)
        self._held = b"\n"  # the first boundary may be at the very beginning
        self._skipped = 0
        self._state = _State.PREAMBLE
        self._parts = 0

    def _set_mark(self, mark: bytes) -> None:
        self._mark = mark
        self._line = re.compile(re.escape(mark) + rb"(?:--)?[ \t]{0,%d}\r?\n" % _PADDING_LIMIT_BYTES)
        self._last_line = re.compile(re.escape(mark) + rb"--[ \t\r]*\Z")

    def feed(self, block: bytes) -> Iterator[Part | bytes]:
        """Parse the next block of the body to heads of parts, each followed by blocks of its data.

        Raises: PayloadError if it is not a multipart form.
        """
        if self._state is _State.EPILOGUE:
            return
        self._held += block
        yield from self._read(is_last=False)

    def finish(self) -> Iterator[Part | bytes]:
        """Parse the end of the body.

        Raises: PayloadError if it ends early.
        """
        yield from self._read(is_last=True)
        if self._state is _State.PREAMBLE:
            boundary = self._boundary.decode("utf-8", "replace")
            raise PayloadError(f"the multipart body cannot be read: the boundary {boundary!r} is not in it")
        if self._state is not _State.EPILOGUE:
            raise PayloadError("the multipart body cannot be read: it ends before its last boundary")

    def _read(self, *, is_last: bool) -> Iterator[Part | bytes]:
        while self._state is not _State.EPILOGUE:
            if self._state is _State.HEAD:
                part = self._head()
                if part is None:
                    return
                yield part
                continue
            data, is_over = self._data(is_last=is_last)
            if data and self._state is _State.DATA:
                yield data
            if not is_over:
                return
            self._begin()

    def _data(self, *, is_last: bool) -> tuple[bytes, bool]:
        """The data up to the next boundary, and whether that was found: then `_held` has the rest of its line."""
        held, mark = self._held, self._mark
        found = self._line.search(held) or (self._last_line.search(held) if is_last else None)
        if found is not None:
            data = self._take(found.start())
            self._held = held[found.start() + len(mark) :]
            return data, True
        # Keep what may be the beginning of a boundary line until the rest has arrived.
        waiting = len(mark) + _PADDING_LIMIT_BYTES
        at = held.find(mark[:1], max(0, len(held) - waiting))
        return self._take(len(held) if is_last or at < 0 else at), False

    def _take(self, end: int) -> bytes:
        """The held bytes before `end`, without the line end that was inserted before a part's data."""
        taken = self._held[self._skipped : end]
        self._skipped = max(0, self._skipped - end)
        self._held = self._held[end:]
        return taken

    def _begin(self) -> None:
        """Continue after a boundary, whose line has been read up to the boundary itself."""
        line, newline, rest = self._held.partition(b"\n")
        self._skipped = 0
        if line.startswith(b"--"):
            self._state, self._held = _State.EPILOGUE, b""
            return
        if self._state is _State.PREAMBLE and line.endswith(b"\r"):
            self._set_mark(b"\r" + self._mark)
        self._parts += 1
        if self._parts > _PARTS_LIMIT:
            raise PayloadError(f"the multipart body cannot be read: it has more than {_PARTS_LIMIT} parts")
        self._state, self._held = _State.HEAD, newline + rest

    def _head(self) -> Part | None:
        """Take the head of a part, so that `_held` begins with its data; None if it is not complete yet."""
        ends = [(at, len(end)) for end in (b"\n\r\n", b"\n\n") if (at := self._held.find(end)) >= 0]
        at, length = min(ends, default=(len(self._held), 0))
        if at > _HEAD_LIMIT_BYTES:
            raise PayloadError(f"the multipart body cannot be read: a part's head is over {_HEAD_LIMIT_BYTES} bytes")
        if not ends:
            return None
        part = _part_of(self._held[:at])
        line_end = self._mark[: self._mark.index(b"-")]
        self._held = line_end + self._held[at + length :]  # empty data may share the head's last line end
        self._skipped = len(line_end)
        self._state = _State.DATA
        return part


def _part_of(head: bytes) -> Part:
    headers: dict[bytes, bytes] = {}
    for line in _FOLD.sub(b" ", head).split(b"\n"):
        title, _, value = line.partition(b":")
        headers.setdefault(title.strip().lower(), value.strip())
    disposition = parameters_of(headers.get(b"content-disposition", b""))
    name = disposition.get(b"name", b"")
    if not name:
        raise PayloadError("the multipart body cannot be read: a part has no name")
    content_type = headers.get(b"content-type", b"")
    encoding = headers.get(b"content-transfer-encoding", b"").decode("latin-1").lower()
    return Part(
        name.decode("utf-8", "replace"),
        disposition[b"filename"].decode("utf-8", "replace") if b"filename" in disposition else None,
        content_type.decode("latin-1"),
        "" if encoding in _PLAIN_ENCODINGS else encoding,
    )
