"""Rows made after a contract, and contracts made after a DataFrame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from infergraph import compat

compat.install()

from seldon_core import microservice_tester as tester  # noqa: E402
from seldon_core.serving_test_gen import create_seldon_api_testing_file  # noqa: E402


def test_repeated_entries_are_spelt_out() -> None:
    """Features count from 1, targets from 0; the contract given is not changed."""
    contract = {
        "features": [{"name": "x", "ftype": "continuous", "repeat": 2}, {"name": "y", "ftype": "continuous"}],
        "targets": [{"name": "c", "ftype": "continuous", "repeat": 2}],
    }
    unfolded = tester.unfold_contract(contract)
    assert tester.feature_names(unfolded) == ["x1", "x2", "y"]
    assert tester.get_class_names(unfolded) == ["c:0", "c:1"]
    assert len(contract["features"]) == 2


@pytest.mark.parametrize(
    ("span", "low", "high"),
    [([2, 3], 2, 3), ([5, "inf"], 5, np.inf), (["inf", 5], -np.inf, 5), (["inf", "inf"], -np.inf, np.inf)],
)
def test_numbers_stay_in_their_range(span: list[float | str], low: float, high: float) -> None:
    """A range may be open on either side."""
    numbers = tester.gen_continuous(span, 200)
    assert numbers.shape == (200,)
    assert ((numbers >= low) & (numbers <= high)).all()


def test_a_batch_has_the_contracts_columns() -> None:
    """Rows have a column for each number of a shape; whole numbers are whole; mixed kinds make an array of objects."""
    numeric = {
        "features": [
            {"name": "a", "ftype": "continuous", "dtype": "INT", "range": [0, 9], "shape": [2]},
            {"name": "b", "ftype": "continuous", "dtype": "FLOAT"},
        ]
    }
    rows = tester.generate_batch(numeric, 4, "features")
    assert (rows.shape, rows.dtype) == ((4, 3), np.float64)
    assert np.array_equal(rows[:, :2], np.floor(rows[:, :2]))
    mixed = {"features": [*numeric["features"], {"name": "c", "ftype": "categorical", "values": ["x", "y"]}]}
    rows = tester.generate_batch(mixed, 4, "features")
    assert (rows.shape, rows.dtype) == ((4, 4), object)
    assert set(rows[:, 3]) <= {"x", "y"}


@pytest.mark.parametrize("feature", [{"ftype": "other"}, {"ftype": "continuous", "dtype": "WORD"}])
def test_a_contract_that_cannot_be_followed(feature: dict[str, str]) -> None:
    """An unknown kind or dtype is named."""
    with pytest.raises(tester.SeldonTesterException, match=r"other|WORD"):
        tester.generate_batch({"features": [{"name": "n", **feature}]}, 1, "features")


def test_a_contract_of_a_frame_can_be_followed(tmp_path: Path) -> None:
    """The generated contract has each column's kind and range, and the tester can make rows of it."""
    frame = pd.DataFrame({"i": [1, 5], "f": [0.5, 1.5], "s": ["a", "b"], "y": [0, 1]})
    assert create_seldon_api_testing_file(frame, "y", str(tmp_path / "contract.json"))
    contract = json.loads((tmp_path / "contract.json").read_text())
    assert contract["features"][0] == {"name": "i", "dtype": "INT", "ftype": "continuous", "range": [1.0, 5.0]}
    assert contract["features"][2]["values"] == ["a", "b"]
    assert [target["name"] for target in contract["targets"]] == ["y"]
    assert tester.generate_batch(tester.unfold_contract(contract), 3, "features").shape == (3, 3)
