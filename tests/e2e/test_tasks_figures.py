"""The task engine's figures in a scrape of the installed command, over real sockets."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import requests
from prometheus_client.parser import text_string_to_metric_families

from infergraph.tasks.metrics import FIGURES
from task_harness import ProductServer, jsonl, wait_for

ROWS = [{"n": number} for number in range(50)]


def scrape(url: str) -> dict[tuple[str, ...], float]:
    """One scrape by a connection of its own: samples by name and label values; each family and sample is in it once."""
    text = requests.get(f"{url}/metrics", headers={"Connection": "close"}, timeout=30).text
    names = Counter(line.split()[2] for line in text.splitlines() if line.startswith("# TYPE "))
    assert set(names.values()) == {1}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    keys = [(sample.name, *sample.labels.values()) for sample in samples if sample.name.startswith("infergraph_task")]
    assert len(keys) == len(set(keys))
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_each_figure_is_in_a_scrape_once_whichever_worker_answers(tmp_path: Path) -> None:
    """Both ports of a server with two serving workers show every figure of the engine, once, and the same."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        metrics_port = free.getsockname()[1]
    settings = {"workers": 2, "metrics_port": metrics_port}
    with ProductServer(tmp_path, "Echo", settings=settings) as server:
        wait_for(lambda: len(server.serving()) == 2, "both workers")
        lines = jsonl([*ROWS, ["no object"]])
        assert server.submit("counted", lines).status_code == 200
        server.ended("counted")
        urls = [server.url, f"http://{urlsplit(server.url).hostname}:{metrics_port}"]
        wait_for(lambda: scrape(server.url).get(("infergraph_task_chunks_total",)), "the driver's next word")
        for url in urls * 4:
            seen = scrape(url)
            assert {name for name, *_ in seen} >= {figure.name for figure in FIGURES}
            assert seen["infergraph_tasks", "finished"] == 1
            assert seen["infergraph_task_lines_total",] == 51
            assert seen["infergraph_task_failed_lines_total",] == 1
            assert seen["infergraph_task_uploads_total",] == 1
            assert seen["infergraph_task_upload_bytes_total",] == len(lines)
            assert seen["infergraph_task_endpoint_status",] == 1


def test_figures_outlive_workers_and_server(tmp_path: Path) -> None:
    """What was counted is still counted when a serving worker is replaced, the task is deleted and the server again."""
    with ProductServer(tmp_path, "Echo") as server:
        server.submit("first", jsonl(ROWS))
        server.ended("first")
        (worker,) = server.serving()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: server.serving() not in ([], [worker]) and server.listens(tmp_path), "the next worker")
        server.ask("DELETE", "/api/v1.0/tasks/first")
        assert scrape(server.url)["infergraph_task_lines_total",] == 50
        server.kill()
        server.start()
        seen = scrape(server.url)
        assert seen["infergraph_task_lines_total",] == 50
        assert seen["infergraph_tasks", "finished"] == 0
        assert seen["infergraph_tasks_ended_total", "finished"] == 1


def test_a_store_that_cannot_be_read_leaves_the_other_metrics(tmp_path: Path) -> None:
    """With a ruined store a scrape still has the workers' own metrics, and says that the endpoint is broken."""
    with ProductServer(tmp_path, "Echo") as server:
        server.submit("t", jsonl(ROWS))
        server.ended("t")
        os.kill(server.driver, signal.SIGSTOP)
        for path in server.data.glob("tasks.db*"):
            path.write_bytes(b"\xff" * 8192)
        seen = scrape(server.url)
        assert seen["infergraph_task_endpoint_status",] == 3
        assert any(name == "infergraph_requests_in_flight" for name, *_ in seen)
        assert server.ask("GET", "/status").json() == {"status": 3}
