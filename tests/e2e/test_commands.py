"""The installed command, as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from page_runner import clean_environment, free_ports

COMMAND = str(Path(sys.executable).with_name("infergraph"))
MODEL = """
import os

class MyModel:
    def __init__(self, factor=2):
        self.factor = factor

    def predict(self, X, names=None):
        return X * self.factor
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an existing component in it."""
    (tmp_path / "MyModel.py").write_text(MODEL)
    return tmp_path


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command with these arguments, once its REST port is ready."""
    http_port, grpc_port, metrics_port = free_ports(3)
    command = [
        COMMAND, *arguments,
        "--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, env=clean_environment(**environment), stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{http_port}/ready", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        yield process, http_port
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def predict(http_port: int) -> object:
    body = json.dumps({"data": {"ndarray": [[1, 2]]}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{http_port}/predict", body)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())["data"]["ndarray"]


def test_serve_answers_and_ends_cleanly(folder: Path) -> None:
    """`infergraph serve` serves a bare name from the working directory, and SIGTERM ends it with exit 0."""
    with running(folder, "serve", "MyModel", "--tasks", "off") as (process, http_port):
        assert predict(http_port) == [[2, 4]]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_microservice_takes_the_originals_flags_and_environment(folder: Path) -> None:
    """`infergraph microservice` starts from an existing image's command line and environment, parameters typed."""
    parameters = json.dumps([{"name": "factor", "value": "5", "type": "INT"}])
    flags = (
        "microservice",
        "MyModel",
        "--service-type",
        "MODEL",
        "--persistence",
        "0",
        "--threads",
        "2",
        "--debug",
        "false",
    )
    environment = {"PREDICTIVE_UNIT_PARAMETERS": parameters, "SELDON_LOG_LEVEL": "warning", "TRACING": "true"}
    with running(folder, *flags, **environment) as (process, http_port):
        assert predict(http_port) == [[5, 10]]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_the_pidfile_holds_the_process_while_it_serves(folder: Path) -> None:
    """--pidfile names the process to signal, and is gone when it has ended (Q21); log levels may be lower case."""
    flags = ("microservice", "MyModel", "--pidfile", "server.pid", "--log-level", "info")
    with running(folder, *flags) as (process, _):
        assert (folder / "server.pid").read_text() == f"{process.pid}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert not (folder / "server.pid").exists()


def test_parameters_on_the_command_line_beat_the_environment(folder: Path) -> None:
    """--parameters wins over PREDICTIVE_UNIT_PARAMETERS."""
    given = json.dumps([{"name": "factor", "value": "3", "type": "INT"}])
    other = json.dumps([{"name": "factor", "value": "5", "type": "INT"}])
    with running(folder, "microservice", "MyModel", "--parameters", given, PREDICTIVE_UNIT_PARAMETERS=other) as (
        _,
        port,
    ):
        assert predict(port) == [[3, 6]]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["microservice", "MyModel", "REST"], {}, 255, ["REST"]),
        (["microservice", "MyModel", "--service-type", "NOPE"], {}, 2, ["NOPE"]),
        (["microservice"], {}, 2, ["interface_name"]),
        (["microservice", "MyModel", "--pidfile", "no/such/folder/pid"], {}, 2, ["pidfile", "no/such/folder/pid"]),
        (["serve", "nothing.py:X"], {}, 2, ["nothing.py"]),
        (["serve", "MyModel", "--workers", "0"], {}, 2, ["workers"]),
        (["serve", "MyModel"], {"INFERGRAPH_WORKRES": "1"}, 2, ["INFERGRAPH_WORKRES"]),
        (["serve", "MyModel"], {"GUNICORN_WORKERS": "x"}, 2, ["GUNICORN_WORKERS"]),
        (["serve", "MyModel", "--parameters", "{"], {}, 2, ["JSON"]),
        (["serve", "MyModel", "--parameters", '[{"name":"nope","value":"1","type":"INT"}]'], {}, 2, ["nope"]),
        (["serve", "Missing"], {}, 2, ["Missing"]),
        (["nonsense"], {}, 2, ["nonsense"]),
    ],
)
def test_what_cannot_start_says_why(
    folder: Path, arguments: list[str], environment: dict[str, str], code: int, words: list[str]
) -> None:
    """A start that cannot work ends with its exit code and a text that names the culprit."""
    ports = dict(zip(("http", "grpc", "metrics"), free_ports(3), strict=True))
    more = {f"INFERGRAPH_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    ended = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=clean_environment(**more, **environment),
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = ended.stderr.decode() + ended.stdout.decode()
    assert ended.returncode == code, said
    assert all(word in said for word in words)


def test_settings_are_listed_with_their_origin(folder: Path) -> None:
    """`infergraph settings` shows each setting, its value and where it came from, for people and as JSON."""
    environment = clean_environment(GUNICORN_WORKERS="3")
    shown = subprocess.run([COMMAND, "settings", "--json"], env=environment, capture_output=True, check=True)
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert rows["workers"]["value"] == 3
    assert rows["workers"]["origin"] == "environment GUNICORN_WORKERS"
    plain = subprocess.run([COMMAND, "settings"], env=environment, capture_output=True, check=True, text=True)
    assert "workers=3\tenvironment GUNICORN_WORKERS" in plain.stdout


def test_help_renders(folder: Path) -> None:
    """Every command's help can be shown."""
    listed = subprocess.run([COMMAND, "--help"], capture_output=True, check=True, text=True).stdout
    for command in ("serve", "settings", "check", "show", "init", "microservice"):
        assert command in listed
        shown = subprocess.run([COMMAND, command, "--help"], capture_output=True, check=False, text=True)
        assert shown.returncode == 0, shown.stderr
        assert "--" in shown.stdout
