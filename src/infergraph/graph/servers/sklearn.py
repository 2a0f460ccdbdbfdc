"""SKLEARN_SERVER: a scikit-learn model or pipeline from `model.joblib`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from infergraph.errors import MissingExtra, PayloadError, TargetError
from infergraph.graph.servers.files import fetch, model_file, read_metadata
from infergraph.graph.servers.inputs import input_faults, reading, table_of

_METHODS = ("predict_proba", "decision_function")


class SKLearnServer:
    """Answers with what a method of the model gives.

    Args:
        model_uri: the folder of `model.joblib` (or of the only .joblib, .pkl or .pickle file), or that file.
        method: predict_proba or decision_function; `auto` for predict_proba where the model has it; anything else means
            predict.
        columns: `classes` names the columns of probabilities by the model's classes.
        cache_dir: where a model from elsewhere is kept.
    """

    task_rows = "instance"
    v2_metadata: ClassVar[Mapping[str, str]] = MappingProxyType({"platform": "sklearn"})

    def __init__(
        self, model_uri: str = "", method: str = "predict_proba", columns: str = "", cache_dir: str = ""
    ) -> None:
        self.model_uri = model_uri
        self.method = method if method in (*_METHODS, "auto") else "predict"
        self.columns = columns
        self.cache_dir = cache_dir
        self._predict: Any = None
        self._features: list[str] = []
        self._frame: Any = None

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
            import sklearn  # noqa: F401 - without it joblib's error is hard to read
        except ImportError as error:
            raise MissingExtra.of("scikit-learn", "sklearn", "SKLEARN_SERVER") from error
        path = model_file(self._place, "model.joblib", (".joblib", ".pkl", ".pickle"))
        with reading(path):
            model = joblib.load(path)
        if self.method == "auto":
            self.method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
        self._predict = getattr(model, self.method, None)
        if self._predict is None:
            has = ", ".join(name for name in (*_METHODS, "predict") if hasattr(model, name)) or "none of the methods"
            raise TargetError(f"{type(model).__name__} has no {self.method}; set the parameter method (it has {has})")
        self._learn_names(model)

    def _learn_names(self, model: Any) -> None:
        """Names of the columns that the model was fitted with, and of its classes, where it knows any."""
        classes = getattr(model, "classes_", ())
        if self.columns == "classes" and self.method == "predict_proba" and np.ndim(classes) == 1:
            self.class_names = [str(name) for name in classes]
        self._features = [str(name) for name in getattr(model, "feature_names_in_", ())]
        if self._features:
            with suppress(ImportError):  # fitted with names: it warns at each array without
                import pandas

                self._frame = pandas.DataFrame

    def predict(self, X: Any, names: Any = (), meta: Any = None) -> Any:
        """The model's answer for rows `X`; a model that was fitted with names gets the columns that it knows by name.

        Raises: PayloadError, with scikit-learn's message, for input that the model does not accept.
        """
        with input_faults("model"):
            rows, labels = table_of(X, names)
            return _rows_first(self._predict(_unlabelled(rows) if self._frame is None else self._named(rows, labels)))

    def _named(self, X: Any, names: list[str]) -> Any:
        """A frame of the columns that the model was fitted with: by name if all are there, else as they come."""
        frame = self._frame(X).infer_objects()
        if len(names) == frame.shape[1] and set(self._features) <= set(names):
            frame.columns = names
            return frame[self._features]
        if frame.shape[1] != len(self._features):
            wanted = ", ".join(self._features)
            raise PayloadError(f"the model takes the columns {wanted}; the rows have {frame.shape[1]}")
        frame.columns = self._features
        return frame

    def init_metadata(self) -> dict[str, Any]:
        """What `metadata.yaml` beside the model says."""
        return read_metadata(self._place)


def _unlabelled(rows: Any) -> Any:
    """A data frame as an array, for a model that was fitted without names and would warn."""
    return rows.to_numpy() if hasattr(rows, "to_numpy") else rows


def _rows_first(answer: Any) -> Any:
    """A model of several targets gives one array for each target, axes (row, class); here they are stacked.

    A class that a target does not have has the probability 0.
    """
    if not isinstance(answer, list):
        return answer
    arrays = [np.asarray(part) for part in answer]
    classes = max(array.shape[1] for array in arrays)
    return np.stack([np.pad(array, ((0, 0), (0, classes - array.shape[1]))) for array in arrays], axis=1)
