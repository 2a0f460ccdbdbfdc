"""The objects of OpenAI's API as JSON documents."""

from __future__ import annotations

from typing import Any

from infergraph.tasks.openai import INPUT_FILE, Batch, BatchStatus, File
from infergraph.tasks.openai_service import Entry
from infergraph.tasks.record_store import Record
from infergraph.tasks.task import Task

_TIMES = {
    "in_progress_at": BatchStatus.IN_PROGRESS,
    "finalizing_at": BatchStatus.FINALIZING,
    "completed_at": BatchStatus.COMPLETED,
    "failed_at": BatchStatus.FAILED,
    "expired_at": BatchStatus.EXPIRED,
    "cancelling_at": BatchStatus.CANCELLING,
    "cancelled_at": BatchStatus.CANCELLED,
}


def document(entry: Entry) -> dict[str, Any]:
    """A file or a batch."""
    if entry.batch is not None:
        return _batch(entry.record, entry.batch, entry.task)
    assert entry.file is not None
    return _file(entry.record, entry.file)


def page(entries: list[Entry], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": [document(entry) for entry in entries],
        "first_id": entries[0].record.id if entries else None,
        "last_id": entries[-1].record.id if entries else None,
        "has_more": has_more,
    }


def _file(record: Record, file: File) -> dict[str, Any]:
    return {
        "id": record.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(record.created),
        "expires_at": None if record.expires is None else int(record.expires),
        "filename": file.filename,
        "purpose": "batch" if record.kind == INPUT_FILE else "batch_output",
        "status": "processed",
        "status_details": None,
    }


def _batch(record: Record, batch: Batch, task: Task | None) -> dict[str, Any]:
    completed, failed = (batch.completed, batch.failed) if task is None else (task.done - task.failed, task.failed)
    errors = [{"code": e.code, "line": e.line, "message": e.message, "param": e.param} for e in batch.errors]
    times = {name: batch.times.get(status) for name, status in _TIMES.items()}
    return {
        "id": record.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": batch.input_file,
        "completion_window": batch.completion_window,
        "status": batch.status.value,
        "output_file_id": batch.output_file or None,
        "error_file_id": batch.error_file or None,
        "created_at": int(record.created),
        "expires_at": int(batch.expires),
        **{name: None if at is None else int(at) for name, at in times.items()},
        "request_counts": {"total": batch.total, "completed": completed, "failed": failed},
        "metadata": batch.metadata,
    }
