"""The table of a run, from its JSON: what was measured, what was wanted, and by what means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from benchmarks.graphs import GRAPHS
from benchmarks.rows import ROWS, START
from benchmarks.servers import SERVERS

COLUMNS = list(dict.fromkeys(server.column for server in SERVERS))
Results = dict[str, Any]


class Metric(NamedTuple):
    """One figure of a cell: the key in the JSON, its heading, and how it is written."""

    key: str
    title: str
    write: Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f}"


CELL_METRICS = (
    Metric("cpu_us", "CPU µs / request", _number),
    Metric("rate", "requests / s", _number),
    Metric("p50_ms", "p50, ms", _number),
    Metric("p99_ms", "p99, ms", _number),
    Metric("pss_bytes", "memory after (PSS), MB", _megabytes),
    Metric("rss_bytes", "memory after (RSS summed), MB", _megabytes),
)
START_METRICS = (
    Metric("live_s", "start to live, s", lambda value: f"{value:.2f}"),
    Metric("ready_s", "start to first prediction, s", lambda value: f"{value:.2f}"),
    Metric("start_cpu_s", "CPU until then, s", lambda value: f"{value:.2f}"),
    Metric("pss_bytes", "idle memory (PSS), MB", _megabytes),
    Metric("rss_bytes", "idle memory (RSS summed), MB", _megabytes),
    Metric("processes", "processes", lambda value: f"{value:.0f}"),
)


def figure(results: Results, row: str, column: str, key: str) -> float | None:
    """The median over the rounds; None where nothing was measured."""
    rounds: list[dict[str, Any]] = results["cells"].get(row, {}).get(column, {}).get("rounds")
    if not rounds:
        return None
    return float(median(sum(one[key]) if isinstance(one[key], list) else one[key] for one in rounds))


class Wanted(NamedTuple):
    """A goal: the ratio of two figures (or one figure), the limit, and whether it is a ceiling or a floor."""

    text: str
    value: Callable[[Results], float | None]
    limit: float
    ceiling: bool
    unit: str = "x"


def _ratio(row: str, key: str, above: str, below: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        top, bottom = figure(results, row, above, key), figure(results, row, below, key)
        return None if top is None or not bottom else top / bottom

    return value


def _graph_ratio(above: str, below: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        top, bottom = figure(results, above, OURS, "cpu_us"), figure(results, below, OURS, "cpu_us")
        return None if top is None or not bottom else top / bottom

    return value


def _to_seldon(row: str, seldon: str) -> Callable[[Results], float | None]:
    """Our CPU time of a row of the open inference protocol, over that of Seldon's."""

    def value(results: Results) -> float | None:
        top, bottom = figure(results, row, OURS, "cpu_us"), figure(results, seldon, OURS, "cpu_us")
        return None if top is None or not bottom else top / bottom

    return value


def hop_us(results: Results) -> float | None:
    """CPU µs of the graph's server for one remote hop: what three hops add to answering with one model."""
    rounds = results["cells"].get("graph-remote", {}).get(OURS, {}).get("rounds")
    alone = figure(results, "graph-one", OURS, "cpu_us")
    if not rounds or alone is None:
        return None
    return (float(median(one["cpu_us"][0] for one in rounds)) - alone) / 3


OURS, SELDON, FLOOR, MLSERVER = "infergraph", "Seldon wrapper", "floor", "MLServer"
WANTED = (
    Wanted("REST small: CPU at most 1.4x the floor", _ratio("rest-small", "cpu_us", OURS, FLOOR), 1.4, True),
    Wanted("REST small: CPU at most 1/20 of the wrapper", _ratio("rest-small", "cpu_us", SELDON, OURS), 20, False),
    Wanted("gRPC small: CPU at most 1.5x the floor", _ratio("grpc-small", "cpu_us", OURS, FLOOR), 1.5, True),
    Wanted("gRPC small: CPU at most 1/18 of the wrapper", _ratio("grpc-small", "cpu_us", SELDON, OURS), 18, False),
    Wanted("REST 1,000x784: at least 15x faster (CPU)", _ratio("rest-large", "cpu_us", SELDON, OURS), 15, False),
    Wanted("REST 1,000x784: at least 15x faster (p50)", _ratio("rest-large", "p50_ms", SELDON, OURS), 15, False),
    Wanted("gRPC 400,000: at least 60x faster (CPU)", _ratio("grpc-large", "cpu_us", SELDON, OURS), 60, False),
    Wanted("gRPC 400,000: at least 60x faster (p50)", _ratio("grpc-large", "p50_ms", SELDON, OURS), 60, False),
    Wanted("idle RSS under a quarter of the wrapper's", _ratio(START, "rss_bytes", OURS, SELDON), 0.25, True),
    Wanted("the same by PSS (shared pages counted once)", _ratio(START, "pss_bytes", OURS, SELDON), 0.25, True),
    Wanted("`/live` within one second", lambda results: figure(results, START, OURS, "live_s"), 1.0, True, " s"),
    Wanted("chain of three in process: at most 1.3x one model", _graph_ratio("graph-chain", "graph-one"), 1.3, True),
    Wanted("the same beside a graph of one model", _graph_ratio("graph-chain", "graph-of-one"), 1.3, True),
    Wanted(
        "V2 over REST, small: CPU at most 1.1x our Seldon row", _to_seldon("v2-rest-small", "rest-small"), 1.1, True
    ),
    Wanted(
        "V2 over gRPC, small: CPU at most 1.1x our Seldon row", _to_seldon("v2-grpc-small", "grpc-small"), 1.1, True
    ),
    Wanted(
        "V2 over REST, small: CPU at most 1/4 of MLServer", _ratio("v2-rest-small", "cpu_us", MLSERVER, OURS), 4, False
    ),
    Wanted(
        "V2 over gRPC, small: CPU at most 1/4 of MLServer", _ratio("v2-grpc-small", "cpu_us", MLSERVER, OURS), 4, False
    ),
    Wanted(
        "V2 over gRPC, 1,000x784 raw: at most 1/10 of MLServer",
        _ratio("v2-grpc-raw", "cpu_us", MLSERVER, OURS),
        10,
        False,
    ),
    Wanted(
        "V2 over REST, 1,000x784 binary: at most 1.3x an echo",
        _ratio("v2-rest-binary", "cpu_us", OURS, FLOOR),
        1.3,
        True,
    ),
    Wanted("a remote REST hop: at most 150 CPU µs of ours", hop_us, 150, True, " µs"),
)


