"""What a hook's result is made into."""

import pytest

from infergraph.component import results


@pytest.mark.parametrize(("columns", "count"), [(None, 0), (0, 0), (3, 3), (20_000, 20_000), (1_000_001, 0)])
def test_columns_are_numbered_as_far_as_it_is_worth_it(columns: int | None, count: int) -> None:
    """Unnamed columns are `t:0`, `t:1`, …; a million and more have no names, which would take all memory."""
    names = results.default_names(columns)
    assert len(names) == count
    assert list(names[:3]) == ["t:0", "t:1", "t:2"][:count]
