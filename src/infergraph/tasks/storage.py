"""Where tasks are kept: the store and the files that the settings name."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from infergraph.errors import MissingExtra, SettingsError
from infergraph.settings import Settings
from infergraph.tasks import objects
from infergraph.tasks.files import DataFolder, disk_faults, sync_folder
from infergraph.tasks.objects import ObjectFolder
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Store

if TYPE_CHECKING:
    from infergraph.tasks.postgres import PostgresStore

SCHEMES = ("postgresql://", "postgres://")
_NAME = "folder-id"


def open_files(settings: Settings) -> DataFolder:
    """The files of the tasks. Raises: TaskFault if their folder cannot be written."""
    if settings.task_files.startswith(objects.SCHEMES):
        data: DataFolder = ObjectFolder(Path(settings.data_dir), settings.task_files)
    else:
        data = DataFolder(Path(settings.data_dir), Path(settings.task_files or settings.data_dir))
    data.prepare()
    return data


def open_store(settings: Settings, data: DataFolder) -> Store:
    """The store of the tasks; one that machines share is connected to when it is first used.

    Raises: TaskFault if a file cannot be used; StartupFault.
    """
    if settings.task_store:
        return open_postgres(settings.task_store, lease_s=settings.task_lease_s)
    return SqliteStore.open(data.database)


def open_postgres(url: str, *, lease_s: float) -> PostgresStore:
    """The store at a URL. Raises: SettingsError; MissingExtra."""
    if not url.startswith(SCHEMES):
        raise SettingsError("task_store takes a URL: postgresql://user:password@host:port/database")
    try:
        from infergraph.tasks.postgres import PostgresStore
    except ImportError as error:
        raise MissingExtra.of("psycopg", "postgres", "task_store") from error
    return PostgresStore.open(url, lease_s=lease_s)


def prepare_shared(settings: Settings, target: str) -> None:
    """Make the tables of a shared store, and check that this server belongs to those that share it.

    Args:
        target: what is served.
    Raises: SettingsError if another target is served from the store, or the files are others; StoreAway.
    """
    if not settings.task_files:
        raise SettingsError(
            "task_store needs task_files: the folder of the task files, the same one on all machines (such as NFS), or "
            "an address such as s3://bucket/folder"
        )
    store = open_postgres(settings.task_store, lease_s=settings.task_lease_s)
    try:
        store.prepare()
        name = unit_name(target)
        served = store.agree("serves", name)
        if served != name:
            raise SettingsError(f"the task store has the tasks of {served}; give {target} another database")
        files = open_files(settings)
        identity = files.bucket.uri if isinstance(files, ObjectFolder) else folder_identity(files.shared)
        if store.agree("files", identity) != identity:
            raise SettingsError(
                f"task_files {settings.task_files} is not the folder that the other servers of this task store use"
            )
    finally:
        store.close()


def unit_name(target: str) -> str:
    """A target without the folder of its file, which may differ from machine to machine."""
    file, mark, rest = target.partition(":")
    return f"{PurePath(file).name}{mark}{rest}"


def folder_identity(folder: Path) -> str:
    """A name that tells a folder from others, also on other machines; kept in it."""
    path = folder / _NAME
    if path.exists():
        return path.read_text()
    temporary = folder / f"{_NAME}.{uuid.uuid4().hex}"
    with disk_faults():
        temporary.write_text(uuid.uuid4().hex)
        with suppress(FileExistsError):  # another process was faster
            os.link(temporary, path)
        temporary.unlink()
        sync_folder(folder)
    return path.read_text()
