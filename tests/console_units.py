"""Units for the tests of the console."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import Any

GRAPH = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: offers}
spec:
  predictors:
  - name: default
    graph:
      name: scale
      type: TRANSFORMER
      component: console_units:Scale
      children:
      - name: choose
        type: ROUTER
        component: infergraph.graph.routers.bandits:EpsilonGreedy
        parameters:
        - {name: n_branches, value: "2", type: INT}
        - {name: best_branch, value: "1", type: INT}
        - {name: epsilon, value: "0", type: FLOAT}
        children:
        - {name: plain, type: MODEL, component: console_units:Sum}
        - {name: friendly, type: MODEL, component: console_units:Sum}
"""
"""A graph with a transformer, a router that learns and two models."""


class Scale:
    """Doubles."""

    def transform_input(self, X: Any, names: Any) -> Any:
        return X * 2

    def init_metadata(self) -> dict[str, Any]:
        return {
            "name": "scale",
            "versions": ["1"],
            "inputs": [{"messagetype": "tensor", "schema": {"names": ["width", "height"], "shape": [2]}}],
        }


class Sum:
    """The sum of each row, and its rows' number."""

    def predict(self, X: Any, names: Any) -> Any:
        if (X < 0).any():
            raise ValueError("a width is never <b>negative</b>")
        return [[float(row.sum()), 1.0] for row in X]


class Places:
    """Finds capitalised words, and says that each neighbour knows the next; each row takes a moment."""

    def __init__(self, wait_s: float = 0.0, healed: str = "") -> None:
        self._wait_s = wait_s
        self._healed = healed

    def predict(self, X: Any, names: Any) -> Any:
        return [self._answer(row) for row in X]

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        time.sleep(self._wait_s)
        if "bad" in row and not (self._healed and Path(self._healed).exists()):
            raise ValueError(f"cannot read {row['bad']}")
        found = re.findall(r"[A-Z][a-z]+", row["data"])
        pairs = [list(pair) for pair in itertools.pairwise(found)]
        return {
            **row,
            "entity": found,
            "entity_type": [("PER", "LOC")[place % 2] for place in range(len(found))],
            "entity_pair": pairs,
            "relation": ["knows"] * len(pairs),
        }

    def init_metadata(self) -> dict[str, Any]:
        schema = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
        return {"name": "places", "versions": ["1"], "inputs": [{"messagetype": "jsonData", "schema": schema}]}


class Counts:
    """A number in; as a stream the numbers up to it, without an end for a negative one, and an error for zero."""

    def predict(self, X: Any, names: Any) -> Any:
        return X

    def predict_stream(self, X: Any, names: Any) -> Any:
        limit = int(X.ravel()[0])
        yield "first"
        if limit == 0:
            raise ValueError("there is <b>nothing</b> to count")
        for number in itertools.count(1) if limit < 0 else range(1, limit + 1):
            yield {"number": [number]}
            if limit < 0:
                time.sleep(0.01)
