"""How numbers are written for people."""

from __future__ import annotations

import pytest

from infergraph.serving.console import templates


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (templates.number, None, "–"),
        (templates.number, 0, "0"),
        (templates.number, 1234567.2, "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"),
        (templates.rate, None, "–"),
        (templates.rate, 0.0, "0"),
        (templates.rate, 0.126, "0.13"),
        (templates.rate, 12.34, "12.3"),
        (templates.rate, 1234.5, "1\N{NARROW NO-BREAK SPACE}234"),
        (templates.seconds, None, "–"),
        (templates.seconds, 0.0000021, "2.1 µs"),
        (templates.seconds, 0.00052, "520 µs"),
        (templates.seconds, 0.0042, "4.2 ms"),
        (templates.seconds, 0.25, "250 ms"),
        (templates.seconds, 2.5, "2.50 s"),
        (templates.seconds, 42.0, "42.0 s"),
        (templates.span, 0.4, "0.4 s"),
        (templates.span, 59.6, "60 s"),
        (templates.span, 125, "2 min 5 s"),
        (templates.span, 7260, "2 h 1 min"),
        (templates.span, 200000, "2 d 7 h"),
        (templates.percent, None, "–"),
        (templates.percent, 0.0, "0 %"),
        (templates.percent, 0.0512, "5.1 %"),
        (templates.percent, 0.5, "50 %"),
        (templates.percent, 0.9999, "100.0 %"),
        (templates.percent, 1.0, "100 %"),
        (templates.size, 999, "999 bytes"),
        (templates.size, 1500, "1.5 kB"),
        (templates.size, 123456789, "123 MB"),
        (templates.size, 10**18, "1000000 TB"),
        (templates.moment, None, "–"),
        (templates.moment, "2026-11-22T03:04:05.678+00:00", "2026-11-22 03:04 UTC"),
    ],
)
def test_numbers_are_short_and_carry_their_unit(write: object, value: object, text: str) -> None:
    """Each kind of number has one way to be written, whatever its size."""
    assert write(value) == text  # type: ignore[operator]


def test_long_texts_are_cut_with_a_mark() -> None:
    """What does not fit ends in an ellipsis and has the length that was asked for."""
    assert templates.clip("abcdef", 6) == "abcdef"
    assert templates.clip("abcdefg", 6) == "abcde…"


def test_code_in_a_text_is_marked_and_nothing_in_it_is_markup() -> None:
    """Words between backticks become code; whatever they are, they are escaped."""
    assert templates.ticks("a `b` <c> `<d>` e") == "a <code>b</code> &lt;c&gt; <code>&lt;d&gt;</code> e"


def test_texts_are_cut_by_the_room_they_take() -> None:
    """A Chinese sign takes as much room as two letters."""
    assert templates.fit("abcdef", 6) == "abcdef"
    assert templates.fit("abcdefg", 6) == "abcde…"
    assert templates.fit("欺诈检测", 8) == "欺诈检测"
    assert templates.fit("欺诈检测模型", 8) == "欺诈检…"
