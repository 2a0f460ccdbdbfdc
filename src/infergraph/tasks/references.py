"""Files of tasks by reference: read from and written to an address, never with credentials of ours.

    uri ──check_uri──▶ allowed ──open_reference──▶ version · blocks · put

s3://, gs://, abfs:// (az://) by fsspec, whose packages find credentials and endpoints in their own environment; https://
(and http://) by the standard library, without redirects; file:// of folders that are allowed by name. Nothing but the
address itself is stored, logged or told: one with a user name or a query, which may be a signature, is not taken.
"""

from __future__ import annotations

import os
import shutil
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from infergraph.errors import MissingExtra, PayloadError

_STORES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_WEB = frozenset({"https", "http"})
SCHEMES = (*_STORES, *sorted(_WEB), "file")
_CHARACTERS_LIMIT = 2000
_BLOCK_BYTES = 1 << 20
_READ_AHEAD_BYTES = 8 << 20
_TIMEOUT_S = 60.0


class Version(msgspec.Struct, frozen=True):
    """Which contents a file has: its ETag, or what stands for one, and its size; -1 if that is not known."""

    etag: str
    bytes: int


class ReferenceFault(PayloadError):
    """A file at an address cannot be read or written; the text names the address."""


class ReferenceAway(ReferenceFault):
    """It cannot now; it may later."""


def is_uri(text: str) -> bool:
    """Whether a text is an address, and not a path."""
    return text.partition("://")[0] in SCHEMES and "://" in text


def check_uri(uri: str, allowed: str, field: str) -> None:
    """Raises: PayloadError naming the field, if the address is not one that may be used.

    Args:
        allowed: prefixes separated by commas, such as `s3://bucket/folder`, `https://host`, `file:///folder`; `s3://*`
            for any bucket, `*` for anything but files of this machine.
    """
    if len(uri) > _CHARACTERS_LIMIT or not uri.isprintable():
        raise PayloadError(f"{field}: an address of at most {_CHARACTERS_LIMIT} printable characters is expected")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise PayloadError(f"{field}: it is not an address") from error
    if parts.scheme not in SCHEMES or not uri.startswith(f"{parts.scheme}://"):
        raise PayloadError(
            f"{field}: an address that begins with {', '.join(f'{each}://' for each in SCHEMES)} is expected"
        )
    if "@" in parts.netloc or "?" in uri or "#" in uri:
        raise PayloadError(
            f"{field}: an address with a user name, a query or a fragment is not taken: credentials belong into the "
            "server's environment"
        )
    if not parts.path.strip("/") or parts.path.endswith("/"):
        raise PayloadError(f"{field}: the address names no file")
    if any(_is_below(parts, prefix.strip()) for prefix in allowed.split(",") if prefix.strip()):
        return
    raise PayloadError(f"{field}: the address is not allowed (setting task_uris)")


def _is_below(parts: SplitResult, prefix: str) -> bool:
    if prefix == "*":
        return parts.scheme != "file"
    try:
        wanted = urlsplit(prefix)
    except ValueError:
        return False
    if parts.scheme != wanted.scheme or wanted.netloc not in ("*", parts.netloc.lower(), parts.netloc):
        return False
    if parts.scheme == "file":
        return parts.netloc == "" and _is_in_folder(parts.path, wanted.path)
    steps, base = unquote(parts.path).split("/"), unquote(wanted.path).rstrip("/").split("/")
    return ".." not in steps and steps[: len(base)] == base


def _is_in_folder(path: str, folder: str) -> bool:
    """Whether a file is below a folder, wherever links lead."""
    if not folder.strip("/"):
        return False
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


class Reference(ABC):
    """The file at an address.

    Raises: ReferenceFault from every method; MissingExtra if a package for its scheme is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def version(self) -> Version:
        """Its version now."""

    @abstractmethod
    def blocks(self) -> Iterator[bytes]:
        """Its contents."""

    @abstractmethod
    def put(self, path: Path) -> None:
        """Replace it by a local file, atomically: a reader finds the old contents or the new ones."""

    def check_writable(self) -> None:
        """Raises: ReferenceFault if files cannot be written to this kind of address."""

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Translate what the packages raise; their texts are not shown, since they may hold more than the address."""
        try:
            yield
        except (MissingExtra, ReferenceFault):
            raise
        except FileNotFoundError as error:
            raise ReferenceFault(f"{self.uri}: there is no such file") from error
        except PermissionError as error:
            raise ReferenceFault(f"{self.uri}: access is denied") from error
        except ImportError as error:
            scheme = self.uri.partition(":")[0]
            raise MissingExtra(f"{scheme}:// needs another package: pip install {_STORES[scheme]}") from error
        except Exception as error:  # the packages' own exceptions have no common class
            raise ReferenceAway(f"{self.uri}: {_kind_of(error)}") from error


