"""The move of a data folder's tasks to a store that machines share.

    folder of files ─copied, synced, locked─▶ incoming/ ─rename─▶ tasks/ ─row─▶ done

The data folder is left as it was. A move that was cut off is finished by another one, which passes by what is there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infergraph.errors import SettingsError
from infergraph.settings import Settings
from infergraph.tasks import openai
from infergraph.tasks.files import INPUT, DataFolder, Lock, disk_faults, sync_folder
from infergraph.tasks.ownership import lock_alone, owner_of
from infergraph.tasks.record_store import Page
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.storage import open_files, open_postgres, prepare_shared
from infergraph.tasks.store import Listing, Store
from infergraph.tasks.task import State, Task

_PAGE = 500


class Moved(msgspec.Struct, kw_only=True):
    """What was moved.

    Args:
        refused: ids of tasks that stay, since another task has their id, or their idempotency key.
        webhooks: how many were not delivered yet, and stay.
    """

    tasks: int = 0
    records: int = 0
    refused: list[str] = []
    webhooks: int = 0


def migrate(root: Path, settings: Settings) -> Moved:
    """Move the tasks of a data folder to the store and the files of the settings, in the order of their acceptance.

    Ended tasks keep their results, waiting ones wait, those in work go on at their watermark. Files and batches of
    OpenAI's API move too. Tasks that are being stopped, counters, and webhooks that wait for delivery do not.
    Raises: SettingsError if there is no such folder, a server runs on it, or the store does not fit; TaskFault.
    """
    owner = owner_of(root)
    before = DataFolder(root)
    if owner is None or not before.database.exists():
        raise SettingsError(f"{root} is not the data folder of a server with tasks")
    after = open_files(settings)
    if not after.is_local:
        raise SettingsError("tasks are moved to a folder; task_files is an address")
    prepare_shared(settings, owner.target)
    with _alone(before):
        old, new = SqliteStore.open(before.database), open_postgres(settings.task_store, lease_s=settings.task_lease_s)
        try:
            return _move(old, before, new, after)
        finally:
            old.close()
            new.close()


@contextmanager
def _alone(data: DataFolder) -> Iterator[None]:
    """Hold the locks of a data folder. Raises: SettingsError if a server has them."""
    locks = [lock_alone(data.root), data.try_lock()]
    try:
        if None in locks:
            raise SettingsError(f"a server runs on {data.root}; stop it first")
        yield
    finally:
        for lock in locks:
            if lock is not None:
                lock.release()


def _move(old: Store, before: DataFolder, new: Store, after: DataFolder) -> Moved:
    moved = Moved(webhooks=old.outbox())
    for task in _oldest_first(old):
        if new.has_folder(task.folder):
            continue
        with _copied(before.tasks / task.folder, after, after.tasks / task.folder):
            added = new.add_task(task)
        if added:
            moved.tasks += 1
        else:
            after.discard(task.folder)
            moved.refused.append(task.id)
    page = Page(kinds=(*openai.FILE_KINDS, openai.BATCH), limit=_PAGE, is_ascending=True)
    while records := old.records(page):
        for record in records:
            if record.kind not in openai.FILE_KINDS:
                moved.records += new.add_record(record)
                continue
            folder = openai.folder_of(record.id)
            with _copied(before.files / folder, after, after.files / folder):
                moved.records += new.add_record(record)
        page = msgspec.structs.replace(page, after=records[-1].seq)
    after.empty_trash()
    return moved


def _oldest_first(store: Store) -> Iterator[Task]:
    seqs: list[int] = []
    wanted = Listing(states=tuple(state for state in State if state is not State.STOPPING), limit=_PAGE)
    while page := store.listing(wanted):
        seqs += [task.seq for task in page]
        wanted = msgspec.structs.replace(wanted, before=seqs[-1])
    for seq in reversed(seqs):
        task = store.find_seq(seq)
        assert task is not None
        yield task


@contextmanager
def _copied(source: Path, data: DataFolder, target: Path) -> Iterator[None]:
    """A durable copy of a folder, locked against sweeps until it is owned."""
    with disk_faults():
        if not target.exists():
            draft = data.incoming / target.name
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            lock = _copy_locked(source, draft)
            os.rename(draft, target)
            sync_folder(target.parent)
        else:  # copied by a move that was cut off before its row was written
            lock = _locked(target / INPUT)
    try:
        yield
    finally:
        lock.release()


def _copy_locked(source: Path, draft: Path) -> Lock:
    (draft / INPUT).touch(0o600)
    lock = _locked(draft / INPUT)
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, draft / path.name)
        fd = os.open(draft / path.name, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)
    sync_folder(draft)
    return lock


def _locked(path: Path) -> Lock:
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return Lock(fd)
