"""A unit that can be reloaded, beside the one that answers, and unloaded, while its process goes on.

    replace: build ─▶ start beside ─▶ new requests go to the new one ─▶ the old one finishes its own ─▶ stop

Its code is imported again, as by a new process: changed files take effect.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from infergraph.errors import GraphError, NotReady
from infergraph.message import Answers, Around, Context, Message, Method, PredictiveUnit, Request, UnitFacts

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_OURS = Path(__file__).resolve().parents[2]


class _Unloaded(PredictiveUnit):
    """Stands in for a unit that is not loaded."""

    def __init__(self, name: str, facts: UnitFacts) -> None:
        self.name = name
        self._facts = facts._replace(user_object=None)

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """NotReady."""
        raise NotReady(f"{self.name} is not loaded")

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """NotReady."""
        raise NotReady(f"{self.name} is not loaded")

    @property
    def facts(self) -> UnitFacts:
        """Those of the unit that it stands for."""
        return self._facts


class _Tenure:
    """The requests that one unit is answering."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        self.count += 1
        self._idle.clear()

    def leave(self) -> None:
        self.count -= 1
        if not self.count:
            self._idle.set()

    async def over(self, within_s: float) -> None:
        """Wait until there is none, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()


class Replaceable(Around):
    """A unit around the one that `make` has built last.

    It names no runner: between the choice of a runner and the call, the unit may be another one.

    Args:
        make: builds the unit; no user code runs before its `start`.
        folder: of the user's own code; modules in it are imported again.
        grace_s: how long a unit that was replaced or unloaded may finish its requests.
    """

    def __init__(self, make: Callable[[], PredictiveUnit], folder: Path, *, grace_s: float) -> None:
        super().__init__(make())
        self._make = make
        self._folder = folder.resolve()
        self._grace_s = grace_s
        self._tenure = _Tenure()
        self._modules: dict[str, ModuleType] = {}

    async def start(self) -> None:
        """Start the unit; one that has been stopped is rebuilt."""
        unit = self._make() if isinstance(self.unit, _Unloaded) else self.unit
        await self._started(unit)
        self.unit, self._tenure = unit, _Tenure()

    async def stop(self) -> None:
        """Unload: let the unit finish its requests, stop it, and drop it."""
        unit, tenure = self.unit, self._tenure
        self.unit, self._tenure = _Unloaded(self.name, unit.facts), _Tenure()
        await tenure.over(self._grace_s)
        await unit.stop()

    async def replace(self) -> None:
        """Load a new unit beside this one, which then takes over.

        Raises: whatever building or starting it raises; the present one then goes on.
        """
        unit = self._make()
        if unit.name != self.name:
            raise GraphError(f"it is now called {unit.name!r}; the server has to be restarted for that")
        await self._started(unit)
        old, tenure = self.unit, self._tenure
        self.unit, self._tenure = unit, _Tenure()
        await tenure.over(self._grace_s)
        await old.stop()
        sys.modules.update(self._modules)  # a node of a graph takes its modules away by their names

    async def _started(self, unit: PredictiveUnit) -> None:
        try:
            with self._fresh_imports():
                await unit.start()
        except BaseException:
            await unit.stop()
            raise

    @contextmanager
    def _fresh_imports(self) -> Iterator[None]:
        """Within, what earlier units have imported from the folder is imported again; after a failure it is back."""
        former = {name: sys.modules.pop(name) for name in self._modules if name in sys.modules}
        before = frozenset(sys.modules)
        try:
            yield
        except BaseException:
            sys.modules.update(former)
            raise
        added = {name: module for name, module in sys.modules.items() if name not in before}
        self._modules = {name: module for name, module in added.items() if _is_within(module, self._folder)}

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's answer."""
        unit, tenure = self.unit, self._tenure
        tenure.enter()
        try:
            return await unit.answer(method, request, context)
        finally:
            tenure.leave()

    async def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The unit's answers."""
        unit, tenure = self.unit, self._tenure
        tenure.enter()
        try:
            async with aclosing(unit.stream(method, request, context)) as answers:
                async for answer in answers:
                    yield answer
        finally:
            tenure.leave()


def _is_within(module: ModuleType, folder: Path) -> bool:
    """Whether a module is source code of the user's."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        return False
    path = Path(file).resolve()
    return path.is_relative_to(folder) and not path.is_relative_to(_OURS) and _INSTALLED.isdisjoint(path.parts)
