"""How each server of the benchmark is started, found ready, and stopped.

Server (a recipe) ──running()──▶ Running (a process tree, its ports, how long it took to answer)
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import cost
from benchmarks.environments import FASTAPI, HERE, MLSERVER, OWN, SELDON, Environment, Unavailable, python_of

START_LIMIT_S = 90.0
STOP_LIMIT_S = 5.0
POLL_S = 0.01
UNITS = HERE / "units"
SELDON_PATH = "/api/v1.0/predictions"
OIP_PATH = "/v2/models/Doubler/infer"


class Ports(NamedTuple):
    """Free ports of the loopback."""

    http: int
    grpc: int
    metrics: int


class Launch(NamedTuple):
    """What to run: arguments, environment variables beside our own, and headers that every request must carry."""

    command: list[str]
    environment: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}


class Server(NamedTuple):
    """The recipe of one server.

    `column` is where its figures stand in the table; `dialect` is the protocol it speaks, `seldon` or `oip`;
    `live` is the path of its liveness probe, empty for a server without HTTP; `predict` the path of a prediction;
    `factor` is by how much its answer differs from the input; `starts` is whether its start-up is a row of its own;
    `ends_alone` is whether SIGTERM to its first process ends all of them.
    """

    name: str
    column: str
    about: str
    environment: Environment
    launch: Callable[[Path, Ports, Path], Launch]
    dialect: str = "seldon"
    live: str = "/live"
    predict: str = SELDON_PATH
    grpc: bool = True
    ends_alone: bool = True
    factor: int = 2
    starts: bool = True


class Running(NamedTuple):
    """A started server."""

    server: Server
    root: int
    ports: Ports
    headers: Mapping[str, str]
    live_s: float
    ready_s: float
    start_cpu_s: float


def infergraph(python: Path, target: str, ports: Ports, folder: Path) -> Launch:
    """Our server over `target`."""
    command = [str(python.parent / "infergraph"), "serve", target]
    command += ["--http-port", str(ports.http), "--grpc-port", str(ports.grpc), "--metrics-port", str(ports.metrics)]
    return Launch([*command, "--data-dir", str(folder / "data"), "--log-level", "WARNING"])


def _ours(python: Path, ports: Ports, folder: Path) -> Launch:
    return infergraph(python, f"{UNITS / 'doubler.py'}:Doubler", ports, folder)


def _seldon(python: Path, ports: Ports, folder: Path) -> Launch:
    command = [str(python), "-m", "seldon_core.microservice", "doubler.Doubler", "--service-type", "MODEL"]
    command += ["--http-port", str(ports.http), "--grpc-port", str(ports.grpc), "--metrics-port", str(ports.metrics)]
    return Launch([*command, "--log-level", "WARNING"], {"PYTHONPATH": str(UNITS)})


def _mlserver(python: Path, ports: Ports, folder: Path) -> Launch:
    settings = {
        "host": "127.0.0.1",
        "http_port": ports.http,
        "grpc_port": ports.grpc,
        "metrics_port": ports.metrics,
        "metrics_dir": str(folder / "metrics"),
        "grpc_max_message_length": 64 * 1024 * 1024,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "metrics").mkdir()
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "Doubler", "implementation": "mlserver_doubler.Doubler"}
    (folder / "model-settings.json").write_text(json.dumps(model))
    return Launch([str(python.parent / "mlserver"), "start", str(folder)], {"PYTHONPATH": str(UNITS)})


def _uvicorn(app: str, python: Path, ports: Ports, *extra: str) -> list[str]:
    command = [str(python), "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(ports.http)]
    return [*command, "--log-level", "warning", "--no-access-log", "--workers", "1", *extra]


def _fastapi(python: Path, ports: Ports, folder: Path) -> Launch:
    return Launch(_uvicorn("fastapi_doubler:app", python, ports), {"PYTHONPATH": str(UNITS)})


def _rest_floor(python: Path, ports: Ports, folder: Path) -> Launch:
    return Launch(_uvicorn("benchmarks.floor.asgi:app", python, ports, "--lifespan", "off"))


def _echo_floor(python: Path, ports: Ports, folder: Path) -> Launch:
    return Launch(_uvicorn("benchmarks.floor.asgi:echo", python, ports, "--lifespan", "off"))


def _grpc_floor(python: Path, ports: Ports, folder: Path) -> Launch:
    return Launch([str(python), "-m", "benchmarks.floor.native_grpc", str(ports.grpc)])


SERVERS = (
    Server("ours", "infergraph", "`infergraph serve doubler.py:Doubler`, all defaults", OWN, _ours),
    Server(
        "seldon",
        "Seldon wrapper",
        "`seldon-core-microservice`, its defaults (gunicorn with one synchronous worker; gRPC in a process of its own)",
        SELDON,
        _seldon,
        live="/health/ping",
        ends_alone=False,
    ),
    Server(
        "mlserver",
        "MLServer",
        "the same rows in its own protocol, V2 (datatype FP64); `parallel_workers: 0`, its cheapest way",
        MLSERVER,
        _mlserver,
        dialect="oip",
        live="/v2/health/live",
        predict=OIP_PATH,
    ),
    Server(
        "fastapi",
        "FastAPI by hand",
        "the message as pydantic models, an `async def` endpoint, one uvicorn worker with uvloop and httptools",
        FASTAPI,
        _fastapi,
        grpc=False,
    ),
    Server("floor", "floor", "a bare ASGI callable on uvicorn: orjson, numpy, orjson", OWN, _rest_floor, grpc=False),
    Server(
        "floor-echo",
        "floor",
        "a bare ASGI callable on uvicorn that sends back the bytes it gets",
        OWN,
        _echo_floor,
        dialect="oip",
        predict=OIP_PATH,
        grpc=False,
        factor=1,
        starts=False,
    ),
    Server(
        "floor-grpc",
        "floor",
        "pygrpc-native's low-level API: protobuf, numpy, protobuf, in the receiving thread",
        OWN,
        _grpc_floor,
        live="",
        predict="",
    ),
)


def graph_server(name: str, spec: str) -> Server:
    """Our server over the SeldonDeployment file `spec`."""
    return Server(name, "infergraph", spec, OWN, lambda python, ports, folder: infergraph(python, spec, ports, folder))


@contextmanager
def running(server: Server) -> Iterator[Running]:
    """Start `server`, wait until it answers a prediction, and stop the whole tree at the end, come what may.

    Raises: Unavailable if it cannot be installed, ends early, or does not answer in time; the text has its last words.
    """
    python = python_of(server.environment)
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{server.name}-")))
        ports = Ports(*_free_ports(3))
        launch = server.launch(python, ports, folder)
        log = cleanup.enter_context((folder / "log").open("wb"))
        variables = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(launch.environment)
        started = time.monotonic()
        process = subprocess.Popen(
            launch.command,
            cwd=HERE.parent,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        cleanup.callback(_stop, server, process)
        try:
            live_s, ready_s = _await_ready(server, process, ports, launch.headers, started)
        except Unavailable as error:
            raise Unavailable(f"{error}; its log ends: {_last_words(folder / 'log')}") from error
        yield Running(server, process.pid, ports, launch.headers, live_s, ready_s, cost.cpu_s(process.pid))


def _await_ready(
    server: Server, process: subprocess.Popen[bytes], ports: Ports, headers: Mapping[str, str], started: float
) -> tuple[float, float]:
    """Seconds from the start to the first 200 of the liveness path, and to the first answered prediction."""
    live_s = ready_s = 0.0
    while time.monotonic() - started < START_LIMIT_S:
        if process.poll() is not None:
            raise Unavailable(f"{server.name} ended with exit code {process.returncode} before it was ready")
        if not server.live:
            if _connects(ports.grpc):
                elapsed = time.monotonic() - started
                return elapsed, elapsed
        else:
            if not live_s and _status(ports.http, "GET", server.live) == 200:
                live_s = time.monotonic() - started
            if live_s and _status(ports.http, "POST", server.predict, SMALL_REQUEST[server.dialect], headers) == 200:
                ready_s = time.monotonic() - started
                return live_s, ready_s
        time.sleep(POLL_S)
    raise Unavailable(f"{server.name} did not answer within {START_LIMIT_S:g} s")


SMALL_REQUEST = {
    "seldon": b'{"data":{"tensor":{"shape":[2,2],"values":[1.0,2.0,3.0,4.0]}}}',
    "oip": b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP64","data":[1.0,2.0,3.0,4.0]}]}',
}


def _status(port: int, verb: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> int:
    """The status of one request; 0 where there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(verb, path, body, {"Content-Type": "application/json", **headers} if body else {})
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _stop(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop; then end whatever of its tree is left, by pid and start time."""
    members = {member.pid: member.started for member in cost.tree(process.pid)}
    process.terminate()
    if not server.ends_alone:
        _signal(members, signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{server.name} did not stop within {STOP_LIMIT_S:g} s and was killed", file=sys.stderr)
    _signal(members | {member.pid: member.started for member in cost.tree(process.pid)}, signal.SIGKILL)
    process.wait()


def _signal(members: Mapping[int, int], number: signal.Signals) -> None:
    """Send a signal to those of `members` that still live: pid and start time, since a pid may have a new owner."""
    seen = cost.processes()
    for pid, started in members.items():
        if pid in seen and seen[pid].started == started:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _last_words(log: Path) -> str:
    """The last line that says something; a traceback inside a JSON log line counts as lines too."""
    lines = [line.strip(' "}') for line in log.read_text(errors="replace").replace("\\n", "\n").splitlines()]
    return next((line[-300:] for line in reversed(lines) if line), "(nothing)")
