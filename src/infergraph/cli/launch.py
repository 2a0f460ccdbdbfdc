"""Launch of a server: `serve` and `microservice` check the target and the settings, and plan the supervisor."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from infergraph.auth.base_path import AUTO, kept
from infergraph.auth.keys import KeyFile
from infergraph.auth.tls import server_tls
from infergraph.auth.tokens import issuer_of
from infergraph.errors import SettingsError, TargetError, TaskFault
from infergraph.process import supervisor
from infergraph.settings import ConsoleMode, GrpcEngine, Settings
from infergraph.tasks import objects
from infergraph.tasks.ownership import Owner, chosen
from infergraph.tasks.storage import prepare_shared
from infergraph.unit_source import is_graph, named, read_overrides, source_of, with_server
from infergraph.worker_environment import shares_of

_CURL = "curl -s ADDRESS{path} -H 'Content-Type: application/json' -d {body}"


def plan_of(
    target: str,
    settings: Settings,
    *,
    nodes: Sequence[str] = (),
    predictor: str = "",
    reload: bool = False,
    command: str = "serve",
    pidfile: str = "",
) -> supervisor.ServePlan:
    """The plan of a supervisor that serves `target`, which may be NAME=TARGET.

    Raises: StartupFault for any problem that can be found before anything starts.
    """
    name, target = named(target)
    target = with_server(target)
    check_file(target)
    shares_of(settings.gpus, os.environ)
    _check_access(settings)
    if settings.tasks:
        _check_data_dir(settings.data_dir)
    source = source_of(target, nodes=read_overrides(nodes), predictor=predictor, name=name)
    owner = None
    if os.access(settings.data_dir, os.W_OK | os.X_OK):
        owner = Owner.of(source, settings.parameters)
        if settings.data_dir == Settings().data_dir:
            settings = msgspec.structs.replace(settings, data_dir=str(chosen(Path(settings.data_dir), owner)))
    if settings.tasks and settings.task_files.startswith(objects.SCHEMES):
        objects.check_bucket(settings.task_files)
    if settings.tasks and settings.task_store:
        _prepare_shared(settings, target)
    if settings.base_path == AUTO:
        settings = msgspec.structs.replace(settings, base_path=kept(Path(settings.data_dir)))
    warnings = _exposure(settings, command)
    if settings.base_path and not settings.asks_callers and not _is_own(settings.host):
        settings = msgspec.structs.replace(settings, grpc=False)
    return supervisor.ServePlan(
        settings=msgspec.to_builtins(settings),
        source=msgspec.to_builtins(source),
        command=command,
        warnings=warnings,
        pidfile=pidfile and str(Path(pidfile).absolute()),
        reload_paths=_watched(target) if reload else (),
        banner=_banner(target, settings),
        addresses=_addresses(target, settings),
        owner=owner,
    )


def check_file(target: str) -> None:
    """Check that the target's file exists, before workers are started. Raises: TargetError."""
    file = target.partition("#")[0] if is_graph(target) else target.partition(":")[0]
    if (is_graph(target) or file.endswith(".py")) and not Path(file).is_file():
        raise TargetError(f"there is no file {file}")


def _check_data_dir(data_dir: str) -> None:
    """Check that the data folder is writable, and say in the error what to do."""
    folder = Path(data_dir).absolute()
    way_out = "choose another with --data-dir, or serve without tasks with --tasks off"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"data_dir {folder} cannot be created ({error.strerror}); {way_out}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"data_dir {folder} cannot be written; {way_out}")


def _prepare_shared(settings: Settings, target: str) -> None:
    """Prepare the task store that machines share, before workers are started. Raises: StartupFault."""
    try:
        prepare_shared(settings, target)
    except TaskFault as fault:
        raise SettingsError(f"task_store or task_files cannot be used: {fault}") from fault


def _check_access(settings: Settings) -> None:
    """Check keys and certificates before workers are started. Raises: SettingsError."""
    if settings.keys:
        KeyFile(Path(settings.keys)).open()
    if settings.oidc_issuer:
        issuer_of(settings).check()
    if server_tls(settings) is not None and settings.grpc and settings.grpc_engine is GrpcEngine.NATIVE:
        raise SettingsError("grpc_engine=native has no TLS; with tls_cert use grpcio, or auto")


def _exposure(settings: Settings, command: str) -> tuple[str, ...]:
    """A warning where strangers may do everything, with what mends it."""
    if settings.asks_callers or _is_own(settings.host):
        return ()
    if settings.base_path:
        return ("gRPC is not served: a base path does not protect it, keys do",) if settings.grpc else ()
    way = "--keys keys.toml" if command == "serve" else "INFERGRAPH_KEYS=keys.toml"
    may = "call the model" + (", and run, read and delete its tasks" if settings.tasks else "")
    return (
        f"whoever reaches {settings.host} may {may}: nobody is asked for a key; "
        f"to change that: infergraph keys create me, and start with {way}",
    )


def _is_own(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _watched(target: str) -> tuple[str, ...]:
    file = Path(target.partition(":")[0])
    return (str(file.resolve().parent),) if file.suffix else (str(Path.cwd()),)


def _banner(target: str, settings: Settings) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    http = f"{scheme}://{host}:{{http_port}}{settings.base_path}"
    lines = [f"serving {target}", f"  REST     {http}   (documents: /docs)"]
    if settings.grpc:
        lines.append(f"  gRPC     {host}:{{grpc_port}}")
    lines.append(f"  metrics  {scheme}://{host}:{{metrics_port}}{settings.base_path}{settings.metrics_path}")
    if settings.console is not ConsoleMode.OFF:
        lines.append(f"  console  {http}/console")
    if settings.tasks:
        meaning = settings.task_immediate_means.value
        lines.append(f"  tasks    POST {http}/tasks   (immediate=true means {meaning})")
    lines.append(f"  try      {_CURL.replace('ADDRESS', http)}")
    return "\n".join(lines)


def _addresses(target: str, settings: Settings) -> dict[str, str]:
    """The log line of the start: what is served, and where, but for the base path."""
    scheme = "https" if settings.tls_cert else "http"
    http = f"{scheme}://{{host}}:{{http_port}}"
    found = {"serving": target, "rest": http}
    if settings.grpc:
        found["grpc"] = "{host}:{grpc_port}"
    found["metrics"] = f"{scheme}://{{host}}:{{metrics_port}}{settings.metrics_path}"
    if settings.console is not ConsoleMode.OFF:
        found["console"] = f"{http}/console"
    if settings.tasks:
        found |= {"tasks": f"{http}/tasks", "data_dir": settings.data_dir}
    return found
