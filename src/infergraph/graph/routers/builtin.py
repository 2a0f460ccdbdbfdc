"""The implementations that need no component: SIMPLE_MODEL, SIMPLE_ROUTER, RANDOM_ABTEST, AVERAGE_COMBINER.

Source: the orchestrator specification, section 6. The reference's orchestrator runs only RANDOM_ABTEST and passes
the others through; they do here what their names say.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from infergraph.errors import GraphError, MethodMissing, PayloadError, RoutingError
from infergraph.graph.meta import join, meta_of
from infergraph.graph.spec import Node
from infergraph.message import (
    Answers,
    Around,
    Context,
    Encoding,
    Feedback,
    Message,
    Meta,
    Method,
    PredictiveUnit,
    Request,
)
from infergraph.wire.v2 import messages
from infergraph.wire.v2.records import TensorSet
from infergraph.wire.v2.tensors import Tensor, datatype_of

_log = logging.getLogger("infergraph.graph")


def applies(node: Node) -> bool:
    """Whether the node is one of these here, rather than a remote node whose type says what to call.

    An implementation beside a type and an endpoint of the same phase names what runs at that endpoint.
    """
    if not node.built_in:
        return False
    remote = node.endpoint is not None and node.endpoint.has_host
    kind, method = _TYPES[node.built_in]
    return not (remote and (node.type == kind or method in node.methods))


def build(node: Node, rng: random.Random) -> PredictiveUnit:
    """The unit of a node that `applies`.

    Args:
        rng: for RANDOM_ABTEST without a seed.
    Raises: GraphError if a parameter does not fit; the text names the node and the parameter.
    """
    return _UNITS[node.built_in](node, rng)


def phase(node: Node) -> Method:
    """The method that the node's built-in is for."""
    return _PHASES[node.built_in]


class Beside(Around):
    """A built-in for its own method, combined with a remote unit for the node's other methods."""

    def __init__(self, built_in: PredictiveUnit, elsewhere: PredictiveUnit, method: Method) -> None:
        super().__init__(elsewhere)
        self._built_in = built_in
        self._method = method

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The answer of the built-in or of the remote unit, by method."""
        return await self._unit_for(method).answer(method, request, context)

    def stream(self, method: Method, request: Request, context: Context) -> Answers:
        """The answers of the built-in or of the remote unit, by method."""
        return self._unit_for(method).stream(method, request, context)

    def _unit_for(self, method: Method) -> PredictiveUnit:
        return self._built_in if method is self._method else self.unit


class _BuiltIn(PredictiveUnit):
    """Base class of the built-in units: no state, always ready, an empty answer to feedback."""

    implementation = ""

    def __init__(self, node: Node, rng: random.Random) -> None:
        self.name = node.name

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The unit's only method, or the answer to a feedback.

        Raises: MethodMissing for any other.
        """
        if isinstance(request, Feedback):
            return Message.of([], Encoding.NDARRAY, meta={})
        raise MethodMissing(f"{self.implementation} has no method {method.value}", node=self.name)

    async def metadata(self, node: str | None = None, context: Context | None = None) -> Mapping[str, Any]:
        """Its name and implementation."""
        return {"name": self.name, "platform": self.implementation}


class SimpleModel(_BuiltIn):
    """Answers 0.1, 0.9, 0.5 for class0, class1, class2, whatever the request is."""

    implementation = "SIMPLE_MODEL"
    VALUES = (0.1, 0.9, 0.5)
    NAMES = ("class0", "class1", "class2")

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The three values, in the encoding of the request where that is an array, else as a tensor."""
        if method is not Method.PREDICT or not isinstance(request, Message):
            return await super().answer(method, request, context)
        try:
            encoding = request.encoding if request.encoding.is_array else Encoding.TENSOR
        except PayloadError:  # it would have answered all the same
            encoding = Encoding.TENSOR
        meta = join([meta_of(request)])
        if request.holds_tensors:
            given = messages.tensors_of(Message.of(np.array([self.VALUES]), encoding, names=self.NAMES))
            return Message.of(given, Encoding.TENSORS, meta=meta | messages.carried(meta_of(request)))
        return Message.of(np.array([self.VALUES]), encoding, names=self.NAMES, meta=meta)


class SimpleRouter(_BuiltIn):
    """Sends every request to child 0."""

    implementation = "SIMPLE_ROUTER"

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """Child 0."""
        if method is not Method.ROUTE:
            return await super().answer(method, request, context)
        return _chosen(0)


class RandomAbTest(_BuiltIn):
    """Chooses a child at random for each request.

    Parameters of the node: `weights` (one number for each child, separated by commas), or `ratioA` (the share of
    child 0; the rest goes to child 1), else all children alike; `seed` for draws that repeat.
    """

    implementation = "RANDOM_ABTEST"

    def __init__(self, node: Node, rng: random.Random) -> None:
        super().__init__(node, rng)
        given = {parameter.name: parameter.value for parameter in node.parameters}
        self._rng = rng
        if "seed" in given:
            self._rng = random.Random(int(_number(node, "seed", given["seed"])))
        children = sum(not child.shadow for child in node.children)
        self._unreadable = ""
        self._shares: Sequence[float] = ()
        if "weights" not in given and not _is_number(given.get("ratioA", "0")):
            # The reference takes such a graph and refuses its requests.
            self._unreadable = f"ratioA of node {node.name!r} is {given['ratioA']!r}, not a number"
            _log.warning("%s: its requests are refused", self._unreadable)
            return
        self._shares = _shares(node, given, children)

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The chosen child.

        Raises: RoutingError if `ratioA` is not a number.
        """
        if method is not Method.ROUTE:
            return await super().answer(method, request, context)
        if self._unreadable:
            raise RoutingError(self._unreadable, node=self.name)
        draw = self._rng.random()
        return _chosen(next((child for child, share in enumerate(self._shares) if draw < share), len(self._shares)))


