"""Posts payload log events with our HTTP client."""

from __future__ import annotations

from infergraph.errors import RemoteError
from infergraph.net.address import Location
from infergraph.net.http_client import Call, HttpClient, HttpOptions
from infergraph.observe.payload_events import Event

TIMEOUT_S = 10.0
_OPTIONS = HttpOptions(reply_limit_bytes=1024 * 1024, connect_timeout_s=TIMEOUT_S)


class PayloadPost:
    """Posts events; keeps connections to the collectors. Bound to one event loop."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[HttpClient, str]] = {}

    async def __call__(self, url: str, event: Event) -> None:
        """Post one event.

        Raises: RemoteError if it did not arrive, or the collector returned an error status; TimeoutError.
        """
        client, path = self._targets.get(url) or self._target(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in event.headers).encode("latin-1", "replace")
        reply = await client.exchange(Call("POST", path, lines, event.body), TIMEOUT_S)
        if not 200 <= reply.status < 300:
            raise RemoteError(f"the collector answered status {reply.status}", status=reply.status)

    def _target(self, url: str) -> tuple[HttpClient, str]:
        address, path = Location.of(url)
        self._targets[url] = target = HttpClient(address, _OPTIONS), path
        return target

    def close(self) -> None:
        """Close the connections."""
        for client, _ in self._targets.values():
            client.close()
