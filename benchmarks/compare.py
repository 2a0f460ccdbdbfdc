"""Compare servers side by side: all run at once, and short loads of each take turns, so that noise meets all alike.

    python -m benchmarks.compare --row rest-small floor default inline /other/checkout@default

A variant is [CHECKOUT@]KIND. KIND is `floor`, or how our server runs: `default`, `inline`, `keys` (the default, asking
for a key), and after a `+` what it serves: `graph-1`, `graph-3` (a graph of that many models). CHECKOUT is another
working tree of this repository, whose source is used with the packages of this environment. The first variant is what
the others are divided by.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.environments import OWN
from benchmarks.graphs import deployment
from benchmarks.load import Load, Measured, measure_trees
from benchmarks.rows import ROWS, Row
from benchmarks.servers import SERVERS, UNITS, Launch, Ports, Running, Server, infergraph, running

COMPONENT = f"{UNITS / 'doubler.py'}:Doubler"


class Variant(NamedTuple):
    """One server of the comparison; `factor` is by how much it multiplies its input."""

    title: str
    server: Server
    factor: int


def variant(text: str, row: Row, folder: Path) -> Variant:
    """The variant that a word of the command line stands for.

    Raises: ValueError for an unknown kind.
    """
    checkout, _, kind = text.rpartition("@")
    if kind == "floor":
        name = "floor-grpc" if row.transport == "grpc" else "floor"
        return Variant(text, next(server for server in SERVERS if server.name == name), 2)
    execution, _, served = kind.partition("+")
    if execution not in ("default", "inline", "keys") or served not in ("", "graph-1", "graph-3"):
        raise ValueError(f"{kind!r} is no kind: floor, default, inline, keys, inline+graph-3, …")
    length = int(served.removeprefix("graph-") or 0)
    target = _graph(length, folder) if length else COMPONENT
    source = {"PYTHONPATH": str(Path(checkout).resolve() / "src")} if checkout else {}

    def launch(python: Path, ports: Ports, data: Path) -> Launch:
        command = infergraph(python, target, ports, data).command
        if execution == "keys":
            file = str(data / "keys.toml")
            return Launch([*command, "--keys", file], source, {"X-API-Key": _new_key(python, file)})
        return Launch([*command, "--execution", "inline"] if execution == "inline" else command, source)

    return Variant(text, Server("ours", text, text, OWN, launch), 2 ** max(length, 1))


def _graph(length: int, folder: Path) -> str:
    file = folder / f"{length}.json"
    file.write_text(json.dumps(deployment([{"component": COMPONENT}] * length)))
    return str(file)


def _new_key(python: Path, file: str) -> str:
    """A key that may predict as often as it likes, made by the command that users make theirs with."""
    command = [str(python.parent / "infergraph"), "keys", "create", "bench", "--scopes", "predict", "--file", file]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def compare(variants: Sequence[Variant], row: Row, rounds: int, load: Load) -> list[list[Measured]]:
    """What each variant costs in each round."""
    found: list[list[Measured]] = [[] for _ in variants]
    with ExitStack() as stack:
        started = [stack.enter_context(running(each.server)) for each in variants]
        for number in range(rounds):
            for at in range(len(variants)):
                place = (at + number) % len(variants)
                found[place].append(_measure(row, started[place], load, variants[place].factor))
    return found


def _measure(row: Row, one: Running, load: Load, factor: int) -> Measured:
    port = one.ports.grpc if row.transport == "grpc" else one.ports.http
    return measure_trees(row, [one], [port], load, factor=factor)


def table(variants: Sequence[Variant], found: Sequence[Sequence[Measured]]) -> str:
    """Medians, also of the ratios to the first variant within each round; of the p50 the least of all rounds, too."""
    head = "| variant | CPU µs | ratio | p50, ms | least p50, ms | requests / s |"
    lines = [head, "| --- | --- | --- | --- | --- | --- |"]
    for each, rounds in zip(variants, found, strict=True):
        cpu_us = median(one.cpu_us[0] for one in rounds)
        ratio = median(one.cpu_us[0] / first.cpu_us[0] for one, first in zip(rounds, found[0], strict=True))
        p50s_ms = [one.p50_ms for one in rounds]
        rate = median(one.rate for one in rounds)
        latency = f"{median(p50s_ms):.3f} | {min(p50s_ms):.3f}"
        lines.append(f"| {each.title} | {cpu_us:,.1f} | {ratio:.2f} | {latency} | {rate:,.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", metavar="VARIANT", help="[CHECKOUT@]KIND; see the module")
    parser.add_argument("--row", choices=[row.name for row in ROWS], default="rest-small")
    parser.add_argument("--alone", action="store_true", help="one connection and one request in flight")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="load of each variant in each round (1)")
    options = parser.parse_args(arguments)
    row = next(row for row in ROWS if row.name == options.row)
    if options.alone:
        row = row._replace(connections=1, streams=1)
    with tempfile.TemporaryDirectory(prefix="bench-compare-") as name:
        variants = [variant(text, row, Path(name)) for text in options.variants]
        load = Load(seconds=options.seconds, warm_s=0.2)
        print(f"{row.title}, {row.in_flight}; {options.rounds} rounds, load average {os.getloadavg()[0]:.1f}")
        print(table(variants, compare(variants, row, options.rounds, load)))


if __name__ == "__main__":
    main()
