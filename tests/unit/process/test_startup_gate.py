"""Workers that wait for the one that answers already."""

import os
import subprocess
import sys
from pathlib import Path

from infergraph.process import startup_gate
from infergraph.process.startup_gate import LoadingMark


def test_a_mark_is_there_until_its_worker_has_loaded(tmp_path: Path) -> None:
    """A mark is seen by all who share the folder, until it is removed; removing it twice is nothing."""
    assert not startup_gate.is_any_loading(tmp_path)
    mark = LoadingMark(tmp_path, os.getpid())
    mark.set()
    assert startup_gate.is_any_loading(tmp_path)
    mark.remove()
    mark.remove()
    assert not startup_gate.is_any_loading(tmp_path)


def test_a_dead_worker_holds_nobody_up(tmp_path: Path) -> None:
    """The mark of a process that is no more counts for nothing, beside that of a living one it changes nothing."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    LoadingMark(tmp_path, gone.pid).set()
    assert not startup_gate.is_any_loading(tmp_path)
    LoadingMark(tmp_path, os.getpid()).set()
    assert startup_gate.is_any_loading(tmp_path)
