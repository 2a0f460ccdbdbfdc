"""Put one server under one kind of load and measure what it costs.

client (checks the answer, writes the body) ─▶ warm-up ─▶ CPU before ─▶ wrk | h2load | client ─▶ CPU after
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import cost
from benchmarks.environments import Unavailable
from benchmarks.plan import GRPC_METHODS, Plan, quantiles
from benchmarks.rows import Row
from benchmarks.servers import OIP_PATH, Running

COMMAND_LIMIT_S = 60.0
REQUESTS_MIN = 3


class Measured(NamedTuple):
    """One cell of one round; `cpu_us` are the CPU microseconds per request of each tree, in the given order."""

    requests: int
    seconds: float
    cpu_us: list[float]
    p50_ms: float
    p99_ms: float
    pss_bytes: int
    rss_bytes: int
    tool: str

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


class Load(NamedTuple):
    """How long to measure: `seconds` of load after `warm_s` of warm-up, and never more than `requests_max`."""

    seconds: float = 2.5
    warm_s: float = 0.7
    requests_max: int = 100_000


def measure(row: Row, running: Running, load: Load) -> Measured:
    """What one server costs under the load of `row`.

    Raises: Unavailable if it answers wrongly or breaks down.
    """
    port = running.ports.grpc if row.transport == "grpc" else running.ports.http
    return measure_trees(row, [running], [port], load, factor=running.server.factor)


def measure_trees(
    row: Row, trees: Sequence[Running], ports: list[int], load: Load, *, factor: float, in_turn: bool = False
) -> Measured:
    """What several process trees cost together.

    Args:
        trees: those whose CPU time is counted; the first one is asked, or each in turn.
        ports: where to ask, in turn.
        factor: by how much the last answer differs from the input.
        in_turn: whether the client asks one after the other, which no load tool can do.
    Raises: Unavailable if one answers wrongly or breaks down.
    """
    server = trees[0].server
    dialect = row.protocol or server.dialect
    path = OIP_PATH if dialect == "oip" else server.predict
    tool = "client" if in_turn else _tool(row)
    with tempfile.TemporaryDirectory(prefix="bench-load-") as name:
        folder = Path(name)
        warm_s = load.warm_s if tool == "client" else 0.0
        plan = Plan(
            row.name,
            dialect,
            path,
            ports,
            factor,
            str(folder / "body"),
            warm_s,
            load.seconds,
            load.requests_max,
            trees[0].headers,
        )
        with _client(plan) as client:
            said = _read(client)
            if tool == "client":
                before = [cost.cpu_s(tree.root) for tree in trees]
                print("go", file=client.stdin, flush=True)
                result = _read(client)
                after = [cost.cpu_s(tree.root) for tree in trees]
        if tool != "client":
            run = _wrk if tool == "wrk" else _h2load
            # requests side by side are no slower than one after the other, so this warm-up is not too long
            warm_count = _count(row, load.warm_s / said["answer_s"], load)
            warm = run(row, plan, folder, load.warm_s, warm_count)
            count = _count(row, load.seconds * warm["requests"] / warm["seconds"], load)
            before = [cost.cpu_s(tree.root) for tree in trees]
            result = run(row, plan, folder, load.seconds, count)
            after = [cost.cpu_s(tree.root) for tree in trees]
            _check_volume(result, said["answer_bytes"])
    held = [cost.memory(tree.root) for tree in trees]
    return Measured(
        result["requests"],
        result["seconds"],
        [1e6 * (end - begin) / result["requests"] for begin, end in zip(before, after, strict=True)],
        result["p50_ms"],
        result["p99_ms"],
        sum(one.pss_bytes for one in held),
        sum(one.rss_bytes for one in held),
        tool,
    )


def _count(row: Row, wanted: float, load: Load) -> int:
    """How many requests to send: a few at least, however slow the server is."""
    return min(load.requests_max, max(REQUESTS_MIN * row.connections * row.streams, int(wanted)))


def _tool(row: Row) -> str:
    if not row.small and row.transport == "rest":
        return "client"  # wrk would cut the last request off, which is one of few here
    tool = "wrk" if row.transport == "rest" else "h2load"
    return tool if shutil.which(tool) else "client"


@contextmanager
def _client(plan: Plan) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.client", json.dumps(plan._asdict())]
    client = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield client
        client.communicate(timeout=COMMAND_LIMIT_S)
    finally:
        client.kill()
        client.wait()


def _read(client: subprocess.Popen[str]) -> dict[str, Any]:
    if client.stdout is None or client.stderr is None:
        raise ValueError("the client was started without pipes")
    line = client.stdout.readline()
    if not line:
        words = client.stderr.read().strip().splitlines()
        # a group of tasks says little in its last line; the error itself is the last one that names an error
        said = [word.strip(" |+") for word in words if re.search(r"(Error|status|details)\b", word)]
        raise Unavailable(f"the client failed: {(said or words or ['no output'])[-1][:400]}")
    document: dict[str, Any] = json.loads(line)
    return document


_WRK_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
{headers}
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  local form = '{{"requests": %d, "errors": %d, "seconds": %f, "volume": %.0f, "p50_ms": %f, "p99_ms": %f}}'
  io.write(string.format('\\nRESULT ' .. form .. '\\n',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6, summary.bytes,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def _wrk(row: Row, plan: Plan, folder: Path, seconds: float, count: int) -> dict[str, Any]:
    script = folder / "post.lua"
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in plan.headers.items())
    script.write_text(_WRK_SCRIPT.format(body=plan.body, headers=headers))
    # wrk takes whole seconds; it starts the clock when all connections are there
    duration = max(1, round(seconds))
    command = ["wrk", "-t1", f"-c{row.connections}", f"-d{duration}s", "--timeout", "30s", "-s", str(script)]
    output = _output([*command, f"http://127.0.0.1:{plan.ports[0]}{plan.path}"])
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    result = json.loads(found[1]) if found else {"requests": 0, "errors": 0}
    if not result["requests"] or result["errors"]:
        raise Unavailable(f"wrk: {result['errors']} of {result['requests']} requests failed")
    return dict(result)


def _h2load(row: Row, plan: Plan, folder: Path, seconds: float, count: int) -> dict[str, Any]:
    log = folder / "h2load.tsv"
    log.unlink(missing_ok=True)
    command = ["h2load", "-n", str(count), f"-c{row.connections}", f"-m{row.streams}", "-d", plan.body]
    command += ["-w30", "-W30", "-N60", "--log-file", str(log)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    for name, value in plan.headers.items():
        command += ["-H", f"{name.lower()}: {value}"]
    output = _output([*command, f"http://127.0.0.1:{plan.ports[0]}{GRPC_METHODS[plan.dialect]}"])
    ended = re.search(r"finished in ([\d.]+)(us|ms|s|m)", output)
    succeeded = re.search(r"(\d+) succeeded", output)
    if not ended or not succeeded or int(succeeded[1]) != count:
        raise Unavailable(f"h2load: {succeeded[1] if succeeded else 'none'} of {count} requests succeeded")
    lines = log.read_text().split("\n")
    latencies_s = [int(line.split("\t")[2]) / 1e6 for line in lines if line]
    unit_s = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[ended[2]]
    data = re.search(r"\((\d+)\) data", output)
    return {
        "requests": count,
        "seconds": float(ended[1]) * unit_s,
        "volume": int(data[1]) if data else 0,
        **quantiles(latencies_s),
    }


def _check_volume(result: dict[str, Any], answer_bytes: int) -> None:
    """An error answer is a 200 without a body in gRPC, so count what came: every answer must be of full length."""
    if result["volume"] < 0.98 * answer_bytes * result["requests"]:
        raise Unavailable(f"answers were too short: {result['volume']} bytes for {result['requests']} requests")


def _output(command: Sequence[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=True)
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[0]}: {(error.stderr or error.stdout).strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} took more than {COMMAND_LIMIT_S:g} s") from error
    return ran.stdout
