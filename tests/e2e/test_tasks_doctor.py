"""The doctor finds nothing at a good endpoint, and names the right step at a broken one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from http_server import running
from infergraph.cli import checkup_tasks
from infergraph.cli.checkup import Finding, Verdict, run_steps
from infergraph.cli.checkup_tasks import TaskCheckup
from infergraph.cli.wire_probe import Address
from served import served
from task_harness import TaskServer

_STATUSES: dict[str, Any] = {
    "status 0": {"status": 0},
    "status is text": {"status": "1"},
    "status is true": {"status": True},
    "status is a list": [1],
    "status is null": None,
}


class Endpoint(BaseHTTPRequestHandler):
    """A small endpoint as somebody might write it, with one thing broken."""

    broken = ""
    tasks: dict[str, list[bytes]]
    stopping: threading.Event
    takes: Callable[[Any], bool] | None = None
    metadata: Any = None

    def do_GET(self) -> None:
        if self.path == "/status":
            return self.status()
        if self.path == "/metadata" and self.metadata is not None:
            return self.say(self.metadata)
        if not self.path.startswith("/tasks/"):
            return self.say({"message": "no such page"}, 404)
        id = self.path.split("/")[2]
        if self.path.endswith("/results"):
            return self.results(id)
        if id not in self.tasks:
            return self.say({"status": 0 if self.broken == "unknown is running" else -1})
        if self.takes is not None and not self.takes(self.first_row(id)):
            return self.say({"status": 3})
        return self.say({"status": 0 if "long" in id or self.broken == "never ends" else 2})

    def first_row(self, id: str) -> Any:
        return json.loads(self.tasks[id][0])

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

    def status(self) -> None:
        if self.broken in _STATUSES:
            return self.say(_STATUSES[self.broken])
        if self.broken == "hangs":
            self.stopping.wait(30)
            return None
        if self.broken == "drips":
            self.send_response(200)
            self.end_headers()
            while not self.stopping.wait(0.05):
                self.wfile.write(b" ")
            return None
        if self.broken == "redirects":
            self.send_response(301)
            self.send_header("location", "https://elsewhere.example/status")
            self.send_header("content-length", "0")
            return self.end_headers()
        if self.broken == "slow status":
            self.stopping.wait(0.3)
        return self.say({"status": 1}, 500 if self.broken == "status 500" else 200)

    def results(self, id: str) -> None:
        if id not in self.tasks:
            return self.say({"status": 404}, 404)
        rows = []
        for number, line in enumerate(self.tasks[id], 1):
            try:
                row = json.loads(line)
                rows.append({**row, "entity": []} if self.takes is None else {"answer": row})
            except ValueError:
                rows.append({"error": {"line": number, "reason": "bad"}, "input": "bad"})
        if self.broken == "out of order":
            rows.reverse()
        if self.broken == "sorted":
            rows.sort(key=json.dumps)
        if self.broken == "lost rows":
            rows.pop()
        if self.broken == "keys lost":
            rows = [{"entity": []} for _ in rows]
        if self.broken == "rows are numbers":
            rows = [1.5 for _ in rows]
        if self.broken == "one list for all":
            return self.say(rows)
        if self.broken == "results 500":
            return self.say(b"Traceback (most recent call last)", 500, "text/plain")
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
def endpoint(broken: str, **more: Any) -> Iterator[str]:
    """The address of an endpoint that is broken so."""
    stopping = threading.Event()
    handler = type("Broken", (Endpoint,), {"broken": broken, "tasks": {}, "stopping": stopping, **more})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # callers may leave
    with running(server):
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            stopping.set()


def examine(url: str, timeout_s: float = 5.0) -> list[Finding]:
    """All findings at an address."""
    return list(run_steps(TaskCheckup(Address(url, timeout_s), task_timeout_s=0.3).steps()))


def test_the_endpoint_of_these_tests_is_good_when_nothing_is_broken() -> None:
    """Without a break the doctor is content, so each break below is what it finds."""
    with endpoint("") as url:
        findings = examine(url)
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}, findings
    assert len(findings) == 11


@pytest.mark.parametrize(
    ("broken", "step", "text"),
    [
        ("hangs", "reach", "no complete answer within 0.6 s"),
        ("drips", "reach", "no complete answer within 0.6 s"),
        ("redirects", "status", "it redirects to https://elsewhere.example/status"),
        ("status 500", "status", "HTTP 500 instead of 200"),
        ("status is text", "status", '{"status": number}'),
        ("status is true", "status", '{"status": number}'),
        ("status is a list", "status", '{"status": number}'),
        ("status is null", "status", '{"status": number}'),
        ("rows are numbers", "results", "own keys are missing"),
        ("one list for all", "results", "1 lines came back for 5"),
        ("results 500", "results", "HTTP 500 instead of 200 (the body is no JSON (text/plain): 'Traceback"),
        ("wrong field", "submit", "only under the field `file`"),
        ("HTML errors", "submit", "a page of HTML"),
        ("status in words", "submit", '{"status": 200}'),
        ("status 0", "status", "0 is not an endpoint status"),
        ("slow status", "status", "a registration waits"),
        ("never ends", "finish", "the task is running, not finished"),
        ("out of order", "results", "out of order: line 1 answers line 5"),
        ("lost rows", "results", "4 lines came back for 5"),
        ("keys lost", "results", "own keys are missing"),
        ("unknown is running", "unknown task", "expected -1"),
        ("DELETE does nothing", "stop", "still running"),
        ("DELETE answers 500", "stop", "HTTP 500 instead of 200"),
    ],
)
def test_the_step_that_fails_is_named(broken: str, step: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bad finding is the broken step, says what is wrong, and gives a curl line that shows it."""
    monkeypatch.setattr(checkup_tasks, "STATUS_LIMIT_S", 0.2)  # the first look waits for three times as long
    with endpoint(broken) as url:
        findings = examine(url)
        bad = next(finding for finding in findings if finding.verdict is Verdict.BAD)
        assert bad.step == step
        assert text in bad.text
        assert "curl -i " in bad.curl
        assert url in bad.curl


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        ("HTML errors", "<h1>500 Internal Server Error</h1>"),
        ("wrong field", '"no file"'),
        ("status in words", '{"status": "ok"}'),
        ("out of order", '"doctor_id": 4, "entity": []}\n'),
        ("DELETE does nothing", '{"status": 0}'),
        ("status is text", '{"status": "1"}'),
    ],
)
def test_the_curl_lines_show_it_again(broken: str, shown: str) -> None:
    """What the doctor prints is pasted into a shell, at an endpoint that has seen nothing yet, and shows the fault."""
    with endpoint(broken) as url:
        bad = next(finding for finding in examine(url) if finding.verdict is Verdict.BAD)
    with endpoint(broken) as fresh:
        lines = bad.curl.replace(url, fresh)
        again = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, timeout=60, check=True)
    assert shown in again.stdout


