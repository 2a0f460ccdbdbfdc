"""The engine's figures as text for Prometheus, read from the store: any serving worker gives the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from infergraph.tasks.driver import Note
from infergraph.tasks.task import State


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted.

    Args:
        availability: gBuilder's number.
        states: tasks by state.
        counters: of the store.
        lines, failed_lines: answered since the data folder was made.
        used_bytes, free_bytes: of the data folder and its disk.
        note: the driver's last word; None if there is none.
        silent_s: how long ago that was.
    """

    availability: int
    states: Mapping[State, int]
    counters: Mapping[str, int]
    lines: int
    failed_lines: int
    used_bytes: int
    free_bytes: int
    note: Note | None
    silent_s: float | None


def exposition(figures: Figures) -> bytes:
    """The figures as text, one family after the other."""
    return "".join(f"{line}\n" for line in _lines(figures)).encode()


def _lines(figures: Figures) -> Iterator[str]:
    counters = figures.counters
    yield from _family(
        "infergraph_tasks", "gauge", "Tasks by state.",
        {f'{{state="{state.value}"}}': count for state, count in figures.states.items()},
    )  # fmt: skip
    yield from _family(
        "infergraph_tasks_ended_total", "counter", "Tasks that ended.",
        {f'{{state="{state}"}}': counters.get(f"tasks_{state}", 0) for state in ("finished", "failed")},
    )  # fmt: skip
    for name, kind, help, value in (
        ("infergraph_task_endpoint_status", "gauge", "1 available, 2 full, 3 broken.", figures.availability),
        ("infergraph_task_lines_total", "counter", "Lines answered.", figures.lines),
        ("infergraph_task_failed_lines_total", "counter", "Lines answered by an error line.", figures.failed_lines),
        ("infergraph_task_uploads_total", "counter", "Task files accepted.", counters.get("uploads", 0)),
        ("infergraph_task_upload_bytes_total", "counter", "Their bytes.", counters.get("upload_bytes", 0)),
        ("infergraph_task_data_bytes", "gauge", "Bytes of all tasks' files.", figures.used_bytes),
        ("infergraph_task_disk_free_bytes", "gauge", "Room on the disk of the data folder.", figures.free_bytes),
    ):
        yield from _family(name, kind, help, {"": value})
    if figures.note is not None:
        yield from _driver_lines(figures.note, figures.silent_s or 0.0)


def _driver_lines(note: Note, silent_s: float) -> Iterator[str]:
    for name, kind, help, value in (
        ("infergraph_task_workers", "gauge", "Task workers that have the unit loaded.", note.ready),
        ("infergraph_task_workers_wanted", "gauge", "Task workers that there should be.", note.wanted),
        ("infergraph_task_paused", "gauge", "1 while no work is handed out for want of room.", int(bool(note.paused))),
        ("infergraph_task_chunks_total", "counter", "Chunks answered since the driver began.", note.chunks),
        ("infergraph_task_chunk_seconds_total", "counter", "Time that workers spent on them.", note.chunk_s),
        ("infergraph_task_retries_total", "counter", "Chunks handed out again.", note.retries),
        ("infergraph_task_kills_total", "counter", "Chunks that ended their worker.", note.kills),
        ("infergraph_task_driver_silent_seconds", "gauge", "Time since the driver's last word.", silent_s),
    ):
        yield from _family(name, kind, help, {"": value})


def _family(name: str, kind: str, help: str, samples: Mapping[str, float]) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples.items():
        yield f"{name}{labels} {value}"
