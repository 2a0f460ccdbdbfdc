"""How many task workers there are."""

from __future__ import annotations

import pytest

from infergraph.settings import Settings, WorkerBounds
from infergraph.tasks.driver.scaling import SHRINK_S, Scaling


@pytest.mark.parametrize(
    ("text", "bounds"), [("1", (1, 1)), ("0", (0, 0)), ("2..8", (2, 8)), ("0..4", (0, 4)), ("4..2", (4, 4))]
)
def test_a_number_or_two_bounds(text: str, bounds: tuple[int, int]) -> None:
    """The greater bound is never below the lesser one."""
    assert Settings(task_workers=text).task_worker_bounds == bounds


def test_as_many_as_finish_in_time() -> None:
    """Between the bounds, by the work that is left; one at least, whatever is known."""
    for work_s, count in [(0.0, 1), (10.0, 1), (60.0, 1), (61.0, 2), (1e9, 4)]:
        assert Scaling(WorkerBounds(0, 4), 60.0).wanted(work_s, 0.0) == count
    assert Scaling(WorkerBounds(3, 3), 60.0).wanted(1e9, 0.0) == 3


def test_workers_go_one_by_one_and_late() -> None:
    """More at once; fewer after a while without need, for the need may come back."""
    scaling = Scaling(WorkerBounds(1, 4), 10.0)
    assert scaling.wanted(40.0, 0.0) == 4
    assert scaling.wanted(5.0, SHRINK_S) == 4
    assert scaling.wanted(5.0, SHRINK_S + 1) == 3
    assert scaling.wanted(5.0, SHRINK_S + 2) == 3
    assert scaling.wanted(35.0, SHRINK_S + 3) == 4
    scaling.rest()
    assert scaling.wanted(5.0, SHRINK_S + 4) == 1
