"""Environment variables that describe a component: names, image, predictor labels; read on each call."""

from __future__ import annotations

import json
import os

ENV_MODEL_NAME = "PREDICTIVE_UNIT_ID"
ENV_MODEL_IMAGE = "PREDICTIVE_UNIT_IMAGE"
ENV_SELDON_DEPLOYMENT_NAME = "SELDON_DEPLOYMENT_ID"
ENV_PREDICTOR_NAME = "PREDICTOR_ID"
ENV_PREDICTOR_LABELS = "PREDICTOR_LABELS"

NONIMPLEMENTED_MSG = "NOT_IMPLEMENTED"
NONIMPLEMENTED_IMAGE_MSG = "NOT_IMPLEMENTED:NOT_IMPLEMENTED"


def get_model_name(default_val: str = NONIMPLEMENTED_MSG) -> str:
    """The name of the graph node."""
    return os.environ.get(ENV_MODEL_NAME, default_val)


def get_image_name(default_val: str = NONIMPLEMENTED_IMAGE_MSG) -> str:
    """The container image, `name:tag`."""
    return os.environ.get(ENV_MODEL_IMAGE, default_val)


def get_deployment_name(default_val: str = NONIMPLEMENTED_MSG) -> str:
    """The name of the deployment."""
    return os.environ.get(ENV_SELDON_DEPLOYMENT_NAME, default_val)


def get_predictor_name(default_val: str = NONIMPLEMENTED_MSG) -> str:
    """The name of the predictor."""
    return os.environ.get(ENV_PREDICTOR_NAME, default_val)


def get_predictor_version(default_val: str = NONIMPLEMENTED_MSG) -> str:
    """The `version` among the predictor's labels.

    Raises: ValueError if the labels are not JSON.
    """
    labels = json.loads(os.environ.get(ENV_PREDICTOR_LABELS, "{}"))
    return str(labels.get("version", default_val))
