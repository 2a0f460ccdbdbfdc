"""Records of the task store: the objects of the Files and Batches API, as documents that the store does not read.

A record knows what queries need: its kind, whose it is, what still has to be done with it, when it expires. A change is
compare-and-set on its version.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import msgspec

FILE_ID = "file-"
"""The ids of files are this, and then the names of their folders."""

Run = Callable[..., Any]
"""Executes a statement with its values in a transaction; returns a cursor."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record.

    Args:
        seq: order of creation; 0 for one that is not stored yet.
        id: unique among records of all kinds.
        stage: what the driver has to see to; empty if it is nothing.
        created, expires: Unix seconds; once expired, and without a stage, it is removed.
        version: raised by each change.
        document: JSON.
    """

    seq: int = 0
    id: str
    kind: str
    caller: str = ""
    stage: str = ""
    created: float
    expires: float | None = None
    version: int = 1
    document: str


class Post(NamedTuple):
    """A webhook for the outbox: where to, its body, and the receiver, to which deliveries are made one at a time."""

    url: str
    body: bytes
    receiver: str


def queue(run: Run, post: Post, *, now: float) -> None:
    """Add a webhook to the outbox, in a transaction."""
    run(
        "insert into outbox(url, body, next_at, receiver) values(?, ?, ?, ?)",
        post.url,
        post.body,
        now,
        post.receiver or post.url,
    )


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A query for records of these kinds.

    Args:
        after: seq of the last record of the page before; None for the first page.
        caller: whose; None for those of all.
    """

    kinds: tuple[str, ...]
    limit: int
    after: int | None = None
    is_ascending: bool = False
    caller: str | None = None


_COLUMNS = ", ".join(f"record.{name}" for name in Record.__struct_fields__)
_BATCH_WORK = """
select {columns} from record left join task on task.id = record.id
where record.kind = ? and record.stage <> ''
  and (record.stage <> ? or task.seq is null or task.state in ('finished', 'failed') or record.expires <= ?)
order by case when record.stage = ? then 1 else 0 end, record.seq limit ?
"""


class RecordStore(ABC):
    """The records of a task store; the same promises and faults as its other methods."""

    def add_record(self, record: Record) -> bool:
        """Insert a record; False if there is one with its id."""
        added = self._write(
            """insert into record(id, kind, caller, stage, created, expires, version, document)
               values(?, ?, ?, ?, ?, ?, ?, ?) on conflict(id) do nothing""",
            *msgspec.structs.astuple(record)[1:],
        )
        return added == 1

    def record(self, id: str) -> Record | None:
        """The record with this id, or None."""
        rows = self._read(f"select {_COLUMNS} from record where id = ?", id)
        return _record(rows[0]) if rows else None

    def records(self, page: Page) -> list[Record]:
        """A page of records, newest first unless it is ascending."""
        where, values = [f"kind in ({', '.join('?' * len(page.kinds))})"], list[Any](page.kinds)
        if page.after is not None:
            where.append("seq > ?" if page.is_ascending else "seq < ?")
            values.append(page.after)
        if page.caller is not None:
            where.append("caller = ?")
            values.append(page.caller)
        order = "asc" if page.is_ascending else "desc"
        query = f"select {_COLUMNS} from record where {' and '.join(where)} order by seq {order} limit ?"
        return [_record(row) for row in self._read(query, *values, page.limit)]

    def change_record(
        self, record: Record, *, post: Post | None = None, now: float = 0.0, **changes: Any
    ) -> Record | None:
        """Change a record that is still as given; None if it has been changed or removed meanwhile.

        Args:
            post: a webhook for the outbox, added in the same transaction, to be sent from `now` on (Unix seconds).
            changes: of `stage`, `expires` and `document`.
        """
        new = msgspec.structs.replace(record, **changes, version=record.version + 1)
        with self._transaction() as run:
            changed = run(
                "update record set stage = ?, expires = ?, version = ?, document = ? where id = ? and version = ?",
                new.stage,
                new.expires,
                new.version,
                new.document,
                record.id,
                record.version,
            ).rowcount
            if changed and post is not None:
                queue(run, post, now=now)
        return new if changed else None

    def remove_record(self, id: str) -> bool:
        """Remove a record; False if there is none."""
        return self._write("delete from record where id = ?", id) == 1

    def expired_records(self, now: float, *, limit: int) -> list[Record]:
        """Records that have expired, and that nothing has to be done with."""
        query = f"select {_COLUMNS} from record where expires <= ? and stage = '' order by expires limit ?"
        return [_record(row) for row in self._read(query, now, limit)]

    def batch_work(self, kind: str, *, waiting: str, running: str, now: float, limit: int) -> list[Record]:
        """Records with a stage that the driver has to see to now, oldest first.

        Args:
            kind: of the records, which have the ids of their tasks.
            waiting: the stage of those that come after all others.
            running: the stage of those that can be left alone, until their task has ended or is gone, or they expire.
        """
        rows = self._read(_BATCH_WORK.format(columns=_COLUMNS), kind, running, now, waiting, limit)
        return [_record(row) for row in rows]

    def staged(self, kind: str, stage: str, caller: str | None = None) -> int:
        """How many records have this stage; of one caller, or of all."""
        query, values = "select count(*) from record where stage <> '' and kind = ? and stage = ?", [kind, stage]
        if caller is not None:
            query, values = f"{query} and caller = ?", [*values, caller]
        return int(self._read(query, *values)[0][0])

    # ── what a store provides ───────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _read(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a quick query."""

    @abstractmethod
    def _write(self, sql: str, *values: Any) -> int:
        """Execute one statement as a transaction; returns how many rows it changed."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Run]:
        """A transaction that writes: committed at the end, rolled back on an exception."""


def _record(row: Sequence[Any]) -> Record:
    return Record(**dict(zip(Record.__struct_fields__, row, strict=True)))
