"""The request lifecycle, shared by every edge: admission, time limit, reply, metrics, access log.

    start ─▶ counted ─▶ admitted ─▶ handler: driven by its runner, or in a task, in time ─▶ reply ─▶ accounted, logged
       └────── the client disconnects: abandon ──────┘

Exceptions are caught here; each edge turns them into its protocol's error response.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import msgspec

from infergraph.auth.quotas import Allowance
from infergraph.errors import DeadlinePassed, Fault
from infergraph.observe import logs
from infergraph.observe.node_times import collect_node_times, node_times
from infergraph.protocol.callers import NEEDED, Caller, Needed, Scope
from infergraph.runner import Job, Runner
from infergraph.serving.admission import Admission
from infergraph.serving.authentication import Authenticator
from infergraph.serving.row_counts import Rows, count_rows

_log = logging.getLogger(__name__)


_ACTS = {"load": "model loaded", "unload": "model unloaded"}
"""The endpoints that change something, by label."""


class Accounting(Protocol):
    """Records requests for the metrics."""

    def started(self) -> None:
        """Count a request that has arrived."""

    def finished(
        self,
        method: str,
        code: str,
        transport: str,
        seconds: float,
        request_bytes: int,
        response_bytes: int,
        protocol: str,
    ) -> None:
        """Record a finished request."""


class Uncounted:
    """Accounting of requests that are not counted: scrapes, and rows of tasks."""

    def started(self) -> None:
        """Nothing."""

    def finished(self, *_: Any) -> None:
        """Nothing."""


class AccessLine(NamedTuple):
    """The fields of the access log that identify a request."""

    method: str
    path: str
    client: str = ""


class Call(Job, kw_only=True, eq=False):
    """One request, as its edge sees it.

    Args:
        name: its label in the metrics.
        transport: rest or grpc.
        protocol: seldon or v2.
        handler: answers it.
        runner: runs the handler; None if it may wait, and so needs a task.
        is_gated: whether it counts against the concurrency limit and the time limit; probes do not.
        puid: its id; empty for none.
        begun: when its first bytes arrived, on the clock of `perf_counter`.
        request_bytes: the size of its body.
        result, error: what the handler returned or raised; if either is set from the start, the handler is not called.
        limit_s: its time limit; 0 for none.
        times_nodes: whether its handler needs the time of each node.
        caller: who sent it; None where nobody is asked.
        spend_rows: is told the rows that were answered, for a caller with a quota of them; None for any other.
        rows: where those are counted, while it is answered.
        admission: what `check_caller` asks again; None where nobody is asked.
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
    caller: Caller | None = None
    admission: tuple[Authenticator, Needed, bytes | None, str] | None = None
    spend_rows: Callable[[int], None] | None = None
    rows: Rows | None = None
    protocol: str = "seldon"
    is_over: bool = False
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    gone_code = ""
    """The status code recorded when the client has disconnected."""

    def admit(self, authenticator: Authenticator, secret: bytes | None, subject: str) -> Allowance | None:
        """Find out who sent it; returns what is left of the caller's quota, None without one.

        Raises: AccessFault if they may not.
        """
        needed = NEEDED.get(self.name, Scope.ADMIN)
        self.caller = authenticator.caller(needed, secret, subject)
        allowance = authenticator.spend(self.caller)
        if self.caller is not None and self.caller.limits.rows_per_minute:
            self.spend_rows = functools.partial(authenticator.spend_rows, self.caller)
        self.admission = authenticator, needed, secret, subject
        return allowance

    def check_caller(self) -> None:
        """For answers that go on. Raises: AccessFault if the caller's key has been revoked meanwhile."""
        if self.admission is not None:
            authenticator, needed, secret, subject = self.admission
            authenticator.caller(needed, secret, subject)

    def reply(self) -> tuple[str, int]:
        """Send `result`, or the error response for `error`; return the status code and the number of bytes sent."""
        raise NotImplementedError

    def give_up(self) -> None:
        """End a call whose reply could not be sent, so that the client does not wait."""
        raise NotImplementedError

    def late(self) -> DeadlinePassed:
        """The fault for a call that exceeded its time limit."""
        raise NotImplementedError

    def access_line(self) -> AccessLine:
        """Its fields in the access log."""
        raise NotImplementedError


class Calls:
    """The calls of one worker, or of one of its ports. Not thread-safe: use it on the event loop.

    Args:
        admission: the concurrency limit.
        accounting: where calls are recorded.
    """

    def __init__(self, admission: Admission, accounting: Accounting) -> None:
        self._admission = admission
        self._accounting = accounting
        self._writes_lines = logs.access_on()
        self._audits = logs.audit_on()

    def start(self, call: Call) -> None:
        """Answer a call, now or later; `call.is_over` says whether it has been answered already."""
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
        if call.spend_rows is not None:
            call.rows = call.context.run(count_rows)
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
        """Cancel a call whose client has disconnected. Idempotent."""
        if call.is_over:
            return
        call.abandoned = True
        if call.task is not None:
            call.task.cancel()
            call.close()  # a task cancelled before its first step never runs its coroutine
        self._close(call, call.gone_code, 0)

    def cut(self, call: Call, fault: Fault) -> None:
        """End a call with a fault, whatever its handler is doing. Idempotent."""
        if call.is_over:
            return
        call.abandoned = True
        if call.task is not None:
            call.task.cancel()
            call.close()
        call.error = fault
        self._end(call)

    def _time_out(self, call: Call) -> None:
        self.cut(call, call.late())

    async def _wait(self, call: Call) -> None:
        """Await the handler within the time limit of the call."""
        work, call.work = call.work, None
        try:
            async with asyncio.timeout(call.limit_s or None) as limit:
                call.result = await work  # type: ignore[misc]
        except TimeoutError as error:
            call.error = call.late() if limit.expired() else error
        except BaseException as error:  # noqa: BLE001 - catch-all: the client always gets a response
            call.error = error
        self._end(call)

    def _end(self, call: Call) -> None:
        """Send the reply, unless the call is over already."""
        if call.is_over:
            call.result = call.error = None  # as below
            return
        error = call.error
        if error is not None and not isinstance(error, Fault):
            _log.error("a request to %s failed (puid %s)", call.access_line().path, call.puid or "-", exc_info=error)
        try:
            code, sent_bytes = call.reply()
        except Exception:  # noqa: BLE001 - a failed reply must not affect other calls
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
        self._accounting.finished(
            call.name, code, call.transport, seconds, call.request_bytes, sent_bytes, call.protocol
        )
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
                caller="" if call.caller is None else call.caller.name,
            )
        if call.spend_rows is not None and call.rows is not None:
            call.spend_rows(call.rows.count)
        if self._audits and call.name in _ACTS:
            line, caller = call.access_line(), "" if call.caller is None else call.caller.name
            logs.audit(_ACTS[call.name], caller=caller, address=line.client, result=code, path=line.path)
        call.result = call.error = None  # break the reference cycle: error, traceback, frame, call
