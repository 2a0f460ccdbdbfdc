"""gBuilder's contract of a custom task endpoint: its five routes, and the numbers of a task's state.

GET /status · POST /tasks · GET /tasks/<id> · GET /tasks/<id>/results · DELETE /tasks/<id>
"""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import quote

STATUS = "/status"
TASKS = "/tasks"


class TaskStatus(IntEnum):
    """The status code of a task's state."""

    RUNNING = 0
    WAITING = 1
    FINISHED = 2
    FAILED = 3
    UNKNOWN = -1


def task_path(id: str) -> str:
    """The path of a task's state, and for stopping it."""
    return f"{TASKS}/{quote(id, safe='')}"


def results_path(id: str) -> str:
    """The path of a task's results."""
    return f"{task_path(id)}/results"
