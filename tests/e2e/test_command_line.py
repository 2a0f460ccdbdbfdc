"""The command as people and scripts meet it: help, slips, pipes, terminals, interrupts, completion."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from http_server import answering
from infergraph.cli import commands, main
from infergraph.cli.init import Names, write_project
from page_runner import clean_environment

COMMAND = str(Path(sys.executable).with_name("infergraph"))
GROUPS = {
    "tasks": ("list", "show", "watch", "results", "errors", "cancel", "retry", "delete", "prune"),
    "knowledge": ("fetch", "pins"),
    "keys": ("create", "list", "revoke"),
    "render": ("kubernetes", "ray"),
}
COMMANDS = [(name,) for name in commands.names()] + [(name, each) for name, group in GROUPS.items() for each in group]
TIMEOUT_S = 60


def environment(**more: str) -> dict[str, str]:
    """Ours without settings, with the command on the path."""
    return clean_environment(PATH=os.pathsep.join([str(Path(COMMAND).parent), os.environ["PATH"]]), **more)


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command in a pipe."""
    return subprocess.run(
        [COMMAND, *arguments], env=environment(**more), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@contextmanager
def started(*arguments: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a session of its own; whatever becomes of the test, nothing of it is left."""
    process = subprocess.Popen(
        [COMMAND, *arguments], env=environment(), stderr=subprocess.PIPE, start_new_session=True, **more
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def on_terminal(*arguments: str, **more: str) -> tuple[int, str]:
    """The command on a terminal: exit code and what is to be seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *arguments],
        env=environment(TERM="xterm-256color", **more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last one with the terminal has gone
            break
        if not part:
            break
        seen += part
    os.close(ours)
    return process.wait(TIMEOUT_S), seen.decode()


def inside(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The entry point in this process, as in a pipe: exit code, output, errors."""
    with pytest.raises(SystemExit) as ended:
        main.run(list(arguments))
    seen = capsys.readouterr()
    return ended.value.code or 0, seen.out, seen.err


# ── help ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_plain_in_a_pipe(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command's help has an example, tells its exit codes, and is plain ASCII-framed text without colours."""
    code, shown, errors = inside(capsys, *command, "--help")
    assert (code, errors) == (0, "")
    assert "Example: infergraph" in shown
    assert "Exit codes:" in shown or command[0] in GROUPS
    assert not re.search(r"[\x1b╭│]|<bool>", shown)


def test_no_command_shows_all_of_them() -> None:
    """Without a command there is the list, each with a whole sentence; a script is told by the exit code."""
    shown = run()
    assert shown.returncode == 2
    assert all(name in shown.stdout for name in commands.names())
    assert "..." not in shown.stdout.partition("Commands:")[2]


def test_help_on_a_terminal_is_in_colour_unless_it_is_not_wanted() -> None:
    """A terminal gets colours; NO_COLOR takes them away; a narrow one is written to its width."""
    code, seen = on_terminal("doctor", "--help")
    assert code == 0
    assert "\x1b[36m\x1b[1m--timeout SECONDS" in seen
    _, plain = on_terminal("doctor", "--help", NO_COLOR="1", COLUMNS="44")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    widths = [len(re.sub(r"\x1b\[[0-9;?]*[a-z]", "", line)) for line in plain.splitlines()]
    assert max(widths) <= 44


# ── slips ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serv"], ["infergraph:", "'serv'", "did you mean 'serve'", "infergraph --help"]),
        (["tasks", "lst"], ["infergraph tasks:", "'lst'", "'list'", "infergraph tasks --help"]),
        (["serve"], ["infergraph serve:", "'TARGET'"]),
        (["serve", "x:Y", "--wrokers", "2"], ["--wrokers", "--workers", "infergraph serve --help"]),
        (["serve", "x:Y", "--workers", "two"], ["--workers takes a whole number, at least 1, at most 512, not 'two'"]),
        (["serve", "x:Y", "--console", "maybe"], ["--console takes one of on, read-only, off, not 'maybe'"]),
        (["serve", "x:Y", "--console", "readonly"], ["not 'readonly'; did you mean 'read-only'?"]),
        (["serve", "x:Y", "--http-port", "70000"], ["--http-port", "70000", "65535"]),
        (["call", "http://127.0.0.1:9", "1", "--method", "predikt"], ["--method", "'predikt'", "'predict'"]),
        (["call", "http://127.0.0.1:9"], ["DATA is missing"]),
        (["call", "ftp://127.0.0.1", "1"], ["ftp://127.0.0.1", "http://host:port"]),
        (["init", "nerr", "x"], ["'KIND'", "'nerr'", "'ner'"]),
        (["init", "ner", "class"], ["'class'"]),
        (["tasks", "prune"], ["--older-than"]),
        (["doctor", "nowhere"], ["'nowhere'", "URL"]),
        (["check", "missing.yaml"], ["missing.yaml"]),
        (["batch", "x:Y", "in.jsonl"], ["'--output' / '-o'"]),
        (["knowledge", "fetch", "nothing"], ["'nothing'", "jiagu"]),
        (["batch", "missing.py:Y", os.devnull, "-o", "out.jsonl"], ["missing.py"]),
        (["submit", "missing.jsonl", "--url", "http://127.0.0.1:9"], ["missing.jsonl: No such file or directory"]),
        (["doctor", "http://127.0.0.1:9", "--rows", "missing.jsonl"], ["--rows missing.jsonl: No such file"]),
        (["export-triples", "missing.jsonl", "-o", "x.nt"], ["missing.jsonl"]),
    ],
)
def test_a_slip_is_one_line_that_names_it(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage is exit code 2 and one line on the standard error: what is wrong, and what would be right."""
    code, shown, errors = inside(capsys, *arguments)
    assert (code, shown) == (2, "")
    assert errors.count("\n") == 1
    assert all(word in errors for word in words), errors


# ── servers that are not there ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound, and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["tasks", "--url", "URL"],
        ["tasks", "--url", "URL", "show", "t"],
        ["tasks", "watch", "t", "--url", "URL"],
        ["submit", os.devnull, "--url", "URL"],
        ["call", "URL", "[[1]]", "--retries", "0"],
        ["call", "GRPC", "[[1]]", "--retries", "0"],
    ],
    ids=" ".join,
)
def test_nobody_there_is_said_in_plain_words(
    arguments: list[str], closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that is away is exit code 3 and one line with its address and what to do, in no library's words."""
    urls = {"URL": f"http://127.0.0.1:{closed_port}", "GRPC": f"grpc://127.0.0.1:{closed_port}"}
    code, _, errors = inside(capsys, *(urls.get(each, each) for each in arguments))
    assert code == 3
    assert errors.count("\n") == 1
    assert "nothing is listening at " in errors
    assert f"127.0.0.1:{closed_port}: start a server there with `infergraph serve TARGET`" in errors


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the system refuses is exit code 1 and one line with the file and the reason."""
    (tmp_path / "file").touch()
    code, _, errors = inside(capsys, "knowledge", "fetch", "jiagu", "--weights", str(tmp_path / "file" / "x"))
    assert code == 1
    assert errors.splitlines()[-1] == f"infergraph: {tmp_path / 'file' / 'x'}: Not a directory"


def test_the_port_of_another_protocol_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    """gRPC sent to an HTTP port is told as that."""
    with silent() as (url, _):
        code, _, errors = inside(capsys, "call", url.replace("http", "grpc"), "1", "--retries", "0", "--timeout", "20")
    assert code == 3
    assert "does not speak gRPC" in errors


def test_a_host_that_is_not_known_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt host is not a server that is away."""
    code, _, errors = inside(capsys, "call", "http://no-such-host.invalid:9000", "1", "--retries", "0")
    assert code == 3
    assert "the host of http://no-such-host.invalid:9000 is not known" in errors


@contextmanager
def silent() -> Iterator[tuple[str, threading.Event]]:
    """A server that takes connections and says nothing; the event: somebody has come."""
    came = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.set()
            self.rfile.read()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with answering(Silent) as url:
        yield url, came


def test_ctrl_c_ends_a_call_without_a_traceback() -> None:
    """An interrupt while waiting for an answer is exit code 130 and no traceback."""
    with silent() as (url, came), started("call", url, "[[1]]") as process:
        assert came.wait(TIMEOUT_S)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert b"Traceback" not in errors


# ── pipes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["settings", "settings --json", "serve --help", "knowledge pins"])
def test_a_reader_that_leaves_early_is_no_error_to_see(command: str) -> None:
    """`| head -1` gets its line, and nothing is said on the standard error."""
    script = f"set -o pipefail; infergraph {command} | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", script], env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 1
    assert ended.returncode in (0, 1, 141)


def test_tables_are_for_terminals_alone() -> None:
    """`settings` is a table on a terminal, a list on a narrow one, and lines of tab-separated fields in a pipe."""
    _, narrow = on_terminal("settings", COLUMNS="50", NO_COLOR="1", INFERGRAPH_WORKERS="3")
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-z]", "", line) for line in narrow.splitlines()]
    assert "workers = 3 (from environment INFERGRAPH_WORKERS)" in lines
    assert max(map(len, lines)) <= 50
    _, table = on_terminal("settings", COLUMNS="120")
    assert "setting" in table.splitlines()[0]
    lines = run("settings").stdout.splitlines()
    assert all(len(line.split("\t")) == 3 for line in lines)
    assert not any("\x1b" in line for line in lines)


