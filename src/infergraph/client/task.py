"""The client's view of a task, and the options of a submission."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

import msgspec

from infergraph.errors import RemoteError

_ENDED = frozenset({"finished", "failed"})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a task at one time.

    Args:
        id: its name.
        state: waiting, running, finished, failed or stopping.
        done: lines answered, failed ones included.
        failed: error lines among them.
        total: lines that will be answered.
        progress: from 0 to 1.
        rate: lines per second, recent average; None unless it is running.
        eta_s: estimated seconds until it is finished; None if unknown.
        queue_position: its position among the waiting tasks, from 1; None unless it is waiting.
        paused: why no work is assigned; None if it is.
        error: why it failed, or its last error.
        input_format, output_format: of the file and of the finished results: jsonl, csv, parquet, csv.gz, …
        input_uri, output_uri: of a task whose files are at addresses.
        output_sha256: checksum of the finished results.
    """

    id: str
    state: str
    seq: int = 0
    priority: int = 0
    rows: str = ""
    done: int = 0
    failed: int = 0
    total: int = 0
    progress: float = 0.0
    rate: float | None = None
    eta_s: float | None = None
    queue_position: int | None = None
    paused: str | None = None
    attempts: int = 0
    retries: int = 0
    kills: int = 0
    round: int = 0
    worked_s: float = 0.0
    error: str | None = None
    input_format: str = "jsonl"
    output_format: str = "jsonl"
    input_uri: str | None = None
    output_uri: str | None = None
    input_bytes: int = 0
    input_sha256: str | None = None
    output_bytes: int = 0
    output_sha256: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is finished or failed."""
        return self.state in _ENDED

    @classmethod
    def of(cls, document: Any) -> Task:
        """The task in a server's answer. Raises: RemoteError if it does not contain one."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise RemoteError(f"the server's answer is not a task: {error}") from error


class SubmitOptions(TypedDict, total=False):
    """Options of a submission."""

    id: str
    """The task id, 1 to 255 characters; generated if not given."""
    priority: int
    """Tasks with a higher priority are processed first; 0 by default."""
    rows: str
    """How lines reach the unit: object, instance, message, v2 or auto; by default the server's setting."""
    encoding: str
    """Of the file, if it is not UTF-8: gb18030, utf-16, …"""
    format: str
    """Of the file: jsonl, csv or parquet, with .gz or .zst if it is compressed; by default as its name says."""
    output_format: str
    """Of the answers; by default that of the file, not compressed."""
    output_uri: str
    """Where the server copies the finished answers to, such as s3://bucket/answers.jsonl."""
    webhook: str
    """URL that receives a POST when the task ends."""
    webhook_events: str
    """Which it receives of task.finished, task.failed, task.stopped, separated by commas; by default the first two."""
