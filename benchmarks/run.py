"""The benchmark: every server in turn, round after round, under the same loads; then the table.

python -m benchmarks.run [--rows rest-small,start,...] [--servers ours,seldon,...] [--seconds S] [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import cost, report, sections
from benchmarks.environments import HERE, Unavailable, python_of, versions
from benchmarks.graphs import GRAPHS
from benchmarks.load import Load, Measured, measure
from benchmarks.rows import ROWS, START, Row
from benchmarks.servers import SERVERS, Running, Server, running

IDLE_S = 1.0
"""How long a server may settle after its first answers before its idle memory is read."""

NOTES = (
    "CPU is user and system time of all processes of the server (`/proc/<pid>/stat`, reaped children included), read "
    "before and after the load and divided by the requests; the client is not in it.",
    "Memory is summed over the same processes: RSS as `ps` shows it, PSS with shared pages counted once.",
    "Servers run one at a time, in turn, in every round; each is started anew in each round, its answer is checked "
    "against numpy, then it is warmed up, then measured. Nothing else that the benchmark starts is running meanwhile.",
    "Every answer under load is a 200 of full length (wrk's error counts, or the volume that h2load received).",
    "Small rows are sent by wrk (REST) and h2load (gRPC), large REST rows by the bundled client, which also stands in "
    "where wrk or h2load is missing. Latencies are those of a machine that runs server and client on the same cores.",
    "All servers have one worker. 1,000x784 and 400,000 are random doubles of full length (14 MB of JSON, 3.2 MB of "
    "protobuf). All listen on the loopback, save the wrapper, which has no such option.",
    "Start-up is from exec to the first 200 of the liveness path, and to the first answered prediction.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked; 1 if a server of ours could not be measured."""
    options = _options(arguments)
    # SIGTERM like Ctrl-C: every server that runs is stopped on the way out
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load = Load(seconds=options.seconds, warm_s=min(0.7, options.seconds))
    results = _frame(options)
    begun = time.monotonic()
    try:
        _rounds(results, options, load)
        _sections(results, options)
    except KeyboardInterrupt:
        print("\nstopped; everything that was started has been stopped")
        return 130
    results["machine"]["load_after"] = _load_average()
    results["method"]["took_s"] = round(time.monotonic() - begun)
    results["wanted"] = report.judged(results)
    text = report.markdown(results)
    print("\n" + text)
    whole = not (options.quick or options.rows or options.servers)
    folder = Path(options.output) if options.output else HERE if whole else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "RESULTS.json").write_text(json.dumps(results, indent=1) + "\n")
        (folder / "RESULTS.md").write_text(text)
        print(f"written: {folder / 'RESULTS.md'} and RESULTS.json, after {results['method']['took_s']} s")
    return 1 if any("absent" in row.get(report.OURS, {}) for row in results["cells"].values()) else 0


def _rounds(results: dict[str, Any], options: argparse.Namespace, load: Load) -> None:
    """All rounds, or as many as are over within the limit."""
    begun = time.monotonic()
    for number in range(options.rounds):
        _round(results, options, load, f"round {number + 1} of {options.rounds}")
        results["method"]["rounds"] = number + 1
        took_s = time.monotonic() - begun
        if number + 1 < options.rounds and took_s * (number + 2) / (number + 1) > options.limit_s:
            print(f"\n{number + 1} rounds took {took_s:.0f} s; another would pass the limit of {options.limit_s:g} s")
            return


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    rows = [*(row.name for row in ROWS), START, *(graph.name for graph in GRAPHS)]
    rows += [section.name for section in sections.SECTIONS]
    servers = [server.name for server in SERVERS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=_names(rows), help=f"some of {','.join(rows)}; graph for all graphs")
    parser.add_argument("--servers", type=_names(servers), help=f"some of {','.join(servers)}")
    parser.add_argument("--seconds", type=float, default=2.0, help="load in each cell and round (2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--limit-s", type=float, default=400.0, help="begin no round that would end later (400)")
    parser.add_argument("--quick", action="store_true", help="one round of one second: to see that it works")
    parser.add_argument("--output", help="folder to write to (here for a whole run, else nowhere)")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    return options


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        asked = [name.strip() for name in text.split(",")]
        found = [
            one for one in known if any(one == name or (name == "graph" and one.startswith("graph-")) for name in asked)
        ]
        unknown = [name for name in asked if name != "graph" and name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)} (known: {', '.join(known)})")
        return found

    return names