def takes_lists(row: Any) -> bool:
    """What a component of feature rows takes."""
    return isinstance(row, list) and len(row) == 3


THREE_NUMBERS = {"inputs": [{"messagetype": "ndarray", "schema": {"names": ["a", "b", "c"]}}]}


def test_the_rows_that_an_endpoint_takes_are_learned_from_its_metadata() -> None:
    """Lists of as many numbers as there are columns, without a first try that fails; the order is looked at, too."""
    with endpoint("", takes=staticmethod(takes_lists), metadata=THREE_NUMBERS) as url:
        findings = examine(url)
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}, findings
    texts = {finding.step: finding.text for finding in findings}
    assert texts["submit"] == "accepted: 5 lists of numbers"
    assert texts["results"] == "5 lines, in order"


@pytest.mark.parametrize(("broken", "how"), [("out of order", "alone"), ("sorted", "backwards")])
def test_rows_without_a_mark_are_found_out_of_order(broken: str, how: str) -> None:
    """Lists carry no number of their own: asked alone, and backwards, the same rows have to get the same answers."""
    with endpoint(broken, takes=staticmethod(takes_lists), metadata=THREE_NUMBERS) as url:
        finding = next(finding for finding in examine(url) if finding.step == "results")
    assert finding.verdict is Verdict.DOUBTFUL
    assert f"the same rows {how} get different answers" in finding.text


def takes_messages(row: Any) -> bool:
    """What a component of whole messages takes."""
    return isinstance(row, dict) and "data" in row and "doctor_id" not in row


def test_an_endpoint_that_tells_nothing_is_tried_with_one_kind_after_the_other() -> None:
    """Records fail, whole messages are finished: the doctor goes on with those."""
    with endpoint("", takes=staticmethod(takes_messages)) as url:
        findings = examine(url)
    assert {finding.verdict for finding in findings} == {Verdict.GOOD}, findings
    assert "with whole messages for rows" in findings[3].text


def test_rows_that_nobody_takes_are_said_so() -> None:
    """Where every kind fails, the finding names what was tried and says how to give rows."""
    with endpoint("", takes=staticmethod(lambda row: False)) as url:
        finding = examine(url)[-1]
    assert (finding.step, finding.verdict) == ("finish", Verdict.BAD)
    assert all(kind in finding.text for kind in ("records", "lists of numbers", "whole messages", "--rows"))


