"""Process a chunk's lines with a unit: every line gets one answer, or its own error.

block ─▶ rows ─▶ unit.answer ─▶ one answer a row ─▶ lines
                    │ an exception, or an answer without a row for each row
                    └─▶ bisect: retry both halves, down to the failing rows

For a retry the rows are decoded again from the lines, since a unit may modify its input.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import numpy as np

from infergraph.errors import ComponentError, Fault, PayloadError, UploadTooLarge
from infergraph.message import Context, Encoding, Message, Method, PredictiveUnit, SoleMessage
from infergraph.net.backoff import Backoff
from infergraph.net.retry import Retry
from infergraph.settings import NanPolicy, RowMode
from infergraph.tasks.engines.messages import Lines
from infergraph.wire import error_lines, json_codec, jsonl
from infergraph.wire.arrays import is_square
from infergraph.wire.json_text import JsonOptions
from infergraph.wire.jsonl import Bad
from infergraph.wire.v2 import joining
from infergraph.wire.v2 import json as v2_json
from infergraph.wire.v2.messages import InferMessage, response_of, tensors_of
from infergraph.wire.v2.metadata import ModelMetadata, metadata_of
from infergraph.wire.v2.records import InferRequest, TensorSet

_RETRIES = 3
_BACKOFF = Backoff(first_s=0.6, limit_s=4.0)
_MESSAGES_AT_ONCE = 16
_JSON_ONLY = InferRequest(inputs=())

Sleep = Callable[[float], Awaitable[None]]


class RowReader(ABC):
    """Converts lines to the unit's input, and its answers back to lines.

    Args:
        nan: what NaN and the infinities in an answer become.
    """

    def __init__(self, unit: PredictiveUnit, sleep: Sleep = asyncio.sleep, nan: NanPolicy = NanPolicy.ERROR) -> None:
        self._unit = unit
        self._retry = retry_of(sleep)
        self._nan = nan

    async def answer(self, block: bytes, first: int, charset: str = "") -> Lines:
        """Answer a block of complete lines.

        Args:
            first: the number of its first line.
            charset: of the received file; empty for UTF-8.
        """
        if first == 1:
            block = block.removeprefix(jsonl.BOM)
        raw, values = jsonl.read(block, charset)
        if self.are_good(values):
            return _joined(raw, await self.ask(values, raw), first, charset)
        rows = [value if isinstance(value, Bad) else self.check(value) for value in values]
        good = [place for place, row in enumerate(rows) if not isinstance(row, Bad)]
        answers = await self.ask([rows[place] for place in good], [raw[place] for place in good]) if good else []
        for place, answer in zip(good, answers, strict=True):
            rows[place] = answer
        return _joined(raw, rows, first, charset)

    @abstractmethod
    def are_good(self, values: list[Any]) -> bool:
        """Whether all these values are valid rows; a quick check of a whole chunk."""

    @abstractmethod
    def check(self, value: Any) -> Any:
        """The row of a line's JSON value, or `Bad`."""

    @abstractmethod
    async def ask(self, rows: list[Any], raw: Sequence[bytes]) -> list[Any]:
        """For each row its answer as JSON bytes, or `Bad`.

        Args:
            rows: may be modified by the unit.
            raw: the line of each row.
        """


