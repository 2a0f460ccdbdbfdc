"""The task store in a PostgreSQL database, for the processes of many machines.

    claim ─▶ fence + 1 ─▶ work under a lease ─▶ watermark, if the fence still holds
                             └─ heartbeats; the database's clock decides when it is over

A driver that sends no heartbeat for the lease is succeeded by another one; what it writes later is refused by the
fence. `listen` and `notify` wake the drivers; whoever misses a notification looks by itself soon after.
"""

from __future__ import annotations

import functools
import queue
import select
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumperUnknown, TextLoader

from infergraph.errors import SettingsError, StorageFull, StoreAway, TaskFault
from infergraph.tasks.record_store import Run
from infergraph.tasks.store import DUE, Claim, Delivery, Store, StoredHeartbeat
from infergraph.tasks.task import COLUMNS, Task, tasks_of

MIGRATIONS: tuple[str, ...] = (
    """
    create table task(
      seq bigint generated always as identity primary key,
      id text not null unique,
      folder text not null unique,
      state text not null check(state in ('waiting','running','finished','failed','stopping')),
      priority bigint not null default 0,
      rows text not null,
      input_bytes bigint not null,
      input_end bigint not null,
      input_sha256 text not null,
      total bigint not null,
      in_off bigint not null default 0,
      out_off bigint not null default 0,
      err_off bigint not null default 0,
      done bigint not null default 0,
      failed bigint not null default 0,
      round bigint not null default 0,
      attempts bigint not null default 0,
      stalls bigint not null default 0,
      retries bigint not null default 0,
      kills bigint not null default 0,
      rate double precision not null default 0,
      worked_s double precision not null default 0,
      error text not null default '',
      output_sha256 text not null default '',
      webhook text not null default '',
      idempotency_key text unique,
      created double precision not null,
      started double precision,
      finished double precision,
      charset text not null default '',
      owner text not null default '',
      caller text not null default '',
      driver text not null default '',
      fence bigint not null default 0,
      writer bigint not null default 0,
      writer_before bigint not null default 0,
      input_format text not null default '',
      output_format text not null default ''
    ) with (fillfactor = 70);
    create index task_queue on task(priority desc, seq) where state = 'waiting';
    create index task_listing on task(state, seq);
    create index task_finished on task(finished, seq);
    create index task_caller on task(caller, state, seq);
    create table gone(id text primary key, why text not null, at double precision not null);
    create index gone_at on gone(at);
    create table outbox(
      number bigint generated always as identity primary key,
      url text not null,
      body bytea not null,
      attempts bigint not null default 0,
      next_at double precision not null,
      error text not null default '',
      receiver text not null,
      busy_until double precision not null default 0
    );
    create index outbox_due on outbox(receiver, next_at);
    create table driver(name text primary key, beat double precision not null, note text not null);
    create table counter(name text primary key, value bigint not null);
    create table fact(name text primary key, value text not null);
    create table record(
      seq bigint generated always as identity primary key,
      id text not null unique,
      kind text not null,
      caller text not null,
      stage text not null,
      created double precision not null,
      expires double precision,
      version bigint not null,
      document text not null
    );
    create index record_listing on record(kind, seq);
    create index record_stage on record(seq) where stage <> '';
    create index record_expiry on record(expires)
    """,
    "alter table task add column webhook_events text not null default ''",
    """
    alter table task
      add column input_uri text not null default '',
      add column input_version text not null default '',
      add column output_uri text not null default ''
    """,
    "alter table task add column traceparent text not null default ''",
)
"""Entry n migrates a store from version n to version n + 1."""

CONNECTIONS = 6
"""Connections of one process; more calls at the same time wait."""
_CONNECT_S = 5
_ANSWER_S = 10.0
_LENT_S = 10.0
_DELIVERY_S = 30.0
"""How long a delivery is left to the sender that took it."""
_FORGET_S = 3600.0
_CHANNEL = "infergraph_tasks"
_LISTEN_S = 1.0
_NOW = "extract(epoch from clock_timestamp())::float8"
_MIGRATING, _ACCEPTING, _DELIVERING = 5_817_001, 5_817_002, 5_817_003
"""Keys of advisory locks."""
_SESSION = "set idle_in_transaction_session_timeout = '5s'; set lock_timeout = '8s'; set client_min_messages = 'error'"


