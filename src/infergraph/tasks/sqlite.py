"""The task store in a SQLite file, for the processes of one machine.

Durable by WAL and synchronous=FULL. One driver at a time works on the tasks: it holds the lock of the data folder, so
that what an earlier one left running is free.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from infergraph.errors import SettingsError, StorageFull, TaskFault
from infergraph.tasks.record_store import Run
from infergraph.tasks.store import Claim, Store, StoredHeartbeat
from infergraph.tasks.task import COLUMNS, Task, tasks_of

_BUSY_S = 15.0

MIGRATIONS: tuple[str, ...] = (
    """
    create table task(
      seq integer primary key autoincrement,
      id text not null unique,
      folder text not null unique,
      state text not null check(state in ('waiting','running','finished','failed','stopping')),
      priority integer not null default 0,
      rows text not null,
      input_bytes integer not null,
      input_end integer not null,
      input_sha256 text not null,
      total integer not null,
      in_off integer not null default 0,
      out_off integer not null default 0,
      err_off integer not null default 0,
      done integer not null default 0,
      failed integer not null default 0,
      round integer not null default 0,
      attempts integer not null default 0,
      stalls integer not null default 0,
      retries integer not null default 0,
      kills integer not null default 0,
      rate real not null default 0,
      worked_s real not null default 0,
      error text not null default '',
      output_sha256 text not null default '',
      webhook text not null default '',
      idempotency_key text unique,
      created real not null,
      started real,
      finished real
    );
    create index task_queue on task(state, priority desc, seq);
    create index task_listing on task(state, seq);
    create table gone(id text primary key, why text not null, at real not null);
    create index gone_at on gone(at);
    create table outbox(
      number integer primary key autoincrement,
      url text not null,
      body blob not null,
      attempts integer not null default 0,
      next_at real not null,
      error text not null default ''
    );
    create index outbox_next on outbox(next_at);
    create table driver(one integer primary key check(one = 1), beat real not null, note text not null);
    create table counter(name text primary key, value integer not null);
    """,
    "create index task_finished on task(finished, seq)",
    """
    alter table task add column charset text not null default '';
    alter table task add column owner text not null default '';
    alter table outbox add column receiver text not null default '';
    update outbox set receiver = url;
    drop index outbox_next;
    create index outbox_due on outbox(receiver, next_at)
    """,
    """
    alter table task add column caller text not null default '';
    create index task_caller on task(caller, state, seq)
    """,
    """
    alter table task add column driver text not null default '';
    alter table task add column fence integer not null default 0;
    alter table task add column writer integer not null default 0;
    alter table task add column writer_before integer not null default 0
    """,
    """
    create table record(
      seq integer primary key autoincrement,
      id text not null unique,
      kind text not null,
      caller text not null,
      stage text not null,
      created real not null,
      expires real,
      version integer not null,
      document text not null
    );
    create index record_listing on record(kind, seq);
    create index record_stage on record(seq) where stage <> '';
    create index record_expiry on record(expires)
    """,
    """
    alter table task add column input_format text not null default '';
    alter table task add column output_format text not null default ''
    """,
    "alter table task add column webhook_events text not null default ''",
    """
    alter table task add column input_uri text not null default '';
    alter table task add column input_version text not null default '';
    alter table task add column output_uri text not null default ''
    """,
    "alter table task add column traceparent text not null default ''",
)
"""Entry n migrates a store from version n to version n + 1."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Migrate the store to the newest version.

    Raises: SettingsError if it was written by a newer program.
    Promises: atomic, also among processes that open it at the same time.
    """
    connection.execute("begin immediate")
    try:
        version: int = connection.execute("pragma user_version").fetchone()[0]
        if version > len(migrations):
            raise SettingsError(
                f"the data folder was written by a newer infergraph (tasks version {version}; "
                f"this one knows {len(migrations)})"
            )
        for script in migrations[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        if version != len(migrations):
            connection.execute(f"pragma user_version = {len(migrations)}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A connection for any thread, in WAL mode, `synchronous` as SQLite calls it."""
    connection = sqlite3.connect(os.fspath(path), isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
    connection.execute("pragma journal_mode = wal")
    connection.execute(f"pragma synchronous = {synchronous}")
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """Translate SQLite's errors to faults."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
            raise StorageFull(f"no room on the disk for the task store: {error}") from error
        raise TaskFault(f"the task store cannot be used: {error}", reason="TASK_STORE") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise TaskFault(f"the task store cannot be read: {error}", reason="TASK_STORE") from error


class SqliteStore(Store):
    """The task store in one SQLite file."""

    is_shared = False
    _has_prefix = "instr(id, ?) = 1"

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
    def open(cls, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> SqliteStore:
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
        """See `Store.close`."""
        self._reader.close()
        self._scanner.close()
        self._writer.close()
        if self._heartbeat is not None:
            self._heartbeat.close()

    # ── what is SQLite's own way ────────────────────────────────────────────────────────────────────────────────

    def claim(self, wanted: Claim) -> list[Task]:
        """See `Store.claim`."""
        where, values = ["state = 'waiting'"], []
        if wanted.owner:
            where.append("owner in ('', ?)")
            values.append(wanted.owner)
        if wanted.largest_bytes is not None:
            where.append(f"input_bytes <= {int(wanted.largest_bytes)}")
        query = f"select seq from task where {' and '.join(where)} order by priority desc, seq limit ?"
        if not self._read(query, *values, 1):
            return []  # an idle driver asks twice a second, and disturbs nobody who writes
        with self._transaction() as run:
            seqs = [row[0] for row in run(query, *values, wanted.limit).fetchall()]
            claimed = []
            for seq in seqs:
                run(
                    """update task set state = 'running', driver = ?, fence = fence + 1, attempts = attempts + 1,
                                       started = coalesce(started, ?) where seq = ?""",
                    wanted.driver,
                    wanted.now,
                    seq,
                )
                claimed.append(run(f"select {COLUMNS} from task where seq = ?", seq).fetchone())
        return tasks_of(claimed)

    def recover(self, driver: str, holding: Collection[int] = ()) -> int:
        """See `Store.recover`; `driver` holds the lock of the data folder."""
        held = ", ".join(str(int(seq)) for seq in holding)
        return self._write(
            f"update task set state = 'waiting', driver = '' where state = 'running' and seq not in ({held})"
        )

    def stopping(self, driver: str) -> list[Task]:
        """See `Store.stopping`."""
        return tasks_of(self._read(f"select {COLUMNS} from task where state = 'stopping' order by seq"))

    def write_heartbeat(self, driver: str, *, now: float, report: str) -> None:
        """See `Store.write_heartbeat`; there is one driver."""
        with self._heartbeat_lock, translated():
            self._check_there()
            if self._heartbeat is None:
                self._heartbeat = connect(self._path, "normal")
            self._heartbeat.execute("insert or replace into driver values(1, ?, ?)", (now, report))

    def heartbeats(self, *, now: float) -> list[StoredHeartbeat]:
        """See `Store.heartbeats`."""
        return [StoredHeartbeat(now - beat, report) for beat, report in self._read("select beat, note from driver")]

    # ── underneath ──────────────────────────────────────────────────────────────────────────────────────────────

    def _index(self, name: str) -> str:
        return f"indexed by {name}" if name else "not indexed"

    def _check_there(self) -> None:
        """Raise if the database file was removed: writes to it would succeed, but be lost."""
        if identity(self._path) != self._file:
            raise TaskFault(f"the task store {self._path} was taken away while it was in use", reason="TASK_STORE_GONE")

    def _read(self, sql: str, *values: Any) -> list[Any]:
        with self._read_lock, translated():
            self._check_there()
            return self._reader.execute(sql, values).fetchall()

    def _scan(self, sql: str, *values: Any) -> list[Any]:
        """See `Store._scan`; it has its own connection."""
        with self._scan_lock, translated():
            self._check_there()
            return self._scanner.execute(sql, values).fetchall()

    def _write(self, sql: str, *values: Any) -> int:
        with self._write_lock, translated():
            self._check_there()
            return self._writer.execute(sql, values).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[Run]:
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