def _frame(options: argparse.Namespace) -> dict[str, Any]:
    """The results before anything is measured; the peers are installed here."""
    print(f"benchmark on {platform.node() or 'this machine'}: {_processor()}, {os.cpu_count()} cores", flush=True)
    found = {}
    for server in _servers(options):
        name = server.environment.name or "infergraph"
        try:
            python_of(server.environment)
            found[name] = versions(server.environment)
        except Unavailable as error:
            print(f"{name}: {error}", flush=True)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"Linux {platform.release()}, Python {platform.python_version()}",
            "load_before": _load_average(),
            "load_after": "",
        },
        "versions": found,
        "method": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "tools": [tool if shutil.which(tool) else f"bundled client for {tool}" for tool in ("wrk", "h2load")],
            "notes": list(NOTES),
        },
        "cells": {},
        "sections": [],
    }


def _servers(options: argparse.Namespace) -> list[Server]:
    return [server for server in SERVERS if not options.servers or server.name in options.servers]


def _round(results: dict[str, Any], options: argparse.Namespace, load: Load, title: str) -> None:
    rows = [row for row in ROWS if not options.rows or row.name in options.rows]
    start = not options.rows or START in options.rows
    print(f"\n{title}", flush=True)
    for server in _servers(options):
        mine = [row for row in rows if _answers(server, row)]
        # the floor of gRPC has no HTTP side, so its start-up and memory are not those of a whole server
        starts = start and server.starts and bool(server.live)
        if mine or starts:
            _visit(results, server, mine, starts, load)
    for graph in GRAPHS:
        wanted = graph.name in options.rows if options.rows else not options.servers
        if wanted:
            try:
                _keep(results, graph.name, report.OURS, _plain(graph.measure(load)))
            except Unavailable as error:
                _miss(results, graph.name, report.OURS, str(error))


def _sections(results: dict[str, Any], options: argparse.Namespace) -> None:
    for section in sections.SECTIONS:
        whole = section.whole and not (options.rows or options.servers or options.quick)
        if not sections.available(section) or not (whole or section.name in (options.rows or ())):
            continue
        print(f"\n{section.title.lower()}", flush=True)
        try:
            text = sections.measure(section)
        except Unavailable as error:
            text = f"Not measured: {error}."
        results["sections"].append({"title": section.title, "text": text})


def _answers(server: Server, row: Row) -> bool:
    if row.servers or not server.starts:
        return server.name in row.servers
    if row.spelling == "ndarray" and server.dialect != "seldon":
        return False  # its protocol has one spelling
    return server.grpc or not server.live if row.transport == "grpc" else bool(server.live)


def _visit(results: dict[str, Any], server: Server, rows: Sequence[Row], start: bool, load: Load) -> None:
    """Start one server, measure all its rows, stop it."""
    names = [row.name for row in rows] + [START] * start
    try:
        with running(server) as one:
            if start:
                time.sleep(IDLE_S)
                _keep(results, START, server.column, _start(one))
            for row in rows:
                try:
                    _keep(results, row.name, server.column, _plain(measure(row, one, load)))
                except Unavailable as error:
                    _miss(results, row.name, server.column, str(error))
    except Unavailable as error:
        for name in names:
            _miss(results, name, server.column, str(error))


def _start(one: Running) -> dict[str, Any]:
    held = cost.memory(one.root)
    return {"live_s": one.live_s, "ready_s": one.ready_s, "start_cpu_s": one.start_cpu_s, **held._asdict()}


def _plain(measured: Measured) -> dict[str, Any]:
    return measured._asdict() | {"rate": measured.rate}


def _keep(results: dict[str, Any], row: str, column: str, found: dict[str, Any]) -> None:
    results["cells"].setdefault(row, {}).setdefault(column, {}).setdefault("rounds", []).append(found)
    if "cpu_us" in found:
        cpu = " + ".join(f"{value:,.1f}" for value in found["cpu_us"])
        said = f"{cpu} CPU us, {found['rate']:,.1f}/s, p50 {found['p50_ms']:.2f} ms ({found['tool']})"
    else:
        said = f"ready after {found['ready_s']:.2f} s, {found['rss_bytes'] / 1e6:.0f} MB"
    print(f"  {column:16} {row:20} {said}", flush=True)


def _miss(results: dict[str, Any], row: str, column: str, reason: str) -> None:
    results["cells"].setdefault(row, {}).setdefault(column, {})["absent"] = reason
    print(f"  {column:16} {row:20} not measured: {reason}", flush=True)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
