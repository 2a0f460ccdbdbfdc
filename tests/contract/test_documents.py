"""The documents say what is so: every block runs, every link leads somewhere, what is generated is current."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from infergraph.cli import commands
from page_runner import ROOT, Page, Wrong, blocks_of

DOCS = ROOT / "docs"
DATABASE = "postgresql://tasks:secret@db.example/tasks"
"""What the pages call a database that machines share, with `/mnt/tasks` for the files."""
PAGES = sorted([ROOT / "README.md", ROOT / "README.zh.md", *DOCS.rglob("*.md"), *ROOT.glob("examples/**/README.md")])
# The seams are sketches of interfaces for who works on the code; the linters and the layers hold them.
_WITH_BLOCKS = [page for page in PAGES if page.name != "seams.md" and any(blocks_of(page.read_text("utf-8")))]
# A translation with the very same blocks needs no run of its own.
_RUN = list({tuple(block[:2] for block in blocks_of(page.read_text("utf-8"))): page for page in _WITH_BLOCKS}.values())


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", _RUN, ids=_name)
def test_blocks_run(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every code block of the page runs, in order, and prints what the page says it prints."""
    wrong, text = "", page.read_text("utf-8")
    if DATABASE in text:
        url = request.getfixturevalue("postgres").database()
        text = text.replace(DATABASE, url).replace("/mnt/tasks", str(tmp_path / "shared"))
    at = str(page.parent.relative_to(ROOT)) if "examples" in page.parts else ""
    try:
        Page(text, tmp_path, at).run()
    except Wrong as found:
        wrong = str(found)
    if wrong:
        pytest.fail(f"{_name(page)}, {wrong}", pytrace=False)


def _generator() -> ModuleType:
    found = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_reference_is_current() -> None:
    """The pages in docs/reference are what docs/generate.py makes of the code now."""
    assert _generator().stale() == [], "run: python docs/generate.py"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    outside = re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))
    heads = re.findall(r"(?m)^#+ (.*)$", outside)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of the page names a file that is there, and a heading in it if it names one."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target}: there is no {found}"
        if anchor and found.suffix == ".md":
            assert anchor in _anchors(found), f"{target}: no heading of that name"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_exist(page: Path) -> None:
    """Every command that the page names is a command of the program."""
    named = set(re.findall(r"(?:`|^|/bin/)infergraph ([a-z][a-z-]*)", page.read_text("utf-8"), re.MULTILINE))
    assert named <= set(commands.names())


_NAME = re.compile(r"`((?:[a-z_0-9]+\.)*[a-z_0-9]+):([A-Za-z_]\w*(?:\.\w+)*)`")


@pytest.mark.parametrize("page", sorted((DOCS / "architecture").glob("*.md")), ids=_name)
def test_names_of_the_code_exist(page: Path) -> None:
    """Every `module:name` in the pages about the code is a name of that module, and every test file named is there."""
    text = page.read_text("utf-8")
    found = [pair for pair in _NAME.findall(text) if pair != ("module", "name")]  # what the page calls them
    assert len(found) > 20
    for module, name in found:
        thing: object = importlib.import_module(f"infergraph.{module}")
        for part in name.split("."):
            assert hasattr(thing, part), f"{module}:{name}"
            thing = getattr(thing, part)
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / path).is_file(), path


def test_every_decision_is_in_the_index() -> None:
    """The index of the decisions has a line for each, and each begins with its number."""
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")
    for page in (DOCS / "decisions").glob("0*.md"):
        assert f"({page.name})" in index, page.name
        number = page.name.partition("-")[0].lstrip("0")
        assert page.read_text("utf-8").startswith(f"# {number}. "), page.name


def test_every_command_shows_an_example() -> None:
    """The help of each command ends with an example of its use."""
    reference = (DOCS / "reference" / "cli.md").read_text("utf-8")
    sections = re.split(r"(?m)^## infergraph ", reference)[1:]
    names = [part.splitlines()[0] for part in sections]
    groups = {name for name in names if any(other.startswith(f"{name} ") for other in names)}
    without = {name for name, part in zip(names, sections, strict=True) if "Example: `infergraph " not in part}
    assert without == groups


def test_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    """The site builds without a warning, and none of its pages loads anything from elsewhere."""
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path / "site")],
        check=True,
        timeout=110,
    )
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(https?:)?//[^\"]+\"", page.read_text("utf-8")
        )
        assert loaded == [], page
