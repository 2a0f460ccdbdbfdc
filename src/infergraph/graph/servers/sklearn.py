"""SKLEARN_SERVER: a scikit-learn model or pipeline from `model.joblib`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from infergraph.errors import MissingExtra, TargetError
from infergraph.graph.servers.files import fetch, model_file, read_metadata
from infergraph.graph.servers.inputs import input_faults, reading

_METHODS = ("predict_proba", "decision_function")


class SKLearnServer:
    """Answers with what a method of the model gives.

    Args:
        model_uri: the folder of `model.joblib` (or of the only .joblib, .pkl or .pickle file), or that file.
        method: predict_proba or decision_function; anything else means predict.
        cache_dir: where a model from elsewhere is kept.
    """

    task_rows = "instance"

    def __init__(self, model_uri: str = "", method: str = "predict_proba", cache_dir: str = "") -> None:
        self.model_uri = model_uri
        self.method = method if method in _METHODS else "predict"
        self.cache_dir = cache_dir
        self._predict: Any = None

    @cached_property
    def _place(self) -> Path:
        return fetch(self.model_uri, self.cache_dir)

    def load(self) -> None:
        """Read the model.

        Raises:
            MissingExtra: scikit-learn is not installed.
            TargetError: there is no model, it cannot be read, or it has not the method that was asked for.
        """
        try:
            import joblib
            import sklearn  # noqa: F401 - without it joblib's own error is hard to read
        except ImportError as error:
            raise MissingExtra.of("scikit-learn", "sklearn", "SKLEARN_SERVER") from error
        path = model_file(self._place, "model.joblib", (".joblib", ".pkl", ".pickle"))
        with reading(path):
            model = joblib.load(path)
        self._predict = getattr(model, self.method, None)
        if self._predict is None:
            has = ", ".join(name for name in (*_METHODS, "predict") if hasattr(model, name)) or "none of the methods"
            raise TargetError(f"{type(model).__name__} has no {self.method}; set the parameter method (it has {has})")

    def predict(self, X: Any, names: Any = (), meta: Any = None) -> Any:
        """The model's answer for rows `X`, axes (row, class), or (row, target, class) from a model of several targets.

        Raises: PayloadError with the model's own words for input that it does not take.
        """
        with input_faults("model"):
            return _rows_first(self._predict(X))

    def init_metadata(self) -> dict[str, Any]:
        """What `metadata.yaml` beside the model says."""
        return read_metadata(self._place)


def _rows_first(answer: Any) -> Any:
    """A model of several targets gives one array for each target, axes (row, class); here they are stacked.

    A class that a target does not have has the probability 0.
    """
    if not isinstance(answer, list):
        return answer
    arrays = [np.asarray(part) for part in answer]
    classes = max(array.shape[1] for array in arrays)
    return np.stack([np.pad(array, ((0, 0), (0, classes - array.shape[1]))) for array in arrays], axis=1)
