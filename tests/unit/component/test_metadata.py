"""What a component's metadata says of its inputs where nothing declares them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from infergraph.component.metadata import assemble, expected_inputs


class Holder:
    """A component that holds things."""

    def __init__(self, **held: Any) -> None:
        self.__dict__.update(held)


class Unfitted:
    """An estimator whose number of features can be asked for only after it is fitted."""

    @property
    def n_features_in_(self) -> int:
        raise RuntimeError("not fitted yet")


FITTED = LinearRegression().fit(np.zeros((2, 4)), [0, 1])
NAMED = LinearRegression().fit(np.zeros((2, 2)), [0, 1])
NAMED.feature_names_in_ = np.array(["width", "height"], dtype=object)


@pytest.mark.parametrize(
    ("user", "schema"),
    [
        (Holder(model=FITTED), {"names": [], "shape": [4]}),
        (Holder(other=3, unfitted=Unfitted(), model=NAMED), {"names": ["width", "height"], "shape": [2]}),
        (FITTED, {"names": [], "shape": [4]}),
    ],
)
def test_a_fitted_estimator_tells_its_input(user: object, schema: dict[str, Any]) -> None:
    """The columns that the estimator within a component was fitted with are its input."""
    assert expected_inputs(user) == [{"messagetype": "ndarray", "schema": schema}]


@pytest.mark.parametrize("user", [Holder(), Holder(kind=LinearRegression, count=4, unfitted=Unfitted()), 3, None])
def test_nothing_is_guessed(user: object) -> None:
    """Without a fitted estimator nothing is said."""
    assert expected_inputs(user) == []


def test_what_is_declared_comes_first() -> None:
    """Declared inputs are not changed by what an estimator tells; without any, its input is the default."""
    declared = [{"messagetype": "strData"}]
    told = expected_inputs(FITTED)
    assert assemble("", {"inputs": declared}, "", told)["inputs"] == declared
    assert assemble("", {"inputs": []}, "", told)["inputs"] == told
    assert assemble("", {}, "inputs: [{messagetype: strData}]", told)["inputs"] == declared
