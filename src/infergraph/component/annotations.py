"""The pod's annotations, which the platform leaves in a file.

Source: the microservice specification, section 2.2: the file is read once, and what is wrong with it is logged.
"""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger(__name__)


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
            _log.error("a line of %s is no annotation: %r", path, line)
    return annotations
