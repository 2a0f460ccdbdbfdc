"""Events of the payload log, posted with the client that calls nodes."""

from __future__ import annotations

import ssl
from urllib.parse import quote, urlsplit

from infergraph.errors import RemoteError
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.observe.payload_events import Event

TIMEOUT_S = 10.0
_REPLY_LIMIT_BYTES = 1024 * 1024


class PayloadPost:
    """Posts events; keeps connections to the collectors. Lives on one event loop."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[HttpClient, str]] = {}

    async def __call__(self, url: str, event: Event) -> None:
        """Post one event.

        Raises: RemoteError where it did not arrive, or the collector answered no success; TimeoutError.
        """
        target = self._targets.get(url)
        if target is None:
            target = self._targets[url] = _target(url)
        client, path = target
        lines = "".join(f"{name}: {value}\r\n" for name, value in event.headers).encode("latin-1", "replace")
        reply = await client.exchange(Call("POST", path, lines, event.body), TIMEOUT_S)
        if not 200 <= reply.status < 300:
            raise RemoteError(f"the collector answered status {reply.status}", status=reply.status)

    def close(self) -> None:
        """Close the connections."""
        for client, _ in self._targets.values():
            client.close()


def _target(url: str) -> tuple[HttpClient, str]:
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._") if parts.query else ""
    options = HttpOptions(reply_limit_bytes=_REPLY_LIMIT_BYTES, connect_timeout_s=TIMEOUT_S, tls=tls)
    return HttpClient(parts.hostname or "", port, options), path + query
