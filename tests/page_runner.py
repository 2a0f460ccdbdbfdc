"""Runs the code blocks of a page like its reader: in order, in one folder, with the servers that the page starts.

    page ─▶ blocks ─▶ files · servers · shell scripts · Python ─▶ their output, compared with that on the page

The conventions, all visible on the page:

- A block whose first line is a comment that begins with a file name (`# doubler.py`) is written to that file.
- `bash` runs. `infergraph serve …` runs until another server needs its ports, or the page ends; then it must exit with
  code 0. Commands that change the machine (pip, docker, …) are not run; the files they name must exist.
- `python` runs; the blocks of a page share their variables.
- `json`, `jsonl` or `text` directly after one of these is its output. `…` matches anything. If no output is shown, an
  error response to curl is a failure.
- `json` and `yaml` elsewhere must be valid, and `text` elsewhere is not checked. Any other language is refused.

Ports are replaced by free ones, in what is run and in what is expected, and `--host 0.0.0.0` by 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"^(?P<fence>```+)(?P<language>[^\s`]*)[^\n]*\n(?P<text>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"^(?:#|//) (?P<name>[\w./-]*(?:\.\w+|Dockerfile))(?:[ :,(].*)?\n")
_SERVER = re.compile(r"^(?:[A-Z_]+=\S+ )*infergraph (?:serve|microservice) ")
_ELSEWHERE = (
    "pip",
    "make",
    "docker",
    "kubectl",
    "sudo",
    "systemctl",
    "git",
    "source",
    ".",
    "python3 -m venv",
    "apt-get",
)
_DEFAULT_PORTS = (9000, 5000, 6000)
_PORT_OPTION = re.compile(r"--(?:http|grpc|metrics)-port[ =](\d{2,5})")
_OUTPUTS = frozenset({"json", "jsonl", "text"})
_WAIT_S = 60


class Block(NamedTuple):
    """One fenced block of a page; `is_next` if nothing but blank lines is between it and the block before."""

    language: str
    text: str
    line: int
    is_next: bool


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks of a page in Markdown."""
    end = 0
    for found in _FENCE.finditer(text):
        is_next = end > 0 and not text[end : found.start()].strip()
        if not found["language"].startswith("{"):  # what Sphinx makes of it is no code
            yield Block(found["language"], found["text"], text.count("\n", 0, found.start()) + 2, is_next)
        end = found.end()


class Wrong(AssertionError):
    """The page is wrong."""


class _Python:
    """The interpreter that runs a page's Python blocks in order."""

    _LOOP = (
        "import contextlib, io, json, sys, traceback\n"
        "sys.path.insert(0, '')\n"
        "names = {'__name__': '__main__'}\n"
        "for line in sys.stdin:\n"
        "    said, fault = io.StringIO(), ''\n"
        "    with contextlib.redirect_stdout(said):\n"
        "        try:\n"
        "            exec(compile(json.loads(line), '<block>', 'exec'), names)\n"
        "        except BaseException:\n"
        "            fault = traceback.format_exc()\n"
        "    print(json.dumps([said.getvalue(), fault]), flush=True)\n"
    )

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._LOOP],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, text: str) -> tuple[str, str]:
        """The output of the block, and its traceback, if it raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Wrong(f"the interpreter ended with {self._process.wait()}")
        said, fault = json.loads(answer)
        return said, fault

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=_WAIT_S)
        self._process.stdout.close()


class _Server(NamedTuple):
    """A server that a page has started, its port and its log file."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path


