"""The task endpoint: gBuilder's five routes, exactly as its contract defines them.

    GET /status · POST /tasks · GET /tasks/<id> · GET /tasks/<id>/results · DELETE /tasks/<id>

The native API beside these routes is `infergraph.serving.tasks.api`.
"""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from infergraph.errors import Fault, TaskFault, TaskState
from infergraph.protocol.callers import Caller
from infergraph.protocol.gbuilder import STATUS, TASKS, TaskStatus
from infergraph.serving.tasks.api import api_routes
from infergraph.serving.tasks.paths import TaskPaths
from infergraph.serving.tasks.results import results_response
from infergraph.serving.tasks.upload import is_immediate, receive_form
from infergraph.settings import Settings
from infergraph.tasks.availability import Availability
from infergraph.tasks.service import TaskService
from infergraph.tasks.task import State

_log = logging.getLogger(__name__)

_STATUS = {
    State.WAITING: TaskStatus.WAITING,
    State.RUNNING: TaskStatus.RUNNING,
    State.FINISHED: TaskStatus.FINISHED,
    State.FAILED: TaskStatus.FAILED,
}


def routes(service: TaskService, settings: Settings) -> list[BaseRoute]:
    """gBuilder's five routes, and the native API, over a task service."""

    def edge(caller: Caller | None) -> _Edge:
        return _Edge(service.seen_by(caller), settings)

    table = {
        ("", "POST"): _Edge.submit,
        ("*", "GET"): _Edge.state,
        ("*", "DELETE"): _Edge.stop,
        ("results", "GET"): _Edge.results,
    }
    return [
        *api_routes(service, settings),
        TaskPaths(STATUS, edge, {("", "GET"): _Edge.status}),
        TaskPaths(TASKS, edge, table, {("", "POST"): "task made", ("*", "DELETE"): "task stopped"}),
    ]


class _Edge:
    """The handlers of the five routes, for one caller."""

    def __init__(self, service: TaskService, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    async def status(self, request: Request, id: str) -> Response:
        """`{"status": 1|2|3}`: available, full, unavailable."""
        try:
            return JSONResponse({"status": int(await self._service.availability())})
        except TaskFault:
            _log.exception("the task store cannot be read")
            return JSONResponse({"status": int(Availability.BROKEN)})

    async def submit(self, request: Request, id: str) -> Response:
        """Submit a task; respond at once, or when it has ended, as `immediate` says."""
        task, immediate = await receive_form(self._service, request)
        if not (is_immediate({}, self._settings) if immediate is None else immediate):
            ended = await self._service.ended(task, request.is_disconnected)
            if ended is None:
                raise TaskState(f"task {task.id!r} was stopped", reason="TASK_STOPPED")
            if ended.state is State.FAILED:
                raise Fault(f"task {task.id!r} failed: {ended.error}", reason="TASK_FAILED")
        return JSONResponse({"status": 200})

    async def state(self, request: Request, id: str) -> Response:
        """`{"status": 0|1|2|3|-1}`: running, waiting, finished, failed, unknown."""
        task = await self._service.find(id)
        return JSONResponse({"status": int(TaskStatus.UNKNOWN if task is None else _STATUS[task.state])})

    async def results(self, request: Request, id: str) -> Response:
        """The results, as a download."""
        return results_response(await self._service.results(id), id)

    async def stop(self, request: Request, id: str) -> Response:
        """Stop a task; its work has ended when this is answered."""
        await self._service.stop(id)
        return JSONResponse({"status": 200})
