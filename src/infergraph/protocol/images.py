"""Container images: their names and versions in labels, as Seldon's wrapper and its orchestrator each have them."""

from __future__ import annotations


def split_tag(image: str) -> tuple[str, str]:
    """Name and version at the last colon, as the wrapper has it; without one all is version."""
    name, _, version = image.rpartition(":")
    return name, version


def split_image(image: str) -> tuple[str, str]:
    """Name and version as the orchestrator has it: a digest is a version, a registry's port is part of the name."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    name, version = split_tag(image)
    return (name, version) if name and "/" not in version else (image, "")
