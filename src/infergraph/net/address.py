"""Network addresses: parse URLs, and open connections.

"https://host:8443/hook?a=b" ──Location.of──▶ Address(host, 8443, is_secure) + "/hook?a=b"
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import msgspec
from msgspec.structs import replace

from infergraph.errors import RemoteError

P = TypeVar("P", bound=asyncio.BaseProtocol)

_PORTS = {"http": 80, "https": 443}
_UNQUOTED = "/:?#[]@!$&'()*+,;=%~"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?")


class Address(msgspec.Struct, frozen=True):
    """A host and a port, and whether it uses TLS.

    Args:
        name: expected in its certificate, and sent as the host; empty for the host itself.
        ip: where to connect, as the host has been looked up; empty to look it up for each connection. Certificates,
            the Host header and `:authority` go by the host in either case.
    """

    host: str
    port: int
    is_secure: bool = False
    name: str = ""
    ip: str = ""

    @property
    def authority(self) -> str:
        """Host and port as one text."""
        return f"{self._host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The same for the Host header, without the default port."""
        if self.name:
            return self.name
        return self._host if self.port == _PORTS["https" if self.is_secure else "http"] else self.authority

    @property
    def peer(self) -> str:
        """The IP address and port, where they are known; else the authority."""
        return f"{bracketed(self.ip)}:{self.port}" if self.ip else self.authority

    @property
    def _host(self) -> str:
        return bracketed(self.host)

    def is_same_server(self, other: Address) -> bool:
        """Whether both have one host, port and scheme."""
        return (self.host, self.port, self.is_secure) == (other.host, other.port, other.is_secure)

    def url(self, path: str = "") -> str:
        """The URL of a path at this address."""
        return f"{'https' if self.is_secure else 'http'}://{self.authority}{path}"


class NoConnection(RemoteError):
    """No connection could be established: nothing was sent."""


class Location(NamedTuple):
    """The target of an http or https URL.

    Args:
        path: with its query, as in a request line.
    """

    address: Address
    path: str

    @classmethod
    def of(cls, url: str) -> Location:
        """Parse `url`; non-ASCII characters are encoded, credentials and fragment removed.

        Raises: ValueError with a readable message.
        """
        if _CONTROLS.search(url):
            raise ValueError("the URL holds a control character")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"not a URL: {error}") from error
        if parts.scheme not in _PORTS or not host:
            raise ValueError("not an http or https URL")
        if port == 0:
            raise ValueError("nothing can be called at port 0")
        address = Address(_name_of(host), port or _PORTS[parts.scheme], parts.scheme == "https")
        try:
            path = quote(parts.path or "/", safe=_UNQUOTED)
            query = f"?{quote(parts.query, safe=_UNQUOTED)}" if parts.query else ""
        except UnicodeEncodeError as error:
            raise ValueError("the URL is not valid Unicode") from error
        return cls(address, path + query)

    def at(self, reference: str) -> Location:
        """Resolve a redirect from this location. Raises: ValueError if it is not valid."""
        return Location.of(urljoin(self.address.url(self.path), reference))


async def dial(
    address: Address, protocol: Callable[[], P], *, timeout_s: float, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.Transport, P]:
    """Open a connection.

    Args:
        tls: the TLS settings of a secure address; None for the system's certificate authorities.
    Raises: NoConnection if it cannot be established within `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    rules = (tls or ssl.create_default_context()) if address.is_secure else None
    name = (address.name or address.host) if address.is_secure else None
    try:
        async with asyncio.timeout(timeout_s) as limit:
            host = address.ip or address.host
            return await loop.create_connection(protocol, host, address.port, ssl=rules, server_hostname=name)
    except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError; UnicodeError: an invalid host name
        if isinstance(error, TimeoutError) and not limit.expired():
            raise
        at = f" at {address.ip}" if address.ip and address.ip != address.host else ""
        raise NoConnection(f"cannot connect to {address.authority}{at}: {reason(error)}") from error


async def connects(address: Address, timeout_s: float) -> bool:
    """Whether a connection can be established."""
    try:
        plain = replace(address, is_secure=False)
        transport, _ = await dial(plain, asyncio.Protocol, timeout_s=timeout_s)
    except RemoteError:
        return False
    transport.close()
    return True


def _name_of(host: str) -> str:
    """A host name for look-up: IDNA for non-ASCII names. Raises: ValueError if it is not valid."""
    if ":" in host:
        with suppress(ValueError):
            return ipaddress.IPv6Address(host).compressed
        raise ValueError(f"the host {host!r} is no IPv6 address")
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise ValueError(f"the host {host!r} is not a valid host name: {error}") from error
    if not _HOST.fullmatch(name) or any(not 0 < len(label) < 64 for label in name.rstrip(".").split(".")):
        raise ValueError(f"the host {host!r} is not a valid host name")
    return name


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def reason(error: OSError | UnicodeError) -> str:
    """Why there is no connection, in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
