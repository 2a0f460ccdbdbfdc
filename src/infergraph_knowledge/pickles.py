"""Read pickles that may build nothing but what is listed: a pickle is a program, and these come from strangers."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

Builder = Callable[..., Any]


class ListedUnpickler(pickle.Unpickler):
    """An unpickler that refuses every global outside its list.

    Args:
        allowed: what stands for each (module, name) that the pickle may mention.
    Raises: pickle.UnpicklingError, from `load`, naming a global that is not listed.
    """

    def __init__(self, file: IO[bytes], allowed: Mapping[tuple[str, str], Builder]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Builder:
        """What stands for `module.name`."""
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"this pickle asks for {module}.{name}, which is not on the list")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """The key of a tensor's storage in PyTorch's old format: ("storage", type, key, place, size, view)."""
        return pid[2]
