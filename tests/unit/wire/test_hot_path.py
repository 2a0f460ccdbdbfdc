"""A small message from its bytes to an answer's bytes enters few files, so that the way can be read in one go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import infergraph.wire
from infergraph.message import Message
from infergraph.wire import json_codec, proto_codec
from infergraph.wire.json_codec import JsonMessage
from infergraph.wire.proto_codec import ProtoMessage

ROOM = str(Path(infergraph.wire.__file__).parent)
BODIES = {
    "tensor": b'{"data":{"names":["a","b"],"tensor":{"shape":[2,2],"values":[1.0,2.0,3.0,4.0]}},"meta":{}}',
    "ndarray": b'{"data":{"names":["a","b"],"ndarray":[[1.0,2.0],[3.0,4.0]]}}',
    "text": b'{"strData":"hello"}',
    "json": b'{"jsonData":{"a":[1,2]}}',
}


def entered(work: Callable[[], Any]) -> set[str]:
    """The files of the room that some work enters."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOM):
            files.add(Path(frame.f_code.co_filename).name)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return files


@pytest.mark.parametrize("kind", BODIES)
def test_a_small_json_message_enters_three_files(kind: str) -> None:
    """Decoded and encoded again, a small body of JSON enters the codec, the content and the text."""

    def there_and_back() -> bytes:
        return json_codec.encode(Message(JsonMessage(BODIES[kind]).content))

    assert entered(there_and_back) == {"json_codec.py", "json_content.py", "json_text.py"}


@pytest.mark.parametrize("kind", ["tensor", "text"])
def test_a_small_protobuf_message_enters_three_files(kind: str) -> None:
    """Decoded and encoded again, a small message enters the codec, the content and the fields."""
    raw = proto_codec.encode(Message(JsonMessage(BODIES[kind]).content))

    def there_and_back() -> bytes:
        return proto_codec.encode(Message(ProtoMessage(raw).content))

    assert entered(there_and_back) == {"proto_codec.py", "proto_content.py", "fields.py"}
