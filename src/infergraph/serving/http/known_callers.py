"""ASGI middleware that admits known callers to the pages and the task API."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from infergraph.auth.credentials import SECRET_HEADERS
from infergraph.auth.quotas import Allowance
from infergraph.errors import AccessFault, Fault, Unauthenticated
from infergraph.protocol.callers import Caller, needed_at
from infergraph.protocol.callers import Scope as CallerScope
from infergraph.serving.authentication import Authenticator
from infergraph.serving.http import error_responses
from infergraph.serving.http.app import App, Receive, Scope, Send
from infergraph.serving.http.error_responses import Answer
from infergraph.serving.http.secrets import secret_in

_log = logging.getLogger(__name__)


class KnownCallers:
    """Refuses strangers; `scope["caller"]` is who it is. A key revoked meanwhile ends an answer at its next part.

    Args:
        app: the wrapped application.
        fault_at: what a stranger is answered, by the path.
    """

    def __init__(
        self, app: App, authenticator: Authenticator, fault_at: Callable[[str], Callable[[Fault], Answer]]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._fault_at = fault_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        needed, secret = needed_at(scope["path"]), secret_in(dict(scope["headers"]), scope["headers"])
        subject = scope.get("subject", "")
        try:
            caller = scope["caller"] = self._authenticator.caller(needed, secret, subject)
            allowance = self._authenticator.spend(caller)
        except AccessFault as fault:
            await self._refuse(fault, scope, send)
            return
        scope["headers"] = [header for header in scope["headers"] if header[0] not in SECRET_HEADERS]
        scope["spend_rows"] = functools.partial(self._authenticator.spend_rows, caller)
        if caller is not None and caller.limits.upload_bytes_per_minute:
            receive = self._counting(receive, caller)
        checked = _Checked(send, allowance, lambda: self._authenticator.caller(needed, secret, subject))
        try:
            await self._app(scope, receive, checked.send)
        except asyncio.CancelledError:
            if not checked.is_cut:
                raise
            _log.info("an answer was cut short: its key is no longer valid", extra={"path": quote(scope["path"])})

    def _counting(self, receive: Receive, caller: Caller) -> Receive:
        """`receive`, which counts the bytes of the body. Raises (from it): QuotaExceeded."""

        async def counted() -> MutableMapping[str, Any]:
            message = await receive()
            self._authenticator.spend_upload(caller, len(message.get("body", b"")))
            return message

        return counted

    async def _refuse(self, fault: AccessFault, scope: Scope, send: Send) -> None:
        needed = needed_at(scope["path"])
        answer = self._fault_at(scope["path"])(fault)
        if needed is CallerScope.CONSOLE and isinstance(fault, Unauthenticated) and self._authenticator.sessions:
            answer = _to_sign_in(scope, answer)
        headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def _to_sign_in(scope: Scope, answer: Answer) -> Answer:
    """The way to sign in, for a browser: a redirect of a page, a hint for a part of one."""
    headers = dict(scope["headers"])
    if b"hx-request" in headers:
        return answer._replace(headers=[*answer.headers, (b"hx-redirect", b"sign-in")])
    if scope["method"] != "GET" or b"text/html" not in headers.get(b"accept", b""):
        return answer
    up = "../" * (scope["path"].count("/") - 1)  # relative: a proxy may have taken a prefix off the path
    return Answer(303, b"", [(b"location", f"{up}console/sign-in".encode()), (b"cache-control", b"no-store")])


class _Checked:
    """Sends an answer part by part, while its caller is one."""

    def __init__(self, send: Send, allowance: Allowance | None, check: Callable[[], object]) -> None:
        self._send = send
        self._allowance = allowance
        self._check = check
        self._task = asyncio.current_task()
        self._has_begun = False
        self.is_cut = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part; cancel the application if the caller's key is no longer valid."""
        if self._has_begun and not self.is_cut:
            self._cut_if_revoked()
        self._has_begun = message["type"] == "http.response.body"
        if message["type"] == "http.response.start" and self._allowance is not None:
            left = error_responses.rate_limit(self._allowance)
            message = {**message, "headers": [*message.get("headers", ()), *left]}
        if not self.is_cut:
            await self._send(message)

    def _cut_if_revoked(self) -> None:
        try:
            self._check()
        except AccessFault:
            self.is_cut = True
            if self._task is not None:
                self._task.cancel()
