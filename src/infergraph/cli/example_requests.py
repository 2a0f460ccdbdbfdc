"""The requests of `doctor`: rows and messages that suit the endpoint's metadata, or each kind in turn.

/metadata ─▶ the kind of input ─▶ records · lists of numbers · messages      unknown ─▶ each of them, in turn
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from infergraph.errors import SettingsError
from infergraph.serving.example_request import NUMBERS, message_for

MARK = "doctor_id"
ENTRY_POINTS = "infergraph.example_records"


class Rows(NamedTuple):
    """Rows of a task, and a name for their kind.

    Args:
        marked: each row contains its own number, which must be in its answer.
    """

    kind: str
    rows: list[Any]
    marked: bool


def records(rows: list[Mapping[str, Any]], kind: str = "records") -> Rows:
    """Objects, each marked with its own number."""
    return Rows(kind, [{**row, MARK: number} for number, row in enumerate(rows)], marked=True)


def given_rows(rows: list[Any]) -> Rows:
    """Rows given by the user: marked if they are objects that are not messages."""
    if all(isinstance(row, dict) and not _is_message(row) for row in rows):
        return records(rows, "the rows given")
    return Rows("the rows given", rows, marked=False)


def rows_to_try(metadata: Mapping[str, Any] | None, count: int = 5) -> list[Rows]:
    """Rows that the endpoint may accept, the likeliest first.

    The contract's records come first, unless the metadata declares another kind of input.
    """
    example = example_record()
    usual = records([example] * count)
    message = message_for(metadata)
    if message is None:
        return [usual, *_of_numbers(NUMBERS, count), _messages({"strData": example["data"]}, count)]
    if "jsonData" in message:
        record = message["jsonData"]
        if not isinstance(record, dict):
            return [usual, _messages(message, count), usual]
        asked = {key: value or example.get(key, value) for key, value in record.items()}
        return [records([asked] * count), _messages(message, count), usual]
    if "data" in message:
        return [*_of_numbers(message, count), usual]
    return [_messages(message, count), usual]


def messages_to_try(metadata: Mapping[str, Any] | None) -> list[Any]:
    """Messages that a component may accept, the likeliest first."""
    message = message_for(metadata)
    if message is not None:
        return [message]
    record = example_record()
    return [
        {"data": {"ndarray": [[1.0, 2.0, 3.0, 4.0]]}},
        NUMBERS,
        {"jsonData": record},
        {"strData": record["data"]},
    ]


def example_record() -> dict[str, Any]:
    """A record of text, from the package that has an entry point for it; otherwise a single word."""
    entry = next(iter(entry_points(group=ENTRY_POINTS)), None)
    return {"data": "text"} if entry is None else dict(entry.load())


def message_of(row: Any) -> Any:
    """The message with one row as its payload: features, text, or a record; a message is returned unchanged."""
    if isinstance(row, dict):
        return row if _is_message(row) else {"jsonData": row}
    if isinstance(row, str):
        return {"strData": row}
    return {"data": {"ndarray": [row if isinstance(row, list) else [row]]}}


def read_json(text: str, option: str) -> Any:
    """The value of an option. Raises: SettingsError if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{option}: {text!r} is not JSON ({error}); put text in quotes: '\"text\"'") from error


def _is_message(row: Mapping[str, Any]) -> bool:
    """Whether a row is a message, and not a gBuilder record, which has its text under `data`."""
    return bool({"strData", "binData", "jsonData"} & row.keys()) or isinstance(row.get("data"), dict)


def _of_numbers(message: Mapping[str, Any], count: int) -> list[Rows]:
    """Lists of numbers, and messages with one of them each."""
    data = message["data"]
    width = (data["tensor"]["shape"] if "tensor" in data else _shape(data["ndarray"]))[-1]
    lists = [[float(number + place) for place in range(width)] for number in range(count)]
    names = {"names": data["names"]} if data.get("names") else {}
    messages = [{"data": {**names, "ndarray": [each]}} for each in lists]
    return [Rows("lists of numbers", lists, marked=False), Rows("whole messages", messages, marked=False)]


def _messages(message: Mapping[str, Any], count: int) -> Rows:
    return Rows("whole messages", [dict(message)] * count, marked=False)


def _shape(nested: Any) -> list[int]:
    return [len(nested), *_shape(nested[0])] if isinstance(nested, list) and nested else [1] if nested == [] else []
