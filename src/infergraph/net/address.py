"""Where a call goes, and reaching it.

"https://host:8443/hook?a=b" ──Location.of──▶ Address(host, 8443, is_secure) + "/hook?a=b"
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from infergraph.errors import RemoteError

P = TypeVar("P", bound=asyncio.BaseProtocol)

_PORTS = {"http": 80, "https": 443}
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"


class Address(msgspec.Struct, frozen=True):
    """A host and a port, and whether TLS is spoken there."""

    host: str
    port: int
    is_secure: bool = False

    @property
    def authority(self) -> str:
        """Host and port as one text."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, path: str = "") -> str:
        """The address of a path there."""
        return f"{'https' if self.is_secure else 'http'}://{self.authority}{path}"


class Location(NamedTuple):
    """What an http or https URL names.

    Args:
        path: with its query, as a request line carries it.
    """

    address: Address
    path: str

    @classmethod
    def of(cls, url: str) -> Location:
        """The location that `url` names; letters beyond ASCII are encoded, credentials and fragment left out.

        Raises: ValueError with what is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("not an http or https URL")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        path = quote(parts.path or "/", safe=_PATH_SAFE)
        query = "?" + quote(parts.query, safe=f"{_PATH_SAFE}/?") if parts.query else ""
        return cls(Address(host, port, parts.scheme == "https"), path + query)

    def at(self, reference: str) -> Location:
        """The location that a reference in an answer from here names. Raises: ValueError if it names none."""
        return Location.of(urljoin(self.address.url(self.path), reference))


async def dial(
    address: Address, protocol: Callable[[], P], *, timeout_s: float, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, P]:
    """A new connection.

    Args:
        tls: the rules of a secure address; the system's certificate authorities where None.
    Raises: RemoteError in words if nobody can be reached within `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    rules = (tls or ssl.create_default_context()) if address.is_secure else None
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await loop.create_connection(protocol, address.host, address.port, ssl=rules)
    except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError; UnicodeError: a host that is no name
        if isinstance(error, TimeoutError) and not limit.expired():
            raise
        raise RemoteError(f"cannot connect to {address.authority}: {_reason(error)}") from error


async def connects(address: Address, timeout_s: float) -> bool:
    """Whether somebody listens there."""
    try:
        transport, _ = await dial(Address(address.host, address.port), asyncio.Protocol, timeout_s=timeout_s)
    except RemoteError:
        return False
    transport.close()
    return True


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
