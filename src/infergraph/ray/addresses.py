"""Where the replicas of groups listen: a Serve deployment of one replica.

replica ─told again and again─▶ listed ─▶ what a caller's file holds ┊ one that is silent for too long is dropped
"""

from __future__ import annotations

import time
from typing import NamedTuple

LEASE_S = 15.0


class Listed(NamedTuple):
    """The addresses of groups, by the groups' keys.

    Args:
        is_whole: whether all groups have had the time to tell; after a restart of the table they have not yet.
    """

    addresses: dict[str, tuple[str, ...]]
    is_whole: bool


class Known:
    """What a caller knows of addresses, by what it was told."""

    def __init__(self) -> None:
        self._addresses: dict[str, tuple[str, ...]] = {}

    def learn(self, listed: Listed) -> None:
        """Take over what is listed; nothing is forgotten by a list that is not whole."""
        kept = {} if listed.is_whole else self._addresses
        keys = {*listed.addresses, *kept}
        self._addresses = {
            key: tuple(sorted({*listed.addresses.get(key, ()), *kept.get(key, ())})) for key in sorted(keys)
        }

    def text(self, group: str) -> str:
        """The text of the file that lists a group's addresses."""
        return "".join(f"{address}\n" for address in self._addresses.get(group, ()))


class Addresses:
    """The table.

    Args:
        lease_s: how long an address is listed that is not told again.
    """

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self._lease_s = lease_s
        self._began = time.monotonic()
        self._told: dict[tuple[str, str], float] = {}

    async def tell(self, group: str, address: str) -> None:
        """List an address of a group, for a while."""
        self._told[group, address] = time.monotonic()

    async def drop(self, group: str, address: str) -> None:
        """List an address no more."""
        self._told.pop((group, address), None)

    async def listed(self) -> Listed:
        """All addresses."""
        now = time.monotonic()
        self._told = {told: at for told, at in self._told.items() if now - at < self._lease_s}
        found: dict[str, tuple[str, ...]] = {}
        for group, address in sorted(self._told):
            found[group] = (*found.get(group, ()), address)
        return Listed(found, is_whole=now - self._began >= self._lease_s)
