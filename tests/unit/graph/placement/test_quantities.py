"""Quantities of Kubernetes as numbers."""

from __future__ import annotations

import pytest

from infergraph.graph.placement import amount


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        ("500m", 0.5), ("2", 2.0), (2, 2.0), (0.5, 0.5), (".5", 0.5), ("1.", 1.0), ("4Gi", 4 * 2.0**30), ("1k", 1000.0),
        ("1e3", 1000.0), ("12E", 12e18), ("+1", 1.0), ("0", 0.0),
        ("-1", None), (-1, None), ("4GB", None), ("lots", None), ("", None), (True, None), (None, None), ("1 Gi", None),
    ],
)  # fmt: skip
def test_quantities_are_numbers_of_units(quantity: object, number: float | None) -> None:
    """A quantity is read as Kubernetes reads it; what is none has no number."""
    assert amount(quantity) == number
