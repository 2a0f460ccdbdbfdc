"""The task engine's Prometheus metrics, read from the store: the same from every serving worker.

They do not belong to one worker, and so are not in the shared metrics: a scrape has each once, however many workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from infergraph.tasks.heartbeat import Heartbeat
from infergraph.tasks.task import State


class EngineValues(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the metrics.

    Args:
        availability: gBuilder's number.
        states: tasks by state.
        counters: of the store.
        outbox: webhooks waiting for delivery.
        lines, failed_lines: answered since the data folder was created.
        lines_left: that waiting and running tasks have still to answer.
        rate: lines answered per second, recently.
        used_bytes, free_bytes: of the data folder and its disk.
        heartbeat: the driver's last heartbeat; None if there is none.
        silent_s: how long ago that was.
    """

    availability: int
    states: Mapping[State, int]
    counters: Mapping[str, int]
    outbox: int
    lines: int
    failed_lines: int
    lines_left: int
    rate: float
    used_bytes: int
    free_bytes: int
    heartbeat: Heartbeat | None
    silent_s: float | None


class EngineMetric(NamedTuple):
    """One metric: name, type, help, its label, if any, and how to get its values."""

    name: str
    kind: str
    help: str
    label: str
    values: Callable[[EngineValues], Mapping[str, float]]


def _one(value: Callable[[EngineValues], float]) -> Callable[[EngineValues], Mapping[str, float]]:
    return lambda figures: {"": value(figures)}


def _of_heartbeat(value: Callable[[Heartbeat], float]) -> Callable[[EngineValues], Mapping[str, float]]:
    return lambda figures: {} if figures.heartbeat is None else {"": value(figures.heartbeat)}


def _counted(name: str) -> Callable[[EngineValues], Mapping[str, float]]:
    return lambda figures: {"": figures.counters.get(name, 0)}


def _seconds_left(figures: EngineValues) -> Mapping[str, float]:
    if figures.lines_left == 0:
        return {"": 0}
    return {"": round(figures.lines_left / figures.rate, 1)} if figures.rate > 0 else {}


STATUS = EngineMetric(
    "infergraph_task_endpoint_status", "gauge", "As at /status: 1 available, 2 full, 3 in error.", "",
    _one(lambda figures: figures.availability),
)  # fmt: skip

FIGURES: tuple[EngineMetric, ...] = (
    STATUS,
    EngineMetric(
        "infergraph_tasks", "gauge", "Tasks by state; waiting ones are the queue.", "state",
        lambda figures: {state.value: count for state, count in figures.states.items()},
    ),
    EngineMetric(
        "infergraph_tasks_ended_total", "counter", "Ended tasks by outcome.", "state",
        lambda figures: {state: figures.counters.get(f"tasks_{state}", 0) for state in ("finished", "failed")},
    ),
    EngineMetric("infergraph_task_lines_total", "counter", "Lines answered.", "", _one(lambda figures: figures.lines)),
    EngineMetric(
        "infergraph_task_failed_lines_total", "counter", "Lines answered with an error line.", "",
        _one(lambda figures: figures.failed_lines),
    ),
    EngineMetric(
        "infergraph_task_lines_left", "gauge", "Lines of waiting and running tasks that are not answered yet.", "",
        _one(lambda figures: figures.lines_left),
    ),
    EngineMetric(
        "infergraph_task_seconds_left", "gauge",
        "Time until they are, as fast as lines were answered recently; missing where none were.", "",
        _seconds_left,
    ),
    EngineMetric(
        "infergraph_task_webhooks_waiting", "gauge", "Webhooks waiting for delivery.", "",
        _one(lambda figures: figures.outbox),
    ),
    EngineMetric(
        "infergraph_task_webhooks_total", "counter", "Webhooks by outcome.", "outcome",
        lambda figures: {
            outcome: figures.counters.get(f"webhooks_{outcome}", 0) for outcome in ("delivered", "given_up")
        },
    ),
    EngineMetric("infergraph_task_uploads_total", "counter", "Task files accepted.", "", _counted("uploads")),
    EngineMetric("infergraph_task_upload_bytes_total", "counter", "Their bytes.", "", _counted("upload_bytes")),
    EngineMetric(
        "infergraph_task_data_bytes", "gauge", "Bytes of all tasks' files.", "",
        _one(lambda figures: figures.used_bytes),
    ),
    EngineMetric(
        "infergraph_task_disk_free_bytes", "gauge", "Free space on the disk of the data folder.", "",
        _one(lambda figures: figures.free_bytes),
    ),
    EngineMetric(
        "infergraph_task_workers", "gauge", "Task workers that have the unit loaded.", "",
        _of_heartbeat(lambda heartbeat: heartbeat.ready),
    ),
    EngineMetric(
        "infergraph_task_workers_wanted", "gauge", "Task workers that should be running.", "",
        _of_heartbeat(lambda heartbeat: heartbeat.wanted),
    ),
    EngineMetric(
        "infergraph_task_paused", "gauge", "1 while no work is assigned: the disk is full, or there is no cluster.", "",
        _of_heartbeat(lambda heartbeat: int(bool(heartbeat.paused))),
    ),
    EngineMetric(
        "infergraph_task_chunks_total", "counter", "Chunks answered since the driver started.", "",
        _of_heartbeat(lambda heartbeat: heartbeat.chunks),
    ),
    EngineMetric(
        "infergraph_task_chunk_seconds_total", "counter", "Time that workers spent on chunks.", "",
        _of_heartbeat(lambda heartbeat: heartbeat.chunk_s),
    ),
    EngineMetric(
        "infergraph_task_retries_total", "counter", "Chunks assigned again since the driver started.", "",
        _of_heartbeat(lambda heartbeat: heartbeat.retries),
    ),
    EngineMetric(
        "infergraph_task_kills_total", "counter", "Chunks that killed their worker since the driver started.", "",
        _of_heartbeat(lambda heartbeat: heartbeat.kills),
    ),
    EngineMetric(
        "infergraph_task_driver_silent_seconds", "gauge", "Time since the driver's last heartbeat.", "",
        lambda figures: {} if figures.silent_s is None else {"": figures.silent_s},
    ),
)  # fmt: skip
"""Every metric of the task engine. Those of the driver are missing until one has run."""


def exposition(figures: EngineValues) -> bytes:
    """The metrics in the Prometheus text format."""
    return _text((figure, figure.values(figures)) for figure in FIGURES)


def exposition_of_a_broken_store(status: int) -> bytes:
    """The metrics when the store cannot be read."""
    return _text([(STATUS, {"": status})])


def _text(found: Iterable[tuple[EngineMetric, Mapping[str, float]]]) -> bytes:
    lines = []
    for figure, values in found:
        if values:
            lines += [f"# HELP {figure.name} {figure.help}", f"# TYPE {figure.name} {figure.kind}"]
        for label, value in values.items():
            labels = f'{{{figure.label}="{label}"}}' if figure.label else ""
            lines.append(f"{figure.name}{labels} {value}")
    return "".join(f"{line}\n" for line in lines).encode()