class PostgresStore(Store):
    """The task store in one PostgreSQL database.

    Args:
        lease_s: how long a driver keeps its tasks without a heartbeat.
    """

    is_shared = True
    _started_at = "extract(epoch from pg_postmaster_start_time())"
    _has_prefix = "starts_with(id, ?)"

    def __init__(self, url: str, *, lease_s: float) -> None:
        self._url = url
        self._lease_s = lease_s
        self._idle: queue.LifoQueue[psycopg.Connection[Any] | None] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._idle.put(None)
        self._trouble = ""
        self._probing = threading.Lock()
        self._is_closed = threading.Event()
        self._listener: threading.Thread | None = None

    @classmethod
    def open(cls, url: str, *, lease_s: float = 15.0) -> PostgresStore:
        """The store at this URL. It connects when it is first used, so that it may be opened while that is away.

        Raises: SettingsError if the URL is not valid; without its text, which has a password in it.
        """
        with suppress(psycopg.Error):
            conninfo_to_dict(url)
            return cls(url, lease_s=lease_s)
        raise SettingsError("task_store is not a valid URL: postgresql://user:password@host:port/database") from None

    def close(self) -> None:
        """See `Store.close`."""
        self._is_closed.set()
        if self._listener is not None:
            self._listener.join()
        with suppress(queue.Empty):
            while True:
                connection = self._idle.get_nowait()
                if connection is not None:
                    connection.close()

    def prepare(self, migrations: Sequence[str] = MIGRATIONS) -> None:
        """Create the tables, or migrate them to the newest version.

        Raises: SettingsError if a newer program wrote them; StoreAway.
        Promises: atomic, also among processes that start at the same time.
        """
        with self._transaction() as run:
            run("select pg_advisory_xact_lock(?)", _MIGRATING)
            run("create table if not exists version(number bigint not null)")
            found = run("select number from version").fetchone()
            version = found[0] if found else 0
            if version > len(migrations):
                raise SettingsError(
                    f"the task store was written by a newer infergraph (version {version}; this one knows "
                    f"{len(migrations)})"
                )
            for script in migrations[version:]:
                for statement in script.split(";"):
                    run(statement)
            if not found:
                run("insert into version values(0)")
            run("update version set number = ?", len(migrations))

    def agree(self, name: str, value: str, *, is_free: Callable[[Run], bool] = lambda _: False) -> str:
        """Record a fact that all servers of the store have to agree on; returns the recorded value.

        Args:
            is_free: whether another value may take the place of the recorded one.
        """
        with self._transaction() as run:
            run("select pg_advisory_xact_lock(?)", _MIGRATING)
            found = run("select value from fact where name = ?", name).fetchone()
            if found is not None and found[0] != value and not is_free(run):
                return str(found[0])
            run("insert into fact values(?, ?) on conflict(name) do update set value = excluded.value", name, value)
            return value

    # ── what is PostgreSQL's own way ────────────────────────────────────────────────────────────────────────────

    def claim(self, wanted: Claim) -> list[Task]:
        """See `Store.claim`."""
        where: list[str] = []
        values: list[Any] = []
        if wanted.owner:
            where.append("and owner in ('', ?)")
            values.append(wanted.owner)
        if wanted.largest_bytes is not None:
            where.append("and input_bytes <= ?")
            values.append(wanted.largest_bytes)
        rows = self._read(
            f"""with next as (
                  select seq from task where state = 'waiting' {" ".join(where)}
                  order by priority desc, seq limit ? for update skip locked
                )
                update task set state = 'running', driver = ?, fence = fence + 1, attempts = attempts + 1,
                                started = coalesce(started, ?)
                from next where task.seq = next.seq returning {COLUMNS}""",
            *values,
            wanted.limit,
            wanted.driver,
            wanted.now,
        )
        return sorted(tasks_of(rows), key=lambda task: (-task.priority, task.seq))

    def recover(self, driver: str, holding: Collection[int] = ()) -> int:
        """See `Store.recover`: the tasks of drivers whose lease is over, and those of this driver's place."""
        return self._write(
            f"""update task set state = 'waiting', driver = '' where seq in (
                  select seq from task where state = 'running'
                  and ((starts_with(driver, ?) and seq <> all(?::bigint[])) or {self._is_over})
                  for update skip locked
                )""",
            driver.rpartition(":")[0] + ":",
            list(holding),
        )

    @property
    def _is_over(self) -> str:
        """The condition that a task's driver has let its lease pass; a restart of the database gives all some time."""
        then = f"{_NOW} - {float(self._lease_s)}"
        return f"""(driver not in (select name from driver where beat > {then})
                    and {self._started_at} < {then})"""

    def stopping(self, driver: str) -> list[Task]:
        """See `Store.stopping`."""
        rows = self._read(
            f"""select {COLUMNS} from task where state = 'stopping' and (driver in ('', ?) or {self._is_over})
                order by seq""",
            driver,
        )
        return tasks_of(rows)

    def due(self, *, now: float, limit: int, busy: Sequence[str] = ()) -> list[Delivery]:
        """See `Store.due`; of all senders, one gets a delivery, and its receiver is then busy for the others."""
        if not self._read("select 1 from outbox where next_at <= ? limit 1", now):
            return []
        others = f"and receiver not in (select receiver from outbox where busy_until > {_NOW})"
        with self._transaction() as run:
            run("select pg_advisory_xact_lock(?)", _DELIVERING)
            query = DUE.format(busy=f"and receiver <> all(?::text[]) {others}")
            found = [Delivery(*row) for row in run(query, now, list(busy), limit).fetchall()]
            run(
                f"update outbox set busy_until = {_NOW} + ? where number = any(?::bigint[])",
                _DELIVERY_S,
                [delivery.number for delivery in found],
            )
        return found

    def postpone(self, number: int, *, next_at: float, error: str) -> None:
        """See `Store.postpone`."""
        self._write(
            "update outbox set attempts = attempts + 1, next_at = ?, error = ?, busy_until = 0 where number = ?",
            next_at,
            error,
            number,
        )

    def write_heartbeat(self, driver: str, *, now: float, report: str) -> None:
        """See `Store.write_heartbeat`."""
        with self._transaction() as run:
            run("set local synchronous_commit = off")
            run(
                f"""insert into driver values(?, {_NOW}, ?)
                    on conflict(name) do update set beat = excluded.beat, note = excluded.note""",
                driver,
                report,
            )
            run(f"delete from driver where beat < {_NOW} - ?", max(_FORGET_S, 2 * self._lease_s))

    def heartbeats(self, *, now: float) -> list[StoredHeartbeat]:
        """See `Store.heartbeats`."""
        rows = self._read(f"select {_NOW} - beat, note from driver order by beat desc")
        return [StoredHeartbeat(*row) for row in rows]

    def watch(self, woken: Callable[[], None]) -> None:
        """See `Store.watch`."""
        self._listener = threading.Thread(target=self._listen, args=(woken,), name="task-listen", daemon=True)
        self._listener.start()

    def _listen(self, woken: Callable[[], None]) -> None:
        while not self._is_closed.is_set():
            with suppress(psycopg.Error), psycopg.connect(self._url, **_OPTIONS) as connection:
                connection.execute(f"listen {_CHANNEL}")
                woken()  # something may have happened before
                while not self._is_closed.is_set():
                    for _ in connection.notifies(timeout=_LISTEN_S, stop_after=1):
                        woken()
            self._is_closed.wait(_LISTEN_S)

    # ── underneath ──────────────────────────────────────────────────────────────────────────────────────────────

    def _queue_up(self, run: Run) -> None:
        run("select pg_advisory_xact_lock(?)", _ACCEPTING)

    def _notify(self, run: Run) -> None:
        run(f"notify {_CHANNEL}")

    def _read(self, sql: str, *values: Any) -> list[Any]:
        with self._lent() as connection:
            return connection.execute(_spelt(sql), values).fetchall()

    def _scan(self, sql: str, *values: Any) -> list[Any]:
        return self._read(sql, *values)

    def _write(self, sql: str, *values: Any) -> int:
        with self._lent() as connection:
            return connection.execute(_spelt(sql), values).rowcount

    @contextmanager
    def _transaction(self) -> Iterator[Run]:
        with self._lent() as connection, connection.transaction():
            yield lambda sql, *values: connection.execute(_spelt(sql), values)

    @contextmanager
    def _lent(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection. Raises: StoreAway, without delay while it is known that there is none."""
        with self._one_at_a_time_in_trouble(), self._translated():
            connection = self._take()
            try:
                if connection is None or _is_broken(connection):
                    connection = _connect(self._url)
                yield connection
                self._trouble = ""
            finally:
                is_usable = connection is not None and not connection.closed and not _is_busy(connection)
                if connection is not None and not is_usable:
                    connection.close()
                self._idle.put(connection if is_usable else None)

    @contextmanager
    def _one_at_a_time_in_trouble(self) -> Iterator[None]:
        """While the database is away, one call tries to reach it, and the others fail at once."""
        if not self._trouble:
            yield
            return
        if not self._probing.acquire(blocking=False):
            raise StoreAway(self._trouble)
        try:
            yield
        finally:
            self._probing.release()

    def _take(self) -> psycopg.Connection[Any] | None:
        try:
            return self._idle.get(timeout=_LENT_S)
        except queue.Empty:
            raise StoreAway(f"the task store is busy: no connection was free within {_LENT_S:g} s") from None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate psycopg's errors to faults. Their texts name host and user, never the password."""
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise StorageFull(f"no room on the disk of the task store: {error}") from error
        except (psycopg.OperationalError, psycopg.InterfaceError, *_AWAY) as error:
            self._trouble = f"the task store cannot be reached: {' '.join(str(error).split())}"
            raise StoreAway(self._trouble) from error
        except psycopg.Error as error:
            raise TaskFault(f"the task store cannot be used: {error}", reason="TASK_STORE") from error


_AWAY = (psycopg.errors.IdleInTransactionSessionTimeout, psycopg.errors.ReadOnlySqlTransaction)
_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": _CONNECT_S,
    "application_name": "infergraph",
    "client_encoding": "utf8",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class _Connection(psycopg.Connection[Any]):
    """A connection on which no call waits for ever for a server that keeps it open and says nothing."""

    def wait(self, gen: Any, *arguments: Any, **named: Any) -> Any:
        return super().wait(_bounded(gen), *arguments, **named)


def _bounded(gen: Any) -> Generator[Any, Any, Any]:
    """The same generator of a call, ended by an error after the time limit."""
    deadline = time.monotonic() + _ANSWER_S
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise psycopg.OperationalError(f"no answer within {_ANSWER_S:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


_ESCAPE = "\x1a"


class _TextDumper(StrDumperUnknown):
    """Text may hold NUL, which PostgreSQL's cannot: it is escaped."""

    def dump(self, obj: str) -> Any:
        if "\0" in obj or _ESCAPE in obj:
            obj = obj.replace(_ESCAPE, f"{_ESCAPE}{_ESCAPE}").replace("\0", f"{_ESCAPE}0")
        return super().dump(obj)


class _TextLoader(TextLoader):
    """The text that `_TextDumper` wrote."""

    def load(self, data: Any) -> Any:
        text = str(super().load(data))
        if _ESCAPE not in text:
            return text
        parts = text.split(f"{_ESCAPE}{_ESCAPE}")
        return _ESCAPE.join(part.replace(f"{_ESCAPE}0", "\0") for part in parts)


def _connect(url: str) -> psycopg.Connection[Any]:
    connection = _Connection.connect(url, **_OPTIONS)
    connection.adapters.register_dumper(str, _TextDumper)
    connection.adapters.register_loader("text", _TextLoader)
    connection.execute(_SESSION)
    return connection


def _is_broken(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has closed an idle connection, found out without a round trip."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    connection.close()
    return True


def _is_busy(connection: psycopg.Connection[Any]) -> bool:
    return connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE


@functools.cache
def _spelt(sql: str) -> str:
    """A statement with psycopg's placeholders."""
    return sql.replace("?", "%s")
