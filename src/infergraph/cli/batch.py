"""`infergraph batch`: a file of rows through a component or a graph, without a server."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec
from rich.progress import BarColumn, TextColumn

from infergraph import settings
from infergraph.cli import options
from infergraph.cli.command import Command, argument, option
from infergraph.cli.launch import check_file
from infergraph.cli.tasks import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    bars_of,
    duration_text,
    encoding_option,
    format_option,
    output_format_option,
)
from infergraph.errors import Fault, StartupFault
from infergraph.observe import logs
from infergraph.tasks.batch import BatchConfig, run_batch
from infergraph.tasks.clocks import Clocks
from infergraph.tasks.ownership import Owner
from infergraph.tasks.task import State, Task
from infergraph.unit_source import read_overrides, source_of, with_server
from infergraph.wire import charsets
from infergraph.wire.file_kind import FileKind
from infergraph.worker_environment import shares_of

_FACTORY = "infergraph.assembly:build_for_tasks"
_SETTINGS = (
    "task_workers", "task_rows", "task_nan", "task_chunk_target_s", "task_chunk_lines_limit", "task_attempts_limit",
    "task_row_timeout_s", "task_timeout_s", "task_errors_limit", "task_disk_reserve_bytes", "task_engine",
    "task_ray_address", "gpus", "parameters", "threads", "execution", "model_metadata", "log_level", "log_format",
)  # fmt: skip
_DEFAULTS = {"log_level": "WARNING"}
_EPILOG = "Exit codes: 0 finished; 1 failed; 2 wrong usage; 130 interrupted (run the same command to continue)."


@click.command("batch", cls=Command, epilog=_EPILOG)
@argument("target", about="What answers the lines: any target of `serve`.")
@argument("file", type=click.Path(path_type=Path), about="A file of JSON lines, CSV or Parquet; - for standard input.")
@option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="File for the answers; - for standard output.",
)
@encoding_option
@format_option
@output_format_option
@options.nodes_option
@options.predictor_option
@options.settings_options(_SETTINGS)
def batch(
    target: str,
    file: Path,
    *,
    output: Path,
    encoding: str,
    format: FileKind | None,
    output_format: FileKind | None,
    given: options.Given,
    nodes: tuple[str, ...],
    predictor: str,
) -> None:
    """Answer a file of rows without a server; after a crash the same command resumes it.

    Example: infergraph batch ner.py:NER corpus.jsonl -o answers.jsonl
    """
    loaded = settings.load(os.environ, given, defaults=_DEFAULTS).settings
    logs.configure(loaded)
    target = with_server(target)
    check_file(target)
    shares_of(loaded.gpus, os.environ)
    source = source_of(target, nodes=read_overrides(nodes), predictor=predictor)
    try:
        codec = charsets.codec_of(encoding, "--encoding")
        task = _run(
            BatchConfig(
                input=file,
                output=output,
                factory=_FACTORY,
                source=msgspec.json.encode(source).decode(),
                settings=loaded,
                owner=Owner.of(source, loaded.parameters).tag,
                charset="" if codec is None else codec.name,
                input_kind=format,
                output_kind=output_format,
            )
        )
    except StartupFault:
        raise
    except Fault as fault:
        click.echo(f"infergraph: {fault.text} [{fault.reason}]", err=True)
        raise click.exceptions.Exit(EXIT_FAILED) from fault
    _tell(task, output)


def _run(config: BatchConfig) -> Task:
    columns = (TextColumn("{task.description:9}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with bars_of(*columns) as bars:
        bar = bars.add_task("reading", total=None, told="")

        def working(task: Task) -> None:
            told = f"{task.done}/{task.total} lines, {task.failed} failed, {task.rate:.4g} lines/s"
            if task.rate:
                told += f", {duration_text((task.total - task.done) / task.rate)} left"
            bars.update(bar, description="working", total=task.total, completed=task.done, told=told)

        def counting(seen: int) -> None:
            bars.update(bar, told=f"{seen / 1e6:.0f} MB")

        return run_batch(config, Clocks(), counting=counting, working=working)


def _tell(task: Task, output: Path) -> None:
    if task.state is State.FAILED:
        click.echo(f"failed after {task.done} of {task.total} lines: {task.error}", err=True)
        raise click.exceptions.Exit(EXIT_FAILED)
    if task.state is not State.FINISHED:
        click.echo(f"stopped after {task.done} of {task.total} lines; run the same command to continue", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    failed = f", {task.failed} of them failed (their reasons in their places)" if task.failed else ""
    click.echo(f"{output}: {task.total} lines in {duration_text(task.worked_s)}{failed}", err=True)
