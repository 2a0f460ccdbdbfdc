"""How numbers are written for people."""

from __future__ import annotations

import pytest

from infergraph.serving.console import rendering


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (rendering.number, None, "–"),
        (rendering.number, 0, "0"),
        (rendering.number, 1234567.2, "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"),
        (rendering.rate, None, "–"),
        (rendering.rate, 0.0, "0"),
        (rendering.rate, 0.126, "0.13"),
        (rendering.rate, 12.34, "12.3"),
        (rendering.rate, 1234.5, "1\N{NARROW NO-BREAK SPACE}234"),
        (rendering.seconds, None, "–"),
        (rendering.seconds, 0.0000021, "2.1 µs"),
        (rendering.seconds, 0.00052, "520 µs"),
        (rendering.seconds, 0.0042, "4.2 ms"),
        (rendering.seconds, 0.25, "250 ms"),
        (rendering.seconds, 2.5, "2.50 s"),
        (rendering.seconds, 42.0, "42.0 s"),
        (rendering.span, 0.4, "0.4 s"),
        (rendering.span, 59.6, "60 s"),
        (rendering.span, 125, "2 min 5 s"),
        (rendering.span, 7260, "2 h 1 min"),
        (rendering.span, 200000, "2 d 7 h"),
        (rendering.percent, None, "–"),
        (rendering.percent, 0.0, "0 %"),
        (rendering.percent, 0.0512, "5.1 %"),
        (rendering.percent, 0.5, "50 %"),
        (rendering.percent, 0.9999, "100.0 %"),
        (rendering.percent, 1.0, "100 %"),
        (rendering.size, 999, "999 bytes"),
        (rendering.size, 1500, "1.5 kB"),
        (rendering.size, 123456789, "123 MB"),
        (rendering.size, 10**18, "1000000 TB"),
        (rendering.moment, None, "–"),
        (rendering.moment, "2026-11-22T03:04:05.678+00:00", "2026-11-22 03:04 UTC"),
    ],
)
def test_numbers_are_short_and_carry_their_unit(write: object, value: object, text: str) -> None:
    """Each kind of number has one way to be written, whatever its size."""
    assert write(value) == text  # type: ignore[operator]


def test_long_texts_are_cut_with_a_mark() -> None:
    """What does not fit ends in an ellipsis and has the length that was asked for."""
    assert rendering.clip("abcdef", 6) == "abcdef"
    assert rendering.clip("abcdefg", 6) == "abcde…"


def test_code_in_a_text_is_marked_and_nothing_in_it_is_markup() -> None:
    """Words between backticks become code; whatever they are, they are escaped."""
    assert rendering.ticks("a `b` <c> `<d>` e") == "a <code>b</code> &lt;c&gt; <code>&lt;d&gt;</code> e"


def test_texts_are_cut_by_the_room_they_take() -> None:
    """A Chinese sign takes as much room as two letters."""
    assert rendering.fit("abcdef", 6) == "abcdef"
    assert rendering.fit("abcdefg", 6) == "abcde…"
    assert rendering.fit("欺诈检测", 8) == "欺诈检测"
    assert rendering.fit("欺诈检测模型", 8) == "欺诈检…"
