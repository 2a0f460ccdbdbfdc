"""What `infergraph init` writes works at once: everything that its README tells its reader to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from infergraph.cli import projects
from infergraph.cli.init import write_project
from page_runner import Page


@pytest.mark.parametrize("kind", projects.names())
def test_the_readme_of_a_project_works(kind: str, tmp_path: Path) -> None:
    """Served, asked, given a task, examined, tested: every command of a new project's README ends well."""
    write_project(kind, f"town {kind}", tmp_path)
    Page((tmp_path / "README.md").read_text("utf-8"), tmp_path).run()
