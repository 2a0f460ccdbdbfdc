"""The pages of tasks: the list, equally fast with 100,000 tasks, and one task in detail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from infergraph.errors import PayloadError, UnknownTask
from infergraph.serving.console.console import ConsoleParts
from infergraph.serving.console.rendering import Renderer
from infergraph.serving.console.texts import Texts
from infergraph.serving.tasks.api import document
from infergraph.tasks.service import ResultFile, TaskService, read_block
from infergraph.tasks.store import Listing
from infergraph.tasks.task import ENDED, State, Task
from infergraph.wire.error_lines import read_error_line

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

PAGE_TASKS = 50
RESULTS_SHOWN = 10
REASONS_SHOWN = 20
LINES_NAMED = 8
PEEK_BYTES = 64 * 1024
ERRORS_PEEK_BYTES = 1024 * 1024
PLACES_LIMIT = 1000
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(?:\.\d+)?")
_SHOWN = (State.WAITING, State.RUNNING, State.FINISHED, State.FAILED)


class TaskPages:
    """The task pages and their live parts."""

    def __init__(self, parts: ConsoleParts, renderer: Renderer) -> None:
        self._tasks = parts.tasks
        self._renderer = renderer

    def handlers(self) -> dict[str, Handler]:
        """By name."""
        return {"tasks": self.tasks, "task_list": self.task_list, "task": self.task, "task_live": self.task_live}

    def _service(self, request: Request) -> TaskService:
        if self._tasks is None:
            raise UnknownTask("tasks are not served here (setting tasks=off)")
        return self._tasks.seen_by(request.scope.get("caller"))

    async def tasks(self, request: Request) -> Response:
        """The page with the list, and the form for a new one."""
        return self._renderer.page(request, "tasks", await self._list(request))

    async def task_list(self, request: Request) -> Response:
        """The list."""
        return self._renderer.part(request, "_task_list.html", await self._list(request))

    async def task(self, request: Request) -> Response:
        """The page of one task."""
        values = await self._one(request)
        return self._renderer.page(request, "tasks", values, template="task.html")

    async def task_live(self, request: Request) -> Response:
        """The live part of that page."""
        return self._renderer.part(request, "_task.html", await self._one(request))

    async def _list(self, request: Request) -> dict[str, Any]:
        service, t = self._service(request), self._renderer.texts(request)
        query = request.query_params
        state, prefix, before = query.get("state", ""), query.get("prefix", ""), _number(query.get("before"))
        if state not in {"", *(each.value for each in _SHOWN)}:
            raise PayloadError(f"state: {state!r} is not a task state")
        states = (State(state),) if state else _SHOWN
        wanted = Listing(states=states, prefix=prefix, before=before, limit=PAGE_TASKS)
        found, counts, paused = await asyncio.gather(service.listing(wanted), service.counts(), service.paused())
        # Queue positions are found by counting: for a page of tasks only while few tasks are waiting.
        is_short = counts[State.WAITING] <= PLACES_LIMIT
        positions = [await service.position(task) if is_short else None for task in found]
        rows = [
            document(task, position=position, paused=paused) for task, position in zip(found, positions, strict=True)
        ]
        kept = {"state": state, "prefix": prefix, "before": before}
        return {
            "tasks": rows,
            "filters": [
                ("", t("All"), sum(counts[each] for each in _SHOWN)),
                *((each.value, t(each.value), counts[each]) for each in _SHOWN),
            ],
            "state": state,
            "prefix": prefix,
            "before": before,
            "onward": found[-1].seq if len(found) == PAGE_TASKS else None,
            "query": _query(kept),
            "href": lambda **changed: _query({**kept, **changed}),
            "trouble": paused,
        }

    async def _one(self, request: Request) -> dict[str, Any]:
        service, t = self._service(request), self._renderer.texts(request)
        id = request.query_params.get("id", "")
        task = await service.task(id)
        paused = await service.paused() if task.state is State.RUNNING else ""
        shown = document(task, position=await service.position(task), paused=paused)
        return {
            "task": shown,
            "mean_rate": task.done / task.worked_s if task.worked_s else None,
            "api": f"../api/v1.0/tasks/{quote(id, safe='')}",
            "state_text": _state_text(task, t),
            "results": await self._first_results(service, task),
            "failures": await self._failures(service, task) if task.failed else [],
        }

    async def _first_results(self, service: TaskService, task: Task) -> list[str]:
        file = await service.results(task.id, partial=True)
        lines = await asyncio.to_thread(_first_lines, file, RESULTS_SHOWN)
        return [line.decode("utf-8", "replace") for line in lines]

    async def _failures(self, service: TaskService, task: Task) -> list[FailureGroup]:
        file = await service.errors(task.id)
        return by_reason(await asyncio.to_thread(_lines, file, ERRORS_PEEK_BYTES))


class FailureGroup(NamedTuple):
    """Failed lines with the same reason.

    Args:
        reason, record: of the first line.
        lines: the numbers of the first few lines.
        total: their number among the inspected lines.
    """

    reason: str
    record: str
    lines: list[int]
    total: int


def by_reason(lines: Iterable[bytes]) -> list[FailureGroup]:
    """Error lines grouped by their reason, ignoring quoted values, the most frequent first."""
    found: dict[str, list[tuple[int, str, str]]] = {}
    for line in lines:
        with suppress(PayloadError):  # a line that was not read completely
            failed = read_error_line(line)
            found.setdefault(_VALUES.sub("…", failed[1]), []).append(failed)
    groups = [
        FailureGroup(each[0][1], each[0][2], [number for number, _, _ in each[:LINES_NAMED]], len(each))
        for each in found.values()
    ]
    return sorted(groups, key=lambda group: -group.total)[:REASONS_SHOWN]


def _first_lines(file: ResultFile, count: int) -> list[bytes]:
    """The first lines of a file, up to PEEK_BYTES. Blocks."""
    return _lines(file, PEEK_BYTES)[:count]


def _lines(file: ResultFile, size_bytes: int) -> list[bytes]:
    """The complete lines in the first bytes of a file, or the beginning of a single long line. Blocks."""
    lines = read_block(file, 0, size_bytes).split(b"\n")
    return [line for line in lines[:-1] or lines if line]


def _state_text(task: Task, t: Texts) -> str:
    """The announcement for screen readers: the state, and the progress in steps of 10 %."""
    if task.state in ENDED or not task.total:
        return t(task.state.value)
    return f"{t(task.state.value)}, {task.done * 10 // task.total * 10} %"


def _query(given: dict[str, Any]) -> str:
    found = urlencode({name: value for name, value in given.items() if value not in ("", None)})
    return f"?{found}" if found else ""


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise PayloadError(f"before: {text!r} is not a whole number") from error
