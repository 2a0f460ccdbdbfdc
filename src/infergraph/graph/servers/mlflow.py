"""MLFLOW_SERVER: any model in MLflow's own format, through its pyfunc interface.

    rows ─▶ a data frame, or an array ─▶ columns and types of the model's signature ─▶ predict

JSON has one type of number and an array has one type of value, so the signature decides what a value is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from infergraph.errors import MissingExtra, PayloadError
from infergraph.graph.servers.files import fetch, read_metadata
from infergraph.graph.servers.inputs import are_tensors, columns_of, input_faults, reading

_TRUTHS = {"True": True, "False": False, "true": True, "false": False, 1: True, 0: False}


class MLFlowServer:
    """Answers with what the model's `predict` gives; a data frame's columns become the answer's column names.

    The model's own environment is not built: what it needs must be installed here.

    Args:
        model_uri: the folder with the file `MLmodel`.
        xtype: `ndarray` hands the rows over as an array; anything else as a data frame with the request's names, as a
            model whose signature has columns gets them in either case.
        cache_dir: where a model from elsewhere is kept.
    """

    v2_metadata: ClassVar[Mapping[str, str]] = MappingProxyType({"platform": "mlflow"})

    def __init__(self, model_uri: str = "", xtype: str = "ndarray", cache_dir: str = "") -> None:
        self.model_uri = model_uri
        self.xtype = xtype
        self.cache_dir = cache_dir
        self._model: Any = None
        self._pandas: Any = None
        self._schema: Any = None
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
        self._pandas = pandas
        self._schema = self._model.metadata.get_input_schema()
        self._refusals = (MlflowException,)

    def predict(self, X: Any, names: Any = (), meta: Any = None) -> Any:
        """The model's answer for rows `X`, a data frame as it is, so that each answer has its own column names.

        Raises: PayloadError for input that does not fit the model, with MLflow's message or the column's name.
        """
        with input_faults("model", *self._refusals):
            return self._model.predict(self._input(X, list(names)))

    def _input(self, X: Any, names: list[str]) -> Any:
        takes_tensors = self._schema is not None and self._schema.is_tensor_spec()
        if are_tensors(X):
            if takes_tensors:
                return X
            X = self._pandas.DataFrame(columns_of(X))
        if takes_tensors:
            return self._tensor(X, names)
        if self._schema is None and self.xtype == "ndarray":
            return X
        frame = self._pandas.DataFrame(X)
        if names and len(names) != frame.shape[1]:
            raise PayloadError(f"{len(names)} names for rows of {frame.shape[1]} columns")
        if names:
            frame.columns = names
        return frame if self._schema is None else self._typed(frame)

    def _tensor(self, X: Any, names: list[str]) -> Any:
        specs = self._schema.inputs
        if len(specs) == 1 and isinstance(X, np.ndarray) and X.dtype.kind in "biuf":
            wanted = specs[0].type
            is_whole = wanted.kind not in "iu" or X.dtype.kind != "f" or bool(np.all(np.rint(X) == X))
            X = X.astype(wanted) if wanted.kind in "iuf" and is_whole else X
        if self.xtype == "ndarray":
            return X
        return self._pandas.DataFrame(X, columns=names or None)

    def _typed(self, frame: Any) -> Any:
        """`frame` with the columns of the signature by name, each of the declared type."""
        inputs = self._schema.inputs
        if self._schema.has_input_names() and _is_unnamed(frame.columns):
            required = [column for column in inputs if column.required]
            fitting = next((each for each in (inputs, required) if len(each) == frame.shape[1]), None)
            if fitting is None:
                wanted = ", ".join(column.name for column in inputs)
                raise PayloadError(
                    f"the model takes the columns {wanted}; the rows have {frame.shape[1]} without names"
                )
            frame.columns = [column.name for column in fitting]
        labels = [column.name for column in inputs] if self._schema.has_input_names() else list(frame.columns)
        for column, label in zip(inputs, labels, strict=False):
            if label in frame.columns:
                frame[label] = self._cast(frame[label], getattr(column.type, "name", ""), label)
        return frame

    def _cast(self, values: Any, kind: str, label: Any) -> Any:
        """One column as the type of the signature; unchanged where MLflow has a message of its own."""
        try:
            if kind in ("double", "float"):
                return self._pandas.to_numeric(values).astype("float64" if kind == "double" else "float32")
            if kind in ("integer", "long"):
                numbers = self._pandas.to_numeric(values)
                if numbers.dtype.kind == "f" and not numbers.isna().any():
                    if (numbers != numbers.round()).any():
                        raise ValueError("not all of them are whole numbers")
                    numbers = numbers.astype("int64")
                return numbers.astype("int32") if kind == "integer" and _fits(numbers) else numbers
            if kind == "boolean":
                return values.map(lambda value: _TRUTHS.get(value, value))
            if kind == "datetime":
                return self._pandas.to_datetime(values)
            if kind == "string":  # numbers stay numbers there, as in MLflow's own server
                return values if isinstance(values.dtype, self._pandas.StringDtype) else values.astype(object)
            if kind == "binary":
                return values.map(_bytes_of)
        except (ValueError, TypeError, OverflowError) as error:
            raise PayloadError(f"the column {label} cannot be read as {kind}: {error}") from error
        return values

    def init_metadata(self) -> dict[str, Any]:
        """What `metadata.yaml` beside the model says."""
        return read_metadata(self._place)


def _bytes_of(value: Any) -> Any:
    """Bytes in JSON are base64, as MLflow's own server takes them."""
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


def _is_unnamed(columns: Any) -> bool:
    """Whether columns have no names but their numbers, or the protocol's `t:0`, `t:1` and so on."""
    return all(name in (place, f"t:{place}") for place, name in enumerate(columns))


def _fits(numbers: Any) -> bool:
    return bool(numbers.dtype.kind in "iu" and numbers.between(-(2**31), 2**31 - 1).all())
