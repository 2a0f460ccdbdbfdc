"""Workers know which they are, and GPUs are dealt out among them."""

from __future__ import annotations

import pytest

from infergraph.errors import SettingsError
from infergraph.worker_environment import DEVICES, TASK_INDEX, worker_environment


@pytest.mark.parametrize(
    ("gpus", "dealt"),
    [
        ("0", ["0", "0", "0"]),
        ("0,1", ["0", "1", "0"]),
        (" 0+1 , 2+3 ", ["0,1", "2,3", "0,1"]),
        ("GPU-5f,MIG-1", ["GPU-5f", "MIG-1", "GPU-5f"]),
    ],
)
def test_shares_are_dealt_out_in_turn(gpus: str, dealt: list[str]) -> None:
    """Worker n gets share n, and the first again after the last."""
    found = [worker_environment(TASK_INDEX, index, gpus) for index in range(3)]
    assert [one[DEVICES] for one in found] == dealt
    assert [one[TASK_INDEX] for one in found] == ["0", "1", "2"]


def test_nothing_is_dealt_where_nothing_is_asked_for() -> None:
    """Without the setting a worker sees what its server sees."""
    assert worker_environment(TASK_INDEX, 5, "") == {TASK_INDEX: "5"}


@pytest.mark.parametrize("gpus", ["0,,1", ",", "0+,1"])
def test_an_empty_share_is_refused(gpus: str) -> None:
    """A slip is told by the setting's name."""
    with pytest.raises(SettingsError, match="gpus"):
        worker_environment(TASK_INDEX, 0, gpus)
