"""The task service: the interface of the edges to the store and the files, for an event loop.

edge ─▶ TaskService ─▶ store, files          every blocking call in our own thread pool
                   └─▶ wake-up of the driver, which reads the store
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
import os
import threading
import uuid
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import msgspec

from infergraph.errors import (
    DeadlinePassed,
    Forbidden,
    MissingExtra,
    Overloaded,
    PayloadError,
    StorageFull,
    StoreAway,
    TaskConflict,
    TaskFault,
    TaskState,
    UnknownTask,
)
from infergraph.net.backoff import Backoff
from infergraph.protocol.callers import Caller, Scope
from infergraph.settings import RowMode, Settings
from infergraph.tasks.availability import Availability, AvailabilityCheck, EngineStatus
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.conversion import Conversion, ConversionLimits, check_available
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.files import DataFolder, Incoming, Received
from infergraph.tasks.metrics import exposition_of_a_broken_store
from infergraph.tasks.references import Version, check_uri, open_reference
from infergraph.tasks.storage import open_files, open_store
from infergraph.tasks.store import Listing, Store, full_queue
from infergraph.tasks.task import ALIVE, ENDED, NewTask, State, Task
from infergraph.tasks.webhooks import check_events, check_webhook, receiver_of, stopped_body
from infergraph.wire import file_kind
from infergraph.wire.file_kind import LINES, FileKind

_log = logging.getLogger(__name__)

ID_CHARACTERS_LIMIT = 255
_POLLS = Backoff(first_s=0.003, limit_s=0.05, jitter=0.0)
_EVENT_S = 0.3
_LOOKS = Backoff(first_s=0.005, limit_s=_EVENT_S, jitter=0.0)
_STOP_LIMIT_S = 30.0
_ABANDONED_S = 0.2
_LOOK_UP_LIMIT_S = 20.0

P = ParamSpec("P")
T = TypeVar("T")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a submission, besides the file."""

    id: str
    priority: int = 0
    rows: str = ""
    webhook: str = ""
    webhook_events: str = ""
    traceparent: str = ""
    idempotency_key: str | None = None
    input_kind: FileKind | None = None
    """None: what the file itself is said to be, or shows."""
    output_kind: FileKind | None = None
    """None: the format of the input."""
    input_uri: str = ""
    output_uri: str = ""


class Parts(NamedTuple):
    """What a task service works with; `owner` is the tag of what is served."""

    data: DataFolder
    store: Store
    clocks: Clocks
    owner: str


async def _version_of(uri: str) -> Version:
    """The version of the file at an address. Raises: PayloadError; DeadlinePassed."""
    try:
        async with asyncio.timeout(_LOOK_UP_LIMIT_S):
            return await asyncio.to_thread(open_reference(uri).version)
    except TimeoutError as error:
        raise DeadlinePassed(f"input_uri: {uri} did not answer within {_LOOK_UP_LIMIT_S:g} s") from error
    except (PayloadError, MissingExtra) as fault:
        raise PayloadError(f"input_uri: {fault.text}") from fault


class ResultFile(msgspec.Struct, frozen=True, kw_only=True):
    """A result file: its first `size` bytes are complete lines, in order, unless it is of another `kind`."""

    path: Path
    size: int
    sha256: str
    is_complete: bool
    kind: FileKind = LINES


class _Kinds(NamedTuple):
    """The kinds of a task's files."""

    received: FileKind
    answers: FileKind

    @classmethod
    def of(cls, submission: Submission, said: FileKind, head: bytes = b"") -> _Kinds:
        """Those of a submission, and of its file as far as it is there.

        Raises: PayloadError if the answers cannot be written in their kind.
        """
        received = file_kind.shown_by(head, said)
        answers = submission.output_kind or _named(submission.output_uri) or FileKind(received.format)
        if answers != LINES:
            try:
                check_available(answers)
            except MissingExtra as fault:
                raise PayloadError(f"output_format: {fault.text}") from fault
        return cls(received, answers)


def _named(uri: str) -> FileKind | None:
    return file_kind.of_name(uri) if uri else None


