"""Every option of every command has an effect: what a command does differs with it.

What a command does is its exit code, what it prints, what it sends to a server, the files it leaves, and the plan of
the supervisor that it becomes. For each option it is run with the option, without it (or with another value), and
without it once more: the last two have to be equal, or the first would differ for another reason.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
import pytest
from click.testing import CliRunner

import infergraph
from certificates import Authority
from contract.client_servers import reply, scripted
from infergraph.cli import batch, microservice
from infergraph.cli.main import infergraph as program
from infergraph.cli.options import SettingOption
from infergraph.settings import Settings

GRAPH = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: d}
spec:
  predictors:
  - {name: one, traffic: 50, graph: {name: a, type: MODEL, component: "parts:Twice"}}
  - {name: two, traffic: 50, graph: {name: a, type: MODEL, component: "parts:Thrice"}}
"""
SCALED = GRAPH.replace('component: "parts:Twice"', 'component: "parts:Twice", place: own, hpaSpec: {maxReplicas: 3}')
SCALED = SCALED.partition("  - {name: two")[0].replace("traffic: 50, ", "")
CLUSTER = """
kind: SeldonDeployment
metadata: {name: d}
spec:
  protocol: v2
  predictors:
  - {name: one, graph: {name: a, implementation: TRITON_SERVER, modelUri: "s3://bucket/model"}}
"""
PARTS = """
class Twice:
    def predict(self, X, names=None, meta=None):
        return [{**row, "n": row["n"] * 2} for row in X]


class Thrice:
    def predict(self, X, names=None, meta=None):
        return [{**row, "n": row["n"] * 3} for row in X]
"""
KEY = "[[keys]]\nname = '{}'\nsha256 = '{}'\nscopes = ['admin']\n"
KEYS = KEY.format("a", "1" * 64) + KEY.format("b", "2" * 64)
FILES = {
    "keys.toml": KEYS,
    "other.toml": KEYS.replace("'a'", "'b'"),
    "g.yaml": GRAPH,
    "cluster.yaml": CLUSTER,
    "scaled.yaml": SCALED,
    "remote.yaml": GRAPH.replace('component: "parts:Twice"', "endpoint: {service_host: h, service_port: 9000}"),
    "parts.py": PARTS,
    "in.jsonl": '{"n": 1, "t": "é"}\n',
    "latin.jsonl": b'{"n": 1, "t": "\xe9"}\n',
    "rows.jsonl": "[1, 2]\n",
    "w/jiagu-kg.npz": "weights",
    "je.jsonl": '{"data": "", "entity_pair": [["a", "b"]], "relation": ["r"]}\n',
}
TASK = {"id": "t", "state": "finished", "total": 1, "done": 1, "status": 200, "created": "2026-01-01T00:00:00Z"}
MESSAGE = {"data": {"names": ["a"], "ndarray": [[1]]}, "meta": {"tags": {"x": 1}}}
MODEL = {"name": "m", "models": ["m"], "inputs": [], "extensions": []}
TENSORS = reply(200, json.dumps({**MODEL, "model_name": "m", "outputs": []}).encode())
ANSWER = reply(200, json.dumps({**TASK, **MESSAGE, "tasks": [TASK], "pruned": 1}).encode())
NUMBER = reply(200, json.dumps({"status": 1, **MESSAGE}).encode())
ACCEPTED, RUNNING, FINISHED = (reply(200, b'{"status": %d}' % number) for number in (200, 0, 2))
SECOND_POLL = (NUMBER, NUMBER, NUMBER, ACCEPTED, ACCEPTED, RUNNING, FINISHED)
ELSEWHERE = "--url http://127.0.0.1:9"  # nobody listens there
ONE = "in.jsonl --predictor one -o a"
LATIN = "latin.jsonl --predictor one -o a"
PORTS = "--http-port 0 --grpc-port 0 --metrics-port 0"


