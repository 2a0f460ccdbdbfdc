"""The server that a client calls, parsed from its URL, and the limits of its connections.

"https://gateway/seldon/ns/deployment" ──Server.of──▶ transport, address, path prefix, deployment
"""

from __future__ import annotations

import base64
import re
import ssl
from enum import StrEnum
from typing import Self
from urllib.parse import unquote, urlsplit

import msgspec

from infergraph.errors import SettingsError
from infergraph.message import Transport
from infergraph.net.address import Address, Location
from infergraph.net.grpc_client import GrpcTls
from infergraph.net.http_client import HttpOptions
from infergraph.settings import Settings

_SCHEMES = {
    "http": (Transport.REST, False),
    "https": (Transport.REST, True),
    "grpc": (Transport.GRPC, False),
    "grpcs": (Transport.GRPC, True),
}
_FORM = ", as http://host:port and grpc://host:port are"
# People paste the URL of the prediction path.
_OPERATION = re.compile(r"/(api/v(1\.0|0\.1)(/predictions|/feedback)?|predict)/?$")
_INGRESS = re.compile(r"(?:^|/)seldon/(?:(?P<namespace>[^/]+)/)?(?P<deployment>[^/]+)$")


class Protocol(StrEnum):
    """The protocol in which a server is asked."""

    SELDON = "seldon"
    V2 = "v2"

    @classmethod
    def of(cls, given: str) -> Self:
        """The protocol of that name. Raises: SettingsError if there is none."""
        try:
            return cls(given.lower())
        except ValueError as error:
            raise SettingsError(f"protocol is {' or '.join(map(repr, map(str, cls)))}, not {given!r}") from error


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and TLS of connections.

    Args:
        connect_timeout_s: time limit for connecting.
        message_limit_bytes: largest message sent or received; the files of tasks have no limit.
        idle_connections: maximum number of idle connections kept open.
        idle_s: how long an idle connection is kept open.
        tls: the TLS context for https; None for the system's certificate authorities. gRPC uses only `tls_roots`,
            `tls_key` and `tls_chain`.
        tls_roots, tls_key, tls_chain: PEM for grpcs; None for the library's defaults.
    """

    connect_timeout_s: float = 10.0
    message_limit_bytes: int = Settings().message_limit_bytes
    idle_connections: int = 32
    idle_s: float = 60.0
    tls: ssl.SSLContext | None = None
    tls_roots: bytes | None = None
    tls_key: bytes | None = None
    tls_chain: bytes | None = None

    def http_options(self, address: Address) -> HttpOptions:
        """The connection options of the HTTP client."""
        return HttpOptions(
            connect_timeout_s=self.connect_timeout_s,
            reply_limit_bytes=self.message_limit_bytes,
            idle_connections=self.idle_connections,
            idle_s=self.idle_s,
            tls=(self.tls or ssl.create_default_context()) if address.is_secure else None,
        )

    def grpc_tls(self) -> GrpcTls:
        """The TLS credentials of gRPC."""
        return GrpcTls(roots=self.tls_roots, key=self.tls_key, chain=self.tls_chain)


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server, as its URL describes it.

    Args:
        transport: rest or grpc.
        prefix: path before the API's paths, without a trailing slash.
        headers: sent because of the URL: credentials, and over gRPC the deployment's name.
    """

    transport: Transport
    address: Address
    prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, url: str, transport: Transport | str | None = None) -> Server:
        """Parse a URL.

        Args:
            url: http, https, grpc or grpcs, a host and a port, optionally with the path of a deployment behind an
                ingress, `/seldon/<namespace>/<deployment>`. Without a scheme it is http.
            transport: "rest" or "grpc", if the scheme does not determine it.
        Raises: SettingsError for an invalid URL.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            kind, is_secure = _SCHEMES[parts.scheme]
            location = Location.of(parts._replace(scheme="https" if is_secure else "http").geturl())
        except (KeyError, ValueError) as error:
            reason = f": {error}" if isinstance(error, ValueError) else ""
            raise SettingsError(f"{url!r} is not an address of a server{_FORM}{reason}") from error
        if parts.query or parts.fragment:
            raise SettingsError(f"{url!r} is not an address of a server{_FORM}: it has a query or a fragment")
        if parts.port is None and parts.scheme.startswith("grpc"):
            raise SettingsError(f"{url!r} names no port")
        kind = _transport(transport) if transport else kind
        prefix = _OPERATION.sub("", location.path).rstrip("/")
        headers = []
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers.append(("authorization", f"Basic {base64.b64encode(pair).decode()}"))
        if kind is Transport.GRPC:
            headers += _deployment(prefix)
        return cls(
            transport=kind,
            address=location.address,
            prefix=prefix,
            headers=tuple(headers),
        )

    def __str__(self) -> str:
        scheme = {Transport.REST: "http", Transport.GRPC: "grpc"}[self.transport]
        return f"{scheme}{'s' if self.address.is_secure else ''}://{self.address.authority}{self.prefix}"


def _transport(given: Transport | str) -> Transport:
    try:
        kind = Transport(given.lower()) if isinstance(given, str) else given
    except ValueError:
        kind = Transport.LOCAL
    if kind is Transport.LOCAL:
        raise SettingsError(f"transport must be 'rest' or 'grpc', not {given!r}")
    return kind


def _deployment(prefix: str) -> list[tuple[str, str]]:
    """The metadata by which an ingress routes a gRPC call to a deployment, since such a call has no path prefix."""
    found = _INGRESS.search(prefix)
    if not found:
        return []
    headers = [("seldon", found["deployment"])]
    return [*headers, ("namespace", found["namespace"])] if found["namespace"] else headers
