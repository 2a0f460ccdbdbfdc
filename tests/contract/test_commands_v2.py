"""`infergraph call --protocol v2` and `infergraph doctor --v2`, against components and a server that breaks rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from http_server import answering
from infergraph.cli import call, doctor
from infergraph.errors import SettingsError
from served import Served, served

COMPONENTS = Path(__file__).parent / "cases" / "v2"


@pytest.fixture(scope="module")
def echo() -> Iterator[Served]:
    with served("oip_components.py:Echo", folder=COMPONENTS) as there:
        yield there


@pytest.fixture(scope="module")
def described() -> Iterator[Served]:
    with served("oip_components.py:Described", folder=COMPONENTS) as there:
        yield there


@pytest.fixture(params=["rest", "grpc"])
def run(request: pytest.FixtureRequest, echo: Served) -> Any:
    """Runs `call` against the component."""
    urls = {"rest": f"http://127.0.0.1:{echo.http_port}", "grpc": f"grpc://127.0.0.1:{echo.grpc_port}"}
    given = [urls[request.param], "--protocol", "v2", "--model", "Echo"]
    return lambda *arguments: CliRunner().invoke(call.call, [*given, *arguments])


REQUEST = {
    "id": "7",
    "inputs": [
        {"name": "q", "shape": [2], "datatype": "INT64", "data": [9007199254740993, 2]},
        {"name": "r", "shape": [1], "datatype": "FP32", "data": [0.5]},
    ],
    "outputs": [{"name": "q"}],
}


@pytest.mark.parametrize(
    ("data", "output"),
    [
        ("[[1.5, 2]]", "[[1.5,2.0]]\n"),
        ("some text ü", "some text ü\n"),
        ('{"a": [1, 2], "b": ["x"]}', '{"a":[1,2],"b":["x"]}\n'),
        ('["x", "y"]', '["x","y"]\n'),
        (json.dumps(REQUEST), "[9007199254740993,2]\n"),
    ],
)
def test_answers_are_printed(run: Any, data: str, output: str) -> None:
    """One output as it is, several by name, a text as text; a whole request is sent as it was written."""
    result = run(data)
    assert result.output == output
    assert result.exit_code == 0


def test_whole_answers_are_the_protocols(run: Any) -> None:
    """`--json` prints the protocol's own object."""
    answer = json.loads(run("--json", json.dumps(REQUEST)).output)
    assert answer["model_name"] == "Echo"
    assert answer["id"] == "7"
    assert answer["outputs"] == [{"name": "q", "shape": [2], "datatype": "INT64", "data": [9007199254740993, 2]}]


def test_files_are_tensors(run: Any, tmp_path: Path) -> None:
    """A .npy array, a .npz file of several, a table of numbers, a table in columns, a request in a file."""
    np.save(tmp_path / "x.npy", np.array([[1, 2]], dtype=np.uint8))
    np.savez(tmp_path / "x.npz", a=np.array([1]), b=np.array([0.5]))
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "mixed.csv").write_text("a,b\n1,x\n2,y\n")
    (tmp_path / "request.json").write_text(json.dumps(REQUEST))
    assert run(f"@{tmp_path}/x.npy").output == "[[1,2]]\n"
    assert run(f"@{tmp_path}/x.npz").output == '{"a":[1],"b":[0.5]}\n'
    assert run(f"@{tmp_path}/numbers.csv").output == "[[1,2],[3,4]]\n"
    assert run(f"@{tmp_path}/mixed.csv").output == '{"a":[1,2],"b":["x","y"]}\n'
    assert run(f"@{tmp_path}/request.json").output == "[9007199254740993,2]\n"


def test_an_unknown_model_is_told(echo: Served) -> None:
    """Exit code 1, and the server's text."""
    url = f"http://127.0.0.1:{echo.http_port}"
    result = CliRunner().invoke(call.call, [url, "--protocol", "v2", "--model", "other", "[1]"])
    assert result.exit_code == 1
    assert "Request for unknown model: 'other' is not found" in result.output


def test_methods_of_the_other_protocol_are_refused(run: Any) -> None:
    """The protocol has no routes and rewards."""
    assert "predictions alone" in run("--method", "route", "[[1]]").output
    assert run("--method", "ready").output == "ready\n"
    assert json.loads(run("--method", "metadata").output)["name"] == "Echo"


def findings(url: str, *more: str) -> dict[str, tuple[str, str]]:
    result = CliRunner().invoke(doctor.doctor, [url, "--v2", "--json", *more])
    told = json.loads(result.output)
    assert result.exit_code == any(each["verdict"] == "bad" for each in told["findings"])
    return {each["step"]: (each["verdict"], each["text"] + each["curl"]) for each in told["findings"]}


def test_a_good_server_has_good_findings(described: Served) -> None:
    """All steps are good, gRPC where it is told."""
    found = findings(f"http://127.0.0.1:{described.http_port}", "--grpc", f"127.0.0.1:{described.grpc_port}")
    assert {verdict for verdict, _ in found.values()} == {"good"}, found
    assert len(found) == 10
    assert "rows FP32 [-1, 3]" in found["metadata"][1]
    assert "score FP32 [1, 1] for rows FP32 [1, 3]" in found["infer"][1]


def test_a_request_can_be_given(described: Served) -> None:
    """`--data` is the request to infer with; what the component cannot take is bad, gRPC elsewhere doubtful."""
    url = f"http://127.0.0.1:{described.http_port}"
    request = {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}
    verdict, text = findings(url, "--data", json.dumps(request))["infer"]
    assert verdict == "bad"
    assert "HTTP 500" in text
    assert "curl" in text
    assert findings(url, "--grpc", "127.0.0.1:1")["gRPC"][0] == "doubtful"


class _Careless(BaseHTTPRequestHandler):
    """A server with a repository that reads JSON alone, counts no elements and answers any model."""

    def do_GET(self) -> None:
        tensor = {"name": "x", "datatype": "BYTES", "shape": [-1]}
        model = {"name": "m", "inputs": [tensor]}
        told = {"/v2": {"name": "careless", "extensions": []}, "/v2/models/m": model}
        health = {"/v2/health/live": {}, "/v2/health/ready": {}}
        self._answer({**told, **health}.get(self.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v2/repository/index":
            self._answer([{"name": "m", "state": "READY"}])
        elif "inference-header-content-length" in self.headers:
            self._answer(None)
        else:
            self._answer({"model_name": "m", "outputs": json.loads(body)["inputs"]})

    def _answer(self, value: Any) -> None:
        body = json.dumps({"detail": "no"} if value is None else value).encode()
        self.send_response(404 if value is None else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_what_a_server_lacks_is_named() -> None:
    """No binary tensors, no gRPC, models that it does not have, tensors that it does not check."""
    with answering(_Careless) as url:
        found = findings(url, "--grpc", "127.0.0.1:1")
    assert [step for step, (verdict, _) in found.items() if verdict == "doubtful"] == [
        "binary tensors", "gRPC", "unknown model", "bad tensor",
    ]  # fmt: skip
    assert "not offered" in found["binary tensors"][1]
    assert "HTTP 200 instead of 404" in found["unknown model"][1]


def test_rows_are_not_for_it() -> None:
    """Rows of tasks do not go with --v2."""
    with pytest.raises(SettingsError, match="--v2"):
        CliRunner().invoke(doctor.doctor, ["http://127.0.0.1:1", "--v2", "--row", "[1]"], catch_exceptions=False)
