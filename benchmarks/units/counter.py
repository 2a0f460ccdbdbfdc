"""The model that every server of the benchmark of streams serves: it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


class Counter:
    """As many items as the input says, an array of one number each; so cheap that what is measured is the server."""

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """`X` itself."""
        return X

    def predict_stream(self, X: Any, names: Any = None, meta: Any = None) -> Iterator[Any]:
        """0 … X - 1."""
        for number in range(int(X.ravel()[0])):
            yield np.array([[number]], dtype=np.int32)
