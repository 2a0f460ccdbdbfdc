"""The same file, the same component: Seldon's batch processor against Seldon's wrapper, and a task of ours.

The processor is measured as it comes (one worker, one row a request) and at its best here (eight workers, a hundred
rows a request); at one row a request it gets fewer rows, as each costs milliseconds.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.environments import SELDON, Unavailable, python_of
from benchmarks.servers import SERVERS, Running, running

DEFAULT = ("-w", "1", "-s", "1")
BEST = ("-w", "8", "-s", "100")
_LIMIT_S = 600.0


def rows_file(folder: Path, rows: int) -> Path:
    """Feature rows of four numbers, one a line, each a batch of one as the processor wants it."""
    path = folder / f"rows-{rows}.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            file.write(f"[[{number}, 1.5, 2.5, 3.5]]\n")
    return path


def seldon(rows_at_default: int, rows_at_best: int) -> dict[str, float]:
    """Rows a second of the batch processor against its own wrapper, both ways; empty where it cannot be had."""
    try:
        (wrapper,) = (server for server in SERVERS if server.name == "seldon")
        with running(wrapper) as there, tempfile.TemporaryDirectory() as name:
            return {
                "seldon_default_rows_s": _batch(there, Path(name), rows_at_default, DEFAULT),
                "seldon_best_rows_s": _batch(there, Path(name), rows_at_best, BEST),
            }
    except Unavailable:
        return {}


def _batch(there: Running, folder: Path, rows: int, how: tuple[str, ...]) -> float:
    output = folder / "answers.jsonl"
    command = [str(python_of(SELDON).parent / "seldon-batch-processor"), "-d", "bench", "-g", "seldon", "-n", "bench"]
    command += ["-h", f"127.0.0.1:{there.ports.http}", "-a", "data", "-p", "ndarray", "-m", "predict"]
    command += ["-i", str(rows_file(folder, rows)), "-o", str(output), *how]
    began = time.perf_counter()
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"the batch processor: {error}") from error
    seconds = time.perf_counter() - began
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    good = sum("data" in answer for answer in answers)
    if good != rows:
        raise Unavailable(f"the batch processor answered {good} of {rows} rows")
    return rows / seconds
