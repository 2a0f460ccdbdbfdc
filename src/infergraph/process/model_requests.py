"""Loading and unloading the served model in all workers: the supervisor's side, which needs no event loop.

One action at a time. A worker that starts later starts in the state that the last action has left.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from infergraph.process.channel import ModelAction, ModelOutcome, ModelRequest, Report

_log = logging.getLogger(__name__)


class Controlled(Protocol):
    """What the supervisor's side does with a worker."""

    @property
    def send(self) -> Callable[[ModelRequest | ModelOutcome], None]: ...


class _Asked(NamedTuple):
    """An action that a worker has asked for; None for one of the supervisor's own."""

    action: ModelAction
    worker: Controlled | None = None
    number: int = 0


class ModelRequests:
    """The supervisor's side: one action after the other, in one worker after the other.

    A load that fails in one worker ends there. The model keeps its former state: where it was loaded, workers keep what
    they have, and where it was not, those that have loaded it unload it again.

    Args:
        workers: those alive, in the order in which they are told.
    """

    def __init__(self, workers: Callable[[], Collection[Controlled]]) -> None:
        self._workers = workers
        self._queue: deque[_Asked] = deque()
        self._current: _Asked | None = None
        self._pending: deque[Controlled] = deque()
        self._told: Controlled | None = None
        self._was_unloaded = False
        self._numbers = itertools.count(1)
        self._number = 0
        self.is_unloaded = False
        self.loads_finished = 0

    def asked(self, worker: Controlled, report: Report) -> None:
        """A worker asks for an action in all of them."""
        self._queue.append(_Asked(ModelAction(report.text), worker, report.number))
        self._begin()

    def done(self, worker: Controlled, report: Report) -> None:
        """A worker has performed the action, or could not: then the report says why."""
        if worker is self._told and report.number == self._number:
            self._next(report.text)

    def gone(self, worker: Controlled) -> None:
        """A worker stops or has died; its successor starts in the state that is wanted."""
        if worker in self._pending:
            self._pending.remove(worker)
        if worker is self._told:
            self._next("")

    def _begin(self) -> None:
        if self._current is not None or not self._queue:
            return
        self._current = self._queue.popleft()
        self._was_unloaded = self.is_unloaded
        self.is_unloaded = self._current.action is ModelAction.UNLOAD
        self._pending = deque(self._workers())
        self._next("")

    def _next(self, failure: str) -> None:
        assert self._current is not None
        self._told = None
        if failure or not self._pending:
            self._finish(self._current, failure)
            return
        self._told = self._pending.popleft()
        self._number = next(self._numbers)
        self._told.send(ModelRequest(self._current.action, self._number))

    def _finish(self, asked: _Asked, failure: str) -> None:
        self._current = None
        if failure:
            _log.error("the model could not be loaded: %s", failure)
            self.is_unloaded = self._was_unloaded
            if self._was_unloaded:
                self._queue.appendleft(_Asked(ModelAction.UNLOAD))
        else:
            _log.info("the model was %sed in all workers", asked.action.value)
            self.loads_finished += asked.action is ModelAction.LOAD
        if asked.worker is not None:
            asked.worker.send(ModelOutcome(asked.number, failure))
        self._begin()
