"""Addresses and what URLs name."""

from __future__ import annotations

import pytest

from infergraph.net.address import Address, Location


@pytest.mark.parametrize(
    ("url", "address", "path"),
    [
        ("http://h", Address("h", 80), "/"),
        ("https://h", Address("h", 443, is_secure=True), "/"),
        ("http://h:9000/a/b?c=d&e", Address("h", 9000), "/a/b?c=d&e"),
        ("http://[::1]:9000/", Address("::1", 9000), "/"),
        ("http://ann:secret@h/x#part", Address("h", 80), "/x"),
        ("http://h/café?q=ü", Address("h", 80), "/caf%C3%A9?q=%C3%BC"),
        ("http://h/a%20b c", Address("h", 80), "/a%20b%20c"),
        ("http://bücher.example/", Address("xn--bcher-kva.example", 80), "/"),
    ],
)
def test_what_a_url_names(url: str, address: Address, path: str) -> None:
    """Host, port, TLS and the path as a request line carries it, with every letter beyond ASCII encoded once."""
    assert Location.of(url) == (address, path)


@pytest.mark.parametrize(
    "url", ["", "h:80", "ftp://h/", "http://", "http://h:port/", "http://h:70000/", f"http://{'ü' * 70}/"]
)
def test_what_names_nothing(url: str) -> None:
    """A text that is no URL of HTTP, or whose host or port cannot be, is a ValueError."""
    with pytest.raises(ValueError, match=r"\w"):
        Location.of(url)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/c", "http://h:1/c"),
        ("c?d", "http://h:1/a/c?d"),
        ("?d", "http://h:1/a/b?d"),
        ("//other/c", "http://other:80/c"),
        ("https://other/c", "https://other:443/c"),
    ],
)
def test_where_an_answer_sends(reference: str, expected: str) -> None:
    """A reference is read from where it was answered."""
    location = Location(Address("h", 1), "/a/b").at(reference)
    assert location.address.url(location.path) == expected
