"""Isolation of the nodes of a graph in one process: modules, environment variables and working directory of each.

    Isolation ─▶ NodeScope for each node of the process ─▶ OwnModules
    loading():   sys.modules, sys.path, os.environ and the working directory are the node's
    afterwards:  import statements of the node's own code find its own modules; its threads keep its working directory

A process has one environment and one module table. So nodes are loaded one after the other, and what a node loses
during requests is logged (`shortcomings`), or reported as advice if the deployment file shows it.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import importlib
import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from infergraph.errors import TargetError

_CLONE_FS = 0x200


class ProcessScope:
    """The environment variables and working directory of the process, for one node that has it for itself.

    While a graph is reloaded, beside itself, its node is there twice: the later one counts, and once that is gone
    the earlier one again.
    """

    def __init__(self) -> None:
        self._kept = ExitStack()
        self._holders: dict[int, tuple[Mapping[str, str], str]] = {}

    def hold(self, holder: object, variables: Mapping[str, str], folder: str) -> None:
        """Set them until `holder` releases them."""
        self._holders.pop(id(holder), None)
        self._holders[id(holder)] = variables, folder
        self._apply()

    def release(self, holder: object) -> None:
        """Restore what was before. Idempotent."""
        if self._holders.pop(id(holder), None) is not None:
            self._apply()

    def _apply(self) -> None:
        self._kept.close()
        if self._holders:
            variables, folder = list(self._holders.values())[-1]
            self._kept.enter_context(_variables(variables))
            self._kept.enter_context(_working_folder(folder))


class Isolation:
    """The nodes of one graph that run in this process.

    Args:
        is_shared: there are several, so that each needs its own scope; otherwise the process belongs to its only node.
        process: what that node sets; shared by the graphs that are loaded one after the other in this process.
    """

    def __init__(self, *, is_shared: bool, process: ProcessScope | None = None) -> None:
        self._is_shared = is_shared
        self._process = process or ProcessScope()
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        loaded = (name for name, module in sys.modules.items() if not _is_some_nodes(module))
        self._loaded = frozenset((*loaded, *sys.builtin_module_names))
        self._owners: dict[str, OwnModules] = {}

    def scope(
        self, node: str, folders: Sequence[Path], working_folder: Path | None, variables: Mapping[str, str]
    ) -> NodeScope:
        """The scope of one node.

        Args:
            folders: module search path, in order.
            working_folder: the folder of its code; None for installed code, which keeps the process's.
            variables: the environment variables of its container.
        """
        modules = OwnModules(node, list(map(str, folders)), self._loaded, self._owners) if self._is_shared else None
        return NodeScope(modules, variables, str(working_folder or ""), self._turn, self._process)

    def _turn(self) -> asyncio.Lock:
        """The lock that serializes the loading of nodes on this event loop."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class NodeScope:
    """The modules, variables and working directory of one node."""

    def __init__(
        self,
        modules: OwnModules | None,
        variables: Mapping[str, str],
        folder: str,
        turn: Callable[[], asyncio.Lock],
        process: ProcessScope,
    ) -> None:
        self.modules = modules
        self._variables = variables
        self._folder = folder
        self._turn = turn
        self._process = process
        self._keeps_folder = True

    @property
    def working_folder(self) -> str:
        """The working directory of its code; empty for the process's."""
        return self._folder

    @asynccontextmanager
    async def loading(self) -> AsyncIterator[None]:
        """Apply the scope to the process, for import, constructor and `load`; an only node keeps it until `close`."""
        if self.modules is None:
            self._process.hold(self, self._variables, self._folder)
            yield
            return
        async with self._turn():
            with _variables(self._variables), _working_folder(self._folder), self.modules.shown():
                yield

    def close(self) -> None:
        """Restore the process, and remove the node's modules."""
        self._process.release(self)
        if self.modules is not None:
            self.modules.forget()

    def enter_thread(self) -> None:
        """Set the node's working directory for the calling thread and those that it starts (Linux)."""
        if self.modules is None or not self._folder:
            return
        if _leaves_shared_folder():
            os.chdir(self._folder)
        else:
            self._keeps_folder = False

    def shortcomings(self, *, on_loop: bool) -> list[str]:
        """The respects in which the loaded node, during requests, differs from one in its own process.

        Args:
            on_loop: at least part of its code runs on the event loop, and so not in its own thread.
        """
        if self.modules is None:
            return []
        found = []
        if self.modules.renamed:
            names = ", ".join(self.modules.renamed)
            found.append(f"unpickling and importlib find another module than its own under the name {names}")
        if self._folder not in ("", os.getcwd()) and (on_loop or not self._keeps_folder):
            found.append(f"relative paths start at {os.getcwd()}, not at {self._folder}")
        return found