def check_id(id: str) -> None:
    """Raises: PayloadError for an invalid task id."""
    if not 1 <= len(id) <= ID_CHARACTERS_LIMIT:
        raise PayloadError(f"task_id: 1 to {ID_CHARACTERS_LIMIT} characters are taken, this has {len(id)}")
    try:
        id.encode()
    except UnicodeEncodeError as error:
        raise PayloadError("task_id: it is not valid Unicode") from error


class TaskService:
    """The task operations of one process; any number of processes may serve the same data folder.

    Args:
        unit_failed: whether the serving process's own unit failed to load.
        owner: tag of what is served (`Owner.tag`), stored with each task.
        call_driver: starts the driver if there is none yet; called from any thread, repeatedly.
        renew: has this process replaced; called from any thread, if its data folder was removed.
    Raises: TaskFault from every method, if the store cannot be used; StorageFull if the disk is full.
    """

    def __init__(
        self,
        data: DataFolder,
        store: Store,
        settings: Settings,
        clocks: Clocks,
        unit_failed: Callable[[], bool] = lambda: False,
        call_driver: Callable[[], None] = lambda: None,
        renew: Callable[[], None] = lambda: None,
        owner: str = "",
    ) -> None:
        self.settings = settings
        self._owner = owner
        self.unit_failed = unit_failed
        self._renew = renew
        self._data = data
        self._store = store
        self._clocks = clocks
        self._outlook = AvailabilityCheck(
            data, store, settings, clocks, unit_failed=lambda: self.unit_failed(), call_driver=call_driver
        )
        self._caller: Caller | None = None
        self._gone = threading.Event()
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="task-read")
        self._writers = ThreadPoolExecutor(8, thread_name_prefix="task-write")

    @classmethod
    def open(
        cls,
        settings: Settings,
        clocks: Clocks | None = None,
        *,
        call_driver: Callable[[], None] = lambda: None,
        renew: Callable[[], None] = lambda: None,
        owner: str = "",
    ) -> TaskService:
        """The service over the store and the folders of the settings, which are created if missing. Blocking.

        Raises: TaskFault if they cannot be used; SettingsError if a newer program wrote them.
        """
        data = open_files(settings)
        store = open_store(settings, data)
        return cls(data, store, settings, clocks or Clocks(), call_driver=call_driver, renew=renew, owner=owner)

    def close(self) -> None:
        """Release all resources. Idempotent."""
        self._readers.shutdown()
        self._writers.shutdown()
        self._store.close()

    def seen_by(self, caller: Caller | None) -> TaskService:
        """The same service as a caller may use it: other callers' tasks are unknown, unless it has the scope admin.

        Args:
            caller: None where nobody is asked: all tasks.
        """
        if caller is None:
            return self
        seen = copy.copy(self)
        seen._caller = caller
        return seen

    @property
    def whose(self) -> str | None:
        """The caller whose tasks are seen; None for those of all."""
        caller = self._caller
        return None if caller is None or Scope.ADMIN in caller.scopes else caller.name

    @property
    def caller_name(self) -> str:
        """Whose the tasks are that are made; empty if nobody is asked."""
        return "" if self._caller is None else self._caller.name

    @property
    def caller_limit(self) -> int:
        """How many tasks the caller may have at once; 0 for any number."""
        return 0 if self._caller is None else self._caller.limits.tasks_at_once

    @property
    def parts(self) -> Parts:
        """What it works with."""
        return Parts(self._data, self._store, self._clocks, self._owner)

    def _is_seen(self, task: Task) -> bool:
        whose = self.whose
        return whose is None or task.caller == whose

    def _own_key(self, key: str | None) -> str | None:
        """An idempotency key as the store knows it: of one caller."""
        return key if key is None or self._caller is None else f"{self._caller.name}\n{key}"

    # ── is there room? ──────────────────────────────────────────────────────────────────────────────────────────

    async def availability(self) -> Availability:
        """Whether a new task is accepted. Takes milliseconds at any load."""
        return (await self.read(self._outlook.look))[0]

    async def engine(self) -> EngineStatus:
        """The status of the engine."""
        return await self.read(self._outlook.describe)

    async def counts(self) -> dict[State, int]:
        """How many tasks are in each state."""
        return await self.read(self._store.counts, self.whose)

    async def paused(self) -> str:
        """Why the engine is paused; empty if it is not."""
        return await self.read(self._outlook.paused)

    async def metrics(self) -> bytes:
        """The engine's metrics in the Prometheus text format; never raises."""
        try:
            return await self.read(self._outlook.metrics)
        except TaskFault:
            _log.exception("the task store cannot be read")
            return exposition_of_a_broken_store(int(Availability.BROKEN))

    # ── accepting ───────────────────────────────────────────────────────────────────────────────────────────────

    async def check_room(self, id: str, key: str | None) -> None:
        """Check the queue limit for a task of this id and idempotency key, as far as they are known yet.

        Raises: Overloaded if the queue is full, unless the task is in it: repeating an upload is always allowed.
        """
        await self.read(self._check_room, id, key)

    def _check_room(self, id: str, key: str | None) -> None:
        alive = self._store.alive()
        if alive < self.settings.task_queue_limit:
            return
        key = self._own_key(key)
        if self._store.find(id) is None and (key is None or self._store.find_key(key) is None):
            raise Overloaded(full_queue(alive))

    async def check_disk(self, bytes: int = 0) -> None:
        """Raises: StorageFull if this many more bytes would use up the disk reserve."""
        await self.read(self._check_disk, bytes)

    def _check_disk(self, bytes: int = 0) -> None:
        self._data.check_room(self.settings.task_disk_reserve_bytes, bytes)

    async def wake_driver(self) -> None:
        """Have the driver look at the store soon; it is started if there is none yet."""
        await self.run(self._outlook.wake_driver)
        self._data.wake_driver()

    async def receive(self) -> Incoming:
        """Create an incoming file."""
        return await self._write(self._receive)

    def _receive(self) -> Incoming:
        self._outlook.wake_driver()  # it starts up during the upload
        return Incoming.open(self._data)

    async def run(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run a blocking call that writes, to a file or the store, in our thread pool."""
        return await self._write(call, *arguments, **named)

    def check(self, submission: Submission) -> None:
        """Raises: PayloadError naming the invalid field."""
        check_id(submission.id)
        if submission.input_uri:
            check_uri(submission.input_uri, self.settings.task_uris, "input_uri")
        if submission.output_uri:
            check_uri(submission.output_uri, self.settings.task_uris, "output_uri")
            open_reference(submission.output_uri).check_writable()
        self.check_webhook(submission.webhook, submission.webhook_events)

    def check_webhook(self, url: str, events: str) -> None:
        """Raises: PayloadError if webhooks are not sent to this URL, or there is no such event."""
        if url:
            check_webhook(url, self.settings.task_webhook_hosts)
        if events:
            check_events(events)

    async def accept(self, submission: Submission, incoming: Incoming) -> Task:
        """Turn a received file into a task, durable from the return on.

        Promises: the same id with the same bytes returns the existing task; a task that failed, or was stopped,
            starts over.
        Raises: PayloadError, TaskConflict, Overloaded, StorageFull; the file is then gone.
        """
        self.check(submission)
        kinds = _Kinds.of(submission, submission.input_kind or incoming.kind, incoming.head)
        received = await self._write(self._seal, kinds.received, incoming)
        if received.fault:
            raise PayloadError(f"task_file: {received.fault}")
        await self._write(self._data.keep_input, received.folder)
        return await self._accepted(submission, kinds, received, incoming)

    async def accept_reference(self, submission: Submission) -> Task:
        """Make a task of a file at an address, which the driver fetches; durable from the return on.

        Raises: PayloadError if the address may not be used, or there is no file; Forbidden for a caller with a quota of
            what is not known before the file is fetched; and like `accept`.
        """
        if self._caller is not None and (
            self._caller.limits.rows_per_minute or self._caller.limits.upload_bytes_per_minute
        ):
            raise Forbidden("input_uri: a key with a quota of rows or of uploaded bytes has to send the file itself")
        self.check(submission)
        await self.check_room(submission.id, submission.idempotency_key)
        said = submission.input_kind or _named(submission.input_uri) or LINES
        kinds = _Kinds.of(submission, said)
        version = await _version_of(submission.input_uri)
        identity = hashlib.sha256(f"{submission.input_uri}\n{version.etag}".encode()).hexdigest()
        size = max(0, version.bytes)
        received = Received(folder=uuid.uuid4().hex, bytes=size, end=0, lines=0, sha256=identity, version=version.etag)
        return await self._accepted(submission, kinds, received, None)

    async def _accepted(
        self, submission: Submission, kinds: _Kinds, received: Received, incoming: Incoming | None
    ) -> Task:
        deadline = self._clocks.steady() + _STOP_LIMIT_S
        while True:
            try:
                task = await self._write(self._accept, submission, kinds, received, incoming)
            except TaskConflict as fault:
                if fault.reason != "TASK_STOPPING" or self._clocks.steady() > deadline:
                    raise
                await asyncio.sleep(0.01)
                continue
            self._data.wake_driver()
            return task

    def _seal(self, kind: FileKind, incoming: Incoming) -> Received:
        """End of the file; one that is not JSON lines is converted first."""
        if kind != LINES:
            try:
                self._convert(kind, incoming)
            except (PayloadError, MissingExtra) as fault:
                raise PayloadError(f"task_file: {fault.text}") from fault
        return incoming.seal()

    def _convert(self, kind: FileKind, incoming: Incoming) -> None:
        limits = ConversionLimits(self.settings.task_upload_limit_bytes, self._check_disk)
        with incoming.rewritten() as (received, scratch):
            conversion = Conversion(received, kind, incoming.codec, scratch=scratch)
            for block in conversion.blocks(limits):
                incoming.write(block)
        incoming.charset = conversion.charset or incoming.charset

    def _accept(self, submission: Submission, kinds: _Kinds, received: Received, incoming: Incoming | None) -> Task:
        new = NewTask(
            id=submission.id,
            folder=received.folder,
            input_bytes=received.bytes,
            input_end=received.end,
            input_sha256=received.sha256,
            total=received.lines,
            priority=submission.priority,
            rows=submission.rows or self.settings.task_rows.value,
            webhook=submission.webhook,
            webhook_events=submission.webhook_events,
            traceparent=submission.traceparent,
            idempotency_key=self._own_key(submission.idempotency_key),
            charset=received.charset,
            owner=self._owner,
            caller=self.caller_name,
            input_format=kinds.received.stored,
            output_format=kinds.answers.stored,
            input_uri=submission.input_uri,
            input_version=received.version,
            output_uri=submission.output_uri,
        )
        try:
            accepted = self._store.accept(
                new,
                now=self._clocks.wall(),
                queue_limit=self.settings.task_queue_limit,
                caller_limit=self.caller_limit,
            )
        except StoreAway:
            if incoming is not None:
                incoming.close()  # it may be a task already: the next sweep knows
            raise
        crash_point("accepted")
        if accepted.created:
            task = accepted.task
            _log.info("a task is accepted", extra={"task": task.id, "lines": task.total, "bytes": task.input_bytes})
        if incoming is not None:
            (incoming.close if accepted.created else incoming.discard)()
        if not accepted.created and not self._data.is_local:
            self._data.discard(received.folder)
            self._data.empty_trash()
        if accepted.replaced:
            self._data.discard(accepted.replaced)
            self._data.empty_trash()
        return accepted.task

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, id: str) -> Task | None:
        """The task with this id; None if there is none, it is another caller's, or it is being stopped."""
        task = await self.read(self._store.find, id)
        return None if task is None or task.state is State.STOPPING or not self._is_seen(task) else task

    async def task(self, id: str) -> Task:
        """The task with this id. Raises: UnknownTask, with what became of it if that is known."""
        task = await self.find(id)
        if task is not None:
            return task
        gone = await self.read(self._store.deletion, id) if self.whose is None else None
        raise UnknownTask(f"there is no task {id!r}" + (f" any more: it was {gone[0]}" if gone else ""))

    async def position(self, task: Task) -> int | None:
        """How many waiting tasks are ahead of it; None if it is not waiting."""
        return await self.read(self._store.position, task) if task.state is State.WAITING else None

    async def listing(self, wanted: Listing) -> list[Task]:
        """Tasks, newest first."""
        return await self.read(self._store.listing, msgspec.structs.replace(wanted, caller=self.whose))

    async def results(self, id: str, *, partial: bool = False, as_lines: bool = False, hint: str = "") -> ResultFile:
        """The answers, in the format that the task has for them; partial ones are JSON lines.

        Args:
            as_lines: as JSON lines in any case.
            partial: accept partial results, also of a task that failed.
            hint: how to get partial results, for the error about a running task.
        Raises: UnknownTask; TaskState if it is not finished, with its state, or failed, with the reason.
        """
        task = await self.task(id)
        if not partial and task.state is not State.FINISHED:
            more = {State.RUNNING: hint, State.FAILED: f": {task.error}"}.get(task.state, "")
            raise TaskState(f"task {id!r} is {task.state.value}{more}")
        if task.output_format and task.state is State.FINISHED and not as_lines:
            await self._bring(task, self._data.answers(task.folder, task.fence, task.output_format), -1)
            return await self.read(self._answers, task)
        path = self._data.output(task.folder, task.round, task.writer)
        await self._bring(task, path, task.out_off)
        return ResultFile(
            path=path,
            size=task.out_off,
            sha256="" if task.output_format else task.output_sha256,
            is_complete=task.state is State.FINISHED,
        )

    async def _bring(self, task: Task, path: Path, size: int) -> None:
        """Bring an output file into the folder, where another machine has made it. Raises: TaskFault."""
        if self._data.is_local:
            return
        try:
            await asyncio.to_thread(self._data.bring_file, task.folder, path, size)
        except OSError as error:
            raise TaskFault(f"the answers of task {task.id!r} are gone", reason="TASK_FILES") from error

    def _answers(self, task: Task) -> ResultFile:
        """The finished answers in the task's own format."""
        path = self._data.answers(task.folder, task.fence, task.output_format)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise TaskFault(f"the answers of task {task.id!r} are gone from the disk", reason="TASK_FILES") from error
        kind = file_kind.of_word(task.output_format, "output_format")
        return ResultFile(path=path, size=size, sha256=task.output_sha256, is_complete=True, kind=kind)

    async def errors(self, id: str) -> ResultFile:
        """The error lines so far. Raises: UnknownTask."""
        task = await self.task(id)
        path = self._data.errors(task.folder, task.round, task.writer)
        await self._bring(task, path, task.err_off)
        return ResultFile(
            path=path,
            size=task.err_off,
            sha256="",
            is_complete=task.state in ENDED,
        )

    async def events(self, id: str, *, repeat_s: float) -> AsyncGenerator[Task, None]:
        """The task now and whenever it has changed, until it has ended or is gone. Raises: UnknownTask.

        Args:
            repeat_s: yield it again after this long without a change, so that a client can detect a dead connection.
        """
        last = await self.task(id)
        yield last
        yielded_at = self._clocks.steady()
        while last.state in ALIVE:
            await asyncio.sleep(_EVENT_S)
            task = await self.find(id)
            if task is None or task.seq != last.seq:
                return
            if task != last or self._clocks.steady() - yielded_at > repeat_s:
                last, yielded_at = task, self._clocks.steady()
                yield task

    async def ended(self, task: Task, is_disconnected: Callable[[], Any]) -> Task | None:
        """Wait until a task has ended; None if it is gone, or the client has disconnected.

        Args:
            is_disconnected: an async callable: whether the client has disconnected.
        """
        looks = 0
        current: Task | None = task
        while current is not None and current.seq == task.seq and current.state not in ENDED:
            if await is_disconnected():
                return None
            looks += 1
            await asyncio.sleep(_LOOKS.wait_s(looks))
            current = await self.find(task.id)
        return current if current is not None and current.seq == task.seq else None

    # ── changing ────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self, id: str) -> None:
        """Stop a waiting or running task and delete it; returns when its work has ended.

        Raises: UnknownTask; TaskState if it has ended.
        """
        await self._remove(id, ALIVE)

    async def delete(self, id: str) -> None:
        """Delete a task in any state; a running one is stopped. Raises: UnknownTask."""
        await self._remove(id, ALIVE | ENDED)

    async def _remove(self, id: str, states: frozenset[State]) -> None:
        while True:
            task = await self.task(id)
            if task.state not in states:
                raise TaskState(f"task {id!r} is {task.state.value} already")
            if await self._write(self._mark, task):
                break
        crash_point("stop-marked")
        if task.state is State.RUNNING:
            self._data.wake_driver()
            await self._await_removal(task)
        else:
            await self._write(self._erase, task)

    def _mark(self, task: Task) -> bool:
        try:
            return self._store.stop(task.id, (task.state,))
        except StorageFull:
            self._data.free_ballast()  # stopping a task must work on a full disk
            return self._store.stop(task.id, (task.state,))

    def _erase(self, task: Task) -> None:
        """Delete a task that no driver works on."""
        self._data.discard(task.folder)
        why, now = "stopped" if task.state in ALIVE else "deleted", self._clocks.wall()
        body, receiver = stopped_body(task, now), receiver_of(task.webhook)
        self._store.erase(task.seq, why=why, now=now, webhook=body, receiver=receiver)
        self._data.empty_trash()

    async def _await_removal(self, task: Task) -> None:
        began, polls = self._clocks.steady(), 0
        limit_s = _STOP_LIMIT_S + (self.settings.task_lease_s if self._store.is_shared else 0.0)
        while (await self.read(self._store.find_seq, task.seq)) is not None:
            waited_s, polls = self._clocks.steady() - began, polls + 1
            if waited_s > limit_s:
                raise TaskFault(f"task {task.id!r} could not be stopped within {limit_s:g} s")
            if waited_s > _ABANDONED_S and await self._write(self._erase_for_dead_driver, task):
                return
            await asyncio.sleep(_POLLS.wait_s(polls))

    def _erase_for_dead_driver(self, task: Task) -> bool:
        """Delete a task in the place of its driver, if that is dead, and its workers with it, or fenced off."""
        if self._store.is_shared:
            is_ours = any(found.seq == task.seq for found in self._store.stopping(""))
            if is_ours:
                self._erase(task)
            return is_ours
        lock = self._data.try_lock()
        if lock is None:
            return False
        try:
            self._erase(task)
        finally:
            lock.release()
        return True

    async def retry(self, id: str) -> Task:
        """Process the failed lines of an ended task again; a task that failed half-way is resumed.

        Raises: UnknownTask; TaskState if it has not ended, or no line failed.
        """
        task = await self.task(id)
        if task.state not in ENDED:
            raise TaskState(f"task {id!r} is {task.state.value}")
        if task.rows == RowMode.REQUEST.value:
            raise TaskState(f"the rows of task {id!r} are requests: submit those that failed as a task of their own")
        if task.state is State.FINISHED and not task.failed:
            raise TaskState(f"no line of task {id!r} failed")
        if not await self._write(self._store.retry, task.id):
            raise TaskState(f"task {id!r} has just changed")
        crash_point("retry-marked")
        self._data.wake_driver()
        return await self.task(id)

    async def prune(self, *, older_than_s: float) -> int:
        """Delete tasks that ended longer ago than this; returns how many."""
        return await self._write(self._prune, older_than_s)

    def _prune(self, older_than_s: float) -> int:
        pruned = 0
        horizon = self._clocks.wall() - older_than_s
        while expired := self._store.ended_before(horizon, caller=self.whose, limit=500):
            for task in expired:
                if self._store.stop(task.id, (task.state,)):
                    self._data.discard(task.folder)
                    self._store.erase(task.seq, why="pruned", now=self._clocks.wall())
                    pruned += 1
            self._data.empty_trash()
        return pruned

    # ── underneath ──────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run a blocking read of the store in our thread pool."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, lambda: call(*arguments, **named))
        except TaskFault as fault:
            self._record_error(fault)
            raise

    async def _write(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            value = await loop.run_in_executor(self._writers, lambda: call(*arguments, **named))
        except TaskFault as fault:
            self._record_error(fault)
            if fault.reason == "TASK_STORE":
                self._outlook.write_trouble = str(fault)
            raise
        self._outlook.write_trouble = ""
        return value

    def _record_error(self, fault: TaskFault) -> None:
        if fault.reason == "TASK_STORE_GONE" and not self._gone.is_set():
            self._gone.set()
            _log.error("%s; this worker is replaced", fault)
            self._renew()


def read_block(file: ResultFile, offset: int, limit: int = 1 << 18) -> bytes:
    """The next bytes of a result file; empty at its end. Blocking."""
    with suppress(FileNotFoundError):
        fd = os.open(file.path, os.O_RDONLY)
        try:
            return os.pread(fd, min(limit, file.size - offset), offset)
        finally:
            os.close(fd)
    return b""
