"""Components for tests of tasks through the installed command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


class Recorder:
    """Appends task and number of the first row to the file `log`, takes `line_s` a row, and adds `seen` to each."""

    def __init__(self, log: str, line_s: str) -> None:
        self.log = Path(log)
        self.line_s = float(line_s)

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """The answers."""
        with self.log.open("a") as log:
            log.write(f"{X[0]['t']} {X[0]['n']}\n")
        time.sleep(self.line_s * len(X))
        return [{**row, "seen": True} for row in X]


class Echo:
    """Adds `seen` to each row."""

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """The answers."""
        return [{**row, "seen": True} for row in X]


class Doubler:
    """Doubles an array, in `line_s` seconds; a negative number is its caller's fault."""

    def __init__(self, line_s: str = "0") -> None:
        self.line_s = float(line_s)

    def predict(self, X: Any, names: Any = None, meta: Any = None) -> Any:
        """The answers."""
        time.sleep(self.line_s)
        if (X < 0).any():
            raise ValueError("negative")
        return X * 2