def _leaves_shared_folder() -> bool:
    """Give the calling thread its own working directory (unshare); False if a sandbox forbids it."""
    return sys.platform == "linux" and bool(ctypes.CDLL(None).unshare(_CLONE_FS) == 0)


@contextmanager
def _variables(own: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _working_folder(folder: str) -> Iterator[None]:
    if not folder:
        yield
        return
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class OwnModules(MetaPathFinder):
    """The modules in a node's own folders, imported for this node only.

    A module keeps its name unless another node or an installed package has it; then it becomes `name@node`. Import
    statements in the node's own code find it by its plain name at any time, since that code has its own `__import__`;
    pickles, `importlib` and libraries find it while the node is loaded (`shown`).

    Args:
        loaded: names imported before any node: these take precedence over a file of that name, as in any program.
        owners: the node that owns each plain name; one table for all nodes.
    """

    def __init__(
        self, node: str, folders: Sequence[str], loaded: frozenset[str], owners: dict[str, OwnModules]
    ) -> None:
        self.node = node
        self._folders = tuple(folders)
        self._loaded = loaded
        self._owners = owners
        self._base = tuple(entry for entry in sys.path if entry not in folders)
        self._path = [*folders, *self._base]
        self._names: dict[str, str] = {}  # plain name to own name
        self._plain: dict[str, str] = {}  # the reverse
        self._is_shown = False
        self._displaced: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    @property
    def renamed(self) -> list[str]:
        """Plain names of its modules that `sys.modules` has for another file's module."""
        return sorted(
            plain
            for plain, own in self._names.items()
            if plain != own and plain in sys.modules and _file(sys.modules.get(own)) != _file(sys.modules[plain])
        )

    def named(self, name: str) -> ModuleType:
        """The module that the node's own code would get for `import name`. Raises: what the import raises."""
        return importlib.import_module(self._resolve(name))

    def of_file(self, path: Path) -> ModuleType:
        """The module of a file in the node's first folder. Raises: what its code raises."""
        found = None if path.stem in self._loaded else self._locate(path.stem)
        if found is not None and found.origin == str(path):
            return self.named(path.stem)
        return self._execute(path)  # its name belongs to a module that must not be replaced

    def _execute(self, path: Path) -> ModuleType:
        name = self._free_name(path.stem)
        self._plain[name] = path.stem
        spec = self._spec(name, ModuleSpec(name, SourceFileLoader(name, str(path)), origin=str(path)))
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            _loader(spec).exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Within, `sys.modules` and `sys.path` are those of a process that has this node alone."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        importlib.invalidate_caches()
        outside, sys.path[:] = list(sys.path), self._path
        for plain, owner in self._owners.items():
            if owner is not self:
                self._displace(plain)
        for plain, own in self._names.items():
            if plain != own:
                self._displace(plain)
        self._is_shown = True
        try:
            yield
        finally:
            self._is_shown = False
            self._path = list(sys.path)
            sys.path[:] = [*(entry for entry in self._own_entries() if entry not in outside), *outside]
            for name in list(sys.modules):
                plain = name.partition(".")[0]
                if self._names.get(plain, plain) != plain:
                    del sys.modules[name]
            sys.modules.update(self._displaced)
            self._displaced.clear()

    def forget(self) -> None:
        """Remove the node's modules, and its finder, from the process."""
        for name in list(sys.modules):
            if name.partition(".")[0] in self._plain:
                del sys.modules[name]
        for plain in [plain for plain, owner in self._owners.items() if owner is self]:
            del self._owners[plain]
        sys.path[:] = [entry for entry in sys.path if entry not in self._own_entries()]
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        self._names.clear()
        self._plain.clear()

    def _displace(self, plain: str) -> None:
        """Hide the modules of others under a name."""
        for name in list(sys.modules):
            if name.partition(".")[0] == plain:
                self._displaced[name] = sys.modules.pop(name)

    # ── names ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _resolve(self, name: str) -> str:
        top, dot, rest = name.partition(".")
        return f"{self._own_name(top) or top}{dot}{rest}"

    def _own_name(self, top: str) -> str | None:
        """The name in `sys.modules` of the node's own top-level module `top`; None if there is none.

        Raises: ModuleNotFoundError for a module that only another node has.
        """
        known = self._names.get(top)
        if known is not None or top in self._loaded:
            return known
        if self._locate(top) is not None:
            return self._claim(top)
        if self._owners.get(top, self) is not self:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        return None

    def _claim(self, top: str) -> str:
        is_free = top not in sys.modules and top not in self._owners and PathFinder.find_spec(top, self._base) is None
        own = top if is_free else self._free_name(top)
        self._names[top], self._plain[own] = own, top
        if is_free:
            self._owners[top] = self
        elif self._is_shown:
            self._displace(top)
        return own

    def _free_name(self, top: str) -> str:
        names = (f"{top}@{self.node}{number or ''}" for number in itertools.count())
        return next(name for name in names if name not in sys.modules)

    def _locate(self, top: str) -> ModuleSpec | None:
        """The spec of a top-level module in one of the node's folders, if the import system resolves to it."""
        path = sys.path if self._is_shown else self._path
        found = PathFinder.find_spec(top, self._own_entries())
        if found is None or not _can_be_own(found):
            return None
        first = PathFinder.find_spec(top, path)
        return found if first is not None and _place(first) == _place(found) else None

    def _own_entries(self) -> list[str]:
        path = sys.path if self._is_shown else self._path
        return [entry for entry in path if entry in self._folders or entry not in self._base]

    # ── the import system ───────────────────────────────────────────────────────────────────────────────────────

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` of the node's own code; relative imports already start at the package's own name."""
        return builtins.__import__(name if level else self._resolve(name), globals, locals, fromlist, level)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of the node: by its own name, or by its plain name while the node is shown."""
        top = fullname.partition(".")[0]
        if top in self._plain:
            found = self._locate(self._plain[top]) if path is None else PathFinder.find_spec(fullname, path)
            return None if found is None else self._spec(fullname, found)
        if not self._is_shown or self._own_name(top) is None:
            return None
        own = self._resolve(fullname)
        return self.find_spec(fullname, path) if own == fullname else ModuleSpec(fullname, _Alias(own))

    def _spec(self, name: str, found: ModuleSpec) -> ModuleSpec:
        """`found` under another name, with a loader that gives the code the node's own `__import__`."""
        places = None if found.submodule_search_locations is None else list(found.submodule_search_locations)
        if isinstance(found.loader, SourceFileLoader):
            loader = _OwnSource(name, found.loader.path, self._builtins)
            spec = spec_from_file_location(name, found.origin, loader=loader, submodule_search_locations=places)
            assert spec is not None
            return spec
        if places is None:
            return found  # an extension module knows its name
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = places
        return spec


class _OwnSource(SourceFileLoader):
    """Loads a file from a node's folders."""

    def __init__(self, name: str, path: str, own_builtins: dict[str, Any]) -> None:
        super().__init__(name, path)
        self._own_builtins = own_builtins

    def exec_module(self, module: ModuleType) -> None:
        """Run the file with the node's own builtins."""
        vars(module)["__builtins__"] = self._own_builtins
        super().exec_module(module)


class _Alias(Loader):
    """Loader for a module that is already loaded under another name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself."""
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module has run already."""
        module.__spec__ = self._spec


def _is_some_nodes(module: ModuleType | None) -> bool:
    return isinstance(getattr(getattr(module, "__spec__", None), "loader", None), _OwnSource)


def _can_be_own(spec: ModuleSpec) -> bool:
    """Whether a module can be loaded once per node: a source file or package; not an extension module."""
    return isinstance(spec.loader, SourceFileLoader) or spec.origin is None


def _place(spec: ModuleSpec) -> tuple[str | None, ...]:
    return (spec.origin, *(spec.submodule_search_locations or ()))


def _file(module: ModuleType | None) -> str | None:
    return getattr(module, "__file__", None)


def _loader(spec: ModuleSpec) -> Loader:
    if not isinstance(spec.loader, Loader):
        raise TargetError(f"{spec.origin} cannot be loaded as a Python module")
    return spec.loader
