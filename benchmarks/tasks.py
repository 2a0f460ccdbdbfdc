"""Tasks: rows a second beside a bare loop, how fast a stop and a resumption are, what an upload costs.

python -m benchmarks.tasks [--rows N] [--digits N] [--upload-mb N] [--stops N] [--rounds N]

Everything goes through the installed command and real HTTP. Bare loop and task run in turn, in every round, over the
same file; the medians are compared. Standard output is markdown, progress goes to standard error.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import batches, cost

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A worker is compared with a loop core for core: both do their linear algebra in one thread."""

UNITS = Path(__file__).resolve().parent / "units"
WAIT_S = 120.0
BARE = """
import sys, time, orjson
began = time.perf_counter()
with open(sys.argv[1], "rb") as file, open(sys.argv[2], "wb") as out:
    call = lambda row: row
    for line in file:
        out.write(orjson.dumps(call(orjson.loads(line))) + b"\\n")
print(time.perf_counter() - began)
"""
BARE_DIGITS = """
import itertools, sys, time, numpy as np, orjson
sys.path.insert(0, sys.argv[3])
from rows import Digits
unit = Digits(); unit.load()
began = time.perf_counter()
with open(sys.argv[1], "rb") as file, open(sys.argv[2], "wb") as out:
    while lines := list(itertools.islice(file, 1024)):
        answers = unit.predict(np.array([orjson.loads(line) for line in lines]))
        out.write(b"".join(orjson.dumps(answer) + b"\\n" for answer in answers.tolist()))
print(time.perf_counter() - began)
"""


class Product:
    """`infergraph serve` over one data folder, started and killed as needed."""

    def __init__(self, folder: Path, target: str, *options: str) -> None:
        self._folder = folder
        self._target = target
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start, and wait until it is ready."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [str(Path(sys.executable).parent / "infergraph"), "serve", self._target, "--grpc", "off"]
        command += ["--http-port", str(self.port), "--metrics-port", "0", "--data-dir", str(self._folder / "data")]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--log-level", "WARNING", "--task-disk-reserve-bytes", "0", *self._options],
                stdout=log,
                stderr=log,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,
            )
        self.until(lambda: self.ask("GET", "/ready")[0] == 200, "readiness")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait until its family is gone."""
        if self.process is None:
            return
        family = [member.pid for member in cost.tree(self.process.pid)]
        self.process.send_signal(number)
        self.process.wait()
        self.process = None
        self.until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in family), "the end of its family")

    def ask(self, method: str, path: str, body: Any = None, kind: str = "") -> tuple[int, Any]:
        """Status and JSON body of one request; status 0 if there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            said = answer.read()
            return answer.status, json.loads(said) if said[:1] in b"{[" and said else None
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()

    def submit(self, id: str, file: Path | bytes) -> None:
        """Submit a file, streamed."""
        with file.open("rb") if isinstance(file, Path) else io.BytesIO(file) as body:
            status, said = self.ask("POST", f"/api/v1.0/tasks?id={id}", body, "application/x-ndjson")
        if status != 201:
            raise RuntimeError(f"submitting gave {status}: {said}")

    def show(self, id: str) -> dict[str, Any]:
        """A task; empty if there is no answer."""
        return self.ask("GET", f"/api/v1.0/tasks/{id}")[1] or {}

    def ended(self, id: str) -> dict[str, Any]:
        """A task, when it has ended well."""
        self.until(lambda: self.show(id).get("state") in ("finished", "failed"), f"the end of {id}")
        task = self.show(id)
        if task["state"] != "finished" or task["failed"]:
            raise RuntimeError(f"the task is {task}")
        return task

    def until(self, look: Callable[[], Any], what: str) -> None:
        """Wait until `look` is true."""
        deadline = time.monotonic() + WAIT_S
        while not look():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come; the log ends: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)


@contextmanager
def product(target: str, *options: str, module: str = "rows.py") -> Iterator[Product]:
    """A started product in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="bench-tasks-"))
    made = Product(folder, f"{UNITS / module}:{target}", *options)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Peak:
    """The most memory (PSS, bytes) that a process tree had while this was open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            with suppress(OSError):
                self.bytes = max(self.bytes, cost.memory(self._root).pss_bytes)


def progress(text: str) -> None:
    """Say where we are."""
    print(text, file=sys.stderr, flush=True)


