"""Model files by address, as far as the wrapper itself goes: local folders.

Remote addresses are not supported: download the files before the component starts.
"""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger(__name__)
_FILE = "file://"


class Storage:
    """Where a model's files are."""

    @staticmethod
    def download(uri: str, out_dir: str | None = None) -> str:
        """The local path of the files at `uri`.

        Args:
            uri: a local path, or one with `file://` before it.
            out_dir: an existing folder to link the files into; without it they stay where they are.
        Returns: `out_dir` if given, else the path itself.
        Raises:
            RuntimeError: a `file://` path that does not exist.
            Exception: any other address; remote storage is not supported here.
        """
        if not uri.startswith(_FILE) and not Path(uri).exists():
            raise Exception(f"Cannot recognize storage type for {uri}. Only {_FILE} is currently available.")
        path = Path(uri.removeprefix(_FILE))
        if not path.exists():
            raise RuntimeError(f"Local path {uri} does not exist.")
        if out_dir is None:
            return str(path)
        for entry in [path] if path.is_file() else sorted(path.iterdir()):
            link = Path(out_dir) / entry.name
            if not link.is_symlink() and not link.exists():
                link.symlink_to(entry.resolve())
        _log.info("linked %s into %s", uri, out_dir)
        return out_dir
