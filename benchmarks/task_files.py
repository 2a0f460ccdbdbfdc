"""The files of tasks: rows a second in each format, and in object storage beside a folder.

    python -m benchmarks.task_files --rows 200000 --rounds 3

Formats and places take turns within a round, so that whatever else the machine does falls on all of them. A task is
measured whole: upload, conversion, work, and the answers in the format of the file. The object storage is moto's S3,
served by this process, and so takes part of the processor that the task would have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

import object_store
from benchmarks.tasks import Peak, Product, product, progress, rows_file

FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def files_of(folder: Path, rows: int) -> dict[str, Path]:
    """The same rows in each format."""
    lines = rows_file(folder, rows)
    table = pyarrow.json.read_json(lines)
    pyarrow.csv.write_csv(table, folder / "rows.csv")
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    return {"jsonl": lines, "csv": folder / "rows.csv", "parquet": folder / "rows.parquet"}


def whole_s(serving: Product, id: str, file: Path, kind: str) -> float:
    """Seconds of a task over a file, from the first byte sent to its end."""
    began = time.perf_counter()
    with file.open("rb") as body:
        status, said = serving.ask("POST", f"/api/v1.0/tasks?id={id}", body, kind)
    if status != 201:
        raise RuntimeError(f"submitting gave {status}: {said}")
    serving.ended(id)
    return time.perf_counter() - began


def formats(files: dict[str, Path], rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Rows a second, and the memory of the tree, in each format."""
    rates: dict[str, list[float]] = {name: [] for name in files}
    peaks = dict.fromkeys(files, 0)
    with product("Trivial") as serving:
        assert serving.process is not None
        for turn in range(rounds):
            for name, file in files.items():
                with Peak(serving.process.pid) as memory:
                    rates[name].append(rows / whole_s(serving, f"{name}-{turn}", file, FORMATS[name]))
                peaks[name] = max(peaks[name], memory.bytes)
                progress(f"  {name} round {turn + 1}: {rates[name][-1]:,.0f} rows/s, {memory.bytes / 1e6:.0f} MB")
    return {
        name: {"rows_s": statistics.median(found), "peak_pss_bytes": float(peaks[name])}
        for name, found in rates.items()
    }


def places(file: Path, rows: int, rounds: int) -> dict[str, float]:
    """Rows a second with the files in a folder, and in object storage."""
    rates: dict[str, list[float]] = {"folder": [], "s3": []}
    address = f"s3://{object_store.BUCKET}/tasks"
    with object_store.s3(), product("Trivial") as folder, product("Trivial", "--task-files", address) as bucket:
        for turn in range(rounds):
            for name, serving in (("folder", folder), ("s3", bucket)):
                rates[name].append(rows / whole_s(serving, f"{name}-{turn}", file, FORMATS["jsonl"]))
                progress(f"  {name} round {turn + 1}: {rates[name][-1]:,.0f} rows/s")
    return {name: statistics.median(found) for name, found in rates.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-files-") as name:
        files = files_of(Path(name), options.rows)
        measured = formats(files, options.rows, options.rounds)
        kept = places(files["jsonl"], options.rows, options.rounds)
    print("| file, trivial component, whole task | rows/s | of JSON lines | memory of the tree |")
    print("|---|---|---|---|")
    for name, found in measured.items():
        share = found["rows_s"] / measured["jsonl"]["rows_s"]
        print(f"| {name} | {found['rows_s']:,.0f} | {share:.2f} | {found['peak_pss_bytes'] / 1e6:.0f} MB |")
    print(f"| jsonl, files in a folder | {kept['folder']:,.0f} | | |")
    print(f"| jsonl, files in S3 (moto, local) | {kept['s3']:,.0f} | {kept['s3'] / kept['folder']:.2f} | |")
    progress(json.dumps({**measured, "places": kept}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
