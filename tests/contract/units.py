"""The component that the units' contract is about; every implementation of a unit answers as it does."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np


class Worker:
    """Does something different in each method, and fails when it is told."""

    def __init__(self) -> None:
        self.rewards: list[float] = []

    def predict(self, X: Any, names: Any) -> Any:
        if isinstance(X, str) and X == "fail":
            raise ValueError("told to fail")
        return X * 2 if isinstance(X, np.ndarray) else X

    def transform_input(self, X: Any, names: Any) -> Any:
        return X + 1

    def transform_output(self, X: Any, names: Any) -> Any:
        return X - 1

    def route(self, X: Any, names: Any) -> int:
        return int(X[0][0])

    def aggregate(self, Xs: Any, names: Any) -> Any:
        return np.sum(Xs, axis=0)

    def send_feedback(self, X: Any, names: Any, reward: float, truth: Any, routing: Any = None) -> Any:
        self.rewards.append(reward)
        return [sum(self.rewards)]

    def class_names(self) -> list[str]:
        return ["one", "two"]

    def tags(self) -> dict[str, Any]:
        return {"by": "worker"}

    def init_metadata(self) -> dict[str, Any]:
        return {"name": "worker", "versions": ["v1"], "platform": "test", "inputs": [], "outputs": [], "custom": {}}


class Slow:
    """Answers one request after the other, each only after the loop had its turn many times."""

    async def predict(self, X: Any, names: Any) -> Any:
        for _ in range(10):
            await asyncio.sleep(0)
        return X


class Hanging:
    """Never answers."""

    async def predict(self, X: Any, names: Any) -> Any:
        await asyncio.Event().wait()
