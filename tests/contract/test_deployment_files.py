"""The deployment files and the dashboard do what they are for: commands start, probes answer, queries can be read."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate
import promql_parser
import pytest
import yaml

from infergraph.settings import load
from page_runner import ROOT, blocks_of, clean_environment, free_ports
from served import served

DOCS = ROOT / "docs"
FILES = DOCS / "deployment"
GUIDE = DOCS / "guides" / "deployment.md"
KUBERNETES = DOCS / "guides" / "kubernetes.md"
MODEL = "class MyModel:\n    def predict(self, X, names=None):\n        return X\n"


class Start(NamedTuple):
    """How a deployment file starts the server, with which environment, which paths it probes, how long it waits."""

    command: list[str]
    environment: Mapping[str, str]
    probes: tuple[str, ...] = ("/live", "/ready")
    patience_s: float = 10.0


def _unit() -> Start:
    parser = configparser.RawConfigParser(strict=False, delimiters="=", allow_no_value=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    text = (FILES / "infergraph.service").read_text("utf-8")
    parser.read_string(text)
    assert parser.sections() == ["Unit", "Service", "Install"]
    service = parser["Service"]
    environment = dict(pair.split("=", 1) for pair in re.findall(r"(?m)^Environment=(.*)$", text))
    assert service["KillMode"] == "mixed"
    command = shlex.split(service["ExecStart"])
    return Start([Path(command[0]).name, *command[1:]], environment, patience_s=float(service["TimeoutStopSec"]))


def _dockerfile() -> Start:
    lines = re.sub(r"\\\n", " ", (FILES / "Dockerfile").read_text("utf-8")).splitlines()
    instructions = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    words = {word for word, _ in instructions}
    assert words <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "CMD"}
    environment = dict(pair.split("=", 1) for word, rest in instructions if word == "ENV" for pair in rest.split())
    probes = re.findall(r"http://127\.0\.0\.1:9000(/\w+)", dict(instructions)["HEALTHCHECK"])
    return Start(json.loads(dict(instructions)["CMD"]), environment, tuple(probes))


def _manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FILES / name).read_text("utf-8")))


def _pod(name: str) -> Start:
    pod = _manifests(name)[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    probes = tuple(container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe"))
    environment = {each["name"]: each["value"] for each in container["env"]}
    return Start(container["args"], environment, probes, pod["terminationGracePeriodSeconds"])


STARTS = {
    "infergraph.service": _unit(),
    "Dockerfile": _dockerfile(),
    "model.yaml": _pod("model.yaml"),
    "tasks.yaml": _pod("tasks.yaml"),
}


def _answers(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.parametrize("name", STARTS)
def test_command_starts_and_probes_answer(name: str, tmp_path: Path) -> None:
    """What the file starts answers at the paths that it probes, and SIGTERM ends it with exit code 0."""
    start = STARTS[name]
    (tmp_path / "my_model.py").write_text(MODEL, "utf-8")
    ports = free_ports(3)
    environment = clean_environment(
        **start.environment,
        INFERGRAPH_HTTP_PORT=str(ports[0]),
        INFERGRAPH_GRPC_PORT=str(ports[1]),
        INFERGRAPH_METRICS_PORT=str(ports[2]),
    )
    environment |= {"INFERGRAPH_HOST": "127.0.0.1", "INFERGRAPH_DATA_DIR": str(tmp_path / "data")}
    environment |= {name: "0" for name in environment if name == "INFERGRAPH_DRAIN_DELAY_S"}
    program = Path(sys.executable).with_name(start.command[0])
    process = subprocess.Popen([program, *start.command[1:]], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not all(_answers(ports[0], path) == 200 for path in start.probes):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", STARTS)
def test_time_to_stop_is_enough(name: str) -> None:
    """Whoever stops the server waits longer than the server takes to drain, where the file says how long."""
    start = STARTS[name]
    given = load({key: value for key, value in start.environment.items() if key.startswith("INFERGRAPH_")}, {}).settings
    if name != "Dockerfile":  # its caller says it
        assert start.patience_s > given.drain_delay_s + given.grace_s


@pytest.mark.parametrize("name", ["model.yaml", "tasks.yaml"])
def test_manifests_fit_the_schemas_of_kubernetes(name: str) -> None:
    """Every manifest is valid, unknown members included, for an old and a new Kubernetes."""
    for manifest in _manifests(name):
        for version in ("1.28", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_healthcheck_tells_ready_from_not(tmp_path: Path) -> None:
    """The Dockerfile's health check is exit code 0 against a server that is ready, else another."""
    line = next(line for line in (FILES / "Dockerfile").read_text("utf-8").splitlines() if "HEALTHCHECK" in line)
    command = [sys.executable, *json.loads(line.partition("CMD ")[2])[1:]]
    (tmp_path / "my_model.py").write_text(MODEL, "utf-8")
    with served("my_model.py:MyModel", folder=tmp_path) as there:
        ours = [part.replace(":9000/", f":{there.http_port}/") for part in command]
        assert subprocess.run(ours, capture_output=True, check=False).returncode == 0
    assert subprocess.run(ours, capture_output=True, check=False).returncode != 0