class Page:
    """One page being run in `folder`.

    Args:
        text: of the page, in Markdown.
        at: the folder of the checkout at which its reader begins; only examples have one of their own.
    """

    def __init__(self, text: str, folder: Path, at: str = "") -> None:
        self._blocks = list(blocks_of(text))
        self._folder, self._place = folder, folder / at
        said = {int(port) for block in self._blocks for port in _PORT_OPTION.findall(block.text)} - {0}
        wanted = sorted(said | set(_DEFAULT_PORTS))
        self._ports = dict(zip(wanted, free_ports(len(wanted)), strict=True))
        self._servers: list[_Server] = []
        self._python: _Python | None = None
        self._shows_output = False
        http, grpc, metrics = (str(self._ports[port]) for port in _DEFAULT_PORTS)
        self._environment = clean_environment(
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            INFERGRAPH_HTTP_PORT=http,
            INFERGRAPH_GRPC_PORT=grpc,
            INFERGRAPH_METRICS_PORT=metrics,
            COLUMNS="200",
        )
        if "examples/" in text + at:
            self._copy_examples()

    def _copy_examples(self) -> None:
        """The examples of the checkout, with the page's free ports in their files."""
        there = self._folder / "examples"
        shutil.copytree(ROOT / "examples", there, ignore=shutil.ignore_patterns("__pycache__", ".infergraph"))
        for file in there.rglob("*.yaml"):
            file.write_text(self._with_free_ports(file.read_text("utf-8")), "utf-8")

    def run(self) -> None:
        """Run every block in order. Raises: Wrong, with the line of the block."""
        printed: str | None = None
        try:
            for block, after in zip(self._blocks, [*self._blocks[1:], None], strict=True):
                self._shows_output = after is not None and after.is_next and after.language in _OUTPUTS
                try:
                    printed = self._step(block, printed)
                except (Wrong, yaml.YAMLError, json.JSONDecodeError) as wrong:
                    raise Wrong(f"line {block.line}: {wrong}\n{self._logs()}") from None
            while self._servers:
                self._stop(self._servers[-1])
        finally:
            self._abandon()

    def _step(self, block: Block, printed: str | None) -> str | None:
        """Run one block; what it printed, if it is one that prints."""
        text = self._with_free_ports(block.text).replace("--host 0.0.0.0", "--host 127.0.0.1")
        named = _FILE.match(text)
        if named:
            self._write(block, named["name"], text)
        elif block.language in _OUTPUTS and block.is_next and printed is not None:
            _compare(block.language, text, printed)
        elif block.language in ("bash", "sh"):
            return self._shell(text)
        elif block.language == "python":
            return self._run_python(text)
        elif block.language == "json":
            json.loads(text)
        elif block.language == "yaml":
            list(yaml.safe_load_all(text))
        elif block.language != "text":
            raise Wrong(f"nothing runs or checks a block of the language {block.language!r}")
        return None

    def _write(self, block: Block, name: str, text: str) -> None:
        path = self._place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        if path.suffix == ".py":
            compile(text, name, "exec")
        elif path.suffix in (".yaml", ".yml"):
            list(yaml.safe_load_all(text))
        later = self._blocks[self._blocks.index(block) + 1 :]
        is_served = path.suffix == ".py" or "kind: SeldonDeployment" in text
        if is_served and not any(path.stem in after.text for after in later):
            raise Wrong(f"no block behind it uses the file {name}")

    def _run_python(self, text: str) -> str:
        if self._python is None:
            self._python = _Python(self._place, self._environment)
        said, fault = self._python.run(text)
        if fault:
            raise Wrong(fault)
        return said

    def _shell(self, text: str) -> str:
        said, lines = "", []
        for command in _commands(text.replace(".venv/bin/", "")):
            if _SERVER.match(command):
                said, lines = said + self._script(lines), []
                self._serve(command)
            elif command.startswith(tuple(f"{word} " for word in _ELSEWHERE)):
                check_elsewhere(command)
            else:
                lines.append(command)
        return said + self._script(lines)

    def _script(self, lines: list[str]) -> str:
        """Run commands in the shell, where the ones before have left it."""
        if not any(line.strip() for line in lines):
            return ""
        left = self._folder / ".left-at"
        script = f"trap 'pwd > {shlex.quote(str(left))}' EXIT\n"
        if not self._shows_output:  # an error answer is welcome only where the page shows it
            script += 'curl() { command curl --fail-with-body "$@"; }\n'
        script += "\n".join(lines)
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self._place,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WAIT_S,
            check=False,
        )
        self._place = Path(left.read_text("utf-8").strip())
        left.unlink()
        if ended.returncode != 0:
            raise Wrong(f"exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def _serve(self, command: str) -> None:
        """Start a server and wait until it is ready; another one on its port is stopped first."""
        given = re.search(r"--http-port[ =](\d+)", command)
        port = int(given[1]) if given else self._ports[_DEFAULT_PORTS[0]]
        for server in [server for server in self._servers if server.port == port]:
            self._stop(server)
        log = self._folder / f".log-{len(list(self._folder.glob('.log-*')))}"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", f"exec env {command.partition(' #')[0].rstrip(' &')}"],
                cwd=self._place,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self._servers.append(_Server(process, port, log))
        deadline = time.monotonic() + _WAIT_S
        while not _is_ready(_address(command, port, self._place)):
            if process.poll() is not None:
                raise Wrong(f"{command.strip()} ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise Wrong(f"{command.strip()} is not ready after {_WAIT_S} s")
            time.sleep(0.02)

    def _stop(self, server: _Server) -> None:
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(timeout=_WAIT_S)
        if code != 0:
            raise Wrong(f"a server ended with exit code {code}\n{self._logs()}")
        self._servers.remove(server)

    def _abandon(self) -> None:
        for server in self._servers:
            server.process.kill()
            server.process.wait()
        if self._python is not None:
            self._python.close()

    def _logs(self) -> str:
        return "\n".join(server.log.read_text("utf-8", "replace")[-3000:] for server in self._servers)

    def _with_free_ports(self, text: str) -> str:
        return re.sub(r"(?<![\d.])\d{4,5}(?![\d.])", lambda found: str(self._ports.get(int(found[0]), found[0])), text)


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without variables that affect a server, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INFERGRAPH_", "COV_"))}
    return kept | more


def _address(command: str, port: int, place: Path) -> str:
    """Where a server answers, by its options; a base path that it makes itself lies in its data folder."""
    kept = place / "data" / "base-path"
    base = kept.read_text().strip() if "--base-path auto" in command and kept.exists() else ""
    return f"http{'s' * ('--tls-cert' in command)}://localhost:{port}{base}"


def _is_ready(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/ready", timeout=5, context=ssl._create_unverified_context()).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def _commands(text: str) -> Iterator[str]:
    """The commands of a script: lines, joined where one goes on in the next (a backslash, a here-document)."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        here = re.search(r"<<-?\s*['\"]?(\w+)", command)
        while here and command.rpartition("\n")[2] != here[1]:
            command += "\n" + next(lines)
        yield command


def _compare(language: str, expected: str, printed: str) -> None:
    """Raises: Wrong if a program printed something else than the page says."""
    if language == "json":
        said, found = json.loads(expected), json.loads(printed)
        same = _fits(said, found)
    else:
        pattern = "".join(".*?" if part == "…" else re.escape(part) for part in re.split("(…)", _tidy(expected)))
        same = re.fullmatch(pattern, _tidy(printed), re.DOTALL) is not None
    if not same:
        raise Wrong(f"it prints\n{printed}\nand the page says\n{expected}")


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _fits(said: Any, found: Any) -> bool:
    """Whether a JSON value is what the page says; "…" stands for any value, and as a key for any other keys."""
    if said == "…":
        return True
    if isinstance(said, dict) and isinstance(found, dict):
        named = said.keys() - {"…"}
        whole = "…" in said or named == found.keys()
        return whole and named <= found.keys() and all(_fits(said[key], found[key]) for key in named)
    if isinstance(said, list) and isinstance(found, list):
        if said[-1:] == ["…"]:
            said = said[:-1]
            found = found[: len(said)]
        return len(said) == len(found) and all(map(_fits, said, found))
    if isinstance(said, str) and isinstance(found, str) and "…" in said:
        return re.fullmatch(".*".join(map(re.escape, said.split("…"))), found, re.DOTALL) is not None
    return bool(said == found) and type(said) is type(found)


def check_elsewhere(command: str) -> None:
    """Check a command that a test must not run: the extra, target or file that it names must exist.

    Raises: Wrong if it does not.
    """
    words = shlex.split(command, comments=True)
    for extra in re.findall(r"infergraph\[([\w,-]+)\]", command):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        if not set(extra.split(",")) <= known.keys():
            raise Wrong(f"there is no extra {extra!r}")
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        for word in words[1:]:
            if word not in targets and "=" not in word:
                raise Wrong(f"there is no make target {word!r}")
    files = [word for word in words if word.startswith(("docs/", "examples/", "benchmarks/"))]
    missing = [name for name in files if not (ROOT / name).exists()]
    if missing:
        raise Wrong(f"there is no {missing[0]}")
