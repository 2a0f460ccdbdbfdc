"""The command line of Seldon's wrapper, answered by infergraph's, and what user code takes from its module."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from infergraph import component
from infergraph.errors import SettingsError
from infergraph.protocol.annotations import read_annotations

from .flask_utils import (
    ANNOTATION_REST_TIMEOUT,
    ANNOTATIONS_FILE,
    DEFAULT_ANNOTATION_REST_TIMEOUT,
    SeldonMicroserviceException,
)
from .version import __version__

_log = logging.getLogger(__name__)

PARAMETERS_ENV_NAME = "PREDICTIVE_UNIT_PARAMETERS"
HTTP_SERVICE_PORT_ENV_NAME = "PREDICTIVE_UNIT_HTTP_SERVICE_PORT"
GRPC_SERVICE_PORT_ENV_NAME = "PREDICTIVE_UNIT_GRPC_SERVICE_PORT"
METRICS_SERVICE_PORT_ENV_NAME = "PREDICTIVE_UNIT_METRICS_SERVICE_PORT"
FILTER_METRICS_ACCESS_LOGS_ENV_NAME = "FILTER_METRICS_ACCESS_LOGS"
LOG_LEVEL_ENV = "SELDON_LOG_LEVEL"
DEBUG_ENV = "SELDON_DEBUG"
GUNICORN_ACCESS_LOG_ENV = "GUNICORN_ACCESS_LOG"
DEFAULT_LOG_LEVEL = "INFO"
DEFAULT_HTTP_PORT = 9000
DEFAULT_GRPC_PORT = 5000
DEFAULT_METRICS_PORT = 6000

__all__ = [
    "ANNOTATIONS_FILE",
    "ANNOTATION_REST_TIMEOUT",
    "DEBUG_ENV",
    "DEFAULT_ANNOTATION_REST_TIMEOUT",
    "DEFAULT_GRPC_PORT",
    "DEFAULT_HTTP_PORT",
    "DEFAULT_LOG_LEVEL",
    "DEFAULT_METRICS_PORT",
    "FILTER_METRICS_ACCESS_LOGS_ENV_NAME",
    "GRPC_SERVICE_PORT_ENV_NAME",
    "GUNICORN_ACCESS_LOG_ENV",
    "HTTP_SERVICE_PORT_ENV_NAME",
    "LOG_LEVEL_ENV",
    "METRICS_SERVICE_PORT_ENV_NAME",
    "PARAMETERS_ENV_NAME",
    "__version__",
    "load_annotations",
    "main",
    "parse_parameters",
]


def main() -> NoReturn:
    """Become `infergraph microservice` with this process's arguments: it takes the same flags and environment."""
    start = "from infergraph.cli.main import run; run()"
    os.execv(sys.executable, [sys.executable, "-c", start, "microservice", *sys.argv[1:]])


def parse_parameters(parameters: Sequence[Any]) -> dict[str, Any]:
    """Typed constructor arguments of a list of {name, value, type}.

    Raises: SeldonMicroserviceException of reason MICROSERVICE_BAD_PARAMETER; it names the entry.
    """
    try:
        return component.parse_parameters(parameters)
    except SettingsError as error:
        raise SeldonMicroserviceException(str(error), reason="MICROSERVICE_BAD_PARAMETER") from error


def load_annotations() -> dict[str, str]:
    """The pod's annotations as the platform's file has them, one `key="value"` a line; empty without the file."""
    return read_annotations(Path(ANNOTATIONS_FILE))


if __name__ == "__main__":
    main()
