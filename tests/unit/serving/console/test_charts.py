"""Curves over time: they stay in their box and show what was counted."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from infergraph.serving.console import charts
from infergraph.serving.console.live_figures import Moment, View, Watch


class _Given(View):
    """A view with these moments."""

    def __init__(self, moments: list[Moment]) -> None:
        super().__init__([Watch(Path("nowhere"), lambda: 1.0).look().now])
        self._moments = moments

    def moments(self) -> list[Moment]:
        """The moments."""
        return self._moments


def moments() -> st.SearchStrategy[list[Moment]]:
    """Moments of the last minutes, oldest first; some have no quantiles."""
    seconds = st.none() | st.floats(1e-6, 60)
    one = st.builds(Moment, st.floats(0, 300), st.floats(0, 1e6), seconds, seconds)
    return st.lists(one, max_size=20).map(lambda few: sorted(few, key=lambda moment: -moment.ago))


@given(moments())
def test_curves_lie_in_their_box(given: list[Moment]) -> None:
    """Whatever was counted, every point is inside the box, and time runs from left to right."""
    for chart in (charts.throughput(_Given(given)), charts.latency(_Given(given))):
        for line in (*chart.lines, chart.area):
            points = [tuple(map(float, each)) for each in re.findall(r"(-?[\d.]+) (-?[\d.]+)", line)]
            assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)
        for unbroken in "".join(chart.lines).split("M"):
            places = [float(point.split()[0]) for point in unbroken.split("L") if point]
            assert places == sorted(places)


def test_a_quiet_time_breaks_the_line() -> None:
    """Where nothing was answered there is no latency, and the line begins again behind it."""
    given = [Moment(30, 2, 0.1, 0.2), Moment(20, 0, None, None), Moment(10, 2, 0.1, 0.4), Moment(0, 2, 0.1, 0.1)]
    chart = charts.latency(_Given(given))
    assert [line.count("M") for line in chart.lines] == [2, 2]
    assert chart.top == 0.4
    assert charts.throughput(_Given([])).top == 0
