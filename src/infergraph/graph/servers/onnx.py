"""ONNX_SERVER: a model in the ONNX format, on onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from infergraph.errors import MissingExtra, PayloadError, TargetError
from infergraph.graph.servers.files import fetch, model_file, read_metadata
from infergraph.graph.servers.inputs import input_faults, reading

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_DTYPES: dict[str, type] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
}
_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
} | {f"tensor({kind}int{bits})": f"{kind.upper()}INT{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)}


class ONNXServer:
    """Answers with one output of the model; a JSON object as input is answered with all outputs by name.

    An array goes to the model's only input, or, where there are as many inputs as columns, column by column. A JSON
    object gives each input by its name. In the open inference protocol tensors go to the inputs of their names, and all
    outputs are answered, or the one that `output` names.

    Args:
        model_uri: the folder of `model.onnx` (or of the only .onnx file), or that file.
        output: which output to answer with; by default the one called probabilities or the like, else the first.
        threads: for one prediction; 0 leaves it to the runtime.
        cache_dir: where a model from elsewhere is kept.
    """

    def __init__(self, model_uri: str = "", output: str = "", threads: int = 0, cache_dir: str = "") -> None:
        self.model_uri = model_uri
        self.output = output
        self.threads = threads
        self.cache_dir = cache_dir
        self.v2_metadata: dict[str, Any] = {"platform": "onnx"}
        self._has_choice = bool(output)
        self._session: Any = None
        self._refusals: tuple[type[Exception], ...] = ()

    @cached_property
    def _place(self) -> Path:
        return fetch(self.model_uri, self.cache_dir)

    def load(self) -> None:
        """Read the model.

        Raises:
            MissingExtra: onnxruntime is not installed.
            TargetError: there is no model, it cannot be read, or it has no output of the name that was asked for.
        """
        try:
            import onnxruntime
            from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
        except ImportError as error:
            raise MissingExtra.of("onnxruntime", "onnx", "ONNX_SERVER") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        present = onnxruntime.get_available_providers()
        providers = [provider for provider in _PROVIDERS if provider in present]
        path = model_file(self._place, "model.onnx", (".onnx",))
        with reading(path):
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self._inputs = session.get_inputs()
        self._outputs = [output.name for output in session.get_outputs()]
        self.output = self.output or next((name for name in self._outputs if "prob" in name), self._outputs[0])
        if self.output not in self._outputs:
            raise TargetError(f"the model has no output {self.output!r}; it has {', '.join(self._outputs)}")
        self._answered = [self.output] if self._has_choice else self._outputs
        outputs = [each for each in session.get_outputs() if each.name in self._answered]
        self.v2_metadata |= {"inputs": _declared(self._inputs), "outputs": _declared(outputs)}
        self._session, self._refusals = session, (InvalidArgument,)

    def predict(self, X: Any, names: Sequence[str] = (), meta: Any = None) -> Any:
        """The model's answer for rows `X`.

        Raises: PayloadError for input that does not fit the model's inputs.
        """
        with input_faults("model", *self._refusals):
            if meta and "inputs" in meta:
                return self._tensors(X)
            if isinstance(X, dict):
                answers = self._session.run(self._outputs, self._by_name(X))
                return {name: _array(answer).tolist() for name, answer in zip(self._outputs, answers, strict=True)}
            (answer,) = self._session.run([self.output], self._by_column(np.asarray(X), list(names)))
        return _array(answer)

    def _tensors(self, X: Any) -> Any:
        """The answer to named tensors, or to the only one, whatever its name."""
        sole = next(iter(X.values())) if isinstance(X, dict) and len(X) == 1 else X
        one = len(self._inputs) == 1 and not isinstance(sole, dict)
        given = {self._inputs[0].name: _cast(sole, self._inputs[0])} if one else self._by_name(X)
        answers = self._session.run(self._answered, given)
        if len(answers) == 1:
            return _array(answers[0])
        return {name: _array(answer) for name, answer in zip(self._answered, answers, strict=True)}

    def _by_name(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = {entry.name: entry for entry in self._inputs}
        if set(given) != set(wanted):
            raise PayloadError(f"the model's inputs are {', '.join(wanted)}, not {', '.join(given) or 'none'}")
        return {name: _cast(value, wanted[name]) for name, value in given.items()}

    def _by_column(self, rows: Any, names: list[str]) -> dict[str, Any]:
        if len(self._inputs) == 1:
            return {self._inputs[0].name: _cast(rows, self._inputs[0])}
        if rows.ndim != 2 or rows.shape[1] != len(self._inputs):
            inputs = ", ".join(entry.name for entry in self._inputs)
            raise PayloadError(f"the model has the inputs {inputs}; an array of shape {list(rows.shape)} does not fit")
        order = [entry.name for entry in self._inputs]
        places = [names.index(name) for name in order] if set(order) == set(names) else range(len(order))
        return {
            entry.name: _cast(rows[:, place : place + 1], entry)
            for entry, place in zip(self._inputs, places, strict=True)
        }

    def init_metadata(self) -> dict[str, Any]:
        """What `metadata.yaml` beside the model says."""
        return read_metadata(self._place)


def _cast(value: Any, entry: Any) -> Any:
    dtype = _DTYPES.get(entry.type)
    if dtype is None:
        raise PayloadError(f"the input {entry.name} is a {entry.type}, which cannot be sent")
    array: Any = np.asarray(value, dtype=dtype)
    return array.astype(object) if dtype is np.str_ else array


def _declared(entries: Sequence[Any]) -> list[dict[str, Any]]:
    """Inputs or outputs as the open inference protocol describes them; a class's probabilities are rows of numbers."""
    return [
        {"name": entry.name, "datatype": _DATATYPES.get(entry.type, "FP64"), "shape": _shape(entry)}
        for entry in entries
    ]


def _shape(entry: Any) -> list[int]:
    """The shape, -1 for each free axis."""
    if not entry.type.startswith("tensor"):
        return [-1, -1]
    return [size if isinstance(size, int) and size >= 0 else -1 for size in entry.shape]


def _array(answer: Any) -> Any:
    """An output as an array; a list of maps from class to probability becomes a row for each, classes in order."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        classes = sorted(answer[0])
        return np.array([[row[label] for label in classes] for row in answer])
    return np.asarray(answer)
