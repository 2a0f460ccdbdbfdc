"""A model's metadata against the protocol's schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from infergraph.component.metadata import check
from infergraph.errors import BadMetadata
from infergraph.protocol.images import split_tag

from .env_utils import ENV_MODEL_IMAGE


class SeldonInvalidMetadataError(Exception):
    """Metadata that breaks the schema; the text names the member."""


def validate_model_metadata(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` laid over the defaults (the name and version come from the container image, if one is known).

    Raises:
        SeldonInvalidMetadataError: the result breaks the schema.
        TypeError: `data` is not a mapping.
    """
    name, version = split_tag(os.environ.get(ENV_MODEL_IMAGE, ""))
    metadata = {
        "name": name,
        "versions": [version],
        "platform": "",
        "inputs": [],
        "outputs": [],
        "custom": {},
        **data,
    }
    try:
        check(metadata)
    except BadMetadata as error:
        raise SeldonInvalidMetadataError(str(error)) from error
    return metadata
