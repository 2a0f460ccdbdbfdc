"""Branches of a graph that run side by side."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from infergraph.graph.parallel import side_by_side


class Held:
    """What each branch is asked about."""


async def _answers(held: Held) -> int:
    return 1


async def _fails(held: Held) -> int:
    raise ValueError("boom")


@pytest.mark.parametrize("branches", [(_answers, _fails), (_fails, _answers), (_fails, _fails), (_answers, _answers)])
def test_a_request_is_freed_at_its_end(branches: tuple[Callable[[Held], Coroutine[Any, Any, int]], ...]) -> None:
    """Also where a branch fails: no error and no frame refer to each other until the garbage collector comes."""

    async def ask() -> "weakref.ref[Held]":
        held = Held()
        if _fails in branches:
            with pytest.raises(ValueError, match="boom"):
                await side_by_side([branch(held) for branch in branches])
        else:
            assert await side_by_side([branch(held) for branch in branches]) == [1, 1]
        return weakref.ref(held)

    async def asked() -> bool:
        freed = await ask()
        await asyncio.sleep(0)
        return freed() is None

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(asked())
    finally:
        gc.enable()
