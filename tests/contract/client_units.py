"""Components for the client's contract."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np


class Loading:
    """Is loaded once the file named by CLIENT_TEST_GATE is there."""

    def load(self) -> None:
        gate, waiting = Path(os.environ["CLIENT_TEST_GATE"]), threading.Event()
        while not gate.exists():
            waiting.wait(0.01)

    def predict(self, X: Any, names: Any) -> Any:
        return X


class Paid:
    """Refuses with a status and a reason of its own."""

    class Unpaid(Exception):
        status_code = 402

    model_error_handler: Any = None

    def predict(self, X: Any, names: Any) -> Any:
        error = Paid.Unpaid("pay first")
        raise error


class Raw:
    """Answers whole documents: a message with a status of its own, or no message at all."""

    def predict_raw(self, request: Any) -> Any:
        return {"anything": [1, 2, {"a": None}]}


class Unmeasured:
    """Has metrics that are none."""

    def predict(self, X: Any, names: Any) -> Any:
        return X

    def metrics(self) -> Any:
        return [{"type": "COUNTER", "key": "calls", "value": "many"}]


class Rows:
    """Answers each row of a task with the row and a mark; fails on rows that say so."""

    def predict(self, X: Any, names: Any) -> Any:
        if any("fail" in row for row in X):
            raise ValueError("told to fail")
        return [{**row, "seen": True} for row in X]


class Accepting:
    """Takes anything, in every method; gives it back where it can be an answer."""

    def predict(self, X: Any, names: Any) -> Any:
        return X if isinstance(X, np.ndarray | str | bytes) else {"value": X}

    def transform_input(self, X: Any, names: Any) -> Any:
        return self.predict(X, names)

    def transform_output(self, X: Any, names: Any) -> Any:
        return self.predict(X, names)

    def route(self, X: Any, names: Any) -> int:
        return 0

    def aggregate(self, Xs: Any, names: Any) -> Any:
        return [len(Xs)]

    def send_feedback(self, X: Any, names: Any, reward: float, truth: Any, routing: Any = None) -> Any:
        return [reward]

    def init_metadata(self) -> dict[str, Any]:
        columns = {"names": ["age", "height"], "shape": [-1, 2]}
        return {
            "name": "accepting",
            "versions": ["v1"],
            "platform": "test",
            "inputs": [{"messagetype": "tensor", "schema": columns}],
            "outputs": [{"messagetype": "ndarray", "schema": {"shape": [-1, 2]}}],
        }
