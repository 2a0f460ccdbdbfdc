"""The task record: a frozen row of the store, and the task states.

WAITING ─▶ RUNNING ─▶ FINISHED | FAILED
   ▲         │            │
   └─────────┘◀───────────┘      a restart; a retry of the failed lines
any ─▶ STOPPING ─▶ deleted
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec


class State(Enum):
    """The state of a task."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPING = "stopping"


ENDED = frozenset({State.FINISHED, State.FAILED})
ALIVE = frozenset({State.WAITING, State.RUNNING})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the store.

    Args:
        seq: order of acceptance.
        id: given by the client.
        folder: the name of its folder.
        rows: how lines are passed to the unit, a value of `RowMode`.
        input_bytes: size of the received file.
        input_end: where reading ends: after the last line that is not blank.
        input_sha256: of the received bytes.
        total: lines that will be answered.
        in_off: watermark: input up to here is answered ...
        out_off: ... in this many bytes of the output, ...
        err_off: ... and the error lines among them in this many bytes of the errors file.
        done: lines answered, failed ones included.
        failed: error lines among them.
        round: 0, and one more for each retry of the failed lines; names the output file.
        attempts: how often a driver has claimed it.
        stalls: attempts since the watermark last advanced.
        retries: chunks that were assigned again.
        kills: workers that died on it.
        rate: lines per second, recent average.
        worked_s: seconds of work so far.
        error: why it failed, or its last error; empty for none.
        output_sha256: of the finished output; empty before.
        webhook: URL to POST to when it ends; empty for none.
        webhook_events: which of its events are sent there, separated by commas; empty for the usual ones.
        charset: of the received file; empty for UTF-8.
        owner: tag of what was served when it was accepted; empty if unknown.
        caller: the name of whose key made it; empty if nobody was asked.
        driver: who works on it; empty for nobody.
        fence: raised by each claim; what a driver writes under an older one is refused.
        writer: names the output files up to the watermark: the fence of the claim that began them, 0 for the round's
            own, which every claim in turn goes on with.
        writer_before: the same of the previous round.
        input_format: of the received file, a name of `FileKind`; empty for JSON lines.
        output_format: of the finished answers; empty for JSON lines.
        input_uri: where the driver fetches the file from, in which case `input_end` and `total` are 0 before, and
            `input_sha256` stands for address and version; empty for an upload.
        input_version: its ETag, or what stands for one, at the submission.
        output_uri: where the finished answers are copied to; empty for nowhere.
        traceparent: of the request that made it, by which its spans join the caller's trace; empty for none.
    """

    seq: int
    id: str
    folder: str
    state: State
    priority: int
    rows: str
    input_bytes: int
    input_end: int
    input_sha256: str
    total: int
    in_off: int
    out_off: int
    err_off: int
    done: int
    failed: int
    round: int
    attempts: int
    stalls: int
    retries: int
    kills: int
    rate: float
    worked_s: float
    error: str
    output_sha256: str
    webhook: str
    idempotency_key: str | None
    created: float
    started: float | None
    finished: float | None
    charset: str
    owner: str
    caller: str
    driver: str
    fence: int
    writer: int
    writer_before: int
    input_format: str
    output_format: str
    webhook_events: str
    input_uri: str
    input_version: str
    output_uri: str
    traceparent: str

    @property
    def is_to_fetch(self) -> bool:
        """Whether its file has to be fetched first."""
        return bool(self.input_uri) and not self.input_end

    @property
    def is_table(self) -> bool:
        """Whether the received file was a table, whose rows are objects with the names of its columns."""
        return self.input_format.startswith(("csv", "parquet"))


COLUMNS = ", ".join(f"task.{name}" for name in Task.__struct_fields__)
"""What a query selects from the table `task` to get whole tasks."""
_STATE_AT = Task.__struct_fields__.index("state")


def task_of(row: tuple[Any, ...]) -> Task:
    """The task of a row with COLUMNS."""
    values = dict(zip(Task.__struct_fields__, row, strict=True))
    values["state"] = State(row[_STATE_AT])
    return Task(**values)


def tasks_of(rows: Iterable[tuple[Any, ...]]) -> list[Task]:
    """The tasks of rows with COLUMNS."""
    return [task_of(row) for row in rows]


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task to be inserted, once its file is received; see `Task`."""

    id: str
    folder: str
    input_bytes: int
    input_end: int
    input_sha256: str
    total: int
    priority: int = 0
    rows: str = "auto"
    webhook: str = ""
    webhook_events: str = ""
    idempotency_key: str | None = None
    charset: str = ""
    owner: str = ""
    caller: str = ""
    input_format: str = ""
    output_format: str = ""
    input_uri: str = ""
    input_version: str = ""
    output_uri: str = ""
    traceparent: str = ""


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint of a running task; see `Task` for the fields."""

    in_off: int
    out_off: int
    err_off: int
    done: int
    failed: int
    writer: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Counts written with a watermark, for display only."""

    retries: int
    kills: int
    rate: float
    worked_s: float
    error: str = ""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task's file once it is fetched; see `Task`."""

    input_bytes: int
    input_end: int
    total: int
    charset: str
    input_format: str
