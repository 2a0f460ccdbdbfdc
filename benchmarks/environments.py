"""A Python environment of its own for each peer, under .peers/, installed once and again when its packages change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PEERS = HERE / ".peers"
INSTALL_LIMIT_S = 900


class Choice(NamedTuple):
    """Packages and the Python versions that they install on: `lowest` and `highest` are (major, minor), inclusive."""

    packages: tuple[str, ...]
    lowest: tuple[int, int]
    highest: tuple[int, int]


class Environment(NamedTuple):
    """An environment by name; `choices` are tried in order, `shown` are the packages whose versions are reported."""

    name: str
    choices: tuple[Choice, ...]
    shown: tuple[str, ...]


class Unavailable(Exception):
    """A peer cannot be measured here; the text says why."""


OWN = Environment("", (), ("infergraph", "uvicorn", "uvloop", "pygrpc-native", "grpcio", "protobuf", "numpy", "orjson"))
"""The environment that runs the benchmark: it holds this package and the floors."""

SELDON = Environment(
    "seldon",
    (
        Choice(("seldon-core==1.19.0",), (3, 12), (3, 12)),  # on 3.13 its numpy has no wheel: ten minutes to compile
        Choice(("seldon-core==1.19.0",), (3, 13), (3, 13)),
        Choice(("seldon-core==1.18.2", "setuptools<81"), (3, 8), (3, 11)),
    ),
    ("seldon-core", "flask", "gunicorn", "grpcio", "protobuf", "numpy"),
)
MLSERVER = Environment(
    "mlserver", (Choice(("mlserver==1.7.1",), (3, 9), (3, 12)),), ("mlserver", "fastapi", "uvicorn", "grpcio", "numpy")
)
FASTAPI = Environment(
    "fastapi",
    (Choice(("fastapi", "uvicorn[standard]", "numpy"), (3, 11), (3, 14)),),
    ("fastapi", "pydantic", "uvicorn", "uvloop", "numpy"),
)


def python_of(environment: Environment) -> Path:
    """The interpreter of `environment`, installed first if need be.

    Raises: Unavailable if no interpreter fits or the packages cannot be installed.
    """
    if not environment.name:
        return Path(sys.executable)
    folder = PEERS / environment.name
    python, marker = folder / "bin" / "python", folder / ".installed"
    wanted = [list(choice.packages) for choice in environment.choices]
    if marker.exists() and python.exists() and json.loads(marker.read_text()) in wanted:
        return python
    choice, interpreter = _choose(environment)
    print(f"installing {' '.join(choice.packages)} for {interpreter}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([interpreter, "-m", "venv", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", *choice.packages])
    marker.write_text(json.dumps(choice.packages))
    return python


def versions(environment: Environment) -> dict[str, str]:
    """Versions of Python and of the packages that matter."""
    program = (
        "import importlib.metadata as m, json, platform, sys\n"
        "found = {d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}\n"
        "print(json.dumps({'python': platform.python_version()} | {n: found[n] for n in sys.argv[1:] if n in found}))"
    )
    command = [str(python_of(environment)), "-c", program, *environment.shown]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _choose(environment: Environment) -> tuple[Choice, str]:
    found = interpreters()
    for choice in environment.choices:
        for version, interpreter in found:
            if choice.lowest <= version <= choice.highest:
                return choice, interpreter
    have = ", ".join(f"{major}.{minor}" for (major, minor), _ in found)
    raise Unavailable(f"no interpreter fits {environment.choices[0].packages[0]} (found Python {have})")


def interpreters() -> list[tuple[tuple[int, int], str]]:
    """Version and path of every Python 3 found on PATH and under pyenv: this one first, then the newest first."""
    candidates = [sys.executable]
    for folder in os.get_exec_path():
        candidates += sorted(str(path) for path in Path(folder).glob("python3.*") if path.suffix[1:].isdigit())
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(str(path) for path in pyenv.glob("versions/*/bin/python"))
    found: dict[tuple[int, int], str] = {}
    for candidate in candidates:
        version = _version(candidate)
        if version is not None and version not in found:
            found[version] = candidate
    own = sys.version_info[:2]
    return sorted(found.items(), key=lambda item: (item[0] != own, -item[0][0], -item[0][1]))


def _version(interpreter: str) -> tuple[int, int] | None:
    """The interpreter's version; None where it does not run (a pyenv shim of a version that is not chosen)."""
    program = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        ran = subprocess.run([interpreter, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor = ran.stdout.split()
    return int(major), int(minor)


def _run(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=INSTALL_LIMIT_S)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "no output").strip().splitlines()
        raise Unavailable(f"{' '.join(command[-3:])}: {lines[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
