"""gBuilder's contract: where a task is, and the numbers of its states."""

from __future__ import annotations

from infergraph.protocol.gbuilder import TaskStatus, results_path, task_path


def test_an_id_stays_one_segment() -> None:
    """Whatever a task is called, its paths have as many segments as the contract says."""
    assert task_path("a/b c") == "/tasks/a%2Fb%20c"
    assert results_path("中") == "/tasks/%E4%B8%AD/results"


def test_the_numbers_are_the_contracts() -> None:
    """Running is 0, waiting 1, finished 2, failed 3; a task that nobody knows is -1."""
    assert {each.name: each.value for each in TaskStatus} == {
        "RUNNING": 0, "WAITING": 1, "FINISHED": 2, "FAILED": 3, "UNKNOWN": -1,
    }  # fmt: skip
