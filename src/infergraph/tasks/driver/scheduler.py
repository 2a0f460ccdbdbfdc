"""The scheduler of active tasks: sends assignments by weight, appends answers in order, commits, finishes.

assign ─▶ engine ─▶ on(event) ─▶ append ─▶ sync ─▶ watermark ─▶ end
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from infergraph.errors import Fault, StorageFull, StoreAway
from infergraph.settings import Settings
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.driver.attempt import Attempt, AttemptRules, sha256_of
from infergraph.tasks.driver.fetching import Fetching, repeated
from infergraph.tasks.driver.telemetry import Telemetry
from infergraph.tasks.engines.engine import DEPTH, DEPTH_OF_SHORT, Answered, Engine, LaneLost
from infergraph.tasks.engines.messages import Answer, Key
from infergraph.tasks.failpoints import crash_point
from infergraph.tasks.files import DataFolder, Part, disk_faults, sync_folder
from infergraph.tasks.references import open_reference
from infergraph.tasks.store import Store
from infergraph.tasks.task import Fetched, Progress, State, Task, Watermark
from infergraph.tasks.webhooks import Event, receiver_of, task_body
from infergraph.wire import file_kind

_log = logging.getLogger(__name__)

Stopped = StorageFull | StoreAway
STOPPED = (StorageFull, StoreAway)
"""Faults that pass by themselves: the work goes on from the watermark then."""
SET_ASIDE_S = 1.0
_DIGESTS_AT_ONCE = 4
SHORT_S = 0.02


class DriverCounts(msgspec.Struct):
    """Counts since the driver started."""

    chunks: int = 0
    chunk_s: float = 0.0
    retries: int = 0
    kills: int = 0


class Scheduler:
    """The active attempts of a driver. Not thread-safe.

    Args:
        telemetry: is told of attempts and chunks; None without tracing.
    """

    def __init__(
        self,
        data: DataFolder,
        store: Store,
        engine: Engine,
        settings: Settings,
        clocks: Clocks,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._data = data
        self._store = store
        self._engine = engine
        self._settings = settings
        self._clocks = clocks
        self._rules = AttemptRules(
            chunk_target_s=settings.task_chunk_target_s,
            chunk_lines_limit=settings.task_chunk_lines_limit,
            attempts_limit=settings.task_attempts_limit,
            row_timeout_s=settings.task_row_timeout_s,
            window=2 * DEPTH_OF_SHORT * max(1, settings.task_worker_bounds.most or settings.workers),
            carries_data=not engine.shares_disk,
            own_files=store.is_shared,
        )
        self._attempts: dict[int, Attempt] = {}
        self._by_number: dict[int, Attempt] = {}
        self._aside: dict[int, tuple[Task, float]] = {}
        self._halting: dict[int, int] = {}
        self._digesting: dict[int, Future[str]] = {}
        self._digests = ThreadPoolExecutor(_DIGESTS_AT_ONCE, thread_name_prefix="digest")
        self._fetching = Fetching(data, settings, engine.wake)
        self._committing: dict[int, tuple[Watermark, Future[bool]]] = {}
        self._commits = ThreadPoolExecutor(2, thread_name_prefix="commit")
        self._number = 0
        self._line_s: dict[str, float] = {}
        self._commit_at = 0.0
        self.counts = DriverCounts()
        self.trouble = ""
        """The error of the last write; empty once one succeeds."""

    # ── starting and stopping ───────────────────────────────────────────────────────────────────────────────

    @property
    def active(self) -> int:
        """Active tasks, including suspended ones."""
        return len(self.holding)

    @property
    def holding(self) -> tuple[int, ...]:
        """The seqs of the active tasks."""
        return (*self._attempts, *self._aside, *(task.seq for task in self._fetching.tasks))

    def work_s(self, waiting: int) -> float:
        """How long one worker would take for the active tasks, and for as many waiting lines; 0 if nothing is known.

        Args:
            waiting: lines of waiting tasks, which are taken to be like those of the active ones.
        """
        left = [(attempt.lines_left, attempt.sizer.line_s) for attempt in self._attempts.values()]
        slowest_s = max((line_s for _, line_s in left), default=0.0)
        return sum(lines * (line_s or slowest_s) for lines, line_s in left) + waiting * slowest_s

    @property
    def has_work(self) -> bool:
        """Whether there is work to do now, without waiting for an event."""
        return any(
            attempt.is_complete and seq not in self._digesting and attempt.number not in self._committing
            for seq, attempt in self._attempts.items()
        )

    def wait_s(self, until: float) -> float:
        """How long to wait for events, at most until this monotonic time."""
        if self.has_work:
            return 0.0
        if any(attempt.is_dirty and attempt.number not in self._committing for attempt in self._attempts.values()):
            until = min(until, self._commit_at)
        return max(0.0, until - self._clocks.steady())

    def start(self, task: Task) -> None:
        """Start or resume a claimed task."""
        if task.is_to_fetch or not self._data.is_here(task):
            self._fetching.start(task)
            return
        self._number += 1
        try:
            attempt = Attempt.open(
                self._data,
                task,
                self._number,
                self._rules,
                clock=self._clocks.steady,
                line_s=self._line_s.get(task.rows, 0.0),
            )
        except StorageFull as fault:
            self._set_aside(task, fault)
            return
        except OSError as error:
            _log.error("task %r cannot go on: %s", task.id, error)
            self._end(task, State.FAILED, f"the files of the task are damaged: {error}", "")
            return
        attempt.spent_s = min((other.spent_s for other in self._attempts.values()), default=0.0)
        self._attempts[task.seq] = self._by_number[attempt.number] = attempt
        if self._telemetry is not None:
            self._telemetry.began(attempt.number, task)

    def drop(self, seq: int) -> None:
        """Stop work on a task at once, killing its workers if necessary. Idempotent."""
        self._aside.pop(seq, None)
        self._fetching.drop(seq)
        attempt = self._release(seq)
        if attempt is not None:
            self._engine.abandon(attempt.number)
            self._halting[seq] = attempt.number

    def is_stopping(self, seq: int) -> bool:
        """Whether a process may still be working on a dropped task."""
        number = self._halting.get(seq)
        if number is None:
            return False
        if self._engine.is_in_work(number):
            return True
        del self._halting[seq]
        return False

    def release_all(self) -> None:
        """Graceful shutdown: commit what is appended, and release the tasks for the next driver."""
        for seq, attempt in list(self._attempts.items()):
            if seq in self._digesting:
                self._digesting.pop(seq).cancel()
            self._commit(attempt)
            self._await_commit(attempt)
            if seq in self._attempts:
                self._release(seq)
                self._let_go(attempt.task, unstall=attempt.began and not attempt.moved)
        for task in [*(task for task, _ in self._aside.values()), *self._fetching.tasks]:
            self._let_go(task, unstall=False)
        self._fetching.stop()
        self._digests.shutdown(wait=False, cancel_futures=True)
        self._commits.shutdown()

    def _let_go(self, task: Task, *, unstall: bool) -> None:
        try:
            if unstall:
                self._store.unstall(task)
            self._store.release(task)
        except STOPPED as fault:
            _log.warning("task %r is left to the next driver: %s", task.id, fault)

    def _release(self, seq: int) -> Attempt | None:
        attempt = self._attempts.pop(seq, None)
        if attempt is None:
            return None
        del self._by_number[attempt.number]
        if self._telemetry is not None:
            self._telemetry.released(attempt.number)
        self._committing.pop(attempt.number, None)
        self._digesting.pop(seq, None)
        if attempt.sizer.line_s:
            self._line_s[attempt.task.rows] = attempt.sizer.line_s
        attempt.close()
        return attempt

    def _suspend(self, attempt: Attempt, fault: Stopped) -> None:
        """Suspend a task while nothing can be written: drop data beyond the watermark, and resume from there later."""
        _committed, late = self._committing.get(attempt.number, (None, None))
        if late is not None:
            late.exception()  # it must not advance the watermark after the output has been truncated
        self._release(attempt.task.seq)
        self._set_aside(attempt.task, fault)

    def _set_aside(self, task: Task, fault: Stopped) -> None:
        self.trouble = str(fault)
        self._aside[task.seq] = task, self._clocks.steady() + SET_ASIDE_S

    def resume(self) -> None:
        """Resume suspended tasks, since there is disk space again. Raises: StoreAway."""
        now = self._clocks.steady()
        for seq, (claimed, at) in list(self._aside.items()):
            if at > now:
                continue
            task = self._store.find_seq(seq)
            del self._aside[seq]
            self.trouble = ""
            if task is not None and task.state is State.RUNNING and task.fence == claimed.fence:
                self.start(task)

    # ── work ────────────────────────────────────────────────────────────────────────────────────────────────────

    def assign(self) -> None:
        """Fill the lanes with assignments: the attempt with the least time relative to its weight first.

        Raises: StorageFull; StoreAway.
        """
        while ready := [attempt for attempt in self._attempts.values() if attempt.has_next]:
            attempt = min(ready, key=lambda attempt: (attempt.spent_s, attempt.task.seq))
            lanes = self._engine.idle(DEPTH_OF_SHORT if attempt.assignment_s < SHORT_S else DEPTH)
            if not lanes:
                return
            if not attempt.began:
                if not self._store.stall(attempt.task):
                    self.drop(attempt.task.seq)  # it is being stopped, or another driver has taken over
                    continue
                attempt.begin()
                if not self._data.is_local and len(self._attempts) == 1:
                    self._commit_at = self._clocks.steady() + self._data.commit_s  # a first part worth composing
                crash_point("begun")
            assignment = attempt.next_assignment()
            if assignment is not None:
                self._engine.send(lanes[0], assignment)

    def answered(self, event: Answered) -> None:
        """A lane answered an assignment."""
        answer: Answer = event.answer
        attempt = self._by_number.get(answer.key.attempt)
        if attempt is None:
            return
        if self._telemetry is not None and (chunk := attempt.chunk(answer.key)) is not None:
            self._telemetry.chunk(attempt.number, chunk, answer, attempt.told)
        if attempt.answered(answer):
            self.counts.chunks += 1
            self.counts.chunk_s += answer.seconds

    def lane_lost(self, event: LaneLost) -> None:
        """A lane died: count the death against its current assignment, unless we killed it; requeue the others."""
        if not event.killed:
            _log.warning("a task worker %s; it is replaced", event.why)
        for place, key in enumerate(event.held):
            attempt = self._by_number.get(key.attempt)
            if attempt is None:
                continue
            self.counts.retries += 1
            if place == 0 and (not event.killed or key in attempt.overdue):
                self.counts.kills += 1
                if self._telemetry is not None and (chunk := attempt.chunk(key)) is not None:
                    self._telemetry.died(attempt.number, chunk, event.why)
                attempt.worker_died(key, event.why)
            else:
                attempt.requeue(key)

    def end(self, seq: int, reason: str) -> bool:
        """End an active task as failed, with what it has answered; False if it is not active."""
        attempt = self._attempts.get(seq)
        if attempt is None:
            return False
        self._fail(attempt, reason)
        return True

    def fail_all(self, reason: str) -> None:
        """The unit cannot be loaded: fail all active tasks with this error."""
        for attempt in list(self._attempts.values()):
            self._fail(attempt, reason)

    # ── after each round of events ──────────────────────────────────────────────────────────────────────────────

    def update(self) -> None:
        """Start what is fetched, append answers, check time limits, commit when due, finish complete tasks."""
        for task, fetch in self._fetching.ended():
            self._fetched(task, fetch)
        for attempt in list(self._attempts.values()):
            try:
                attempt.append()
            except StorageFull as fault:
                self._suspend(attempt, fault)
        for attempt in list(self._attempts.values()):
            self._committed(attempt)
        self._check_times()
        if self._clocks.steady() >= self._commit_at:
            self._commit_at = self._clocks.steady() + self._data.commit_s
            for attempt in list(self._attempts.values()):
                self._commit(attempt)
        for attempt in list(self._attempts.values()):
            if attempt.is_complete:
                self._complete(attempt)

    def _fetched(self, task: Task, fetch: Future[Fetched | None]) -> None:
        """Start a task whose file is there; fail one whose file cannot be had."""
        try:
            found = fetch.result()
            if found is None:
                self.start(task)
            elif self._store.fetched(task, found):
                self.start(msgspec.structs.replace(task, **msgspec.structs.asdict(found)))
        except STOPPED as fault:
            self._set_aside(task, fault)
        except (Fault, OSError) as fault:
            _log.warning("task %r failed: %s", task.id, fault)
            what = "input_uri" if task.is_to_fetch else "the files of the task"
            self._end(task, State.FAILED, f"{what}: {str(fault).removeprefix('input_uri: ')}", "")

    def _check_times(self) -> None:
        now = self._clocks.steady()
        if self._rules.row_timeout_s and self._engine.can_kill:
            for lane, key, began in list(self._engine.in_work()):
                self._check_time(lane, key, now - began)
        limit_s = self._settings.task_timeout_s
        for attempt in list(self._attempts.values()):
            if limit_s and attempt.worked_s > limit_s and not attempt.is_complete:
                self._fail(attempt, f"the task took longer than {limit_s:g} s")

    def _check_time(self, lane: int, key: Key, taken_s: float) -> None:
        attempt = self._by_number.get(key.attempt)
        allowed_s = attempt.allowed_s(key) if attempt is not None else 0.0
        if attempt is not None and allowed_s and taken_s > allowed_s:
            attempt.overdue.add(key)
            self._engine.kill(lane)

    def _commit(self, attempt: Attempt) -> None:
        """Start to commit what is appended. Results first, then the watermark: a crash in between only repeats work.

        A thread does it, so that the lanes are fed while the disk is busy.
        """
        if not attempt.is_dirty or attempt.number in self._committing:
            return
        files, parts = attempt.files_to_sync(), attempt.parts_to_keep()
        future = self._commits.submit(self._commit_files, files, parts, attempt.task, attempt.mark, attempt.progress())
        self._committing[attempt.number] = (attempt.mark, future)
        future.add_done_callback(lambda _: self._engine.wake())

    def _commit_files(
        self, files: Sequence[int], parts: Sequence[Part], task: Task, mark: Watermark, progress: Progress
    ) -> bool:
        """Sync, close and keep what was appended, then advance the watermark; False if the claim is over.

        Raises: StorageFull; StoreAway.
        """
        try:
            with disk_faults():
                for fd in files:
                    os.fdatasync(fd)
        finally:
            for fd in files:
                os.close(fd)
        crash_point("output-synced")
        self._data.keep_parts(task.folder, parts)
        kept = self._store.advance(task, mark, progress)
        crash_point("committed")
        return kept

    def _committed(self, attempt: Attempt) -> None:
        """Process a completed commit."""
        mark, future = self._committing.get(attempt.number, (attempt.mark, None))
        if future is None or not future.done():
            return
        del self._committing[attempt.number]
        try:
            kept = future.result()
        except STOPPED as fault:
            self._suspend(attempt, fault)
            return
        if not kept:
            self.drop(attempt.task.seq)  # it is being stopped, or another driver has taken over
            return
        attempt.committed(mark)
        limit = self._settings.task_errors_limit
        if 0 <= limit < mark.failed:
            self._fail(
                attempt, f"{mark.failed} lines failed, more than the limit of {limit}; the last: {attempt.last_error}"
            )

    def _await_commit(self, attempt: Attempt) -> None:
        """Wait for the commit in progress, if there is one."""
        if attempt.number in self._committing:
            self._committing[attempt.number][1].exception()
            self._committed(attempt)

    def _complete(self, attempt: Attempt) -> None:
        """Finish an attempt whose answers are all appended, once they are committed and their checksum is known."""
        self._commit(attempt)
        if attempt.is_dirty:
            return
        task, mark = attempt.task, attempt.mark
        if mark.done != task.total:
            self._fail(attempt, f"the input has {mark.done} lines where {task.total} were counted")
        elif mark.failed == mark.done:
            self._fail(attempt, f"every line failed; the last: {attempt.last_error}")
        else:
            self._finish(attempt)

    def _finish(self, attempt: Attempt) -> None:
        """Finish an attempt, once the checksum of its answers is known."""
        task = attempt.task
        try:
            more = task.output_format or task.output_uri or not self._data.is_local
            at_once = None if more else attempt.digest()
            digest = at_once or self._read_digest(attempt)
        except StorageFull as fault:
            self._suspend(attempt, fault)
            return
        except (Fault, OSError) as error:
            self._fail(attempt, f"the answers cannot be written: {error}")
            return
        if digest is not None:
            crash_point("finish-synced")
            self._close(attempt, State.FINISHED, attempt.last_error, digest)

    def _read_digest(self, attempt: Attempt) -> str | None:
        """The checksum of the answers, which a thread reads, or writes in the task's format; None until it is done."""
        task = attempt.task
        if task.seq not in self._digesting:
            self._digesting[task.seq] = self._digests.submit(_finished, self._data, task, attempt.mark.writer)
            self._digesting[task.seq].add_done_callback(lambda _: self._engine.wake())
        if not self._digesting[task.seq].done():
            return None
        return self._digesting[task.seq].result()

    def _fail(self, attempt: Attempt, reason: str) -> None:
        _log.warning("task %r failed: %s", attempt.task.id, reason)
        self._close(attempt, State.FAILED, reason, "")

    def _close(self, attempt: Attempt, state: State, error: str, digest: str) -> None:
        self._commit(attempt)
        self._await_commit(attempt)
        if attempt.task.seq not in self._attempts:
            return
        try:
            ended = self._end(attempt.task, state, error, digest, failed=attempt.mark.failed, done=attempt.mark.done)
        except STOPPED as fault:
            self._suspend(attempt, fault)
            return
        if ended and self._telemetry is not None:
            self._telemetry.ended(attempt.number, state, attempt.mark, error)
        self._release(attempt.task.seq)
        self._engine.abandon(attempt.number)
        if ended and state is State.FINISHED:
            _log.info("a task is finished", extra=_summary(attempt))
            task = attempt.task
            if task.round or attempt.mark.writer or task.output_format:
                version = task.folder, task.round, attempt.kept_writer, task.fence
                if self._data.is_local:
                    self._data.forget_versions(*version)
                else:  # storage may answer slowly
                    self._digests.submit(self._data.forget_versions, *version)

    def _end(self, task: Task, state: State, error: str, digest: str, *, done: int = 0, failed: int = 0) -> bool:
        """End a claimed task; False if the claim is over."""
        now, event = self._clocks.wall(), Event.FINISHED if state is State.FINISHED else Event.FAILED
        webhook = task_body(task, event, now, state=state.value, done=done, failed=failed, error=error)
        ended = self._store.end(
            task,
            state,
            now=now,
            error=error[:4000],
            sha256=digest,
            webhook=webhook,
            receiver=receiver_of(task.webhook),
        )
        crash_point("finished")
        return ended


