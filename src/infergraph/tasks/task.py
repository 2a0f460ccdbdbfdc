"""A task as everybody sees it: a frozen row of the store, and its states.

WAITING ─▶ RUNNING ─▶ FINISHED | FAILED
   ▲         │            │
   └─────────┘◀───────────┘      a restart; a retry of the failed lines
any ─▶ STOPPING ─▶ gone
"""

from __future__ import annotations

from enum import Enum

import msgspec


class State(Enum):
    """Where a task is in its life."""

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
        id: the caller's name for it.
        folder: our name of its folder.
        rows: how lines reach the unit, a value of `RowMode`.
        input_bytes: size of the file as it came.
        input_end: where reading ends: behind the last line that is not blank.
        input_sha256: of the bytes as they came.
        total: lines that will be answered.
        in_off: watermark: input up to here is answered ...
        out_off: ... in so many bytes of the output, ...
        err_off: ... and the error lines among them in so many bytes of the errors file.
        done: lines answered, failed ones included.
        failed: error lines among them.
        round: 0, and one more for each retry of the failed lines; names the output file.
        attempts: how often a driver took it up.
        stalls: how often it was worked on since the watermark last moved.
        retries: chunks that were handed out again.
        kills: workers that died on it.
        rate: lines a second, lately.
        worked_s: seconds of work so far.
        error: why it failed, or its last trouble; empty for none.
        output_sha256: of the finished output; empty before.
        webhook: where a POST is sent when it ends; empty for nowhere.
        charset: of the file as it came; empty for UTF-8.
        owner: tag of what was served when it was accepted; empty for not known.
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


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task when its file has arrived; see `Task`."""

    id: str
    folder: str
    input_bytes: int
    input_end: int
    input_sha256: str
    total: int
    priority: int = 0
    rows: str = "auto"
    webhook: str = ""
    idempotency_key: str | None = None
    charset: str = ""
    owner: str = ""


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """The whole checkpoint of a running task; see `Task` for the fields."""

    in_off: int
    out_off: int
    err_off: int
    done: int
    failed: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is written beside a watermark: counts that only people read."""

    retries: int
    kills: int
    rate: float
    worked_s: float
    error: str = ""