def test_nginx_speaks_to_our_ports_and_hides_the_metrics() -> None:
    """The proxy's upstreams are the ports by default, and its connections end before the server ends them."""
    text = (FILES / "nginx.conf").read_text("utf-8")
    settings = load({}, {}).settings
    assert re.findall(r"server (\S+);", text) == [f"127.0.0.1:{settings.http_port}", f"127.0.0.1:{settings.grpc_port}"]
    assert int(re.findall(r"keepalive_timeout (\d+)s", text)[0]) < settings.keepalive_s
    assert f"location = {settings.metrics_path} {{ return 404; }}" in text
    assert text.count("{") == text.count("}")


SCALING = ("tasks-scaling.yaml", "adapter.yaml")


@pytest.mark.parametrize("name", [*STARTS, *SCALING, "nginx.conf"])
def test_guide_shows_the_file(name: str) -> None:
    """The guide shows each file as it is."""
    text = (FILES / name).read_text("utf-8")
    assert text.startswith(f"# {name}")
    assert text in [block.text for page in (GUIDE, KUBERNETES) for block in blocks_of(page.read_text("utf-8"))]


def _queries() -> Iterator[str]:
    for panel in json.loads((DOCS / "assets" / "grafana.json").read_text("utf-8"))["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    guide = (DOCS / "guides" / "metrics.md").read_text("utf-8")
    yield from (text.replace("\\|", "|") for text in re.findall(r"(?m)^\| [^|]+ \| `((?:[^`|]|\\\|)+)` \|$", guide))
    rules = next(block.text for block in blocks_of(guide) if block.text.startswith("# alerts.yml"))
    for group in yaml.safe_load(rules)["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    (scaled,) = _manifests("tasks-scaling.yaml")
    yield from (trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])
    (rules,) = _manifests("adapter.yaml")
    for rule in rules["rules"]["custom"]:
        yield rule["seriesQuery"]
        series = rule["seriesQuery"].partition("{")[0]
        yield re.sub("<<[^>]*>>", "pod", rule["metricsQuery"].replace("<<.Series>>", series)).replace("{pod}", "")


@pytest.mark.parametrize("query", sorted(set(_queries())))
def test_queries_can_be_read_and_name_metrics_that_exist(query: str) -> None:
    """Every query of the dashboard and the guide is PromQL, over metrics that a server has."""
    promql_parser.parse(query.replace("$__rate_interval", "5m"))
    reference = (DOCS / "reference" / "metrics.md").read_text("utf-8")
    known = set(re.findall(r"`((?:infergraph|seldon_api)_\w+)`", reference))
    for name in re.findall(r"(?:infergraph|seldon_api)_\w+", query):
        assert name in known or re.sub(r"_(bucket|sum|count)$", "", name) in known


def test_dashboard_has_every_metric() -> None:
    """Every metric of the program's own is on the dashboard, save one for the developer of a component."""
    board = (DOCS / "assets" / "grafana.json").read_text("utf-8")
    names = re.findall(r"(?m)^\| `(infergraph_\w+)`", (DOCS / "reference" / "metrics.md").read_text("utf-8"))
    assert [name for name in names if name not in board] == ["infergraph_user_metrics_dropped_total"]
