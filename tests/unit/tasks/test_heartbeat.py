"""What the drivers of several machines report together."""

from __future__ import annotations

from infergraph.tasks.heartbeat import Heartbeat, joined


def test_counts_are_added_and_troubles_are_those_of_all() -> None:
    """A machine that cannot load the unit, or is paused, is no trouble while another one works."""
    well = Heartbeat(pid=1, ready=2, wanted=2, chunks=3, chunk_s=0.5, retries=1, active=1, lanes=(11, 12))
    ill = Heartbeat(pid=2, wanted=1, load_error="no model", paused="the disk is full", kills=1, can_kill=False)
    both = joined([well, ill])
    assert both == Heartbeat(
        pid=1, ready=2, wanted=3, chunks=3, chunk_s=0.5, retries=1, kills=1, active=1, lanes=(11, 12), can_kill=False
    )
    worst = joined([ill, ill])
    assert worst is not None
    assert (worst.load_error, worst.paused) == ("no model", "the disk is full")
    assert joined([]) is None
    assert joined([ill]) == ill
