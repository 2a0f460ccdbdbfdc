"""A graph as one model of the open inference protocol, whose nodes have metadata and readiness of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from infergraph.errors import Fault, GraphError, UnknownModel
from infergraph.message import Context, Message, Method
from infergraph.runner import Runner
from infergraph.serving.readiness_gate import ReadinessGate
from infergraph.serving.v2.model import Model
from infergraph.wire.v2 import messages
from infergraph.wire.v2.metadata import ModelMetadata, metadata_of
from infergraph.wire.v2.records import InferRequest, InferResponse


class GraphModel(Model):
    """The graph as one model. Of several predictors, each is one too, and the deployment shares out the requests.

    Args:
        relays: the graph passes bodies of remote nodes on as they are, so a name in a path is the nodes'.
        predictors: the names of several predictors; empty for a single one.
        root: the name of the first node, by which another graph calls this one as its node; empty for none.
    """

    is_graph = True

    def __init__(
        self, unit: ReadinessGate, name: str, *, relays: bool = False, predictors: tuple[str, ...] = (), root: str = ""
    ) -> None:
        super().__init__(unit, name)
        self.relays = relays
        self._predictors = predictors
        self._root = root
        self._bare = ModelMetadata(name, [], "", [], [])
        self._only_output: str | None = None

    def runner(self) -> Runner | None:
        """The runner of `infer`; None if it may wait."""
        return self._unit.runners.get(Method.PREDICT)

    def forget(self) -> None:
        """Read the metadata anew, since the graph is another one."""
        self._only_output = None

    def names(self) -> list[str]:
        """The model, and the predictors where there are several."""
        return [self.name, *self._predictors]

    def address(self, name: str) -> str:
        """The predictor that a request names, or the model's name at all nodes of a graph that relays; empty for the
        graph itself.

        Raises: UnknownModel.
        """
        if name == self.name:
            return ""
        if name in self._predictors or self.relays:
            return name
        if name and name == self._root:
            return ""
        raise UnknownModel(f"Request for unknown model: {name!r} is not found")

    def check_name(self, name: str) -> None:
        """Refuse another model, and a graph that was unloaded.

        Raises: UnknownModel.
        """
        self._check_there(name)
        self.address(name)

    def known(self, version: str) -> ModelMetadata | None:
        """What `infer` needs of the metadata: nothing, so that no node has to be asked.

        Raises: UnknownModel for any version: a graph has none.
        """
        return self._of_version(self._bare, version)

    async def metadata(self) -> ModelMetadata:
        """Inputs of the first node and outputs of the last, as they are now.

        Raises: NotReady until it is loaded; the fault of a node without metadata.
        """
        found = metadata_of(self.name, await self._unit.metadata())
        self._only_output = found.only_output
        return found

    async def described(self, name: str, version: str = "") -> ModelMetadata:
        """The metadata of the graph, or of the node or predictor of that name.

        Raises: UnknownModel if there is none.
        """
        self._check_there(name)
        if name == self.name:
            return self._of_version(await self.metadata(), version)
        try:
            found = metadata_of(name, await self._unit.metadata(name))
        except GraphError as fault:
            raise UnknownModel(f"Request for unknown model: {name!r} is not found") from fault
        return self._of_version(found, version)

    async def is_ready(self, name: str, version: str, probe: Callable[[], Awaitable[bool]]) -> bool:
        """Whether the graph, or the node of that name alone, can answer.

        Raises: UnknownModel if there is none.
        """
        self._check_there(name)
        if name in self.names():
            self._of_version(self._bare, version)
            return await probe()
        try:
            await self._unit.status(name, Context())
        except GraphError as fault:
            raise UnknownModel(f"Request for unknown model: {name!r} is not found") from fault
        except Fault:
            return False
        return True

    async def finished(
        self, answer: Message, request: InferRequest, metadata: ModelMetadata, *, is_hop: bool = False
    ) -> InferResponse:
        """The graph's answer in the form of the protocol.

        Raises: PayloadError for a requested output that there is not; ComponentError for what is no output.
        """
        declared = await self._declared() if messages.is_unnamed(answer) else ""
        return messages.response_of(answer, request, name=self.name, version="", declared=declared, is_hop=is_hop)

    async def _declared(self) -> str:
        """The name that the last node declares for its only output; empty if it does not say."""
        if self._only_output is None:
            try:
                await self.metadata()
            except Fault:
                return ""
        return self._only_output or ""
