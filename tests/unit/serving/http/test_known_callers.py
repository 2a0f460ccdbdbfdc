"""The middleware that admits known callers."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from infergraph.protocol.callers import Caller
from infergraph.protocol.callers import Scope as CallerScope
from infergraph.serving.authentication import Authenticator
from infergraph.serving.http import error_responses
from infergraph.serving.http.app import Receive, Scope, Send
from infergraph.serving.http.known_callers import KnownCallers

ME = Caller(name="me", scopes=frozenset({CallerScope.TASKS}))


class Revocable:
    """A key that can be revoked."""

    def __init__(self) -> None:
        self.is_valid = True

    def find(self, secret: bytes) -> Caller | None:
        return ME if self.is_valid and secret == b"key" else None


def asked(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": list(headers)}


def run(app: Any, scope: dict[str, Any], key: Revocable) -> list[MutableMapping[str, Any]]:
    """What the middleware around `app` sends."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(KnownCallers(app, Authenticator(key.find), lambda path: error_responses.of_fault)(scope, receive, send))
    return sent


def test_an_answer_ends_at_the_part_after_its_key_was_revoked() -> None:
    """Nothing more is sent, and the application does not go on for nobody."""
    key, went_on = Revocable(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        key.is_valid = False
        await send({"type": "http.response.body", "body": b"second", "more_body": True})
        await asyncio.sleep(0)
        went_on.append(True)

    sent = run(app, asked("/tasks/1/results", (b"x-api-key", b"key")), key)
    assert [message.get("body") for message in sent] == [None, b"first"]
    assert not went_on


def test_an_application_knows_the_caller_and_not_the_key() -> None:
    """The caller is in the scope, the headers that carried the key are not."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["caller"], scope["headers"]))

    run(app, asked("/tasks", (b"x-api-key", b"key"), (b"authorization", b"x"), (b"accept", b"*/*")), Revocable())
    assert seen == [(ME, [(b"accept", b"*/*")])]


def test_an_application_is_not_asked_by_strangers() -> None:
    """The answer is 401 without a call of the application."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("called")

    sent = run(app, asked("/tasks", (b"x-api-key", b"other")), Revocable())
    assert sent[0]["status"] == 401
