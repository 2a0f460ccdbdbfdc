"""MLFLOW_SERVER: any model in MLflow's own format, through its pyfunc interface."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from infergraph.errors import MissingExtra
from infergraph.graph.servers.files import fetch, read_metadata
from infergraph.graph.servers.inputs import input_faults, reading


class MLFlowServer:
    """Answers with what the model's `predict` gives; a data frame's columns become the answer's column names.

    The model's own environment is not built: what it needs must be installed here.

    Args:
        model_uri: the folder with the file `MLmodel`.
        xtype: `ndarray` hands the rows over as an array; anything else as a data frame with the request's names.
        cache_dir: where a model from elsewhere is kept.
    """

    def __init__(self, model_uri: str = "", xtype: str = "ndarray", cache_dir: str = "") -> None:
        self.model_uri = model_uri
        self.xtype = xtype
        self.cache_dir = cache_dir
        self._model: Any = None
        self._frame: Any = None
        self._refusals: tuple[type[Exception], ...] = ()

    @cached_property
    def _place(self) -> Path:
        return fetch(self.model_uri, self.cache_dir)

    def load(self) -> None:
        """Read the model.

        Raises:
            MissingExtra: mlflow or pandas is not installed.
            TargetError: there is nothing at the address, or it cannot be read.
        """
        try:
            import mlflow.pyfunc
            import pandas
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise MissingExtra.of(error.name or "mlflow", "mlflow", "MLFLOW_SERVER") from error
        with reading(self._place):
            self._model = mlflow.pyfunc.load_model(str(self._place))
        self._frame = pandas.DataFrame
        self._refusals = (MlflowException,)

    def predict(self, X: Any, names: Any = (), meta: Any = None) -> Any:
        """The model's answer for rows `X`, a data frame as it is, so that each answer has its own column names.

        Raises: PayloadError with MLflow's own words for input that does not fit the model.
        """
        with input_faults("model", *self._refusals):
            if self.xtype != "ndarray":
                X = self._frame(X, columns=list(names)) if names else self._frame(X)
            return self._model.predict(X)

    def init_metadata(self) -> dict[str, Any]:
        """What `metadata.yaml` beside the model says."""
        return read_metadata(self._place)
