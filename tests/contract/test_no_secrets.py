"""No secret is anywhere but where it belongs: not in logs, answers, payload logs, traces, or what nodes are sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e.process_run import wait_for
from http_server import running
from infergraph.auth import keys
from infergraph.cli.main import infergraph as program
from infergraph.observe import logs
from infergraph.protocol.callers import Scope
from infergraph.settings import Settings
from served import Served, served
from span_record import emptied_exporter

CODE = """
class Gossip:
    def predict(self, X, names=None, meta=None):
        if X.size > 1:
            raise ValueError(f"told {meta}")
        return X
"""
ANSWER = b'{"data": {"ndarray": [[1.0]]}}'
POSTED = ("/api/v1.0/predictions", "/predict", "/nowhere", "/v2/models/x/infer")
READ = ("/metrics", "/console/", "/openapi.json", "/api/v1.0/tasks", "/metadata", "/console/try")
BASE = "/k/9d1c7e5f"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Give the process its loggers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logs.configure(Settings())
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in (*logs.QUIET, logs.ACCESS, logs.AUDIT):
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger(logs.AUDIT).propagate = True


class Heard(ThreadingHTTPServer):
    """Answers every POST like a node and a log of payloads, and keeps what it was sent."""

    def __init__(self) -> None:
        self.bytes: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Hearing)


class _Hearing(BaseHTTPRequestHandler):
    server: Heard

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.bytes.append(f"{self.path} {self.headers}".encode() + body)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        pass


def graph_of(port: int) -> str:
    """A graph of a component, a remote node and a log of payloads."""
    here = f"http://127.0.0.1:{port}"
    remote = {"name": "remote", "type": "MODEL", "endpoint": {"type": "REST", "service_host": "127.0.0.1",
                                                               "service_port": port}}  # fmt: skip
    root = {"name": "gossip", "type": "TRANSFORMER", "component": "secret_parts.py:Gossip", "children": [remote],
            "logger": {"mode": "all", "url": here}}  # fmt: skip
    return json.dumps({"spec": {"name": "g", "predictors": [{"name": "p", "graph": root}]}})


def ask_everything(server: Served, key: str, base: str = "") -> list[bytes]:
    """Requests that succeed, fail and are refused, with the key in each place; what was answered."""
    told = []
    places = [
        {"Authorization": f"Bearer {key}"},
        {"X-API-Key": key},
        {"Authorization": f"Basic {key}"},
        {"Cookie": f"infergraph-session={key}"},
        {"X-API-Key": f"{key}x"},
    ]
    for headers in places:
        for body in ({"data": {"ndarray": [[1.0]]}}, {"data": {"ndarray": [[1.0, 2.0]]}}, {"data": 7}):
            told += [server.post(base + path, body, **headers).body for path in POSTED]
        told += [server.get(base + path, **headers).body for path in READ]
    return told


@pytest.mark.parametrize("kind", ["component", "graph"])
def test_a_key_and_a_base_path_are_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """All that a server writes and sends is looked through for the key, its hash, a session and the base path."""
    (tmp_path / "secret_parts.py").write_text(CODE)
    file = tmp_path / "keys.toml"
    key = keys.create(file, "me", [Scope.ADMIN])
    (known,) = keys.read(file)
    with running(Heard()) as heard, caplog.at_level(logging.DEBUG):
        (tmp_path / "graph.json").write_text(graph_of(heard.server_port))
        target = "secret_parts.py:Gossip" if kind == "component" else str(tmp_path / "graph.json")
        settings = {"keys": str(file), "base_path": BASE, "access_log": True, "audit_log": "-", "log_level": "DEBUG",
                    "data_dir": str(tmp_path / "data"), "tasks": True, "tracing": True}  # fmt: skip
        exporter = emptied_exporter()
        with served(target, folder=tmp_path, **settings) as server:
            logs.configure(Settings(audit_log="-", log_level="DEBUG"))
            logging.getLogger().addHandler(caplog.handler)
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            signed = server.ask("POST", f"{BASE}/console/sign-in", f"key={key}".encode(), form)
            session = signed.headers["set-cookie"].partition("=")[2].partition(";")[0]
            told = ask_everything(server, key, BASE) + ask_everything(server, session, BASE)
            if kind == "graph":
                wait_for("the payload log", lambda: any(b"ce-id" in each.lower() for each in heard.bytes))
    written = [repr(record.__dict__) + record.getMessage() for record in caplog.records]
    spans = [span.to_json() for span in exporter.get_finished_spans()]
    assert written
    assert spans
    for secret in (key, known.sha256, session, BASE):
        secrets = [place for place in (*written, *spans, *map(str, told), *map(str, heard.bytes)) if secret in place]
        document = [place for place in secrets if '"openapi"' in place]
        assert secrets == (document if secret == BASE else []), secret


def test_each_act_that_changes_something_is_one_line(tmp_path: Path) -> None:
    """Who, from where, what, with which result: for tasks, sign-ins and keys, as JSON in a file of its own."""
    (tmp_path / "secret_parts.py").write_text(CODE)
    file, audit = tmp_path / "keys.toml", tmp_path / "audit.jsonl"
    key = keys.create(file, "me", [Scope.TASKS, Scope.CONSOLE])
    settings = {"keys": str(file), "data_dir": str(tmp_path / "data"), "tasks": True}
    logs.configure(Settings(audit_log=str(audit)))
    with served("secret_parts.py:Gossip", folder=tmp_path, audit_log=str(audit), **settings) as server:
        mine = {"X-API-Key": key}
        server.ask("POST", "/api/v1.0/tasks?id=t1", b"{}\n", mine)
        server.ask("POST", "/api/v1.0/tasks/t1/cancel", b"", mine)
        server.ask("DELETE", "/tasks/t1", b"", mine)
        server.get("/api/v1.0/tasks", **mine)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        server.ask("POST", "/console/sign-in", f"key={key}".encode(), form)
        server.ask("POST", "/console/sign-in", b"key=wrong", form)
        keys.create(file, "you", [Scope.PREDICT])
        server.get("/api/v1.0/tasks", **mine)
        keys.revoke(file, "you")
        server.get("/api/v1.0/tasks", **mine)
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    told = [(line["event"], line["caller"], line["address"], line["result"], line.get("task", "")) for line in lines]
    assert told[:5] == [
        ("task made", "me", "127.0.0.1", "201", "t1"),
        ("task stopped", "me", "127.0.0.1", "200", "t1"),
        ("task stopped", "me", "127.0.0.1", "404", "t1"),
        ("sign-in", "me", "127.0.0.1", "303", ""),
        ("sign-in", "", "127.0.0.1", "401", ""),
    ]
    assert [(line["event"], line["key"].split()[0]) for line in lines[5:]] == [
        ("key made", "you"),
        ("key revoked", "you"),
    ]
    assert key not in audit.read_text()


def test_the_password_of_a_task_store_is_not_shown() -> None:
    """`infergraph settings` says that there is a store, and where that comes from."""
    done = CliRunner().invoke(program, ["settings"], env={"INFERGRAPH_TASK_STORE": "postgresql://u:hidden-word@h/d"})
    assert "environment INFERGRAPH_TASK_STORE" in done.output
    assert "hidden-word" not in done.output
