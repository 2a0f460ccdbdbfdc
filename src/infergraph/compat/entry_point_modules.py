"""Modules of `seldon_core` that other packages provide, by entry points of the group `infergraph.seldon_core`.

import seldon_core.seldon_client ─▶ entry point `seldon_client` ─▶ the module infergraph_seldon_tools.seldon_client
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

GROUP = "infergraph.seldon_core"


class EntryPointFinder(MetaPathFinder):
    """Finds the modules of `package` that entry points name."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that an entry point names; None for every other name."""
        parent, _, name = fullname.rpartition(".")
        if parent != self._package:
            return None
        from importlib.metadata import entry_points  # costs more than the rest of `import seldon_core`; few need it

        entry = next(iter(entry_points(group=GROUP, name=name)), None)
        return None if entry is None else ModuleSpec(fullname, _Alias(entry.module))


class _Alias(InspectLoader):
    """Gives one module a second name."""

    def __init__(self, module: str) -> None:
        self._module = module

    def exec_module(self, module: ModuleType) -> None:
        """Put the module in the place of the empty one that was made for the second name."""
        sys.modules[module.__name__] = importlib.import_module(self._module)

    def get_code(self, fullname: str) -> CodeType | None:
        """What `python -m` runs."""
        spec = importlib.util.find_spec(self._module)
        return spec.loader.get_code(self._module) if spec and isinstance(spec.loader, InspectLoader) else None

    def get_source(self, fullname: str) -> str | None:
        """No source of its own."""
        return None


def install_finder(package: str) -> None:
    """Make the modules that entry points name importable below `package`; its own modules come first. Idempotent."""
    if not any(isinstance(finder, EntryPointFinder) for finder in sys.meta_path):
        sys.meta_path.append(EntryPointFinder(package))
