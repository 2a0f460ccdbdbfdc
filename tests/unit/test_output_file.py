"""The place of an answer: what cannot be written is told before the work, and nothing else is lost by writing it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from infergraph.errors import PayloadError
from infergraph.output_file import OutputPlace


def put(target: str | Path, folder: Path, text: bytes = b"answers") -> None:
    """Put a finished file at a place."""
    finished = folder / "finished"
    finished.write_bytes(text)
    finished.chmod(0o600)
    OutputPlace.at(target).put(finished)
    assert not finished.exists()


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    """What was there is replaced by the whole new file, under the old mode, through any links."""
    target = tmp_path / "kept"
    target.write_bytes(b"old")
    target.chmod(0o604)
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    put(tmp_path / "link", tmp_path)
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"answers"
    assert stat.S_IMODE(target.stat().st_mode) == 0o604


def test_a_link_to_nothing_is_followed(tmp_path: Path) -> None:
    """The file that a link names is made."""
    (tmp_path / "link").symlink_to(tmp_path / "new")
    put(tmp_path / "link", tmp_path)
    assert (tmp_path / "new").read_bytes() == b"answers"
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """A reader of a pipe gets the whole, and the pipe stays one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    put(pipe, tmp_path)
    reader.join(60)
    assert read == [b"answers"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_descriptor_is_written_to(tmp_path: Path) -> None:
    """A path that names one of the process's own descriptors is that descriptor, wherever it leads."""
    with (tmp_path / "log").open("ab") as file:
        file.write(b"before ")
        file.flush()
        put(f"/dev/fd/{file.fileno()}", tmp_path)
    assert (tmp_path / "log").read_bytes() == b"before answers"


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A folder, the input itself under any name, and links that lead nowhere are refused with a sentence."""
    source = tmp_path / "in"
    source.write_bytes(b"{}")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PayloadError, match="it is a folder"):
        OutputPlace.at(tmp_path)
    for name in ("in", "link", "hard"):
        with pytest.raises(PayloadError, match="the input itself"):
            OutputPlace.at(tmp_path / name, source=source)
    with pytest.raises(PayloadError, match="symbolic links"):
        OutputPlace.at(tmp_path / "loop")
