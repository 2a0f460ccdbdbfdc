"""Weights: found, checked, converted once, and never made of other bytes than the pinned ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from infergraph.errors import MissingExtra, TargetError
from infergraph_knowledge import fetch, pins
from infergraph_knowledge.fetch import Weights

ARCHIVE = b"weights"


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Weights `small` from an archive of seven bytes, which lies in the folder `archives`."""
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    distribution = msgspec.structs.replace(pins.CHINESE_NER, name="small", version="1", sha256=digest)
    converted = []

    def convert(archive: Path, target: Path) -> None:
        converted.append(archive.name)
        target.write_bytes(archive.read_bytes().upper())

    monkeypatch.setattr(fetch, "WEIGHTS", {"small": Weights(distribution, "small.bin", convert)})
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "Small-1-py3-none-any.whl").write_bytes(ARCHIVE)
    return converted


def test_an_archive_is_converted_once(small, tmp_path):
    """The file is made from the archive at first and found afterwards, and nothing else is left in the folder."""
    for _ in range(2):
        assert fetch.fetch("small", tmp_path / "w", archives=tmp_path / "archives").read_bytes() == b"WEIGHTS"
    assert small == ["Small-1-py3-none-any.whl"]
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["small.bin"]


def test_an_archive_of_other_bytes_is_never_opened(small, tmp_path):
    """An archive that is not the pinned one is refused before it is converted, and leaves nothing behind."""
    (tmp_path / "archives" / "Small-1-py3-none-any.whl").write_bytes(b"Weights")
    with pytest.raises(TargetError, match="is not the file that was measured"):
        fetch.fetch("small", tmp_path / "w", archives=tmp_path / "archives")
    assert small == []
    assert list((tmp_path / "w").iterdir()) == []


def test_a_missing_archive_is_named(small, tmp_path):
    """The fault says which archive is wanted and where it was looked for."""
    with pytest.raises(TargetError, match=r"there is no archive of small 1 in .*/empty"):
        fetch.fetch("small", tmp_path / "w", archives=tmp_path / "empty")


def test_unknown_weights_are_told_with_the_known(small, tmp_path):
    """A name that is none is told together with those that are."""
    with pytest.raises(TargetError, match="there are no weights 'large'; there are small"):
        fetch.fetch("large", tmp_path)


def test_downloads_go_by_hash_without_dependencies(tmp_path):
    """The registry's client is called so that no other bytes and no other packages can come."""
    command = fetch.download_command(pins.JIAGU, tmp_path / "r.txt", tmp_path)
    assert {"--require-hashes", "--no-deps", "--no-binary"} <= set(command)
    assert pins.JIAGU.requirement == f"jiagu==0.2.3 --hash=sha256:{pins.JIAGU.sha256}"


def test_a_download_that_fails_says_what_the_client_said(monkeypatch, tmp_path):
    """The client's last words are in the fault, with the way around it."""
    failing = ["sh", "-c", "echo first >&2; echo 'no such host' >&2; exit 1"]
    monkeypatch.setattr(fetch, "download_command", lambda *_: failing)
    with pytest.raises(TargetError, match=r"could not download jiagu 0\.2\.3: no such host \(an archive .* --archives"):
        fetch.fetch("jiagu", tmp_path)


def test_the_weights_folder_follows_the_cache_folder(monkeypatch, tmp_path):
    """A folder that is given wins, then the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch.weights_folder() == tmp_path / "infergraph" / "knowledge"
    assert fetch.weights_folder("/srv/w") == Path("/srv/w")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fetch.weights_folder() == Path.home() / ".cache" / "infergraph" / "knowledge"


def test_installed_files_that_changed_are_refused(tmp_path):
    """A digest covers names and bytes of every file, compiled Python left out."""
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"1")
    first = pins.digest_files(tmp_path, pins.files_of(tmp_path))
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"2")
    pins.check_digest(pins.digest_files(tmp_path, pins.files_of(tmp_path)), first, "package")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(TargetError, match="package is not the file that was measured"):
        pins.check_digest(pins.digest_files(tmp_path, pins.files_of(tmp_path)), first, "package")


def test_a_package_that_is_missing_is_told_with_its_extra():
    """What to install is in the fault."""
    with pytest.raises(MissingExtra, match=r"Tests needs the package 'no-such-thing': pip install 'infergraph\[x\]'"):
        pins.package_folder("no_such_thing", extra="x", purpose="Tests")
