from __future__ import annotations

import pytest

from infergraph.process.reload import is_source


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/.cache/project/model.py", True),
        ("/p/deployment.yaml", True),
        ("/p/deployment.json", True),
        ("/p/notes.txt", False),
        ("/p/.model.py", False),
        ("/p/__pycache__/model.py", False),
        ("/p/.venv/lib/x.py", False),
        ("/p/.git/hooks/x.py", False),
        ("/p/model", False),
    ],
)
def test_only_source_files_count(path: str, expected: bool) -> None:
    """Files that a unit may be made of count, wherever the project lies; caches and the like do not."""
    assert is_source(None, path) is expected
