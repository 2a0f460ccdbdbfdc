"""Logging: one event per line, readable on a terminal, JSON otherwise.

logging (ours, the user's components', libraries') ─▶ root handler ─▶ HumanLines | JsonLines ─▶ stderr
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec

from infergraph.errors import SettingsError
from infergraph.settings import LogFormat, Settings

ACCESS = "infergraph.access"
AUDIT = "infergraph.audit"
COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
QUIET = {"asyncio": "WARNING", "ray": "ERROR"}
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}
_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(settings: Settings, *, worker: int | None = None, group: str = "", stream: TextIO | None = None) -> None:
    """Configure all logging of this process, to `stream` (stderr).

    Args:
        settings: `log_level`, `log_format`, `access_log` and `audit_log`.
        worker: the number of the serving worker; None in the supervisor.
        group: of a cut graph, which each line names; empty for a server on its own.
    Promises: idempotent. The components' own loggers appear; those of asyncio only from WARNING on, of Ray from ERROR.
    """
    stream = sys.stderr if stream is None else stream
    human = settings.log_format is LogFormat.HUMAN or (settings.log_format is LogFormat.AUTO and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanLines(worker, group, colours=stream.isatty()) if human else JsonLines(worker, group))
    level = settings.log_level.upper()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING" if level == "WARN" else level)
    for name, least in QUIET.items():
        quiet = logging.getLogger(name)
        quiet.handlers.clear()
        quiet.propagate = True
        quiet.setLevel(logging.NOTSET if level == "DEBUG" and least != "CRITICAL" else least)
    logging.getLogger(ACCESS).setLevel(logging.INFO if settings.access_log else logging.CRITICAL)
    _configure_audit(settings.audit_log, worker, group)
    logging.captureWarnings(True)


def _configure_audit(place: str, worker: int | None, group: str) -> None:
    """Send audit lines to a file, as JSON, to the log (`-`), or nowhere. Raises: SettingsError."""
    audit = logging.getLogger(AUDIT)
    for handler in audit.handlers[:]:
        audit.removeHandler(handler)
        handler.close()
    audit.setLevel(logging.INFO if place else logging.CRITICAL)
    audit.propagate = place == "-"
    if place in ("", "-"):
        return
    try:
        file = logging.FileHandler(place, encoding="utf-8")  # appends: any number of processes may
    except OSError as error:
        raise SettingsError(f"audit_log: {place} cannot be written: {error.strerror}") from error
    file.setFormatter(JsonLines(worker, group))
    audit.addHandler(file)


class Sparing(logging.Filter):
    """Rate limit: passes the first records of a kind, then only those whose number is a power of two.

    For work that may raise the same error a hundred thousand times, each of which is also reported elsewhere.

    Args:
        whole: how many records of each kind are all passed.
    """

    def __init__(self, whole: int = 16) -> None:
        super().__init__()
        self._whole = whole
        self._seen: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; one that represents others says how many there were."""
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        key = (str(record.msg), kind)
        number = self._seen[key] = self._seen.get(key, 0) + 1
        if number <= self._whole:
            return True
        record.__dict__["so_far"] = number
        return number & (number - 1) == 0


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """The fields from `extra`. A traceback from another process is in the field `exception`.

    Fields that libraries add to every record, such as Ray's `_ray_timestamp_ns`, are omitted.
    """
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD and not key.startswith("_")}


def exception_text(record: logging.LogRecord) -> str:
    """The traceback of a record; empty if it has none."""
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return record.exc_text or ""


def timestamp(record: logging.LogRecord, *, zone: bool) -> str:
    """The time of a record to the millisecond: UTC with a Z, or local time."""
    parts = time.gmtime(record.created) if zone else time.localtime(record.created)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', parts)}.{int(record.msecs):03d}{'Z' if zone else ''}"


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, event, worker, pid, a group, then extra fields, the exception."""

    def __init__(self, worker: int | None, group: str = "") -> None:
        super().__init__()
        self._worker = worker
        self._group = {"group": group} if group else {}

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line: dict[str, Any] = {
            "time": timestamp(record, zone=True),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            "worker": self._worker,
            "pid": os.getpid(),
            **self._group,
        }
        line.update((key, value) for key, value in extras(record).items() if key not in line)
        if trace := exception_text(record):
            line["exception"] = trace
        return _json(line)


def _json(line: Mapping[str, Any]) -> str:
    try:
        return _encode(line).decode()
    except (TypeError, ValueError, UnicodeEncodeError):  # keys that JSON cannot express, lone surrogates
        safe = {str(key): repr(value) for key, value in line.items()}
        return _encode(safe).decode()


class HumanLines(logging.Formatter):
    """`time level group| logger message key=value`; further lines of a message or traceback are indented, so that
    foreign text cannot imitate a log line."""

    def __init__(self, worker: int | None, group: str = "", *, colours: bool) -> None:
        super().__init__()
        self._worker = worker
        self._group = f"{group}| " if group else ""
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """The lines of one record."""
        name = record.name if self._worker is None else f"{record.name}[{self._worker}]"
        level = f"{record.levelname:<7}"
        if self._colours and record.levelname in COLOURS:
            level = f"\x1b[{COLOURS[record.levelname]}m{level}\x1b[0m"
        text = record.getMessage()
        fields = extras(record)
        trace = exception_text(record) or fields.pop("exception", "")
        for key, value in fields.items():
            text += f" {key}={value}"
        if trace:
            text += f"\n{trace}"
        return f"{timestamp(record, zone=False)} {level} {self._group}{name}: " + "\n    ".join(
            text.splitlines() or [""]
        )


def access(
    transport: str,
    method: str,
    path: str,
    code: str,
    seconds: float,
    *,
    client: str = "",
    puid: str = "",
    nodes: Mapping[str, float] | None = None,
    caller: str = "",
) -> None:
    """Write the access log line of one request. Call it only if `access_on()`.

    Args:
        nodes: milliseconds by node of a graph.
        caller: the name of its key; empty where nobody is asked.
    """
    fields = {"transport": transport, "ms": round(seconds * 1000, 3), "client": client, "puid": puid}
    if nodes:
        fields["nodes"] = dict(nodes)
    if caller:
        fields["caller"] = caller
    logging.getLogger(ACCESS).info("%s %s %s", method, path, code, extra=fields)


def audit(act: str, *, caller: str, address: str, result: str, **what: str) -> None:
    """Write an audit line.

    Args:
        act: what was done, or tried.
        caller: the name of the key; empty where nobody was asked.
        address: of the client; empty where there is none.
        result: its status.
        what: it was done to.
    """
    logging.getLogger(AUDIT).info("%s", act, extra={"caller": caller, "address": address, "result": result, **what})


def audit_on() -> bool:
    """Whether audit lines are written."""
    return logging.getLogger(AUDIT).isEnabledFor(logging.INFO)


def access_on() -> bool:
    """Whether the access log is enabled."""
    return logging.getLogger(ACCESS).isEnabledFor(logging.INFO)
