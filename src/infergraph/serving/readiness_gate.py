"""The readiness gate: requests wait, or are refused, until the unit is loaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from enum import Enum
from typing import Any

from infergraph.errors import NotReady
from infergraph.message import Answers, Around, Context, Message, Method, PredictiveUnit, Request
from infergraph.runner import Runner


class LoadState(Enum):
    """Whether the unit is loaded, in the words of the open inference protocol."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class ReadinessGate(Around):
    """A unit around a unit that passes requests on once it is loaded.

    `runners` are those of the unit by method; empty until the gate is open, since a request may wait for that. `reason`
    says why the unit is unavailable.

    Args:
        wait_s: how long a request waits for the gate to open; 0 to refuse it immediately. Probes never wait.
    """

    def __init__(self, unit: PredictiveUnit, wait_s: float = 0.0) -> None:
        super().__init__(unit)
        self._wait_s = wait_s
        self._decided = asyncio.Event()
        self.runners: dict[Method, Runner | None] = {}
        self.is_open = False
        self.is_unloaded = False
        self.state = LoadState.LOADING
        self.reason = ""

    async def start(self) -> None:
        """Start the unit, then open the gate; waiting requests proceed, or fail if the unit could not be loaded."""
        self._decided.clear()
        self.state, self.reason = LoadState.LOADING, ""
        try:
            await self.unit.start()
            self.open()
        except BaseException as error:
            self.state, self.reason = LoadState.UNAVAILABLE, str(error) or type(error).__name__
            raise
        finally:
            self._decided.set()

    def open(self) -> None:
        """Let requests through to the unit, which is started."""
        self.runners.update((method, self.unit.runner(method)) for method in Method)
        self.is_open, self.is_unloaded, self.state = True, False, LoadState.READY

    async def stop(self) -> None:
        """Close, then stop the unit."""
        self.is_open = False
        self.runners.clear()
        await self.unit.stop()

    async def unload(self) -> None:
        """Close, then stop the unit, which `start` can load again."""
        self.withdraw()
        self.state = LoadState.UNLOADING
        await self.stop()
        self.state = LoadState.UNAVAILABLE

    def withdraw(self) -> None:
        """Close without a unit, as it was unloaded."""
        self.is_open, self.is_unloaded = False, True
        self.state, self.reason = LoadState.UNAVAILABLE, "unloaded"
        self._decided.set()

    def _enter(self) -> PredictiveUnit:
        if not self.is_open:
            raise NotReady(f"{self.name} {'was unloaded' if self.is_unloaded else 'is not loaded yet'}")
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

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers; NotReady if it is not loaded in time."""
        return (
            self.unit.stream(method, request, context) if self.is_open else self._stream_late(method, request, context)
        )

    async def _stream_late(self, method: Method, request: Request, context: Context) -> Answers:
        async with contextlib.aclosing((await self._opened()).stream(method, request, context)) as answers:
            async for answer in answers:
                yield answer

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
