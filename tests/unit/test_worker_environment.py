"""Workers know which they are, and GPUs and threads are dealt out among them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from infergraph.errors import SettingsError
from infergraph.worker_environment import (
    DEVICES,
    TASK_INDEX,
    THREAD_VARIABLES,
    processors,
    thread_limits,
    visible_devices,
    worker_environment,
)


def _environment(index: int, gpus: str, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    return worker_environment(TASK_INDEX, index, gpus, workers=1, inherited=inherited or {})


@pytest.mark.parametrize(
    ("gpus", "visible", "dealt"),
    [
        ("0", None, ["0", "0", "0"]),
        ("0,1", None, ["0", "1", "0"]),
        (" 0+1 , 2+3 ", None, ["0,1", "2,3", "0,1"]),
        ("GPU-5f,MIG-1", None, ["GPU-5f", "MIG-1", "GPU-5f"]),
        ("0,1", "4,5", ["4", "5", "4"]),
        ("1+0", "GPU-a,GPU-b", ["GPU-b,GPU-a"] * 3),
        ("all", "4,7,5", ["4", "7", "5"]),
        ("all", "4,-1,5", ["4", "4", "4"]),
        ("GPU-b", "GPU-a,GPU-b", ["GPU-b"] * 3),
    ],
)
def test_shares_are_dealt_out_in_turn(gpus: str, visible: str | None, dealt: list[str]) -> None:
    """Worker n gets share n, and the first again after the last; numbers count what is visible already."""
    inherited = {} if visible is None else {DEVICES: visible}
    found = [_environment(index, gpus, inherited) for index in range(3)]
    assert [one[DEVICES] for one in found] == dealt
    assert [one[TASK_INDEX] for one in found] == ["0", "1", "2"]


def test_nothing_is_dealt_where_nothing_is_asked_for() -> None:
    """Without the setting a worker sees what its server sees."""
    assert _environment(5, "", {DEVICES: "1"}) == {TASK_INDEX: "5"}


@pytest.mark.parametrize(
    ("gpus", "visible"), [("0,,1", "0,1"), (",", "0"), ("0+,1", "0,1"), ("2", "4,5"), ("0", ""), ("all", "-1")]
)
def test_shares_that_cannot_be_dealt_are_refused(gpus: str, visible: str) -> None:
    """A slip, and a device that is not visible, are told by the setting's name."""
    with pytest.raises(SettingsError, match="gpus"):
        _environment(0, gpus, {DEVICES: visible})


def test_visible_devices_are_those_that_cuda_would_take() -> None:
    """CUDA takes a list up to its first invalid entry."""
    assert visible_devices({DEVICES: "3, 1"}) == ["3", "1"]
    assert visible_devices({DEVICES: "-1"}) == []
    assert visible_devices({DEVICES: ""}) == []


def test_workers_share_the_processors() -> None:
    """Several workers get a share of the threads of linear algebra each; one worker, or a wish, is left alone."""
    shared = thread_limits({}, 2)
    assert set(shared) == set(THREAD_VARIABLES)
    assert {max(1, processors() // 2)} == set(map(int, shared.values()))
    assert set(thread_limits({}, 10_000).values()) == {"1"}
    assert thread_limits({}, 1) == {}
    assert thread_limits({"MKL_NUM_THREADS": "7"}, 4) == {}
