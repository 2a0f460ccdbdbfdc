"""The served unit as a model of the open inference protocol: its name, versions and tensors, and `infer`.

InferMessage ─▶ Model.infer ─▶ unit.answer ─▶ InferResponse
"""

from __future__ import annotations

from infergraph.errors import UnknownModel
from infergraph.message import Context, Method, PredictiveUnit, Runners
from infergraph.runner import Runner
from infergraph.wire.v2 import messages
from infergraph.wire.v2.messages import InferMessage
from infergraph.wire.v2.metadata import ModelMetadata, metadata_of
from infergraph.wire.v2.records import InferResponse

_ANSWERS_INFER = (Method.PREDICT, Method.TRANSFORM_INPUT, Method.TRANSFORM_OUTPUT)


class Model:
    """The unit as one model.

    Args:
        unit: answers it.
        runners: the runner of each method, once the unit is loaded.
        name: under which it is served.
    """

    def __init__(self, unit: PredictiveUnit, runners: Runners, name: str) -> None:
        self._unit = unit
        self._runners = runners
        self.name = name
        self._method = Method.PREDICT
        self._metadata: ModelMetadata | None = None

    async def metadata(self) -> ModelMetadata:
        """Versions, platform, inputs and outputs, as the unit declares them.

        Raises: NotReady until it is loaded.
        """
        if self._metadata is None:
            told = await self._unit.metadata()
            methods = self._unit.facts.methods
            self._method = next((each for each in _ANSWERS_INFER if each in methods), Method.PREDICT)
            self._metadata = metadata_of(self.name, told)
        return self._metadata

    def runner(self) -> Runner | None:
        """The runner of `infer`; None if it may wait."""
        return None if self._metadata is None else self._runners.get(self._method)

    def check_name(self, name: str) -> None:
        """Refuse another model.

        Raises: UnknownModel.
        """
        if name != self.name:
            raise UnknownModel(f"Request for unknown model: {name!r} is not found")

    async def check(self, name: str, version: str = "") -> ModelMetadata:
        """The metadata of the model of that name and version.

        Raises: UnknownModel if it is another one.
        """
        self.check_name(name)
        return self.known(version) or self._of_version(await self.metadata(), version)

    def known(self, version: str) -> ModelMetadata | None:
        """The metadata of that version; None until the unit is loaded.

        Raises: UnknownModel if there is no such version.
        """
        return self._metadata and self._of_version(self._metadata, version)

    def _of_version(self, metadata: ModelMetadata, version: str) -> ModelMetadata:
        if version and version != metadata.version:
            raise UnknownModel(f"Request for unknown model: {self.name!r} version {version} is not found")
        return metadata

    async def infer(self, message: InferMessage, context: Context, metadata: ModelMetadata) -> InferResponse:
        """The answer to a request.

        Raises: a Fault.
        """
        request = message.read()
        answer = await self._unit.answer(self._method, message, context)
        return messages.response_of(
            answer, request, name=self.name, version=metadata.version, declared=metadata.only_output
        )
