"""The protocol's message classes in protobuf's default pool, as protoc would have generated them."""

from __future__ import annotations

from typing import Any

from google.protobuf.internal import builder

from infergraph.compat import descriptors

DESCRIPTOR = descriptors.register()
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, __name__, globals())


def __getattr__(name: str) -> Any:  # for type checkers: the builder put the classes here
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
