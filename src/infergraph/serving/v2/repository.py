"""The model repository of the open inference protocol: the index, and the loading and unloading of the served model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from infergraph.errors import Fault, LoadFailed, NotPermitted, NotReady, PayloadError, UnknownModel
from infergraph.process.channel import ModelAction
from infergraph.serving.readiness_gate import LoadState, ReadinessGate
from infergraph.serving.v2.model import Model

_REFUSED = ("config", "file:")


class Repository:
    """The served model, and the nodes of a graph, as a repository.

    Args:
        unit: what is loaded.
        ask: has all workers perform an action, and returns why one could not; None where clients may not.
    """

    def __init__(
        self, model: Model, unit: ReadinessGate, ask: Callable[[ModelAction], Awaitable[str]] | None = None
    ) -> None:
        self._model = model
        self._unit = unit
        self._ask = ask

    async def index(self, *, only_ready: bool = False) -> list[dict[str, Any]]:
        """The entries: the model, then `model/node` for each node of a graph, which cannot be loaded alone."""
        state, reason = await self._state()
        if only_ready and state is not LoadState.READY:
            return []
        entry = {"name": self._model.name, "state": state.value, "reason": reason}
        if state is LoadState.READY and (version := await self._version()):
            entry["version"] = version
        nodes = self._unit.facts.nodes
        return [entry, *({**entry, "name": f"{self._model.name}/{node}"} for node in nodes)]

    async def _version(self) -> str:
        try:
            return (await self._model.metadata()).version
        except Fault:  # a remote node does not tell its metadata now
            return ""

    async def _state(self) -> tuple[LoadState, str]:
        if self._unit.state is LoadState.READY and not await self._unit.ready():
            return LoadState.UNAVAILABLE, "not ready"
        return self._unit.state, self._unit.reason

    async def load(self, name: str, parameters: Iterable[str] = ()) -> None:
        """Load the model, or reload it beside the old one, in all workers.

        Args:
            parameters: names of those that the client sent.
        Raises: NotPermitted, UnknownModel, PayloadError for parameters that would change the model; LoadFailed.
        """
        ask = self._permitted()
        if name != self._model.name:
            raise UnknownModel(f"failed to load {name!r}, no such model")
        for parameter in parameters:
            if parameter.startswith(_REFUSED):
                raise PayloadError(f"failed to load {name!r}, the parameter {parameter!r} is not offered")
        failure = await ask(ModelAction.LOAD)
        if failure:
            raise LoadFailed(f"failed to load {name!r}, {failure}")

    async def unload(self, name: str) -> None:
        """Unload the model in all workers.

        Raises: NotPermitted; UnknownModel, also for one that is not loaded; NotReady while it cannot be.
        """
        ask = self._permitted()
        if name != self._model.name or not self._model.is_there:
            raise UnknownModel(f"failed to unload {name!r}, no such model")
        failure = await ask(ModelAction.UNLOAD)
        if failure:
            raise NotReady(f"failed to unload {name!r}, {failure}")

    def _permitted(self) -> Callable[[ModelAction], Awaitable[str]]:
        if self._ask is None:
            raise NotPermitted("models are loaded and unloaded by clients only with the setting model_control=on")
        return self._ask
