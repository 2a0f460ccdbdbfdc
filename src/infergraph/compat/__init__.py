"""Components written for Seldon's wrapper import from `seldon_core`; where that is not installed, these names are ours.

    install() ─▶ sys.meta_path[-1] ─▶ `import seldon_core…` ─▶ infergraph/compat/seldon_core/…

The modules under `seldon_core/` are imported under that name and no other, so that a class has one identity. Names and
behaviour follow the published interface; nothing of the original's code is used.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGE = "seldon_core"
FOLDER = Path(__file__).parent / PACKAGE


class SeldonCoreFinder(MetaPathFinder):
    """Finds `seldon_core` in this package; its submodules are then found by the package's own path.

    Promises: stands last on `sys.meta_path`, so an installed package always wins.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of `seldon_core`; None for every other name."""
        if fullname != PACKAGE:
            return None
        return importlib.util.spec_from_file_location(
            PACKAGE, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
        )


def install() -> bool:
    """Provide `seldon_core` to the components of this process.

    Returns: True if the names are ours from now on; False, and nothing was done, if a real `seldon_core` is there.
    Promises: idempotent.
    """
    if any(isinstance(finder, SeldonCoreFinder) for finder in sys.meta_path):
        return not _is_foreign()
    if _is_foreign():
        return False
    sys.meta_path.append(SeldonCoreFinder())
    return True


def _is_foreign() -> bool:
    module = sys.modules.get(PACKAGE)
    if module is not None:
        return getattr(module, "__file__", None) != str(FOLDER / "__init__.py")
    spec = importlib.util.find_spec(PACKAGE)
    return spec is not None and spec.origin != str(FOLDER / "__init__.py")
