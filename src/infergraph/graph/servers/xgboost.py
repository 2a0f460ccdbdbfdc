"""XGBOOST_SERVER: an XGBoost booster from `model.bst`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from infergraph.errors import MissingExtra, PayloadError
from infergraph.graph.servers.files import fetch, model_file, read_metadata
from infergraph.graph.servers.inputs import input_faults, reading, table_of


class XGBoostServer:
    """Answers with what the booster predicts.

    Args:
        model_uri: the folder of `model.bst` (or of the only .bst, .json or .ubj file), or that file.
        cache_dir: where a model from elsewhere is kept.
    """

    task_rows = "instance"
    v2_metadata: ClassVar[Mapping[str, str]] = MappingProxyType({"platform": "xgboost"})

    def __init__(self, model_uri: str = "", cache_dir: str = "") -> None:
        self.model_uri = model_uri
        self.cache_dir = cache_dir
        self._booster: Any = None
        self._library: Any = None

    @cached_property
    def _place(self) -> Path:
        return fetch(self.model_uri, self.cache_dir)

    def load(self) -> None:
        """Read the model.

        Raises:
            MissingExtra: xgboost is not installed.
            TargetError: there is no model, or it cannot be read.
        """
        try:
            import xgboost
        except ImportError as error:
            raise MissingExtra.of("xgboost", "xgboost", "XGBOOST_SERVER") from error
        path = model_file(self._place, "model.bst", (".bst", ".json", ".ubj"))
        booster = xgboost.Booster()
        with reading(path):
            content = path.read_bytes()
            if not content:
                raise EOFError("the file is empty")  # xgboost 3.2 would end the process
            booster.load_model(bytearray(content))  # by content: for the name .bst xgboost 3 only guesses
        self._library, self._booster = xgboost, booster

    def predict(self, X: Any, names: Any = (), meta: Any = None) -> Any:
        """The booster's answer for rows `X`; column names are not looked at.

        Raises: PayloadError for another number of columns than the model was fitted with (xgboost itself would answer
            silently), and for values that are not numbers.
        """
        with input_faults("model"):
            rows = np.asarray(table_of(X, names)[0], dtype=np.float32)
        width = self._booster.num_features()
        if rows.ndim != 2 or rows.shape[1] != width:
            raise PayloadError(f"the model takes rows of {width} columns, not an array of shape {list(rows.shape)}")
        with input_faults("model", self._library.core.XGBoostError):
            return self._booster.predict(self._library.DMatrix(rows, feature_names=self._booster.feature_names))

    def init_metadata(self) -> dict[str, Any]:
        """What `metadata.yaml` beside the model says."""
        return read_metadata(self._place)