VARYING = (r"[0-9a-f]{8,}", r"\d+(\.\d+)? m?s\b", r"seldon-puid[^,]*", r"ig_[\w-]+", r"T\d\d:\d\d:\d\dZ")
"""What is another each time: ids, times, keys."""


class Case(NamedTuple):
    """A command line with an option and one without it; {url} and {host} are those of a server that answers `steps`."""

    option: str
    given: str
    without: str = ""
    steps: tuple[bytes, ...] = (ANSWER,)


def cases() -> dict[str, tuple[str, list[Case]]]:
    """The rest of the command line of each command, and a case for each of its options."""
    url = Case("--url", "--url {url}", ELSEWHERE)
    as_json = Case("--json", "--url {url} --json", "--url {url}")
    output = Case("--output", "--url {url} --output out", "--url {url}")
    key = Case("--key", "--url {url} --key k", "--url {url}")
    file = Case("--file", "--file other.toml")
    listing = [
        url,
        Case("--state", "--url {url} --state running", "--url {url}"),
        Case("--prefix", "--url {url} --prefix x", "--url {url}"),
        Case("--limit", "--url {url} --limit 7", "--url {url}"),
        as_json,
        key,
    ]
    return {
        "serve": (f"g.yaml {PORTS}", [
            Case("--node", "--node a=parts:Thrice"),
            Case("--predictor", "--predictor two"),
            Case("--reload", "--reload"),
            Case("--groups", "--groups"),
            Case("--on", "--on no.address"),
        ]),
        "call": ("{url} [[1]]", [
            Case("--method", "--method route"),
            Case("--grpc", "--grpc --retries 0"),
            Case("--protocol", "--protocol v2 --model m", steps=(TENSORS,) * 3),
            Case("--model", "--protocol v2 --model m", "--protocol v2 --model n", steps=(TENSORS,) * 3),
            Case("--names", "--names x"),
            Case("--text", "--text"),
            Case("--stream", "--stream"),
            Case("--json", "--json"),
            Case("--header", "--header X-Mine:1"),
            Case("--timeout", "--timeout 1e-9"),
            Case("--wait", "--wait 5"),
            Case("--retries", "--retries 0", steps=(b"", ANSWER)),
            Case("--key", "--key k"),
        ]),
        "submit": ("in.jsonl", [
            url,
            output,
            Case("--id", "--url {url} --id x", "--url {url}"),
            Case("--priority", "--url {url} --priority 3", "--url {url}"),
            Case("--rows", "--url {url} --rows message", "--url {url}"),
            Case("--encoding", "--url {url} --encoding gbk", "--url {url}"),
            Case("--format", "--url {url} --format csv", "--url {url}"),
            Case("--output-format", "--url {url} --output-format csv", "--url {url}"),
            Case("--webhook", "--url {url} --webhook http://h/x", "--url {url}"),
            Case("--webhook-events", "--url {url} --webhook-events task.failed", "--url {url}"),
            Case("--wait", "--url {url} --wait", "--url {url} --no-wait"),
            key,
        ]),
        "tasks": ("", listing),
        "tasks list": ("", listing),
        "tasks show": ("t", [url, as_json, key]),
        "tasks watch": ("t", [url, output, key]),
        "tasks results": ("t", [
            url, output, key, Case("--partial", "--url {url} --partial", "--url {url}")
        ]),
        **{f"tasks {name}": ("t", [url, key]) for name in ("errors", "cancel", "retry", "delete")},
        "tasks prune": ("", [
            Case("--url", "--older-than 1h --url {url}", f"--older-than 1h {ELSEWHERE}"),
            Case("--older-than", "--older-than 1h --url {url}", "--older-than 2h --url {url}"),
            Case("--key", "--older-than 1h --url {url} --key k", "--older-than 1h --url {url}"),
        ]),
        "batch": ("g.yaml", [
            Case("--output", "in.jsonl --predictor one -o a", "in.jsonl --predictor one -o b"),
            Case("--encoding", f"{LATIN} --encoding latin-1", f"{LATIN} --encoding cp1251"),
            Case("--format", f"{ONE} --format csv", ONE),
            Case("--output-format", f"{ONE} --output-format csv", ONE),
            Case("--node", "in.jsonl --predictor one -o a --node a=parts:Thrice", "in.jsonl --predictor one -o a"),
            Case("--predictor", "in.jsonl -o a --predictor two", "in.jsonl -o a --predictor one"),
        ]),
        "doctor": ("{url}", [
            Case("--seldon", "--seldon", steps=(NUMBER,)),
            Case("--v2", "--v2 --grpc 127.0.0.1:1", steps=(TENSORS,) * 9),
            Case("--grpc", "--v2 --grpc 127.0.0.1:1", "--v2 --grpc 127.0.0.1:2", steps=(TENSORS,) * 9),
            Case("--rows", "--rows rows.jsonl", steps=(NUMBER,)),
            Case("--row", "--row [7]", steps=(NUMBER,)),
            Case("--data", '--seldon --data {{"strData":"x"}}', "--seldon", steps=(NUMBER,)),
            Case("--timeout", "--timeout 1e-9", steps=(NUMBER,)),
            Case("--task-timeout", "--task-timeout 0", steps=SECOND_POLL),
            Case("--json", "--json", steps=(NUMBER,)),
            Case("--key", "--key k", steps=(NUMBER,)),
        ]),
        "keys create": ("me", [
            Case("--scopes", "--scopes admin"),
            Case("--expires", "--expires 90d"),
            Case("--rate", "--rate 7/m"),
            Case("--rows", "--rows 7/m"),
            Case("--upload-rate", "--upload-rate 7/m"),
            Case("--tasks", "--tasks 7"),
            file,
        ]),
        "keys list": ("", [file, Case("--json", "--json")]),
        "keys revoke": ("a", [file]),
        "check": ("", [
            Case("--node", "g.yaml --node nobody=parts:Thrice", "g.yaml"),
            Case("--json", "g.yaml --json", "g.yaml"),
            Case("--cluster", "remote.yaml --cluster", "remote.yaml"),
        ]),
        "show": ("g.yaml", [
            Case("--predictor", "--predictor two"),
            Case("--node", "--node a=parts:Other"),
            Case("--svg", "--svg x.svg --predictor one", "--predictor one"),
            Case("--json", "--json"),
        ]),
        "render kubernetes": ("", [
            Case("--image", "g.yaml --image j", "g.yaml --image i"),
            Case("--namespace", "g.yaml --image i --namespace n", "g.yaml --image i"),
            Case("--output", "g.yaml --image i --output o", "g.yaml --image i"),
            Case("--kustomize", "g.yaml --image i --output o --kustomize", "g.yaml --image i --output o"),
            Case("--node", "g.yaml --image i --node a=parts:Other", "g.yaml --image i"),
            Case("--workdir", "g.yaml --image i --workdir /srv", "g.yaml --image i"),
            Case("--server-image", "cluster.yaml --image i --server-image TRITON_SERVER=t", "cluster.yaml --image i"),
            Case("--initializer-image", "cluster.yaml --image i --initializer-image r", "cluster.yaml --image i"),
            Case("--env-secret", "cluster.yaml --image i --env-secret s", "cluster.yaml --image i"),
            Case("--gateway", "g.yaml --image i --gateway w", "g.yaml --image i"),
            Case("--host", "g.yaml --image i --gateway w --host h", "g.yaml --image i --gateway w"),
            Case("--tasks", "g.yaml --image i --tasks 5Gi", "g.yaml --image i"),
            Case("--service-monitor", "g.yaml --image i --service-monitor", "g.yaml --image i"),
        ]),
        "render ray": ("scaled.yaml", [
            Case("--serve-config", "--image i --serve-config", "--image i"),
            Case("--image", "--image j", "--image i"),
            Case("--ray-version", "--image i --ray-version 2.50.0", "--image i"),
            Case("--namespace", "--image i --namespace n", "--image i"),
            Case("--output", "--image i --output o", "--image i"),
            Case("--node", "--image i --node a=parts:Thrice", "--image i"),
            Case("--target-in-flight", "--image i --target-in-flight 7", "--image i"),
        ]),
        "init": ("model mine", [Case("--folder", "--folder there"), Case("--lang", "--lang zh", "--lang en")]),
        "settings": ("", [Case("--json", "--json")]),
        "export-triples": ("je.jsonl", [
            Case("--out", "--out x.nt", "--out y.nt"),
            Case("--task", "--out x.nt --task other", "--out x.nt"),
            Case("--base", "--out x.nt --base http://e/", "--out x.nt"),
            Case("--provenance", "--out x.nt --no-provenance", "--out x.nt"),
        ]),
        "knowledge fetch": ("jiagu", [
            Case("--weights", "--archives . --weights w", "--archives . --weights ."),
            Case("--archives", "--weights . --archives there", "--weights . --archives ."),
        ]),
    }  # fmt: skip


