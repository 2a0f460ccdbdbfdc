"""The commands of other distributions: found by entry points, and never in the way of our own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GREET = """
import click


@click.command("greet")
@click.argument("name")
def greet(name):
    \"\"\"Greet somebody.\"\"\"
    click.echo(f"hello {name}")


word = "no command"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an installed distribution that adds commands."""
    (tmp_path / "greeting.py").write_text(GREET)
    (tmp_path / "greeting-1.0.dist-info").mkdir()
    (tmp_path / "greeting-1.0.dist-info" / "METADATA").write_text("Name: greeting\nVersion: 1.0\n")
    (tmp_path / "greeting-1.0.dist-info" / "entry_points.txt").write_text(
        "[infergraph.commands]\ngreet = greeting:greet\nserve = greeting:greet\n"
        "lost = missing_module:command\nword = greeting:word\n"
    )
    return tmp_path


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); from infergraph.cli.main import run; run()"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_command_of_another_distribution_runs(folder: Path) -> None:
    """An entry point of the group is a command like any other."""
    assert _run(folder, "greet", "Ada").stdout == "hello Ada\n"


def test_help_lists_them_once(folder: Path) -> None:
    """Help shows added commands after our own; one of a name of ours hides nothing; a broken one is named."""
    done = _run(folder, "--help")
    assert done.returncode == 0, done.stderr
    assert "Greet somebody." in done.stdout
    assert done.stdout.count("\n  serve ") == 1
    assert "missing_module" in done.stdout


@pytest.mark.parametrize(("name", "reason"), [("lost", "ModuleNotFoundError"), ("word", "not a click.Command")])
def test_a_broken_one_ends_in_one_line(folder: Path, name: str, reason: str) -> None:
    """A command that cannot be loaded is exit code 2 and one line that says where it is from."""
    done = _run(folder, name, "--anything")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
