"""Runs the test suites and the type checker side by side: while one waits for servers, another has the processors.

python tests/side_by_side.py [options of pytest]

The first suite writes as it goes; the output of the others follows when all are done.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parent
CONTRACT = sorted((TESTS / "contract").glob("test_*.py"))
LATER = [path for path in CONTRACT if path.name >= "test_s"]
"""These go with the e2e suite, by which both parts take about the same time."""


def main() -> int:
    """The exit code of the first part that failed; 0 if none did."""
    suite = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *sys.argv[1:]]
    with ExitStack() as running:
        beside = [
            running.enter_context(started([sys.executable, "-m", "mypy"])),
            running.enter_context(started([*suite, str(TESTS / "e2e"), *map(str, LATER)])),
        ]
        first = [TESTS / "unit", *(path for path in CONTRACT if path not in LATER)]
        codes = [subprocess.run([*suite, *first], check=False).returncode]
        for process, output in beside:
            codes.append(process.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
    return next(filter(None, codes), 0)


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A process that writes to a temporary file; it is killed at the end of the block."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process, output
        finally:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