class _BatchReader(RowReader):
    """Sends rows to the unit together, in one message."""

    _is_row_first = False
    """Whether an answer has shown that its first axis is the row, and can be nothing else."""

    async def ask(self, rows: list[Any], raw: Sequence[bytes]) -> list[Any]:
        given = [rows]

        async def attempt() -> list[Any]:
            return await self._once(given.pop() if given else _read_again(raw))

        try:
            return await self._retry.call(attempt)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - bisecting finds the failing row
            return await self._halves(raw, error)

    async def _halves(self, raw: Sequence[bytes], error: BaseException) -> list[Any]:
        """Retry both halves of rows that failed together; for a single row, its error."""
        if len(raw) == 1:
            return [Bad(_reason(error))]
        middle = len(raw) // 2
        return await self._half(raw[:middle]) + await self._half(raw[middle:])

    async def _half(self, raw: Sequence[bytes]) -> list[Any]:
        try:
            return await self._once(_read_again(raw))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a unit raises is that row's error
            return await self._halves(raw, error)

    async def _once(self, rows: list[Any]) -> list[Any]:
        """Call the unit once; each row's answer as JSON bytes, or `Bad`. Raises: what the unit raises."""
        answer = await self._unit.answer(Method.PREDICT, self.message(rows), Context())
        # A component's list result is in JSON's own types already, and has no other owner.
        return jsonl.write(self._rows_of(answer, len(rows)), self._nan, is_json=isinstance(answer, SoleMessage))

    def _rows_of(self, answer: Message, count: int) -> Any:
        """A list or array with one answer for each row. Raises: ComponentError if the answer is not one."""
        payload = answer.payload
        if not isinstance(payload, list | tuple) and not (isinstance(payload, np.ndarray) and payload.ndim):
            raise ComponentError(f"the unit answered {_kind(payload)} to {count} rows, expected a list of {count}")
        if len(payload) != count:
            hint = "; the first axis of an answer must be the row" if len(payload) > count else ""
            raise ComponentError(f"the unit answered {len(payload)} rows to {count}{hint}")
        if not self._is_row_first:
            self._is_row_first = not is_square(payload)
            if not self._is_row_first and count > 1:
                raise ComponentError("the unit's answer may have its rows in another axis than the first")
        if isinstance(payload, np.ndarray) and payload.dtype.kind in "fiubU" and payload.ndim <= 2:
            return payload
        return list(payload)

    @abstractmethod
    def message(self, rows: list[Any]) -> Message:
        """The rows as one message."""


class ObjectRows(_BatchReader):
    """Each line is an object; the unit gets a list of dicts, and returns a list of the same length."""

    def are_good(self, values: list[Any]) -> bool:
        return set(map(type, values)) == {dict}

    def check(self, value: Any) -> Any:
        return value if isinstance(value, dict) else Bad(_unexpected(value, "an object", RowMode.INSTANCE))

    def message(self, rows: list[Any]) -> Message:
        return Message.of(rows, Encoding.JSON)


class InstanceRows(_BatchReader):
    """Each line is one feature row, a list of numbers; the unit gets them stacked, axes (row, feature, …)."""

    def are_good(self, values: list[Any]) -> bool:
        return set(map(type, values)) == {list} and all(values)

    def check(self, value: Any) -> Any:
        good = isinstance(value, list) and bool(value)
        return value if good else Bad(_unexpected(value, "a list of numbers", RowMode.OBJECT))

    def message(self, rows: list[Any]) -> Message:
        try:
            stacked = np.array(rows)
        except ValueError as error:
            raise PayloadError(f"the rows have different shapes: {error}") from error
        if stacked.dtype.kind not in "iufb":
            raise PayloadError("the line is not a list of numbers")
        return Message.of(stacked, Encoding.NDARRAY)


class FeatureRows(InstanceRows):
    """Each row of a table is one feature row: the unit gets the numbers of its columns, and their names."""

    def are_good(self, values: list[Any]) -> bool:
        return set(map(type, values)) == {dict}

    def check(self, value: Any) -> Any:
        return value if isinstance(value, dict) else Bad(_unexpected(value, "an object", RowMode.INSTANCE))

    def message(self, rows: list[Any]) -> Message:
        stacked = super().message([[_number(name, value) for name, value in row.items()] for row in rows])
        return Message.of(stacked.payload, Encoding.NDARRAY, names=list(rows[0]))


class MessageRows(RowReader):
    """Each line is a complete message, sent on its own; several concurrently."""

    def are_good(self, values: list[Any]) -> bool:
        return set(map(type, values)) == {dict}

    def __init__(self, unit: PredictiveUnit, sleep: Sleep = asyncio.sleep, nan: NanPolicy = NanPolicy.ERROR) -> None:
        super().__init__(unit, sleep, nan)
        self._room = asyncio.Semaphore(_MESSAGES_AT_ONCE)
        self._options = JsonOptions(nan=nan)

    def check(self, value: Any) -> Any:
        return value if isinstance(value, dict) else Bad(_unexpected(value, "a message", RowMode.INSTANCE))

    async def ask(self, rows: list[Any], raw: Sequence[bytes]) -> list[Any]:
        return await asyncio.gather(*map(self._one, rows, raw))

    async def _one(self, row: Any, raw: bytes) -> Any:
        given = [row]

        async def attempt() -> bytes:
            message = json_codec.of_document(given.pop() if given else jsonl.read_line(raw))
            answer = await self._unit.answer(Method.PREDICT, message, Context())
            return json_codec.encode(answer, self._options).replace(b"\n", b" ")

        async with self._room:
            try:
                return await self._retry.call(attempt)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a unit raises is that row's error
                return Bad(_reason(error))


