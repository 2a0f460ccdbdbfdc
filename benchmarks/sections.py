"""Other benchmarks that `run` includes: each a module with a command of its own, whose standard output is markdown."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

from benchmarks.environments import HERE, Unavailable

STOP_LIMIT_S = 20.0


class Section(NamedTuple):
    """A benchmark by the name of its module here; `whole` is whether a run of everything includes it."""

    name: str
    title: str
    limit_s: float
    whole: bool


SECTIONS = (
    Section("tasks", "Tasks", 600.0, True),
    Section("task_files", "Files of tasks", 600.0, True),
    Section("keys", "Keys", 120.0, True),
    Section("addresses", "Addresses of a node", 180.0, True),
    Section("on_ray", "On Ray", 900.0, True),
    Section("knowledge", "Knowledge extraction", 900.0, False),
    Section("task_stores", "Task stores", 900.0, False),
    Section("codec", "Codecs", 120.0, False),
)


def available(section: Section) -> bool:
    """Whether its module is there."""
    return (HERE / f"{section.name}.py").is_file()


def measure(section: Section) -> str:
    """What the section's command prints; its progress goes to our standard error.

    Raises: Unavailable if it fails or takes too long.
    """
    command = [sys.executable, "-m", f"benchmarks.{section.name}"]
    process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    try:
        said, _ = process.communicate(timeout=section.limit_s)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{section.name} took more than {section.limit_s:g} s") from error
    finally:
        _end(process)
    if process.returncode:
        raise Unavailable(f"{section.name} ended with exit code {process.returncode}")
    return said.strip()


def _end(process: subprocess.Popen[str]) -> None:
    """Stop it if it still runs, giving it time to stop what it has started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
