"""The base path: a path that cannot be guessed, under which everything is served.

auto ─▶ /k/<128 random bits>, kept in the data folder ─▶ the same at the next start
"""

from __future__ import annotations

import secrets
from pathlib import Path

from infergraph.errors import SettingsError

AUTO = "auto"
_FILE = "base-path"
_BYTES = 16


def kept(folder: Path) -> str:
    """The base path of a data folder, made with its first use. Raises: SettingsError if it cannot be kept."""
    file = folder / _FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(0o600, exist_ok=True)
        if not (path := file.read_text("ascii").strip()):
            path = f"/k/{secrets.token_hex(_BYTES)}"
            file.write_text(path + "\n", "ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"base_path: it cannot be kept in {file}: {error}") from error
    return path
