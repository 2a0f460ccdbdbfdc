"""The annotations of a deployment, and of a pod, which has them in a file.

Source: the microservice specification, section 2.2: the file is read once, and what is wrong with it is logged.
"""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger(__name__)

REST_TIMEOUT = "seldon.io/rest-timeout"
GRPC_TIMEOUT = "seldon.io/grpc-timeout"
GRPC_MESSAGE_SIZE = "seldon.io/grpc-max-message-size"
NO_ENGINE = "seldon.io/no-engine"
SERVICE_NAME = "seldon.io/svc-name"
SEPARATE_ENGINE = "seldon.io/engine-separate-pod"


def read_annotations(path: Path) -> dict[str, str]:
    """The annotations in a file of lines `key="value"`; none where there is no file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.error("the annotations in %s cannot be read: %s", path, error)
        return {}
    annotations = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if equals:
            annotations[key.strip()] = value.strip()[1:-1]
        elif line.strip():
            _log.error("a line of %s is not an annotation: %r", path, line)
    return annotations
