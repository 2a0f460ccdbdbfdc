"""Components for the benchmark of tasks: one that does nothing, one that works, one that never ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Trivial:
    """Each row as it came."""

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """`X`."""
        return X


class Digits:
    """The digit that 64 grey values show, by logistic regression over scikit-learn's own samples."""

    task_rows = "instance"

    def load(self) -> None:
        """Fit."""
        from sklearn.datasets import load_digits
        from sklearn.linear_model import LogisticRegression

        samples = load_digits()
        self.model = LogisticRegression(max_iter=50).fit(samples.data / 16.0, samples.target)

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """One digit for each row, axes (row, 1)."""
        return self.model.predict(X / 16.0).reshape(-1, 1)


class Burning:
    """Burns for ever in one call of C code that holds the interpreter's lock."""

    mark = ""

    def __init__(self, mark: str = "") -> None:
        self.mark = mark

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """Never returns for rows that say `burn`."""
        if isinstance(X, list) and any(isinstance(row, dict) and "burn" in row for row in X):
            Path(self.mark).touch()
            sum(range(10**13))
        return X
