"""Kills of the installed server's processes at random moments, until there were enough; then the judgement.

python -m benchmarks.soak [--kills 200] [--seed N] [--folder DIR]

Supervisor, serving worker, task driver and task workers are killed with SIGKILL during upload, work, commit, stop and
pruning.

The folder is emptied after each run of 25 kills, so that what is judged stays small; the seed is printed, and repeats
the choices of a run (its moments are those of the machine). Exit code 1 and the finding if anything was lost.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from task_chaos import Chaos

_KILLS_A_RUN = 25


def soak(kills: int, seed: int, folder: Path) -> Counter[str]:
    """Kill and judge; how often what was done.

    Raises: AssertionError with what was lost.
    """
    counts: Counter[str] = Counter()
    number = 0
    while counts["kills"] < kills:
        number += 1
        place = folder / f"run-{number}"
        place.mkdir(parents=True)
        began = time.monotonic()
        with Chaos(place, seed=seed + number, product=True) as chaos:
            while chaos.kills < min(_KILLS_A_RUN, kills - counts["kills"]):
                chaos.round()
            chaos.judge()
        counts += chaos.counts
        counts["kills"] += chaos.kills
        counts["tasks"] += len(chaos.accepted)
        counts["lines"] += sum(chaos.accepted.values())
        counts["unanswered"] += len(chaos.perhaps)
        took_s = time.monotonic() - began
        print(f"run {number}: {chaos.kills} kills, {len(chaos.accepted)} tasks, all exact ({took_s:.0f} s)", flush=True)
        shutil.rmtree(place)
    return counts


def main() -> int:
    """Soak as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 30)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {seed}, folder {folder}", flush=True)
    try:
        counts = soak(given.kills, seed, folder)
    except AssertionError as lost:
        print(f"LOST: {lost}\nthe folder {folder} is kept", file=sys.stderr)
        return 1
    print(
        f"{counts['kills']} kills ({counts['server']} of the supervisor, {counts['serving']} of serving workers, "
        f"{counts['driver']} of the driver, {counts['worker']} of task workers), {counts['tasks']} tasks with "
        f"{counts['lines']} lines accepted, {counts['unanswered']} submissions cut off, {counts['stops']} tasks "
        "stopped: nothing lost, nothing doubled"
    )
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
