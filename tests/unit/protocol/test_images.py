"""Names and versions of container images."""

from __future__ import annotations

import pytest

from infergraph.protocol.images import split_image, split_tag


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("seldonio/model:1.3", ("seldonio/model", "1.3")),
        ("localhost:5000/model:1.3", ("localhost:5000/model", "1.3")),
        ("localhost:5000/model", ("localhost:5000/model", "")),
        ("model", ("model", "")),
        ("model@sha256:abc", ("model", "sha256:abc")),
        ("", ("", "")),
    ],
)
def test_images_are_split_after_the_registrys_port(image: str, parts: tuple[str, str]) -> None:
    """Name and version of an image, where a registry with a port does not lose its version."""
    assert split_image(image) == parts


@pytest.mark.parametrize(
    ("image", "parts"), [("a:b", ("a", "b")), ("reg:5000/a:1", ("reg:5000/a", "1")), ("x", ("", "x")), ("", ("", ""))]
)
def test_the_wrapper_splits_at_the_last_colon(image: str, parts: tuple[str, str]) -> None:
    """As Seldon's wrapper has it, an image without a colon is all version."""
    assert split_tag(image) == parts
