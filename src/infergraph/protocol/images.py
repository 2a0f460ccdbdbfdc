"""Container images: name and version for labels, as Seldon's wrapper and its orchestrator each split them."""

from __future__ import annotations


def split_tag(image: str) -> tuple[str, str]:
    """Name and version, split at the last colon, as the wrapper does; without one, all is version."""
    name, _, version = image.rpartition(":")
    return name, version


def split_image(image: str) -> tuple[str, str]:
    """Name and version, as the orchestrator does: a digest is a version, a registry's port is part of the name."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    name, version = split_tag(image)
    return (name, version) if name and "/" not in version else (image, "")
