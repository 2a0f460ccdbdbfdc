"""Files of a declared charset become UTF-8; wrong labels do no harm, and bytes that do not decode are shown."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.wire.transcoding import Transcoder, place_of, shown

CHINESE = '{"text": "绍兴在浙江"}\n{"text": "北京"}\n' * 40
GERMAN = '{"text": "Zürich"}\n{"text": "naïve café"}\n' * 40


def transcoded(file: bytes, label: str = "", cuts: Sequence[int] = ()) -> tuple[bytes, str]:
    """A file in UTF-8, and the charset that it was read by; fed in blocks that are cut at `cuts`."""
    transcoder = Transcoder(codecs.lookup(label) if label else None)
    bounds = [0, *sorted(cuts), len(file)]
    parts = [transcoder.feed(file[start:end]) for start, end in itertools.pairwise(bounds)]
    parts.append(transcoder.feed(b"", is_last=True))
    return b"".join(parts), transcoder.charset


@pytest.mark.parametrize(
    "charset", ["gb18030", "gbk", "big5", "shift_jis", "euc_jp", "utf-16", "utf-16-le", "utf-32-be", "iso2022_jp", "hz"]
)
def test_a_declared_charset_is_read(charset: str) -> None:
    """Text of many bytes a character arrives as the same text."""
    text = '{"text": "中文"}\n' * 40
    assert transcoded(text.encode(charset), charset)[0].decode() == text


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_unicode_in_other_forms_needs_no_label(charset: str) -> None:
    """UTF-16 and UTF-32 are known by their first bytes, as they are for a request."""
    assert transcoded(CHINESE.encode(charset))[0].decode().removeprefix("\ufeff") == CHINESE


@pytest.mark.parametrize("label", ["iso8859-1", "cp1252", "iso8859-15", "koi8-r", "ascii", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("text", [CHINESE, GERMAN])
def test_a_wrong_label_does_no_harm(label: str, text: str) -> None:
    """What is UTF-8 is read as UTF-8, whatever a client declares."""
    assert transcoded(text.encode(), label)[0].decode() == text


@pytest.mark.parametrize("charset", ["iso8859-1", "cp1252", "iso8859-15"])
def test_a_right_label_is_believed(charset: str) -> None:
    """Text that is not UTF-8 is read by its charset, also line by line where the file is of both."""
    mixed = GERMAN.encode(charset) + CHINESE.encode()
    assert transcoded(mixed, charset)[0].decode() == GERMAN + CHINESE


def test_a_short_text_of_a_wide_charset_is_not_taken_for_utf8() -> None:
    """A few characters that happen to be valid UTF-8 too are read by the declared charset."""
    text = '{"text": "\u7a84"}\n'
    raw = b'{"text": "\xd5\xad"}\n'
    assert raw.decode("gbk") == text
    assert transcoded(raw, "gbk")[0].decode() == text


@given(st.sampled_from(["", "gb18030", "iso8859-1", "utf-16", "big5"]), st.lists(st.integers(0, 900), max_size=4))
def test_blocks_may_be_cut_anywhere(charset: str, cuts: list[int]) -> None:
    """The result does not depend on how the file is cut into blocks."""
    file = (GERMAN if charset == "iso8859-1" else CHINESE.replace("绍兴", "京都")).encode(charset or "utf-8")
    assert transcoded(file, charset, cuts) == transcoded(file, charset)


def test_a_byte_that_does_not_decode_is_kept() -> None:
    """The line that holds it is told by the number of the file's own byte and shows the file's own bytes."""
    good, bad = (
        '{"text": "绍兴"}\n'.encode("gb18030"),
        '{"text": "绍'.encode("gb18030") + b"\xff" + '兴"}\n'.encode("gb18030"),
    )
    first, second, third, _ = transcoded(good + bad + good, "gb18030")[0].split(b"\n")
    assert (place_of(first, "gb18030"), place_of(third, "gb18030")) == (None, None)
    assert place_of(second, "gb18030") == 13
    assert shown(second) == '{"text": "绍\\xff兴"}'


@given(
    st.binary(max_size=200), st.sampled_from(["gb18030", "big5", "cp1252", "utf-16", "utf-32-le", "iso2022_kr", "hz"])
)
def test_any_bytes_can_be_fed(file: bytes, charset: str) -> None:
    """Whatever a file holds, it is transcoded, and each of its lines can be shown."""
    written, used = transcoded(file, charset)
    for line in written.split(b"\n"):
        try:
            line.decode()
        except UnicodeDecodeError:
            if used:
                place = place_of(line, used)
                assert place is None or place >= 1
                assert "\udcff" not in shown(line)
