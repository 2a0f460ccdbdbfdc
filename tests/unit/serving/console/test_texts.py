"""The console's words: every one of them is there in both languages."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

import infergraph.serving.console
from infergraph import settings, topology
from infergraph.serving.console import graph_layout
from infergraph.serving.console.setting_texts import CHINESE_SETTINGS
from infergraph.serving.console.texts import CHINESE, LANGUAGES, Texts, preferred
from infergraph.tasks.task import State

_USED = re.compile(r"""\bt\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")
_NAMES = re.compile(r"\{(\w+)\}")


def used() -> set[str]:
    """Every text that a template, a script or a page asks for by its English words."""
    package = resources.files("infergraph.serving.console")
    files = [*package.joinpath("templates").iterdir(), *package.joinpath("static").iterdir()]
    files = [file for file in files if file.name.endswith((".html", ".svg", ".js")) and ".min." not in file.name]
    files += list(Path(infergraph.serving.console.__path__[0]).glob("*.py"))
    return {first or second for file in files for first, second in _USED.findall(file.read_text("utf-8"))}


def told() -> set[str]:
    """Texts that are looked up by a value."""
    values = [each.value for kind in (graph_layout.Health, topology.Where, topology.Role, State) for each in kind]
    return {*values, "System", "Data folder"} - {"child", "none", "nowhere"}


def test_every_text_has_its_chinese() -> None:
    """What a page says in English it can say in Chinese, and nothing is translated that nobody says."""
    assert used() | told() == set(CHINESE)


def test_both_languages_have_the_same_places_to_fill_in() -> None:
    """A name that is filled in stands in both texts."""
    for english, chinese in CHINESE.items():
        assert sorted(_NAMES.findall(english)) == sorted(_NAMES.findall(chinese)), english
        assert re.search(r"[\u4e00-\u9fff]", chinese), english


def test_every_setting_is_explained_in_chinese() -> None:
    """The table of settings speaks the reader's language for every setting there is, and for no other."""
    described = {row.name for row in settings.describe()}
    assert CHINESE_SETTINGS.keys() == described
    for name, chinese in CHINESE_SETTINGS.items():
        assert re.search(r"[\u4e00-\u9fff]|DEBUG", chinese), name
    assert Texts("en").setting("host", "Address to listen on.") == "Address to listen on."
    assert Texts("zh").setting("host", "Address to listen on.") == "监听的地址。"


def test_words_are_filled_in() -> None:
    """A text is looked up, then its names are filled in; a text that nobody knows stays."""
    assert Texts("en")("{n} so far", n=5) == "5 so far"
    assert Texts("zh")("{n} so far", n=5) == "累计 5"
    assert Texts("zh")("some node's name") == "some node's name"
    assert Texts("zh").for_scripts() is CHINESE
    assert Texts("en").for_scripts() == {}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("fr, zh;q=0.2, en;q=0.1", "zh"),
        ("zh;q=0, en", "en"),
        ("zh;q=x,;;,=", "en"),
        ("ZH-hant", "zh"),
    ],
)
def test_the_language_is_the_one_that_the_browser_likes_best(header: str, language: str) -> None:
    """Accept-Language is read with its weights; whatever cannot be read counts for nothing."""
    assert preferred(header) == language
    assert language in LANGUAGES
