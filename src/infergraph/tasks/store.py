"""The task store: the single source of truth about tasks, in SQL that both databases speak.

    Store ◀── sqlite:SqliteStore         a file of one machine
          ◀── postgres:PostgresStore     a database that many machines share

State changes are compare-and-set: the loser of a race gets False and does nothing. Each claim raises the task's fence,
and a driver's writes carry the fence of its claim: once another driver has claimed the task, they change nothing. Every
change is durable before the call returns, except for a driver's heartbeat.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec

from infergraph.errors import Overloaded, QuotaExceeded, TaskConflict
from infergraph.tasks.record_store import FILE_ID, Post, RecordStore, Run, queue
from infergraph.tasks.task import COLUMNS, Fetched, NewTask, Progress, State, Task, Watermark, task_of, tasks_of

_BYTES = "input_bytes + out_off + err_off"
_GONE_LIMIT = 10_000
DUE = """
select number, url, body, attempts, receiver from (
  select outbox.*, row_number() over (partition by receiver order by next_at, number) as place from outbox
  where next_at <= ? {busy}
) as due where place = 1 order by next_at limit ?
"""
"""Of each receiver, the delivery that is due longest; `busy` is a condition that leaves receivers out."""


class Accepted(NamedTuple):
    """The task of a submission, and whether this submission created it; `replaced` is the folder of a failed one."""

    task: Task
    created: bool
    replaced: str


class Delivery(msgspec.Struct, frozen=True):
    """A webhook delivery that is due; those of one `receiver` are made one at a time."""

    number: int
    url: str
    body: bytes
    attempts: int
    receiver: str = ""


class StoredHeartbeat(msgspec.Struct, frozen=True):
    """The last heartbeat of a driver: how long ago (seconds), and what it reported (JSON)."""

    silent_s: float
    report: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Which waiting tasks a driver claims.

    Args:
        driver: who claims; unique to the driver's process.
        now: Unix seconds, for the record.
        limit: how many at most.
        owner: only tasks of this owner, and of nobody; empty for any.
        largest_bytes: only tasks with an input of at most this size; None for any.
    """

    driver: str
    now: float
    limit: int = 1
    owner: str = ""
    largest_bytes: int | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A query for tasks: newest first, older than `before` (a seq), at most `limit`; None for those of all callers."""

    states: tuple[State, ...] = ()
    prefix: str = ""
    before: int | None = None
    limit: int = 100
    caller: str | None = None


def full_queue(alive: int) -> str:
    """What is said of a queue with as many tasks as it may have."""
    return f"the queue is full: {alive} tasks are waiting or running"


def check_queue(alive: int, limit: int) -> None:
    """Raises: Overloaded if there is no room for another task."""
    if alive >= limit:
        raise Overloaded(full_queue(alive))


def check_caller(name: str, alive: int, limit: int) -> None:
    """Raises: QuotaExceeded if a caller has as many tasks as it may."""
    if alive >= limit:
        raise QuotaExceeded(f"{name} has {limit} tasks waiting or running, as many as it may")


class Store(RecordStore):
    """A task store; any number of processes may have it open.

    Promises: every method is atomic and, unless it says otherwise, durable when it returns. Thread-safe. Reads never
        wait for writes.
    Raises: TaskFault from every method if the database cannot be used; StoreAway if it may be reached again soon.
    """

    is_shared: ClassVar[bool]
    """Whether drivers of several machines may work on the tasks at the same time."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources. Idempotent."""

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, id: str) -> Task | None:
        """The task with this client-given id, or None."""
        return self._one("id = ?", id)

    def find_seq(self, seq: int) -> Task | None:
        """The task with this seq, or None."""
        return self._one("seq = ?", seq)

    def find_key(self, key: str) -> Task | None:
        """The task that was submitted with this idempotency key, or None."""
        return self._one("idempotency_key = ?", key)

    def has_folder(self, folder: str) -> bool:
        """Whether a task, or a stored file, owns this folder."""
        query = "select 1 from task where folder = ? union all select 1 from record where id = ?"
        return bool(self._read(query, folder, FILE_ID + folder))

    def listing(self, wanted: Listing) -> list[Task]:
        """Tasks, newest first. Fast at any number of tasks: pages are found by seq, never by counting."""
        states = wanted.states or tuple(State)
        where, values = [f"state in ({', '.join('?' * len(states))})"], [state.value for state in states]
        rest: list[Any] = []
        if wanted.before is not None:
            where.append("seq < ?")
            rest.append(wanted.before)
        if wanted.prefix:
            where.append(self._has_prefix)
            rest.append(wanted.prefix)
        if wanted.caller is not None:
            where.append("caller = ?")
            rest.append(wanted.caller)
        index = self._index("" if len(states) > 1 else "task_listing")
        rows = self._read(
            f"select {COLUMNS} from task {index} where {' and '.join(where)} order by seq desc limit ?",
            *values,
            *rest,
            wanted.limit,
        )
        return tasks_of(rows)

    def counts(self, caller: str | None = None) -> dict[State, int]:
        """How many tasks are in each state; of one caller, or of all."""
        if caller is None:
            found = dict(self._scan("select state, count(*) from task group by state"))
        else:
            found = dict(self._scan("select state, count(*) from task where caller = ? group by state", caller))
        return {state: found.get(state.value, 0) for state in State}

    def alive(self, caller: str | None = None) -> int:
        """How many tasks are waiting or running; of one caller, or of all."""
        query = "select count(*) from task where state in ('waiting', 'running')"
        rows = self._read(query) if caller is None else self._read(f"{query} and caller = ?", caller)
        return int(rows[0][0])

    def lines_waiting(self) -> int:
        """Lines of waiting tasks that are not answered yet."""
        query = "select coalesce(sum(total - done), 0) from task where state = 'waiting'"
        return int(self._read(query)[0][0])

    def position(self, task: Task) -> int:
        """How many waiting tasks are ahead of this waiting one."""
        rows = self._read(
            "select count(*) from task where state = 'waiting' and (priority > ? or (priority = ? and seq < ?))",
            task.priority,
            task.priority,
            task.seq,
        )
        return int(rows[0][0])

    def deletion(self, id: str) -> tuple[str, float] | None:
        """Why and when (Unix seconds) a task of this id was deleted, if that is still known."""
        rows = self._read("select why, at from gone where id = ?", id)
        return (str(rows[0][0]), float(rows[0][1])) if rows else None

    def ended_before(self, then: float, *, caller: str | None = None, limit: int) -> list[Task]:
        """Tasks that ended before this time (Unix seconds), oldest end first; of one caller, or of all."""
        whose, values = ("", []) if caller is None else ("and caller = ?", [caller])
        rows = self._scan(
            f"""select {COLUMNS} from task {self._index("task_finished")} where state in ('finished', 'failed')
                and finished < ? {whose} order by finished, seq limit ?""",
            then,
            *values,
            limit,
        )
        return tasks_of(rows)

    def expired(self, *, older_than: float | None, keep_count: int, keep_bytes: int, limit: int) -> list[Task]:
        """Ended tasks past their retention, oldest end first; 0 means no such limit.

        Args:
            older_than: Unix seconds; tasks that ended before are expired; None for no limit by age.
        """
        ended = "state in ('finished', 'failed')"
        found = [] if older_than is None else self.ended_before(older_than, limit=limit)
        if keep_count and len(found) < limit:
            over = self._scan(f"select count(*) from task where {ended}")[0][0] - keep_count
            found = max(found, self.ended_before(math.inf, limit=max(0, min(over, limit))), key=len)
        if keep_bytes and len(found) < limit:
            over = self._scan(f"select coalesce(sum({_BYTES}), 0) from task where {ended}")[0][0] - keep_bytes
            found = max(found, _until(self.ended_before(math.inf, limit=limit), over), key=len)
        return found

    def used_bytes(self) -> int:
        """Bytes of all tasks' inputs, outputs and errors."""
        return int(self._scan(f"select coalesce(sum({_BYTES}), 0) from task")[0][0])

    def lines_done(self) -> tuple[int, int]:
        """Lines answered and lines failed, over all tasks, including deleted ones."""
        kept = "(select coalesce(sum({}), 0) from task)"
        erased = "(select coalesce(sum(value), 0) from counter where name = '{}')"
        done = f"{kept.format('done')} + {erased.format('lines_erased')}"
        failed = f"{kept.format('failed')} + {erased.format('failed_erased')}"
        rows = self._scan(f"select {done}, {failed}")  # one query: a task that is erased meanwhile counts once
        return int(rows[0][0]), int(rows[0][1])

    def lines_left(self) -> tuple[int, float]:
        """Lines that waiting and running tasks have still to answer; how many are answered a second, recently."""
        rate = "case when state = 'running' then rate else 0 end"
        alive = "state in ('waiting', 'running')"
        sums = f"coalesce(sum(total - done), 0), coalesce(sum({rate}), 0)"
        rows = self._scan(f"select {sums} from task where {alive}")
        return int(rows[0][0]), float(rows[0][1])

    def counters(self) -> dict[str, int]:
        """Counts that only grow: uploads, upload_bytes, ..."""
        return dict(self._read("select name, value from counter"))

    # ── accepting and stopping (edges) ──────────────────────────────────────────────────────────────────────────

    def accept(self, new: NewTask, *, now: float, queue_limit: int, caller_limit: int = 0) -> Accepted:
        """Insert a task, unless it exists already.

        Args:
            caller_limit: how many tasks of its caller may be alive; 0 for any number.
        Promises: same id (or idempotency key) and same bytes: the existing task; a failed one starts over.
        Raises:
            TaskConflict: a task with this id, or this key, has different bytes.
            TaskState is never raised; a task that is being stopped counts as a conflict until it is gone.
            Overloaded: the queue is full. QuotaExceeded: the caller has that many tasks already.
        """
        with self._transaction() as run:
            self._queue_up(run)
            replaced = ""
            existing = self._same(run, new)
            if existing is not None:
                if existing.state not in (State.FAILED,):
                    return Accepted(existing, False, "")
                replaced = existing.folder
                _count_erased(run, existing)
                run("delete from task where seq = ?", existing.seq)
            alive = run("select count(*) from task where state in ('waiting', 'running')").fetchone()[0]
            check_queue(alive, queue_limit)
            if caller_limit:
                check_caller(new.caller, _alive_of(run, new.caller), caller_limit)
            run("delete from gone where id = ?", new.id)
            values = {**msgspec.structs.asdict(new), "state": State.WAITING.value, "created": now}
            run(_insertion(values), *values.values())
            _count(run, uploads=1, upload_bytes=new.input_bytes)
            self._notify(run)
            row = run(f"select {COLUMNS} from task where folder = ?", new.folder).fetchone()
        return Accepted(task_of(row), True, replaced)

    def add_task(self, task: Task) -> bool:
        """Insert a task of another store with all that it has; False if its id, its key or its folder is taken.

        One in work waits, to go on at its watermark.
        """
        state = State.WAITING if task.state is State.RUNNING else task.state
        values = {**msgspec.structs.asdict(task), "state": state.value, "driver": ""}
        del values["seq"]
        return self._write(f"{_insertion(values)} on conflict do nothing", *values.values()) == 1

    @staticmethod
    def _same(run: Run, new: NewTask) -> Task | None:
        row = run(f"select {COLUMNS} from task where id = ?", new.id).fetchone()
        if new.idempotency_key is not None:
            keyed = run(f"select {COLUMNS} from task where idempotency_key = ?", new.idempotency_key).fetchone()
            if row is not None and keyed is not None and row != keyed:
                raise TaskConflict(f"the idempotency key is that of another task, {task_of(keyed).id!r}")
            row = row or keyed
        if row is None:
            return None
        existing = task_of(row)
        if existing.caller != new.caller:
            raise TaskConflict(f"the id {new.id!r} is taken")
        if existing.state is State.STOPPING:
            raise TaskConflict(f"task {existing.id!r} is just being stopped; try again", reason="TASK_STOPPING")
        if existing.state is not State.FAILED and existing.input_sha256 != new.input_sha256:
            raise TaskConflict(f"task {existing.id!r} exists with other bytes")
        return existing

    def stop(self, id: str, states: Iterable[State]) -> bool:
        """Mark a task to be stopped and erased, if it is in one of `states`; False if it is not."""
        wanted = [state.value for state in states]
        with self._transaction() as run:
            changed = run(
                f"update task set state = 'stopping' where id = ? and state in ({', '.join('?' * len(wanted))})",
                id,
                *wanted,
            ).rowcount
            if changed:
                self._notify(run)
        return bool(changed)

    def retry(self, id: str) -> bool:
        """Start another round of an ended task: for its failed lines, or from its watermark on if it is incomplete.

        False if it is not ended.
        """
        with self._transaction() as run:
            row = run(f"select {COLUMNS} from task where id = ? and state in ('finished', 'failed')", id).fetchone()
            if row is None:
                return False
            task = task_of(row)
            if task.total and task.done == task.total:
                _count_erased(run, task)
                run(
                    """update task set round = round + 1, writer_before = writer, writer = 0, in_off = 0, out_off = 0,
                                       err_off = 0, done = 0, failed = 0 where seq = ?""",
                    task.seq,
                )
            elif task.state is State.FINISHED:
                return False
            run(
                """update task set state = 'waiting', stalls = 0, worked_s = 0, error = '', output_sha256 = '',
                                   finished = null where seq = ?""",
                task.seq,
            )
            self._notify(run)
        return True

    def fail_waiting(self, seq: int, *, now: float, error: str) -> bool:
        """WAITING to FAILED: a task that is not to be worked on any more; False if it was not waiting."""
        changed = self._write(
            "update task set state = 'failed', error = ?, finished = ? where seq = ? and state = 'waiting'",
            error,
            now,
            seq,
        )
        return changed == 1

    # ── working (the driver) ────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def claim(self, wanted: Claim) -> list[Task]:
        """WAITING to RUNNING, by priority, then age; the claimed tasks, each with a new fence."""

    def release(self, task: Task) -> bool:
        """RUNNING to WAITING: a graceful stop of the driver; False if the claim is over."""
        return self._change(task, "state = 'waiting', driver = ''")

    @abstractmethod
    def recover(self, driver: str, holding: Collection[int] = ()) -> int:
        """RUNNING to WAITING, where no driver works on a task; returns how many.

        Args:
            driver: who asks: `PLACE:NUMBER`, where one driver works in a place at a time.
            holding: seqs of the tasks that it works on; others that are in its name are recovered.
        """

    @abstractmethod
    def stopping(self, driver: str) -> list[Task]:
        """The STOPPING tasks that this driver has to erase: its own, and those that no driver works on."""

    def adopt(self, owner: str) -> int:
        """Give all tasks to this owner; returns how many had another."""
        return self._write("update task set owner = ? where owner <> ?", owner, owner)

    def strangers(self, owner: str) -> int:
        """How many waiting tasks belong to another owner; 0 for an empty `owner`."""
        if not owner:
            return 0
        rows = self._read("select count(*) from task where state = 'waiting' and owner not in ('', ?)", owner)
        return int(rows[0][0])

    def stall(self, task: Task) -> bool:
        """Record that work beyond the watermark begins: after a crash it counts as an attempt without progress."""
        return self._change(task, "stalls = stalls + 1")

    def unstall(self, task: Task) -> bool:
        """Undo one `stall`: the work was stopped gracefully."""
        return self._change(task, "stalls = case when stalls > 0 then stalls - 1 else 0 end")

    def fetched(self, task: Task, found: Fetched) -> bool:
        """Record that the file of a claimed task is fetched; False if the claim is over."""
        return self._change(
            task,
            "input_bytes = ?, input_end = ?, total = ?, charset = ?, input_format = ?",
            *msgspec.structs.astuple(found),
        )

    def advance(self, task: Task, mark: Watermark, progress: Progress) -> bool:
        """Advance the watermark of a claimed task; False if the claim is over."""
        return self._change(
            task,
            """in_off = ?, out_off = ?, err_off = ?, done = ?, failed = ?, writer = ?, stalls = 0,
               retries = ?, kills = ?, rate = ?, worked_s = ?, error = ?""",
            *msgspec.structs.astuple(mark),
            *msgspec.structs.astuple(progress),
        )

    def _change(self, task: Task, changes: str, *values: Any) -> bool:
        """Change a task that is running under this claim; False if another has taken over, or it was stopped."""
        held = "where seq = ? and fence = ? and state = 'running'"
        return self._write(f"update task set {changes} {held}", *values, task.seq, task.fence) == 1

    def end(
        self,
        task: Task,
        state: State,
        *,
        now: float,
        error: str,
        sha256: str,
        webhook: bytes | None = None,
        receiver: str = "",
    ) -> bool:
        """RUNNING to FINISHED or FAILED; False if the claim is over.

        Args:
            sha256: of the output, for a finished task.
            webhook: the body for the task's webhook, added to the outbox in the same transaction.
            receiver: see `Delivery`.
        """
        with self._transaction() as run:
            changed = run(
                """update task set state = ?, error = ?, output_sha256 = ?, finished = ?, stalls = 0, driver = ''
                   where seq = ? and fence = ? and state = 'running'""",
                state.value,
                error,
                sha256,
                now,
                task.seq,
                task.fence,
            ).rowcount
            if changed and webhook is not None:
                queue(run, Post(task.webhook, webhook, receiver), now=now)
            if changed:
                _count(run, **{f"tasks_{state.value}": 1})
        return bool(changed)

    def erase(self, seq: int, *, why: str, now: float, webhook: bytes | None = None, receiver: str = "") -> bool:
        """Delete a STOPPING task; False if it was not being stopped.

        Args:
            webhook, receiver: as for `end`.
        """
        with self._transaction() as run:
            row = run(f"select {COLUMNS} from task where seq = ? and state = 'stopping'", seq).fetchone()
            if row is None:
                return False
            task = task_of(row)
            _count_erased(run, task)
            run("delete from task where seq = ?", seq)
            if webhook is not None:
                queue(run, Post(task.webhook, webhook, receiver), now=now)
            run(
                """insert into gone values(?, ?, ?)
                   on conflict(id) do update set why = excluded.why, at = excluded.at""",
                task.id,
                why,
                now,
            )
            run(
                "delete from gone where at < (select at from gone order by at desc limit 1 offset ?)",
                _GONE_LIMIT,
            )
        return True

    def count(self, **more: int) -> None:
        """Add to counters."""
        with self._transaction() as run:
            _count(run, **more)

    # ── the outbox ──────────────────────────────────────────────────────────────────────────────────────────────

    def due(self, *, now: float, limit: int, busy: Sequence[str] = ()) -> list[Delivery]:
        """Webhook deliveries that are due: for each receiver that is not `busy` the one due longest, in that order."""
        rows = self._read(DUE.format(busy=f"and receiver not in ({', '.join('?' * len(busy))})"), now, *busy, limit)
        return [Delivery(*row) for row in rows]

    def outbox(self) -> int:
        """How many webhooks are waiting for delivery."""
        return int(self._read("select count(*) from outbox")[0][0])

    def delivered(self, number: int) -> None:
        """Remove a delivered webhook."""
        self._forget_delivery(number, "webhooks_delivered")

    def give_up(self, number: int) -> None:
        """Remove a webhook that will not be delivered."""
        self._forget_delivery(number, "webhooks_given_up")

    def _forget_delivery(self, number: int, counted_as: str) -> None:
        with self._transaction() as run:
            if run("delete from outbox where number = ?", number).rowcount:
                _count(run, **{counted_as: 1})

    def postpone(self, number: int, *, next_at: float, error: str) -> None:
        """Schedule the next attempt of a webhook."""
        self._write(
            "update outbox set attempts = attempts + 1, next_at = ?, error = ? where number = ?", next_at, error, number
        )

    # ── the heartbeat ──────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def write_heartbeat(self, driver: str, *, now: float, report: str) -> None:
        """Write a driver's heartbeat. Atomic, but not synced: losing one is harmless.

        Args:
            now: Unix seconds; a shared store goes by its database's clock instead.
        """

    @abstractmethod
    def heartbeats(self, *, now: float) -> list[StoredHeartbeat]:
        """The last heartbeat of each driver, the newest first."""

    def watch(self, woken: Callable[[], None]) -> None:
        """Call `woken`, from another thread, when tasks have changed on other machines; until the store is closed."""

    # ── what a database provides ────────────────────────────────────────────────────────────────────────────────

    _has_prefix: ClassVar[str]
    """The condition that an id begins with a text."""

    def _index(self, name: str) -> str:
        """How a query is held to an index, or to none if the name is empty."""
        return ""

    def _queue_up(self, run: Run) -> None:
        """Wait for other transactions that accept tasks."""

    def _notify(self, run: Run) -> None:
        """Wake the drivers on other machines when this transaction is committed."""

    @abstractmethod
    def _scan(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a query of many tasks, for which quick queries do not wait."""

    def _one(self, where: str, value: object) -> Task | None:
        rows = self._read(f"select {COLUMNS} from task where {where}", value)
        return task_of(rows[0]) if rows else None


def _insertion(columns: Collection[str]) -> str:
    """The statement that inserts a task with values for these columns."""
    return f"insert into task({', '.join(columns)}) values({', '.join('?' * len(columns))})"


def _alive_of(run: Run, caller: str) -> int:
    found = run("select count(*) from task where caller = ? and state in ('waiting', 'running')", caller)
    return int(found.fetchone()[0])


def _until(tasks: list[Task], bytes: int) -> list[Task]:
    """The first of these tasks that together have this many bytes, or all."""
    for place, task in enumerate(tasks):
        if bytes <= 0:
            return tasks[:place]
        bytes -= task.input_bytes + task.out_off + task.err_off
    return tasks


def _count(run: Run, **more: int) -> None:
    for name, value in more.items():
        run(
            "insert into counter values(?, ?) on conflict(name) do update set value = counter.value + excluded.value",
            name,
            value,
        )


def _count_erased(run: Run, task: Task) -> None:
    _count(run, lines_erased=task.done, failed_erased=task.failed)
