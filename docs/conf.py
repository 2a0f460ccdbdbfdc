"""How Sphinx makes the site of these pages: `make docs`. Everything it needs is in the folder it writes."""

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
html_extra_path = ["assets/grafana.json"]
