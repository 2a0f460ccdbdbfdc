"""How Sphinx makes the site of these pages: `make docs`. Everything it needs is in the folder it writes."""

import re
from typing import Any

from pygments.lexers import JsonLexer

from infergraph import __version__

project = "infergraph"
author = "The infergraph authors"
copyright = "The infergraph authors, Apache-2.0"
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx_copybutton"]
myst_heading_anchors = 3
exclude_patterns = ["conf.py", "generate.py"]
nitpicky = True

html_theme = "furo"
html_title = "infergraph"
html_show_sourcelink = False
html_copy_source = False

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?:examples|benchmarks)/[^)#]+)\)")


def _carry_outside_files(app: Any, page: str, source: list[str]) -> None:
    """Files of the checkout that are no pages of the site come with it, as downloads."""
    source[0] = _OUTSIDE.sub(r"{download}`\1 <\2>`", source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_lexer("jsonl", JsonLexer)
    app.connect("source-read", _carry_outside_files)
