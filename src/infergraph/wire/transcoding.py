"""Transcoding of uploads to UTF-8, block by block; undecodable bytes are kept for the error line.

    block ──Transcoder.feed──▶ UTF-8, with a marker for each byte that is not in the charset
    line with a marker ──place_of / shown──▶ position of the byte in the file's line, and the original bytes

A marker is the lone surrogate U+DC00 + byte, which no text contains: a line with one is not valid UTF-8, and so is bad.
The bytes take precedence over the label: client libraries declare ISO-8859-1, or the system's charset, for any text.
"""

from __future__ import annotations

import codecs
import json
import re

_HANDLER = "infergraph.undecodable"
_HEAD_BYTES = 64 * 1024
_ENOUGH_CHARACTERS = 10
"""This many non-ASCII characters that are all valid UTF-8 cannot be another charset by chance."""

_MARKERS = re.compile("[\udc00-\udcff]")
_UNICODE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})


def _marked(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


class Transcoder:
    """Transcodes one file to UTF-8.

    Args:
        codec: of the declared charset; None for none.
    """

    def __init__(self, codec: codecs.CodecInfo | None = None) -> None:
        self._codec = codec
        self._decoder: codecs.IncrementalDecoder | None = None
        self._held = b""
        self._is_by_line = False
        self._is_begun = False

    @property
    def charset(self) -> str:
        """The charset by which the file is decoded, as far as known yet; empty for UTF-8."""
        return "" if self._codec is None else self._codec.name

    def feed(self, block: bytes, *, is_last: bool = False) -> bytes:
        """Transcode the next block, as far as it can be decoded yet."""
        if not self._is_begun:
            self._held += block
            if not is_last and len(self._held) < (4 if self._codec is None else _HEAD_BYTES):
                return b""
            block, self._held = self._held, b""
            self._begin(block)
        if self._codec is None:
            return block
        if self._is_by_line:
            return self._lines(block, is_last=is_last)
        assert self._decoder is not None
        return self._decoder.decode(block, is_last).encode("utf-8", "surrogatepass")

    def _begin(self, head: bytes) -> None:
        """Detect the charset by the beginning of the file."""
        self._is_begun = True
        self._codec = codec = _believed(self._codec, head[:_HEAD_BYTES])
        if codec is None:
            return
        codecs.register_error(_HANDLER, _marked)
        self._is_by_line = not _is_wide(codec)
        if not self._is_by_line and codec.incrementaldecoder is not None:
            self._decoder = codec.incrementaldecoder(_HANDLER)

    def _lines(self, block: bytes, *, is_last: bool) -> bytes:
        """Transcode complete lines of a single-byte charset; those that are valid UTF-8 are left unchanged."""
        whole, end, self._held = (self._held + block).rpartition(b"\n")
        lines = whole + end
        if is_last:
            lines, self._held = lines + self._held, b""
        if _decodes(lines):
            return lines
        return b"\n".join(line if _decodes(line) else self._line(line) for line in lines.split(b"\n"))

    def _line(self, line: bytes) -> bytes:
        assert self._codec is not None
        return self._codec.decode(line, _HANDLER)[0].encode("utf-8", "surrogatepass")


def _believed(codec: codecs.CodecInfo | None, head: bytes) -> codecs.CodecInfo | None:
    """The codec indicated by a file's beginning; None for UTF-8."""
    detected = json.detect_encoding(head[:4])
    if codec is None or codec.name in _UNICODE:
        return codecs.lookup(detected) if detected in _UNICODE else None
    is_utf8 = codec.name == "ascii" or head.startswith(codecs.BOM_UTF8) or (_is_wide(codec) and _is_utf8(head))
    return None if is_utf8 else codec


def _is_wide(codec: codecs.CodecInfo) -> bool:
    """Whether a character may have several bytes."""
    try:
        return len(codec.encode("\u4e2d\uac00\u3042", "ignore")[0]) > 0
    except UnicodeError:
        return True


def _decodes(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8(head: bytes) -> bool:
    """Whether a file's beginning is certainly UTF-8; its last character may be incomplete."""
    text = codecs.getincrementaldecoder("utf-8")()
    try:
        return sum(character > "\x7f" for character in text.decode(head)) >= _ENOUGH_CHARACTERS
    except UnicodeDecodeError:
        return False


def place_of(line: bytes, charset: str) -> int | None:
    """The number, from 1, of the first byte of a file's line that is not in its charset; None if all are.

    Args:
        line: the transcoded line.
    """
    text = line.decode("utf-8", "surrogatepass")
    marker = _MARKERS.search(text)
    if marker is None:
        return None
    plain = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(charset, charset)
    return len(text[: marker.start()].encode(plain, "replace")) + 1


def shown(line: bytes) -> str:
    """A transcoded line for display, with the bytes that are not in the charset escaped."""
    text = line.decode("utf-8", "surrogatepass")
    return _MARKERS.sub(lambda marker: f"\\x{ord(marker[0]) - 0xDC00:02x}", text)
