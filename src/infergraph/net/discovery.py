"""Service discovery: the addresses behind the hosts of a node, which may be many and may change.

hosts, and those that a file lists ─▶ looked up in DNS ─▶ one address for each IP
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from infergraph.net.address import Address, NoConnection, reason
from infergraph.net.backoff import Backoff

LookUp: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the IP addresses of a host; the port is a hint. Raises: OSError or UnicodeError if it has none."""

_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\s:/?#@,\[\]]+)(:(?P<port>\d{1,5}))?")


async def look_up(host: str, port: int) -> Sequence[str]:
    """The IP addresses of a host, as the system's resolver orders them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class Counts(NamedTuple):
    """How many addresses of a node are in use, ejected, or gone while earlier calls to them are still answered."""

    up: int = 0
    ejected: int = 0
    draining: int = 0


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """How the addresses of a node are found, and when one that failed is called again.

    Args:
        hosts: more hosts of the node, each `host` or `host:port`.
        file: a file that lists more, one a line, and is read again with each look-up; None for no file.
        look_up: gives the IP addresses of a host.
        lasts_s: how long what was found is used before it is looked up again.
        again_s: the least time between two look-ups, which failed connections ask for.
        pauses: how long an address is ejected, by the number of its failures in a row.
        connect_timeout_s: time-out of connecting to one of several addresses.
        draw: a random number from 0 to 1, to choose addresses by.
        on_change: called with the counts when they may have changed.
    """

    hosts: tuple[str, ...] = ()
    file: Path | None = None
    look_up: LookUp = look_up
    lasts_s: float = 5.0
    again_s: float = 1.0
    pauses: Backoff = Backoff(first_s=0.5, limit_s=30.0)
    connect_timeout_s: float = 5.0
    draw: Callable[[], float] = random.random
    on_change: Callable[[Counts], None] = lambda counts: None

    def shown(self, first: Address) -> Address:
        """The address that messages name: the first, or one that stands for what has none."""
        if first.host:
            return first
        host, port = split_host(self.hosts[0]) if self.hosts else (str(self.file), 0)
        return replace(first, host=host, port=port or first.port)

    def is_needed(self, host: str) -> bool:
        """Whether a node at `host` may have several addresses: an IP address or localhost alone is one."""
        return bool(self.hosts) or self.file is not None or not _is_fixed(host)

    async def hosts_of(self, first: Address) -> list[Address]:
        """The hosts of a node, those in the file included.

        Args:
            first: as the node is called; without a host, if only a file names some.
        Raises: OSError, ValueError for a file that cannot be read.
        """
        named = [split_host(text) for text in self.hosts]
        if self.file is not None:
            named += listed(await asyncio.to_thread(self.file.read_text, "utf-8"), has_port=first.port > 0)
        others = [replace(first, host=host, port=port or first.port) for host, port in named]
        return list(dict.fromkeys([first, *others] if first.host else others))

    async def addresses_of(self, host: Address) -> list[Address]:
        """The addresses behind one host. Raises: NoConnection if it cannot be looked up."""
        if _is_fixed(host.host):
            return [host]
        try:
            return [replace(host, ip=ip) for ip in await self.look_up(host.host, host.port)]
        except (OSError, UnicodeError) as error:
            raise NoConnection(f"cannot connect to {host.authority}: {reason(error)}") from error


def split_host(text: str) -> tuple[str, int]:
    """The host and the port in `host`, `host:port` or `[IPv6]:port`; port 0 where there is none.

    Raises: ValueError for anything else.
    """
    found = _HOST.fullmatch(text)
    port = int(found["port"] or 0) if found else 0
    if found is None or port > 65535 or found["port"] == "0":
        raise ValueError(f"{text!r} is not a host or host:port")
    return found["host"].strip("[]"), port


def listed(text: str, *, has_port: bool) -> list[tuple[str, int]]:
    """The hosts in a file that lists them, one a line; empty lines and comments (`#`) are passed over.

    Args:
        has_port: whether there is a port for lines without one.
    Raises: ValueError for a line that is no host, or has no port, with its number.
    """
    hosts = []
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            host, port = split_host(name)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not port and not has_port:
            raise ValueError(f"line {number}: {name!r} has no port")
        hosts.append((host, port))
    return hosts


def _is_fixed(host: str) -> bool:
    """Whether a host is one address for good; localhost is one, whatever it resolves to."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
