"""Addresses of servers: what a client reads out of a URL."""

from __future__ import annotations

import pytest

from infergraph.client.connection import Server
from infergraph.errors import SettingsError
from infergraph.message import Transport

REST, GRPC = Transport.REST, Transport.GRPC


@pytest.mark.parametrize(
    ("url", "transport", "authority", "prefix"),
    [
        ("http://h:9000", REST, "h:9000", ""),
        ("h:9000", REST, "h:9000", ""),
        ("http://h", REST, "h:80", ""),
        ("https://h/", REST, "h:443", ""),
        ("grpc://h:5000", GRPC, "h:5000", ""),
        ("grpcs://h:5000", GRPC, "h:5000", ""),
        ("http://[::1]:9000", REST, "[::1]:9000", ""),
        ("http://g/seldon/ns/dep", REST, "g:80", "/seldon/ns/dep"),
        ("http://g/seldon/ns/dep/", REST, "g:80", "/seldon/ns/dep"),
        ("http://g/seldon/ns/dep/api/v1.0/predictions", REST, "g:80", "/seldon/ns/dep"),
        ("http://h:9000/api/v1.0", REST, "h:9000", ""),
        ("http://h:9000/predict", REST, "h:9000", ""),
        ("http://h:9000/under/here", REST, "h:9000", "/under/here"),
        ("http://bücher.example:9000/käse", REST, "xn--bcher-kva.example:9000", "/k%C3%A4se"),
    ],
)
def test_addresses(url: str, transport: Transport, authority: str, prefix: str) -> None:
    """Scheme, host, port and prefix are read; the path of an operation that was pasted along is left out."""
    server = Server.of(url)
    assert (server.transport, server.address.authority, server.prefix) == (transport, authority, prefix)


def test_tls_is_asked_for_by_the_scheme() -> None:
    """https and grpcs mean TLS, http and grpc do not."""
    secure = {scheme: Server.of(f"{scheme}://h:1").address.is_secure for scheme in ("http", "https", "grpc", "grpcs")}
    assert secure == {"http": False, "https": True, "grpc": False, "grpcs": True}


@pytest.mark.parametrize("given", ["grpc", "GRPC", Transport.GRPC])
def test_the_transport_may_be_given(given: str | Transport) -> None:
    """A transport that is given goes before the one that the scheme means."""
    assert Server.of("http://h:9000", given).transport is GRPC


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("grpc://g:80/seldon/ns/dep", (("seldon", "dep"), ("namespace", "ns"))),
        ("grpc://g:80/seldon/dep", (("seldon", "dep"),)),
        ("grpc://g:80", ()),
        ("http://g/seldon/ns/dep", ()),
        ("http://ann:s%40y@h", (("authorization", "Basic YW5uOnNAeQ=="),)),
    ],
)
def test_headers_of_an_address(url: str, headers: tuple[tuple[str, str], ...]) -> None:
    """Over gRPC a deployment behind an ingress is named in the metadata; credentials become a header."""
    assert Server.of(url).headers == headers


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h:1",
        "http://",
        "http://h:x",
        "http://h:99999",
        "grpc://h",
        "http://h/?a=b",
        "http://h#f",
        "http://[",
        "http://h:0",
        "http://a..b:1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    """A text that is no address of a server is refused, and the text is in the fault."""
    with pytest.raises(SettingsError) as raised:
        Server.of(url)
    assert repr(url) in str(raised.value)


def test_an_unknown_transport() -> None:
    """A transport that is neither REST nor gRPC is refused."""
    for given in ("local", "soap", Transport.LOCAL):
        with pytest.raises(SettingsError, match="'rest' or 'grpc'"):
            Server.of("http://h:1", given)
