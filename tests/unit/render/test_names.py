"""Names of objects: those of the operator where a cluster takes them, mended where it does not."""

from __future__ import annotations

import pytest

from infergraph.render import names


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("shop", "main"), "shop-main"),
        (("my.dep", "v1"), "my-dep-v1"),
        (("d", "P_q", "half_plus_two"), "d-p-q-half-plus-two"),
        (("a" * 40, "b" * 22), f"{'a' * 40}-{'b' * 22}"),
        (("a" * 40, "b" * 23), "seldon-5ad07bcda6392f1fc7709c892b6da01f"),
    ],
)
def test_the_name_of_an_object(parts: tuple[str, ...], name: str) -> None:
    """Parts joined by hyphens, as a DNS label; the MD5 of the whole where that is longer than one may be."""
    assert names.joined(*parts) == name


def test_a_name_of_other_characters_alone() -> None:
    """A name without any character that a cluster takes is a hash, and no empty text."""
    assert names.mended("分类") != names.mended("预测")
    assert names.part("分类", "-model-initializer").startswith("seldon-")


def test_a_part_is_cut() -> None:
    """A name made for a container is cut where it is too long, and ends in no hyphen; a container's own is hashed."""
    assert names.part("a" * 60, "-b-model") == "a" * 60 + "-b"
    assert names.part("a" * 62, "-b-model") == "a" * 62
    assert names.part("a" * 64).startswith("seldon-")


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.b-c.1", True), ("", False), ("A", False), ("a..b", False), ("-a", False), ("a" * 254, False)],
)
def test_the_name_of_a_deployment(name: str, is_one: bool) -> None:
    """A cluster takes DNS subdomains."""
    assert names.is_subdomain(name) == is_one


def test_a_folder_has_the_name_of_its_node() -> None:
    """A node's folder cannot lie elsewhere, whatever the node is called."""
    assert names.folder("small_1.x") == "small_1.x"
    assert "/" not in names.folder("../../etc")
    assert names.folder("..") not in ("..", ".", "")
    assert names.folder("a b") != names.folder("a-b")
