"""Signed-in browsers: a token that stands for a key, for some hours, and is worth nothing once the key is revoked.

key ─▶ Sessions.begin ─▶ token, in a cookie ─▶ Sessions.find ─▶ the caller whose key it still is
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from infergraph.auth.keys import KeyFile
from infergraph.protocol.callers import Caller

PREFIX = b"is_"
"""Of a token, by which it is told from a key."""

LIFETIME_S = 12 * 3600
_FILE = "session-secret"
_SECRET_BYTES = 32


class Sessions:
    """Makes and reads the tokens of a server; it keeps none.

    Args:
        keys: the keys that tokens stand for.
        secret: signs the tokens; the same in all workers, another at the next start.
        clock: seconds since 1970.
    """

    def __init__(self, keys: KeyFile, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._secret = secret
        self._clock = clock

    def begin(self, key: bytes) -> str:
        """A token for a valid key."""
        told = f"{self._keys.id_of(key)}.{int(self._clock()) + LIFETIME_S}"
        return f"{PREFIX.decode()}{told}.{self._signature(told.encode())}"

    def find(self, token: bytes) -> Caller | None:
        """The caller of a token; None if it is not ours, is over, or its key is."""
        told, _, signature = token.removeprefix(PREFIX).rpartition(b".")
        if not hmac.compare_digest(self._signature(told).encode(), signature):
            return None
        id, _, until = told.decode().partition(".")
        return self._keys.named(id) if self._clock() < int(until) else None

    def _signature(self, told: bytes) -> str:
        return hmac.digest(self._secret, told, "sha256").hex()


def shared_secret(folder: Path) -> bytes:
    """The secret of all workers that share a folder; the first of them makes it."""
    file = folder / _FILE
    if not file.exists():
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{_FILE}.") as made:
            made.write(secrets.token_bytes(_SECRET_BYTES))
            made.flush()
            with suppress(FileExistsError):
                os.link(made.name, file)  # whole at once, and for one of them only
    return file.read_bytes()
