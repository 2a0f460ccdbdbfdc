"""Workers that wait for the one that answers already."""

import os
import subprocess
import sys
from pathlib import Path

from infergraph.serving import vanguard
from infergraph.serving.vanguard import Mark


def test_a_mark_is_there_until_its_worker_has_loaded(tmp_path: Path) -> None:
    """A mark is seen by all who share the folder, until it is removed; removing it twice is nothing."""
    assert not vanguard.is_marked(tmp_path)
    mark = Mark(tmp_path, os.getpid())
    mark.set()
    assert vanguard.is_marked(tmp_path)
    mark.remove()
    mark.remove()
    assert not vanguard.is_marked(tmp_path)


def test_a_dead_worker_holds_nobody_up(tmp_path: Path) -> None:
    """The mark of a process that is no more counts for nothing, beside that of a living one it changes nothing."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    Mark(tmp_path, gone.pid).set()
    assert not vanguard.is_marked(tmp_path)
    Mark(tmp_path, os.getpid()).set()
    assert vanguard.is_marked(tmp_path)