# ── completion ──────────────────────────────────────────────────────────────────────────────────────────────────────

COMPLETIONS = [
    ("infergraph se", ["serve", "settings"]),
    ("infergraph serve --console ", ["off", "on", "read-only"]),
    ("infergraph serve --task-en", ["--task-engine"]),
    ("infergraph serve --tasks ", ["off", "on"]),
    ("infergraph init c", ["combiner"]),
    ("infergraph call http://h:1 --method transform-", ["transform-input", "transform-output"]),
    ("infergraph tasks sh", ["show"]),
    ("infergraph knowledge fetch ", ["jiagu", "msra"]),
]


@pytest.mark.parametrize(("line", "offered"), COMPLETIONS)
def test_bash_completes(line: str, offered: list[str]) -> None:
    """Bash itself, with the printed script, offers commands, options and the values of those that have some."""
    words = line.split(" ")
    script = (
        'eval "$(infergraph completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        'COMPREPLY=(); _infergraph_completion infergraph; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == offered


@pytest.mark.parametrize(("line", "offered"), COMPLETIONS[1:3])
def test_zsh_and_fish_are_answered(line: str, offered: list[str]) -> None:
    """What the scripts for zsh and fish ask is answered with the same words."""
    last = line.rpartition(" ")[2]
    zsh = run(_INFERGRAPH_COMPLETE="zsh_complete", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1))
    assert sorted(zsh.stdout.splitlines()[1::3]) == offered
    fish = run(_INFERGRAPH_COMPLETE="fish_complete", COMP_WORDS=line, COMP_CWORD=last)
    assert sorted(re.findall(r"(?m)^plain[,\n]([\w-]+)", fish.stdout)) == offered
    for shell in ("zsh", "fish"):
        assert "_INFERGRAPH_COMPLETE" in run("completion", shell).stdout


