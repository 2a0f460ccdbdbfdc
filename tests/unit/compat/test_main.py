"""`seldon_core` outside serving: in the author's own tests, notebooks and scripts."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from infergraph import compat

COMPONENT = """
from seldon_core.user_model import SeldonComponent


class Mine(SeldonComponent):
    def predict(self, X, names=None, meta=None):
        return X
"""
TEST = """
from mine import Mine
from seldon_core.seldon_methods import predict
from seldon_core.metrics import SeldonMetrics


def test_it():
    answer = predict(Mine(), {"data": {"ndarray": [[1, 2]]}}, SeldonMetrics())
    assert answer["data"]["ndarray"] == [[1, 2]]
"""


def _python(*arguments: str, folder: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [python, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_pytest_finds_it(tmp_path: Path) -> None:
    """The tests of a component run under pytest without a word about infergraph in them."""
    (tmp_path / "mine.py").write_text(COMPONENT)
    (tmp_path / "test_mine.py").write_text(TEST)
    done = _python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", ["file", "module", "code"])
def test_any_program_runs_with_it(tmp_path: Path, form: str) -> None:
    """`python -m infergraph.compat` takes what `python` takes and hands the arguments on."""
    (tmp_path / "mine.py").write_text(COMPONENT)
    program = "import sys, mine; print(mine.Mine.__mro__[1].__module__, sys.argv[1:])"
    (tmp_path / "asked.py").write_text(program)
    started = {"file": ["asked.py"], "module": ["-m", "asked"], "code": ["-c", program]}[form]
    done = _python("-m", "infergraph.compat", *started, "--install", folder=tmp_path)
    assert done.stdout == "seldon_core.user_model ['--install']\n", done.stderr


def test_the_environment_can_have_it_for_good(tmp_path: Path) -> None:
    """After `--install` every program of the environment imports it, after `--uninstall` none."""
    venv.create(tmp_path / "env", symlinks=True)
    python = str(tmp_path / "env" / "bin" / "python")
    [site] = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "infergraph_here.pth").write_text(f"{Path(compat.__file__).parents[2]}\n")
    asked = "import importlib.util; print(importlib.util.find_spec('seldon_core') is not None)"
    told = [_python("-c", asked, folder=tmp_path, python=python).stdout.strip()]
    for option in ("--install", "--install", "--uninstall", "--uninstall"):
        done = _python("-m", "infergraph.compat", option, folder=tmp_path, python=python)
        assert done.returncode == 0, done.stderr
        told.append(_python("-c", asked, folder=tmp_path, python=python).stdout.strip())
    assert told == ["False", "True", "True", "False", "False"]


def test_a_real_one_is_left_alone(tmp_path: Path) -> None:
    """Where seldon_core is installed, nothing is put before or beside it."""
    (tmp_path / "seldon_core").mkdir()
    (tmp_path / "seldon_core" / "__init__.py").write_text("WHO = 'theirs'")
    done = _python("-m", "infergraph.compat", "-c", "import seldon_core; print(seldon_core.WHO)", folder=tmp_path)
    assert done.stdout == "theirs\n", done.stderr
    refused = _python("-m", "infergraph.compat", "--install", folder=tmp_path)
    assert refused.returncode == 1
    assert "installed in this environment already" in refused.stderr


def test_a_notebook_has_an_extension() -> None:
    """`%load_ext infergraph.compat` is what installs the names in a notebook."""
    done = _python(
        "-c", "import infergraph.compat as it; it.load_ipython_extension(None); import seldon_core", folder=Path()
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "shown"),
    [
        ("seldon_core.batch_processor", "seldon-batch-processor"),
        ("seldon_core.microservice", "infergraph microservice"),
    ],
)
def test_modules_that_are_commands_run_as_such(module: str, shown: str, tmp_path: Path) -> None:
    """`python -m seldon_core.…` runs the command, where another package provides the module as well."""
    done = _python("-m", "infergraph.compat", "-m", module, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
