"""What a process tree has cost: its CPU time and memory, read from /proc.

CPU time is the figure to trust on a shared machine: waiting for a busy core adds to latency, not to it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One line of /proc/<pid>/stat, as far as it matters here. `started` tells a pid from its next owner."""

    pid: int
    parent: int
    session: int
    started: int
    cpu_ticks: int
    rss_bytes: int


class Memory(NamedTuple):
    """Memory of a tree: `pss_bytes` counts a shared page once in all, `rss_bytes` once in each process."""

    pss_bytes: int
    rss_bytes: int
    processes: int


def processes() -> dict[int, Process]:
    """Every process that can be seen, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        # the command's name stands in parentheses and may hold anything, so count from the last one
        field = text[text.rindex(")") + 2 :].split()
        if field[0] == "Z":
            continue
        # user and system time of its own, and of the children it has reaped
        ticks = sum(int(word) for word in field[11:15])
        found[int(entry.name)] = Process(
            int(entry.name), int(field[1]), int(field[3]), int(field[19]), ticks, int(field[21]) * _PAGE_BYTES
        )
    return found


def tree(root: int) -> list[Process]:
    """The process `root`, all its descendants, and whatever else lives in the session that it leads."""
    seen = processes()
    members = {root} | {process.pid for process in seen.values() if process.session == root}
    grew = True
    while grew:
        children = {process.pid for process in seen.values() if process.parent in members}
        grew = not children <= members
        members |= children
    return [seen[pid] for pid in members if pid in seen]


def cpu_s(root: int) -> float:
    """CPU seconds that the tree of `root` has used so far."""
    return sum(process.cpu_ticks for process in tree(root)) / _TICKS_PER_S


def memory(root: int) -> Memory:
    """Memory that the tree of `root` holds now."""
    members = tree(root)
    pss = 0
    for process in members:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        pss += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return Memory(pss, sum(process.rss_bytes for process in members), len(members))