def _kind_of(error: BaseException) -> str:
    """What happened, without the text of a foreign exception: its class, and the system's words for an error number."""
    number = getattr(error, "errno", None)
    words = f": {os.strerror(number)}" if isinstance(number, int) and number else ""
    return f"it cannot be used ({type(error).__name__}{words})"


def open_reference(uri: str) -> Reference:
    """The file at a checked address; nothing is asked yet."""
    scheme = uri.partition(":")[0]
    if scheme == "file":
        return _LocalFile(uri)
    return _WebFile(uri) if scheme in _WEB else _StoredFile(uri)


class _LocalFile(Reference):
    """A file of a folder that this machine has mounted."""

    @property
    def _path(self) -> Path:
        return Path(unquote(urlsplit(self.uri).path))

    def version(self) -> Version:
        with self._faults():
            found = self._path.stat()
            return Version(f"{found.st_mtime_ns}-{found.st_ino}-{found.st_size}", found.st_size)

    def blocks(self) -> Iterator[bytes]:
        with self._faults(), self._path.open("rb") as file:
            yield from iter(lambda: file.read(_BLOCK_BYTES), b"")

    def put(self, path: Path) -> None:
        part = self._path.with_name(f".{self._path.name}.part")
        with self._faults():
            try:
                with path.open("rb") as source, part.open("wb") as target:
                    shutil.copyfileobj(source, target, _BLOCK_BYTES)
                    target.flush()
                    os.fsync(target.fileno())
                os.replace(part, self._path)
            finally:
                part.unlink(missing_ok=True)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects lead to hosts that nobody allowed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _WebFile(Reference):
    """A file of a web server; it is only read."""

    def version(self) -> Version:
        with self._faults(), self._asked("HEAD") as answer:
            return _version_of(answer)

    def blocks(self) -> Iterator[bytes]:
        with self._faults(), self._asked("GET") as answer:
            length = _version_of(answer).bytes
            received = 0
            for block in iter(lambda: answer.read(_BLOCK_BYTES), b""):
                received += len(block)
                yield block
            if length not in (-1, received):
                raise ReferenceAway(f"{self.uri}: the connection was lost")

    def put(self, path: Path) -> None:
        self.check_writable()

    def check_writable(self) -> None:
        raise ReferenceFault(f"{self.uri}: nothing is written to a web server")

    def _asked(self, method: str) -> IO[Any]:
        opener = urllib.request.build_opener(_NoRedirect)
        asked = urllib.request.Request(self.uri, method=method, headers={"User-Agent": "infergraph"})
        try:
            answer: IO[Any] = opener.open(asked, timeout=_TIMEOUT_S)
        except HTTPError as error:
            error.close()
            what = "redirects, which is not followed" if 300 <= error.code < 400 else f"answered {error.code}"
            fault = ReferenceAway if error.code >= 500 else ReferenceFault
            raise fault(f"{self.uri}: the server {what}") from error
        except (URLError, HTTPException, TimeoutError) as error:
            raise ReferenceAway(f"{self.uri}: the server cannot be reached") from error
        return answer


def _version_of(answer: Any) -> Version:
    headers = answer.headers
    etag = headers.get("ETag") or headers.get("Last-Modified") or ""
    length = headers.get("Content-Length", "")
    return Version(etag, int(length) if length.isdecimal() else -1)


class _StoredFile(Reference):
    """An object of an object store."""

    def _opened(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtra.of("fsspec", "storage", f"{self.uri.partition(':')[0]}://") from error
        files, path = fsspec.core.url_to_fs(self.uri)
        files.invalidate_cache()
        return files, path

    def version(self) -> Version:
        with self._faults():
            files, path = self._opened()
            found = files.info(path)
            if found.get("type") == "directory":
                raise FileNotFoundError
            etag = found.get("ETag") or found.get("etag") or found.get("md5Hash") or found.get("LastModified")
            return Version(str(etag or ""), int(found["size"]))

    def blocks(self) -> Iterator[bytes]:
        with self._faults():
            files, path = self._opened()
            with files.open(path, "rb", block_size=_READ_AHEAD_BYTES, cache_type="readahead") as file:
                yield from iter(lambda: file.read(_BLOCK_BYTES), b"")

    def put(self, path: Path) -> None:
        with self._faults():
            files, target = self._opened()
            files.put_file(os.fspath(path), target)
