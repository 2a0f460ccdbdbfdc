"""Rows that are requests to served paths: they are answered by the endpoints of the HTTP port, without a connection.

row ─▶ RowRequests ─▶ endpoint of the path table ─▶ its handler ─▶ Answer; of a fault, what the path's dialect answers
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from infergraph.errors import Fault
from infergraph.message import PredictiveUnit
from infergraph.protocol.callers import NEEDED, Caller, Scope
from infergraph.protocol.headers import PUID
from infergraph.serving import inference
from infergraph.serving.call import Uncounted
from infergraph.serving.http.app import Endpoint, HttpApp, HttpOptions, Paths, Receive, Send
from infergraph.serving.http.app import Scope as AsgiScope
from infergraph.serving.http.error_responses import JSON_TYPE, Answer
from infergraph.serving.http.exchange import Exchange, too_large
from infergraph.serving.readiness_gate import ReadinessGate
from infergraph.serving.v2.dialect import V2Dialect
from infergraph.settings import Settings
from infergraph.tasks.engines.request_rows import Reply
from infergraph.unit_source import UnitSource
from infergraph.wire import request_lines

_log = logging.getLogger(__name__)

_SCOPES = (Scope.PREDICT, Scope.FEEDBACK)


def row_endpoint(paths: Paths, path: str) -> tuple[Endpoint, Mapping[str, str]] | None:
    """What answers a row at this path, and the path parameters; None where no row is answered.

    Rows are answered where the unit is asked by POST, and answers once: not by a stream, a probe or model control.
    """
    endpoint, parameters = paths.exact.get(path), {}
    if endpoint is None:
        endpoint, found = paths.find(path)
        parameters = dict(found)
    if endpoint is None or not endpoint.gated or endpoint.name == "infer_stream":
        return None
    is_asked = endpoint.methods is None or "POST" in endpoint.methods
    return (endpoint, parameters) if is_asked and NEEDED.get(endpoint.name) in _SCOPES else None


def is_served(paths: Paths, path: str, caller: Caller | None) -> bool:
    """Whether a caller's rows are answered at this path: all predictions, rewards by those who may send them."""
    found = row_endpoint(paths, path)
    if found is None:
        return False
    needed = NEEDED[found[0].name]
    return needed is Scope.PREDICT or caller is None or caller.may(needed)


class RowRequests:
    """Answers requests by the endpoints of an application; see `tasks.engines.request_rows.Requests`."""

    def __init__(self, app: HttpApp) -> None:
        self._app = app
        self._base_path = app.base_path.decode()

    async def ask(self, path: str, body: bytes, request_id: str) -> Reply:
        """What the path answers to a POST of JSON. Raises: what its handler raises."""
        path = request_lines.path_of(path, self._base_path)
        found = row_endpoint(self._app.paths, path)
        if found is None:
            return _reply(self._app.dialect.not_found(path, "no row is answered there"))
        limit_bytes = self._app.options.message_limit_bytes
        if limit_bytes and len(body) > limit_bytes:
            raise too_large(len(body), limit_bytes)
        exchange = self._exchange(*found, path, body, request_id)
        return _reply(await exchange.handler(exchange))

    def refusal(self, path: str, error: BaseException, request_id: str) -> Reply:
        """What the path answers when its handler has raised."""
        found = row_endpoint(self._app.paths, request_lines.path_of(path, self._base_path))
        dialect = (found[0].dialect if found is not None else None) or self._app.dialect
        if isinstance(error, Fault):
            return _reply(dialect.of_fault(error))
        _log.error("the request %s to %s failed", request_id, path, exc_info=error)
        return _reply(dialect.of_bug(request_id))

    def _exchange(
        self, endpoint: Endpoint, parameters: Mapping[str, str], path: str, body: bytes, request_id: str
    ) -> Exchange:
        headers = [JSON_TYPE, (PUID, request_id.encode()), (b"content-length", b"%d" % len(body))]
        exchange = Exchange(
            name=endpoint.name,
            transport="rest",
            protocol=endpoint.protocol,
            handler=endpoint.handler,
            app=self._app,
            endpoint=endpoint,
            method="POST",
            path=path,
            raw_headers=headers,
            headers=dict(headers),
            wire=None,
            can_write=asyncio.Event(),
            parameters=parameters,
            body=body,
            request_bytes=len(body),
        )
        exchange.puid = request_id
        return exchange


def _reply(answer: Answer) -> Reply:
    kind = dict(answer.headers).get(b"content-type", b"")
    return Reply(answer.status, answer.whole_body, is_json=kind.startswith(JSON_TYPE[1]))


def of_task_worker(unit: PredictiveUnit, source: str, settings: Settings) -> RowRequests:
    """What answers the rows of a task worker, by the paths that the server of the same unit has.

    Args:
        unit: is started.
        source: a UnitSource as JSON text.
    """
    described = msgspec.json.decode(source, type=UnitSource)
    # Answers of one line; what an answer may hold is a task's setting.
    settings = replace(settings, json_pretty=False, nan=settings.task_nan)
    gate = ReadinessGate(unit)
    gate.open()
    parts = inference.v2_parts(
        gate, described, settings, metrics_dir=Path(), is_ready=gate.ready, is_server_ready=gate.ready
    )
    dialect = inference.dialect_of(described, settings, unit.facts)
    paths = inference.inference_paths(gate, described, settings, parts, V2Dialect(dialect), _undescribed)
    options = HttpOptions(message_limit_bytes=settings.message_limit_bytes, concurrency_limit=0)
    return RowRequests(HttpApp(paths, dialect, _nowhere, options, Uncounted(), base_path=settings.base_path))


async def _undescribed() -> dict[str, Any]:
    return {}


async def _nowhere(scope: AsgiScope, receive: Receive, send: Send) -> None:
    raise NotImplementedError("a row has no connection")
