"""Nodes for graph tests: small HTTP servers on real ports that answer as a case says and record who called.

Kinds: `tag` wraps the request in who answered where, `echo` gives it back, `const` answers one body, `headers`
answers the request headers asked for, `gzip` compresses a body that nobody asked to be compressed.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from http_server import running


class Seen(NamedTuple):
    """One call that a node got."""

    node: str
    method: str
    path: str
    body: str
    headers: tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """What a node answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Nodes:
    """The nodes of one graph: their ports and the calls they got, in the order of arrival."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._seen: list[Seen] = []
        self._lock = threading.Lock()

    def record(self, seen: Seen) -> None:
        with self._lock:
            self._seen.append(seen)

    def calls(self) -> list[Seen]:
        """The calls since the last time this was asked."""
        with self._lock:
            seen, self._seen = self._seen, []
            return seen


@contextmanager
def serving(kinds: Mapping[str, Any], down: tuple[str, ...] = ()) -> Iterator[Nodes]:
    """Nodes by name, each of the kind given; those in `down` have a port where nobody listens."""
    nodes = Nodes()
    with ExitStack() as stack:
        for name in down:
            held = stack.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused, nobody else gets the port
            nodes.ports[name] = held.getsockname()[1]
        for name, kind in kinds.items():
            if name not in nodes.ports:
                server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(name, kind, nodes))
                nodes.ports[name] = stack.enter_context(running(server)).server_port
        yield nodes


def _handler(name: str, kind: Any, nodes: Nodes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            nodes.record(Seen(name, self.command, self.path, body.decode("latin-1"), tuple(self.headers.items())))
            answer = answer_of(kind, name, self.path, body, list(self.headers.items()))
            self.send_response_only(answer.status)
            for header, value in answer.headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def answer_of(kind: Any, name: str, path: str, body: bytes, headers: list[tuple[str, str]]) -> Answer:
    """What a node of this kind answers."""
    if isinstance(kind, dict) and "by_path" in kind:
        kind = kind["by_path"].get(path, kind["default"])
    settings = {"kind": kind} if isinstance(kind, str) else kind
    time.sleep(settings.get("delay_ms", 0) / 1000)
    json_type = {"Content-Type": "application/json"}
    match settings["kind"]:
        case "tag":
            who, where = json.dumps(name), json.dumps(path)
            return Answer(200, json_type, f'{{"by":{who},"path":{where},"in":{body.decode() or "null"}}}'.encode())
        case "echo":
            return Answer(
                200, {"Content-Type": {key.lower(): value for key, value in headers}.get("content-type", "")}, body
            )
        case "const":
            body = settings["body"]
            raw = body if isinstance(body, bytes) else body.encode()
            return Answer(settings.get("status", 200), settings.get("headers", json_type), raw)
        case "headers":
            wanted = [[key.title(), value] for key, value in headers if key.lower() in settings["names"]]
            return Answer(200, json_type, json.dumps(wanted, separators=(",", ":")).encode())
        case "gzip":
            return Answer(200, json_type | {"Content-Encoding": "gzip"}, gzip.compress(settings["body"].encode()))
    raise AssertionError(f"no such kind of node: {settings}")
