"""Streams beside LitServe's: items a second, the time to the first one, and CPU time, of one model in one run.

Every round starts each server anew and reads one stream after the other from it. Both send the same events.
Run: python -m benchmarks.streams [--items 10000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import cost
from benchmarks.environments import OWN, Choice, Environment, Unavailable, versions
from benchmarks.servers import UNITS, Launch, Ports, Running, Server, infergraph, running

STREAMS_A_ROUND = 5
_EVENT = b"data: "
_BLOCK_BYTES = 256 * 1024

LITSERVE = Environment(
    "litserve",
    (Choice(("litserve", "numpy"), (3, 10), (3, 13)),),
    ("litserve", "fastapi", "uvicorn", "uvloop", "numpy"),
)


class Stream(NamedTuple):
    """One stream, as its reader saw it: events, seconds until the first and the last, CPU seconds of the server."""

    items: int
    first_s: float
    whole_s: float
    cpu_s: float


def _ours(python: Path, ports: Ports, folder: Path) -> Launch:
    return infergraph(python, f"{UNITS / 'counter.py'}:Counter", ports, folder)


def _litserve(python: Path, ports: Ports, folder: Path) -> Launch:
    return Launch([str(python), str(UNITS / "litserve_counter.py"), str(ports.http)])


SERVERS = {
    "/v2/models/Counter/infer_stream": Server(
        "ours", "infergraph", "", OWN, _ours, dialect="oip", predict="/v2/models/Counter/infer"
    ),
    "/predict": Server(
        "litserve", "LitServe", "", LITSERVE, _litserve, dialect="oip", live="/health", predict="/predict"
    ),
}


def read(server: Running, path: str, items: int) -> Stream:
    """Ask for a stream and read it to its end."""
    tensor = {"name": "n", "shape": [1], "datatype": "INT32", "data": [items]}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.ports.http)) as connection:
        before, began = cost.cpu_s(server.root), time.perf_counter()
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received, first_s = bytearray(), 0.0
        while block := connection.recv(_BLOCK_BYTES):
            received += block
            if not first_s and _EVENT in received:
                first_s = time.perf_counter() - began
        whole_s = time.perf_counter() - began
    return Stream(received.count(_EVENT), first_s, whole_s, cost.cpu_s(server.root) - before)


def measured(server: Server, path: str, items: int, rounds: int) -> list[Stream]:
    """The streams of all rounds; one before each round is not counted."""
    streams = []
    for _ in range(rounds):
        with running(server) as started:
            read(started, path, items)
            streams += [read(started, path, items) for _ in range(STREAMS_A_ROUND)]
    short = [stream.items for stream in streams if stream.items != items]
    if short:
        raise Unavailable(f"{server.name} sent {short[0]} of {items} items")
    return streams


def line(server: Server, streams: Sequence[Stream]) -> str:
    """A row of the table: medians."""
    rate, first_ms, cpu_us = (
        statistics.median(figures)
        for figures in (
            [stream.items / stream.whole_s for stream in streams],
            [stream.first_s * 1e3 for stream in streams],
            [stream.cpu_s / stream.items * 1e6 for stream in streams],
        )
    )
    return f"{server.column:<12} {rate:>10,.0f} {first_ms:>12.2f} {cpu_us:>12.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"{'':<12} {'items/s':>10} {'first, ms':>12} {'CPU µs/item':>12}")
    for path, server in SERVERS.items():
        try:
            print(line(server, measured(server, path, given.items, given.rounds)), versions(server.environment))
        except Unavailable as error:
            print(f"{server.column:<12} not measured: {error}")


if __name__ == "__main__":
    main()