def rows_file(folder: Path, rows: int) -> Path:
    """Rows of about 240 bytes, Chinese text and an id."""
    path = folder / "rows.jsonl"
    text = "北京大学是一所大学，位于中国北京市。" * 4
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(f'{{"data": "{text}", "id": {number}}}\n')
    return path


def digits_file(folder: Path, rows: int) -> Path:
    """Feature rows of 64 grey values."""
    path = folder / "digits.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            file.write(f"[{','.join(str((number * 7 + place * 3) % 17) for place in range(64))}]\n")
    return path


def bare(code: str, file: Path, rows: int) -> float:
    """Rows a second of a bare loop over the file."""
    out = file.with_suffix(".out")
    said = subprocess.run(
        [sys.executable, "-c", code, str(file), str(out), str(UNITS)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    return rows / float(said.stdout)


def throughput(target: str, code: str, file: Path, rows: int, rounds: int) -> dict[str, float]:
    """Rows a second: the bare loop, one worker, two workers, and memory."""
    floor: list[float] = []
    whole: list[float] = []
    rates: dict[int, list[float]] = {1: [], 2: []}
    peak = 0
    for turn in range(rounds):
        floor.append(bare(code, file, rows))
        for workers in (1, 2):
            with product(target, "--task-workers", str(workers)) as serving:
                serving.submit("warm", file.read_bytes()[:200_000].rpartition(b"\n")[0])
                serving.ended("warm")
                assert serving.process is not None
                with Peak(serving.process.pid) as memory:
                    began = time.perf_counter()
                    serving.submit("t", file)
                    task = serving.ended("t")
                    seconds = time.perf_counter() - began
                if workers == 1:
                    peak = max(peak, memory.bytes)
                    whole.append(rows / seconds)
                rates[workers].append(rows / task["worked_s"])
        progress(
            f"  {target} round {turn + 1}: bare {floor[-1]:,.0f}, one {rates[1][-1]:,.0f}, two {rates[2][-1]:,.0f}"
        )
    return {
        "bare_rows_s": statistics.median(floor),
        "one_worker_rows_s": statistics.median(rates[1]),
        "two_workers_rows_s": statistics.median(rates[2]),
        "one_worker_whole_rows_s": statistics.median(whole),
        "peak_pss_bytes": float(peak),
    }


def stops(count: int) -> dict[str, float]:
    """Milliseconds from DELETE to its answer, when the process is dead."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / "mark"
        parameters = json.dumps([{"name": "mark", "value": str(mark), "type": "STRING"}])
        with product("Burning", "--parameters", parameters) as serving:
            for number in range(count):
                mark.unlink(missing_ok=True)
                serving.submit(f"t{number}", b'{"burn": 1}\n')
                serving.until(mark.exists, "the fire")
                began = time.perf_counter()
                status, said = serving.ask("DELETE", f"/tasks/t{number}")
                taken.append(1000 * (time.perf_counter() - began))
                if status != 200:
                    raise RuntimeError(f"DELETE gave {status}: {said}")
    return {"median_ms": statistics.median(taken), "max_ms": max(taken), "count": float(count)}


def resumption(file: Path) -> dict[str, float]:
    """Seconds from the start after kill -9 of everything to the first lines beyond the watermark."""
    with product("Trivial") as serving:
        serving.submit("t", file)
        serving.until(lambda: serving.show("t").get("done", 0) > 0, "its start")
        serving.stop(signal.SIGKILL)
        began = time.perf_counter()
        serving.start()
        before = serving.show("t")["done"]
        ready_s = time.perf_counter() - began
        serving.until(lambda: serving.show("t").get("done", 0) > before, "progress")
        progress_s = time.perf_counter() - began
        serving.ended("t")
    return {"ready_s": ready_s, "progress_s": progress_s}


def upload(megabytes: int) -> dict[str, float]:
    """A large file sent at full speed: MB a second until it is accepted, and the tree's memory."""
    block = b'{"data": "' + "大".encode() * 340_000 + b'"}\n'
    blocks = megabytes * 1_000_000 // len(block)

    def body() -> Iterator[bytes]:
        for _ in range(blocks):
            yield block

    with product("Trivial") as serving:
        assert serving.process is not None
        idle = cost.memory(serving.process.pid).pss_bytes
        with Peak(serving.process.pid) as memory:
            connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=WAIT_S)
            connection.connect()
            began = time.perf_counter()
            size = blocks * len(block)
            headers = {"Content-Type": "application/x-ndjson", "Content-Length": str(size)}
            connection.request("POST", "/api/v1.0/tasks?id=big&priority=-1", body(), headers)
            answer = connection.getresponse()
            answer.read()
            seconds = time.perf_counter() - began
            connection.close()
        serving.ask("DELETE", "/api/v1.0/tasks/big")
    if answer.status != 201:
        raise RuntimeError(f"the upload gave {answer.status}")
    return {"mb_s": size / 1e6 / seconds, "mb": size / 1e6, "peak_pss_bytes": memory.bytes, "idle_pss_bytes": idle}


def batch(rows: int) -> dict[str, float]:
    """Rows a second of Seldon's batch processor over its wrapper, and of a task over the same component and file."""
    measured = batches.seldon(max(100, rows // 50), rows)
    with (
        tempfile.TemporaryDirectory() as name,
        product("Doubler", "--task-rows", "instance", module="doubler.py") as there,
    ):
        file = batches.rows_file(Path(name), rows)
        there.submit("warm", file.read_bytes()[:10_000].rpartition(b"\n")[0])
        there.ended("warm")
        began = time.perf_counter()
        there.submit("t", file)
        there.ended("t")
        measured["whole_rows_s"] = rows / (time.perf_counter() - began)
    return measured


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All figures."""
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-tasks-") as name:
        folder = Path(name)
        file = rows_file(folder, options.rows)
        measured["trivial"] = throughput("Trivial", BARE, file, options.rows, options.rounds)
        measured["resume"] = resumption(file)
        if options.digits:
            digits = digits_file(folder, options.digits)
            measured["digits"] = throughput("Digits", BARE_DIGITS, digits, options.digits, options.rounds)
    measured["stop"] = stops(options.stops)
    measured["upload"] = upload(options.upload_mb)
    measured["batch"] = batch(options.batch_rows)
    return measured


def markdown(measured: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """The figures as a table."""
    lines = ["| | rows/s | of the bare loop |", "|---|---|---|"]
    for name, title in (("trivial", f"trivial component, {options.rows:,} rows of 240 bytes"),
                        ("digits", f"scikit-learn digits, {options.digits:,} rows of 64 numbers")):  # fmt: skip
        if name in measured:
            found = measured[name]
            lines.append(f"| {title}: bare Python loop | {found['bare_rows_s']:,.0f} | 1 |")
            for key, workers in (
                ("one_worker_rows_s", "one worker, from acceptance to the end"),
                ("one_worker_whole_rows_s", "one worker, upload included"),
                ("two_workers_rows_s", "two workers, from acceptance to the end"),
            ):
                share = found[key] / found["bare_rows_s"]
                lines.append(f"| {title}: task, {workers} | {found[key]:,.0f} | {share:.2f} |")
    for key, title in (
        ("seldon_default_rows_s", "Seldon's batch processor over its wrapper, as it comes"),
        ("seldon_best_rows_s", "Seldon's batch processor, eight workers, a hundred rows a request"),
        ("whole_rows_s", "task, one worker, upload included"),
    ):
        if key in measured["batch"]:
            lines.append(f"| a component that doubles four numbers: {title} | {measured['batch'][key]:,.0f} | |")
    trivial, stop, resume, sent = (measured[name] for name in ("trivial", "stop", "resume", "upload"))
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| DELETE of a task in a C loop until it is answered (its process dead), {stop['count']:.0f} times | "
        f"median {stop['median_ms']:.0f} ms, longest {stop['max_ms']:.0f} ms |",
        f"| from the start after kill -9 of everything: ready / further lines committed | "
        f"{resume['ready_s']:.2f} s / {resume['progress_s']:.2f} s |",
        f"| upload of {sent['mb']:,.0f} MB | {sent['mb_s']:.0f} MB/s |",
        f"| memory of the whole tree (PSS): idle / most while uploading | "
        f"{sent['idle_pss_bytes'] / 1e6:.0f} / {sent['peak_pss_bytes'] / 1e6:.0f} MB |",
        f"| most while working on the trivial file, one worker | {trivial['peak_pss_bytes'] / 1e6:.0f} MB |",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--digits", type=int, default=1_000_000, help="0 to leave it out")
    parser.add_argument("--batch-rows", type=int, default=10_000, help="for Seldon's batch processor")
    parser.add_argument("--upload-mb", type=int, default=2000)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measured = measure(options)
    print(markdown(measured, options))
    progress(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
