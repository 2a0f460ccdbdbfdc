"""The batches of OpenAI's Batch API: the driver validates them, makes a task of each, and files its answers.

    VALIDATING ─check─▶ FAILED ┊ a task ─▶ IN_PROGRESS ─its end─▶ FINALIZING ─files─▶ COMPLETED
                                   │ the window has passed, or the client cancels: the task ends at its watermark
                                   └─▶ FINALIZING ┊ CANCELLING ─files─▶ EXPIRED ┊ CANCELLED

Each step can be repeated: after a crash the next driver goes on from the status that is in the store.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from infergraph.errors import Fault, TaskConflict
from infergraph.settings import RowMode, Settings
from infergraph.tasks import openai
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.driver import batch_files
from infergraph.tasks.files import DataFolder
from infergraph.tasks.openai import Batch, BatchError, BatchStatus, File
from infergraph.tasks.record_store import Post, Record
from infergraph.tasks.store import Store, check_queue
from infergraph.tasks.task import ALIVE, NewTask, State, Task
from infergraph.tasks.webhooks import Event, is_wanted, receiver_of
from infergraph.wire import request_lines

if TYPE_CHECKING:
    from infergraph.tasks.driver.request_file import CheckedFile

_log = logging.getLogger(__name__)

_LOOK_LIMIT = 64
_AT_ONCE = 2
_AGAIN_S = 5.0
"""How long a step waits after it has failed, as on a full disk."""

_UNASKED = {
    BatchStatus.EXPIRED: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    BatchStatus.CANCELLED: ("batch_cancelled", "This request was not executed before the batch was cancelled."),
}
_STOPPED = ("batch_stopped", "This request was not executed before the batch was stopped.")


class BatchKeeper:
    """Sees to the batches of a data folder.

    Args:
        end_task: ends an active task at its watermark, with this reason; False if it is not active here.
        wake: makes the driver look again soon; called from any thread.
        owner: tag of the target: batches of others are left alone; empty for all.

    Promises: `look` and `stop` are called by the driver's thread; checks and files are made in threads of its own.
    """

    def __init__(
        self,
        data: DataFolder,
        store: Store,
        settings: Settings,
        clocks: Clocks,
        *,
        end_task: Callable[[int, str], bool],
        wake: Callable[[], None],
        owner: str = "",
    ) -> None:
        self._data = data
        self._store = store
        self._settings = settings
        self._clocks = clocks
        self._end_task = end_task
        self._wake = wake
        self._owner = owner
        self._busy: dict[str, Future[None]] = {}
        self._again_at: dict[str, float] = {}
        self._is_over = threading.Event()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="batch")

    def stop(self) -> None:
        """End the threads, within moments. What they were doing is done again by the next driver."""
        self._is_over.set()
        self._threads.shutdown(cancel_futures=True)

    def look(self) -> None:
        """See to the batches that need it."""
        now = self._clocks.wall()
        self._busy = {id: step for id, step in self._busy.items() if not step.done()}
        self._again_at = {id: at for id, at in self._again_at.items() if at > now}
        waiting, running = BatchStatus.VALIDATING.value, BatchStatus.IN_PROGRESS.value
        work = self._store.batch_work(openai.BATCH, waiting=waiting, running=running, now=now, limit=_LOOK_LIMIT)
        for record in work:
            batch = openai.batch_in(record)
            is_ours = not self._owner or batch.owner in ("", self._owner)
            if is_ours and record.id not in self._busy and record.id not in self._again_at:
                self._see_to(record, batch)

    def _see_to(self, record: Record, batch: Batch) -> None:
        if batch.status is BatchStatus.VALIDATING:
            self._begin(self._validate, record, batch)
            return
        task = self._store.find(record.id)
        if task is None or task.state not in ALIVE | {State.STOPPING}:
            self._begin(self._finish, record, batch, task)
        elif batch.status is BatchStatus.IN_PROGRESS:  # and its window has passed
            ending = batch.reached(BatchStatus.FINALIZING, self._clocks.wall(), ending=BatchStatus.EXPIRED)
            if self._changed(record, ending) is not None:
                self._end(task, ending.ending)
        else:
            self._end(task, batch.ending)

    def _end(self, task: Task, ending: BatchStatus) -> None:
        """End a task that is not to be finished; the next look files what it has answered."""
        reason = f"the batch is {ending.value}"
        if self._end_task(task.seq, reason) or self._store.fail_waiting(
            task.seq, now=self._clocks.wall(), error=reason
        ):
            self._wake()

    def _begin(self, step: Callable[..., None], record: Record, *arguments: object) -> None:
        self._busy[record.id] = running = self._threads.submit(self._run, step, record, *arguments)
        running.add_done_callback(lambda _: self._wake())

    def _run(self, step: Callable[..., None], record: Record, *arguments: object) -> None:
        try:
            step(record, *arguments)
        except Exception as error:  # noqa: BLE001 - whatever it was, a batch never ends the driver
            if self._is_over.is_set():
                return
            _log.warning("batch %s waits: %s", record.id, error, exc_info=not isinstance(error, Fault))
            self._again_at[record.id] = self._clocks.wall() + _AGAIN_S

    def _changed(self, record: Record, batch: Batch) -> Record | None:
        """Store a batch in its new status; None if it has been changed meanwhile."""
        return self._store.change_record(record, stage=openai.stage_of(batch), document=openai.written(batch))

    # ── in threads ──────────────────────────────────────────────────────────────────────────────────────────────

    def _validate(self, record: Record, batch: Batch) -> None:
        """Check the input of a batch, and make its task."""
        if self._clocks.wall() >= batch.expires:
            self._close(record, batch, BatchStatus.EXPIRED)
            return
        stored = self._store.record(batch.input_file)
        if stored is None or stored.kind != openai.INPUT_FILE:
            error = BatchError("file_not_found", f"there is no file {batch.input_file!r} any more", "input_file_id")
            self._close(record, batch, BatchStatus.FAILED, errors=(error,))
            return
        check_queue(self._store.alive(), self._settings.task_queue_limit)
        file, folder = openai.file_in(stored), openai.folder_of(stored.id)
        self._data.bring_content(folder)
        base_path = self._settings.base_path
        # It needs NumPy, which a driver without batches does without.
        request_file = importlib.import_module("infergraph.tasks.driver.request_file")
        found: CheckedFile = request_file.check(
            self._data.content(folder),
            file.end,
            request_lines.path_of(batch.endpoint, base_path),
            base_path=base_path,
            limit_bytes=self._settings.message_limit_bytes,
            is_over=self._is_over.is_set,
        )
        if found.errors:
            self._close(record, batch, BatchStatus.FAILED, errors=tuple(found.errors))
        else:
            self._accept(record, batch, file, folder, found.total)

    def _accept(self, record: Record, batch: Batch, file: File, folder: str, total: int) -> None:
        with batch_files.linked_input(self._data, folder) as home:
            new = NewTask(
                id=record.id,
                folder=home,
                input_bytes=file.bytes,
                input_end=file.end,
                input_sha256=file.sha256,
                total=total,
                priority=batch.priority,
                traceparent=batch.traceparent,
                rows=RowMode.REQUEST.value,
                charset=file.charset,
                owner=batch.owner,
                caller=record.caller,
            )
            try:
                accepted = self._store.accept(new, now=self._clocks.wall(), queue_limit=self._settings.task_queue_limit)
            except TaskConflict as fault:
                self._data.discard(home)
                self._close(record, batch, BatchStatus.FAILED, errors=(BatchError("task_conflict", str(fault)),))
                return
            if not accepted.created:  # by a driver that has died since
                self._data.discard(home)
        _log.info("a batch is accepted", extra={"task": record.id, "lines": total, "bytes": file.bytes})
        self._changed(record, batch.reached(BatchStatus.IN_PROGRESS, self._clocks.wall(), total=total))

    def _finish(self, record: Record, batch: Batch, task: Task | None) -> None:
        """File the answers of a batch whose task has ended, or is gone."""
        if batch.status is BatchStatus.IN_PROGRESS:
            batch = batch.reached(BatchStatus.FINALIZING, self._clocks.wall(), ending=_natural_end(task))
            changed = self._changed(record, batch)
            if changed is None:
                return
            record = changed
        if task is None:
            self._close(record, batch, batch.ending)
            return
        errors = (BatchError("task_failed", task.error),) if batch.ending is BatchStatus.FAILED else ()
        self._close(
            record,
            batch,
            batch.ending,
            errors=errors,
            completed=task.done - task.failed,
            failed=task.failed,
            output_file=self._file_good(record, batch, task),
            error_file=self._file_failed(record, batch, task),
        )

    def _file_good(self, record: Record, batch: Batch, task: Task) -> str:
        """The id of the file with the good answers; empty if there are none."""
        if task.done == task.failed:
            return ""
        folder = f"{openai.stem_of(record.id)}-output"
        with batch_files.good_answers(self._data, folder, task) as size:
            return self._add_file(record, batch, folder, "output", size, task.done - task.failed)

    def _file_failed(self, record: Record, batch: Batch, task: Task) -> str:
        """The id of the file with the failed answers; empty if there are none."""
        lines = task.failed + task.total - task.done
        if not lines:
            return ""
        folder = f"{openai.stem_of(record.id)}-errors"
        unasked = _UNASKED.get(batch.ending, _STOPPED)
        with batch_files.failed_answers(self._data, folder, task, *unasked) as size:
            return self._add_file(record, batch, folder, "error", size, lines)

    def _add_file(self, record: Record, batch: Batch, folder: str, what: str, size: int, lines: int) -> str:
        now, keep_s = self._clocks.wall(), batch.output_keep_s or self._settings.task_keep_s
        file = File(filename=f"{record.id}_{what}.jsonl", bytes=size, lines=lines, end=size)
        self._store.add_record(
            Record(
                id=openai.file_id(folder),
                kind=openai.OUTPUT_FILE,
                caller=record.caller,
                created=now,
                expires=now + keep_s if keep_s else None,
                document=openai.written(file),
            )
        )
        return openai.file_id(folder)

    def _close(self, record: Record, batch: Batch, status: BatchStatus, **changes: object) -> None:
        """The end of a batch; its record is kept as long as an ended task."""
        now, keep_s = self._clocks.wall(), self._settings.task_keep_s
        ended = msgspec.structs.replace(batch.reached(status, now), **changes)
        document = openai.written(ended)
        expires, post = now + keep_s if keep_s else None, _post(record.id, ended, now)
        closed = self._store.change_record(record, post=post, now=now, stage="", expires=expires, document=document)
        if closed is not None:
            _log.info("a batch is %s", status.value, extra={"task": record.id, "lines": ended.total})


def _post(id: str, batch: Batch, now: float) -> Post | None:
    """The webhook that tells the end of a batch, as OpenAI's events do; None if nobody wants it."""
    event = Event(f"batch.{batch.status.value}")
    if not batch.webhook or not is_wanted(event, batch.webhook_events):
        return None
    told = {"id": f"evt_{openai.stem_of(id)}", "object": "event", "created_at": int(now), "type": event.value}
    body = msgspec.json.encode({**told, "data": {"id": id}})
    return Post(batch.webhook, body, receiver_of(batch.webhook))


def _natural_end(task: Task | None) -> BatchStatus:
    """What becomes of a batch that nobody has ended: a task that is gone was stopped as such."""
    if task is None:
        return BatchStatus.CANCELLED
    return BatchStatus.COMPLETED if task.done == task.total else BatchStatus.FAILED
