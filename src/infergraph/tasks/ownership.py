"""Ownership of the data folder: a target's tasks and counts are never processed or resumed by another target.

    <root>/serves.json    the owner; locked (shared) by every server that runs on the folder

A folder without owner, or an empty one, is claimed by the target that starts there. One that another target's server is
using, or where another target has left tasks, is refused; a newer version of the same target resumes what is left.
If the default folder has another owner, a target gets its own folder inside it (`chosen`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from infergraph.errors import SettingsError
from infergraph.tasks.files import Lock
from infergraph.unit_source import UnitSource

FILE_NAME = "serves.json"
_BANDITS = "bandits.sqlite"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The target that owns a data folder; see `UnitSource`."""

    target: str
    folder: str = ""
    parameters: str = "[]"
    nodes: dict[str, str] = {}
    predictor: str = ""

    @classmethod
    def of(cls, source: UnitSource, parameters: str) -> Owner:
        """The owner for a source with these constructor parameters."""
        return cls(
            target=source.target.removeprefix("./"),
            folder=source.folder,
            parameters=parameters,
            nodes=source.nodes,
            predictor=source.predictor,
        )

    @property
    def tag(self) -> str:
        """The tag that identifies its tasks."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    def beside(self, other: Owner) -> str:
        """Its target, and how it differs from `other` if that has the same target."""
        if self.target != other.target:
            return self.target
        difference = f"in {self.folder}" if self.folder != other.folder else "with other parameters or nodes"
        return f"{self.target} {difference}"


def owner_of(root: Path) -> Owner | None:
    """The owner recorded at the last start; None if there is none."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((root / FILE_NAME).read_bytes(), type=Owner)
    return None


def chosen(root: Path, owner: Owner) -> Path:
    """The default folder of an owner: `root`, or one inside it if another target owns that."""
    slug = re.sub(r"[^\w.-]+", "-", owner.target).strip("-.")[-60:]
    own = root / f"for-{slug}-{owner.tag[:8]}"
    if own.is_dir():
        return own
    found = owner_of(root)
    if found is None or found.tag == owner.tag:
        return root
    is_free = not _is_locked(root) and (found.target == owner.target or not holds_work(root))
    return root if is_free else own


def claim(root: Path, owner: Owner) -> Lock:
    """Claim a folder for an owner, until the lock is released and another target is started there.

    Raises: SettingsError if it has another owner.
    """
    path = root / FILE_NAME
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(fd := os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SettingsError(f"data_dir {root} cannot be written: {error.strerror}") from error
    is_alone = _try_lock(fd)
    if not is_alone:
        fcntl.flock(fd, fcntl.LOCK_SH)
    found = owner_of(root)
    if found is not None and found.tag != owner.tag:
        trouble = ""
        if not is_alone:
            trouble = f"is in use by a server of {found.beside(owner)}; give {owner.target} another with --data-dir"
        elif found.target != owner.target and holds_work(root):
            trouble = (
                f"holds what {found.target} has left; give {owner.target} another with --data-dir, or remove {path} to "
                "hand it over"
            )
        if trouble:
            lock.release()
            raise SettingsError(f"the data folder {root} {trouble}")
    if found is None or found.tag != owner.tag:
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.format(msgspec.json.encode(owner), indent=2) + b"\n", 0)
        os.fsync(fd)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return lock


def lock_alone(root: Path) -> Lock | None:
    """The lock of a folder that no server runs on; None if one does."""
    fd = os.open(root / FILE_NAME, os.O_RDWR)
    if _try_lock(fd):
        return Lock(fd)
    os.close(fd)
    return None


def holds_work(root: Path) -> bool:
    """Whether a folder contains any task data, or counts of bandit routers."""
    return has_tasks(root) or (root / _BANDITS).exists()


def has_tasks(root: Path) -> bool:
    """Whether a folder contains any task data: incoming, stored, or in the trash."""
    for name in ("incoming", "tasks", "files", "trash"):
        with suppress(OSError), os.scandir(root / name) as entries:
            if any(entries):
                return True
    return False


def _is_locked(root: Path) -> bool:
    """Whether a server runs on the folder."""
    try:
        fd = os.open(root / FILE_NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
