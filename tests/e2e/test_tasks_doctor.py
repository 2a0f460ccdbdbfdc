"""The doctor finds nothing at a good endpoint, and names the right step at a broken one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infergraph.cli import checkup_tasks
from infergraph.cli.checkup import Finding, Verdict, run_steps
from infergraph.cli.checkup_tasks import TaskCheckup
from infergraph.cli.wire_probe import Address
from task_harness import TaskServer


class Endpoint(BaseHTTPRequestHandler):
    """A small endpoint as somebody might write it, with one thing broken."""

    broken = ""
    tasks: dict[str, list[bytes]]
    full = False

    def do_GET(self) -> None:
        if self.path == "/status":
            if self.broken == "slow status":
                time.sleep(0.3)
            return self.say({"status": 0 if self.broken == "status 0" else 1})
        id = self.path.split("/")[2]
        if self.path.endswith("/results"):
            return self.results(id)
        if id not in self.tasks:
            return self.say({"status": 0 if self.broken == "unknown is running" else -1})
        return self.say({"status": 0 if "long" in id or self.broken == "never ends" else 2})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        parts = {
            re.search(rb'name="(\w+)"', part)[1].decode(): part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")  # type: ignore[index]
            for part in body.split(b"--" + self.headers["content-type"].partition("boundary=")[2].encode())[1:-1]
        }
        if self.broken == "HTML errors":
            return self.say(b"<html><h1>500 Internal Server Error</h1></html>", 500, "text/html")
        file = parts.get("file") if self.broken == "wrong field" else parts.get("task_file", parts.get("file"))
        if file is None:
            return self.say({"message": "no file"}, 400)
        lines = file.removeprefix(b"\xef\xbb\xbf").strip().splitlines()
        self.tasks[parts["task_id"].decode()] = lines
        return self.say({"status": "ok"} if self.broken == "status in words" else {"status": 200})

    def do_DELETE(self) -> None:
        if self.broken != "DELETE does nothing":
            self.tasks.pop(self.path.split("/")[2], None)
        self.say({"status": 200}, 500 if self.broken == "DELETE answers 500" else 200)

    def results(self, id: str) -> None:
        if id not in self.tasks:
            return self.say({"status": 404}, 404)
        rows = []
        for number, line in enumerate(self.tasks[id], 1):
            try:
                rows.append({**json.loads(line), "entity": []})
            except ValueError:
                rows.append({"error": {"line": number, "reason": "bad"}, "input": "bad"})
        if self.broken == "out of order":
            rows.reverse()
        if self.broken == "lost rows":
            rows.pop()
        if self.broken == "keys lost":
            rows = [{"entity": []} for _ in rows]
        return self.say(b"".join(json.dumps(row).encode() + b"\n" for row in rows), kind="text/plain")

    def say(self, body: Any, code: int = 200, kind: str = "application/json") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def endpoint(broken: str) -> Iterator[str]:
    """The address of an endpoint that is broken so."""
    handler = type("Broken", (Endpoint,), {"broken": broken, "tasks": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def examine(url: str) -> list[Finding]:
    """All findings at an address."""
    return list(run_steps(TaskCheckup(Address(url, 5.0), patience_s=0.3).steps()))


def test_the_endpoint_of_these_tests_is_good_when_nothing_is_broken() -> None:
    """Without a break the doctor is content, so each break below is what it finds."""
    with endpoint("") as url:
        findings = examine(url)
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}, findings
    assert len(findings) == 11


@pytest.mark.parametrize(
    ("broken", "step", "text"),
    [
        ("wrong field", "submit", "only under the field `file`"),
        ("HTML errors", "submit", "a page of HTML"),
        ("status in words", "submit", '{"status": 200}'),
        ("status 0", "status", "0 is no status"),
        ("slow status", "status", "a registration waits"),
        ("never ends", "finish", "the task is running, not finished"),
        ("out of order", "results", "out of order: line 1 answers line 5"),
        ("lost rows", "results", "4 lines came back for 5"),
        ("keys lost", "results", "keys did not travel"),
        ("unknown is running", "unknown task", "expected -1"),
        ("DELETE does nothing", "stop", "still running"),
        ("DELETE answers 500", "stop", "HTTP 500 instead of 200"),
    ],
)
def test_the_step_that_fails_is_named(broken: str, step: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bad finding is the broken step, says what is wrong, and gives a curl line that shows it."""
    monkeypatch.setattr(checkup_tasks, "STATUS_LIMIT_S", 0.2)
    with endpoint(broken) as url:
        findings = examine(url)
        bad = next(finding for finding in findings if finding.verdict is Verdict.BAD)
        assert bad.step == step
        assert text in bad.text
        assert bad.curl.startswith("curl -i ")
        assert url in bad.curl


def test_nobody_there_is_said_so() -> None:
    """An address where nobody listens is told apart from one that answers wrongly."""
    with endpoint("") as url:
        gone = url
    (finding,) = examine(gone)
    assert finding.step == "reach"
    assert "nobody listens" in finding.text


def run_doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process."""
    code = (
        "import typer; from infergraph.cli import doctor; app = typer.Typer();"
        "app.callback()(lambda: None); doctor.add_to(app); app()"
    )
    command = [sys.executable, "-c", code, "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_we_pass_our_own_examination(tmp_path: Path) -> None:
    """Our own endpoint passes every step, a real stop of a running task included."""
    with TaskServer(tmp_path, "Tired", line_s=0.00005) as server:
        done = run_doctor(server.url, "--json")
        told = json.loads(done.stdout)
        assert done.returncode == 0, done.stdout
        assert {finding["verdict"] for finding in told["findings"]} == {"good"}, told
        assert told["not_tried"] == []
        stopped = next(finding for finding in told["findings"] if finding["step"] == "stop")
        assert "a running task is stopped" in stopped["text"]


def test_a_bad_endpoint_gives_exit_code_1_and_what_was_not_tried() -> None:
    """For people: a line for each step, the curl line, what was not tried, and an exit code for scripts."""
    with endpoint("HTML errors") as url:
        done = run_doctor(url)
        assert done.returncode == 1
        assert "✗ submit" in done.stdout
        assert "curl -i -F task_id=doctor-" in done.stdout
        assert "not tried: finish, results" in done.stdout
