"""Model files of packaged servers: a local folder, or a URL that is downloaded once into a cache."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from infergraph.errors import BadMetadata, MissingExtra, TargetError

_log = logging.getLogger(__name__)


def fetch(model_uri: str, cache_dir: str) -> Path:
    """The local folder or file of `model_uri`, downloaded if necessary.

    Args:
        model_uri: a path, `file://...`, or any address that fsspec knows.
        cache_dir: where downloads are kept, under a name derived from the URL, and not downloaded again; the user's own
            cache by default.
    Raises:
        TargetError: there is nothing at that address, or the download fails.
        MissingExtra: the address needs fsspec, or a package that fsspec needs for it.
    Promises: the folder appears atomically, also with concurrent downloads.
    """
    if not model_uri:
        raise TargetError("a packaged server needs a model_uri: a folder, file:// or another address")
    if "://" in model_uri and not model_uri.startswith("file://"):
        return _fetched(model_uri, cache_dir)
    path = Path(model_uri.removeprefix("file://"))
    if not path.exists():
        path = Path(unquote(str(path)))
    if not path.exists():
        raise TargetError(f"there is no model at {model_uri}")
    return path


def model_file(place: Path, name: str, suffixes: Sequence[str]) -> Path:
    """The model in `place`: `name` if it is there, else the only file with one of `suffixes`; a file is itself.

    Raises: TargetError if there is none, or several; it names what is there.
    """
    if place.is_file():
        return place
    if (place / name).is_file():
        return place / name
    found = sorted(path for path in place.iterdir() if path.suffix in suffixes)
    if len(found) == 1:
        return found[0]
    here = ", ".join(sorted(path.name for path in place.iterdir())) or "nothing"
    raise TargetError(f"there is no {name} in {place}; it holds {here}")


def read_metadata(place: Path) -> dict[str, Any]:
    """The `metadata.yaml` beside the model; empty if there is none.

    Raises: BadMetadata if it is no YAML object.
    """
    path = (place if place.is_dir() else place.parent) / "metadata.yaml"
    if not path.is_file():
        return {}
    try:
        metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadMetadata(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise BadMetadata(f"{path} must hold an object, not a {type(metadata).__name__}")
    return metadata


def _fetched(model_uri: str, cache_dir: str) -> Path:
    name = hashlib.sha256(model_uri.encode()).hexdigest()[:24]
    kept = (Path(cache_dir) if cache_dir else Path.home() / ".cache" / "infergraph" / "models") / name
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=kept.parent))
    try:
        _log.info("fetching the model at %s", model_uri)
        _copy(model_uri, part)
        part.chmod(0o755)  # mkdtemp creates it private to the user
        os.rename(part, kept)
    except OSError:
        if not kept.is_dir():  # else another process was faster: use its copy
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return kept


def _copy(model_uri: str, folder: Path) -> None:
    """Copy the file or folder at `model_uri` into `folder`."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra.of("fsspec", "storage", f"The model address {model_uri}") from error
    try:
        files, path = fsspec.core.url_to_fs(model_uri)
        if files.isfile(path):
            files.get_file(path, str(folder / path.rstrip("/").rsplit("/", 1)[-1]))
        else:
            files.get(path.rstrip("/") + "/", f"{folder}/", recursive=True)
    except ImportError as error:
        raise MissingExtra(f"The model address {model_uri} needs another package: {error}") from error
    except Exception as error:
        raise TargetError(f"the model at {model_uri} cannot be fetched: {type(error).__name__}: {error}") from error
    if not any(folder.iterdir()):
        raise TargetError(f"there is no model at {model_uri}: nothing is stored under that address")
