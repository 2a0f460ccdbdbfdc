"""gBuilder's contract of a custom task endpoint: its five routes, and the numbers of a task's state.

GET /status · POST /tasks · GET /tasks/<id> · GET /tasks/<id>/results · DELETE /tasks/<id>
"""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import quote

STATUS = "/status"
TASKS = "/tasks"


class TaskStatus(IntEnum):
    """What the state of a task is answered with."""

    RUNNING = 0
    WAITING = 1
    FINISHED = 2
    FAILED = 3
    UNKNOWN = -1


def task_path(id: str) -> str:
    """Where a task is asked for its state, and stopped."""
    return f"{TASKS}/{quote(id, safe='')}"


def results_path(id: str) -> str:
    """Where a task's results are."""
    return f"{task_path(id)}/results"
