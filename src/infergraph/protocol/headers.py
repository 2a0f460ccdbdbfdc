"""Headers, which gRPC calls metadata: the request id, a fault's reason and node, and those that belong to one hop."""

from __future__ import annotations

import random

PUID = b"seldon-puid"
REASON = b"infergraph-reason"
NODE = b"infergraph-node"

PUID_KEY = "seldon-puid"
REASON_KEY = "infergraph-reason"
NODE_KEY = "infergraph-node-bin"
STATUS_KEY = "infergraph-status"
"""The same in metadata, where the node's name is bytes and a component's own HTTP status has a place."""

ACCEPT_ENCODING = b"accept-encoding"
ANSWER_CODING = b"identity, infergraph-answer"
REQUEST_CODING = b"identity, infergraph-request"
HOP_CODINGS = frozenset({ANSWER_CODING, REQUEST_CODING})
HOP_KEY = "infergraph-hop"
ANSWER_HOP = (HOP_KEY, "answer")
REQUEST_HOP = (HOP_KEY, "request")
"""What a graph sends with its calls of nodes, in the header that each hop writes for itself and over gRPC in metadata:
whether the body is what another node answered, or what the client sent.

A node of ours then writes NaN and the infinities as bare words, and takes rows of different lengths in an answer. Other
nodes know no such coding.
"""

INFERENCE_HEADER_LENGTH = b"inference-header-content-length"
"""The size of the JSON of a body of the open inference protocol, where raw tensors follow it."""

FORM = b"infergraph-form"
FORM_KEY = "infergraph-form"
"""What the tensors of a hop alone do not say, see `wire.v2.records.TensorSet.form`; of a combiner's children a list."""

HOP_BY_HOP = frozenset(
    {b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect", b"host",
     b"http2-settings", INFERENCE_HEADER_LENGTH, FORM, b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
     b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip
"""Hop-by-hop headers, and those that describe the body: each hop writes its own."""


_ID_LIMIT = 512


def is_header_id(text: str) -> bool:
    """Whether the id of a request can be the `seldon-puid` of its answer: clients limit the size of headers."""
    return len(text) <= _ID_LIMIT and text.isascii() and text.isprintable()


def new_puid() -> str:
    """An id for a request that came without one: a random UUID (version 4), at a fifth of the uuid module's time."""
    digits = f"{random.getrandbits(128) & _RANDOM_BITS | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_VERSION_4 = 0x4000_8000_0000_0000_0000
_RANDOM_BITS = ~0xF000_C000_0000_0000_0000
