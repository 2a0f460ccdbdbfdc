"""Files and batches for the edge of OpenAI's API, over the task service: the same store, folder, callers and limits.

upload ─▶ files/… + record      batch ─▶ record, VALIDATING ─▶ the driver (`driver.batch_keeper`)
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress

import msgspec

from infergraph.errors import PayloadError, TaskConflict, TaskState, UnknownTask
from infergraph.settings import Settings
from infergraph.tasks import openai
from infergraph.tasks.files import Incoming
from infergraph.tasks.openai import Batch, BatchStatus, File
from infergraph.tasks.record_store import Page, Record
from infergraph.tasks.service import ResultFile, TaskService
from infergraph.tasks.store import check_caller, check_queue
from infergraph.tasks.task import Task

_TRIES = 20
"""A status changes a few times in a batch's life: so often a change that lost its race is tried again."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file or a batch with its id and the time of its creation.

    Args:
        task: that of a batch that is in progress.
    """

    record: Record
    file: File | None = None
    batch: Batch | None = None
    task: Task | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A query for a page: `after` is the id of the last object of the page before; empty for the first."""

    kinds: tuple[str, ...]
    limit: int
    after: str = ""
    is_ascending: bool = False


class OpenAIService:
    """Files and batches, as one caller may use them."""

    def __init__(self, service: TaskService) -> None:
        self.tasks = service
        self._data, self._store, self._clocks, self._owner = service.parts

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.tasks.settings

    # ── files ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def store_file(self, incoming: Incoming, filename: str, keep_s: float) -> Entry:
        """Keep a received file, durable from the return on.

        Args:
            keep_s: after how many seconds it expires; 0 for never.
        Raises: PayloadError; StorageFull.
        """
        return await self.tasks.run(self._store_file, incoming, filename, keep_s)

    def _store_file(self, incoming: Incoming, filename: str, keep_s: float) -> Entry:
        received = incoming.seal(self._data.files)
        if received.fault:
            raise PayloadError(f"file: {received.fault}")
        self._data.keep_content(received.folder)
        now = self._clocks.wall()
        record = Record(
            id=openai.file_id(received.folder),
            kind=openai.INPUT_FILE,
            caller=self.tasks.caller_name,
            created=now,
            expires=now + keep_s if keep_s else None,
            document=openai.written(
                File(
                    filename=filename,
                    bytes=received.bytes,
                    lines=received.lines,
                    end=received.end,
                    sha256=received.sha256,
                    charset=received.charset,
                )
            ),
        )
        self._store.add_record(record)
        incoming.close()
        return _entry(record)

    async def file(self, id: str) -> Entry:
        """The file with this id. Raises: UnknownTask."""
        return await self.tasks.read(self._found, id, openai.FILE_KINDS)

    async def content(self, id: str) -> ResultFile:
        """The content of a file. Raises: UnknownTask."""
        entry = await self.file(id)
        assert entry.file is not None
        folder = openai.folder_of(id)
        path = self._data.content(folder)
        with suppress(FileNotFoundError):  # the answer says so
            await self.tasks.run(self._data.bring_content, folder)
        return ResultFile(path=path, size=entry.file.bytes, sha256=entry.file.sha256, is_complete=True)

    async def delete_file(self, id: str) -> None:
        """Delete a file; batches that have begun do not need it. Raises: UnknownTask."""
        await self.file(id)
        await self.tasks.run(self._delete_file, id)

    def _delete_file(self, id: str) -> None:
        self._store.remove_record(id)
        self._data.discard_file(openai.folder_of(id))
        self._data.empty_trash()

    async def listing(self, wanted: Listing) -> tuple[list[Entry], bool]:
        """A page of objects, and whether there are more. Raises: PayloadError for an unknown `after`."""
        return await self.tasks.read(self._listing, wanted)

    def _listing(self, wanted: Listing) -> tuple[list[Entry], bool]:
        after = None
        if wanted.after:
            last = self._store.record(wanted.after)
            if last is None or not self._is_seen(last):
                raise PayloadError(f"after: there is no {wanted.after!r}")
            after = last.seq
        page = Page(
            kinds=wanted.kinds,
            limit=wanted.limit + 1,
            after=after,
            is_ascending=wanted.is_ascending,
            caller=self.tasks.whose,
        )
        found = self._store.records(page)
        return [self._with_task(_entry(record)) for record in found[: wanted.limit]], len(found) > wanted.limit

    # ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_batch(self, batch: Batch, key: str | None = None) -> tuple[Entry, int]:
        """Accept a batch, durable from the return on; with the rows that it adds, of one that is new.

        Args:
            batch: without times and owner.
            key: an idempotency key: the batch that was created with it before is given again.
        Raises: PayloadError if there is no such input file; TaskConflict, Overloaded, QuotaExceeded, StorageFull.
        """
        self.tasks.check_webhook(batch.webhook, batch.webhook_events)
        await self.tasks.check_disk()
        made = await self.tasks.run(self._create_batch, batch, key)
        await self.tasks.wake_driver()
        return made

    def _create_batch(self, batch: Batch, key: str | None) -> tuple[Entry, int]:
        now, caller = self._clocks.wall(), self.tasks.caller_name
        id = f"batch_{_digest(caller, key) if key else uuid.uuid4().hex}"
        known = self._store.record(id)
        if known is not None:
            return self._repeated(_entry(known), batch), 0
        try:
            input = self._found(batch.input_file, (openai.INPUT_FILE,))
        except UnknownTask as fault:
            raise PayloadError(f"input_file_id: {fault.text}") from fault
        self._check_room()
        made = batch.reached(BatchStatus.VALIDATING, now, owner=self._owner, expires=now + batch.expires)
        record = Record(
            id=id,
            kind=openai.BATCH,
            caller=caller,
            stage=openai.stage_of(made),
            created=now,
            expires=made.expires,
            document=openai.written(made),
        )
        self._store.add_record(record)
        return _entry(record), 0 if input.file is None else input.file.lines

    def _repeated(self, entry: Entry, batch: Batch) -> Entry:
        """The batch that an idempotency key has made. Raises: TaskConflict if it is another one."""
        made = entry.batch
        assert made is not None
        if (made.input_file, made.endpoint) != (batch.input_file, batch.endpoint):
            raise TaskConflict("the idempotency key is that of another batch")
        return self._with_task(entry)

    def _check_room(self) -> None:
        """A batch takes the room of a task from its creation on, whether or not it has become one."""
        caller, own = self.tasks.caller_name, self.tasks.caller_limit
        check_queue(self._alive(), self.settings.task_queue_limit)
        if own:
            check_caller(caller, self._alive(caller), own)

    def _alive(self, caller: str | None = None) -> int:
        coming = self._store.staged(openai.BATCH, BatchStatus.VALIDATING.value, caller)
        return coming + self._store.alive(caller)

    async def batch(self, id: str) -> Entry:
        """The batch with this id. Raises: UnknownTask."""
        return await self.tasks.read(self._batch, id)

    def _batch(self, id: str) -> Entry:
        return self._with_task(self._found(id, (openai.BATCH,)))

    async def cancel_batch(self, id: str) -> Entry:
        """Have a batch cancelled; what it has answered by then is kept.

        Raises: UnknownTask; TaskState if it has ended.
        """
        entry = await self.tasks.run(self._cancel_batch, id)
        await self.tasks.wake_driver()
        return entry

    def _cancel_batch(self, id: str) -> Entry:
        for _ in range(_TRIES):
            entry = self._batch(id)
            batch = entry.batch
            assert batch is not None
            if batch.status is BatchStatus.CANCELLING:
                return entry
            if batch.status not in openai.CANCELLABLE:
                raise TaskState(f"batch {id!r} is {batch.status.value} already")
            ending = batch.reached(BatchStatus.CANCELLING, self._clocks.wall(), ending=BatchStatus.CANCELLED)
            changed = self._store.change_record(
                entry.record, stage=openai.stage_of(ending), document=openai.written(ending)
            )
            if changed is not None:
                return self._with_task(_entry(changed))
        raise TaskState(f"batch {id!r} has just changed; try again")

    # ── underneath ──────────────────────────────────────────────────────────────────────────────────────────────

    def _found(self, id: str, kinds: tuple[str, ...]) -> Entry:
        record = self._store.record(id)
        if record is None or record.kind not in kinds or not self._is_seen(record):
            raise UnknownTask(f"there is no {'batch' if kinds == (openai.BATCH,) else 'file'} {id!r}")
        return _entry(record)

    def _is_seen(self, record: Record) -> bool:
        return self.tasks.whose in (None, record.caller)

    def _with_task(self, entry: Entry) -> Entry:
        if entry.batch is None or not entry.record.stage or entry.batch.status is BatchStatus.VALIDATING:
            return entry
        return msgspec.structs.replace(entry, task=self._store.find(entry.record.id))


def _entry(record: Record) -> Entry:
    if record.kind == openai.BATCH:
        return Entry(record=record, batch=openai.batch_in(record))
    return Entry(record=record, file=openai.file_in(record))


def _digest(caller: str, key: str) -> str:
    return hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()[:32]
