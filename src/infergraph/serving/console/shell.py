"""The console's request handlers: pages by name, static files, preferences, and error pages."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from infergraph.errors import AccessFault, Fault, Forbidden, NotReady, Unauthenticated, UnknownTask, UploadTooLarge
from infergraph.observe import logs
from infergraph.protocol.callers import Scope
from infergraph.protocol.status import http_status
from infergraph.serving.console.ask import AskPages
from infergraph.serving.console.console import ConsoleParts
from infergraph.serving.console.overview import OverviewPages
from infergraph.serving.console.rendering import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Renderer
from infergraph.serving.console.task_pages import TaskPages
from infergraph.serving.console.texts import LANGUAGES, Texts
from infergraph.serving.http.cross_origin import is_foreign
from infergraph.serving.http.secrets import COOKIE

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_COOKIE_S = 365 * 86400
_FORM_BYTES = 8192
_PLACES = frozenset({"", "try", "tasks", "task", "feedback"})


class Console:
    """The pages of one server."""

    def __init__(self, parts: ConsoleParts) -> None:
        self._renderer = Renderer(parts)
        self._authenticator = parts.authenticator
        self._files = _static_files()
        self._handlers: dict[str, Handler] = {
            "static": self._static,
            "preferences": self._preferences,
            "sign_in": self._sign_in,
            "sign_out": self._sign_out,
            **OverviewPages(parts, self._renderer).handlers(),
            **AskPages(parts, self._renderer).handlers(),
            **TaskPages(parts, self._renderer).handlers(),
        }

    async def answer(self, name: str, request: Request) -> Response:
        """The response of the handler of this name; a fault becomes a page, or a part of one, that says what to do."""
        try:
            return await self._handlers[name](request)
        except Fault as fault:
            return self._of_fault(fault, name, request)

    def _of_fault(self, fault: Fault, name: str, request: Request) -> Response:
        t = self._renderer.texts(request)
        status = http_status(fault)
        values = {"text": fault.text, "advice": _advice(fault, t)}
        if request.headers.get("hx-request"):
            return self._renderer.part(request, "_fault.html", values, status=status)
        is_task = name.startswith("task")
        onward = {
            "heading": t("Page not found") if status == 404 else t("This page cannot be shown"),
            "onward": "tasks" if is_task else "./",
            "onward_text": t("All tasks") if is_task else t("Overview"),
        }
        page = "tasks" if is_task else name
        return self._renderer.page(request, page, {**values, **onward}, template="error.html", status=status)

    async def _static(self, request: Request) -> Response:
        found = self._files.get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("404 Not Found\n", 404)
        body, kind, etag = found
        headers = {"etag": etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    async def _preferences(self, request: Request) -> Response:
        if is_foreign(request.headers):
            return PlainTextResponse("403 Forbidden\n", 403)
        given = dict(parse_qsl(await _small_body(request)))
        back = given.get("back", "")
        place = back.partition("?")[0]
        response = RedirectResponse("./" + (back if place in _PLACES else ""), 303)
        for cookie, field, allowed in ((LANGUAGE_COOKIE, "language", LANGUAGES), (THEME_COOKIE, "theme", THEMES)):
            if given.get(field) in allowed:
                response.set_cookie(cookie, given[field], max_age=_COOKIE_S, path="/", httponly=True, samesite="lax")
        return response

    async def _sign_in(self, request: Request) -> Response:
        authenticator = self._authenticator
        if request.method != "POST" or authenticator is None or authenticator.sessions is None:
            return self._sign_in_page(request, "", 200)
        key = dict(parse_qsl(await _small_body(request))).get("key", "").strip().encode()
        try:
            caller = authenticator.caller(Scope.CONSOLE, key)
        except AccessFault as fault:
            _audit_sign_in(request, "", http_status(fault))
            t = self._renderer.texts(request)
            is_known = isinstance(fault, Forbidden)
            text = t("This key lacks the scope console.") if is_known else t("This key is not valid.")
            return self._sign_in_page(request, text, http_status(fault))
        token = authenticator.sessions.begin(key)
        if caller is None or authenticator.sessions.find(token.encode()) is None:  # a token of an issuer, say
            text = self._renderer.texts(request)("This key is not valid.")
            return self._sign_in_page(request, text, http_status(Unauthenticated(text)))
        _audit_sign_in(request, caller.name, 303)
        response = RedirectResponse("./", 303)
        is_secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        response.set_cookie(COOKIE, token, path="/", secure=is_secure, httponly=True, samesite="strict")
        return response

    def _sign_in_page(self, request: Request, text: str, status: int) -> Response:
        return self._renderer.page(request, "", {"text": text}, template="sign_in.html", status=status)

    async def _sign_out(self, request: Request) -> Response:
        response = RedirectResponse("sign-in", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response


def _audit_sign_in(request: Request, caller: str, status: int) -> None:
    address = request.client.host if request.client else ""
    logs.audit("sign-in", caller=caller, address=address, result=str(status))


async def _small_body(request: Request) -> str:
    """The body of a small form.

    Raises: UploadTooLarge if it is larger.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            raise UploadTooLarge(f"a form of the console has at most {_FORM_BYTES} bytes")
    return body.decode("utf-8", "replace")


def _advice(fault: Fault, t: Texts) -> str:
    if isinstance(fault, UnknownTask):
        return t("It may have been deleted; go back to the list.")
    if isinstance(fault, NotReady):
        return t("The server is busy or not ready; try again in a moment.")
    return t("See the server's log for details.")


def _static_files() -> dict[str, tuple[bytes, str, str]]:
    """The static files by name: bytes, content type and ETag."""
    files = {}
    for each in resources.files("infergraph.serving.console").joinpath("static").iterdir():
        body = each.read_bytes()
        kind = _TYPES.get(each.name.rpartition(".")[2])
        if kind is not None:
            files[each.name] = (body, kind, f'"{hashlib.sha256(body).hexdigest()[:24]}"')
    return files
