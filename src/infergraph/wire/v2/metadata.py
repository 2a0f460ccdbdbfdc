"""Metadata in the open inference protocol's form, of what a unit declares in Seldon's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from infergraph.errors import PayloadError
from infergraph.wire.v2.hook_values import COLUMN_NAMES, CONTENT_TYPE, JSON_TYPES
from infergraph.wire.v2.tensors import NO_PARAMETERS, Datatype, Tensor

_CONTENT_TYPES = {"strData": "str", "jsonData": "json", "binData": "base64"}
_ARRAYS = frozenset({"tensor", "ndarray", "tftensor"})
_DATATYPES = tuple(kind.value for kind in Datatype)
_TEXTS = {"json": "{}", "base64": "dGV4dA==", "datetime": "2026-01-31T12:00:00"}
_EXAMPLE_ELEMENTS = 256


class TensorMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input or output: -1 in the shape is a free axis."""

    name: str
    datatype: str
    shape: list[int] = msgspec.field(default_factory=list)
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)

    def example(self) -> dict[str, Any]:
        """An example of such a tensor as JSON: free axes have size 1, and all axes where it would be large."""
        shape = [max(1, size) for size in self.shape]
        if math.prod(shape) > _EXAMPLE_ELEMENTS:
            shape = [1] * len(shape)
        element: Any = False if self.datatype == "BOOL" else 0
        if self.datatype == "BYTES":
            element = _TEXTS.get(self.parameters.get(CONTENT_TYPE, ""), "text")
        data = [element] * math.prod(shape)
        return {"name": self.name, "shape": shape, "datatype": self.datatype, "data": data}

    def check(self, tensor: Tensor) -> None:
        """Refuse a tensor of another datatype or shape; a free axis takes any size.

        Raises: PayloadError that names the tensor.
        """
        if tensor.datatype.value != self.datatype:
            raise PayloadError(f"input {self.name!r} is {tensor.datatype.value}; the model takes {self.datatype}")
        shape = tensor.array.shape
        if len(shape) != len(self.shape) or any(
            wanted not in (-1, size) for wanted, size in zip(self.shape, shape, strict=True)
        ):
            raise PayloadError(f"input {self.name!r} has shape {list(shape)}; the model takes {self.shape}")

    def configuration(self) -> dict[str, Any]:
        """The tensor in a model configuration, where BYTES is called STRING."""
        kind = "STRING" if self.datatype == "BYTES" else self.datatype
        return {"name": self.name, "data_type": f"TYPE_{kind}", "dims": self.shape}


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model's metadata; nothing declared is an empty list or text.

    Args:
        version: the one that is served, which is the last one; empty where there is none.
        only_output: the name of the only declared output; empty otherwise.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    version: str = ""
    only_output: str = ""

    @property
    def json_inputs(self) -> frozenset[str]:
        """The inputs that are JSON, so that one element alone is not a list of one."""
        return frozenset(each.name for each in self.inputs if each.parameters.get(CONTENT_TYPE) in JSON_TYPES)

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Refuse inputs other than the declared ones, where any are declared.

        Raises: PayloadError that names the tensor.
        """
        if not self.inputs:
            return
        given = {tensor.name: tensor for tensor in inputs}
        for declared in self.inputs:
            if declared.name not in given:
                raise PayloadError(f"input {declared.name!r} of model {self.name!r} is missing")
            declared.check(given.pop(declared.name))
        for name in given:
            raise PayloadError(f"unexpected inference input {name!r} for model {self.name!r}")

    def document(self) -> dict[str, Any]:
        """The JSON object."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        del document["version"], document["only_output"]
        for tensor in (*document["inputs"], *document["outputs"]):
            tensor.setdefault("shape", [])
        return document

    def configuration(self) -> dict[str, Any]:
        """The model configuration of Triton, as far as it says something here."""
        return {
            "name": self.name,
            "platform": self.platform,
            "backend": "python",
            "max_batch_size": 0,
            "input": [tensor.configuration() for tensor in self.inputs],
            "output": [tensor.configuration() for tensor in self.outputs],
        }


def metadata_of(name: str, told: Mapping[str, Any], more: Mapping[str, Any] = NO_PARAMETERS) -> ModelMetadata:
    """The metadata of a model; what cannot be read, as a remote node may tell anything, is left out.

    Args:
        name: under which it is served.
        told: its own metadata as Seldon's protocol has them, of a component or of a graph.
        more: members that it has where those say nothing.
    """
    told = {**more, **{member: value for member, value in told.items() if value}}
    versions = [str(version) for version in _listed(told.get("versions")) if version]
    outputs = _tensors(told.get("outputs", told.get("graphoutputs")), "output")
    return ModelMetadata(
        name=name,
        versions=versions,
        platform=str(told.get("platform") or ""),
        inputs=_tensors(told.get("inputs", told.get("graphinputs")), "input"),
        outputs=outputs,
        version=versions[-1] if versions else "",
        only_output=outputs[0].name if len(outputs) == 1 else "",
    )


def _tensors(entries: object, prefix: str) -> list[TensorMetadata]:
    found = (
        _tensor(entry, f"{prefix}-{place}")
        for place, entry in enumerate(_listed(entries))
        if isinstance(entry, Mapping)
    )
    return [tensor for tensor in found if tensor is not None]


def _tensor(entry: Mapping[str, Any], by_place: str) -> TensorMetadata | None:
    kind = entry.get("messagetype")
    if kind is None:
        datatype = entry.get("datatype")
        if datatype not in _DATATYPES:
            return None
        return TensorMetadata(
            str(entry.get("name") or by_place),
            datatype,
            _sizes(entry.get("shape")),
            _plain(entry.get("parameters")),
        )
    if not isinstance(kind, str):
        return None
    if kind in _ARRAYS:
        schema = entry.get("schema")
        return _array(schema if isinstance(schema, Mapping) else {}, by_place)
    content_type = _CONTENT_TYPES.get(kind)
    return None if content_type is None else TensorMetadata(by_place, "BYTES", [1], {CONTENT_TYPE: content_type})


def _array(schema: Mapping[str, Any], by_place: str) -> TensorMetadata:
    shape = _sizes(schema.get("shape"))
    shape = [-1, *shape] if len(shape) < 2 else [shape[0] or -1, *shape[1:]]
    names = [str(name) for name in _listed(schema.get("names"))]
    parameters = {COLUMN_NAMES: json.dumps(names, ensure_ascii=False, separators=(",", ":"))} if names else {}
    return TensorMetadata(by_place, "FP64", shape, parameters)


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _sizes(shape: object) -> list[int]:
    """A shape whose sizes are whole numbers from -1 on; empty if it is anything else."""
    sizes = _listed(shape)
    return list(sizes) if all(type(size) is int and size >= -1 for size in sizes) else []


def _plain(parameters: object) -> dict[str, Any]:
    """The texts, numbers and booleans among the parameters."""
    if not isinstance(parameters, Mapping):
        return {}
    return {str(name): value for name, value in parameters.items() if isinstance(value, str | int | float)}
