"""Loading the unit of one worker: when it starts, and when a client asks for it.

first load ─▶ work beside requests (task chunks, custom_service) … LOAD: beside, then instead ┊ UNLOAD: end, stop, drop
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable

from infergraph.assembly import Replaceable
from infergraph.process.channel import ModelAction
from infergraph.process.custom_service import CustomService
from infergraph.process.worker import WorkerContext, failure
from infergraph.serving.readiness_gate import ReadinessGate
from infergraph.tasks.engines.in_server_worker import InServerWorker

_log = logging.getLogger(__name__)


class Loading:
    """Loads and unloads the unit.

    Args:
        gate: passes requests on to the unit once it is loaded.
        replaceable: what can be reloaded; None where clients may not.
        in_server: answers chunks of tasks with the loaded unit, if any.
        ports: those of this worker, which the process of a `custom_service` closes.
        changed: called when the unit is another one.
    """

    def __init__(
        self,
        context: WorkerContext,
        gate: ReadinessGate,
        replaceable: Replaceable | None,
        in_server: InServerWorker | None,
        *,
        ports: Callable[[], list[int]],
        changed: Callable[[], None],
    ) -> None:
        self._context = context
        self._gate = gate
        self._replaceable = replaceable
        self._in_server = in_server
        self._ports = ports
        self._changed = changed
        self._custom: CustomService | None = None
        self._turn = asyncio.Lock()
        context.model_control.performed_by(self.perform)

    async def load(self) -> bool:
        """Load the unit for the first time, unless it is to stay unloaded; whether it could be."""
        async with self._turn:
            if self._context.model_control.is_unloaded:
                self._gate.withdraw()
                return True
            try:
                await self._gate.start()
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - the user's constructor and load() may raise anything
                self._context.load_failed(error)
                return False
            tune_garbage_collector()
            return True

    async def perform(self, action: ModelAction) -> str:
        """Reload the unit, or unload it; returns why it could not be loaded, or an empty text."""
        async with self._turn:
            try:
                await (self._reload() if action is ModelAction.LOAD else self._unload())
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                report = failure(error)
                _log.error("the unit could not be loaded: %s", report.text, extra={"exception": report.traceback})
                return report.text
            tune_garbage_collector()
            return ""

    async def _reload(self) -> None:
        assert self._replaceable is not None
        if self._gate.is_open:
            await self._replaceable.replace()
            self.end_service()
            self._begin_service()
        else:
            await self._gate.start()
            self.begin()
        self._changed()

    async def _unload(self) -> None:
        await self.end(self._context.settings.grace_s)
        await self._gate.unload()
        self._changed()

    def begin(self) -> None:
        """Begin what a loaded unit does beside answering requests."""
        if self._in_server is not None and self._gate.is_open:
            self._in_server.begin()
        self._begin_service()

    async def end(self, within_s: float) -> None:
        """End that: no further chunk, and the one at hand is finished within this time."""
        self.end_service()
        if self._in_server is not None:
            await self._in_server.leave(within_s)

    def _begin_service(self) -> None:
        user_object = self._gate.facts.user_object
        if self._context.slot == 0 and callable(getattr(user_object, "custom_service", None)):
            self._custom = CustomService(user_object, self._ports())
            self._custom.start()

    def end_service(self) -> None:
        """End the process of a `custom_service`, so that the one of a successor finds its ports free."""
        if self._custom is not None:
            self._custom.stop()
            self._custom = None


def tune_garbage_collector() -> None:
    """Tune the garbage collector: freeze modules and the loaded unit, which stay until it is reloaded.

    Requests leave almost no cycles, so the youngest generation may grow larger than Python's default before it is
    collected (measured: a fifth of the CPU time of a small request).
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
