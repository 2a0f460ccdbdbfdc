"""The database of the task store: SQLite connections, schema and migrations, and the translation of SQLite's errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from infergraph.errors import SettingsError, StorageFull, TaskFault

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