class AverageCombiner(_BuiltIn):
    """The elementwise mean of the children's arrays, in the encoding and with the names of the first.

    Of named tensors (open inference protocol) it is the mean by name.
    """

    implementation = "AVERAGE_COMBINER"

    async def answer(self, method: Method, request: Request, context: Context) -> Message:
        """The mean.

        Raises: PayloadError if a child's answer is not an array of numbers, or two have different shapes.
        """
        if method is not Method.AGGREGATE or isinstance(request, Message | Feedback):
            return await super().answer(method, request, context)
        if not request:
            raise PayloadError(f"{self.name} has no answers to average", node=self.name)
        first = request[0]
        meta = join([meta_of(message) for message in request])
        if any(message.holds_tensors for message in request):
            return self._of_tensors(request, meta | messages.carried(meta_of(first)))
        arrays = [self._array(index, message) for index, message in enumerate(request)]
        return Message.of(self._mean(arrays), first.encoding, names=first.names, meta=meta)

    def _of_tensors(self, answers: Sequence[Message], meta: Meta) -> Message:
        sets = [messages.tensors_of(message) for message in answers]
        if all(len(given.tensors) == 1 and not given.is_mapping for given in sets):  # names do not matter
            return self._averaged(sets, [[given.tensors[0]] for given in sets], meta)
        first = [tensor.name for tensor in sets[0].tensors]
        columns = []
        for index, given in enumerate(sets):
            found = {tensor.name: tensor for tensor in given.tensors}
            if found.keys() != set(first):
                text = f"{self.name} cannot average tensors {first} of child 0 and {list(found)} of child {index}"
                raise PayloadError(text, node=self.name)
            columns.append([found[name] for name in first])
        return self._averaged(sets, columns, meta)

    def _averaged(self, sets: Sequence[TensorSet], answers: Sequence[Sequence[Tensor]], meta: Meta) -> Message:
        """The means of the children's tensors, which stand in one order, in the form of the first child's."""
        means = []
        for tensors in zip(*answers, strict=True):
            mean = self._mean([self._numbers(index, tensor) for index, tensor in enumerate(tensors)])
            means.append(tensors[0]._replace(array=mean, datatype=datatype_of(mean, tensors[0].name)))
        return Message.of(sets[0]._replace(tensors=means), Encoding.TENSORS, meta=meta)

    def _mean(self, arrays: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        for index, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                text = (
                    f"{self.name} cannot average shapes {arrays[0].shape} of child 0 and {array.shape} of child {index}"
                )
                raise PayloadError(text, node=self.name)
        return np.asarray(np.mean(arrays, axis=0))

    def _numbers(self, index: int, tensor: Tensor) -> np.ndarray[Any, Any]:
        if tensor.array.dtype.kind not in "biuf":
            text = f"{self.name} cannot average {tensor.name!r} of child {index}: {tensor.datatype.value} has no mean"
            raise PayloadError(text, node=self.name)
        return tensor.array

    def _array(self, index: int, message: Message) -> np.ndarray[Any, Any]:
        array = np.asarray(message.payload) if message.encoding.is_array else np.asarray(None)
        if array.dtype.kind not in "biuf":
            text = f"{self.name} cannot average the answer of child {index}: it is not an array of numbers"
            raise PayloadError(text, node=self.name)
        return array


_UNITS: dict[str, type[_BuiltIn]] = {
    unit.implementation: unit for unit in (SimpleModel, SimpleRouter, RandomAbTest, AverageCombiner)
}
_TYPES = {
    "SIMPLE_MODEL": ("MODEL", "MODEL"),
    "SIMPLE_ROUTER": ("ROUTER", "ROUTE"),
    "RANDOM_ABTEST": ("ROUTER", "ROUTE"),
    "AVERAGE_COMBINER": ("COMBINER", "AGGREGATE"),
}


_PHASES = {
    "SIMPLE_MODEL": Method.PREDICT,
    "SIMPLE_ROUTER": Method.ROUTE,
    "RANDOM_ABTEST": Method.ROUTE,
    "AVERAGE_COMBINER": Method.AGGREGATE,
}


def _chosen(child: int) -> Message:
    return Message.of([[child]], Encoding.NDARRAY)


def _shares(node: Node, given: Mapping[str, str], children: int) -> Sequence[float]:
    """The upper end of each child's part of [0, 1); a draw above the last one means the child after it."""
    if "weights" in given:
        weights = [_number(node, "weights", part) for part in given["weights"].split(",")]
        if len(weights) != children or min(weights) < 0 or not sum(weights) > 0:
            text = f"weights of node {node.name!r} must be {children} numbers, none below 0 and not all 0"
            raise GraphError(text, node=node.name)
        ends = [end / sum(weights) for end in accumulate(weights)]
        last = max(child for child, weight in enumerate(weights) if weight)
        return [*ends[:last], 1.0]
    if "ratioA" in given:
        return [float(given["ratioA"])]
    return [(child + 1) / children for child in range(children - 1)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(node: Node, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise GraphError(f"{name} of node {node.name!r} is {text!r}, not a number", node=node.name) from None
    if number != number or number in (float("inf"), float("-inf")):
        raise GraphError(f"{name} of node {node.name!r} is {text!r}, not a number", node=node.name)
    return number
