"""`infergraph check` and `infergraph show`: validate and draw a graph file without running it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from infergraph.cli.command import Command, argument, option
from infergraph.cli.options import nodes_option, predictor_option
from infergraph.errors import GraphError
from infergraph.graph import placement, resolution, spec
from infergraph.graph.inspection import Found, Inspected, inspect
from infergraph.graph.spec import drawing, picture
from infergraph.unit_source import read_overrides, server_of, with_server

_file_argument = argument("file", type=click.Path(path_type=Path), about="A SeldonDeployment, YAML or JSON.")
_WIDEST_COLUMNS = 10_000


@click.command("check", cls=Command, epilog="Exit codes: 0 the file can be served; 2 it cannot.")
@_file_argument
@nodes_option
@option("--json", "as_json", is_flag=True, help="Print JSON.")
@option("--cluster", is_flag=True, help="Check like the operator of a cluster: every node needs a container.")
def check(file: Path, nodes: tuple[str, ...], as_json: bool, cluster: bool) -> None:
    """Check a graph file: prints all problems, each with its line and a hint.

    Hints alone do not fail the check.

    Example: infergraph check deployment.yaml
    """
    overrides = read_overrides(nodes)
    server = server_of(with_server(str(file)))
    if server:
        report = {"file": str(file), "ok": True, "server": server}
        click.echo(json.dumps(report, indent=2) if as_json else f"{file}: ok (a model, served by {server})")
        return
    try:
        checked = inspect(spec.text_of(file, str(file)), str(file), overrides, cluster=cluster)
    except GraphError as fault:
        if not as_json:
            raise
        checked = Inspected([], [Found(0, 0, spec.Problem("the document", str(fault)))], [])
    if as_json:
        click.echo(json.dumps(_as_document(checked, str(file)), ensure_ascii=False, indent=2))
    else:
        _print(checked, str(file))
    if checked.problems:
        raise click.exceptions.Exit(2)


@click.command("show", cls=Command, epilog="Exit codes: 0 drawn; 2 the file cannot be read or drawn.")
@_file_argument
@predictor_option
@nodes_option
@option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Also write a picture.")
@option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(file: Path, predictor: str, nodes: tuple[str, ...], svg: Path | None, as_json: bool) -> None:
    """Draw a graph as a tree, with what answers at each node, and which nodes ask for a place of their own.

    Example: infergraph show deployment.yaml --svg graph.svg
    """
    overrides = read_overrides(nodes)
    read = spec.read(spec.text_of(file, str(file)), source=str(file))
    deployments = [spec.default(deployment) for deployment in read]
    resolution.check_overrides(deployments, overrides)
    cuts = [each for deployment in read for each in placement.cut(deployment, overrides).predictors]
    served = [(deployment, each) for deployment in deployments for each in deployment.predictors]
    found = [(deployment, each, cut) for (deployment, each), cut in zip(served, cuts, strict=True)]
    chosen = [one for one in found if predictor in ("", one[1].name)]
    names = ", ".join(each.name for _, each, _ in found)
    if not chosen:
        raise GraphError(f"{file} has no predictor{f' {predictor!r}; it has {names}' if predictor and names else ''}")
    if svg is not None and len(chosen) > 1:
        raise GraphError(f"{file}: a picture shows one predictor; choose it with --predictor (it has {names})")
    console, drawn = _console(), []
    for deployment, each, cut in chosen:
        resolved = {name: str(found) for name, found in resolution.resolve(each, deployment, overrides).items()}
        drawn.append(
            {
                "deployment": deployment.name,
                "predictor": each.name,
                "graph": each.graph,
                "answers": resolved,
                "places": [_place(place) for place in (*cut.served, *cut.foreign)],
            }
        )
        if not as_json:
            console.print(drawing.tree(each, resolved, placement.summaries(cut)), soft_wrap=False)
            _print_groups(console, cut)
        if svg is not None:
            _write(svg, picture.svg(each, resolved, placement.summaries(cut)))
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(drawn), ensure_ascii=False, indent=2))


def _print_groups(console: Console, cut: placement.PredictorCut) -> None:
    """The nodes of each group, and where the members that ask for one have an effect; nothing without groups."""
    if cut.groups:
        for place in cut.served:
            kind = "front" if place is cut.front else f"group {place.name}"
            console.print(Text.assemble((f"{kind}: ", "green"), ", ".join(place.nodes) or "no node"))
    members = placement.placing_of(cut)
    if members:
        console.print(Text(f"without effect with serve alone, which runs one process: {', '.join(members)}", "dim"))
        console.print(Text(f"with effect: {placement.effects(members)}", "dim"))


def _place(place: placement.Place) -> dict[str, Any]:
    given = {spec.PLACING[name]: found for name, found in msgspec.structs.asdict(place.asked).items()}
    asked = {name: found.value for name, found in given.items() if found is not None}
    return {"name": place.name, "kind": place.kind.value, "nodes": place.nodes, **asked}


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GraphError(f"{file} cannot be written: {error.strerror or error}") from error


def _print(checked: Inspected, source: str) -> None:
    console = _console()
    marks = [("error", "bold red", found) for found in checked.problems]
    marks += [("hint", "yellow", found) for found in checked.advice]
    for word, style, found in sorted(marks, key=lambda mark: (mark[2].line, mark[0])):
        where = f"{source}:{found.line}" if found.line else source
        console.print(Text.assemble((f"{where}: ", "bold"), (f"{word}: ", style), str(found.problem)))
        if found.problem.hint:
            console.print(Text(f"    {found.problem.hint}", "dim"))
    problems, hints = len(checked.problems), len(checked.advice)
    counts = [_count(problems, "problem")] if problems else [_size(checked.deployments)]
    counts += [_count(hints, "hint")] if hints else []
    verdict = ("not valid", "bold red") if problems else ("ok", "bold green")
    console.print(Text.assemble((f"{source}: ", "bold"), verdict, f" ({', '.join(counts)})"))


def _size(deployments: list[spec.Deployment]) -> str:
    predictors = [predictor for deployment in deployments for predictor in deployment.predictors]
    nodes = sum(1 for predictor in predictors for _ in predictor.graph.walk())
    return f"{_count(len(predictors), 'predictor')}, {_count(nodes, 'node')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _as_document(checked: Inspected, source: str) -> dict[str, Any]:
    return {
        "file": source,
        "ok": not checked.problems,
        "deployments": [
            {"name": deployment.name, "predictors": [predictor.name for predictor in deployment.predictors]}
            for deployment in checked.deployments
        ],
        "problems": [_entry(found) for found in checked.problems],
        "advice": [_entry(found) for found in checked.advice],
    }


def _entry(found: Found) -> dict[str, Any]:
    problem = found.problem
    return {
        "line": found.line,
        "document": found.document,
        "field": problem.field,
        "message": str(problem),
        "hint": problem.hint,
    }


def _console() -> Console:
    """The console, which wraps lines only on a terminal."""
    width = None if sys.stdout.isatty() else _WIDEST_COLUMNS
    return Console(highlight=False, soft_wrap=True, width=width)