CASES = [(name, rest, case) for name, (rest, of_command) in cases().items() for case in of_command]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its path, those of groups too."""

    def within(context: click.Context) -> Iterator[tuple[str, click.Command]]:
        group = context.command
        assert isinstance(group, click.Group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            inner = click.Context(command, info_name=name, parent=context)
            yield inner.command_path.removeprefix("infergraph "), command
            if isinstance(command, click.Group):
                yield from within(inner)

    return within(click.Context(program, info_name="infergraph"))


def test_every_option_has_a_case() -> None:
    """An option that is added without a case here fails this test; those of settings have their own below."""
    there = {
        (path, param.opts[0])
        for path, command in commands()
        for param in command.params
        if isinstance(param, click.Option) and not isinstance(param, SettingOption)
    }
    assert there == {(name, case.option) for name, _, case in CASES}


@pytest.mark.parametrize(("name", "rest", "case"), CASES, ids=lambda each: getattr(each, "option", None) or str(each))
def test_an_option_changes_what_its_command_does(
    name: str, rest: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the option something else is printed, sent, written or planned than without it."""
    done = []
    for place, options in enumerate((case.given, case.without, case.without)):
        (tmp_path / str(place)).mkdir()
        monkeypatch.chdir(tmp_path / str(place))
        done.append(run(f"{name} {rest} {options}", case.steps, monkeypatch))
    assert done[1] == done[2], "the same command does the same"
    assert done[0] != done[1]


