"""Tasks on a Ray cluster of our own: the same guarantees."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ray_nodes import RayNodes
from task_harness import TaskServer, is_alive, jsonl, wait_for

SETTINGS = {"task_engine": "ray", "task_ray_address": "local", "task_workers": "1", "task_row_timeout_s": 0.0}
ROWS = [{"n": number} for number in range(2000)]


def actor_beside(server: TaskServer, dead: int) -> int | None:
    """Process id of an actor, as the driver last told it."""
    return next((pid for pid in told(server).get("lanes", ()) if pid != dead), None)


def told(server: TaskServer) -> dict[str, Any]:
    """What the driver told last; nothing before the first time."""
    return server.ask("GET", "/api/v1.0/task-engine").json()["driver"] or {}


@pytest.mark.servers
def test_a_task_on_ray_survives_its_actors_and_its_driver(tmp_path: Path) -> None:
    """Killed actors and a killed driver cost nothing; a C loop is stopped; the answers are exact."""
    mark = tmp_path / "mark"
    with TaskServer(tmp_path, "Burner", settings=SETTINGS, mark=str(mark)) as server:
        server.submit("burns", jsonl([{"burn": 1}]))
        burner = int(wait_for(lambda: mark.exists() and mark.read_text(), "the fire", within_s=120))
        assert server.delete("burns").json() == {"status": 200}
        wait_for(lambda: not is_alive(burner), "its end")
        server.submit("t", jsonl(ROWS))
        os.kill(wait_for(lambda: actor_beside(server, burner), "another actor", within_s=120), signal.SIGKILL)
        server.ended("t", within_s=120)
        assert server.results("t") == [{**row, "seen": True} for row in ROWS]
        server.submit("u", jsonl(ROWS))
        os.kill(server.driver, signal.SIGKILL)
        server.ended("u", within_s=120)
        assert server.results("u") == [{**row, "seen": True} for row in ROWS]


@pytest.mark.servers
def test_a_ray_cluster_without_its_head_is_told(tmp_path: Path) -> None:
    """When the head of the cluster dies, the task engine says so, and its server goes on."""
    with RayNodes() as nodes:
        settings = {**SETTINGS, "task_ray_address": nodes.address}
        with TaskServer(tmp_path, "Echo", settings=settings) as server:
            server.submit("t", jsonl([{"n": 1}]))
            server.ended("t", within_s=100)
            nodes.kill_head()
            wait_for(lambda: f"the Ray cluster at {nodes.address}" in told(server).get("paused", ""), "what it says")
            assert server.submit("u", jsonl([{"n": 1}])).json()["status"] == 200
