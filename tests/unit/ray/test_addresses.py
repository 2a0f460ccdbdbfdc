"""The table of addresses: what it lists, and what callers know by it."""

from __future__ import annotations

import asyncio

from infergraph.ray.addresses import Addresses, Known, Listed


def test_an_address_is_listed_until_it_is_dropped() -> None:
    """What groups tell is listed by group, once and in order."""

    async def ask() -> None:
        table = Addresses()
        for group, address in (("a", "h:2"), ("b", "h:3"), ("a", "h:1"), ("a", "h:2")):
            await table.tell(group, address)
        assert await table.listed() == Listed({"a": ("h:1", "h:2"), "b": ("h:3",)}, is_whole=False)
        await table.drop("a", "h:2")
        await table.drop("b", "h:9")
        assert (await table.listed()).addresses == {"a": ("h:1",), "b": ("h:3",)}

    asyncio.run(ask())


def test_an_address_that_is_silent_is_not_listed() -> None:
    """Without an end that is told, as of a machine that is gone, the lease ends it."""

    async def ask() -> None:
        table = Addresses(lease_s=0.0)
        await table.tell("a", "h:1")
        assert await table.listed() == Listed({}, is_whole=True)

    asyncio.run(ask())


def test_a_table_that_was_started_anew_makes_nobody_forget() -> None:
    """Only a list of all groups takes an address away."""
    known = Known()
    known.learn(Listed({"a": ("h:1", "h:2")}, is_whole=True))
    known.learn(Listed({"a": ("h:3",)}, is_whole=False))
    assert known.text("a") == "h:1\nh:2\nh:3\n"
    known.learn(Listed({"a": ("h:3",)}, is_whole=True))
    assert known.text("a") == "h:3\n"
    known.learn(Listed({}, is_whole=True))
    assert known.text("a") == ""
