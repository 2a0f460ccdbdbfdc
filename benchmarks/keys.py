"""What it costs to ask callers for a key: the same server with and without, side by side, small requests.

    python -m benchmarks.keys

Both get short loads in turn, as in `compare`; a difference is that of the two within a round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.compare import compare, variant
from benchmarks.load import Load, Measured
from benchmarks.rows import ROWS, Row

ROUNDS = 9
LOAD = Load(seconds=1.0, warm_s=0.2)
KINDS = ("default", "keys")


def measure(row: Row) -> tuple[Sequence[Measured], Sequence[Measured]]:
    """What each round costs without keys, and with one."""
    with tempfile.TemporaryDirectory(prefix="bench-keys-") as name:
        without, asking = compare([variant(kind, row, Path(name)) for kind in KINDS], row, ROUNDS, LOAD)
    return without, asking


def line(row: Row) -> str:
    """A line of the table: medians over the rounds."""
    without, asking = measure(row)
    pairs = [(one.cpu_us[0], other.cpu_us[0]) for one, other in zip(without, asking, strict=True)]
    cells = [median(one for one, _ in pairs), median(other for _, other in pairs), median(b - a for a, b in pairs)]
    return f"| {row.title} | " + " | ".join(f"{cell:,.1f}" for cell in cells) + " |"


def main() -> None:
    """Print the table."""
    print("| row | CPU µs without keys | with keys | more |")
    print("| --- | --- | --- | --- |")
    for row in ROWS:
        if row.name in ("rest-small", "grpc-small"):
            print(line(row))


if __name__ == "__main__":
    main()
