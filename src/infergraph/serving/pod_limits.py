"""Limits from the pod's annotations: the REST time-out and the gRPC message size.

Source: the microservice specification, section 2.2.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from infergraph.protocol.annotations import GRPC_MESSAGE_SIZE, REST_TIMEOUT, read_annotations
from infergraph.settings import Settings

_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """The limits from settings and annotations: the REST time-out (0 for none) and the maximum gRPC message size."""

    rest_timeout_s: float
    grpc_message_bytes: int


def limits(settings: Settings) -> Limits:
    """The limits of a component; a setting other than the default overrides its annotation."""
    annotations = read_annotations(Path(settings.annotations_file))
    timeout_s, message_bytes = settings.request_timeout_s, settings.message_limit_bytes
    timeout_ms = _number(annotations, REST_TIMEOUT)
    if timeout_ms and not timeout_s:
        timeout_s = float(max(1, timeout_ms // 1000))
    annotated_bytes = _number(annotations, GRPC_MESSAGE_SIZE)
    if annotated_bytes and message_bytes == Settings().message_limit_bytes:
        message_bytes = annotated_bytes
    return Limits(timeout_s, message_bytes)


def _number(annotations: dict[str, str], name: str) -> int:
    """A positive integer; 0 if there is none."""
    text = annotations.get(name, "")
    if text.isdecimal():
        return int(text)
    if text:
        _log.error("the annotation %s must be a whole number, not %r", name, text)
    return 0
