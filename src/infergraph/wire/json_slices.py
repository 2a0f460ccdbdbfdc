"""Large JSON, parsed in slices: memory is estimated beforehand, and the GIL is released between slices.

    bytes ──survey──▶ Survey: value counts, cut positions ──read──▶ value

The survey examines the text in blocks with NumPy, which releases the GIL. It counts values outside of strings, and
finds in each block a comma at which the text can be cut. A slice becomes complete JSON with the brackets that are open
at its two cuts around it, and orjson parses it. Its value continues the lists and objects that the previous slice left
open.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from infergraph.errors import PayloadError
from infergraph.wire import charsets, json_text
from infergraph.wire.bodies_memory import ValuesAccount, too_many_values
from infergraph.wire.json_values import plain

LARGE_BYTES = 1 << 20
"""Minimum size of a text that is read in slices."""

_BLOCK_BYTES = 1 << 18
_CUT_LEVELS = 32
"""Deepest nesting at which a text is cut: the open brackets are repeated around each slice."""
_VALUE_BYTES = 40
"""What a value counts for at least, however small it is: it takes time."""
_UNCUT_LIMIT = 1_000_000
"""Maximum values of a slice, which is parsed at once."""
_NUMBER_LIMIT = 100_000
"""Maximum digits of a number: converting one takes longer than its length alone would have it."""
_SAMPLE_BYTES = 4096
_KEY = re.compile(rb'"((?:[^"\\]|\\.)*+)"\s*+:')
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
_CLOSERS = bytes.maketrans(b"[{", b"]}")
_ARRAY, _OBJECT, _CLOSED, _COMMA, _COLON, _POINT, _LITERAL, _PLAIN, _QUOTE = range(1, 10)
_BRACKETS = b" [{"


def _kinds() -> bytes:
    """The kind of each byte; 0 for white space."""
    kinds = dict(zip(b'[{]},:."', (_ARRAY, _OBJECT, _CLOSED, _CLOSED, _COMMA, _COLON, _POINT, _QUOTE), strict=True))
    kinds |= dict.fromkeys(b"us", _LITERAL)  # each of true, false and null has one of them
    return bytes(kinds.get(byte, _PLAIN if byte > 32 else 0) for byte in range(256))


_KIND_OF = _kinds()


class Cut(NamedTuple):
    """A comma between two slices.

    Args:
        at: its position in the text.
        opened: the brackets that are open there, the outermost first.
        kept: how many of the brackets that were open at the previous cut were not closed in between.
    """

    at: int
    opened: bytes
    kept: int


class Survey:
    """The value counts of a JSON text, and the positions where it can be cut.

    Args:
        raw: JSON in UTF-8; syntax errors are found when it is parsed.
        limit_bytes: maximum of `cost_bytes`, not counting the characters of strings; 0 for no limit.
        block_bytes: bytes processed at a time.
    Raises:
        PayloadError: it is nested too deeply.
        UploadTooLarge: its value would be over the limit.
    """

    def __init__(self, raw: bytes, limit_bytes: int = 0, *, block_bytes: int = _BLOCK_BYTES) -> None:
        self.cuts: list[Cut] = []
        self._counts = np.zeros(_QUOTE + 1, np.int64)
        self._empties = self._empty_texts = self._string_bytes = self._widest = 0
        self._sampled_keys = 0
        self._distinct_keys: set[bytes] = set()
        self._in_string = False
        self._opened = b""
        self._depth = self._lowest = self._uncut = 0
        at = 0
        while at < len(raw) and self._depth >= 0:  # below 0 it is not JSON, and is not read further
            block = raw[at : at + block_bytes]
            if (len(block) - len(block.rstrip(b"\\"))) % 2 and at + len(block) < len(raw):
                block = block[:-1] or raw[at : at + 2]  # an escape is not divided between blocks
            self._look(at, block)
            at += len(block)
            if 0 < limit_bytes < self.cost_bytes - self._text_bytes:
                raise too_many_values(len(raw), limit_bytes)

    @property
    def cost_bytes(self) -> int:
        """What the value is charged: the memory that it will take, and no less than its number of values is worth."""
        return max(self.values_bytes, _VALUE_BYTES * int(self._counts[_COMMA]) + self._text_bytes)

    @property
    def values_bytes(self) -> int:
        """Estimated memory of the value in bytes, never much less than the actual one.

        Lists and objects count twice: the garbage collector visits them, and they are freed one by one.
        """
        _, arrays, objects, _, commas, keys, points, literals, plain_bytes, strings = map(int, self._counts)
        containers = arrays + objects
        values = commas + containers - self._empties + 1
        texts = max(0, strings - keys)
        numbers = max(0, values - texts - containers - literals)
        floats = min(numbers, points)
        integers = min(numbers - floats, plain_bytes // 3)  # Python has one object for each number of two digits
        own_keys = keys * len(self._distinct_keys) // max(1, self._sampled_keys)  # repeated keys share one string
        return (
            8 * values
            + 128 * containers
            + 128 * min(objects, keys)
            + 40 * max(0, keys - 5 * objects)
            + 64 * (max(0, texts - self._empty_texts) + own_keys)
            + self._text_bytes
            + 24 * floats
            + 32 * integers
        )

    @property
    def _text_bytes(self) -> int:
        """The memory of all characters, as if the widest were in each string."""
        return (1 if self._widest < 0xC4 else 2 if self._widest < 0xF0 else 4) * self._string_bytes

    def _look(self, start: int, block: bytes) -> None:
        """Count the values of a block, and find a cut in it."""
        plain = block.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in block else block
        kinds = np.frombuffer(plain.translate(_KIND_OF), np.uint8)
        if b'"' in plain:
            inside = np.bitwise_xor.accumulate(kinds == _QUOTE)
            if self._in_string:
                inside = ~inside
            self._in_string = bool(inside[-1])
            self._empty_texts += plain.count(b'""')
            self._count_string(plain, int(np.count_nonzero(inside)))
            self._sample_keys(plain)
            kinds = kinds * ~inside
        elif self._in_string:
            self._count_string(plain, len(plain))
            return
        self._count_outside(start, kinds)

    def _count_string(self, block: bytes, size_bytes: int) -> None:
        self._string_bytes += size_bytes
        self._widest = max(self._widest, int(np.frombuffer(block, np.uint8).max()))

    def _sample_keys(self, block: bytes) -> None:
        """Sample keys at an unpredictable position."""
        start = secrets.randbelow(max(1, len(block) - _SAMPLE_BYTES))
        keys = _KEY.findall(block, start, start + _SAMPLE_BYTES)
        self._sampled_keys += len(keys)
        self._distinct_keys.update(keys)

    def _count_outside(self, start: int, kinds: np.ndarray) -> None:
        """Count the values of a block, whose strings are blanked except for the closing quote."""
        self._counts += np.bincount(kinds, minlength=_QUOTE + 1)
        places = np.flatnonzero(kinds - np.uint8(1) < _COLON)
        if len(places) == 0:
            if len(kinds) > _NUMBER_LIMIT and (kinds == _PLAIN).all():
                raise PayloadError(f"{json_text.UNREADABLE}a number of more than {_NUMBER_LIMIT} digits")
            return
        kinds = kinds[places]
        opens, closes = kinds <= _OBJECT, kinds == _CLOSED
        self._empties += int(np.count_nonzero(opens[:-1] & closes[1:]))
        depths = np.cumsum(opens.view(np.int8) - closes.view(np.int8), dtype=np.int32)
        depths += self._depth
        self._cut(start, _Signs(places, kinds, depths, self._opened))
        self._depth = int(depths[-1])

    def _cut(self, start: int, signs: _Signs) -> None:
        """Cut at the last of the outermost commas."""
        if int(signs.depths.max()) > json_text.READ_DEPTH_LIMIT:
            raise PayloadError(f"{json_text.UNREADABLE}it is nested too deeply")
        self._uncut += len(signs.places)
        cut = signs.outermost_comma()
        if cut is not None:
            kept = min(self._lowest, int(signs.depths[: cut + 1].min()))
            self.cuts.append(Cut(start + int(signs.places[cut]), signs.open_at(cut), kept))
            self._lowest, self._uncut = _CUT_LEVELS, 0
        elif self._uncut > _UNCUT_LIMIT:
            raise PayloadError(f"{json_text.UNREADABLE}most of it is nested more than {_CUT_LEVELS} levels deep")
        self._lowest = min(self._lowest, int(signs.depths[cut or 0 :].min()))
        self._opened = signs.open_at(len(signs.places) - 1)


class _Signs(NamedTuple):
    """The brackets, commas and colons of a block, outside of strings.

    Args:
        places, kinds: of each character.
        depths: how many brackets are open after each character.
        opened: the outermost of the brackets that are open before the block.
    """

    places: np.ndarray
    kinds: np.ndarray
    depths: np.ndarray
    opened: bytes

    def outermost_comma(self) -> int | None:
        """The last comma of the lowest nesting level; None if the block has none to cut at."""
        commas = np.flatnonzero(self.kinds == _COMMA)
        if not commas.size or int(self.depths.min()) < 0:
            return None
        levels = self.depths[commas]
        level = int(levels.min())
        return int(commas[np.flatnonzero(levels == level)[-1]]) if 0 < level <= _CUT_LEVELS else None

    def open_at(self, sign: int) -> bytes:
        """The outermost brackets that are open after a character."""
        opened = self.opened[: max(0, int(self.depths[: sign + 1].min()))]
        wanted = min(int(self.depths[sign]), _CUT_LEVELS)
        if wanted <= len(opened):
            return opened
        openers = np.flatnonzero(self.kinds[: sign + 1] <= _OBJECT)
        levels = self.depths[openers]
        lasts = [openers[np.flatnonzero(levels == level)[-1]] for level in range(len(opened) + 1, wanted + 1)]
        return opened + bytes([_BRACKETS[self.kinds[last]] for last in lasts])


def read(raw: bytes, content_type: str = "", *, account: ValuesAccount | None = None) -> Any:
    """The JSON value of a text of any size, equal to that of `json_text.read`.

    Args:
        content_type: see `json_text.read`.
        account: is charged for the memory of a large text's value before it is parsed; None for no limit.
    Raises:
        PayloadError: like `json_text.read`.
        UploadTooLarge: its value would take more memory than one message may.
        Overloaded: its value would take more memory than is left.
    """
    if len(raw) < LARGE_BYTES:
        return json_text.read(raw, content_type)
    raw = _utf8(raw, content_type)
    survey = Survey(raw, 0 if account is None else account.limit_bytes)
    if account is not None:
        account.charge(survey.cost_bytes)
    return read_slices(raw, survey.cuts)


def read_body(raw: bytes, content_type: str = "", *, account: ValuesAccount | None = None) -> Any:
    """The same for a whole body, which is never null.

    Raises: like `read`; PayloadError also for null.
    """
    value = read(raw, content_type, account=account)
    return value if value is not None else json_text.refuse_null()


def read_slices(raw: bytes, cuts: Iterable[Cut]) -> Any:
    """The JSON value of a text in UTF-8, parsed from cut to cut.

    Raises: PayloadError like `json_text.read`, with the position in the whole text.
    """
    reader = _SliceReader(raw)
    for cut in cuts:
        reader.read_to(cut)
    return reader.read_rest()


def copied(value: Any, path: str) -> Any:
    """A copy of `value` in JSON's own types, numbers with all their digits, NaN and the infinities kept.

    Args:
        path: where the value stands, for the fault.
    Raises:
        ComponentError: something in it cannot be written; the text names its type and place.
    """
    written = json_text.written_exactly(value)
    return plain(value, path=path) if written is None else read(written)


def _utf8(raw: bytes, content_type: str) -> bytes:
    """A text in UTF-8, transcoded from another Unicode encoding or its declared charset.

    Returns: the text unchanged if it is in neither; reading it then raises the fault.
    """
    label = charsets.label_of(content_type)
    if json_text.is_utf8_json(raw) and label.lower() in ("", "utf-8", "utf8"):
        return raw
    encoding = json.detect_encoding(raw)
    try:
        text = raw.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return charsets.text_of(raw, label, "the body").encode() if label else raw
    return raw if encoding == "utf-8" else text.encode("utf-8", "surrogatepass")


class _SliceReader:
    """Parses one slice after the other, and keeps the lists and objects that are still open.

    A slice is the text between two cuts. The brackets that are open at its beginning are written before it, each
    containing the next one as its first item; those that are open at its end are closed after it. A placeholder at each
    side, which is random, turns a missing value into a syntax error.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        word = secrets.token_hex(16).translate(_LETTERS)
        self._first, self._last = f"first {word}", f"last {word}"
        self._start = 0
        self._opened = b""
        self._path: list[Any] = []

    def read_to(self, cut: Cut) -> None:
        """Parse the text up to a cut."""
        base = max(cut.kept, 1)
        closers = cut.opened[base - 1 :].translate(_CLOSERS)[::-1]
        item = b',"%b"' if cut.opened.endswith(b"[") else b',"%b":0'
        value = self._value(cut.at, base, item % self._last.encode() + closers)
        branch = self._branch(value, len(closers))
        branch[-1].pop(-1 if isinstance(branch[-1], list) else self._last)
        self._join(value, base)
        self._path[base:] = branch[1:]
        self._start, self._opened = cut.at + 1, cut.opened

    def read_rest(self) -> Any:
        """Parse the text after the last cut. Returns: the complete value."""
        self._join(self._value(len(self._raw), 1, b""), 1)
        return self._path[0]

    def _value(self, end: int, base: int, closers: bytes) -> Any:
        """The value of the text before `end`, from the open list or object of that level on."""
        opened = self._opened[base - 1 :]
        member = b'{"%b":' % self._first.encode()
        openers = b"".join([member if bracket == ord("{") else b"[" for bracket in opened]) + (b"0," if opened else b"")
        text = self._raw[self._start : end]
        try:
            return json_text.read(openers + text + closers if openers or closers else text)
        except PayloadError as error:
            raise self._moved(error, len(openers)) from error

    def _moved(self, error: PayloadError, openers_length: int) -> PayloadError:
        """The fault of a slice, with its position in the whole text."""
        cause = error.__cause__
        if isinstance(cause, UnicodeDecodeError):
            place = self._start + cause.start - openers_length
            return PayloadError(f"{json_text.UNREADABLE}it is not valid {cause.encoding} at byte {place}")
        if not isinstance(cause, json.JSONDecodeError):
            return error
        before = self._raw[: self._start].decode("utf-8", "replace")
        place = max(0, len(before) + cause.pos - openers_length)
        line_start = before.rfind("\n") + 1
        if cause.lineno > 1:
            line_start = place - cause.colno + 1
        line = before.count("\n") + cause.lineno
        where = f"line {line} column {place - line_start + 1} (char {place})"
        return PayloadError(f"{json_text.UNREADABLE}{cause.msg}: {where}")

    def _join(self, value: Any, base: int) -> None:
        """Add the slice's items to each open list and object, from a level on."""
        if not self._path:
            self._path = [value]
            return
        for opened in self._path[base - 1 :]:
            first = value.pop(0 if isinstance(value, list) else self._first)
            if isinstance(opened, list):
                opened.extend(value)
            else:
                opened.update(value)
            value = first

    def _branch(self, value: Any, levels: int) -> list[Any]:
        """The lists and objects that are open at the end of a slice, the outermost first; empty if there are none."""
        if levels == 1:
            is_open = value[-1] == self._last if isinstance(value, list) else self._last in value
            return [value] if is_open else []
        children = value[-1:] if isinstance(value, list) else reversed(value.values())
        for child in children:  # the last, unless an object's last member has the name of an earlier one
            if isinstance(child, list | dict) and child and (branch := self._branch(child, levels - 1)):
                return [value, *branch]
        return []
