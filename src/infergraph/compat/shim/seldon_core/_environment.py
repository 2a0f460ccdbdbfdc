"""Environment variables under several names, and what they say of this node."""

from __future__ import annotations

import os

from . import env_utils

_TRUE = frozenset({"1", "true", "t"})


def getenv(*env_vars: str, default: str | None = None) -> str | None:
    """The value of the first of `env_vars` that is set."""
    return next((os.environ[name] for name in env_vars if name in os.environ), default)


def getenv_as_bool(*env_vars: str, default: bool = False) -> bool:
    """Whether the first of `env_vars` that is set says 1, true or t, in any case."""
    value = getenv(*env_vars)
    return default if value is None else value.lower() in _TRUE


def get_request_path() -> dict[str, str]:
    """This node's entry for `meta.requestPath`; empty where the node has no name."""
    name = env_utils.get_model_name("")
    return {name: env_utils.get_image_name()} if name else {}


def includes_metrics() -> bool:
    """Whether a component's metrics are put into the meta of its answers (INCLUDE_METRICS_IN_CLIENT_RESPONSE)."""
    return os.environ.get("INCLUDE_METRICS_IN_CLIENT_RESPONSE", "true").lower() == "true"
