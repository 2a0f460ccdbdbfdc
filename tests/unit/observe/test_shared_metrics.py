from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from infergraph.observe import shared_metrics as ledgers
from infergraph.observe.shared_metrics import Bounds, Folder, SharedMetrics, read, vacate


def values(folder: Path) -> dict[tuple[str, str], list[float]]:
    return {(one.series.name, one.series.labels.get("a", "")): one.values for one in read(folder)}


def test_counts_are_seen_by_a_reader_at_once(tmp_path: Path) -> None:
    """What one process adds, another reads without any flush."""
    cell = SharedMetrics(tmp_path, "worker-0").counter("requests", "", {"a": "x"})
    cell[0] += 1.0
    cell[0] += 1.0
    assert values(tmp_path) == {("requests", "x"): [2.0]}


def test_the_next_owner_of_a_seat_goes_on_counting(tmp_path: Path) -> None:
    """A writer that opens a seat finds the numbers its predecessor left, though that one never closed it."""
    SharedMetrics(tmp_path, "worker-0").counter("requests", "", {"a": "x"})[0] += 5.0
    successor = SharedMetrics(tmp_path, "worker-0")
    successor.counter("requests", "", {"a": "x"})[0] += 1.0
    successor.counter("requests", "", {"a": "y"})[0] += 1.0
    assert values(tmp_path) == {("requests", "x"): [6.0], ("requests", "y"): [1.0]}


def test_living_gauges_start_again_with_a_new_owner(tmp_path: Path) -> None:
    """What a dead process had in flight is not in flight in its successor."""
    SharedMetrics(tmp_path, "worker-0").live("in_flight", "", {})[0] = 3.0
    SharedMetrics(tmp_path, "worker-0")
    assert values(tmp_path) == {("in_flight", ""): [0.0]}


def test_a_vacated_or_closed_seat_is_not_taken(tmp_path: Path) -> None:
    """A seat counts as taken from its opening until its owner closes it or somebody notes the owner's death."""
    for metrics_slot in ("closed", "killed", "alive"):
        shared_metrics = SharedMetrics(tmp_path, metrics_slot)
        shared_metrics.live("in_flight", "", {"a": metrics_slot})
        if metrics_slot == "closed":
            shared_metrics.close()
    vacate(tmp_path, "killed")
    vacate(tmp_path, "never was there")
    assert {one.series.labels["a"]: one.taken for one in read(tmp_path)} == {
        "closed": False,
        "killed": False,
        "alive": True,
    }


def test_a_line_cut_short_by_death_is_repaired(tmp_path: Path) -> None:
    """A torn last line of an index harms neither readers nor the next owner."""
    shared_metrics = SharedMetrics(tmp_path, "worker-0")
    shared_metrics.counter("requests", "", {"a": "x"})[0] += 1.0
    with open(tmp_path / "worker-0.index", "ab") as index:
        index.write(b'{"at":99,"shape":"cou')
    assert values(tmp_path) == {("requests", "x"): [1.0]}
    SharedMetrics(tmp_path, "worker-0").counter("requests", "", {"a": "y"})[0] += 2.0
    assert values(tmp_path) == {("requests", "x"): [1.0], ("requests", "y"): [2.0]}


def test_no_series_crosses_a_segment(tmp_path: Path) -> None:
    """Many histograms over several segments keep their own numbers."""
    shared_metrics = SharedMetrics(tmp_path, "worker-0")
    histograms = [shared_metrics.histogram("t", "", {"a": str(number)}, Bounds.TIMER) for number in range(500)]
    for number, histogram in enumerate(histograms):
        histogram.observe(float(number))
    assert os.path.getsize(tmp_path / "worker-0.cells") > 2 * ledgers.SEGMENT_BYTES
    assert {label: cells[-1] for (_, label), cells in values(tmp_path).items()} == {
        str(number): float(number) for number in range(500)
    }


def test_a_full_ledger_goes_on_without_exporting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Past the limit of segments, counting neither fails nor disturbs what is there, and one warning is written."""
    shared_metrics = SharedMetrics(tmp_path, "worker-0")
    first = shared_metrics.counter("requests", "", {"a": "first"})
    for number in range(ledgers.SEGMENTS_LIMIT * ledgers.SEGMENT_CELLS // 52 + 200):
        shared_metrics.histogram("t", "", {"a": str(number)}, Bounds.TIMER).observe(1.0)
    first[0] += 1.0
    assert values(tmp_path)["requests", "first"] == [1.0]
    assert os.path.getsize(tmp_path / "worker-0.cells") == ledgers.SEGMENTS_LIMIT * ledgers.SEGMENT_BYTES
    assert len([record for record in caplog.records if "no room" in record.getMessage()]) == 1


def test_left_over_folders_are_swept_and_living_ones_kept(tmp_path: Path) -> None:
    """A sweep deletes the folder of a dead owner, and neither a living one's nor one just being made."""
    dead, fresh = (tmp_path / (ledgers.FOLDER_PREFIX + name) for name in ("dead", "fresh"))
    for folder in (dead, fresh):
        folder.mkdir()
        (folder / "lock").touch()
    os.utime(dead, (0, 0))
    living = Folder(tmp_path)
    os.utime(living.path, (0, 0))
    ledgers.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([fresh, living.path])
    living.remove()
    living.remove()
    assert list(tmp_path.iterdir()) == [fresh]


def test_a_full_disk_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """Where no cell can be written, counting goes on in vain instead of failing."""
    monkeypatch.setattr(ledgers, "SEGMENTS_LIMIT", 0)
    shared_metrics = SharedMetrics(tmp_path, "worker-0")
    shared_metrics.counter("requests", "", {})[0] += 1.0
    shared_metrics.close()
    assert list(read(tmp_path)) == []
    assert len([record for record in caplog.records if "no room" in record.getMessage()]) == 1
