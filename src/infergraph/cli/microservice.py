"""`infergraph microservice`: the flags, environment and exit codes of seldon-core-microservice.

Kept: names, defaults, precedence of flag and environment, exit code 2 for a bad flag and 255 for an unknown argument.
Fixed: `--debug false` is false; `TRACING=true`, lower-case log levels and OUTPUT_TRANSFORMER are accepted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from infergraph import settings
from infergraph.cli.command import Command
from infergraph.cli.launch import plan_of
from infergraph.errors import SettingsError
from infergraph.process import supervisor
from infergraph.settings import ConsoleMode, read_bool

EXIT_UNKNOWN_ARGUMENT = 255
_SERVICE_TYPES = ("MODEL", "ROUTER", "TRANSFORMER", "COMBINER", "OUTPUT_TRANSFORMER", "OUTLIER_DETECTOR")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_NO_EFFECT = "accepted, without effect"
_NUMBERS = {
    "workers": "processes; each serves REST and gRPC",
    "threads": "threads of a worker",
    "max-requests": "a worker is replaced after this many requests",
    "max-requests-jitter": "up to this many random requests are added to it",
    "keepalive": "seconds an idle connection is kept open",
    "http-port": "REST (default 9000)",
    "grpc-port": "gRPC (default 5000)",
    "metrics-port": "metrics (default 6000)",
    "grpc-workers": "0 disables gRPC; otherwise --workers decides",
    "grpc-threads": "the larger of this and --threads is used",
}
DEFAULTS: dict[str, Any] = {"host": "0.0.0.0", "tasks": False, "console": ConsoleMode.OFF, "load_wait_s": 600.0}
"""Settings whose defaults differ from those of `serve`."""


@click.command("microservice", cls=Command, context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)  # `_parser` parses them like the original
def microservice(arguments: tuple[str, ...]) -> None:
    """Serve with the flags and environment of seldon-core-microservice, for existing images and manifests.

    Example: infergraph microservice MyModel --service-type MODEL
    """
    run(arguments, os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infergraph microservice",
        description="Serve a component with the flags and environment of seldon-core-microservice.",
        epilog="Example: infergraph microservice MyModel --service-type MODEL --workers 2. "
        "Exit codes: 0 stopped; 1 the component cannot be found, imported or constructed; 2 bad flags, settings "
        "or ports; 3 its load() raised; 255 an unknown argument.",
    )
    parser.add_argument("interface_name", help="MyModel (class MyModel of module MyModel) or package.module.Class")
    parser.add_argument(
        "--service-type",
        choices=_SERVICE_TYPES,
        default="MODEL",
        help="accepted without effect; all methods are served",
    )
    parser.add_argument("--parameters", help="JSON list of {name, value, type}; overrides PREDICTIVE_UNIT_PARAMETERS")
    parser.add_argument("--log-level", type=str.upper, choices=_LEVELS, help="SELDON_LOG_LEVEL overrides it")
    parser.add_argument("--debug", nargs="?", type=read_bool, const=True, help="log at DEBUG")
    parser.add_argument("--tracing", nargs="?", type=_count, const=1, help="trace spans by OTLP")
    parser.add_argument("--persistence", nargs="?", type=_count, const=1, default=0, help=_NO_EFFECT)
    parser.add_argument("--access-log", nargs="?", type=read_bool, const=True, help="a log line for each request")
    parser.add_argument("--single-threaded", nargs="?", type=_count, const=1, help="one thread in each worker")
    parser.add_argument("--pidfile", default="", help="file for the process id")
    for name, help in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=None, help=help)
    return parser


def _count(text: str) -> int:
    """A number, or a boolean as people spell it."""
    return int(text) if text.lstrip("-").isdigit() else int(read_bool(text))


def given_settings(arguments: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, Any]:
    """Settings by name from the flags and the original's environment variables; None if not given."""
    given: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in (
            "parameters",
            "workers",
            "threads",
            "max_requests",
            "max_requests_jitter",
            "access_log",
            "http_port",
            "grpc_port",
            "metrics_port",
        )
    }
    given["keepalive_s"] = arguments.keepalive
    # The environment overrides the flag, as in the original.
    given["log_level"] = None if environment.get("SELDON_LOG_LEVEL") else arguments.log_level
    if _or_environment(arguments.debug, environment, "SELDON_DEBUG", read_bool):
        given["log_level"] = "DEBUG"
    given["tracing"] = None if arguments.tracing is None else bool(arguments.tracing)
    if _or_environment(arguments.single_threaded, environment, "FLASK_SINGLE_THREADED", _count):
        given["threads"] = 1
    grpc_workers = _or_environment(arguments.grpc_workers, environment, "GRPC_WORKERS", int)
    if grpc_workers == 0:
        given["grpc"] = False
    if given["threads"] is None:
        # One pool answers both protocols, so the larger value is used.
        threads = _or_environment(None, environment, "GUNICORN_THREADS", int) or 1
        wished = _or_environment(arguments.grpc_threads, environment, "GRPC_THREADS", int) or 1
        given["threads"] = max(threads, wished)
    return given


def _or_environment(value: Any, environment: Mapping[str, str], name: str, read: Any) -> Any:
    if value is not None or environment.get(name, "") == "":
        return value
    try:
        return read(environment[name])
    except ValueError as error:
        raise SettingsError(f"{name}={environment[name]!r} cannot be read: {error}") from error


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Serve with these flags and the environment; exits the process."""
    parsed, unknown = _parser().parse_known_args(arguments)
    if unknown:
        print(f"infergraph microservice: unknown arguments: {' '.join(unknown)}", file=sys.stderr)
        sys.exit(EXIT_UNKNOWN_ARGUMENT)
    loaded = settings.load(environment, given_settings(parsed, environment), defaults=DEFAULTS)
    plan = plan_of(parsed.interface_name, loaded.settings, command="microservice", pidfile=parsed.pidfile)
    supervisor.replace_process(plan)
