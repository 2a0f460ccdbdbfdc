"""Components written for Seldon's wrapper import from `seldon_core`; where that is not installed, these names are ours.

    install() ─▶ sys.path ends with compat/shim ─▶ `import seldon_core.user_model` ─▶ shim/seldon_core/user_model.py

The modules in `shim/seldon_core/` are imported under that name and no other, so that a class has one identity. Names
and behaviour follow the published interface; nothing of the original's code is used.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

_log = logging.getLogger(__name__)

PACKAGE = "seldon_core"
SHIM = Path(__file__).parent / "shim"
"""The folder that makes `import seldon_core` work where it is on the module search path."""

_ORIGIN = str(SHIM / PACKAGE / "__init__.py")


def install() -> bool:
    """Provide `seldon_core` in this process, and in the Python processes that `multiprocessing` starts from it.

    Returns: True if the names are ours from now on; False, and nothing was done, if a real `seldon_core` is there.
    Promises: idempotent; last on the module search path, so that a package installed later wins.
    """
    if is_installed_elsewhere():
        return False
    if str(SHIM) not in sys.path:
        sys.path.append(str(SHIM))
        _log.debug("components that import %s get infergraph's own version of it", PACKAGE)
    return True


def is_installed_elsewhere() -> bool:
    """Whether `import seldon_core` gives, or has given, another package than ours."""
    module = sys.modules.get(PACKAGE)
    if module is not None:
        return getattr(module, "__file__", None) != _ORIGIN
    spec = importlib.util.find_spec(PACKAGE)
    return spec is not None and spec.origin not in (None, _ORIGIN)  # a folder without __init__.py does not hide ours


def load_ipython_extension(shell: object) -> None:
    """What `%load_ext infergraph.compat` does in a notebook."""
    install()
