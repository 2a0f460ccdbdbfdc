"""Run several branches of a graph concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from infergraph.errors import Fault

T = TypeVar("T")


async def side_by_side(branches: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all branches, in order.

    Promises: all branches are done when this returns; a single branch needs no task; cancellation reaches all.
    Raises: what the first branch in order raised, once all are done.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(branch) for branch in branches[1:]]
    results: list[T | Exception] = []
    try:
        try:
            results.append(await branches[0])
        except Exception as error:  # noqa: BLE001  raised again below, after the others are done
            results.append(error)
        if tasks:
            await asyncio.wait(tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    results.extend(_outcome(task) for task in tasks)
    failed = next((result for result in results if isinstance(result, Exception)), None)
    try:
        if failed is not None:
            raise failed
        return results  # type: ignore[return-value] # none of them is an exception
    finally:
        # The error's traceback refers to this frame: if the frame referred to the error, both would keep the request.
        failed, results, tasks = None, [], []


def _outcome(task: asyncio.Task[T]) -> T | Exception:
    if task.cancelled():
        return Fault("a branch of the graph was cancelled from within")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, Exception):
        return error
    raise error
