"""What the driver's process loads."""

from __future__ import annotations

import subprocess
import sys


def test_a_driver_does_without_what_most_tasks_never_need() -> None:
    """NumPy alone would nearly double its memory."""
    code = "import sys, infergraph.tasks.driver.driver; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "pyarrow", "psycopg"} & set(done.stdout.split()) == set()