def _summary(attempt: Attempt) -> dict[str, object]:
    """The log line of a finished attempt."""
    seconds = attempt.worked_s
    return {
        "task": attempt.task.id,
        "lines": attempt.mark.done,
        "failed": attempt.mark.failed,
        "s": round(seconds, 3),
        "lines_per_s": round(attempt.mark.done / seconds) if seconds else 0,
        "retries": attempt.retries,
        "kills": attempt.kills,
    }


def _finished(data: DataFolder, task: Task, writer: int) -> str:
    """The checksum of the answers, written first if they are not JSON lines. Raises: Fault, OSError."""
    output = data.output(task.folder, task.round, writer)
    errors = data.errors(task.folder, task.round, writer)
    answers, ended = output, [output, errors]
    if task.output_format:
        answers = data.answers(task.folder, task.fence, task.output_format)
        write_answers = importlib.import_module("infergraph.tasks.answer_files").write_answers
        write_answers(output, errors, file_kind.of_word(task.output_format, "output_format"), answers)
        sync_folder(answers.parent)
        ended.append(answers)
        crash_point("answers-written")
    data.keep_ended(task.folder, ended)
    _copy_answers(task, answers)
    return sha256_of(answers)


def _copy_answers(task: Task, answers: Path) -> None:
    """Copy the finished answers to the address that was given for them. Raises: ReferenceFault."""
    if task.output_uri:
        reference = open_reference(task.output_uri)
        repeated(lambda: reference.put(answers))
        crash_point("answers-copied")
