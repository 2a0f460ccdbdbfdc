"""The task store: the only module with SQL for tasks, and the single source of truth about them.

State changes are compare-and-set: the loser of a race gets False or None and does nothing. Every change is on disk
before the call returns (WAL, synchronous=FULL), except for the driver's heartbeat, which is not synced.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from infergraph.errors import Overloaded, QuotaExceeded, TaskConflict, TaskFault
from infergraph.tasks.database import MIGRATIONS, connect, identity, migrate, translated
from infergraph.tasks.task import ALIVE, ENDED, NewTask, Progress, State, Task, Watermark

_COLUMNS = ", ".join(Task.__struct_fields__)
_BYTES = "input_bytes + out_off + err_off"
_STATE_AT = Task.__struct_fields__.index("state")
_GONE_LIMIT = 10_000


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
    """The driver's last heartbeat: when (Unix seconds), and what it reported (JSON)."""

    at: float
    report: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A query for tasks: newest first, older than `before` (a seq), at most `limit`; None for those of all callers."""

    states: tuple[State, ...] = ()
    prefix: str = ""
    before: int | None = None
    limit: int = 100
    caller: str | None = None


class Store:
    """The task store in one SQLite file; any number of processes may have it open.

    Promises: every method is atomic and, unless it says otherwise, durable when it returns. Thread-safe. Reads never
    wait for writes.
    """

    def __init__(
        self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection, scanner: sqlite3.Connection
    ) -> None:
        self._path = path
        self._file = identity(path)
        self._writer = writer
        self._reader = reader
        self._scanner = scanner
        self._heartbeat: sqlite3.Connection | None = None
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._scan_lock = threading.Lock()
        self._heartbeat_lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> Store:
        """The store in this file, which is created or migrated if necessary.

        Raises: TaskFault if the file cannot be used; SettingsError if a newer program wrote it.
        """
        with translated(), ExitStack() as opened:
            writer = opened.enter_context(closing(connect(path, "full")))
            migrate(writer, migrations)
            reader = opened.enter_context(closing(connect(path, "full")))
            scanner = opened.enter_context(closing(connect(path, "full")))
            opened.pop_all()
            return cls(path, writer, reader, scanner)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._reader.close()
        self._scanner.close()
        self._writer.close()
        if self._heartbeat is not None:
            self._heartbeat.close()

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
        """Whether a task owns this folder."""
        return bool(self._read("select 1 from task where folder = ?", folder))

    def listing(self, wanted: Listing) -> list[Task]:
        """Tasks, newest first. Fast at any number of tasks: pages are found by seq, never by counting."""
        states = wanted.states or tuple(State)
        where, values = [f"state in ({', '.join('?' * len(states))})"], [state.value for state in states]
        rest: list[Any] = []
        if wanted.before is not None:
            where.append("seq < ?")
            rest.append(wanted.before)
        if wanted.prefix:
            where.append("substr(id, 1, ?) = ?")
            rest += [len(wanted.prefix), wanted.prefix]
        if wanted.caller is not None:
            where.append("caller = ?")
            rest.append(wanted.caller)
        index = "not indexed" if len(states) > 1 else "indexed by task_listing"
        rows = self._read(
            f"select {_COLUMNS} from task {index} where {' and '.join(where)} order by seq desc limit ?",
            *values,
            *rest,
            wanted.limit,
        )
        return [_task(row) for row in rows]

    def counts(self, caller: str | None = None) -> dict[State, int]:
        """How many tasks are in each state; of one caller, or of all."""
        if caller is None:
            found = dict(self._scan("select state, count(*) from task group by state"))
        else:
            found = dict(self._scan("select state, count(*) from task where caller = ? group by state", caller))
        return {state: found.get(state.value, 0) for state in State}

    def alive(self) -> int:
        """How many tasks are waiting or running."""
        return int(self._read("select count(*) from task where state in ('waiting', 'running')")[0][0])

    def position(self, task: Task) -> int:
        """How many waiting tasks are ahead of this waiting one."""
        rows = self._read(
            "select count(*) from task where state = 'waiting' and (priority > ? or (priority = ? and seq < ?))",
            task.priority,
            task.priority,
            task.seq,
        )
        return int(rows[0][0])

    def waiting(self, limit: int, *, owner: str = "", largest_bytes: int | None = None) -> list[Task]:
        """The next tasks to claim, in order; only those of this owner, and of at most `largest_bytes`, if given."""
        bound = "" if largest_bytes is None else f"and input_bytes <= {int(largest_bytes)}"
        rows = self._read(
            f"""select {_COLUMNS} from task where state = 'waiting' and (? = '' or owner in ('', ?1)) {bound}
                order by priority desc, seq limit ?""",
            owner,
            limit,
        )
        return [_task(row) for row in rows]

    def in_state(self, state: State) -> list[Task]:
        """All tasks in this state, in order of acceptance."""
        rows = self._read(f"select {_COLUMNS} from task where state = ? order by seq", state.value)
        return [_task(row) for row in rows]

    def deletion(self, id: str) -> tuple[str, float] | None:
        """Why and when (Unix seconds) a task of this id was deleted, if that is still known."""
        rows = self._read("select why, at from gone where id = ?", id)
        return (str(rows[0][0]), float(rows[0][1])) if rows else None

    def ended_before(self, then: float, *, caller: str | None = None, limit: int) -> list[Task]:
        """Tasks that ended before this time (Unix seconds), oldest end first; of one caller, or of all."""
        rows = self._scan(
            f"""select {_COLUMNS} from task indexed by task_finished where state in ('finished', 'failed')
                and finished < ?1 and (?2 is null or caller = ?2) order by finished, seq limit ?3""",
            then,
            caller,
            limit,
        )
        return [_task(row) for row in rows]

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
            replaced = ""
            existing = self._same(run, new)
            if existing is not None:
                if existing.state not in (State.FAILED,):
                    return Accepted(existing, False, "")
                replaced = existing.folder
                _count_erased(run, existing)
                run("delete from task where seq = ?", existing.seq)
            alive = run("select count(*) from task where state in ('waiting', 'running')").fetchone()[0]
            if alive >= queue_limit:
                raise Overloaded(f"the queue is full: {alive} tasks are waiting or running")
            if caller_limit and _alive_of(run, new.caller) >= caller_limit:
                raise QuotaExceeded(f"{new.caller} has {caller_limit} tasks waiting or running, as many as it may")
            run("delete from gone where id = ?", new.id)
            run(
                """insert into task(id, folder, state, priority, rows, input_bytes, input_end, input_sha256, total,
                                    webhook, idempotency_key, charset, owner, caller, created)
                   values(?, ?, 'waiting', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                new.id,
                new.folder,
                new.priority,
                new.rows,
                new.input_bytes,
                new.input_end,
                new.input_sha256,
                new.total,
                new.webhook,
                new.idempotency_key,
                new.charset,
                new.owner,
                new.caller,
                now,
            )
            _count(run, uploads=1, upload_bytes=new.input_bytes)
            row = run(f"select {_COLUMNS} from task where folder = ?", new.folder).fetchone()
        return Accepted(_task(row), True, replaced)

    @staticmethod
    def _same(run: Any, new: NewTask) -> Task | None:
        row = run(f"select {_COLUMNS} from task where id = ?", new.id).fetchone()
        if new.idempotency_key is not None:
            keyed = run(f"select {_COLUMNS} from task where idempotency_key = ?", new.idempotency_key).fetchone()
            if row is not None and keyed is not None and row != keyed:
                raise TaskConflict(f"the idempotency key is that of another task, {_task(keyed).id!r}")
            row = row or keyed
        if row is None:
            return None
        existing = _task(row)
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
        changed = self._write(
            f"update task set state = 'stopping' where id = ? and state in ({', '.join('?' * len(wanted))})",
            id,
            *wanted,
        )
        return changed == 1

    def retry(self, id: str) -> bool:
        """Start another round of an ended task: for its failed lines, or from its watermark on if it is incomplete.

        False if it is not ended.
        """
        with self._transaction() as run:
            row = run(f"select {_COLUMNS} from task where id = ? and state in ('finished', 'failed')", id).fetchone()
            if row is None:
                return False
            task = _task(row)
            if task.done == task.total:
                _count_erased(run, task)
                run(
                    """update task set round = round + 1, in_off = 0, out_off = 0, err_off = 0, done = 0, failed = 0
                       where seq = ?""",
                    task.seq,
                )
            elif task.state is State.FINISHED:
                return False
            run(
                """update task set state = 'waiting', stalls = 0, worked_s = 0, error = '', output_sha256 = '',
                                   finished = null where seq = ?""",
                task.seq,
            )
        return True

    # ── working (the driver) ────────────────────────────────────────────────────────────────────────────────────

    def claim(self, seq: int, *, now: float) -> Task | None:
        """WAITING to RUNNING; the updated task, or None if it was no longer waiting."""
        changed = self._write(
            """update task set state = 'running', attempts = attempts + 1, started = coalesce(started, ?)
               where seq = ? and state = 'waiting'""",
            now,
            seq,
        )
        return self.find_seq(seq) if changed else None

    def release(self, seq: int) -> bool:
        """RUNNING to WAITING: a graceful stop of the driver."""
        return self._write("update task set state = 'waiting' where seq = ? and state = 'running'", seq) == 1

    def adopt(self, owner: str) -> int:
        """Give all tasks to this owner; returns how many had another."""
        return self._write("update task set owner = ? where owner <> ?1", owner)

    def strangers(self, owner: str) -> int:
        """How many waiting tasks belong to another owner; 0 for an empty `owner`."""
        rows = self._read(
            "select count(*) from task where state = 'waiting' and owner not in ('', ?) and ?1 <> ''", owner
        )
        return int(rows[0][0])

    def recover(self) -> int:
        """All of RUNNING to WAITING, after a crash of the previous driver; returns how many."""
        return self._write("update task set state = 'waiting' where state = 'running'")

    def stall(self, seq: int) -> bool:
        """Record that work beyond the watermark begins: after a crash it counts as an attempt without progress."""
        return self._write("update task set stalls = stalls + 1 where seq = ? and state = 'running'", seq) == 1

    def unstall(self, seq: int) -> bool:
        """Undo one `stall`: the work was stopped gracefully."""
        return self._write("update task set stalls = max(0, stalls - 1) where seq = ?", seq) == 1

    def advance(self, seq: int, mark: Watermark, progress: Progress) -> bool:
        """Advance the watermark of a running task; False if it is no longer running."""
        changed = self._write(
            """update task set in_off = ?, out_off = ?, err_off = ?, done = ?, failed = ?, stalls = 0, retries = ?,
                               kills = ?, rate = ?, worked_s = ?, error = ?
               where seq = ? and state = 'running'""",
            *msgspec.structs.astuple(mark),
            *msgspec.structs.astuple(progress),
            seq,
        )
        return changed == 1

    def end(
        self,
        seq: int,
        state: State,
        *,
        now: float,
        error: str,
        sha256: str,
        webhook: bytes | None = None,
        receiver: str = "",
    ) -> bool:
        """RUNNING to FINISHED or FAILED; False if it is no longer running.

        Args:
            sha256: of the output, for a finished task.
            webhook: the body for the task's webhook, added to the outbox in the same transaction.
            receiver: see `Delivery`.
        """
        with self._transaction() as run:
            changed = run(
                """update task set state = ?, error = ?, output_sha256 = ?, finished = ?, stalls = 0
                   where seq = ? and state = 'running'""",
                state.value,
                error,
                sha256,
                now,
                seq,
            ).rowcount
            if changed and webhook is not None:
                run(
                    """insert into outbox(url, body, next_at, receiver)
                       select webhook, ?, ?, coalesce(nullif(?, ''), webhook) from task where seq = ?""",
                    webhook,
                    now,
                    receiver,
                    seq,
                )
            if changed:
                _count(run, **{f"tasks_{state.value}": 1})
        return bool(changed)

    def erase(self, seq: int, *, why: str, now: float) -> bool:
        """Delete a STOPPING task; False if it was not being stopped."""
        with self._transaction() as run:
            row = run(f"select {_COLUMNS} from task where seq = ? and state = 'stopping'", seq).fetchone()
            if row is None:
                return False
            task = _task(row)
            _count_erased(run, task)
            run("delete from task where seq = ?", seq)
            run("insert or replace into gone values(?, ?, ?)", task.id, why, now)
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
        rows = self._read(
            f"""select number, url, body, attempts, receiver, min(next_at) from outbox
                where next_at <= ? and receiver not in ({", ".join("?" * len(busy))})
                group by receiver order by 6 limit ?""",
            now,
            *busy,
            limit,
        )
        return [Delivery(*row[:-1]) for row in rows]

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

    def write_heartbeat(self, *, now: float, report: str) -> None:
        """Write a heartbeat. Atomic, but not synced: losing one is harmless."""
        with self._heartbeat_lock, translated():
            self._check_there()
            if self._heartbeat is None:
                self._heartbeat = connect(self._path, "normal")
            self._heartbeat.execute("insert or replace into driver values(1, ?, ?)", (now, report))

    def driver(self) -> StoredHeartbeat | None:
        """The driver's last heartbeat; None if there is none."""
        rows = self._read("select beat, note from driver")
        return StoredHeartbeat(*rows[0]) if rows else None

    # ── underneath ──────────────────────────────────────────────────────────────────────────────────────────────

    def _check_there(self) -> None:
        """Raise if the database file was removed: writes to it would succeed, but be lost."""
        if identity(self._path) != self._file:
            raise TaskFault(f"the task store {self._path} was taken away while it was in use", reason="TASK_STORE_GONE")

    def _one(self, where: str, value: object) -> Task | None:
        rows = self._read(f"select {_COLUMNS} from task where {where}", value)
        return _task(rows[0]) if rows else None

    def _read(self, sql: str, *values: Any) -> list[Any]:
        with self._read_lock, translated():
            self._check_there()
            return self._reader.execute(sql, values).fetchall()

    def _scan(self, sql: str, *values: Any) -> list[Any]:
        """A read of many tasks, on its own connection, so that quick reads do not wait for it."""
        with self._scan_lock, translated():
            self._check_there()
            return self._scanner.execute(sql, values).fetchall()

    def _write(self, sql: str, *values: Any) -> int:
        with self._write_lock, translated():
            self._check_there()
            return self._writer.execute(sql, values).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._write_lock, translated():
            self._check_there()
            self._writer.execute("begin immediate")
            try:
                yield lambda sql, *values: self._writer.execute(sql, values)
                self._writer.execute("commit")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("rollback")
                raise


def _alive_of(run: Any, caller: str) -> int:
    found = run("select count(*) from task where caller = ? and state in ('waiting', 'running')", caller)
    return int(found.fetchone()[0])


def _task(row: tuple[Any, ...]) -> Task:
    values = dict(zip(Task.__struct_fields__, row, strict=True))
    values["state"] = State(row[_STATE_AT])
    return Task(**values)


def _until(tasks: list[Task], bytes: int) -> list[Task]:
    """The first of these tasks that together have this many bytes, or all."""
    for place, task in enumerate(tasks):
        if bytes <= 0:
            return tasks[:place]
        bytes -= task.input_bytes + task.out_off + task.err_off
    return tasks


def _count(run: Any, **more: int) -> None:
    for name, value in more.items():
        run("insert into counter values(?, ?) on conflict(name) do update set value = value + ?2", name, value)


def _count_erased(run: Any, task: Task) -> None:
    _count(run, lines_erased=task.done, failed_erased=task.failed)


__all__ = ["ALIVE", "ENDED", "Accepted", "Delivery", "Listing", "Store", "StoredHeartbeat"]
