"""The engine's figures: valid text for Prometheus, and what it says."""

from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from infergraph.tasks.heartbeat import Heartbeat
from infergraph.tasks.metrics import EngineValues, exposition
from infergraph.tasks.task import State


def test_the_text_is_read_by_the_official_parser() -> None:
    """Every figure comes out under its name, with its kind, once."""
    figures = EngineValues(
        availability=2,
        outbox=4,
        states=dict.fromkeys(State, 3),
        counters={"uploads": 7, "upload_bytes": 1 << 40, "tasks_failed": 1},
        lines=10**9,
        failed_lines=5,
        lines_left=300,
        rate=20.0,
        used_bytes=12,
        free_bytes=13,
        heartbeat=Heartbeat(pid=1, ready=2, wanted=4, chunk_s=1.5, paused="full", kills=9),
        silent_s=0.25,
    )
    families = {family.name: family for family in text_string_to_metric_families(exposition(figures).decode())}
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["infergraph_tasks", "waiting"] == 3
    assert values["infergraph_tasks_ended_total", "failed"] == 1
    assert values["infergraph_task_upload_bytes_total",] == float(1 << 40)
    assert values["infergraph_task_lines_total",] == 1e9
    assert values["infergraph_task_chunk_seconds_total",] == 1.5
    assert values["infergraph_task_paused",] == 1
    assert values["infergraph_task_lines_left",] == 300
    assert values["infergraph_task_seconds_left",] == 15
    assert families["infergraph_task_kills"].type == "counter"
    assert all(family.documentation for family in families.values())


def test_without_a_driver_there_is_less_to_say() -> None:
    """Before the first beat the store's own figures are there."""
    figures = EngineValues(
        availability=1, outbox=0, states=dict.fromkeys(State, 0), counters={}, lines=0, failed_lines=0, lines_left=0,
        rate=0, used_bytes=0, free_bytes=0, heartbeat=None, silent_s=None,
    )  # fmt: skip
    names = {family.name for family in text_string_to_metric_families(exposition(figures).decode())}
    assert "infergraph_tasks" in names
    assert "infergraph_task_workers" not in names


def test_the_time_to_finish_is_missing_where_nothing_is_known_of_it() -> None:
    """Lines that wait while none is answered have no time; without any the time is 0."""
    figures = EngineValues(
        availability=1, outbox=0, states=dict.fromkeys(State, 0), counters={}, lines=0, failed_lines=0, lines_left=9,
        rate=0, used_bytes=0, free_bytes=0, heartbeat=None, silent_s=None,
    )  # fmt: skip
    name = "infergraph_task_seconds_left"
    assert f"{name} " not in exposition(figures).decode()
    assert f"\n{name} 0\n" in exposition(msgspec.structs.replace(figures, lines_left=0)).decode()
