"""The guard tells other sites' pages from our own, and from programs."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.datastructures import Headers

from infergraph.serving.http.cross_origin import HEADERS, ForeignWrites, is_foreign, may_look

CASES = [
    ({}, False, "a program, or a plain link typed in"),
    ({"host": "h:9000", "origin": "http://h:9000"}, False, "our own page over plain http"),
    ({"host": "h", "origin": "https://h"}, False, "our own page behind a proxy that does TLS"),
    ({"host": "h:9000", "origin": "http://h:3000"}, True, "another port is another site's page"),
    ({"host": "h:9000", "origin": "null"}, True, "a sandboxed frame"),
    ({"host": "h:9000", "origin": "http://evil"}, True, "another site"),
    ({"sec-fetch-site": "same-origin", "origin": "http://h"}, False, "our own page"),
    ({"sec-fetch-site": "none"}, False, "typed into the browser"),
    ({"sec-fetch-site": "same-site"}, True, "another port of this machine"),
    ({"sec-fetch-site": "cross-site"}, True, "another site"),
]


@pytest.mark.parametrize(("headers", "foreign", "who"), CASES, ids=[who for _, _, who in CASES])
def test_foreign_pages_are_known(headers: dict[str, str], foreign: bool, who: str) -> None:
    """What browsers say of a request's origin decides, and its absence means no browser."""
    assert is_foreign(Headers(headers)) is foreign, who


def test_a_link_from_elsewhere_may_be_followed_but_not_framed_or_fetched() -> None:
    """Only a navigation of the whole window is answered for another site."""
    follow = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert may_look(Headers(follow))
    assert not may_look(Headers({**follow, "sec-fetch-dest": "iframe"}))
    assert not may_look(Headers({**follow, "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}))


def answered(method: str, origins: str, **headers: str) -> int:
    """The status of a request through the guard; 200 is the application's."""
    seen: list[int] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/tasks", "headers": raw}
    asyncio.run(ForeignWrites(app, origins)(scope, None, send))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_other_sites_change_nothing(method: str) -> None:
    """What changes something is refused to foreign pages, also where reading is open to all."""
    assert answered(method, "*", host="h", origin="http://evil") == 403
    assert answered(method, "*", sec_fetch_site="cross-site") == 403
    assert answered(method, "http://friend", host="h", origin="http://evil") == 403


def test_programs_our_pages_and_named_origins_may() -> None:
    """The guard is no hindrance to those that are meant."""
    assert answered("POST", "*") == 200
    assert answered("POST", "*", host="h", origin="http://h") == 200
    assert answered("DELETE", "http://a, http://friend", host="h", origin="http://friend") == 200
    assert answered("GET", "*", host="h", origin="http://evil") == 200
    assert answered("OPTIONS", "*", host="h", origin="http://evil") == 200


def test_nothing_inline_may_run() -> None:
    """The policy has neither inline nor evaluated code, nothing from elsewhere, and no frames."""
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "*" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