class V2Rows(RowReader):
    """Each line is a request of the open inference protocol; like ones are joined along their first axis."""

    def __init__(self, unit: PredictiveUnit, sleep: Sleep = asyncio.sleep, nan: NanPolicy = NanPolicy.ERROR) -> None:
        super().__init__(unit, sleep, nan)
        self._room = asyncio.Semaphore(_MESSAGES_AT_ONCE)
        self._options = JsonOptions(nan=nan)
        self._model: ModelMetadata | None = None
        self._joins = True

    def are_good(self, values: list[Any]) -> bool:
        return set(map(type, values)) == {dict}

    def check(self, value: Any) -> Any:
        return value if isinstance(value, dict) else Bad(_unexpected(value, "a request", RowMode.INSTANCE))

    async def ask(self, rows: list[Any], raw: Sequence[bytes]) -> list[Any]:
        answers: list[Any] = [None] * len(raw)
        alike: dict[Hashable, list[int]] = {}
        try:
            as_json = (await self._known()).json_inputs
        except Fault as fault:
            return [Bad(_reason(fault))] * len(raw)
        for place, line in enumerate(raw):
            try:
                kind = joining.kind_of(InferMessage(line, v2_json.decode).content, as_json)
            except (PayloadError, UploadTooLarge) as fault:
                answers[place] = Bad(_reason(fault))
            else:
                alike.setdefault(place if kind is None else kind, []).append(place)

        async def several(places: list[int]) -> None:
            written = await self._several([raw[place] for place in places])
            for place, answer in zip(places, written, strict=True):
                answers[place] = answer

        await asyncio.gather(*map(several, alike.values()))
        return answers

    async def _known(self) -> ModelMetadata:
        """Name, version and tensors of the unit, as the server has them."""
        if self._model is None:
            facts = self._unit.facts
            told = await self._unit.metadata()
            self._model = metadata_of(facts.deployment or self._unit.name, told, facts.v2_metadata)
        return self._model

    async def _several(self, raw: Sequence[bytes]) -> list[Any]:
        """The answers to like lines, in one call where the unit answers a row for each row; else one by one."""
        if len(raw) > 1 and self._joins:
            with suppress(Exception, SystemExit):  # each half is asked again, down to the lines that fail
                if written := await self._joined(raw):
                    return written
            middle = len(raw) // 2
            return await self._several(raw[:middle]) + await self._several(raw[middle:])
        return await asyncio.gather(*map(self._alone, raw))

    async def _alone(self, line: bytes) -> Any:
        try:
            answer, (request,) = await self._asked([line])
            return self._written(answer, request)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a unit raises is that row's error
            return Bad(_reason(error))

    async def _joined(self, raw: Sequence[bytes]) -> list[Any] | None:
        """The answers to lines asked in one call; None if they cannot be told apart."""
        answer, requests = await self._asked(raw)
        given = tensors_of(answer)
        sizes = [joining.rows_in(TensorSet(request.inputs)) for request in requests]
        # What is said of the call as a whole, as tags do, would be another in other company.
        self._joins = joining.has_rows(given, sum(sizes)) and not joining.says_more(given, answer.meta)
        if not self._joins or joining.is_ambiguous(given):
            return None
        ends = list(accumulate(sizes))
        parts = [joining.part(given, slice(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
        shown = [Message.of(part, Encoding.TENSORS, meta=answer.meta) for part in parts]
        return [self._written(part, request) for part, request in zip(shown, requests, strict=True)]

    async def _asked(self, raw: Sequence[bytes]) -> tuple[Message, list[InferRequest]]:
        """The answer to the lines in one call, and the requests that they are."""

        async def attempt() -> tuple[Message, list[InferRequest]]:
            messages = [InferMessage(line, v2_json.decode) for line in raw]
            requests = [message.read() for message in messages]
            message = messages[0] if len(raw) == 1 else SoleMessage(joining.joined([each.content for each in messages]))
            return await self._unit.answer(self._unit.facts.infer_method, message, Context()), requests

        async with self._room:
            return await self._retry.call(attempt)

    def _written(self, answer: Message, request: InferRequest) -> bytes:
        """The line of an answer: JSON alone, with the id that its request has."""
        assert self._model is not None
        name, version, declared = self._model.name, self._model.version, self._model.only_output
        response = response_of(answer, request, name=name, version=version, declared=declared)
        return v2_json.encode(response, _JSON_ONLY, self._options).head


class NoRows(RowReader):
    """Refuses every line, since the unit declares an unknown row mode."""

    def are_good(self, values: list[Any]) -> bool:
        return False

    def check(self, value: Any) -> Any:
        modes = ", ".join(mode.value for mode in _READERS)
        return Bad(f"task_rows of {self._unit.name} is {self._unit.task_rows!r}, expected one of {modes}")

    async def ask(self, rows: list[Any], raw: Sequence[bytes]) -> list[Any]:
        return []


_READERS: dict[RowMode, type[RowReader]] = {
    RowMode.OBJECT: ObjectRows,
    RowMode.INSTANCE: InstanceRows,
    RowMode.MESSAGE: MessageRows,
    RowMode.V2: V2Rows,
}


def row_reader(
    unit: PredictiveUnit,
    mode: RowMode,
    sleep: Sleep = asyncio.sleep,
    *,
    nan: NanPolicy = NanPolicy.ERROR,
    is_table: bool = False,
) -> RowReader:
    """The reader for `mode`; AUTO is what the started unit declares as `task_rows`, else OBJECT.

    Args:
        is_table: whether the lines are rows of a table.
    """
    if mode is RowMode.AUTO:
        declared: dict[str | None, RowMode] = {known.value: known for known in _READERS}
        declared[None] = RowMode.OBJECT
        mode = declared.get(unit.task_rows, RowMode.AUTO)
    if is_table and mode is RowMode.INSTANCE:
        return FeatureRows(unit, sleep, nan)
    return _READERS.get(mode, NoRows)(unit, sleep, nan)


def retry_of(sleep: Sleep = asyncio.sleep) -> Retry:
    """How a row is asked again, of a unit that is unreachable or overloaded for a moment."""
    return Retry(retries=_RETRIES, backoff=_BACKOFF, sleep=sleep)


def _read_again(raw: Sequence[bytes]) -> list[Any]:
    """Decode again lines that are known to be valid rows."""
    return jsonl.read(b"\n".join(raw))[1]


def _joined(raw: Sequence[bytes], lines: list[Any], first: int, charset: str) -> Lines:
    errors = []
    if Bad in set(map(type, lines)):
        for place, line in enumerate(lines):
            if isinstance(line, Bad):
                lines[place] = error_lines.error_line(first + place, line.reason, raw[place], charset)
                errors.append(lines[place])
    lines.append(b"")
    failed = len(errors)
    errors.append(b"")
    return Lines(b"\n".join(lines), b"\n".join(errors), failed, len(raw))


def _reason(error: BaseException) -> str:
    """The message of an error, with its class if the message alone, as a KeyError's, is not sufficient."""
    text = str(error) or type(error).__name__
    cause = error.__cause__ if isinstance(error, ComponentError) else None
    if isinstance(cause, KeyError):
        return f"{type(cause).__name__}: {text}"
    return text if isinstance(error, Fault) else f"{type(error).__name__}: {text}"


def _number(column: str, value: Any) -> Any:
    """A value of a table as a number: NaN for a missing one. Raises: PayloadError naming the column."""
    if value is None or value == "":
        return float("nan")
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.isdecimal() else float(value)
    except ValueError as error:
        raise PayloadError(f"the column {column!r} holds {value!r:.80}, which is not a number") from error


def _unexpected(value: Any, expected: str, other: RowMode) -> str:
    """What is wrong with a line, and the setting that may help."""
    text = f"the line is {_kind(value)}, expected {expected}"
    fits = isinstance(value, list if other is RowMode.INSTANCE else dict)
    return f"{text} (task_rows={other.value} takes such lines)" if fits else text


def _kind(value: Any) -> str:
    """The JSON type of a value, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), f"a {type(value).__name__}")
