"""The data folder: what is on its way in is never taken for more than it is, and nothing outside is touched."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infergraph.errors import StorageFull, TaskFault
from infergraph.tasks.files import DataFolder, Incoming, LineCount, disk_faults


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    """A data folder that is ready."""
    folder = DataFolder(tmp_path / "data")
    folder.prepare()
    return folder


LINES = st.lists(st.sampled_from([b"", b" ", b"\r", b"{}", b"x y", b"\xef\xbb\xbf", b"\xef", b"\t{"]), max_size=8)


@given(LINES, st.booleans(), st.booleans(), st.lists(st.integers(1, 5)))
@example([b"{}"], True, True, [1, 1])
@example([b"\xef"], False, False, [])
def test_lines_are_counted_the_same_however_the_file_is_cut(
    lines: list[bytes], bom: bool, closed: bool, cuts: list[int]
) -> None:
    """Lines up to the last that is not blank, and where it ends, whatever blocks the file comes in."""
    mark = b"\xef\xbb\xbf" if bom else b""
    content = mark + b"\n".join(lines) + (b"\n" if closed and lines else b"")
    plain = content.removeprefix(b"\xef\xbb\xbf")
    solid = plain.rstrip(b" \t\r\n")
    count = LineCount()
    at = 0
    for size in cuts:
        count.feed(content[at : at + size])
        at += size
    count.feed(content[at:])
    count.finish()
    assert count.lines == (solid.count(b"\n") + 1 if solid else 0)
    if solid:
        assert count.end == len(content) - len(plain) + len(solid)


def test_a_sealed_file_is_in_its_place(data: DataFolder) -> None:
    """After the seal the file stands under its task's folder, counted and with the checksum of what came."""
    incoming = Incoming.open(data)
    incoming.digest(b"raw")
    incoming.write(b'{"a": 1}\n{"b": 2}\n\n')
    received = incoming.seal()
    assert (received.lines, received.bytes, received.end) == (2, 19, 17)
    assert received.sha256 == hashlib.sha256(b"raw").hexdigest()
    assert data.input(received.folder).read_bytes() == b'{"a": 1}\n{"b": 2}\n\n'
    assert list(data.incoming.iterdir()) == []
    incoming.close()


def test_a_sweep_leaves_what_is_being_received(data: DataFolder) -> None:
    """A sweep takes dead uploads and folders without a task, and nothing that is received, sealed or accepted."""
    dead, alive, sealed, accepted = (Incoming.open(data) for _ in range(4))
    dead.close()
    sealed_name, accepted_name = sealed.seal().folder, accepted.seal().folder
    accepted.close()
    orphan = Incoming.open(data)
    orphan_name = orphan.seal().folder
    orphan.close()
    (data.incoming / "just-made").mkdir()

    assert data.sweep(lambda name: name == accepted_name) == 3
    assert [folder.name for folder in data.incoming.iterdir()] == [alive.name]
    assert {folder.name for folder in data.tasks.iterdir()} == {sealed_name, accepted_name}
    assert orphan_name not in os.listdir(data.tasks)
    assert list(data.trash.iterdir()) == []
    for incoming in (alive, sealed):
        incoming.discard()
    assert data.sweep(lambda name: name == accepted_name) == 0


def test_a_task_accepted_between_look_and_lock_stays(data: DataFolder) -> None:
    """A folder that becomes known while the sweep runs is not taken."""
    incoming = Incoming.open(data)
    name = incoming.seal().folder
    incoming.close()
    asked: list[str] = []

    def known(folder: str) -> bool:
        asked.append(folder)
        return len(asked) > 1

    assert data.sweep(known) == 0
    assert asked == [name, name]
    assert data.input(name).exists()


def test_discarding_is_one_rename_and_can_be_repeated(data: DataFolder) -> None:
    """A discarded folder is out of sight at once, gone after the trash is emptied, and may be discarded again."""
    incoming = Incoming.open(data)
    name = incoming.seal().folder
    incoming.close()
    for _ in range(2):
        data.discard(name)
    assert list(data.tasks.iterdir()) == []
    data.empty_trash()
    assert list(data.trash.iterdir()) == []


def test_one_driver_at_a_time(data: DataFolder) -> None:
    """The lock is given to one holder at a time, and again when it is released."""
    lock = data.try_lock()
    assert lock is not None
    assert data.try_lock() is None
    lock.release()
    again = data.try_lock()
    assert again is not None
    again.release()


def test_a_ring_is_heard_or_harmless(data: DataFolder) -> None:
    """A ring makes the driver's descriptor readable; without a driver, or with many rings, nothing waits."""
    data.wake_driver()
    fd = data.open_wake()
    for _ in range(100_000 // 64):
        data.wake_driver()
    assert os.read(fd, 1) == b"w"
    os.close(fd)


def test_a_full_disk_and_other_troubles_are_faults(tmp_path: Path) -> None:
    """Real errors of the system come out as faults: no room as StorageFull, the rest with their text."""
    with pytest.raises(StorageFull, match="No space left"), disk_faults(), open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(TaskFault, match="Not a directory"), disk_faults():
        os.mkdir(tmp_path / "file" / "folder")
    with pytest.raises(TaskFault):
        DataFolder(tmp_path / "file").prepare()


def test_ballast_is_kept_and_given_up(data: DataFolder) -> None:
    """A little room is held back for stopping a task on a full disk, given up once, and taken again."""
    assert data.ballast.stat().st_size > 0
    data.free_ballast()
    data.free_ballast()
    assert not data.ballast.exists()
    data.create_ballast()
    assert data.ballast.exists()


def test_a_file_that_was_given_up_takes_nothing_more(tmp_path: Path) -> None:
    """A thread that comes too late with a block is told so, and writes into nobody else's file."""
    data = DataFolder(tmp_path)
    data.prepare()
    incoming = Incoming.open(data)
    incoming.write(b"{}\n")
    incoming.discard()
    with (tmp_path / "other").open("wb", buffering=0):  # it gets the descriptor that has just become free
        for late in (lambda: incoming.write(b"late\n"), incoming.sync):
            with pytest.raises(TaskFault, match="is closed"):
                late()
    assert (tmp_path / "other").read_bytes() == b""
    assert list(data.incoming.iterdir()) == []
