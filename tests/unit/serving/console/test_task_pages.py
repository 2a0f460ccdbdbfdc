"""The page of a task: failed lines by reason."""

from __future__ import annotations

from infergraph.serving.console.task_pages import LINES_NAMED, by_reason
from infergraph.wire.error_lines import error_line


def test_failed_lines_are_grouped_by_reason() -> None:
    """Reasons that differ by a number or a quoted value are one group, the largest first, each with an example."""
    reasons = [f"cannot read '{place}' at column {place}" for place in range(20)] + ["too long"] * 2
    groups = by_reason(error_line(place + 1, reason, b"{}") for place, reason in enumerate(reasons))
    assert [(group.total, group.reason) for group in groups] == [(20, reasons[0]), (2, "too long")]
    assert groups[0].lines == list(range(1, LINES_NAMED + 1))
    assert groups[1].record == "{}"


def test_a_cut_line_is_left_out() -> None:
    """A line whose end was not looked at is no reason of its own."""
    assert by_reason([error_line(1, "no", b"x")[:-20]]) == []
