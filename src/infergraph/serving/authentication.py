"""Authentication at the edges: a request's secret becomes its caller, once, before it is admitted.

    headers, metadata ─▶ secret ─▶ Authenticator.caller ─▶ Caller ┊ Unauthenticated, Forbidden

Without keys there is no authenticator, and an edge pays one comparison with None.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infergraph.auth.keys import KeyFile
from infergraph.errors import Forbidden, Unauthenticated
from infergraph.protocol.callers import Caller, Needed, Openness
from infergraph.settings import Settings

_HOW = "Authorization: Bearer KEY, or X-API-Key: KEY"
_MISSING = f"this server asks for a key: {_HOW}"
_INVALID = f"the key is not valid: {_HOW}"


class Authenticator:
    """Tells callers by their secrets, and what they may do.

    Args:
        find: the caller of a secret; None for one that is unknown, revoked or expired.
        opens_probes: whether probes are answered to everybody.
    """

    def __init__(self, find: Callable[[bytes], Caller | None], *, opens_probes: bool = True) -> None:
        self._find = find
        self._open = frozenset({Openness.EVERYBODY, Openness.PROBES} if opens_probes else {Openness.EVERYBODY})

    def caller(self, needed: Needed, secret: bytes | None) -> Caller | None:
        """The caller, or None where nobody is asked.

        Args:
            secret: what the request carries; None for nothing.
        Raises: Unauthenticated; Forbidden if its scopes do not cover what is needed.
        """
        if needed in self._open:
            return None
        if secret is None:
            raise Unauthenticated(_MISSING)
        caller = self._find(secret)
        if caller is None:
            raise Unauthenticated(_INVALID)
        if not caller.may(needed):
            raise Forbidden(f"{caller.name} may not do this: it needs the scope {needed.value}")
        return caller


def authenticator(settings: Settings) -> Authenticator | None:
    """The authenticator that the settings ask for; None without keys. Raises: SettingsError."""
    if not settings.keys:
        return None
    return Authenticator(KeyFile(Path(settings.keys)).open().find, opens_probes=settings.open_probes)
