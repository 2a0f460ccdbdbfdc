"""What routers have learnt, as the console shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infergraph.graph.routers.bandits import Counts, CountStore
from infergraph.serving.console.arms import Arm, belief, read_arms


def test_the_counts_of_all_routers_are_read_from_their_file(tmp_path: Path) -> None:
    """What bandits have added is what the page reads, by their keys."""
    path = tmp_path / "bandits.sqlite"
    for key, branch in (("d/p/r", 0), ("d/p/r", 2), ("other", 1)):
        CountStore(path, key).add(branch, Counts(1.5, 4.0))
    assert read_arms(path) == {"d/p/r": [Arm(0, 1.5, 4.0), Arm(2, 1.5, 4.0)], "other": [Arm(1, 1.5, 4.0)]}
    assert read_arms(path)["other"][0].value == 0.375


def test_no_file_is_no_arms_and_a_broken_one_is_said(tmp_path: Path) -> None:
    """A server that has learnt nothing yet has no file, and looking makes none; a file of something else is named."""
    assert read_arms(tmp_path / "none.sqlite") == {}
    assert not list(tmp_path.iterdir())
    broken = tmp_path / "broken.sqlite"
    broken.write_text("this is no database, by far not")
    with pytest.raises(OSError, match=r"broken\.sqlite"):
        read_arms(broken)


def test_a_branch_without_rewards_may_be_worth_anything() -> None:
    """The belief before the first reward is flat: 90 % of it lie between 0.05 and 0.95."""
    flat = belief(Arm(0, 0.0, 0.0))
    assert Arm(0, 0.0, 0.0).value is None
    assert (flat.low, flat.high) == (pytest.approx(0.05, abs=0.01), pytest.approx(0.95, abs=0.01))
    assert {round(height, 6) for _, height in flat.curve} == {1.0}


def test_the_interval_is_that_of_the_beta_distribution() -> None:
    """For 7 of 10 the 90 % interval is that of Beta(8, 4): 0.436 to 0.865 (R: qbeta(c(.05, .95), 8, 4))."""
    known = belief(Arm(0, 7.0, 10.0))
    assert (known.low, known.high) == (pytest.approx(0.436, abs=0.004), pytest.approx(0.865, abs=0.004))


@given(st.floats(0, 1), st.floats(0, 1e9))
def test_any_counts_have_a_curve_around_their_mean(part: float, tries: float) -> None:
    """However many rewards, the curve is finite, lies between 0 and 1, and has its mass where the mean is."""
    arm = Arm(0, part * tries, tries)
    known = belief(arm)
    places = [place for place, _ in known.curve]
    assert places == sorted(places)
    assert places[0] >= 0.0
    assert places[-1] <= 1.0
    assert all(0.0 <= height < float("inf") for _, height in known.curve)
    assert known.peak > 0
    mean = (1 + arm.successes) / (2 + arm.tries)
    assert known.low - 1e-9 <= mean <= known.high + 1e-9 or tries < 40
    assert known.low <= known.high