def judged(results: Results) -> list[dict[str, Any]]:
    """Every goal whose figures are there, with what was measured."""
    rows = []
    for wanted in WANTED:
        value = wanted.value(results)
        if value is not None:
            met = value <= wanted.limit if wanted.ceiling else value >= wanted.limit
            rows.append({"wanted": wanted.text, "limit": wanted.limit, "measured": value, "met": met})
    return rows


def markdown(results: Results) -> str:
    """The whole report."""
    parts = ["# Benchmark results", _about(results), *_wanted(results), *_summary(results), *_details(results)]
    parts += _graphs(results)
    parts += [f"## {section['title']}\n\n{section['text']}" for section in results["sections"]]
    return "\n\n".join([*parts, *_means(results)]) + "\n"


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A markdown table."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _about(results: Results) -> str:
    machine = results["machine"]
    return (
        f"{results['date']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}. Load average {machine['load_before']} before and {machine['load_after']} after. "
        f"{results['method']['rounds']} rounds of {results['method']['seconds']:g} s; medians; how it was measured "
        "stands at the end. Written by `make bench`; every round is in `RESULTS.json`."
    )


def _wanted(results: Results) -> list[str]:
    units = {wanted.text: wanted.unit for wanted in WANTED}
    lines = [
        [one["wanted"], f"{one['measured']:.2f}{units[one['wanted']]}", "met" if one["met"] else "**not met**"]
        for one in judged(results)
    ]
    return ["## Wanted", table(["wanted", "measured", ""], lines)] if lines else []


def _summary(results: Results) -> list[str]:
    lines = []
    for row in ROWS:
        if row.name not in results["cells"]:
            continue
        ours = figure(results, row.name, OURS, "cpu_us")
        line = [f"{row.title} ({row.in_flight})"]
        for column in COLUMNS:
            value = figure(results, row.name, column, "cpu_us")
            times = f" ({value / ours:.3g}x)" if value is not None and ours and column != OURS else ""
            line.append(_number(value) + times if value is not None else _reason(results, row.name, column))
        lines.append(line)
    if not lines:
        return []
    return ["## CPU µs of the whole server for one request", table(["", *COLUMNS], lines)]


def _reason(results: Results, row: str, column: str) -> str:
    reason: str = results["cells"].get(row, {}).get(column, {}).get("absent", "")
    return reason if len(reason) <= 20 else "failed" if reason else "–"


def _details(results: Results) -> list[str]:
    parts = []
    titles = {START: "Start-up and idle memory"} | {row.name: f"{row.title}, {row.in_flight}" for row in ROWS}
    for name, title in titles.items():
        if name not in results["cells"]:
            continue
        metrics = START_METRICS if name == START else CELL_METRICS
        lines = []
        for metric in metrics:
            values = [figure(results, name, column, metric.key) for column in COLUMNS]
            lines.append([metric.title, *("–" if value is None else metric.write(value) for value in values)])
        parts += [f"## {title}", table(["", *COLUMNS], lines)]
        absent = {column: cell["absent"] for column, cell in results["cells"][name].items() if "absent" in cell}
        parts += [f"{column}: {reason}." for column, reason in absent.items()]
    return parts


def _graphs(results: Results) -> list[str]:
    lines = []
    notes = []
    for graph in GRAPHS:
        cell = results["cells"].get(graph.name, {}).get(OURS)
        if cell is None:
            continue
        if not cell.get("rounds"):
            notes.append(f"{graph.title}: {cell['absent']}.")
            continue
        each = [median(one["cpu_us"][index] for one in cell["rounds"]) for index in range(len(graph.trees))]
        split = " + ".join(f"{_number(value)} ({tree})" for tree, value in zip(graph.trees, each, strict=True))
        values = {metric.key: figure(results, graph.name, OURS, metric.key) or 0.0 for metric in CELL_METRICS}
        lines.append([graph.title, split, *(metric.write(values[metric.key]) for metric in CELL_METRICS)])
    if not lines and not notes:
        return []
    header = ["", "CPU µs of each process tree", *(metric.title for metric in CELL_METRICS)]
    return ["## Graphs: REST, 2x2 tensor, 16 requests in flight", table(header, lines), *notes]


def _means(results: Results) -> list[str]:
    method = results["method"]
    versions = [
        [name, ", ".join(f"{package} {version}" for package, version in found.items())]
        for name, found in results["versions"].items()
    ]
    about = "\n".join(f"- **{server.name}** ({server.column}): {server.about}." for server in SERVERS)
    method_text = "\n".join(f"- {line}" for line in method["notes"])
    return [
        "## How",
        method_text,
        "## Servers",
        about,
        table(["environment", "versions"], versions),
        "Load tools: " + ", ".join(method["tools"]) + ".",
    ]