def test_rows_are_given_on_the_command_line(tmp_path: Path) -> None:
    """`--row` for one, `--rows` for a file; what is no JSON, or belongs to the other part, is exit code 2."""
    (tmp_path / "rows.jsonl").write_text("[1, 2, 3]\n[4, 5, 6]\n")
    with endpoint("", takes=staticmethod(takes_lists)) as url:
        assert "5 lines, all equal" in run_doctor(url, "--row", "[1, 2, 3]", "--task-timeout", "5").stdout
        assert "2 lines, in order" in run_doctor(url, "--rows", str(tmp_path / "rows.jsonl")).stdout
        for wrong in (["--row", "[1,"], ["--data", "{}"], ["--rows", str(tmp_path / "none")]):
            assert run_doctor(url, *wrong).returncode == 2


COMPONENTS = """
class Text:
    def predict(self, X, names=None):
        if not isinstance(X, str):
            raise TypeError("text, please")
        return X.upper()

class Four:
    def predict(self, X, names=None):
        assert X.shape == (1, 4)
        return X

class Once:
    calls = 0

    def predict(self, X, names=None):
        self.calls += 1
        assert self.calls == 1
        return X

class Told:
    def predict(self, X, names=None):
        assert X.shape == (1, 7)
        return X

    def init_metadata(self):
        return {"inputs": [{"messagetype": "tensor", "schema": {"shape": [-1, 7]}}]}
"""
GRAPH = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: one}
spec:
  predictors:
  - name: default
    graph: {name: told, type: MODEL, component: "parts.py:Told"}
"""


@pytest.mark.parametrize(
    ("target", "kind"),
    [("parts.py:Text", "strData"), ("parts.py:Four", "ndarray"), ("parts.py:Told", "tensor"), ("one.yaml", "tensor")],
)
def test_seldons_part_is_played_against_components_and_graphs(target: str, kind: str, tmp_path: Path) -> None:
    """The input is learned or tried, and a graph is asked at the paths that a graph has; nothing is bad at ours."""
    (tmp_path / "parts.py").write_text(COMPONENTS)
    (tmp_path / "one.yaml").write_text(GRAPH)
    with served(target, folder=tmp_path) as there:
        done = run_doctor(f"http://127.0.0.1:{there.http_port}", "--seldon")
    assert done.returncode == 0, done.stdout
    assert f"{kind} for {kind}" in done.stdout
    assert ("external API" in done.stdout) == (target != "one.yaml")


def test_a_row_for_seldons_part(tmp_path: Path) -> None:
    """A row is wrapped as its kind asks; one that the component does not take is a bad step with its reason."""
    (tmp_path / "parts.py").write_text(COMPONENTS)
    with served("parts.py:Text", folder=tmp_path) as there:
        url = f"http://127.0.0.1:{there.http_port}"
        assert "strData for strData" in run_doctor(url, "--seldon", "--row", '"some text"').stdout
        refused = run_doctor(url, "--seldon", "--row", "[1, 2]")
    assert refused.returncode == 1
    assert "✗ predict" in refused.stdout
    assert "text, please" in refused.stdout


def test_curl_lines_of_seldons_part_have_the_key(tmp_path: Path) -> None:
    """With a key each curl line sends it, that of the form too, and shows where it comes from in its place."""
    (tmp_path / "parts.py").write_text(COMPONENTS)
    with served("parts.py:Once", folder=tmp_path) as there:
        url = f"http://127.0.0.1:{there.http_port}"
        done = run_doctor(url, "--seldon", "--key", "ig_secret", "--row", '"some text"', "--json")
    curl_lines = {each["step"]: each["curl"] for each in json.loads(done.stdout)["findings"] if each["curl"]}
    assert "--data-urlencode" in curl_lines["predict as a form"]
    assert all(line.startswith('curl -i -H "Authorization: Bearer $INFERGRAPH_KEY" ') for line in curl_lines.values())
    assert "ig_secret" not in done.stdout


def test_nobody_there_is_said_so() -> None:
    """An address where nobody listens is told apart from one that answers wrongly."""
    with endpoint("") as url:
        gone = url
    (finding,) = examine(gone)
    assert finding.step == "reach"
    assert "nothing is listening" in finding.text


def run_doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process."""
    command = [sys.executable, "-c", "from infergraph.cli.main import run; run()", "doctor", *arguments]
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
        assert " | curl -i -F task_id=doctor-" in done.stdout
        assert "not tried: finish, results" in done.stdout
