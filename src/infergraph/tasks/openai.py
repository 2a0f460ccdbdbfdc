"""The objects of OpenAI's Files and Batches API, as they are stored.

    file   uploaded, or the answers of a batch: its content is a folder of `DataFolder.files`
    batch  VALIDATING ─▶ IN_PROGRESS (its task exists) ─▶ FINALIZING ─▶ COMPLETED | EXPIRED
               │               └─▶ CANCELLING ─▶ CANCELLED
               └─▶ FAILED

A batch is a task of the same id, once its input is validated: a task whose rows are requests.

Source: OpenAI's API reference, "Batch" and "Files".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from infergraph.tasks.record_store import FILE_ID, Record

BATCH = "batch"
INPUT_FILE = "file.batch"
OUTPUT_FILE = "file.batch_output"
FILE_KINDS = (INPUT_FILE, OUTPUT_FILE)
"""The kinds of records; that of a file says its purpose."""


class BatchStatus(StrEnum):
    """The status of a batch."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file.

    Args:
        bytes: its size.
        end: where reading ends: after the last line that is not blank.
        sha256: of the received bytes.
        charset: of the received file; empty for UTF-8.
    """

    filename: str
    bytes: int
    lines: int = 0
    end: int = 0
    sha256: str = ""
    charset: str = ""


class BatchError(msgspec.Struct, frozen=True):
    """Why a batch has failed: of a line of its input, or as a whole."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch.

    Args:
        input_file, output_file, error_file: ids of files; empty for none.
        endpoint: the path that all its requests name, as the client gave it.
        completion_window: as the client gave it.
        expires: when the window ends, in Unix seconds; of one that is not created yet, after how many.
        owner: see `Task`.
        webhook, webhook_events, traceparent: see `Task`.
        output_keep_s: after how many seconds its output files expire; 0 for the usual time.
        ending: what it becomes once its files are written, after CANCELLING and FINALIZING.
        total, completed, failed: its requests, as far as known.
        times: when it reached a status, in Unix seconds.
    """

    status: BatchStatus
    input_file: str
    endpoint: str
    completion_window: str
    expires: float
    metadata: dict[str, str] | None = None
    owner: str = ""
    priority: int = 0
    webhook: str = ""
    webhook_events: str = ""
    traceparent: str = ""
    output_keep_s: int = 0
    ending: BatchStatus = BatchStatus.COMPLETED
    errors: tuple[BatchError, ...] = ()
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file: str = ""
    error_file: str = ""
    times: dict[BatchStatus, float] = {}

    def reached(self, status: BatchStatus, now: float, **changes: Any) -> Batch:
        """The batch in another status."""
        return msgspec.structs.replace(self, status=status, times={**self.times, status: now}, **changes)


OPEN = frozenset({BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.CANCELLING})
"""The statuses in which the driver has something to do."""


CANCELLABLE = frozenset({BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS})
"""The statuses in which a batch can be cancelled."""


def stage_of(batch: Batch) -> str:
    """The stage of a batch's record."""
    return batch.status.value if batch.status in OPEN else ""


def file_id(folder: str) -> str:
    """The id of the file with this folder."""
    return FILE_ID + folder


def folder_of(id: str) -> str:
    """The folder of the file with this id."""
    return id.removeprefix(FILE_ID)


def stem_of(batch_id: str) -> str:
    """What the ids of a batch's files begin with."""
    return batch_id.removeprefix("batch_")


def written(value: File | Batch) -> str:
    """The document of a record."""
    return msgspec.json.encode(value).decode()


def file_in(record: Record) -> File:
    """The file of a record."""
    return msgspec.json.decode(record.document, type=File)


def batch_in(record: Record) -> Batch:
    """The batch of a record."""
    return msgspec.json.decode(record.document, type=Batch)
