"""Hosts of a node as text and in a file, and the addresses behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infergraph.errors import RemoteError
from infergraph.net.address import Address
from infergraph.net.discovery import Discovery, listed, split_host

FIRST = Address("model.test", 9000)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("model", "model", 0),
        ("model:9000", "model", 9000),
        ("10.0.0.1:80", "10.0.0.1", 80),
        ("[::1]:9000", "::1", 9000),
        ("[fd00::1]", "fd00::1", 0),
    ],
)
def test_hosts(text: str, host: str, port: int) -> None:
    """A host stands alone or before its port."""
    assert split_host(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", ":9000", "a:b", "a:0", "a:70000", "::1", "http://a", "a/b", "a b", "a,b", "a:1:2"]
)
def test_what_is_no_host(text: str) -> None:
    """Anything else is refused, with the text."""
    with pytest.raises(ValueError, match=r"is not a host or host:port") as caught:
        split_host(text)
    assert repr(text) in str(caught.value)


def test_a_file_of_hosts() -> None:
    """A host stands on each line; empty lines and comments are passed over."""
    text = "# replicas\na:1\n\n  b:2  # the second\n"
    assert listed(text, has_port=False) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "says"), [("a:1\nb c\n", "line 2: 'b c' is not a host"), ("a\n", "line 1: 'a' has no")]
)
def test_a_file_that_is_not_one_of_hosts(text: str, says: str) -> None:
    """The line that is wrong is named."""
    with pytest.raises(ValueError, match=says):
        listed(text, has_port=False)


@pytest.mark.parametrize(
    ("discovery", "host", "is_needed"),
    [
        (Discovery(), "10.0.0.1", False),
        (Discovery(), "::1", False),
        (Discovery(), "localhost", False),
        (Discovery(), "model", True),
        (Discovery(hosts=("10.0.0.2",)), "10.0.0.1", True),
        (Discovery(file=Path("hosts.txt")), "", True),
    ],
)
def test_one_fixed_address_needs_none(discovery: Discovery, host: str, is_needed: bool) -> None:
    """Only a name, several hosts or a file of them may stand for several addresses."""
    assert discovery.is_needed(host) is is_needed


def test_hosts_of_a_node_are_joined(tmp_path: Path) -> None:
    """The first host, the others, and those of the file are one list without doubles; a port of its own wins."""
    (tmp_path / "hosts.txt").write_text("c\nmodel.test:9000\n")
    discovery = Discovery(hosts=("b:1", "c"), file=tmp_path / "hosts.txt")
    found = asyncio.run(discovery.hosts_of(FIRST))
    assert [each.authority for each in found] == ["model.test:9000", "b:1", "c:9000"]


def test_addresses_keep_their_host() -> None:
    """Each IP is an address that is called by its host's name; an IP that was written is itself."""

    async def look_up(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "::1"]

    found = asyncio.run(Discovery(look_up=look_up).addresses_of(FIRST))
    assert [(each.authority, each.peer) for each in found] == [
        ("model.test:9000", "127.0.0.1:9000"),
        ("model.test:9000", "[::1]:9000"),
    ]
    literal = Address("127.0.0.1", 9000)
    assert asyncio.run(Discovery(look_up=look_up).addresses_of(literal)) == [literal]


def test_a_host_that_is_unknown() -> None:
    """A name without addresses is a fault that says so."""

    async def look_up(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(RemoteError, match=r"cannot connect to model\.test:9000: Name or service not known"):
        asyncio.run(Discovery(look_up=look_up).addresses_of(FIRST))
