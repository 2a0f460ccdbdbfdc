"""Rows that are requests, answered by the endpoints of a port without a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infergraph import assembly
from infergraph.protocol.callers import Caller, Scope
from infergraph.serving import row_requests
from infergraph.serving.row_requests import RowRequests
from infergraph.settings import Settings
from infergraph.tasks.engines.request_rows import RequestRows
from infergraph.tasks.engines.rows import retry_of
from infergraph.unit_source import UnitSource

CODE = """
class Door:
    def predict(self, X, names=None):
        if X[0, 0] < 0:
            raise ValueError("negative")
        return X * 2
"""
INFER = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [3.0]}]}


class Lane:
    """What a task worker answers, and the loop that its unit was started on."""

    def __init__(self, folder: Path, **given: Any) -> None:
        self.source = msgspec.json.encode(UnitSource(target="door_unit.py:Door", folder=str(folder))).decode()
        self.settings = Settings(**given)
        self.loop = asyncio.new_event_loop()
        self.unit = assembly.build_for_tasks(self.source, self.settings)
        self.loop.run_until_complete(self.unit.start())

    def requests(self) -> RowRequests:
        return row_requests.of_task_worker(self.unit, self.source, self.settings)

    def ask(self, url: str, body: Any) -> dict[str, Any]:
        """The answer to one line."""
        line = json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": body}).encode()
        rows = RequestRows(self.requests, retry_of())
        lines = self.loop.run_until_complete(rows.answer(line, 1))
        assert (lines.lines, lines.output.count(b"\n"), bool(lines.errors)) == (1, 1, bool(lines.failed))
        answer: dict[str, Any] = json.loads(lines.output)
        assert (answer["response"]["status_code"] == 200) == (not lines.failed)
        return answer["response"]


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    (tmp_path / "door_unit.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    made = Lane(tmp_path, base_path="/secret", message_limit_bytes=2000, json_pretty=True)
    yield made
    made.loop.run_until_complete(made.unit.stop())
    made.loop.close()


@pytest.mark.parametrize("url", ["/predict", "/secret/predict", "/api/v1.0/predictions", "/predict?x=1"])
def test_a_path_is_found_with_or_without_the_base_path(lane: Lane, url: str) -> None:
    """The answer is that of the path; its id is the request's."""
    response = lane.ask(url, {"data": {"ndarray": [[3.0]]}})
    assert response["body"]["data"]["ndarray"] == [[6.0]]
    assert response["request_id"]


def test_faults_have_the_form_of_their_path(lane: Lane) -> None:
    """An error of Seldon's protocol and one of the open inference protocol, as over HTTP."""
    assert lane.ask("/predict", {"data": {"ndarray": [[-1.0]]}})["body"]["status"]["info"] == "negative"
    assert lane.ask("/predict", {"data": 3})["status_code"] == 400
    assert lane.ask("/v2/models/Door/infer", INFER)["body"]["outputs"][0]["data"] == [6.0]
    unknown = lane.ask("/v2/models/Other/infer", INFER)
    assert (unknown["status_code"], list(unknown["body"])) == (404, ["error"])
    assert lane.ask("/predict", {"data": {"ndarray": [[1.0] * 1000]}})["status_code"] == 413


@pytest.mark.parametrize(
    "path", ["/", "/metadata", "/ready", "/v2/models/Door/infer_stream", "/v2/repository/models/Door/load", "/metrics"]
)
def test_no_row_is_answered_where_nothing_is_asked_once(lane: Lane, path: str) -> None:
    """Probes, metadata, streams and model control take no rows."""
    assert lane.ask(path, {})["status_code"] == 404


def test_rewards_are_for_those_who_may_send_them(lane: Lane) -> None:
    """Whoever may make tasks may have anything predicted, but not more than that."""
    paths = lane.requests()._app.paths
    tasks, rewards = (Caller(name="c", scopes=frozenset({Scope.TASKS, *more})) for more in ((), (Scope.FEEDBACK,)))
    assert row_requests.is_served(paths, "/predict", tasks)
    served = [row_requests.is_served(paths, "/send-feedback", caller) for caller in (tasks, rewards, None)]
    assert served == [False, True, True]
