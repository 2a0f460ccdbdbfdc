"""Tokens of an OpenID Connect issuer (JWT): verified here, by keys that the issuer publishes.

issuer ─discovery─▶ JWKS, fetched by a thread, again every few minutes and when a token names an unknown key
token ─▶ Tokens.find ─▶ signature, issuer, audience, expiry ─▶ Caller: sub@issuer, the scopes of a claim
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from infergraph.errors import MissingExtra, SettingsError
from infergraph.protocol.callers import Caller, Scope
from infergraph.settings import Settings

_log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key that only the issuer has; never one that whoever verifies could make."""

PREFIX = b"eyJ"
"""Of every token: `{"` in base64."""

_DISCOVERY = "/.well-known/openid-configuration"
_LIFETIME_S = 300.0
_AGAIN_S = 10.0
_TIMEOUT_S = 10.0
_DOCUMENT_LIMIT_BYTES = 1 << 20
_TOKEN_LIMIT_BYTES = 16 * 1024
_VERIFIED_LIMIT = 1024
_OWN = "infergraph:"


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are accepted.

    Args:
        url: the issuer, as its tokens name it.
        audience: that a token has to be for.
        scopes_claim: the claim with the scopes, a list or a text separated by blanks.
        leeway_s: how much the clocks may differ.
    """

    url: str
    audience: str
    scopes_claim: str = "scope"
    leeway_s: float = 30.0

    def check(self) -> None:
        """Raises: SettingsError unless tokens can be trusted by it."""
        if not _is_safe(self.url):
            raise SettingsError(f"oidc_issuer: {self.url!r} is not an https URL")
        if not self.audience:
            raise SettingsError("oidc_issuer needs oidc_audience: a token for another service would be accepted here")


def issuer_of(settings: Settings) -> Issuer:
    """The issuer that the settings name."""
    return Issuer(
        url=settings.oidc_issuer,
        audience=settings.oidc_audience,
        scopes_claim=settings.oidc_scopes_claim,
        leeway_s=settings.oidc_leeway_s,
    )


class IssuerKeys:
    """The issuer's public keys, by id, kept up to date by a thread.

    Args:
        fetch: the keys now.
        again_s: an unknown id leads to a fetch no more often.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Any]], *, again_s: float = _AGAIN_S) -> None:
        self._fetch = fetch
        self._again_s = again_s
        self._wanted = threading.Event()
        self._known: Mapping[str, Any] = {}
        self.version = 0

    def start(self) -> IssuerKeys:
        """Start the thread, which ends with the process."""
        threading.Thread(target=self._run, name="issuer-keys", daemon=True).start()
        return self

    def get(self, id: str) -> Any:
        """The key of this id; None if there is none, or not yet."""
        found = self._known.get(id)
        if found is None:
            self._wanted.set()
        return found

    def renew(self) -> None:
        """Fetch the keys; what was known stays if that is not possible."""
        try:
            known = self._fetch()
        except Exception as error:  # noqa: BLE001 - the network, and whatever the issuer answers
            _log.error("the keys of the token issuer cannot be fetched", extra={"why": f"{error}"})
            return
        self._known, self.version = known, self.version + 1

    def _run(self) -> None:
        while True:
            self._wanted.clear()
            self.renew()
            time.sleep(self._again_s)
            self._wanted.wait(_LIFETIME_S)


class _Verified(NamedTuple):
    caller: Caller
    ends_s: float
    version: int


class Tokens:
    """Tells callers by tokens. A verified one is remembered by its hash, until it ends or the keys change.

    Args:
        keys: of the issuer.
        clock: seconds since 1970.
    """

    def __init__(self, issuer: Issuer, keys: IssuerKeys, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._host = urlsplit(issuer.url).hostname or ""
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._jwt = _library()

    def find(self, token: bytes) -> Caller | None:
        """The caller of a token; None for one that is not valid."""
        if not token.startswith(PREFIX) or len(token) > _TOKEN_LIMIT_BYTES:
            return None
        digest = sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None and known.ends_s > self._clock() and known.version == self._keys.version:
            return known.caller
        claims = self._claims(token)
        if claims is None:
            return None
        caller = Caller(name=f"{claims['sub']}@{self._host}", scopes=_scopes(claims.get(self._issuer.scopes_claim)))
        self._verified[digest] = _Verified(caller, claims["exp"] + self._issuer.leeway_s, self._keys.version)
        if len(self._verified) > _VERIFIED_LIMIT:
            self._verified.popitem(last=False)
        return caller

    def _claims(self, token: bytes) -> dict[str, Any] | None:
        jwt, issuer = self._jwt, self._issuer
        try:
            head = jwt.get_unverified_header(token)
            key = self._keys.get(str(head.get("kid", "")))
            if key is None or head.get("alg") not in ALGORITHMS:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[head["alg"]],
                audience=issuer.audience,
                issuer=issuer.url,
                leeway=issuer.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            return None
        return claims if claims["sub"] and isinstance(claims["exp"], int | float) else None


def tokens(issuer: Issuer) -> Tokens:
    """The tokens of an issuer, whose keys are fetched from now on. Raises: SettingsError, MissingExtra."""
    issuer.check()
    return Tokens(issuer, IssuerKeys(lambda: fetched(issuer.url)).start())


def fetched(issuer: str) -> Mapping[str, Any]:
    """The keys that an issuer publishes, by id. Raises: OSError, ValueError."""
    document = _document(issuer.rstrip("/") + _DISCOVERY)
    if document.get("issuer") != issuer:
        raise ValueError(f"the discovery document is of {document.get('issuer')!r}")
    jwt, found = _library(), {}
    for each in _document(str(document["jwks_uri"])).get("keys", ()):
        try:
            if each.get("use", "sig") == "sig" and each.get("kty") in ("RSA", "EC", "OKP"):
                found[str(each.get("kid", ""))] = jwt.PyJWK(each)
        except jwt.PyJWTError:  # of a kind that is not known here
            continue
    return found


def _is_safe(url: str) -> bool:
    """Whether what is fetched there can be trusted: https, or this machine."""
    parts = urlsplit(url)
    is_own = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or is_own)


def _document(url: str) -> dict[str, Any]:
    if not _is_safe(url):
        raise ValueError(f"{url} is not an https URL")
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:
        found = json.loads(reply.read(_DOCUMENT_LIMIT_BYTES))
    if not isinstance(found, dict):
        raise ValueError(f"{url} is no JSON object")
    return found


def _library() -> Any:
    try:
        import jwt
        import jwt.algorithms
    except ImportError as error:
        raise MissingExtra.of("pyjwt", "oidc", "oidc_issuer") from error
    if not jwt.algorithms.has_crypto:
        raise MissingExtra.of("cryptography", "oidc", "oidc_issuer")
    return jwt


def _scopes(claim: object) -> frozenset[Scope]:
    """The scopes that a claim names, with or without `infergraph:` before them; others are for other services."""
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    known = {scope.value: scope for scope in Scope}
    plain = (name.removeprefix(_OWN) for name in names if isinstance(name, str))
    return frozenset(known[name] for name in plain if name in known)
