"""Charts of throughput and latency over the last minutes, as SVG paths for a template.

View.moments() ──scale──▶ Chart: lines, and the value at the top of the scale
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from infergraph.serving.console.live_figures import Moment, View

WIDTH, HEIGHT, TOP = 600.0, 120.0, 8.0
SHORTEST_S = 60.0
_DASH = 8.0


class Chart(NamedTuple):
    """Lines over time in a box of WIDTH by HEIGHT.

    Args:
        lines: SVG paths, interrupted where there is no value.
        area: SVG path of the area below the first line.
        top: the value at the top of the scale; 0 if there is none.
        reach_s: seconds from the left side to the right one, which is now.
    """

    lines: tuple[str, ...]
    area: str
    top: float
    reach_s: float


def throughput(view: View) -> Chart:
    """Requests per second."""
    return _chart(view.moments(), [lambda moment: moment.rate])


def latency(view: View) -> Chart:
    """The median and the 99th percentile, in seconds."""
    return _chart(view.moments(), [lambda moment: moment.p50, lambda moment: moment.p99])


def _chart(moments: Sequence[Moment], values_of: Sequence[Callable[[Moment], float | None]]) -> Chart:
    values = [value for value_of in values_of for moment in moments if (value := value_of(moment)) is not None]
    top = max(values, default=0.0)
    reach_s = max([SHORTEST_S, *(moment.ago for moment in moments)])

    def point(moment: Moment, value: float) -> tuple[float, float]:
        return WIDTH * (1 - moment.ago / reach_s), HEIGHT - (HEIGHT - TOP) * value / (top or 1.0)

    runs = [_runs(moments, value_of, point) for value_of in values_of]
    area = "".join(
        f"{_path(run)}L{run[-1][0]:.1f} {HEIGHT:.0f}L{run[0][0]:.1f} {HEIGHT:.0f}z" for run in runs[0] if len(run) > 1
    )
    return Chart(tuple("".join(map(_path, each)) for each in runs), area, top, reach_s)


def _runs(
    moments: Sequence[Moment],
    value_of: Callable[[Moment], float | None],
    point: Callable[[Moment, float], tuple[float, float]],
) -> list[list[tuple[float, float]]]:
    """The points of a line, split into lists where there is no value."""
    runs: list[list[tuple[float, float]]] = [[]]
    for moment in moments:
        value = value_of(moment)
        if value is not None:
            runs[-1].append(point(moment, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _path(run: Sequence[tuple[float, float]]) -> str:
    """The SVG path of a line; a single point becomes a short line."""
    points = run
    if len(run) == 1:
        [(x, y)] = run
        points = [(max(x - _DASH / 2, 0.0), y), (min(x + _DASH / 2, WIDTH), y)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
