"""The life of one request, written once for every edge.

    start ─▶ counted ─▶ admitted ─▶ handler: driven by its runner, or in a task, in time ─▶ reply ─▶ accounted, logged
       └──────── the caller leaves: abandon ────────┘

What is raised on the way is caught here; an edge says how its protocol tells of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import msgspec

from infergraph.errors import DeadlinePassed, Fault
from infergraph.observe import logs
from infergraph.observe.node_times import collect_node_times, node_times
from infergraph.runner import Job, Runner
from infergraph.serving.admission import Admission

_log = logging.getLogger(__name__)


class Accounting(Protocol):
    """Where requests are counted."""

    def started(self) -> None:
        """A request has come in."""

    def finished(
        self, method: str, code: str, transport: str, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """A request that had started is over."""


class AccessLine(NamedTuple):
    """What the access log says of a request beside its outcome."""

    method: str
    path: str
    client: str = ""


class Call(Job, kw_only=True, eq=False):
    """One request, from its edge's point of view.

    Args:
        name: what it is counted under.
        transport: rest or grpc.
        handler: answers it.
        runner: drives the handler; None where it may have to wait.
        is_gated: whether it counts against the concurrency limit and the time limit; probes do not.
        puid: its id; empty for none.
        begun: when its first bytes came, on the clock of `perf_counter`.
        request_bytes: the size of its body.
        result, error: what the handler answered or raised; where one is there from the start, the call is refused.
        limit_s: the longest time it may take; 0 for any.
        times_nodes: whether its handler wants to know the times of nodes.
    """

    name: str
    transport: str
    handler: Callable[[Any], Coroutine[Any, Any, Any]]
    runner: Runner | None = None
    is_gated: bool = True
    puid: str = ""
    begun: float = msgspec.field(default_factory=perf_counter)
    request_bytes: int = 0
    limit_s: float = 0.0
    times_nodes: bool = False
    is_over: bool = False
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    gone_code = ""
    """What is counted where the caller has left."""

    def reply(self) -> tuple[str, int]:
        """Send `result`, or what tells of `error`; the code that is counted and the bytes that were sent."""
        raise NotImplementedError

    def give_up(self) -> None:
        """End a call whose reply could not be sent, so that its caller does not wait."""
        raise NotImplementedError

    def late(self) -> DeadlinePassed:
        """The fault of a call whose time is over."""
        raise NotImplementedError

    def access_line(self) -> AccessLine:
        """What the access log says of it."""
        raise NotImplementedError


class Calls:
    """The calls of one worker, or of one of its ports. To be used on its event loop.

    Args:
        admission: who may be worked on.
        accounting: where calls are counted.
    """

    def __init__(self, admission: Admission, accounting: Accounting) -> None:
        self._admission = admission
        self._accounting = accounting
        self._writes_lines = logs.access_on()

    def start(self, call: Call) -> None:
        """Answer a call, now or later; `call.is_over` tells whether it is answered already."""
        admission = self._admission
        admission.in_flight += 1
        self._accounting.started()
        if call.is_gated and 0 < admission.concurrency_limit < admission.in_flight:
            call.error = call.error or admission.overloaded()
        if call.error is not None or call.result is not None:
            self._end(call)
            return
        if self._writes_lines or call.times_nodes:
            call.context.run(collect_node_times)
        call.work = call.handler(call)
        runner = call.runner
        if runner is None:
            call.task = asyncio.get_running_loop().create_task(self._wait(call), context=call.context)
            return
        call.done = self._end
        if runner.submit(call):
            self._end(call)
        elif call.limit_s:
            call.timer = asyncio.get_running_loop().call_later(call.limit_s, self._time_out, call)

    def abandon(self, call: Call) -> None:
        """Forget a call whose caller has left. Idempotent."""
        if call.is_over:
            return
        call.abandoned = True
        if call.task is not None:
            call.task.cancel()
            call.close()  # where the task has not begun it never will
        self._close(call, call.gone_code, 0)

    def _time_out(self, call: Call) -> None:
        call.abandoned = True
        call.error = call.late()
        self._end(call)

    async def _wait(self, call: Call) -> None:
        """Await the handler, at most as long as the call may take."""
        work = call.taken()
        try:
            async with asyncio.timeout(call.limit_s or None) as limit:
                call.result = await work
        except TimeoutError as error:
            call.error = call.late() if limit.expired() else error
        except BaseException as error:  # noqa: BLE001 - the last net: whatever it is, the caller gets an answer
            call.error = error
        self._end(call)

    def _end(self, call: Call) -> None:
        """Answer a call, unless its caller has left."""
        if call.is_over:
            return
        error = call.error
        if error is not None and not isinstance(error, Fault):
            _log.error("a request to %s failed (puid %s)", call.access_line().path, call.puid or "-", exc_info=error)
        try:
            code, sent_bytes = call.reply()
        except Exception:  # noqa: BLE001 - one reply is no reason to lose what else is in work
            _log.exception("the reply to %s could not be sent", call.access_line().path)
            code, sent_bytes = call.gone_code, 0
            call.give_up()
        self._close(call, code, sent_bytes)

    def _close(self, call: Call, code: str, sent_bytes: int) -> None:
        call.is_over = True
        self._admission.in_flight -= 1
        if call.timer is not None:
            call.timer.cancel()
        seconds = perf_counter() - call.begun
        self._accounting.finished(call.name, code, call.transport, seconds, call.request_bytes, sent_bytes)
        if self._writes_lines:
            line = call.access_line()
            nodes = call.context.run(node_times) if call.task is None else node_times()
            logs.access(
                call.transport,
                line.method,
                line.path,
                code,
                seconds,
                client=line.client,
                puid=call.puid,
                nodes=nodes,
            )
        call.result = call.error = None  # an error knows the frames that know the call: let go of it
