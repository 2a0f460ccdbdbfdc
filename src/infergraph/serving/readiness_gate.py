"""The readiness gate: requests wait, or are refused, until the unit is loaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any

from infergraph.errors import NotReady
from infergraph.message import Around, Context, Message, Method, PredictiveUnit, Request
from infergraph.runner import Runner


class ReadinessGate(Around):
    """A unit around a unit that passes requests on once it is loaded.

    `runners` are those of the unit by method; empty until the gate is open, since a request may wait for that.

    Args:
        wait_s: how long a request waits for the gate to open; 0 to refuse it immediately. Probes never wait.
    """

    def __init__(self, unit: PredictiveUnit, wait_s: float = 0.0) -> None:
        super().__init__(unit)
        self._wait_s = wait_s
        self._decided = asyncio.Event()
        self.runners: dict[Method, Runner | None] = {}
        self.is_open = False

    async def start(self) -> None:
        """Start the unit, then open the gate; waiting requests proceed, or fail if the unit could not be loaded."""
        try:
            await self.unit.start()
            self.runners.update((method, self.unit.runner(method)) for method in Method)
            self.is_open = True
        finally:
            self._decided.set()

    async def stop(self) -> None:
        """Close, then stop the unit."""
        self.is_open = False
        self.runners.clear()
        await self.unit.stop()

    def _enter(self) -> PredictiveUnit:
        if not self.is_open:
            raise NotReady(f"{self.name} is not loaded yet")
        return self.unit

    async def _opened(self) -> PredictiveUnit:
        if not self.is_open and self._wait_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._decided.wait()
        return self._enter()

    def answer(self, method: Method, request: Request, context: Context) -> Coroutine[Any, Any, Message]:
        """The unit's answer; NotReady if it is not loaded in time."""
        if self.is_open:
            return self.unit.answer(method, request, context)
        return self._answer_late(method, request, context)

    async def _answer_late(self, method: Method, request: Request, context: Context) -> Message:
        return await (await self._opened()).answer(method, request, context)

    def runner(self, method: Method) -> Runner | None:
        """The unit's; None until the gate is open."""
        return self.runners.get(method)

    async def ready(self) -> bool:
        """Whether the gate is open and the unit ready."""
        return self.is_open and await self.unit.ready()

    async def health(self, context: Context) -> Message:
        """The unit's own health; NotReady before it is loaded."""
        return await self._enter().health(context)

    async def status(self, node: str, context: Context) -> Message:
        """The health of a node; NotReady before the unit is loaded."""
        return await self._enter().status(node, context)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """The unit's metadata; NotReady if it is not loaded in time."""
        return await (await self._opened()).metadata(node, context)
