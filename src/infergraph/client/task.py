"""A task as a client sees it, and what may be said when one is submitted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

import msgspec

from infergraph.errors import RemoteError

_ENDED = frozenset({"finished", "failed"})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task at one moment.

    Args:
        id: its name.
        state: waiting, running, finished, failed or stopping.
        done: lines answered, failed ones included.
        failed: lines among them that are errors.
        total: lines that will be answered.
        progress: from 0 to 1.
        rate: lines per second, recent average; None unless it runs.
        eta_s: seconds until it may be finished; None where nobody can tell.
        queue_position: its place among the waiting tasks, from 1; None unless it waits.
        paused: why no work is handed out; None if it is.
        error: why it failed, or its last trouble.
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
    input_bytes: int = 0
    input_sha256: str | None = None
    output_bytes: int = 0
    output_sha256: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in _ENDED

    @classmethod
    def of(cls, document: Any) -> Task:
        """The task that a server describes. Raises: RemoteError if it describes none."""
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise RemoteError(f"the server describes no task: {error}") from error


class SubmitOptions(TypedDict, total=False):
    """What may be said of a task; all of it is optional."""

    id: str
    """Its name, 1 to 255 characters; one is made up where none is given."""
    priority: int
    """Higher ones come first; 0 without."""
    rows: str
    """How a line reaches the unit: object, instance, message or auto; as the server's settings say without."""
    encoding: str
    """Of the file, if it is not UTF-8: gb18030, utf-16, …"""
    webhook: str
    """Where a POST is sent when it ends."""