def test_ctrl_c_while_serving_begins_ends_with_no_traceback(tmp_path: Path) -> None:
    """An interrupt of the whole group, as a terminal sends it while a component loads, ends the program quietly."""
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n\nclass Slow:\n    def load(self):\n        pathlib.Path('loading').touch()\n"
        "        time.sleep(60)\n\n    def predict(self, X, names=None):\n        return X\n"
    )
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--tasks", "off"]
    with started("serve", "slow.py:Slow", *ports, cwd=tmp_path) as process:
        deadline = time.monotonic() + TIMEOUT_S
        while not (tmp_path / "loading").exists():
            assert time.monotonic() < deadline
            select.select([], [], [], 0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert b"Traceback" not in errors


def test_a_server_in_the_background_ends_by_sigterm_alone(tmp_path: Path) -> None:
    """A shell that starts a server with & or nohup lets it ignore SIGINT and SIGHUP: it does, and SIGTERM ends it."""
    (tmp_path / "echo.py").write_text("class Echo:\n    def predict(self, X, names=None):\n        return X\n")
    ports = "--http-port 0 --grpc-port 0 --metrics-port 0 --tasks off --log-format json"
    script = f"trap '' INT HUP; exec infergraph serve echo.py:Echo {ports}"
    process = subprocess.Popen(
        ["bash", "-c", script], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    try:
        events = (json.loads(line) for line in process.stderr)
        assert next(event for event in events if event["event"] == "ready")["serving"] == "echo.py:Echo"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert [event["why"] for event in events if event["event"].startswith("stopping")] == ["SIGTERM"]
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("kind", "answer"), [("ner", '"entity":["鲁迅","绍兴"]'), ("router", '"ndarray":[[0]]')])
def test_the_line_to_try_is_one_that_is_answered(kind: str, answer: str, tmp_path: Path) -> None:
    """The curl line that a terminal shows when serving begins can be pasted as it is, whatever the component takes."""
    names = Names.of(f"town {kind}")
    write_project(kind, names.name, tmp_path)
    ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--tasks", "off"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "serve", f"{names.module}.py:{names.class_}", *ports],
        cwd=tmp_path, env=environment(TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    try:
        seen = b""
        while not (line := re.search(rb"(?m)^  try +(curl .*)\r$", seen)):
            seen += os.read(ours, 65536)
        done = subprocess.run(["bash", "-c", line[1].decode()], capture_output=True, text=True, timeout=60, check=True)
        assert answer in done.stdout
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
