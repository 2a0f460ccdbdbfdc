"""Authentication at the edges: a request's secret becomes its caller, once, before it is admitted.

    headers, metadata ─▶ secret ┐
    TLS ─▶ name in a certificate ┴▶ Authenticator.caller ─▶ Caller ┊ Unauthenticated, Forbidden

Without keys and client certificates there is no authenticator, and an edge pays one comparison with None.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from infergraph.auth.keys import Key, KeyFile, ignore_changes
from infergraph.auth.quotas import Allowance, Quotas
from infergraph.auth.sessions import PREFIX as SESSION_PREFIX
from infergraph.auth.sessions import Sessions, shared_secret
from infergraph.auth.tokens import PREFIX as TOKEN_PREFIX
from infergraph.auth.tokens import issuer_of, tokens
from infergraph.errors import Forbidden, SettingsError, Unauthenticated
from infergraph.observe import logs
from infergraph.protocol.callers import NO_LIMITS, Caller, Needed, Openness, Scope, read_scopes
from infergraph.settings import Settings

Find: TypeAlias = Callable[[bytes], Caller | None]
_HOW = "Authorization: Bearer KEY, or X-API-Key: KEY"
_MISSING = f"this server asks for a key: {_HOW}"
_INVALID = f"the key is not valid: {_HOW}"


class Authenticator:
    """Tells callers by their secrets, and what they may do.

    Args:
        find: the caller of a secret; None for one that is unknown, revoked or expired.
        certified: what a caller may do by its certificate alone.
        sessions: of browsers; None where nobody can sign in.
        quotas: count what callers use; None for no quotas.
        count: counts each request by its caller's name.
        opens_probes: whether probes are answered to everybody.
    """

    def __init__(
        self,
        find: Find,
        *,
        certified: frozenset[Scope] = frozenset(),
        sessions: Sessions | None = None,
        quotas: Quotas | None = None,
        count: Callable[[str], None] = lambda name: None,
        opens_probes: bool = True,
    ) -> None:
        self._find = find
        self._certified = certified
        self.sessions = sessions
        self._quotas = quotas
        self._count = count
        self._open = frozenset({Openness.EVERYBODY, Openness.PROBES} if opens_probes else {Openness.EVERYBODY})

    def caller(self, needed: Needed, secret: bytes | None, subject: str = "") -> Caller | None:
        """The caller, or None where nobody is asked. A key goes before a certificate, which may be a proxy's.

        Args:
            secret: what the request carries; None for nothing.
            subject: the name in the client's certificate; empty for none.
        Raises: Unauthenticated; Forbidden if its scopes do not cover what is needed.
        """
        if needed in self._open:
            return None
        caller = (self._find(secret) if secret is not None else None) or self._other(secret, subject)
        if not caller.may(needed):
            raise Forbidden(f"{caller.name} may not do this: it needs the scope {needed.value}")
        return caller

    def spend(self, caller: Caller | None) -> Allowance | None:
        """Count a request; what is left of the caller's quota, None without one. Raises: QuotaExceeded."""
        if caller is None:
            return None
        self._count(caller.name)
        if caller.limits is NO_LIMITS or self._quotas is None:
            return None
        return self._quotas.request(caller)

    def spend_rows(self, caller: Caller | None, count: int) -> None:
        """Count rows that were answered; the caller's next request is refused if there are too many."""
        if caller is not None and self._quotas is not None:
            self._quotas.rows(caller, count)

    def spend_upload(self, caller: Caller | None, size_bytes: int) -> None:
        """Count uploaded bytes. Raises: QuotaExceeded."""
        if caller is not None and self._quotas is not None:
            self._quotas.upload(caller, size_bytes)

    def _other(self, secret: bytes | None, subject: str) -> Caller:
        """A caller by a certificate alone, or by a session's secret. Raises: Unauthenticated."""
        if secret is None and subject:
            return Caller(name=subject, scopes=self._certified)
        if secret is None:
            raise Unauthenticated(_MISSING)
        caller = None
        if self.sessions is not None and secret.startswith(SESSION_PREFIX):
            caller = self.sessions.find(secret)
        if caller is None:
            raise Unauthenticated(_INVALID)
        return caller


def authenticator(settings: Settings, folder: Path, worker: int, count: Callable[[str], None]) -> Authenticator | None:
    """The authenticator that the settings ask for; None where nobody is asked.

    Args:
        folder: shared by the workers.
        worker: its number; the first one writes audit lines about keys.
        count: counts each request by its caller's name.
    Raises: SettingsError, MissingExtra.
    """
    if not settings.asks_callers:
        return None
    try:
        certified = read_scopes(settings.tls_client_scopes)
    except ValueError as error:
        raise SettingsError(f"tls_client_scopes: {error}") from error
    find: Find = _nobody
    sessions = None
    if settings.keys:
        keys = KeyFile(Path(settings.keys), changed=_audit_keys if worker == 0 else ignore_changes).open()
        find, sessions = keys.find, Sessions(keys, shared_secret(folder))
    if settings.oidc_issuer:
        find = _either(tokens(issuer_of(settings)).find, find)
    return Authenticator(
        find,
        certified=certified,
        sessions=sessions,
        quotas=Quotas(folder, worker),
        count=count,
        opens_probes=settings.open_probes,
    )


def _either(of_token: Find, of_key: Find) -> Find:
    return lambda secret: of_token(secret) if secret.startswith(TOKEN_PREFIX) else of_key(secret)


def _audit_keys(made: frozenset[Key], gone: frozenset[Key]) -> None:
    for act, keys in (("key made", made), ("key revoked", gone)):
        for key in keys:
            logs.audit(act, caller="", address="", result="done", key=f"{key.name} {key.id}")


def _nobody(secret: bytes) -> Caller | None:
    return None
