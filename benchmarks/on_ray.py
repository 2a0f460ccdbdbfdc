"""A graph of three models on Ray, the middle one with three replicas, beside a Ray Serve application of the same three.

    infergraph serve --on ray      the front here; the middle and the last model on the cluster, at ports of their own
    Ray Serve, optimised           HAProxy, RAY_SERVE_THROUGHPUT_OPTIMIZED; the models are called by handle
    Ray Serve, defaults            the same application

Both clusters are started on this machine and live in one environment. They run side by side, and loads take turns in
short rounds; the median counts. CPU time is that of all processes: servers, replicas, Ray's own.
Run: python -m benchmarks.on_ray [--rounds 5] [--seconds 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environments import HERE, Choice, Environment, Unavailable
from benchmarks.graphs import LENGTH, REPLICAS, SMALL, deployment
from benchmarks.load import Load, Measured, measure_trees
from benchmarks.report import table
from benchmarks.servers import UNITS, Launch, Ports, Running, Server, infergraph, running

SHARE_WANTED = 1 / 3
RAY = Environment(
    "ray",
    (Choice(("ray[serve]==2.60.0", "--editable", str(HERE.parent)), (3, 11), (3, 13)),),
    ("ray", "infergraph", "uvicorn", "numpy"),
)
NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}
OPTIMISED = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


def _ours(python: Path, ports: Ports, folder: Path) -> Launch:
    own: dict[str, Any] = {"place": "own", "resources": {"requests": {"cpu": "100m"}}}
    places = [{}, {**own, "replicas": REPLICAS}, own]
    models = [{"component": f"{UNITS / 'doubler.py'}:Doubler", **place} for place in places]
    file = folder / "chain.json"
    file.write_text(json.dumps(deployment(models)))
    launch = infergraph(python, str(file), ports, folder)
    return Launch([*launch.command, "--on", "ray"], NO_TOKEN)


def _serve(environment: dict[str, str]) -> Callable[[Path, Ports, Path], Launch]:
    def launch(python: Path, ports: Ports, folder: Path) -> Launch:
        return Launch([str(python), str(UNITS / "ray_serve_doublers.py"), str(ports.http)], {**NO_TOKEN, **environment})

    return launch


SERVERS = (
    Server("ray-ours", "infergraph serve --on ray", "", RAY, _ours),
    Server("ray-serve", "Ray Serve, optimised", "", RAY, _serve(OPTIMISED), live="/-/healthz", grpc=False),
    Server("ray-serve-plain", "Ray Serve, defaults", "", RAY, _serve({}), live="/-/healthz", grpc=False),
)


def compare(rounds: int, seconds: float) -> list[list[str]]:
    """A row of the table for each server."""
    load = Load(seconds=seconds)
    with ExitStack() as stack:
        there = [started for server in SERVERS if (started := _started(stack, server))]
        found: dict[str, list[Measured]] = {each.server.name: [] for each in there}
        for _ in range(rounds):
            for each in there:
                measured = measure_trees(SMALL, [each], [each.ports.http], load, factor=2**LENGTH)
                found[each.server.name].append(measured)
                print(each.server.name, measured, file=sys.stderr, flush=True)
    ours = median(one.cpu_us[0] for one in found["ray-ours"])
    return [_row(each.server, found[each.server.name], ours) for each in there]


def _started(stack: ExitStack, server: Server) -> Running | None:
    try:
        return stack.enter_context(running(server))
    except Unavailable as error:
        if server is SERVERS[0]:
            raise
        print(f"{server.column} is not measured: {error}", file=sys.stderr)
        return None


def _row(server: Server, rounds: Sequence[Measured], ours: float) -> list[str]:
    cpu_us = median(one.cpu_us[0] for one in rounds)
    share = ours / cpu_us
    verdict = "" if cpu_us == ours else f"{share:.2f}" + ("" if share <= SHARE_WANTED else ", **not met**")
    return [
        server.column,
        f"{cpu_us:,.0f}",
        f"{median(one.rate for one in rounds):,.0f}",
        f"{median(one.p50_ms for one in rounds):.1f}",
        f"{median(one.p99_ms for one in rounds):.1f}",
        f"{median(one.pss_bytes for one in rounds) / 1e6:,.0f}",
        verdict,
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    rows = compare(options.rounds, options.seconds)
    print(
        "Three models, the middle one with three replicas; small REST requests. Wanted: a third of Ray Serve's CPU.\n"
    )
    head = ["", "CPU µs / request", "requests / s", "p50, ms", "p99, ms", "memory (PSS), MB", "infergraph's share"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
