"""The file of keys: TOML with the hash of each key, read again when it changes.

    keys create ─▶ the key, printed once
            └────▶ keys.toml: name, SHA-256, scopes, expiry ─▶ KeyFile.find(secret) ─▶ Key | None

A key is 256 random bits, so a fast hash is as good as a slow one. Several keys may have one name: the new and the old
one while a caller changes over.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import re
import secrets
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Annotated

import msgspec

from infergraph.auth.file_version import file_version
from infergraph.errors import SettingsError
from infergraph.protocol.callers import NO_LIMITS, Caller, Limits, Scope

_log = logging.getLogger(__name__)

PREFIX = "ig_"
"""Of a key's text, so that scanners of leaked secrets can tell one."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
_ID_DIGITS = 8
_ID_BYTES = 8
_LOOK_S = 0.0005
"""The file is looked at no more often: no command changes it and has its request sent in this time."""
_HEAD = (
    "# Keys of infergraph: hashes only, a key itself is kept nowhere. Read again when it changes.\n"
    "# infergraph keys create | list | revoke\n"
)
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the file.

    Args:
        name: the caller's.
        sha256: of the key's text, in hexadecimal digits.
        scopes: what the caller may do with it.
        requests_per_minute, rows_per_minute, upload_bytes_per_minute, tasks_at_once: its quotas; 0 for none.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    created: _Time | None = None
    expires: _Time | None = None
    requests_per_minute: _Count = 0
    rows_per_minute: _Count = 0
    upload_bytes_per_minute: _Count = 0
    tasks_at_once: _Count = 0

    @property
    def limits(self) -> Limits:
        """Its quotas."""
        limits = Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})
        return NO_LIMITS if limits == NO_LIMITS else limits

    @property
    def id(self) -> str:
        """What names this key among those of its caller: the first digits of its hash."""
        return self.sha256[:_ID_DIGITS]

    def is_expired(self, now_s: float) -> bool:
        """Whether it is no longer valid, by the time in seconds since 1970."""
        return self.expires is not None and self.expires.timestamp() <= now_s


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...] = ()


class _Known(msgspec.Struct, frozen=True):
    """A key as requests are compared with it; it expires at a time in seconds since 1970, or never."""

    digest: bytes
    caller: Caller
    expires_s: float


_NOBODY = _Known(bytes(32), Caller(name="", scopes=frozenset()), 0.0)
"""Compared where no key is near, so that the answer takes as long; no text has this hash."""


def ignore_changes(made: frozenset[Key], gone: frozenset[Key]) -> None:
    """Do nothing about keys that were made and revoked."""


