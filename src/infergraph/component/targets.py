"""Targets: resolve a name such as `module:Class`, and construct the object.

A target is `module:Class`, `path/to/file.py:Class`, `path/to/file.py`, `package.module.Class`, or Seldon's bare name
`MyModel` (class MyModel of module MyModel).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from infergraph.errors import TargetError
from infergraph.message import Method

_HOOKS = frozenset(f"{method.value}{suffix}" for method in Method for suffix in ("", "_raw", "_rest", "_grpc"))

_LOADING = threading.RLock()

FORMER_ADDRESSES = {
    "infergraph.graph.bandit": "infergraph.graph.routers.bandits",
    "infergraph.graph.ensemble": "infergraph.graph.routers.combiners",
    "infergraph.knowledge": "infergraph_knowledge",
}
"""Former module names of our components, which deployment files may still use."""


class Modules(Protocol):
    """Imports a target's module: in the process, or in the scope of one node."""

    def named(self, name: str) -> ModuleType:
        """Import by name; ModuleNotFoundError if there is none, ValueError for stray dots."""

    def of_file(self, path: Path) -> ModuleType:
        """Import an existing file."""


def find(target: str, folder: Path | None = None, modules: Modules | None = None) -> Any:
    """The class, factory function or object that `target` names.

    Args:
        folder: base of modules and relative files; the working directory by default.
        modules: by default the process's; then `folder` is added to `sys.path`, as is the folder of a file, so that
            the file's own imports work.
    Raises:
        TargetError: no such file, module or attribute.
        Exception: whatever the user's module raises while it is imported.
    """
    folder = (folder or Path.cwd()).resolve()
    modules = modules or _ProcessModules(folder)
    source, _, attribute = target.partition(":")
    source = _file_of(source, folder)
    if source.endswith(".py"):
        path = (folder / source).resolve()
        if not path.is_file():
            raise TargetError(f"there is no file {path}")
        module = modules.of_file(path)
        return _attribute(module, attribute, target) if attribute else _only_class(module, Path(source).stem)
    if not attribute:
        source, _, attribute = target.rpartition(".")
        source, attribute = (source, attribute) if source else (target, target)
    return _attribute(_module(modules, source, target), attribute, target)


def folder_of(target: str, folder: Path) -> Path | None:
    """The folder of the code of `target`, if it is a file or a module in `folder`; None if it is installed.

    Args:
        folder: base of relative files and modules.
    """
    source = _file_of(target.partition(":")[0], folder)
    if source.endswith(".py"):
        return (folder / source).resolve().parent
    top = source.partition(".")[0]
    return folder.resolve() if (folder / f"{top}.py").is_file() or (folder / top).is_dir() else None


def construct(found: Any, arguments: Mapping[str, Any], target: str) -> Any:
    """The object to serve: `found(**arguments)`, or `found` itself if it is an object already.

    Raises:
        TargetError: arguments for a ready object, or arguments that the constructor does not take (it names them).
        Exception: whatever the user's constructor raises.
    """
    if not callable(found) or (not inspect.isclass(found) and any(hasattr(found, hook) for hook in _HOOKS)):
        if arguments:
            raise TargetError(f"{target} is an object already and takes no parameters: {', '.join(arguments)}")
        return found
    try:
        inspect.signature(found).bind(**arguments)
    except TypeError as error:
        raise TargetError(f"{target} cannot be constructed with the parameters given: {error}") from None
    except ValueError:
        pass  # a class written in C has no signature: the call itself will raise
    return found(**arguments)


def _file_of(source: str, folder: Path) -> str:
    """`left/Model` as `left/Model.py`, if that file exists: Seldon's bare name, in a folder.

    Raises: TargetError for a folder.
    """
    if "/" not in source or source.endswith(".py"):
        return source
    if (folder / f"{source}.py").is_file():
        return f"{source}.py"
    if (folder / source).is_dir():
        files = ", ".join(sorted(path.name for path in (folder / source).glob("*.py"))) or "no Python file"
        raise TargetError(f"{source} is a folder; name a file in it, such as {source}/Model.py:Model (it has {files})")
    return source


def _module(modules: Modules, name: str, target: str) -> ModuleType:
    for former, current in FORMER_ADDRESSES.items():
        if name == former or name.startswith(f"{former}."):
            name = current + name.removeprefix(former)
    try:
        return modules.named(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise TargetError(f"{target}: there is no module {error.name!r} in {sys.path[0]} or on the path") from None
        raise
    except ValueError as error:  # an empty name or stray dots
        raise TargetError(f"{target!r} names no module: {error}") from None


class _ProcessModules:
    """The modules of the process."""

    def __init__(self, folder: Path) -> None:
        _put_on_path(folder)

    def named(self, name: str) -> ModuleType:
        return importlib.import_module(name)

    def of_file(self, path: Path) -> ModuleType:
        _put_on_path(path.parent)
        with _LOADING:  # nodes of a graph load concurrently, and must not see a partially loaded module
            # A file may have the name of an installed module, or of one elsewhere: then it is loaded in addition.
            alias = f"_infergraph_{path.stem}_{zlib.crc32(os.fsencode(path)):08x}"
            for name in (path.stem, alias):
                loaded = sys.modules.get(name)
                if loaded is not None and getattr(loaded, "__file__", None) == str(path):
                    return loaded
            found = None if path.stem in sys.modules else importlib.util.find_spec(path.stem)
            if found is not None and found.origin == str(path):
                return importlib.import_module(path.stem)
            return _executed(path, path.stem if found is None and path.stem not in sys.modules else alias)


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _executed(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: ModuleType, attribute: str, target: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            classes = ", ".join(sorted(_classes(module))) or "none"
            raise TargetError(f"{target}: {module.__name__} has no {attribute!r}; its classes are: {classes}")
        found = getattr(found, part)
    return found


def _classes(module: ModuleType) -> dict[str, type]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }


def _only_class(module: ModuleType, stem: str) -> Any:
    classes = _classes(module)
    serving = {name: value for name, value in classes.items() if any(hasattr(value, hook) for hook in _HOOKS)}
    for choice in (classes.get(stem), *(serving.values() if len(serving) == 1 else ())):
        if choice is not None:
            return choice
    names = ", ".join(sorted(serving or classes)) or "none"
    raise TargetError(
        f"{stem}.py does not say which class to serve; add one after a colon: {stem}.py:NAME (has: {names})"
    )
