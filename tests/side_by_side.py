"""Runs the suites side by side, in two processes: while one waits for servers, the other has the processors.

python tests/side_by_side.py [options of pytest]

The first suite writes as it goes; what the second says follows when both are done.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent


def main() -> int:
    """The exit code of the first suite that failed; 0 if none did."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *sys.argv[1:]]
    with tempfile.TemporaryFile() as told:
        beside = subprocess.Popen([*command, TESTS / "e2e"], stdout=told, stderr=subprocess.STDOUT)
        try:
            first = subprocess.run([*command, TESTS / "unit", TESTS / "contract"], check=False).returncode
            second = beside.wait()
        finally:
            beside.kill()
        told.seek(0)
        sys.stdout.buffer.write(told.read())
    return first or second


if __name__ == "__main__":
    sys.exit(main())