def run(line: str, steps: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command line does in the working directory, without what is another each time."""
    for name, content in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(os, "execv", planned)
    with scripted(*steps) as (server, port):
        arguments = [each.format(url=f"http://127.0.0.1:{port}") for each in line.split()]
        done = CliRunner().invoke(program, arguments)
    named = ("x-mine", "authorization", "accept")
    asked = [(each.line, *map(each.headers.get, named), each.body) for each in server.asked]
    files = {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.suffix != ".pyc"}
    seen = {"code": done.exit_code, "output": done.output, "fault": str(done.exception), "asked": asked}
    whole = json.dumps({**seen, "files": {name: files[name] for name in sorted(files)}}, default=repr)
    for varying in (str(Path.cwd()), f":{port}", *VARYING):
        whole = re.sub(varying, "…", whole)
    return json.loads(whole)  # type: ignore[no-any-return]


def planned(path: str, arguments: list[str]) -> NoReturn:
    """In the place of the program that becomes the supervisor: prints the plan that it was handed."""
    with os.fdopen(os.dup(int(arguments[-1])), "rb") as file:
        click.echo(file.read())
    sys.exit(0)


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────


OTHER = {
    "int": "7", "float": "7.5", "bool": None, "str": "other", "metrics_path": "/other", "log_level": "ERROR",
    "message_limit_bytes": "2048", "payload_log_share": "0.5",
    "parameters": '[{"name": "n", "value": "1", "type": "INT"}]', "keys": "keys.toml", "base_path": "/other",
    "task_webhook_secrets": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "task_workers": "1..3",
    "tls_cert": "both.pem", "tls_key": "other.key", "tls_client_ca": "authority.pem",
    "oidc_issuer": "https://issuer.example",
}  # fmt: skip
BESIDE = {
    "tls_key": {"--tls-cert": "other.crt"},
    "tls_client_ca": {"--tls-cert": "both.pem"},
    "oidc_issuer": {"--oidc-audience": "x"},
    "task_store": {"--task-files": "shared"},
}
"""What a setting needs beside it."""


def other_value(param: SettingOption) -> str:
    """A value of a setting that is not its default, as the command line gives it."""
    default = getattr(Settings(), param.name or "")
    if isinstance(default, bool):
        return "off" if default else "on"
    if "|" in str(param.metavar):
        return next(word for word in str(param.metavar).split("|") if word != default.value)
    return str(OTHER.get(param.name or "") or OTHER[type(default).__name__])


def setting_options(name: str) -> list[SettingOption]:
    """The options of settings that a command has."""
    return [param for param in dict(commands())[name].params if isinstance(param, SettingOption)]


@pytest.mark.parametrize("param", setting_options("serve"), ids=lambda param: param.name)
def test_a_setting_reaches_the_supervisor(
    param: SettingOption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """`serve` hands every setting on as it was given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "keys.toml").write_text(KEYS)
    if str(param.name).startswith("tls_"):
        cert, key = Authority(tmp_path).issue("other")
        (tmp_path / "both.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    monkeypatch.setattr(os, "execv", planned)
    value = request.getfixturevalue("postgres").database() if param.name == "task_store" else other_value(param)
    ports = {"--http-port": "0", "--grpc-port": "0", "--metrics-port": "0", **BESIDE.get(str(param.name), {})}
    arguments = [word for pair in (ports | {param.opts[0]: value}).items() for word in pair]
    done = CliRunner().invoke(program, ["serve", "parts:Twice", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    plan = json.loads(done.output)
    told = plan["settings"][param.name]
    shown = {True: "on", False: "off"}.get(told, told) if isinstance(told, bool) else told
    assert str(shown) in (value, f"{value}.0")


FLAGS = [action for action in microservice._parser()._actions if action.option_strings and action.dest != "help"]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.dest)
def test_a_flag_of_the_original_has_an_effect_or_says_that_it_has_none(
    flag: argparse.Action, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`microservice` hands each flag on, or its help says that it is accepted and no more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Parts.py").write_text(PARTS)
    monkeypatch.setattr(os, "execv", planned)
    values = {"log_level": "ERROR", "parameters": OTHER["parameters"], "pidfile": "pid", "grpc_workers": "0"}
    value = values.get(flag.dest, "7")
    given = [value if flag.nargs is None else "true"] if "accepted" not in str(flag.help) else ["MODEL"]
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    ports += ["--threads", "3"] if flag.dest == "single_threaded" else []
    plans = [
        CliRunner().invoke(program, ["microservice", "Parts.Twice", *ports, *more]).output
        for more in ([], [flag.option_strings[0], *given])
    ]
    if "accepted" not in str(flag.help):
        assert plans[0] != plans[1]


def test_every_setting_is_read() -> None:
    """Outside of its declaration and of the command line, each setting is asked for by name somewhere."""
    source = Path(infergraph.__file__).parent
    read = {
        node.attr
        for path in source.rglob("*.py")
        if path.name != "settings.py" and path.parent.name != "cli"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert set(Settings.__struct_fields__) <= read
    assert set(batch._SETTINGS) <= set(Settings.__struct_fields__)