class KeyFile:
    """The keys of a file. A request looks whether the file has changed, so a revoked key ends at once.

    Args:
        clock: seconds since 1970.
        changed: called with the keys that are new and those that are gone, after the file was read again.
    Promises: a file that cannot be read keeps what was read before, with a line in the log; one that is gone has no
        keys.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        changed: Callable[[frozenset[Key], frozenset[Key]], None] = ignore_changes,
    ) -> None:
        self._changed = changed
        self._keys: frozenset[Key] = frozenset()
        self._path = path
        self._at = os.fspath(path)
        self._clock = clock
        self._known: dict[bytes, _Known] = {}
        self._seen: tuple[int, int, int] | None = None
        self._looked_at_s = 0.0

    def open(self) -> KeyFile:
        """Read the file. Raises: SettingsError if that is not possible."""
        self._seen = file_version(self._at)
        if self._seen is None:
            raise SettingsError(f"keys: there is no file {self._path}; make one: infergraph keys create NAME")
        self._take(read(self._path))
        return self

    def find(self, secret: bytes) -> Caller | None:
        """The caller whose key this is; None for one that is unknown, revoked or expired, in the same time."""
        now_s = self._clock()
        if not 0 <= now_s - self._looked_at_s < _LOOK_S:
            self._look(now_s)
        digest = sha256(secret).digest()
        known = self._known.get(digest[:_ID_BYTES], _NOBODY)
        is_known = compare_digest(known.digest, digest)
        return known.caller if is_known and now_s < known.expires_s else None

    def id_of(self, secret: bytes) -> str:
        """What stands for a key where the key itself must not be."""
        return sha256(secret).digest()[:_ID_BYTES].hex()

    def named(self, id: str) -> Caller | None:
        """The caller of the key with this `id_of`; None if there is none any more."""
        now_s = self._clock()
        self._look(now_s)
        known = self._known.get(bytes.fromhex(id), _NOBODY)
        return known.caller if now_s < known.expires_s else None

    def _look(self, now_s: float) -> None:
        """Read the file again if it has changed."""
        self._looked_at_s = now_s
        seen = file_version(self._at)
        if seen == self._seen:
            return
        self._seen = seen
        if seen is None:
            _log.error("the file of keys is gone: nobody is let in", extra={"file": self._at})
            self._changed(frozenset(), self._keys)
            self._take(())
            return
        try:
            keys = read(self._path)
        except SettingsError as fault:
            _log.error("the file of keys cannot be read; the former keys stay", extra={"why": fault.text})
        else:
            _log.info("the keys were read again", extra={"file": self._at, "keys": len(keys)})
            self._changed(frozenset(keys) - self._keys, self._keys - frozenset(keys))
            self._take(keys)

    def _take(self, keys: Sequence[Key]) -> None:
        self._keys, self._known = frozenset(keys), _by_digest(keys)


def _by_digest(keys: Iterable[Key]) -> dict[bytes, _Known]:
    known = {}
    for key in keys:
        digest = bytes.fromhex(key.sha256)
        expires_s = math.inf if key.expires is None else key.expires.timestamp()
        known[digest[:_ID_BYTES]] = _Known(
            digest, Caller(name=key.name, scopes=key.scopes, limits=key.limits), expires_s
        )
    return known


def read(path: Path) -> tuple[Key, ...]:
    """The entries of a file. Raises: SettingsError that says where it is wrong."""
    try:
        return _parsed(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"keys: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"keys: {path}: {error}") from error


def _parsed(text: str) -> tuple[Key, ...]:
    return msgspec.convert(tomllib.loads(text), _File).keys


def create(
    path: Path,
    name: str,
    scopes: Iterable[Scope],
    *,
    expires: datetime | None = None,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
) -> str:
    """Add a key to the file, which is made if there is none.

    Returns: the key's text, which is kept nowhere else.
    Raises: SettingsError for an unusable name or file.
    """
    if re.fullmatch(NAME, name) is None:
        raise SettingsError(f"{name!r} cannot name a key: letters, digits, and . _ @ - are allowed, 64 at most")
    text = PREFIX + secrets.token_urlsafe(32)
    listed = ", ".join(f'"{scope.value}"' for scope in Scope if scope in scopes)
    lines = [
        "[[keys]]",
        f'name = "{name}"',
        f'sha256 = "{sha256(text.encode()).hexdigest()}"',
        f"scopes = [{listed}]",
        f"created = {_toml_time(datetime.now(UTC))}",
    ]
    if expires is not None:
        lines.append(f"expires = {_toml_time(expires)}")
    lines += [f"{name} = {limit}" for name, limit in msgspec.structs.asdict(limits).items() if limit]
    with _changing(path) as (old, write):
        write(old.rstrip("\n") + "\n\n" + "\n".join(lines) + "\n")
    return text


def revoke(path: Path, which: str) -> tuple[Key, ...]:
    """Take keys out of the file: all of a caller's name, or the one of an id; comments and other entries stay.

    Returns: the keys that were taken out.
    Raises: SettingsError if there are none, or the file is not one that this can change.
    """
    with _changing(path) as (old, write):
        keys = _parsed(old)
        gone = tuple(key for key in keys if which in (key.name, key.id))
        if not gone:
            raise SettingsError(f"{path} has no key {which!r}; infergraph keys list --file {path} shows them")
        head, *entries = re.split(r"(?m)^(?=[ \t]*\[\[[ \t]*keys[ \t]*\]\])", old)
        hashes = {key.sha256 for key in gone}
        kept = head + "".join(entry for entry in entries if not any(each in entry for each in hashes))
        if _parsed(kept) != tuple(key for key in keys if key not in gone):
            raise SettingsError(f"{path} is laid out by hand: take the entry of {which!r} out by hand, too")
        write(kept)
    return gone


@contextmanager
def _changing(path: Path) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The text of the file, and what replaces it in one step; two commands take turns.

    Raises: SettingsError if it cannot be read or written.
    """
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY)  # the file itself is replaced, a lock on it would be lost
    except OSError as error:
        raise SettingsError(f"keys: {path} cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        old = path.read_text("utf-8") if path.exists() else _HEAD
        _parsed(old)
        yield old, lambda text: _replace(path, text)
    except OSError as error:
        raise SettingsError(f"keys: {path} cannot be changed: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"keys: {path}: {error}") from error
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Write the file, a new one for its owner alone; a reader sees the former text or this one."""
    place = path.resolve()
    with tempfile.NamedTemporaryFile("w", dir=place.parent, prefix=f".{place.name}.", delete=False) as file:
        file.write(text)
        if place.exists():
            os.fchmod(file.fileno(), place.stat().st_mode & 0o777)
    Path(file.name).replace(place)


def _toml_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
