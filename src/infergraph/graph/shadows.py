"""Shadow traffic: call shadow children in the background, compare and log their answers, and discard them.

message ─┬─▶ live children ──▶ answer ──────────┬─▶ returned without waiting
         └─▶ shadow, in the background ─────────┴─▶ compared, logged, dropped
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
import numpy as np

from infergraph.errors import Fault
from infergraph.message import Message
from infergraph.wire.arrays import rows_of
from infergraph.wire.v2.messages import tensors_of
from infergraph.wire.v2.records import TensorSet

_log = logging.getLogger("infergraph.shadow")


class Comparison(msgspec.Struct, frozen=True):
    """The comparison of a shadow's answer with the live one.

    Args:
        node: the shadow's name.
        same: whether both payloads are equal (arrays: of one shape, each value within 1e-9 of the other).
        difference: the largest absolute difference of two numeric arrays of one shape, else None.
        fault: the shadow's error; empty if it answered.
    """

    node: str
    same: bool
    difference: float | None = None
    fault: str = ""


class Watched:
    """The shadows of one request, waiting for the live answer."""

    __slots__ = ("_live",)

    def __init__(self, live: asyncio.Future[Message]) -> None:
        self._live = live

    def compare(self, live: Message) -> None:
        """Provide the live answer; returns at once."""
        if not self._live.done():
            self._live.set_result(live)

    def give_up(self) -> None:
        """There will be no live answer."""
        self._live.cancel()


class Shadows:
    """The shadow calls in flight.

    Args:
        limit: maximum number; further ones are dropped and logged.
        report: called with each comparison, in addition to the log.
    """

    def __init__(self, limit: int, report: Callable[[Comparison], None] | None = None) -> None:
        self._limit = limit
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, calls: Mapping[str, Callable[[], Coroutine[Any, Any, Message]]]) -> Watched:
        """Start shadow calls; `calls` has a function for each, by name."""
        loop = asyncio.get_running_loop()
        live: asyncio.Future[Message] = loop.create_future()
        for name, call in calls.items():
            if len(self._tasks) >= self._limit:
                _log.warning("shadow %s left out: %d shadow calls are in flight", name, self._limit)
                continue
            task = loop.create_task(self._watch(name, call(), live))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return Watched(live)

    async def settle(self) -> None:
        """Wait until no shadow call is in flight."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Cancel all shadow calls."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, name: str, answering: Coroutine[Any, Any, Message], live: asyncio.Future[Message]) -> None:
        try:
            answer = await answering
            expected = await asyncio.shield(live)
            comparison = compare(name, expected, answer)
        except Fault as fault:
            comparison = Comparison(name, same=False, fault=str(fault))
        except asyncio.CancelledError:
            if live.cancelled():
                return
            raise
        except Exception as error:  # noqa: BLE001  a shadow's error must not affect the live request
            _log.exception("shadow %s", name)
            comparison = Comparison(name, same=False, fault=repr(error))
        _log.info("shadow %s: same=%s difference=%s %s", *msgspec.structs.astuple(comparison))
        if self._report is not None:
            self._report(comparison)


def compare(node: str, live: Message, shadow: Message) -> Comparison:
    """Compare two answers; raises PayloadError if one of them cannot be read."""
    if live.holds_tensors or shadow.holds_tensors:
        return _compare_tensors(node, tensors_of(live), tensors_of(shadow))
    left, right = live.payload, shadow.payload
    if not (live.encoding.is_array and shadow.encoding.is_array):
        return Comparison(node, same=live.encoding is shadow.encoding and left == right)
    left, right = (rows if isinstance(rows, np.ndarray) else rows_of(rows, "data") for rows in (left, right))
    return _compare_arrays(node, left, right)


def _compare_arrays(node: str, left: np.ndarray, right: np.ndarray) -> Comparison:
    if left.shape != right.shape or left.dtype.kind not in "biuf" or right.dtype.kind not in "biuf":
        return Comparison(node, same=left.shape == right.shape and bool(np.array_equal(left, right)))
    difference = float(np.max(np.abs(left.astype(float) - right.astype(float)), initial=0.0))
    return Comparison(node, same=difference <= 1e-9, difference=difference)


def _compare_tensors(node: str, live: TensorSet, shadow: TensorSet) -> Comparison:
    """The tensors of both by name, or the only one of each if one of them has no name."""
    left, right = ({tensor.name: tensor for tensor in given.tensors} for given in (live, shadow))
    if len(left) == len(right) == 1 and (live.is_unnamed or shadow.is_unnamed):
        right = dict(zip(left, right.values(), strict=True))
    if left.keys() != right.keys():
        return Comparison(node, same=False)
    found = [_compare_arrays(node, left[name].array, right[name].array) for name in left]
    differences = [each.difference for each in found if each.difference is not None]
    same = all(
        each.same and left[name].datatype is right[name].datatype for name, each in zip(left, found, strict=True)
    )
    return Comparison(node, same=same, difference=max(differences) if len(differences) == len(found) else None)
