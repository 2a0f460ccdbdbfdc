"""Task stores: claims a second with a long queue, and rows a second of a trivial unit over a file and over PostgreSQL.

python -m benchmarks.task_stores [--waiting N] [--claims N] [--rows N] [--rounds N]

PostgreSQL is a private server of this run that syncs what it commits. Both stores take their turn in every round, over
the same file; the medians are compared. Exit code 1 if a store claims fewer than 1,000 tasks a second, or the task over
PostgreSQL is slower than 0.9 of the one over a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from benchmarks.tasks import product, progress, rows_file
from infergraph.tasks.postgres import PostgresStore
from infergraph.tasks.sqlite import SqliteStore
from infergraph.tasks.store import Claim, Store
from infergraph.tasks.task import NewTask
from postgres_server import PostgresServer

CLAIMS_S = 1000.0
SHARE = 0.9
_DRIVERS = 3
_ACTIVE = 4


def fill(store: Store, waiting: int) -> None:
    """Waiting tasks."""
    for number in range(waiting):
        id = str(number)
        new = NewTask(id=id, folder=id, input_bytes=1, input_end=1, input_sha256="", total=1)
        store.accept(new, now=0.0, queue_limit=waiting + 1)


def claims_s(stores: list[Store], claims: int, limit: int) -> float:
    """Claims a second of drivers side by side, each of at most `limit` tasks at once."""
    taken = [0] * len(stores)

    def drive(number: int) -> None:
        while sum(taken) < claims:
            wanted = Claim(driver=f"d{number}:1", now=0.0, limit=limit)
            taken[number] += len(stores[number].claim(wanted))

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(len(stores))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(taken) / (time.perf_counter() - began)


def claim_rates(folder: Path, server: PostgresServer, waiting: int, claims: int) -> list[tuple[str, float]]:
    """By store, and how it is asked: claims a second."""
    rates = []
    file = SqliteStore.open(folder / "tasks.db")
    fill(file, waiting)
    rates.append(("SQLite, one driver, one by one", claims_s([file], claims // 4, 1)))
    rates.append((f"SQLite, one driver, {_ACTIVE} at once", claims_s([file], claims, _ACTIVE)))
    file.close()
    url = server.database()
    stores: list[Store] = [PostgresStore.open(url) for _ in range(_DRIVERS)]
    first = stores[0]
    assert isinstance(first, PostgresStore)
    first.prepare()
    fill(first, waiting)
    rates.append(("PostgreSQL, one driver, one by one", claims_s(stores[:1], claims // 4, 1)))
    rates.append((f"PostgreSQL, one driver, {_ACTIVE} at once", claims_s(stores[:1], claims, _ACTIVE)))
    rates.append((f"PostgreSQL, {_DRIVERS} drivers, {_ACTIVE} at once", claims_s(stores, claims, _ACTIVE)))
    for store in stores:
        store.close()
    return rates


def rows_s(file: Path, rows: int, *options: str) -> float:
    """Rows a second of the trivial unit, one worker."""
    with product("Trivial", *options) as serving:
        serving.submit("warm", file.read_bytes()[:200_000].rpartition(b"\n")[0])
        serving.ended("warm")
        serving.submit("t", file)
        return float(rows / serving.ended("t")["worked_s"])


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--claims", type=int, default=2_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-stores-") as name, PostgresServer(is_synced=True) as server:
        folder = Path(name)
        rates = claim_rates(folder, server, given.waiting, given.claims)
        progress("\n".join(f"  {how}: {rate:,.0f} claims/s" for how, rate in rates))
        file = rows_file(folder, given.rows)
        files: list[float] = []
        shared: list[float] = []
        for turn in range(given.rounds):
            files.append(rows_s(file, given.rows))
            shared_files = str(folder / f"shared-{turn}")
            shared.append(rows_s(file, given.rows, "--task-store", server.database(), "--task-files", shared_files))
            progress(f"  round {turn + 1}: SQLite {files[-1]:,.0f}, PostgreSQL {shared[-1]:,.0f} rows/s")
    share = statistics.median(shared) / statistics.median(files)
    print(f"Claims a second with {given.waiting:,} waiting tasks:\n\n| store | claims/s |\n|---|---|")
    print("\n".join(f"| {how} | {rate:,.0f} |" for how, rate in rates))
    print(
        f"\nRows a second of the trivial unit, one worker: {statistics.median(files):,.0f} over SQLite and a folder, "
        f"{statistics.median(shared):,.0f} over PostgreSQL and a folder ({share:.2f})."
    )
    best = {kind: max(rate for how, rate in rates if how.startswith(kind)) for kind in ("SQLite", "PostgreSQL")}
    return int(min(best.values()) < CLAIMS_S or share < SHARE)


if __name__ == "__main__":
    sys.exit(main())
