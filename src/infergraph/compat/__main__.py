"""`python -m infergraph.compat`: Python that can import `seldon_core`, for tests, notebooks and scripts of components.

python -m infergraph.compat ARGUMENTS…    as `python ARGUMENTS…`: a file, -m pytest, -m jupyter lab, -c …, or nothing
python -m infergraph.compat --install     every program of this environment can import it, until --uninstall
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from infergraph import compat

PATH_FILE = "infergraph_seldon_core.pth"
EXIT_FAILED = 1


def path_file() -> Path:
    """The file that puts the shim on the module search path of this environment."""
    return Path(sysconfig.get_path("purelib")) / PATH_FILE


def main(arguments: list[str]) -> int:
    """Do what an option of ours says; other arguments are those of a Python that takes this process's place.

    Returns: the exit code.
    """
    options = {"--install": _add_path_file, "--uninstall": _remove_path_file, "--help": _show_help, "-h": _show_help}
    chosen = options.get(arguments[0]) if len(arguments) == 1 else None
    if chosen is None:
        os.execve(sys.executable, [sys.executable, *arguments], _environment())
    try:
        return chosen()
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


def _show_help() -> int:
    print(__doc__)
    return 0


def _add_path_file() -> int:
    if compat.is_installed_elsewhere():
        print("seldon_core is installed in this environment already; nothing was changed", file=sys.stderr)
        return EXIT_FAILED
    path_file().write_text(f"{compat.SHIM}\n", encoding="utf-8")
    print(f"{path_file()}: `import seldon_core` works in this environment")
    return 0


def _remove_path_file() -> int:
    path_file().unlink(missing_ok=True)
    print(f"{path_file()} is removed")
    return 0


def _environment() -> dict[str, str]:
    """The environment of a Python that finds the shim: entries of PYTHONPATH come before installed packages."""
    environment = dict(os.environ)
    if not compat.is_installed_elsewhere():
        given = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{given}{os.pathsep}{compat.SHIM}" if given else str(compat.SHIM)
    return environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
