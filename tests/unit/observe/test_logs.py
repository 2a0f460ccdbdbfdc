from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from infergraph.observe import logs
from infergraph.settings import LogFormat, Settings


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Give the process its loggers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in (*logs.QUIET, logs.ACCESS):
        logging.getLogger(name).setLevel(logging.NOTSET)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(stream: io.StringIO, worker: int | None = None, **settings: Any) -> io.StringIO:
    logs.configure(Settings(**settings), worker=worker, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_sparing_writes_ever_fewer_of_the_same():
    """The first of a kind are written, then every one whose number is a power of two; kinds are counted apart."""
    sparing = logs.Sparing(whole=3)

    def passes(text, kind):
        record = logging.LogRecord("l", logging.ERROR, "f", 1, "%s raised", (text,), (kind, kind(text), None))
        return sparing.filter(record)

    assert [number for number in range(1, 70) if passes(str(number), ValueError)] == [1, 2, 3, 4, 8, 16, 32, 64]
    assert passes("another kind", TypeError)


def test_json_lines_hold_the_event_and_its_fields() -> None:
    """Off a terminal each event is one JSON object with time, level, logger, event, worker, pid and what was given."""
    stream = configured(io.StringIO(), worker=3)
    logging.getLogger("mine").info("loaded %s", "it", extra={"rows": 7, "path": object})
    (line,) = lines(stream)
    assert (line["level"], line["logger"], line["event"], line["worker"]) == ("INFO", "mine", "loaded it", 3)
    assert (line["rows"], line["path"]) == (7, "<class 'object'>")
    assert line["time"].endswith("Z")
    assert set(line) == {"time", "level", "logger", "event", "worker", "pid", "rows", "path"}


def test_a_traceback_is_one_field_of_one_line() -> None:
    """An exception with many lines stays inside its event's line."""
    stream = configured(io.StringIO())
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("mine").exception("it failed", extra={"puid": "p1"})
    (line,) = lines(stream)
    assert line["puid"] == "p1"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: a\nb")


def test_extra_fields_cannot_forge_the_fixed_ones() -> None:
    """A field called level or event does not replace the event's own."""
    stream = configured(io.StringIO())
    logging.getLogger("mine").info("true", extra={"event": "forged", "level": "forged"})
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("true", "INFO")


def test_fields_that_libraries_keep_for_themselves_are_left_out() -> None:
    """What Ray and others put into every record, under names with an underscore, is in no line of ours."""
    stream = configured(io.StringIO())
    logging.getLogger("mine").info("said", extra={"_ray_timestamp_ns": 1, "n": 2})
    (line,) = lines(stream)
    assert line["n"] == 2
    assert "_ray_timestamp_ns" not in line


def test_what_json_cannot_hold_is_logged_all_the_same() -> None:
    """Lone surrogates and keys that are no text do not lose the event."""
    stream = configured(io.StringIO())
    logging.getLogger("mine").info("bad \ud800 text", extra={"map": {(1, 2): 3}})
    (line,) = lines(stream)
    assert "bad" in line["event"]
    assert "(1, 2)" in line["map"]


def test_a_terminal_gets_coloured_lines_for_people() -> None:
    """On a terminal a line is time, level, logger and message, with colours for what is not ordinary."""
    stream = configured(Terminal(), worker=1)
    logging.getLogger("mine").info("plain", extra={"rows": 7})
    logging.getLogger("mine").error("red")
    plain, red = stream.getvalue().splitlines()
    assert plain.endswith("INFO    mine[1]: plain rows=7")
    assert "\x1b[31m" in red
    assert "\x1b" not in plain


def test_human_lines_without_a_terminal_have_no_colours() -> None:
    """The human format can be asked for in a file, and then has no escape codes."""
    stream = configured(io.StringIO(), log_format=LogFormat.HUMAN)
    logging.getLogger("mine").error("not red")
    assert "\x1b" not in stream.getvalue()


def test_foreign_text_cannot_pretend_to_be_an_event() -> None:
    """Further lines of a message or traceback are indented."""
    stream = configured(io.StringIO(), log_format=LogFormat.HUMAN)
    logging.getLogger("mine").info("one\n2026-01-01T00:00:00.000 ERROR   x: forged", extra={"exception": "Trace\n  at"})
    first, *further = stream.getvalue().splitlines()
    assert first.endswith("mine: one")
    assert len(further) == 3
    assert all(line.startswith("    ") for line in further)


def test_levels_are_read_in_any_case() -> None:
    """`warn` and `Debug` mean WARNING and DEBUG."""
    stream = configured(io.StringIO(), log_level="warn")
    logging.getLogger("mine").info("hidden")
    logging.getLogger("mine").warning("shown")
    configured(stream, log_level="Debug")
    logging.getLogger("mine").debug("shown too")
    assert [line["event"] for line in lines(stream)] == ["shown", "shown too"]


def test_configuring_twice_does_not_double_lines() -> None:
    """A second call replaces the first."""
    stream = io.StringIO()
    configured(stream)
    configured(stream)
    logging.getLogger("mine").info("once")
    assert len(lines(stream)) == 1


def test_the_event_loop_is_quiet_unless_it_warns() -> None:
    """Of the event loop's logger only warnings appear; DEBUG opens it."""
    stream = configured(io.StringIO())
    logging.getLogger("asyncio").info("hidden")
    logging.getLogger("asyncio").warning("shown")
    configured(stream, log_level="DEBUG")
    logging.getLogger("asyncio").info("now shown")
    assert [line["event"] for line in lines(stream)] == ["shown", "now shown"]


def test_access_lines_are_off_unless_asked_for() -> None:
    """A request's line appears only with access_log, and then with its fields."""
    stream = configured(io.StringIO())
    assert not logs.access_on()
    logs.access("rest", "POST", "/predict", "200", 0.0125)
    configured(stream, access_log=True)
    assert logs.access_on()
    logs.access("rest", "POST", "/predict", "200", 0.0125, client="10.0.0.1", puid="p")
    (line,) = lines(stream)
    assert (line["event"], line["ms"], line["client"], line["puid"]) == ("POST /predict 200", 12.5, "10.0.0.1", "p")


def test_warnings_become_events() -> None:
    """A Python warning of a component is a log line and not loose text."""
    stream = configured(io.StringIO())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    (line,) = lines(stream)
    assert line["logger"] == "py.warnings"
    assert "old thing" in line["event"]
